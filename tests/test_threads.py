"""Threads: the same bits for any number of them and any layout; forked children; Ctrl-C."""

import os
import subprocess
import sys
import time

import cases
import numpy as np
import pytest
from cases import CASES, OPS

import fastnn
from fastnn import ops

native = pytest.mark.skipif("native" not in fastnn.backends.available(), reason="the native backend is not installed")


@pytest.fixture
def threads():
    """A function that sets the number of threads; the test's end restores it."""
    before = fastnn.get_num_threads()
    yield fastnn.set_num_threads
    fastnn.set_num_threads(before)


def bits(value):
    return value.tobytes() if isinstance(value, np.ndarray) else value


@native
@pytest.mark.parametrize("dtype", cases.DTYPES, ids=lambda d: d.__name__)
@pytest.mark.parametrize("op", OPS)
def test_same_bits_for_any_number_of_threads(op, dtype, threads):
    with fastnn.use_backend("native"):
        for case in CASES[op]["bench"]:
            args = cases.make(op, "bench", dtype, case)
            results = []
            for n in 1, 2, 3, 2:
                threads(n)
                results.append(cases.run(getattr(ops, op), op, args))
            for other in results[1:]:
                for name, value in results[0].items():
                    assert bits(other[name]) == bits(value), f"{case}: {name}"


@native
@pytest.mark.parametrize("dtype", cases.DTYPES, ids=lambda d: d.__name__)
def test_same_bits_for_transposed_views(dtype):
    with fastnn.use_backend("native"):
        for M, K, N in (100, 784, 50), (256, 512, 512), (1, 784, 50), (37, 91, 19):
            a, b = cases.build("matmul", dtype, M=M, K=K, N=N).values()
            plain = ops.matmul(a, b)
            a_t, b_t = np.ascontiguousarray(a.T).T, np.ascontiguousarray(b.T).T
            for left, right in (a_t, b), (a, b_t), (a_t, b_t), (a[::-1].copy()[::-1], b):
                assert ops.matmul(left, right).tobytes() == plain.tobytes()


@native
def test_after_a_late_join_calls_use_one_thread_for_a_while(threads):
    """A turn of 4 ms of another process is not late, 5 ms in all are; the bits are the same."""
    threads(2)
    if fastnn.get_num_threads() < 2:
        pytest.skip("one thread")
    after_wait = fastnn._core.threads_after_wait
    x = np.linspace(-1, 1, 512 * 512, dtype=np.float32).reshape(512, 512)

    def rested():
        time.sleep(0.25)  # a twentieth of it, and what is left of one thread, is over
        return after_wait(0)

    assert rested() == 2
    expected = ops.matmul(x, x)
    assert rested() == after_wait(4_900_000) == 2
    assert after_wait(4_900_000) == 1
    assert ops.matmul(x, x).tobytes() == expected.tobytes()
    assert rested() == 2
    assert after_wait(6_000_000) == 1
    assert rested() == 2


def run_script(text, timeout=60, **environment):
    """A new interpreter that imports the installed package -> its finished process."""
    env = os.environ | {"PYTHONSAFEPATH": "1"} | environment
    return subprocess.run([sys.executable, "-c", text], env=env, timeout=timeout, capture_output=True, text=True)


FORK = """
import os, signal, sys
import numpy as np
import fastnn
from fastnn import ops

def work():
    x = np.linspace(-1, 1, 1100 * 1100, dtype=np.float32).reshape(1100, 1100)
    y = ops.activation_forward(ops.matmul(x, x), "tanh")
    params = [np.ones(x.shape, np.float32)]
    ops.sgd_update(params, [y], 0.1)
    return y.tobytes() + params[0].tobytes() + ops.softmax_forward(x).tobytes()

fastnn.set_num_threads(2)
fastnn.use_backend(os.environ["BACKEND"])
expected = work()
child = os.fork()
if child == 0:
    signal.alarm(30)  # a child that hangs is killed
    os._exit(0 if work() == expected else 1)
_, status = os.waitpid(child, 0)
assert work() == expected
sys.exit(os.waitstatus_to_exitcode(status))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("backend", ["numpy", "numba", "native"])
def test_a_forked_child_computes(backend):
    if backend not in fastnn.backends.available():
        pytest.skip(f"the {backend} backend is not installed")
    done = run_script(FORK, BACKEND=backend)
    assert done.returncode == 0, (done.returncode, done.stderr)


CTRL_C = """
import _thread, signal, threading
import numpy as np
from fastnn import ops
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job of a shell is started without it
a, out = np.ones((4000, 4000)), np.full((4000, 4000), np.nan)

def press_when_some_rows_are_done():
    while np.isnan(out[0, 0]):
        pass
    _thread.interrupt_main()

threading.Thread(target=press_when_some_rows_are_done, daemon=True).start()
try:
    ops.matmul(a, a, out)
except KeyboardInterrupt:
    assert (ops.matmul(a[:50, :50], a[:50, :50]) == 50).all()
    print("rows done:", (~np.isnan(out[:, 0])).sum())
"""


@native
def test_ctrl_c_ends_a_long_call():
    """128 GFLOP on one thread without AVX: the rest is given up, and all stays usable."""
    env = os.environ | {
        "PYTHONSAFEPATH": "1", "FASTNN_ISA": "baseline", "OMP_NUM_THREADS": "1", "FASTNN_BACKEND": "native",
    }  # fmt: skip
    done = subprocess.run([sys.executable, "-c", CTRL_C], env=env, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    assert 0 < int(done.stdout.removeprefix("rows done:")) < 4000, done.stdout
