"""The books' functions: values, dtypes, lists and numbers, and the quirks that scripts rely on."""

import math
import warnings

import numpy as np
import pytest
from every_backend import backend, on_every_backend  # noqa: F401

from fastnn import functions as F
from fastnn import util

pytestmark = on_every_backend
X = np.array([[-3.0, -0.5, 0.0], [0.25, 2.0, 5.0]])
SMOOTH = {
    F.sigmoid: lambda x: 1 / (1 + np.exp(-x)),
    F.tanh: np.tanh,
    F.relu: lambda x: np.maximum(x, 0),
    F.leaky_relu: lambda x: np.where(x > 0, x, 0.01 * x),
    F.elu: lambda x: np.where(x > 0, x, np.exp(x) - 1),
    F.selu: lambda x: 1.0507009873554805 * np.where(x > 0, x, 1.6732632423543772 * (np.exp(x) - 1)),
    F.softplus: lambda x: np.log(1 + np.exp(x)),
    F.softsign: lambda x: x / (1 + np.abs(x)),
    F.hard_sigmoid: lambda x: np.clip(x / 6 + 0.5, 0, 1),
    F.swish: lambda x: x / (1 + np.exp(-x)),
    F.gelu: lambda x: x * (1 + np.vectorize(math.erf)(x / math.sqrt(2))) / 2,
    F.mish: lambda x: x * np.tanh(np.log(1 + np.exp(x))),
}


@pytest.mark.parametrize("f", SMOOTH, ids=lambda f: f.__name__)
def test_activation(f):
    np.testing.assert_allclose(f(X), SMOOTH[f](X), rtol=1e-12, atol=1e-15)
    single = f(X.astype(np.float32))
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, SMOOTH[f](X), rtol=1e-5, atol=1e-6)
    number = f(0.5)
    assert isinstance(number, np.float64) and number == pytest.approx(float(SMOOTH[f](np.array(0.5))), rel=1e-12)
    np.testing.assert_allclose(f([0.5, -1.0]), SMOOTH[f](np.array([0.5, -1.0])), rtol=1e-12)


def test_parameters_of_activations():
    np.testing.assert_allclose(F.leaky_relu(X, 0.2), np.where(X > 0, X, 0.2 * X))
    np.testing.assert_allclose(F.elu(X, 2.0), np.where(X > 0, X, 2 * (np.exp(X) - 1)))
    inner = np.sqrt(2 / np.pi) * (X + 0.044715 * X**3)
    np.testing.assert_allclose(F.gelu(X, approximate=True), 0.5 * X * (1 + np.tanh(inner)), rtol=1e-12, atol=1e-15)
    assert F.silu is F.swish


def test_dtypes_of_the_book():
    assert F.sigmoid(np.array([1, 2])).dtype == np.float64
    assert F.sigmoid(np.float16([1, 2])).dtype == np.float16
    assert F.relu(np.array([-1, 2])).dtype == np.int64
    assert F.relu(np.float16([1, 2])).dtype == np.float16
    assert F.softmax(np.float32([1, 2])).dtype == np.float32
    assert F.softmax([1, 2]).dtype == np.float64


def test_identity_function_does_not_copy():
    assert F.identity_function(X) is X


def test_step_function():
    y = F.step_function(X)
    np.testing.assert_array_equal(y, [[0, 0, 0], [1, 1, 1]])
    assert y.dtype == np.int_
    assert F.step_function(0.1).shape == ()


def test_sigmoid_does_not_warn_of_overflow():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(F.sigmoid(np.array([-1000.0, 1000.0])), [0, 1])


def test_derivatives():
    s = 1 / (1 + np.exp(-X))
    np.testing.assert_allclose(F.sigmoid_grad(X), s * (1 - s), rtol=1e-12)
    np.testing.assert_array_equal(F.relu_grad(np.float32([-1, 0, 2])), [0, 1, 1])  # 1 at 0, as in the books
    assert F.relu_grad(np.float32([-1.0])).dtype == np.float32


def test_relu_keeps_nan():
    np.testing.assert_array_equal(F.relu(np.array([np.nan, -1])), [np.nan, 0])


@pytest.mark.parametrize("shape", [(4,), (3, 4), (2, 3, 4), (2, 1, 3, 4), (0, 4)])
def test_softmax_is_over_the_last_axis(shape):
    x = np.random.default_rng(0).standard_normal(shape)
    before = x.copy()
    e = np.exp(x)
    np.testing.assert_allclose(F.softmax(x), e / e.sum(axis=-1, keepdims=True), rtol=1e-12)
    np.testing.assert_allclose(F.log_softmax(x), x - np.log(e.sum(axis=-1, keepdims=True)), rtol=1e-11, atol=1e-15)
    np.testing.assert_array_equal(x, before)


def test_softmax_of_anything():
    assert F.softmax(3.0) == 1 and np.ndim(F.softmax(3.0)) == 0
    np.testing.assert_allclose(F.softmax([0.3, 2.9, 4.0]), [0.01821127, 0.24519181, 0.73659691], rtol=1e-6)  # ch. 3
    np.testing.assert_allclose(F.softmax(np.array([1010, 1000, 990])), F.softmax(np.array([20, 10, 0])))
    assert np.isnan(F.softmax(np.array([-np.inf, -np.inf]))).all()


# ---- losses --------------------------------------------------------------------------------------------------------

Y = np.array(
    [[0.1, 0.05, 0.6, 0.0, 0.05, 0.1, 0.0, 0.1, 0.0, 0.0], [0.1, 0.05, 0.1, 0.0, 0.05, 0.1, 0.0, 0.6, 0.0, 0.0]]
)


def test_squared_errors():
    t = np.eye(10)[2]
    assert F.sum_squared_error(Y[0], t) == pytest.approx(0.0975)  # ch. 4
    assert F.sum_squared_error(Y[1], t) == pytest.approx(0.5975)
    assert F.mean_squared_error(Y, np.eye(10)[[2, 2]]) == pytest.approx((0.195 + 1.195) / 20)
    with pytest.raises(ValueError, match=r"y is \(2, 10\) but t is \(10,\)"):
        F.sum_squared_error(Y, t)


def test_cross_entropy_error():
    assert F.cross_entropy_error(Y[0], np.eye(10)[2]) == pytest.approx(-math.log(0.6 + 1e-7))  # 0.51, ch. 4
    assert F.cross_entropy_error(Y[1], np.eye(10)[2]) == pytest.approx(-math.log(0.1 + 1e-7))  # 2.30
    expected = -(math.log(0.6 + 1e-7) + math.log(0.05 + 1e-7)) / 2
    for t in (np.array([2, 4]), np.uint8([2, 4]), np.eye(10)[[2, 4]], np.eye(10, dtype=int)[[2, 4]]):
        assert F.cross_entropy_error(Y, t) == pytest.approx(expected)
    assert F.cross_entropy_error(Y[:1], np.array([[2]])) == pytest.approx(-math.log(0.6 + 1e-7))  # ch. 7: t (1, 1)
    assert isinstance(F.cross_entropy_error(Y, np.array([2, 4])), np.float64)
    assert isinstance(F.cross_entropy_error(Y.astype(np.float32), np.array([2, 4])), np.float32)
    assert F.cross_entropy_error(np.array([[0.0, 1.0]]), np.array([0])) == pytest.approx(-math.log(1e-7))
    assert math.isnan(F.cross_entropy_error(np.zeros((0, 3)), np.zeros(0, int)))


def test_cross_entropy_error_where_the_books_fail():
    """Labels in a column are labels (the books pair all with all), one class is no one-hot, t may be a list."""
    assert F.cross_entropy_error(Y, np.array([[2], [4]])) == F.cross_entropy_error(Y, [2, 4])
    assert F.cross_entropy_error(np.ones((3, 1)), np.zeros(3, int)) == pytest.approx(0, abs=1e-6)


def test_cross_entropy_error_explains():
    with pytest.raises(IndexError, match=r"t\[1\] is 10; labels must lie in \[0, 10\)"):
        F.cross_entropy_error(Y, np.array([2, 10]))
    with pytest.raises(ValueError, match=r"t is int64 \(3,\) but the scores are \(2, 10\)"):
        F.cross_entropy_error(Y, np.array([2, 1, 0]))
    with pytest.raises(ValueError, match=r"t is float64 \(10, 2\) but the scores are \(2, 10\)"):
        F.cross_entropy_error(Y, np.eye(10)[:, :2])
    with pytest.raises(TypeError, match="labels are integers"):
        F.cross_entropy_error(Y, np.array([2.0, 1.0]))


def test_softmax_loss():
    x, t = np.array([[1.0, 2.0, 3.0], [3.0, 1.0, -1.0]]), np.array([2, 2])
    assert F.softmax_loss(x, t) == F.cross_entropy_error(F.softmax(x), t)


def test_softmax_cross_entropy_is_exact():
    x = np.array([[1000.0, 0.0, -1000.0], [1.0, 2.0, 3.0]])
    assert F.softmax_cross_entropy(x, np.array([1, 1])) == pytest.approx((1000 + math.log(1 + math.e + 1 / math.e)) / 2)
    assert F.softmax_cross_entropy(x[0], 1) == pytest.approx(1000)
    assert F.softmax_cross_entropy(x[0], [0, 1, 0]) == pytest.approx(1000)


def test_softmax_cross_entropy_options():
    """Against the definition (as PyTorch's): targets smoothed, then weighted; labels that are ignored do not count."""
    rng = np.random.default_rng(3)
    x, t, w = rng.standard_normal((5, 4)), np.array([0, 3, 9, 2, 2]), np.array([1.0, 0.5, 2.0, 3.0])
    logp, keep = F.log_softmax(x), [0, 1, 3, 4]
    q = 0.8 * np.eye(4)[t[keep]] + 0.05
    expected = -(q * w * logp[keep]).sum() / w[t[keep]].sum()
    got = F.softmax_cross_entropy(x, t, weight=w, ignore_index=9, label_smoothing=0.2)
    assert got == pytest.approx(expected, rel=1e-12)
    soft = F.softmax(rng.standard_normal((5, 4)))
    assert F.softmax_cross_entropy(x, soft) == pytest.approx(-(soft * logp).sum() / 5, rel=1e-12)
    assert math.isnan(F.softmax_cross_entropy(x, np.full(5, -100), ignore_index=-100))


# ---- util ----------------------------------------------------------------------------------------------------------


def test_smooth_curve():
    x = np.random.default_rng(0).random(40)
    y = util.smooth_curve(x)
    assert y.shape == (40,)
    window = np.kaiser(11, 2) / np.kaiser(11, 2).sum()
    np.testing.assert_allclose(y[20], (x[15:26] * window).sum())
    np.testing.assert_allclose(y[0], (np.concatenate([x[5:0:-1], x[:6]]) * window).sum())  # mirrored at the first value
    np.testing.assert_allclose(y[-1], (np.concatenate([x[-6:], x[-1:-6:-1]]) * window).sum())  # which the end repeats
    np.testing.assert_allclose(util.smooth_curve([3.0] * 20), np.full(20, 3.0))
    assert util.smooth_curve([1.0] * 5).shape == (0,)  # fewer than 11 values: shorter, as in the book


def test_shuffle_dataset():
    x, t = np.arange(30).reshape(10, 3), np.arange(10)
    xs, ts = util.shuffle_dataset(x, t, rng=1)
    np.testing.assert_array_equal(xs, x[ts])
    assert sorted(ts) == list(t) and (ts != t).any()
    np.testing.assert_array_equal(util.shuffle_dataset(x, t, rng=1)[1], ts)


def test_conv_output_size_is_a_float():
    assert util.conv_output_size(28, 5) == 24.0 and isinstance(util.conv_output_size(28, 5), float)
    assert util.conv_output_size(8, 3, stride=2, pad=0) == 3.5


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_clip_grads(dtype):
    grads = [np.full((2, 2), 3, dtype), np.full(3, 4, dtype)]
    arrays = list(grads)
    norm = math.sqrt(4 * 9 + 3 * 16)
    assert util.clip_grads(grads, 10.0) is None
    assert grads[0][0, 0] == 3
    util.clip_grads(grads, 2.0)
    np.testing.assert_allclose(grads[1], 4 * 2 / norm, rtol=1e-5)
    assert all(a is b for a, b in zip(grads, arrays, strict=True))
