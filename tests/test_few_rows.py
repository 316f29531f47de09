"""Products of few rows and of few terms, which have kernels of their own: right, and of the bits that others give."""

import cases
import numpy as np
import pytest
from cases._common import turned
from every_backend import one_thread  # noqa: F401

import fastnn
from fastnn import layers, ops

_core = pytest.importorskip("fastnn._core")
pytestmark = pytest.mark.usefixtures("one_thread")
dtypes = pytest.mark.parametrize("dtype", ["f", "d"])
ROWS = range(1, 10)
# (D, M): whole vectors and parts of one; one vector; several blocks of columns; dots and no dots
SHAPES = (1, 1), (3, 160), (16, 16), (17, 176), (40, 33), (64, 200), (100, 10), (130, 517), (5, 3001)


@pytest.fixture(params=_core.available_isas())
def isa(request):
    with cases.target(f"native-{request.param}"):
        yield request.param


def arrays(N, D, M, dtype, low=-3):
    rng = np.random.default_rng([N, D, M])
    return [rng.integers(low, 4, shape).astype(dtype) for shape in ((N, D), (D, M), (M,), (N, M))]


@dtypes
def test_small_integers_are_exact(isa, dtype):
    for D, M in SHAPES:
        for N in ROWS:
            x, W, b, dout = arrays(N, D, M, dtype)
            np.testing.assert_array_equal(_core.affine_forward(x, W, b, "relu"), np.maximum(x @ W + b, 0))
            right = dout @ W.T, x.T @ dout, dout.sum(axis=0)
            for own in W, turned(W):
                for ours, theirs in zip(_core.affine_backward(dout, x, own), right, strict=True):
                    np.testing.assert_array_equal(ours, theirs, f"{N, D, M}")
            np.testing.assert_array_equal(_core.matmul(x.T, dout), right[1])


@dtypes
def test_the_bits_do_not_depend_on_layout_or_threads(isa, dtype):
    before = fastnn.get_num_threads()
    for D, M in (*SHAPES, (700, 1037)):
        for N in ROWS:
            x, W, b, dout = (a + a.dtype.type(0.1) for a in arrays(N, D, M, dtype))
            forward, gradients = _core.affine_forward(x, W, b), _core.affine_backward(dout, x, W)
            for threads in 2, 1:
                fastnn.set_num_threads(threads)
                for own in W, turned(W):
                    np.testing.assert_array_equal(_core.affine_forward(x, own, b), forward)
                    for ours, first in zip(_core.affine_backward(dout, x, own), gradients, strict=True):
                        np.testing.assert_array_equal(ours, first, f"{N, D, M}")
    fastnn.set_num_threads(before)


@dtypes
def test_gradients_of_two_rows_and_more_have_the_terms_of_each_row(isa, dtype):
    """Rows of dx do not depend on their neighbours, while there are few."""
    x, W, _, dout = (a + a.dtype.type(0.1) for a in arrays(8, 50, 517, dtype))
    dx = _core.affine_backward(dout, x, W)[0]
    for n in ROWS[:-1]:
        np.testing.assert_array_equal(_core.affine_backward(dout[:n], x[:n], W)[0], dx[:n])


@dtypes
def test_only_what_meets_nan_or_infinity_becomes_so(isa, dtype):
    for N in 1, 2, 4, 8:
        x, W, b, dout = arrays(N, 40, 203, dtype, low=1)
        W[7, 202], x[N - 1, 3] = np.nan, np.inf
        out = _core.affine_forward(x, W, b)
        assert np.isnan(out[:, 202]).all() and np.isinf(out[N - 1, :202]).all() and np.isfinite(out[: N - 1, :202]).all()
        dx, dW, db = _core.affine_backward(dout, x, W)
        assert np.isnan(dx[:, 7]).all() and np.isfinite(np.delete(dx, 7, axis=1)).all()
        assert np.isinf(dW[3]).all() and np.isfinite(np.delete(dW, 3, axis=0)).all() and np.isfinite(db).all()


@dtypes
def test_activations_of_two_rows(isa, dtype):
    x, W, b, _ = arrays(2, 60, 203, dtype)
    for kind in "relu", "tanh", "sigmoid":
        expected = ops.activation_forward(ops.affine_forward(x, W, b), kind)
        np.testing.assert_array_equal(_core.affine_forward(x, W, b, kind), expected)


@dtypes
def test_matmul_takes_both_gradients_as_affine_does(dtype):
    x, W, b, dout = (a + a.dtype.type(0.1) for a in arrays(3, 40, 203, dtype))
    affine, matmul = layers.Affine(W, b), layers.MatMul(W)
    affine.forward(x), matmul.forward(x)
    np.testing.assert_array_equal(matmul.backward(dout), affine.backward(dout))
    np.testing.assert_array_equal(matmul.grads[0], affine.grads[0])
    matmul.forward(x.astype("d"))  # a wider operand: its gradients are rounded to the dtype of W
    assert matmul.backward(dout.astype("d")).dtype == np.float64
    np.testing.assert_allclose(matmul.grads[0], affine.grads[0], rtol=1e-4, atol=1e-5)
