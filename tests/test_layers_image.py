"""Layers of images against the books' formulas in plain NumPy and numerical gradients, and what they keep."""

import numpy as np
import pytest
from every_backend import backend, on_every_backend  # noqa: F401
from test_layers import check_gradients, close, dtypes, normal

from fastnn import functions, layers, ops
from fastnn.compat import book1

pytestmark = on_every_backend


@pytest.fixture
def rng():
    return np.random.default_rng(7)


def patches(x, FH, FW, stride=1, pad=0):
    """The books' im2col, one patch after the other."""
    x = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    N, _, H, W = x.shape
    return np.array([
        x[n, :, i : i + FH, j : j + FW].ravel()
        for n in range(N)
        for i in range(0, H - FH + 1, stride)
        for j in range(0, W - FW + 1, stride)
    ])  # fmt: skip


# ---- convolution ---------------------------------------------------------------------------------------------------


@dtypes
@pytest.mark.parametrize("stride, pad", [(1, 0), (2, 1), (1, 2), (3, 0)])
def test_convolution_is_the_books(rng, dtype, stride, pad):
    x, W, b = (normal(rng, *s, dtype=dtype) for s in ((2, 3, 7, 6), (4, 3, 3, 3), (4,)))
    layer = layers.Convolution(W, b, stride, pad)
    assert layer.x is None and layer.col is None and not layer.dW.any()
    out = layer.forward(x)
    OH, OW = (7 + 2 * pad - 3) // stride + 1, (6 + 2 * pad - 3) // stride + 1
    col = patches(x, 3, 3, stride, pad)
    close(out, (col @ W.reshape(4, -1).T + b).reshape(2, OH, OW, 4).transpose(0, 3, 1, 2), dtype)
    assert layer.x is x and layer.W is W and layer.b is b and layer.stride == stride and layer.pad == pad
    np.testing.assert_array_equal(layer.col, col)
    np.testing.assert_array_equal(layer.col_W, W.reshape(4, -1).T)
    dout = normal(rng, *out.shape, dtype=dtype)
    dx = layer.backward(dout)
    flat = dout.transpose(0, 2, 3, 1).reshape(-1, 4)
    close(layer.db, flat.sum(axis=0), dtype)
    close(layer.dW, (col.T @ flat).T.reshape(W.shape), dtype)
    close(dx, functions.col2im(flat @ W.reshape(4, -1), x.shape, 3, 3, stride, pad), dtype)
    for a in (out, dx, layer.dW, layer.db):
        assert a.dtype == dtype and a.flags.writeable and a.flags.c_contiguous


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"stride": (2, 1), "pad": (0, 2)},
        {"dilation": 2, "pad": 1},
        {"groups": 2},
        {"groups": 4, "dilation": (1, 2)},
    ],
    ids=str,
)
@pytest.mark.parametrize("bias", [True, False])
def test_convolution_gradients(rng, options, bias):
    W = normal(rng, 4, 4 // options.get("groups", 1), 3, 2)
    layer = layers.Convolution(W, normal(rng, 4) if bias else None, **options)
    assert len(layer.params) == len(layer.grads) == 1 + bias
    check_gradients(layer, normal(rng, 2, 4, 6, 6))
    if not bias:
        assert layer.b is None and layer.db is None


def test_convolution_bias_may_be_a_number(rng):
    """Book 1 ch. 7, apply_filter.py."""
    x, W = normal(rng, 1, 1, 9, 9, dtype=np.float32), normal(rng, 1, 1, 5, 5)
    layer = layers.Convolution(W, 0)
    close(layer.forward(x).ravel(), patches(x, 5, 5) @ W.ravel(), np.float32)
    layer.backward(np.ones((1, 1, 5, 5)))
    assert layer.db.shape == (1,) and layer.db == 25


def test_col_of_a_dilated_convolution(rng):
    x, W = normal(rng, 2, 3, 7, 7), normal(rng, 4, 3, 2, 3)
    layer = layers.Convolution(W, None, dilation=(3, 2))
    out = layer.forward(x)
    close(layer.col @ layer.col_W, out.transpose(0, 2, 3, 1).reshape(-1, 4))


def test_convolution_gradients_keep_their_arrays(rng):
    layer = layers.Convolution(normal(rng, 2, 1, 3, 3), np.zeros(2))
    dW, db = layer.grads
    for _ in range(2):
        x, dout = normal(rng, 4, 1, 5, 5), normal(rng, 4, 2, 3, 3)
        layer.forward(x)
        layer.backward(dout)
        assert layer.dW is dW and layer.db is db
        close(db, dout.sum(axis=(0, 2, 3)))
    layer.W, layer.b = normal(rng, 5, 1, 2, 2), np.zeros(5)
    check_gradients(layer, x)
    assert layer.dW.shape == (5, 1, 2, 2)


def test_convolution_casts_gradients_of_wider_operands(rng):
    x, W = normal(rng, 2, 1, 5, 5), normal(rng, 2, 1, 3, 3, dtype=np.float32)
    layer = layers.Convolution(W, np.zeros(2, np.float32))
    dW, wide = layer.dW, layers.Convolution(W.astype(np.float64), np.zeros(2))
    out, dout = layer.forward(x), normal(rng, 2, 2, 3, 3)
    assert out.dtype == np.float64
    close(out, wide.forward(x))
    close(layer.backward(dout), wide.backward(dout))
    assert layer.dW is dW and dW.dtype == np.float32
    close(dW, wide.dW, np.float32)


def test_the_first_layer_may_skip_its_input_gradient(rng):
    x, W, dout = normal(rng, 2, 3, 5, 5), normal(rng, 4, 3, 3, 3), normal(rng, 2, 4, 3, 3)
    whole, first = layers.Convolution(W, np.zeros(4)), layers.Convolution(W, np.zeros(4), input_gradient=False)
    for layer in (whole, first):
        layer.forward(x)
    assert whole.backward(dout).shape == x.shape and first.backward(dout) is None
    np.testing.assert_array_equal(first.dW, whole.dW)


def test_transposed_convolution(rng):
    """Forward is the gradient of a convolution with the same filters with respect to its input."""
    W, x = normal(rng, 4, 3, 3, 3), normal(rng, 2, 4, 3, 4)
    layer = layers.ConvTranspose2d(W, normal(rng, 3), stride=2, pad=1, output_padding=(1, 0))
    out = layer.forward(x)
    assert out.shape == (2, 3, 6, 7)
    dx = ops.conv2d_backward(x, np.zeros((2, 3, 6, 7)), W, (2, 2), (1, 1))[0]
    close(out, dx + layer.b[:, None, None])
    check_gradients(layer, x)
    check_gradients(layers.ConvTranspose2d(normal(rng, 4, 2, 2, 3), None, dilation=2, groups=2), x)


# ---- pooling -------------------------------------------------------------------------------------------------------


@dtypes
@pytest.mark.parametrize("pool_h, pool_w, stride", [(2, 2, 2), (3, 2, 1), (2, 3, 3)])
def test_pooling_is_the_books(rng, dtype, pool_h, pool_w, stride):
    x = rng.integers(0, 5, (2, 3, 7, 8)).astype(dtype)  # with ties
    layer = layers.Pooling(pool_h, pool_w, stride)
    assert layer.arg_max is None
    out = layer.forward(x)
    OH, OW = (7 - pool_h) // stride + 1, (8 - pool_w) // stride + 1
    col = patches(x, pool_h, pool_w, stride).reshape(-1, pool_h * pool_w)  # rows (n, oy, ox, c)
    np.testing.assert_array_equal(out, col.max(axis=1).reshape(2, OH, OW, 3).transpose(0, 3, 1, 2))
    assert layer.arg_max.dtype == np.int64 and layer.x is x
    np.testing.assert_array_equal(layer.arg_max, col.argmax(axis=1))
    dout = normal(rng, *out.shape, dtype=dtype)
    flat = dout.transpose(0, 2, 3, 1).ravel()
    dcol = np.zeros((flat.size, pool_h * pool_w), dtype)
    dcol[np.arange(flat.size), col.argmax(axis=1)] = flat
    dcol = dcol.reshape(2 * OH * OW, -1)
    dx = layer.backward(dout)
    close(dx, functions.col2im(dcol, x.shape, pool_h, pool_w, stride), dtype)
    assert out.dtype == dx.dtype == dtype and (layer.pool_h, layer.pool_w, layer.stride) == (pool_h, pool_w, stride)


def test_pooling_with_pad_and_ceil_mode(rng):
    x = normal(rng, 2, 3, 5, 6) - 10  # padding never wins
    layer = layers.Pooling(3, 3, stride=(2, 3), pad=1, ceil_mode=True)
    out = layer.forward(x)
    assert out.shape == (2, 3, 3, 3) and (out < 0).all()
    check_gradients(layer, x)


@pytest.mark.parametrize(
    "options", [{}, {"pad": 1}, {"pad": 1, "count_include_pad": False, "ceil_mode": True}], ids=str
)
def test_average_pooling(rng, options):
    x = normal(rng, 2, 3, 7, 8)
    layer = layers.AveragePooling(2, 3, **options)
    if not options:
        close(layer.forward(x).transpose(0, 2, 3, 1).ravel(), patches(x, 2, 3, 2).reshape(-1, 6).mean(axis=1))
    check_gradients(layer, x)


@pytest.mark.parametrize("layer, reduce", [(layers.GlobalMaxPooling, np.max), (layers.GlobalAveragePooling, np.mean)])
@pytest.mark.parametrize("keepdims", [False, True])
def test_global_pooling(rng, layer, reduce, keepdims):
    x = normal(rng, 2, 3, 4, 5)
    close(layer(keepdims).forward(x), reduce(x, axis=(2, 3), keepdims=keepdims))
    check_gradients(layer(keepdims), x)
    with pytest.raises(ValueError, match=rf"{layer.__name__}: x is \(3, 4\); it must be \(N, C, H, W\)"):
        layer().forward(np.zeros((3, 4)))


def test_flatten(rng):
    x = normal(rng, 2, 3, 4, 5)
    layer = layers.Flatten()
    assert np.shares_memory(layer.forward(x), x)
    np.testing.assert_array_equal(layer.forward(x), x.reshape(2, 60))
    check_gradients(layer, x)


# ---- normalisation -------------------------------------------------------------------------------------------------


def test_batch_normalization_of_images_is_per_position(rng):
    """The book's: gamma has C * H * W elements, or is a number."""
    x = normal(rng, 5, 2, 3, 3)
    for gamma, beta in ((normal(rng, 18), normal(rng, 18)), (1.5, 0.5)):
        layer = layers.BatchNormalization(gamma, beta)
        xn = (x - x.mean(axis=0)) / np.sqrt(x.var(axis=0) + 1e-6)
        close(layer.forward(x).reshape(5, -1), gamma * xn.reshape(5, -1) + beta)
        assert layer.running_mean.shape == (18,) == layer.running_var.shape
        assert layer.backward(x).shape == x.shape and layer.dgamma.shape == (18,)
    with pytest.raises(ValueError, match="batch_norm_forward: gamma"):
        layers.BatchNormalization(np.ones(2), np.zeros(2)).forward(x)


@dtypes
@pytest.mark.parametrize("shape", [(5, 3), (4, 3, 6), (4, 3, 5, 2)])
def test_batch_norm2d(rng, dtype, shape):
    x, gamma, beta = (normal(rng, *s, dtype=dtype) for s in (shape, (3,), (3,)))
    layer = layers.BatchNorm2d(gamma, beta, momentum=0.8)
    axes = tuple(i for i in range(len(shape)) if i != 1)
    column = (3, *[1] * (len(shape) - 2))
    out = layer.forward(x)
    x64 = x.astype(float)
    mean, var = x64.mean(axis=axes), x64.var(axis=axes)

    def normalised(mean, var):
        xn = (x64 - mean.reshape(column)) / np.sqrt(var.reshape(column) + 1e-5)
        return gamma.reshape(column) * xn + beta.reshape(column)

    close(out, normalised(mean, var), dtype)
    n = x.size // 3
    close(layer.running_mean, 0.2 * mean, dtype)
    close(layer.running_var, 0.8 + 0.2 * var * n / (n - 1), dtype)
    assert layer.running_mean.dtype == layer.running_var.dtype == out.dtype == dtype
    evaluated = layer.forward(x, train_flg=False)
    close(evaluated, normalised(layer.running_mean.astype(float), layer.running_var.astype(float)), dtype)
    assert layer.backward(out).dtype == dtype


def test_batch_norm2d_gradients(rng):
    layer = layers.BatchNorm2d(normal(rng, 3), normal(rng, 3))
    dgamma = layer.dgamma
    check_gradients(layer, normal(rng, 4, 3, 2, 3), train_flg=True)
    assert layer.dgamma is dgamma
    with pytest.raises(AttributeError, match="no forward in training mode yet"):
        layers.BatchNorm2d(np.ones(3), np.zeros(3)).backward(np.zeros((4, 3, 2, 3)))


@dtypes
@pytest.mark.parametrize("shape, last", [((4, 6), (6,)), ((2, 3, 6), (6,)), ((2, 3, 4, 5), (3, 4, 5)), ((6,), (6,))])
def test_layer_norm(rng, dtype, shape, last):
    x, gamma, beta = (normal(rng, *s, dtype=dtype) for s in (shape, last, last))
    layer = layers.LayerNorm(gamma, beta)
    axes = tuple(range(-len(last), 0))
    x64 = x.astype(float)
    xn = (x64 - x64.mean(axis=axes, keepdims=True)) / np.sqrt(x64.var(axis=axes, keepdims=True) + 1e-5)
    out = layer.forward(x)
    close(out, gamma * xn + beta, dtype)
    assert out.dtype == dtype and layer.backward(out).shape == shape
    if dtype == np.float64:
        check_gradients(layer, x)


def test_layer_norm_errors_name_the_shapes():
    layer = layers.LayerNorm(np.ones((3, 4)), np.zeros((3, 4)))
    for shape in ((3,), (4, 3), (2, 3, 5)):
        with pytest.raises(ValueError, match=r"LayerNorm: x is .* but gamma is \(3, 4\)"):
            layer.forward(np.zeros(shape))


@dtypes
@pytest.mark.parametrize("groups", [1, 2, 6])
def test_group_norm(rng, dtype, groups):
    x, gamma, beta = (normal(rng, *s, dtype=dtype) for s in ((3, 6, 2, 3), (6,), (6,)))
    layer = layers.GroupNorm(groups, gamma, beta)
    parts = x.reshape(3, groups, -1).astype(float)
    xn = (parts - parts.mean(axis=2, keepdims=True)) / np.sqrt(parts.var(axis=2, keepdims=True) + 1e-5)
    out = layer.forward(x)
    close(out, gamma[:, None, None] * xn.reshape(x.shape) + beta[:, None, None], dtype)
    assert out.dtype == dtype
    if dtype == np.float64:
        check_gradients(layer, x)


# ---- dropout -------------------------------------------------------------------------------------------------------


def test_dropout2d_drops_channels(rng):
    x = normal(rng, 40, 50, 2, 3)
    layer = layers.Dropout2d(0.3, rng=1)
    assert layer.mask is None
    out = layer.forward(x)
    assert layer.mask.shape == (40, 50) and layer.mask.dtype == np.bool_ and 0.65 < layer.mask.mean() < 0.75
    scale = layer.mask[:, :, None, None] / 0.7
    close(out, x * scale)
    close(layer.backward(x), x * scale)
    mask = layer.mask
    evaluated = layer.forward(x, train_flg=False)
    np.testing.assert_array_equal(evaluated, x)
    assert evaluated is not x and (layer.mask == mask).all()
    assert not layers.Dropout2d(1.0).forward(x).any()
    np.testing.assert_array_equal(layers.Dropout2d(0.3, rng=1).forward(x), out)


# ---- bad input -----------------------------------------------------------------------------------------------------


W, B = np.zeros((4, 3, 3, 3)), np.zeros(4)
X = np.zeros((2, 3, 5, 5))


@pytest.mark.parametrize(
    "layer, x, message",
    [
        (layers.Convolution(np.zeros((4, 3, 6, 3)), B), X, r"x is \(2, 3, 5, 5\) and W is \(4, 3, 6, 3\).*filter"),
        (layers.Convolution(W, B, dilation=3), X, r"dilation \(3, 3\) covers \(7, 7\)"),
        (layers.Convolution(W, B, stride=0), X, r"stride is \(0, 0\)"),
        (layers.Convolution(W, B, stride=(1, -1)), X, r"stride is \(1, -1\)"),
        (layers.Convolution(W, B, pad=-1), X, r"padding is \(-1, -1\)"),
        (layers.Convolution(W, B), np.zeros((2, 4, 5, 5)), r"x is \(2, 4, 5, 5\) but W is \(4, 3, 3, 3\)"),
        (layers.Convolution(W, B, groups=2), X, "3 channels of x cannot be divided into groups = 2"),
        (layers.Convolution(W, np.zeros(5)), X, r"b is \(5,\) but there are 4 filters"),
        (layers.Convolution(W, B), X[0], r"x is \(3, 5, 5\); it must have 4 dimensions"),
        (layers.Convolution(W, B, pad=2**40), X, r"padding is \(1099511627776"),
        (layers.Convolution(W, B, pad=2**20), X, "at most 2,147,483,647 are possible"),
        (layers.ConvTranspose2d(W, None), X, r"x is \(2, 3, 5, 5\) but W is \(4, 3, 3, 3\)"),
        (layers.Pooling(6, 2), X, r"\(6, 2\)"),
        (layers.Pooling(2, 2, stride=0), X, r"stride is \(0, 0\)"),
        (layers.Pooling(2, 2, pad=2), X, r"padding is \(2, 2\); it must be at most half"),
        (layers.Pooling(2, 2), X[0], "x is"),
        (layers.AveragePooling(2, 6), X, r"\(2, 6\)"),
        (layers.BatchNorm2d(np.ones(4), np.zeros(4)), X, r"gamma is \(4,\)"),
        (layers.GroupNorm(2, np.ones(3), np.zeros(3)), X, "groups"),
    ],
    ids=lambda value: getattr(value, "shape", "") or None if isinstance(value, np.ndarray) else None,
)
def test_bad_input(layer, x, message):
    with pytest.raises(ValueError, match=message):
        layer.forward(x)


def test_a_ratio_out_of_range_is_refused_at_once():
    for layer in layers.Dropout, layers.Dropout2d:
        with pytest.raises(ValueError, match=r"ratio is 1\.5"):
            layer(1.5)


def test_bad_types():
    with pytest.raises(TypeError, match=r"stride is \(1.5, 1.5\); it must be an integer or a pair"):
        layers.Convolution(W, B, stride=1.5).forward(X)
    with pytest.raises(TypeError, match="x has dtype complex128"):
        layers.Convolution(W, B).forward(X.astype(complex))


def test_bad_gradients():
    layer = layers.Convolution(W, B)
    layer.forward(X)
    with pytest.raises(ValueError, match=r"dout is \(2, 4, 5, 5\).*dout must be \(2, 4, 3, 3\)"):
        layer.backward(np.zeros((2, 4, 5, 5)))
    assert not layer.dW.any()


# ---- functions and book 1 ------------------------------------------------------------------------------------------


def test_im2col_and_col2im(rng):
    x = normal(rng, 2, 3, 6, 5)
    col = functions.im2col(x, 3, 2, stride=2, pad=1)
    np.testing.assert_array_equal(col, patches(x, 3, 2, 2, 1))
    other = normal(rng, *col.shape)
    close(np.vdot(col, other), np.vdot(x, functions.col2im(other, x.shape, 3, 2, stride=2, pad=1)))
    assert functions.im2col(np.arange(16).reshape(1, 1, 4, 4), 2, 2).dtype == np.float64


def test_book1_convolution(rng):
    """Gradients are None at first and fresh arrays after; float64 weights give float64 for float32 images."""
    x, W, b = normal(rng, 2, 1, 5, 5, dtype=np.float32), normal(rng, 4, 1, 3, 3), np.zeros(4)
    layer, expected = book1.Convolution(W, b), layers.Convolution(W, b)
    assert layer.dW is None and layer.db is None
    kept = []
    for _ in range(2):
        dout = normal(rng, 2, 4, 3, 3)
        assert layer.forward(x).dtype == np.float64 == expected.forward(x).dtype
        close(layer.backward(dout), expected.backward(dout))
        kept.append((layer.dW, layer.db, expected.dW.copy(), expected.db.copy()))
    for dW, db, expected_dW, expected_db in kept:
        close(dW, expected_dW)
        close(db, expected_db)
    layer.W, layer.b = normal(rng, 2, 1, 4, 4), np.ones(2)
    assert layer.forward(x).shape == (2, 2, 2, 2)
    layer.backward(np.ones((2, 2, 2, 2)))
    assert layer.dW.shape == (2, 1, 4, 4)
    assert book1.Convolution(W, 0).forward(x).shape == (2, 4, 3, 3)


def test_book1_simple_convnet(rng, tmp_path):
    """Draws of NumPy's global generator, float64, the quirks of accuracy, pickles that rebind the parameters."""
    sizes = {"input_dim": (1, 8, 8), "conv_param": {"filter_num": 3, "filter_size": 3, "pad": 0, "stride": 1}}
    np.random.seed(3)
    net = book1.SimpleConvNet(**sizes, hidden_size=5, output_size=4)
    np.random.seed(3)
    for name, shape in (("W1", (3, 1, 3, 3)), ("W2", (27, 5)), ("W3", (5, 4))):
        np.testing.assert_array_equal(net.params[name], 0.01 * np.random.randn(*shape))
    x = normal(rng, 25, 1, 8, 8, dtype=np.float32)
    labels = net.predict(x).argmax(axis=1)
    assert net.accuracy(x, labels, batch_size=10) == 20 / 25 and net.accuracy(x, np.eye(4)[labels]) == 0
    gradient = net.gradient(x, labels)
    kept = gradient["W1"].copy()
    net.gradient(-x, labels)
    assert gradient["W1"].dtype == np.float64 and (gradient["W1"] == kept).all()

    net.save_params(tmp_path / "params.pkl")
    other = book1.SimpleConvNet(**sizes, hidden_size=5, output_size=4)
    before = other.params["W1"]
    other.load_params(tmp_path / "params.pkl")
    assert other.params["W1"] is not before and other.layers["Conv1"].W is other.params["W1"]
    np.testing.assert_array_equal(other.predict(x), net.predict(x))


def test_book1_deep_convnet(rng):
    small = {"filter_num": 4, "filter_size": 3, "pad": 1, "stride": 1}
    np.random.seed(3)
    net = book1.DeepConvNet((1, 8, 8), *[small] * 6, hidden_size=5, output_size=3)
    np.random.seed(3)
    shapes = [(4, 1, 3, 3), *[(4, 4, 3, 3)] * 5, (4, 5), (5, 3)]
    for i, (shape, fan_in) in enumerate(zip(shapes, [9, *[36] * 5, 4, 5], strict=True), 1):
        np.testing.assert_array_equal(net.params[f"W{i}"], np.sqrt(2 / fan_in) * np.random.randn(*shape))
    assert all(isinstance(net.layers[i], book1.Dropout) for i in (17, 19))
    x, t = normal(rng, 6, 1, 8, 8), np.arange(6) % 3
    np.random.seed(4)
    first = net.loss(x, t)
    np.random.seed(4)
    assert net.loss(x, t) == first != net.loss(x, t)
    assert sorted(net.gradient(x, t)) == sorted(net.params)
    assert net.predict(x).shape == (6, 3)
