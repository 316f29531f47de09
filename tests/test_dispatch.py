"""Which backend and instruction set is used, and that the compiled package itself is what the tests run on."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import fastnn
from fastnn import backends

pytestmark = pytest.mark.wheel

SOURCE = Path(__file__).resolve().parents[1] / "fastnn"


def python(code, **env):
    """A fresh interpreter that does not have its working directory on the path."""
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONSAFEPATH": "1", **env},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_native_backend_is_under_test():
    assert "native" in backends.available()
    code = "import fastnn; print(fastnn.show_config()['backend'], fastnn._core.__file__)"
    result = python(code, FASTNN_BACKEND="")
    assert result.stdout.startswith("native "), result.stderr
    assert Path(fastnn.backends.native._core.__file__).name.startswith("_core.")


def test_native_has_every_operation():
    from fastnn import _core

    assert [op for op in backends.OPS if not hasattr(_core, op)] == []


def test_argument_names_are_the_reference_ones():
    """pybind11 functions have no inspect.signature: the names come from their docstrings."""
    from fastnn import _core

    for op, signature in backends.OPS.items():
        names = re.findall(r"[(,] ?(\w+): ", getattr(_core, op).__doc__.split("->")[0])
        assert names == list(signature.parameters), op


def test_native_arguments_by_name():
    from fastnn import _core

    x, W = np.ones((2, 3, 4), np.float32), np.ones((4, 4), np.float32)
    by_place = _core.rnn_forward(x, W, W, None, None, "relu")
    assert np.array_equal(by_place, _core.rnn_forward(x, h0=None, b=None, Wh=W, Wx=W, activation="relu"))
    for wrong in (
        lambda: _core.rnn_forward(x, W, W, None),
        lambda: _core.rnn_forward(x, W, W, None, None, x=x),
        lambda: _core.rnn_forward(x, W, W, None, None, other=1),
        lambda: _core.rnn_forward(*[None] * 11),
    ):
        with pytest.raises(TypeError, match="rnn_forward"):
            wrong()


@pytest.mark.parametrize("name", backends.available())
def test_use_backend_is_undone(name):
    before = fastnn.show_config()["backend"]
    with fastnn.use_backend(name):
        assert fastnn.show_config()["backend"] == name
        assert fastnn.ops.matmul(np.eye(3), np.eye(3))[1, 1] == 1
    assert fastnn.show_config()["backend"] == before


def test_wrong_backend():
    with pytest.raises(ValueError, match="'cuda' is not one of native, numba, numpy"):
        fastnn.use_backend("cuda")
    result = python("import fastnn.ops", FASTNN_BACKEND="cuda")
    assert result.returncode != 0
    assert "ValueError: backend 'cuda' is not one of" in result.stderr


def test_backend_by_environment():
    result = python("import fastnn; print(fastnn.show_config()['backend'])", FASTNN_BACKEND="numpy")
    assert result.stdout.strip() == "numpy", result.stderr


def test_isa_by_environment():
    for isa in fastnn.show_config()["isas"]:
        result = python("import fastnn; print(fastnn.show_config()['isa'])", FASTNN_ISA=isa, FASTNN_BACKEND="native")
        assert result.stdout.strip() == isa, result.stderr


def test_layers_start_without_the_reference():
    """What they need of it is loaded when an operation is explained: 20 ms of every start."""
    script = "import sys, fastnn.layers; print([m for m in sys.modules if 'numpy_backend' in m or 'concurrent' in m])"
    result = python(script, FASTNN_BACKEND="native")
    assert result.stdout.strip() == "[]", result.stdout + result.stderr


def test_wrong_isa_is_an_error_at_import():
    result = python("import fastnn.ops", FASTNN_ISA="sse9", FASTNN_BACKEND="native")
    assert result.returncode != 0
    assert "ValueError: ISA 'sse9' is not one of" in result.stderr


@pytest.mark.skipif(
    not (SOURCE / "ops").is_dir() or (SOURCE / "_build_info.py").exists(), reason="not a plain checkout"
)
def test_a_checkout_says_so_instead_of_running_slowly(tmp_path):
    (tmp_path / "fastnn").symlink_to(SOURCE)
    env = {k: v for k, v in os.environ.items() if k != "PYTHONSAFEPATH"}
    result = subprocess.run(
        [sys.executable, "-c", "import fastnn"], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60
    )
    assert result.returncode != 0
    assert result.stderr.strip().startswith("fastnn: this is the source folder")
    assert "\n" not in result.stderr.strip()


def test_threads():
    before = fastnn.get_num_threads()
    try:
        fastnn.set_num_threads(1)
        assert fastnn.get_num_threads() == 1
        with pytest.raises(ValueError, match="n is 0"):
            fastnn.set_num_threads(0)
    finally:
        fastnn.set_num_threads(before)


def test_omp_num_threads_is_honoured():
    result = python("import fastnn; print(fastnn.get_num_threads())", OMP_NUM_THREADS="1")
    assert result.stdout.strip() == "1", result.stderr


def test_pool_recycles_and_trims():
    x = np.ones((300, 300))
    with fastnn.use_backend("native"):
        first = fastnn.ops.activation_forward(x, "tanh")
        assert not first.flags.owndata
        assert first.ctypes.data % 64 == 0
        address = first.ctypes.data
        del first
        again = fastnn.ops.activation_forward(x, "tanh")
        assert again.ctypes.data == address
        del again
    fastnn.trim()
    assert fastnn.show_config()["pool"]["kept"] == 0
