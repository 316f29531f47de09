"""The process: forked children, interpreters that end, and those inside it."""

import os
import subprocess
import sys
import textwrap
import threading
import time

import numpy as np
import pytest

import fastnn
from fastnn import layers, optimizer
from fastnn.network import Network


def run(code, timeout=120, **env):
    env = {**os.environ, "OMP_NUM_THREADS": "2", "PYTHONSAFEPATH": "1", **env}  # a checkout has no kernels
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=timeout, env=env
    )


native = pytest.mark.skipif("native" not in fastnn.backends.available(), reason="compiled kernels")

INSIDE = {
    "matmul": "x = np.ones((700, 700), np.float32)\ndef work(): o.matmul(x, x)",
    "adam": """
        a = [[np.ones(2_000_000, np.float32)] for _ in range(4)]
        def work(): o.adam_update(*a, 0.1, 0.9, 0.999, 1e-7, 1)
        """,
    "product": """
        a = np.ones((3000, 3000), np.float32)  # over 50 ms: in blocks, with a look for Ctrl-C after each
        def work(): o.matmul(a, a)
        """,
    "lstm": """
        x, Wx, Wh = np.ones((30, 20, 40), np.float32), np.ones((40, 400), np.float32), np.ones((100, 400), np.float32)
        def work(): o.lstm_forward(x, Wx, Wh, None, None, None)
        """,
    "attention": """
        x = np.ones((8, 200, 64), np.float32)
        def work(): o.scaled_dot_product_attention_forward(x, x, x)
        """,
    "step": """
        from fastnn import layers as L, optimizer
        net = fastnn.Network([L.Affine(np.ones((500, 500), np.float32), np.ones(500, np.float32))], L.SoftmaxWithLoss())
        x, t, rule = np.ones((300, 500), np.float32), np.zeros(300, int), optimizer.SGD()
        def work(): net.step(x, t, rule)
        """,
    "predictor": """
        from fastnn import layers as L
        p = fastnn.compile(fastnn.Network([L.Affine(np.ones((500, 500), np.float32), np.ones(500, np.float32))]))
        x = np.ones((200, 500), np.float32)
        def work(): p(x)
        """,
}


@native
@pytest.mark.parametrize("what", INSIDE)
def test_the_end_while_threads_are_inside(what):
    """Daemon threads ask for the GIL when there is none any more: no abort, no output."""
    code = "import threading, time, numpy as np, fastnn, fastnn.ops as o\n" + textwrap.dedent(INSIDE[what])
    code += textwrap.dedent("""
        def forever():
            while True: work()
        for _ in range(3): threading.Thread(target=forever, daemon=True).start()
        time.sleep(0.3)
        """)
    for _ in range(2):
        done = run(code)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@native
def test_first_calls_of_several_threads():
    """Nothing is set up by the first call that another first call could wait for with the GIL."""
    code = """
        import sys, threading, numpy as np, fastnn.ops as o
        sys.setswitchinterval(1e-6)
        x, start, results = np.ones((8, 200, 64), np.float32), threading.Barrier(4), []
        def work():
            start.wait()
            results.append(o.scaled_dot_product_attention_forward(x, x, x).sum())
        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        assert len(set(results)) == 1 and len(results) == 4
        """
    for _ in range(3):
        assert run(code, 60).returncode == 0


@native
@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("what", ["fastnn", "fastnn.ops", "fastnn.network"])
def test_sub_interpreters(what, first):
    """An import there works or is an ImportError; it does not hang."""
    code = f"""
        if {first}:
            import fastnn.ops as o, numpy as np
        try:
            import _xxsubinterpreters as interpreters
        except ImportError:
            import _interpreters as interpreters
        one = interpreters.create()
        try:
            result = interpreters.run_string(one, "import {what}")
            print(result)
        except Exception as error:
            print(error)
        interpreters.destroy(one)
        print(o.matmul(np.ones((2, 2)), np.ones((2, 2)))[0, 0] if {first} else "end")
        """
    done = run(code, 60)
    assert done.returncode == 0 and done.stdout.endswith("2.0\n" if first else "end\n"), (done.stdout, done.stderr)
    assert what == "fastnn" or "ImportError" in done.stdout


fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")


def child(function, seconds=60):
    """Whether function() is true in a forked child, which ends in time."""
    pid = os.fork()
    if pid == 0:
        try:
            good = function()
        except BaseException:
            good = False
        os._exit(0 if good else 1)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return status == 0
        time.sleep(0.02)
    os.kill(pid, 9)
    os.waitpid(pid, 0)
    return False


class Slow:
    """A layer in Python that takes its time, with the GIL and without."""

    def forward(self, x):
        time.sleep(0.02)
        return x

    def backward(self, dout):
        return dout


@fork
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("python", [False, True])
def test_a_child_of_a_thread_that_fits(python):
    """It has the network's lock for itself, and its plans: no waiting for threads that it does not have."""
    rng = np.random.default_rng(0)
    sizes = (400, 500), (500, 10)
    made = [layers.Affine(rng.standard_normal(s).astype("f") / 30, np.zeros(s[1], "f")) for s in sizes]
    net = Network([*made, *([Slow()] if python else [])], layers.SoftmaxWithLoss())
    x, t = rng.standard_normal((400, 400)).astype("f"), rng.integers(0, 10, 400)
    rule, stop = optimizer.SGD(0.0), threading.Event()
    expected, predictor = net.predict(x), fastnn.compile(net)

    def fit():
        while not stop.is_set():
            net.fit(x, t, 1, 200, rule, progress=False)

    def work():
        own = net.predict(x)
        net.step(x[:200], t[:200], optimizer.SGD(0.0))
        net.step(x[:200], t[:200], rule)
        net.fit(x, t, 1, 200, rule, progress=False)
        return np.allclose(own, expected, 1e-4, 1e-5) and np.allclose(predictor(x), expected, 1e-4, 1e-5)

    thread = threading.Thread(target=fit)
    thread.start()
    try:
        time.sleep(0.1)
        for _ in range(4):
            assert child(work)
            time.sleep(0.013)
    finally:
        stop.set()
        thread.join()
    assert np.isfinite(net.fit(x, t, 1, 200, rule, progress=False)["loss"]).all()


@fork
@native
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_child_of_a_thread_that_uses_the_pool():
    x, stop = np.ones((300, 300)), threading.Event()

    def work():
        while not stop.is_set():
            fastnn.ops.matmul(x, x)
            fastnn.trim()

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(5):
            assert child(lambda: fastnn.ops.matmul(x, x)[0, 0] == 300)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
