"""The books' networks: structure, training on real digits, gates."""

from collections import OrderedDict

import numpy as np
import pytest
from every_backend import backend, on_every_backend, one_thread  # noqa: F401

from fastnn import models, optimizer
from fastnn.functions import softmax

pytestmark = [on_every_backend, pytest.mark.usefixtures("one_thread")]


def sample_digits():
    mnist = pytest.importorskip("fastnn.dataset.mnist")
    return mnist.load_mnist_sample()


@pytest.mark.parametrize(
    "gate, outputs",
    [(models.AND, [0, 0, 0, 1]), (models.NAND, [1, 1, 1, 0]), (models.OR, [0, 1, 1, 1]), (models.XOR, [0, 1, 1, 0])],
)
def test_gates(gate, outputs):
    assert [gate(a, b) for a in (0, 1) for b in (0, 1)] == outputs


def test_two_layer_net():
    net = models.TwoLayerNet(20, 8, 3, rng=0)
    assert {k: (p.shape, p.dtype) for k, p in net.params.items()} == {
        "W1": ((20, 8), np.float32), "b1": ((8,), np.float32), "W2": ((8, 3), np.float32), "b2": ((3,), np.float32)
    }  # fmt: skip
    assert isinstance(net.layers, OrderedDict) and list(net.layers) == ["Affine1", "Relu1", "Affine2"]
    assert net.lastLayer is net.last_layer
    assert 0.005 < net.params["W1"].std() < 0.02 and not net.params["b1"].any()
    x, t = np.random.default_rng(1).random((7, 20), np.float32), np.array([0, 1, 2, 0, 1, 2, 0])
    W1, b1, W2, b2 = net.params.values()
    scores = np.maximum(x @ W1 + b1, 0) @ W2 + b2
    np.testing.assert_allclose(net.predict(x), scores, rtol=1e-4, atol=1e-7)
    loss = -np.log(softmax(scores)[np.arange(7), t] + 1e-7).mean()
    assert net.loss(x, t) == pytest.approx(loss, rel=1e-5) == net.loss(x, np.eye(3)[t])
    labels = scores.argmax(axis=1)
    assert net.accuracy(x, labels) == 1.0 == net.accuracy(x, np.eye(3)[labels])
    assert net.accuracy(x, (labels + 1) % 3) == 0.0
    gradient = net.gradient(x, t)
    assert list(gradient) == list(net.params)
    assert gradient["W1"] is net.layers["Affine1"].dW and gradient["b2"] is net.layers["Affine2"].db
    assert (models.TwoLayerNet(20, 8, 3, rng=0).params["W1"] == W1).all()


def test_gradient_with_dtypes_and_one_hot_targets_of_any_kind():
    x, t = np.random.default_rng(1).random((7, 20)), np.array([0, 1, 2, 0, 1, 2, 0])
    net = models.TwoLayerNet(20, 8, 3, rng=0)
    expected = {k: g.copy() for k, g in net.gradient(x.astype(np.float32), t).items()}
    for x_, t_ in ((x, t), (x, np.eye(3)[t]), (x.astype(np.float32), np.eye(3, dtype=int)[t]), (x, t.astype(np.uint8))):
        for name, g in net.gradient(x_, t_).items():
            assert g.dtype == np.float32
            np.testing.assert_allclose(g, expected[name], rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(
    "init, scale",
    [("relu", 2.0), ("He", 2.0), ("sigmoid", 1.0), ("XAVIER", 1.0)],
    ids=["relu", "He", "sigmoid", "XAVIER"],
)
def test_initial_weights(init, scale):
    net = models.MultiLayerNet(400, [300, 200], 10, weight_init_std=init, rng=0)
    for i, fan_in in ((1, 400), (2, 300), (3, 200)):
        assert net.params[f"W{i}"].std() == pytest.approx(np.sqrt(scale / fan_in), rel=0.05)


def test_multi_layer_net():
    net = models.MultiLayerNet(20, [8, 6], 3, "sigmoid", 0.5, weight_decay_lambda=0.1, rng=0)
    assert list(net.params) == ["W1", "b1", "W2", "b2", "W3", "b3"]
    assert list(net.layers) == ["Affine1", "Activation_function1", "Affine2", "Activation_function2", "Affine3"]
    assert (net.input_size, net.output_size, net.hidden_size_list, net.hidden_layer_num) == (20, 3, [8, 6], 2)
    x, t = np.random.default_rng(1).random((7, 20), np.float32), np.array([0, 1, 2, 0, 1, 2, 0])
    decay = sum((net.params[f"W{i}"].astype(float) ** 2).sum() for i in (1, 2, 3))
    assert net.loss(x, t) == pytest.approx(net.last_layer.forward(net.predict(x), t) + 0.05 * decay, rel=1e-6)
    gradient = net.gradient(x, t)
    plain = models.MultiLayerNet(20, [8, 6], 3, "sigmoid", 0.5, rng=0).gradient(x, t)
    for name, p in net.params.items():
        expected = plain[name] + (0.1 * p if name[0] == "W" else 0)
        np.testing.assert_allclose(gradient[name], expected, rtol=1e-5, atol=1e-6)
    with pytest.raises(KeyError):
        models.MultiLayerNet(20, [8], 3, activation="Relu")
    with pytest.raises(ValueError, match="weight_init_std 'hee' is not a number or one of relu, he, sigmoid, xavier"):
        models.MultiLayerNet(20, [8], 3, weight_init_std="hee")


def test_multi_layer_net_extend():
    net = models.MultiLayerNetExtend(20, [8, 6], 3, use_dropout=True, dropout_ration=0.2, use_batchnorm=True, rng=0)
    assert list(net.params) == ["W1", "b1", "W2", "b2", "W3", "b3", "gamma1", "beta1", "gamma2", "beta2"]
    block = ["Affine1", "BatchNorm1", "Activation_function1", "Dropout1"]
    assert list(net.layers) == [*block, *(name.replace("1", "2") for name in block), "Affine3"]
    assert (net.params["gamma1"] == 1).all() and not net.params["beta2"].any()
    assert net.layers["Dropout1"].dropout_ratio == 0.2
    x, t = np.random.default_rng(1).random((7, 20), np.float32), np.array([0, 1, 2, 0, 1, 2, 0])
    assert list(net.gradient(x, t)) == list(net.params)
    assert net.layers["Dropout1"].mask is not None
    assert (net.predict(x) == net.predict(x)).all()
    assert (net.predict(x, train_flg=True) != net.predict(x, train_flg=True)).any()
    assert net.loss(x, t) == net.loss(x, t) and net.accuracy(x, t) == net.accuracy(x, t)


@pytest.mark.parametrize(
    "net, opt",
    [
        (lambda: models.TwoLayerNet(784, 50, 10, rng=0), optimizer.SGD(lr=0.5)),
        (lambda: models.MultiLayerNet(784, [60, 40], 10, rng=0), optimizer.Adam()),
        (lambda: models.MultiLayerNetExtend(784, [60, 40], 10, use_batchnorm=True, rng=0), optimizer.Momentum(lr=0.05)),
    ],
    ids=["TwoLayerNet", "MultiLayerNet", "MultiLayerNetExtend"],
)
def test_training_on_real_digits(net, opt):
    (x_train, t_train), (x_test, t_test) = sample_digits()
    net, rng = net(), np.random.default_rng(0)
    opt = type(opt)(**{"lr": opt.lr})
    for _ in range(400):
        batch = rng.integers(len(x_train), size=100)
        opt.update(net.params, net.gradient(x_train[batch], t_train[batch]))
    assert net.accuracy(x_test, t_test) > 0.9


def test_spiral_net():
    """Book 2 ch. 1 on a spiral of three arms: lists of parameters, gradients whose arrays stay the same."""
    rng = np.random.default_rng(0)
    angle = np.repeat(np.arange(3) * 4.0, 100) + np.tile(np.linspace(0, 4, 100), 3) + 0.2 * rng.standard_normal(300)
    x = np.tile(np.linspace(0, 1, 100), 3)[:, None] * np.stack([np.sin(angle), np.cos(angle)], axis=1)
    t = np.repeat(np.arange(3), 100)
    net, opt = models.SpiralNet(2, 10, 3, dtype="float64", rng=0), optimizer.SGD(lr=1.0)
    assert [p.shape for p in net.params] == [(2, 10), (10,), (10, 3), (3,)]
    arrays, losses = list(net.grads), []
    for _ in range(3000):
        batch = rng.integers(300, size=30)
        losses.append(net.forward(x[batch], t[batch]))
        assert net.backward().shape == (30, 2)
        opt.update(net.params, net.grads)
    assert all(a is b for a, b in zip(arrays, (g for layer in net.layers for g in layer.grads), strict=True))
    assert np.mean(losses[-100:]) < 0.35 < 1 < losses[0]
    assert (net.predict(x).argmax(axis=1) == t).mean() > 0.9
