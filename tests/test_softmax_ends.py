"""Softmax and its kin where results are denormal, far apart, tiny, infinite or NaN: rows of one vector and of many."""

import numpy as np
import pytest

from fastnn import ops

WIDTHS = (1, 2, 7, 8, 9, 10, 16, 17, 33, 100, 1000)
FAR = {"float32": (60, 110), "float64": (600, 780)}  # from just above the denormal results to below them


def _softmax(x):
    x = x.astype(np.longdouble)
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def _units(found, true):
    """The error in spacings of the dtype; denormal numbers have their own."""
    spacing = np.maximum(np.spacing(np.abs(true).astype(found.dtype)), np.finfo(found.dtype).smallest_subnormal)
    return np.max(np.abs(found.astype(np.longdouble) - true) / spacing)


@pytest.mark.parametrize("dtype", FAR)
@pytest.mark.parametrize("V", WIDTHS)
def test_results_near_zero_are_rounded_not_flushed(V, dtype):
    rng = np.random.default_rng(V)
    low, high = FAR[dtype]
    x = -rng.uniform(low, high, (50, V)).astype(dtype)
    x[np.arange(50), rng.integers(0, V, 50)] = rng.uniform(-3, 3, 50)
    y, true = ops.softmax_forward(x), _softmax(x)
    tiny = true < np.finfo(dtype).smallest_normal
    assert V == 1 or (tiny & (true > 10 * np.finfo(dtype).smallest_subnormal)).any()
    # (x - top) is rounded: half a spacing of up to 110 (780) there.
    assert _units(y[~tiny], true[~tiny]) <= (high if dtype == "float32" else 2 * high)
    assert np.all(
        np.abs(y - true)[tiny] <= np.finfo(dtype).smallest_subnormal + true[tiny] * high * np.finfo(dtype).eps
    )
    np.testing.assert_allclose(
        ops.log_softmax_forward(x), np.log(true).astype(dtype), rtol=8 * np.finfo(dtype).eps, atol=1e-6
    )


@pytest.mark.parametrize("dtype", FAR)
@pytest.mark.parametrize("V", WIDTHS)
@pytest.mark.parametrize("size", (1e-30, 1e-6, 0.0))
def test_scores_close_to_zero(V, dtype, size):
    x = (np.random.default_rng(V).standard_normal((5, V)) * size).astype(dtype)
    np.testing.assert_allclose(ops.softmax_forward(x), _softmax(x), rtol=4 * np.finfo(dtype).eps)


@pytest.mark.parametrize("dtype", FAR)
@pytest.mark.parametrize("V", WIDTHS)
def test_infinities_and_nan(V, dtype):
    inf, nan = np.inf, np.nan
    x = np.random.default_rng(V).standard_normal((6, V)).astype(dtype)
    if V > 1:
        x[0, V // 2] = -inf  # simply 0
    x[1, V // 2], x[2, -1], x[3], x[4, 0] = inf, nan, -inf, -1e30
    x[5, -1] = 1e30
    with np.errstate(all="ignore"):
        true = _softmax(x)
        y, z = ops.softmax_forward(x), ops.log_softmax_forward(x)
    assert np.isnan(y[1:4]).all() and np.isnan(true[1:4]).all()
    np.testing.assert_allclose(y, true, rtol=8 * np.finfo(dtype).eps)
    with np.errstate(divide="ignore"):
        np.testing.assert_allclose(np.exp(z), true, rtol=1e-5, atol=1e-30)
    if V > 1:
        assert y[0, V // 2] == 0 and y[5, 0] == 0 and z[0, V // 2] == -inf
    assert np.isfinite(y[[0, 4, 5]]).all()


@pytest.mark.parametrize("dtype", FAR)
@pytest.mark.parametrize("keys", (1, 7, 16, 40, 300))
def test_attention_over_scores_far_apart(keys, dtype):
    """Its rows take the same two ways, here both in one call; blocks of keys change the largest score."""
    rng = np.random.default_rng(keys)
    q, k, v = (rng.standard_normal((1, n, 8)).astype(dtype) for n in (5, keys, keys))
    q *= np.array([1e-20, 1e-3, 1, 30, 300], dtype)[:, None]
    scores = q.astype(np.longdouble) @ k.astype(np.longdouble).transpose(0, 2, 1) / np.sqrt(np.longdouble(8))
    np.testing.assert_allclose(
        ops.scaled_dot_product_attention_forward(q, k, v),
        _softmax(scores) @ v.astype(np.longdouble),
        rtol=1e-4 if dtype == "float32" else 1e-12,
        atol=1e-4 if dtype == "float32" else 1e-12,
    )
