"""Layers against plain NumPy formulas and numerical gradients, what they keep, and what they leave alone."""

import math

import numpy as np
import pytest
from every_backend import backend, on_every_backend  # noqa: F401

from fastnn import layers, time_layers
from fastnn.gradient import numerical_gradient

pytestmark = on_every_backend
dtypes = pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["float32", "float64"])


@pytest.fixture
def rng():
    return np.random.default_rng(7)


def normal(rng, *shape, dtype=np.float64):
    return rng.standard_normal(shape).astype(dtype)


def close(got, expected, dtype=np.float64):
    tolerance = 2e-5 if dtype == np.float32 else 1e-12
    np.testing.assert_allclose(got, expected, rtol=tolerance, atol=tolerance)


def check_gradients(layer, x, *, train_flg=None):
    """dx and every entry of grads against central differences of sum(forward(x) * dout), in float64."""
    options = () if train_flg is None else (train_flg,)
    dout = np.random.default_rng(1).standard_normal(layer.forward(x, *options).shape)
    dx = layer.backward(dout)
    grads = [np.array(g) for g in layer.grads]

    def f(_):
        return float(np.sum(layer.forward(x, *options) * dout))

    assert dx.shape == x.shape
    np.testing.assert_allclose(dx, numerical_gradient(f, x), rtol=1e-6, atol=1e-7)
    for p, g in zip(layer.params, grads, strict=True):
        np.testing.assert_allclose(g, numerical_gradient(f, p), rtol=1e-6, atol=1e-7)


# ---- nodes of the graph --------------------------------------------------------------------------------------------


def test_apple_shopping():
    """Book 1 ch. 5: 2 apples at 100 and 3 oranges at 150, 10 % tax: 715 yen."""
    apple, orange, total, tax = layers.MulLayer(), layers.MulLayer(), layers.AddLayer(), layers.MulLayer()
    assert tax.forward(total.forward(apple.forward(100, 2), orange.forward(150, 3)), 1.1) == pytest.approx(715)
    dprice, dtax = tax.backward(1)
    dapples, doranges = total.backward(dprice)
    assert (*apple.backward(dapples), *orange.backward(doranges), dtax) == pytest.approx((2.2, 110, 3.3, 165, 650))


def test_repeat_and_sum_are_each_others_backward(rng):
    x, dout = normal(rng, 1, 8), normal(rng, 7, 8)
    repeat, add = layers.Repeat(7), layers.Sum()
    assert repeat.forward(x).shape == (7, 8) and (repeat.forward(x) == x).all()
    close(repeat.backward(dout), add.forward(dout))
    assert add.forward(dout).shape == (1, 8)
    assert (add.backward(x) == x).all() and add.backward(x).shape == (7, 8)
    assert repeat.forward(x[0]).shape == (7, 8) and repeat.backward(dout).shape == (8,)


# ---- products ------------------------------------------------------------------------------------------------------


@dtypes
def test_affine(rng, dtype):
    x, W, b, dout = (normal(rng, *s, dtype=dtype) for s in ((5, 7), (7, 3), (3,), (5, 3)))
    layer = layers.Affine(W, b)
    out, dx = layer.forward(x), layer.backward(dout)
    for got, expected in ((out, x @ W + b), (dx, dout @ W.T), (layer.dW, x.T @ dout), (layer.db, dout.sum(axis=0))):
        close(got, expected, dtype)
        assert got.dtype == dtype and got.flags.writeable
    assert layer.W is W and layer.params[1] is b and layer.dW is layer.grads[0] and layer.x is x
    assert layer.original_x_shape == (5, 7)


def test_affine_takes_images(rng):
    x, W, b = normal(rng, 4, 2, 3, 3), normal(rng, 18, 5), normal(rng, 5)
    layer = layers.Affine(W, b)
    close(layer.forward(x), x.reshape(4, -1) @ W + b)
    assert layer.original_x_shape == (4, 2, 3, 3)
    assert layer.x.shape == (4, 18) and np.shares_memory(layer.x, x)
    check_gradients(layer, x)


def test_affine_takes_one_sample_and_lists(rng):
    W, b = normal(rng, 3, 2), normal(rng, 2)
    layer = layers.Affine(W, b)
    x = normal(rng, 3)
    assert layer.forward(x).shape == (1, 2)
    check_gradients(layer, x)
    close(layer.forward([[1.0, 2, 3]]), np.array([[1.0, 2, 3]]) @ W + b)


def test_affine_gradients_keep_their_arrays(rng):
    layer = layers.Affine(normal(rng, 3, 2), normal(rng, 2))
    dW, db = layer.grads
    for _ in range(2):
        x, dout = normal(rng, 4, 3), normal(rng, 4, 2)
        layer.forward(x)
        layer.backward(dout)
        assert layer.dW is dW and layer.db is db
        close(dW, x.T @ dout)


def test_affine_reads_its_parameters_at_every_call(rng):
    x, W = normal(rng, 4, 3), normal(rng, 3, 2)
    layer = layers.Affine(W, np.zeros(2))
    layer.forward(x)
    W *= 2
    close(layer.forward(x), x @ W)
    dW = layer.dW
    layer.W = normal(rng, 3, 2)
    assert layer.dW is dW
    close(layer.forward(x), x @ layer.W)
    layer.W, layer.b = normal(rng, 3, 5), np.zeros(5)
    check_gradients(layer, x)


def test_affine_casts_gradients_of_wider_operands(rng):
    x, W, b, dout = normal(rng, 4, 3), normal(rng, 3, 2, dtype=np.float32), np.zeros(2, np.float32), normal(rng, 4, 2)
    layer = layers.Affine(W, b)
    dW = layer.dW
    assert layer.forward(x).dtype == np.float64 and layer.backward(dout).dtype == np.float64
    assert layer.dW is dW and dW.dtype == np.float32
    close(dW, x.T @ dout, np.float32)


def test_affine_takes_transposed_and_integer_parameters(rng):
    W = normal(rng, 5, 3)
    layer = layers.Affine(W.T, np.arange(5))  # a tied weight of book 2, and a bias of integers
    assert layer.dW.flags.f_contiguous and layer.db.dtype == np.float64
    x, dout = normal(rng, 4, 3), normal(rng, 4, 5)
    close(layer.forward(x), x @ W.T + np.arange(5))
    close(layer.backward(dout), dout @ W)
    close(layer.dW, x.T @ dout)


@pytest.mark.parametrize("order", "<>")
def test_affine_takes_either_byte_order(rng, order):
    W, b, x = normal(rng, 5, 3), normal(rng, 3), normal(rng, 4, 5)
    layer = layers.Affine(*(np.asfortranarray(p).astype(p.dtype.newbyteorder(order)) for p in (W, b)))
    close(layer.forward(x), x @ W + b)
    close(layer.backward(x @ W), x @ W @ W.T)
    close(layer.dW, x.T @ (x @ W))


def test_affine_takes_an_empty_batch(rng):
    layer = layers.Affine(normal(rng, 12, 2), normal(rng, 2))
    assert layer.forward(np.zeros((0, 3, 4))).shape == (0, 2)
    assert layer.backward(np.zeros((0, 2))).shape == (0, 3, 4)
    assert not layer.dW.any() and not layer.db.any()


def test_affine_errors_name_the_shapes(rng):
    layer = layers.Affine(normal(rng, 784, 50), np.zeros(50))
    with pytest.raises(ValueError, match=r"affine_forward: x is \(3, 10\) but W is \(784, 50\)"):
        layer.forward(np.zeros((3, 10)))
    with pytest.raises(TypeError, match="affine_forward: x has dtype complex128"):
        layer.forward(np.zeros((3, 784), complex))
    layer.forward(np.zeros((3, 784)))
    with pytest.raises(ValueError, match=r"affine_backward: dout is \(4, 50\)"):
        layer.backward(np.zeros((4, 50)))


@dtypes
def test_matmul(rng, dtype):
    W = normal(rng, 6, 4, dtype=dtype)
    layer = layers.MatMul(W)
    dW = layer.grads[0]
    for shape in ((5, 6), (2, 3, 6), (6,)):
        x, dout = normal(rng, *shape, dtype=dtype), normal(rng, *shape[:-1], 4, dtype=dtype)
        out = layer.forward(x)
        assert out.shape == dout.shape
        close(out, x @ W, dtype)
        close(layer.backward(dout), dout @ W.T, dtype)
        close(dW, x.reshape(-1, 6).T @ dout.reshape(-1, 4), dtype)
        assert layer.grads[0] is dW and layer.dW is dW


def test_matmul_of_integers_promotes(rng):
    """Book 2 ch. 3: int32 one-hot contexts and float32 weights give float64, the stored gradient stays float32."""
    layer = layers.MatMul(normal(rng, 7, 3, dtype=np.float32))
    x = np.eye(7, dtype=np.int32)[[2, 5]]
    out = layer.forward(x)
    assert out.dtype == np.float64 and (out == layer.W[[2, 5]]).all()
    assert layer.backward(out).dtype == np.float64
    assert layer.dW.dtype == np.float32


# ---- activations ---------------------------------------------------------------------------------------------------


def erf(x):
    return np.vectorize(math.erf)(x)


def logistic(x):
    return 1 / (1 + np.exp(-x))


def gelu_tanh(x):
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


FORMULAS = {  # class and arguments -> formula
    (layers.Identity,): lambda x: x,
    (layers.Step,): lambda x: np.where(x > 0, 1.0, 0.0),
    (layers.Sigmoid,): logistic,
    (layers.Tanh,): np.tanh,
    (layers.Relu,): lambda x: np.maximum(x, 0),
    (layers.LeakyRelu,): lambda x: np.where(x > 0, x, 0.01 * x),
    (layers.LeakyRelu, 0.3): lambda x: np.where(x > 0, x, 0.3 * x),
    (layers.ELU,): lambda x: np.where(x > 0, x, np.exp(x) - 1),
    (layers.ELU, 0.5): lambda x: np.where(x > 0, x, 0.5 * (np.exp(x) - 1)),
    (layers.SELU,): lambda x: 1.0507009873554805 * np.where(x > 0, x, 1.6732632423543772 * (np.exp(x) - 1)),
    (layers.Softplus,): lambda x: np.log(1 + np.exp(x)),
    (layers.Softsign,): lambda x: x / (1 + np.abs(x)),
    (layers.HardSigmoid,): lambda x: np.clip(x / 6 + 0.5, 0, 1),
    (layers.Swish,): lambda x: x * logistic(x),
    (layers.SiLU,): lambda x: x * logistic(x),
    (layers.GELU,): lambda x: x * (1 + erf(x / np.sqrt(2))) / 2,
    (layers.GELU, True): gelu_tanh,
    (layers.Mish,): lambda x: x * np.tanh(np.log(1 + np.exp(x))),
}
activations = pytest.mark.parametrize("how", FORMULAS, ids=lambda how: "-".join([how[0].__name__, *map(str, how[1:])]))


@dtypes
@activations
def test_activation(rng, how, dtype):
    x = 3 * normal(rng, 3, 5, 2, dtype=dtype)
    out = how[0](*how[1:]).forward(x)
    assert out.dtype == dtype and out.shape == x.shape
    close(out, FORMULAS[how](x.astype(np.float64)), dtype)


@activations
def test_activation_gradient(rng, how):
    check_gradients(how[0](*how[1:]), 2 * normal(rng, 3, 4))


@activations
def test_activation_output_belongs_to_the_caller(rng, how):
    """Book 2's end of section 7: scripts add to what forward and backward return; the next backward must not notice."""
    layer, x, dout = how[0](*how[1:]), normal(rng, 4, 3), normal(rng, 4, 3)
    x_before, dout_before = x.copy(), dout.copy()
    out = layer.forward(x)
    expected = layer.backward(dout).copy()
    out *= 100
    dx = layer.backward(dout)
    dx += 1
    close(layer.backward(dout), expected)
    assert (x == x_before).all() and (dout == dout_before).all()


def test_relu_mask(rng):
    relu = layers.Relu()
    assert relu.mask is None
    x = np.array([[-1.0, 0.0, 2.0], [np.nan, -0.0, 1e-300]])
    np.testing.assert_array_equal(relu.forward(x), [[0, 0, 2], [np.nan, 0, 1e-300]])
    assert relu.mask.dtype == np.bool_
    np.testing.assert_array_equal(relu.mask, [[True, True, False], [False, True, False]])
    np.testing.assert_array_equal(relu.backward(np.ones((2, 3))), [[0, 0, 1], [1, 0, 1]])


def test_sigmoid_and_tanh_keep_their_output(rng):
    x = normal(rng, 4, 3)
    for layer in (layers.Sigmoid(), layers.Tanh()):
        out = layer.forward(x)
        close(layer.out, out)
        assert layer.params == layer.grads == []


def test_sigmoid_does_not_warn():
    np.testing.assert_array_equal(layers.Sigmoid().forward(np.array([-1e4, 0.0, 1e4])), [0, 0.5, 1])


# ---- softmax and the losses ----------------------------------------------------------------------------------------


def softmax(x):
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def check_loss_gradient(layer, x, t):
    layer.forward(x, t)
    dx = layer.backward()
    np.testing.assert_allclose(dx, numerical_gradient(lambda x: layer.forward(x, t), x), atol=2e-7)
    layer.forward(x, t)
    close(layer.backward(3.0), 3 * dx)


@pytest.mark.parametrize("shape", [(4, 5), (2, 3, 5), (5,)])
def test_softmax(rng, shape):
    layer, x = layers.Softmax(), normal(rng, *shape)
    y = layer.forward(x)
    close(y, softmax(x))
    close(layer.out, y)
    check_gradients(layer, x)
    layer.forward(x)[...] = 0
    close(layer.out, softmax(x))


@dtypes
@pytest.mark.parametrize("label_dtype", [np.uint8, np.int32, np.int64, np.uint16])
def test_softmax_with_loss(rng, dtype, label_dtype):
    x, t = normal(rng, 6, 4, dtype=dtype), rng.integers(0, 4, 6).astype(label_dtype)
    layer = layers.SoftmaxWithLoss()
    loss = layer.forward(x, t)
    y = softmax(x.astype(np.float64))
    assert isinstance(loss, float) and layer.loss == loss and layer.t is t
    close(loss, -np.log(y[np.arange(6), t] + 1e-7).mean(), dtype)
    close(layer.y, y, dtype)
    dx = layer.backward()
    assert dx.dtype == dtype
    close(dx, (y - np.eye(4)[t]) / 6, dtype)
    onehot = layers.SoftmaxWithLoss()
    close(onehot.forward(x, np.eye(4)[t]), loss, dtype)
    close(onehot.backward(2.0), 2 * dx, dtype)


def test_softmax_with_loss_has_the_books_epsilon():
    loss = layers.SoftmaxWithLoss().forward(np.array([[100.0, 0.0]]), np.array([1]))
    assert loss == pytest.approx(-math.log(1e-7))
    assert layers.SoftmaxCrossEntropy().forward(np.array([[100.0, 0.0]]), np.array([1])) == pytest.approx(100)


def test_softmax_with_loss_takes_one_sample(rng):
    x = normal(rng, 1, 4)
    layer = layers.SoftmaxWithLoss()
    loss = layer.forward(x, np.array([2]))
    dx = layer.backward()
    for x1, t in ((x, np.array([[2]])), (x[0], np.eye(4)[2]), (x[0], np.array(2)), (x[0], 2), (x, [2])):
        assert layer.forward(x1, t) == loss
        assert layer.y.shape == x1.shape
        np.testing.assert_array_equal(layer.backward(), dx.reshape(x1.shape))


def test_labels_in_a_column(rng):
    x, t = normal(rng, 5, 3), rng.integers(0, 3, 5)
    layer = layers.SoftmaxWithLoss()
    assert layer.forward(x, t.reshape(-1, 1)) == layer.forward(x, t)


def test_softmax_cross_entropy_options(rng):
    x, t, weight = normal(rng, 6, 4), np.array([0, 1, -1, 3, 2, -1]), np.array([1.0, 2.0, 0.5, 3.0])
    layer = layers.SoftmaxCrossEntropy(weight, ignore_index=-1, label_smoothing=0.1)
    counted = t != -1
    logp = np.log(softmax(x))[counted]
    q = 0.9 * np.eye(4)[t[counted]] + 0.1 / 4
    close(layer.forward(x, t), -(q * weight * logp).sum() / weight[t[counted]].sum())
    check_loss_gradient(layer, x, t)
    check_loss_gradient(layers.SoftmaxCrossEntropy(), x, softmax(normal(rng, 6, 4)))
    assert math.isnan(layer.forward(x, np.full(6, -1)))


def test_softmax_with_loss_gradient(rng):
    check_loss_gradient(layers.SoftmaxWithLoss(), normal(rng, 5, 3), np.array([0, 2, 1, 1, 2]))


def test_softmax_with_loss_errors(rng):
    layer = layers.SoftmaxWithLoss()
    with pytest.raises(IndexError, match=r"t\[1\] is 10; labels must lie in \[0, 10\)"):
        layer.forward(np.zeros((2, 10)), np.array([3, 10]))
    with pytest.raises(ValueError, match="labels must have shape"):
        layer.forward(np.zeros((2, 10)), np.array([3, 1, 2]))
    with pytest.raises(ValueError, match=r"targets must be \(2, 10\)"):
        layer.forward(np.zeros((2, 10)), np.zeros((10, 2)))
    with pytest.raises(TypeError, match="labels are integers"):
        layer.forward(np.zeros((2, 10)), np.array([3.0, 1.0]))


@dtypes
@pytest.mark.parametrize("shape", [(6,), (6, 1), (3, 4)])
def test_sigmoid_with_loss(rng, dtype, shape):
    x = normal(rng, *shape, dtype=dtype)
    y = logistic(x.astype(np.float64))
    for t in (
        rng.integers(0, 2, shape),
        rng.integers(0, 2, (*shape, 1)),
        rng.integers(0, 2, shape) == 1,
        rng.integers(0, 2, shape).astype(dtype),
    ):
        layer = layers.SigmoidWithLoss()
        loss = layer.forward(x, t)
        target = t.reshape(shape)
        assert isinstance(loss, float) and layer.loss == loss
        close(loss, -np.log(np.where(target, y, 1 - y) + 1e-7).mean(), dtype)
        close(layer.y, y, dtype)
        dx = layer.backward(2.0)
        assert dx.dtype == dtype and dx.shape == shape
        close(dx, 2 * (y - target) / x.size, dtype)


def test_sigmoid_with_loss_errors(rng):
    with pytest.raises(ValueError, match=r"x is \(2, 3\) but t is \(3, 2\)"):
        layers.SigmoidWithLoss().forward(np.zeros((2, 3)), np.zeros((3, 2)))


def test_mean_squared_error(rng):
    y, t = normal(rng, 4, 3), normal(rng, 4, 3)
    layer = layers.MeanSquaredError()
    close(layer.forward(y, t), np.mean((y - t) ** 2))
    check_loss_gradient(layer, y, t)
    with pytest.raises(ValueError, match="squared_error_forward: y is"):
        layer.forward(y, t[:2])
    assert math.isnan(layer.forward(np.zeros((0, 3)), np.zeros((0, 3))))


# ---- normalisation and regularisation ------------------------------------------------------------------------------


@dtypes
def test_batch_normalization(rng, dtype):
    x, gamma, beta = normal(rng, 20, 4, dtype=dtype), normal(rng, 4, dtype=dtype), normal(rng, 4, dtype=dtype)
    layer = layers.BatchNormalization(gamma, beta)
    running_mean, running_var = np.zeros(4), np.zeros(4)
    for _ in range(3):
        out = layer.forward(x)
        mean, var = x.mean(axis=0), x.var(axis=0)
        close(out, gamma * (x - mean) / np.sqrt(var + 1e-6) + beta, dtype)
        running_mean, running_var = 0.9 * running_mean + 0.1 * mean, 0.9 * running_var + 0.1 * var
        x = 2 * x + 1
    close(layer.running_mean, running_mean, dtype)
    close(layer.running_var, running_var, dtype)
    assert out.dtype == dtype and layer.batch_size == 20 and layer.input_shape == (20, 4)
    close(layer.xc, (x - 1) / 2 - mean, dtype)
    close(layer.std, np.sqrt(var + 1e-6), dtype)
    close(layer.xn, layer.xc / layer.std, dtype)
    evaluated = layer.forward(x, train_flg=False)
    assert evaluated.dtype == dtype
    close(evaluated, gamma * (x - running_mean) / np.sqrt(running_var + 1e-6) + beta, dtype)
    close(layer.running_mean, running_mean, dtype)


def test_batch_normalization_gradient(rng):
    layer = layers.BatchNormalization(normal(rng, 3), normal(rng, 3))
    dgamma, dbeta = layer.grads
    check_gradients(layer, normal(rng, 6, 3), train_flg=True)
    assert layer.dgamma is dgamma and layer.grads[1] is dbeta and dgamma.any()


def test_batch_normalization_of_images_is_per_position(rng):
    x = normal(rng, 5, 2, 3, 3)
    layer = layers.BatchNormalization(np.ones(18), np.zeros(18))
    flat = layers.BatchNormalization(np.ones(18), np.zeros(18))
    np.testing.assert_array_equal(layer.forward(x), flat.forward(x.reshape(5, 18)).reshape(x.shape))
    assert layer.running_mean.shape == (18,) and layer.input_shape == x.shape
    dout = normal(rng, 5, 2, 3, 3)
    np.testing.assert_array_equal(layer.backward(dout), flat.backward(dout.reshape(5, 18)).reshape(x.shape))
    np.testing.assert_array_equal(layer.dgamma, flat.dgamma)
    with pytest.raises(ValueError, match=r"gamma is \(2,\) but x is \(5, 18\)"):
        layers.BatchNormalization(np.ones(2), np.zeros(2)).forward(x)


def test_batch_normalization_with_numbers(rng):
    x, dout = normal(rng, 5, 4), normal(rng, 5, 4)
    layer, full = layers.BatchNormalization(2.0, 0.5), layers.BatchNormalization(np.full(4, 2.0), np.full(4, 0.5))
    np.testing.assert_array_equal(layer.forward(x), full.forward(x))
    np.testing.assert_array_equal(layer.backward(dout), full.backward(dout))
    np.testing.assert_array_equal(layer.dgamma, full.dgamma)
    assert layer.dbeta.shape == (4,)


def test_batch_normalization_evaluation_leaves_the_training_pass(rng):
    x, dout = normal(rng, 6, 3), normal(rng, 6, 3)
    layer = layers.BatchNormalization(np.ones(3), np.zeros(3))
    with pytest.raises(AttributeError, match="no forward in training mode"):
        layer.backward(dout)
    np.testing.assert_allclose(layer.forward(x, train_flg=False), 1000 * x)  # no statistics yet: variance 0
    layer.forward(x)
    expected, xn = layer.backward(dout), layer.xn
    layer.forward(normal(rng, 9, 3), False)
    np.testing.assert_array_equal(layer.backward(dout), expected)
    np.testing.assert_array_equal(layer.xn, xn)
    assert layer.batch_size == 6


def test_batch_normalization_output_belongs_to_the_caller(rng):
    x, dout = normal(rng, 6, 3), normal(rng, 6, 3)
    layer = layers.BatchNormalization(np.ones(3), np.zeros(3))
    out = layer.forward(x)
    expected = layer.backward(dout)
    out += 1
    np.testing.assert_array_equal(layer.backward(dout), expected)


@dtypes
def test_dropout(rng, dtype):
    x, dout = normal(rng, 100, 30, dtype=dtype), normal(rng, 100, 30, dtype=dtype)
    layer = layers.Dropout(0.3, rng=5)
    assert layer.mask is None
    out = layer.forward(x)
    assert layer.mask.dtype == np.bool_ and layer.mask.shape == x.shape
    assert abs(layer.mask.mean() - 0.7) < 0.05
    np.testing.assert_array_equal(out, x * layer.mask)  # not inverted: the books' rule
    np.testing.assert_array_equal(layer.backward(dout), dout * layer.mask)
    mask = layer.mask
    evaluated = layer.forward(x, train_flg=False)
    assert evaluated.dtype == dtype
    close(evaluated, x * 0.7, dtype)
    np.testing.assert_array_equal(layer.mask, mask)
    assert (layer.forward(x) != out).any()


def test_dropout_is_reproducible_and_the_same_on_all_backends(rng):
    x = np.ones((3, 5))
    a, b = layers.Dropout(0.5, rng=3), layers.Dropout(0.5, rng=np.random.default_rng(3))
    assert (a.forward(x) == b.forward(x)).all() and (a.forward(x) == b.forward(x)).all()
    assert "".join(map(str, layers.Dropout(0.5, rng=3).forward(np.ones(20, int)).astype(int))) == "11101110111010001000"
    with pytest.raises(ValueError, match="ratio is"):
        layers.Dropout(1.5).forward(x)


def test_backward_before_forward(rng):
    f = rng.standard_normal
    for layer, dout in [
        (time_layers.TimeRNN(f((4, 4)), f((4, 4)), f(4)), f((2, 3, 4))),
        (time_layers.TimeLSTM(f((4, 16)), f((4, 16)), f(16)), f((2, 3, 4))),
        (time_layers.TimeGRU(f((4, 12)), f((4, 12)), f(12)), f((2, 3, 4))),
        (layers.LayerNorm(f(4), f(4)), f((2, 4))),
        (layers.Flatten(), f((2, 4))),
        (layers.Pooling(2, 2), f((2, 1, 4, 4))),
        (layers.GlobalMaxPooling(), f((2, 3))),
        (layers.Concatenate([layers.Relu()], [layers.Relu()]), f((2, 4))),
        (layers.SigmoidWithLoss(), 1.0),
    ]:
        with pytest.raises(RuntimeError, match=f"^{type(layer).__name__}: backward needs a forward before it"):
            layer.backward(dout)
    for layer in layers.Affine(f((4, 4)), f(4)), layers.Relu(), layers.Sigmoid(), layers.Dropout():
        with pytest.raises(TypeError, match=r"is None; .* \(a layer's backward needs a forward before it\)"):
            layer.backward(f((2, 4)))
