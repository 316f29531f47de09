"""Numerical gradients, and backpropagation of the networks against them in float64."""

import numpy as np
import pytest
from every_backend import backend, on_every_backend, one_thread  # noqa: F401

from fastnn import models
from fastnn.compat import book1
from fastnn.gradient import gradient_check, numerical_gradient, numerical_gradient_2d

pytestmark = [on_every_backend, pytest.mark.usefixtures("one_thread")]


@pytest.fixture
def digits():
    """Three samples as large as MNIST's, and their labels."""
    rng = np.random.default_rng(0)
    return rng.random((3, 784)), np.array([5, 0, 4])


def test_numerical_gradient_changes_the_callers_own_array():
    """The books' closures ignore their argument and read the parameter that is being changed."""
    W, seen = np.array([[1.0, 2.0], [3.0, 4.0]]), []

    def f(argument):
        seen.append(W.copy())
        assert argument is W
        return float((W**3).sum())

    before = W.copy()
    np.testing.assert_allclose(numerical_gradient(f, W), 3 * before**2, rtol=1e-6)
    np.testing.assert_array_equal(W, before)
    changed = [tuple(np.argwhere(w != before)[0]) for w in seen]
    assert changed == [(0, 0), (0, 0), (0, 1), (0, 1), (1, 0), (1, 0), (1, 1), (1, 1)]  # C order, twice each


def test_numerical_gradient_of_any_array():
    x = np.random.default_rng(0).standard_normal((2, 3, 4))[:, ::2].transpose(2, 0, 1)
    np.testing.assert_allclose(numerical_gradient(lambda x: np.sum(x**2), x), 2 * x, atol=1e-8)
    assert numerical_gradient(lambda x: x**2, np.array(3.0)) == pytest.approx(6)
    assert numerical_gradient(lambda x: np.sum(x**2), np.float32([3.0])).dtype == np.float32


def test_numerical_gradient_restores_when_f_fails():
    x = np.array([1.0, 2.0])
    with pytest.raises(ZeroDivisionError):
        numerical_gradient(lambda x: 1 / 0, x)
    np.testing.assert_array_equal(x, [1, 2])


def test_numerical_gradient_refuses_integers():
    with pytest.raises(TypeError, match="numerical_gradient: x must be an array of floats, not int64"):
        numerical_gradient(np.sum, np.array([3, 4]))
    with pytest.raises(TypeError, match="not list"):
        numerical_gradient(np.sum, [3.0, 4.0])


def test_numerical_gradient_2d_goes_row_by_row():
    X, shapes = np.arange(6.0).reshape(3, 2), set()

    def f(row):
        shapes.add(row.shape)
        return np.sum(row**2)

    np.testing.assert_allclose(numerical_gradient_2d(f, X), 2 * X, atol=1e-8)
    np.testing.assert_allclose(numerical_gradient_2d(f, X[1]), 2 * X[1], atol=1e-8)
    assert shapes == {(2,)}


@pytest.mark.parametrize("TwoLayerNet", [models.TwoLayerNet, book1.TwoLayerNet])
def test_two_layer_net(TwoLayerNet, digits):
    x, t = digits
    np.random.seed(0)
    options = {} if TwoLayerNet is book1.TwoLayerNet else {"dtype": "float64", "rng": 0}
    net = TwoLayerNet(784, 50, 10, **options)
    before = {name: p.copy() for name, p in net.params.items()}
    differences = gradient_check(net, x, t)
    assert list(differences) == ["W1", "b1", "W2", "b2"]
    assert max(differences.values()) <= 1e-8, differences
    assert all((net.params[name] == p).all() for name, p in before.items())
    onehot = gradient_check(net, x, np.eye(10)[t])
    assert max(onehot.values()) <= 1e-8


def test_batched_check_is_the_plain_one(digits):
    x, t = digits
    net = models.TwoLayerNet(6, 4, 10, weight_init_std=1, dtype="float64", rng=1)
    plain = {}
    gradient = {name: g.copy() for name, g in net.gradient(x[:, :6], t).items()}
    net.last_layer.epsilon = 0.0
    for name, g in net.numerical_gradient(x[:, :6], t).items():
        plain[name] = np.abs(g - gradient[name]).mean()
    assert gradient_check(net, x[:, :6], t) == pytest.approx(plain, abs=1e-10)


def test_a_wrong_gradient_is_found(digits):
    x, t = digits
    net = models.TwoLayerNet(784, 50, 10, dtype="float64", rng=1)
    net.layers["Relu1"].backward = lambda dout: dout
    differences = gradient_check(net, x, t)
    assert differences["W2"] < 1e-8 < 1e-6 < differences["W1"]


@pytest.mark.parametrize(
    "options", [{}, {"activation": "sigmoid"}, {"activation": "tanh"}, {"weight_decay_lambda": 0.1}]
)
@pytest.mark.parametrize("use_batchnorm", [False, True])
def test_multi_layer_net(options, use_batchnorm):
    rng = np.random.default_rng(0)
    x, t = rng.random((12, 8)), rng.integers(0, 4, 12)
    net = models.MultiLayerNetExtend(
        8, [6, 5], 4, **options, weight_init_std=1.0, use_batchnorm=use_batchnorm, dtype="float64", rng=2
    )
    differences = gradient_check(net, x, t)
    assert list(differences) == list(net.params)
    assert max(differences.values()) <= 1e-8, differences


def test_gradient_of_a_function():
    x = np.array([[1.0, -2.0], [0.5, 3.0]])
    assert gradient_check(lambda x: float(np.sum(x**2)), x, 2 * x) < 1e-8
    assert gradient_check(lambda x: float(np.sum(x**2)), x, x) > 1
