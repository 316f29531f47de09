"""The ends of every activation and derivative: infinities, zeros and their signs, NaN, denormal numbers."""

import numpy as np
import pytest
from every_backend import backend as backend
from every_backend import on_every_backend

from fastnn import ops
from fastnn.backends.numpy_backend import ACTIVATIONS

pytestmark = on_every_backend

ALPHA = {"leaky_relu": 0.01, "elu": 0.5}
SELU = 1.0507009873554805, 1.7580993408473768  # slope above 0, depth below

# limit at -inf and +inf
FORWARD = {
    "identity": (-np.inf, np.inf),
    "step": (0.0, 1.0),
    "sigmoid": (0.0, 1.0),
    "tanh": (-1.0, 1.0),
    "relu": (0.0, np.inf),
    "leaky_relu": (-np.inf, np.inf),
    "elu": (-0.5, np.inf),
    "selu": (-SELU[1], np.inf),
    "softplus": (0.0, np.inf),
    "softsign": (-1.0, 1.0),
    "hard_sigmoid": (0.0, 1.0),
    "swish": (0.0, np.inf),
    "gelu": (0.0, np.inf),
    "gelu_tanh": (0.0, np.inf),
    "mish": (0.0, np.inf),
}
DERIVATIVE = {
    **dict.fromkeys(ACTIVATIONS, (0.0, 1.0)),
    **dict.fromkeys(["step", "sigmoid", "tanh", "softsign", "hard_sigmoid"], (0.0, 0.0)),
    "identity": (1.0, 1.0),
    "leaky_relu": (0.01, 1.0),
    "selu": (0.0, SELU[0]),
}
# f(x) = slope * x for small x
ODD = {
    "tanh": 1.0,
    "leaky_relu": (0.01, 1.0),
    "elu": (0.5, 1.0),
    "selu": (SELU[1], SELU[0]),
    "softsign": 1.0,
    "swish": 0.5,
    "gelu": 0.5,
    "gelu_tanh": 0.5,
    "mish": 0.6,
}
DTYPES = [np.float32, np.float64]


def forward(kind, values, dtype):
    return ops.activation_forward(np.asarray(values, dtype), kind, ALPHA.get(kind, 0.0))


def derivative(kind, values, dtype):
    x = np.asarray(values, dtype)
    saved = x if ACTIVATIONS[kind].saved == "x" else forward(kind, x, dtype)
    return ops.activation_backward(np.ones_like(x), saved, kind, ALPHA.get(kind, 0.0))


def far(dtype):
    """From the end of the denormal results to infinity."""
    return np.array([110, 300, 709, 745, 800, 1e4, 1e20, np.finfo(dtype).max, np.inf]).astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", ACTIVATIONS)
def test_far_ends(kind, dtype):
    x = far(dtype)
    x = x[x > (110 if dtype == np.float32 else 800)] if kind in ("softsign",) else x[x >= 800]
    for sign, limit, slope in zip((-1, 1), FORWARD[kind], DERIVATIVE[kind], strict=True):
        y, d = forward(kind, sign * x, dtype), derivative(kind, sign * x, dtype)
        if not np.isinf(limit):
            np.testing.assert_allclose(y, np.full_like(x, limit), rtol=2e-2 if kind == "softsign" else 1e-6)
        else:
            assert y[-1] == limit
            assert np.isfinite(y[:-2]).all()
        np.testing.assert_allclose(d, np.full_like(x, slope), rtol=1e-6, atol=1e-3 if kind == "softsign" else 0)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", ACTIVATIONS)
def test_only_nan_gives_nan(kind, dtype):
    info = np.finfo(dtype)
    powers = np.exp2(np.arange(info.minexp - info.nmant, info.maxexp, 0.37 if dtype == np.float32 else 2.7))
    x = np.concatenate([far(dtype), powers.astype(dtype), [0]])
    x = np.concatenate([x, -x]).astype(dtype)
    assert not np.isnan(forward(kind, x, dtype)).any()
    assert not np.isnan(derivative(kind, x, dtype)).any()
    if kind != "step":
        assert np.isnan(forward(kind, np.full(5, np.nan), dtype)).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", ODD)
def test_small_arguments(kind, dtype):
    """f(x) = f'(0) x, rounded as a denormal number has to be; the sign of zero stays."""
    info = np.finfo(dtype)
    units = np.concatenate([np.arange(1.0, 40), [1e3, 12345, 654321, 1e6 + 1]]) * float(info.smallest_subnormal)
    x = np.concatenate([units, [float(info.tiny), 3e-30, 1e-20]]).astype(dtype)
    below, above = ODD[kind] if isinstance(ODD[kind], tuple) else (ODD[kind], ODD[kind])
    for sign, slope in ((-1, below), (1, above)):
        wide = x.astype(np.longdouble) * slope * sign
        error = np.abs(forward(kind, sign * x, dtype) - wide)
        bound = np.where(np.abs(wide) < info.tiny, 1.01, 3)
        assert (error <= bound * np.spacing(np.abs(wide).astype(dtype))).all()
    zeros = forward(kind, [-0.0, 0.0], dtype)
    assert (zeros == 0).all()
    assert np.signbit(zeros).tolist() == [True, False]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", ["sigmoid", "softplus", "swish", "mish", "elu'", "swish'", "mish'"])
def test_denormal_results(kind, dtype):
    """Where results go below the normal numbers, they are rounded and not flushed."""
    low, high = (86, 103) if dtype == np.float32 else (707, 744)
    x = -np.linspace(low, high, 500).astype(dtype)
    got = derivative(kind[:-1], x, dtype) if kind.endswith("'") else forward(kind, x, dtype)
    wide = x.astype(np.float64 if dtype == np.float32 else np.longdouble)
    if np.finfo(wide.dtype).minexp >= np.finfo(dtype).minexp:
        pytest.skip("no wider type here")
    e = np.exp(wide)
    factor = {"swish": wide, "mish": wide, "elu'": 0.5, "swish'": 1 + wide, "mish'": 1 + wide}.get(kind, 1)
    assert (np.abs(got - e * factor) <= 4 * np.spacing(np.abs(e * factor).astype(dtype))).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_tail_of_gelu_does_not_cancel(dtype):
    x = np.array([-5.6, -12.0], dtype)
    np.testing.assert_allclose(forward("gelu", x, dtype), [-6.00185e-08, -2.1318e-32], rtol=1e-4)


def test_leaky_relu_without_slope_is_relu():
    for dtype in DTYPES:
        x = np.array([-np.inf, -1, 0, 2], dtype)
        assert np.array_equal(ops.activation_forward(x, "leaky_relu", 0.0), [0, 0, 0, 2])
        d = ops.activation_backward(np.full(4, np.inf, dtype), x, "leaky_relu", 0.0)
        assert np.array_equal(d, [0, 0, 0, np.inf])


def test_denormal_arithmetic_of_the_caller_stays():
    half, tiny = np.full(64, 0.5, np.float32), np.full(64, np.finfo(np.float32).tiny, np.float32)
    for kind in ACTIVATIONS:
        forward(kind, tiny * half, np.float32)
        derivative(kind, tiny * half, np.float32)
        assert (tiny * half > 0).all(), kind
