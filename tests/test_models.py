"""The books' networks: structure, training on real digits, gates."""

import copy
from collections import OrderedDict

import numpy as np
import pytest
from every_backend import backend, on_every_backend, one_thread  # noqa: F401

from fastnn import models, optimizer
from fastnn.functions import softmax
from fastnn.gradient import gradient_check
from fastnn.trainer import Trainer

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


# ---- images --------------------------------------------------------------------------------------------------------


SMALL = {"input_dim": (2, 9, 8), "conv_param": {"filter_num": 3, "filter_size": 3, "pad": 1, "stride": 1}}


def images(*shape, dtype=np.float32):
    return np.random.default_rng(1).random(shape, dtype)


def test_simple_convnet():
    net = models.SimpleConvNet(rng=0)
    assert {name: p.shape for name, p in net.params.items()} == {
        "W1": (30, 1, 5, 5), "b1": (30,), "W2": (4320, 100), "b2": (100,), "W3": (100, 10), "b3": (10,)
    }  # fmt: skip
    assert all(p.dtype == np.float32 for p in net.params.values())
    assert isinstance(net.layers, OrderedDict)
    assert list(net.layers) == ["Conv1", "Relu1", "Pool1", "Affine1", "Relu2", "Affine2"]
    assert 0.009 < net.params["W1"].std() < 0.011 and not net.params["b1"].any()
    x, t = images(7, 1, 28, 28), np.array([0, 1, 2, 0, 1, 2, 0])
    scores = net.predict(x)
    assert scores.shape == (7, 10)
    loss = -np.log(softmax(scores)[np.arange(7), t] + 1e-7).mean()
    assert net.loss(x, t) == pytest.approx(loss, rel=1e-5)
    labels = scores.argmax(axis=1)
    for batch_size in (100, 3, 1):
        assert net.accuracy(x, labels, batch_size) == 1.0 == net.accuracy(x, np.eye(10)[labels], batch_size)
    gradient = net.gradient(x, t)
    assert list(gradient) == list(net.params)
    assert gradient["W1"] is net.layers["Conv1"].dW and gradient["b2"] is net.layers["Affine1"].db


def test_simple_convnet_gradient():
    """Book 1 ch. 7, gradient_check.py."""
    net = models.SimpleConvNet(**SMALL, hidden_size=5, output_size=4, weight_init_std=0.3, dtype="float64", rng=0)
    x, t = images(2, 2, 9, 8, dtype=np.float64), np.array([3, 1])
    backward, numerical = net.gradient(x, t), net.numerical_gradient(x, t)
    for name, g in backward.items():
        np.testing.assert_allclose(g, numerical[name], rtol=1e-5, atol=1e-8)
    assert max(gradient_check(net, x, t).values()) < 1e-8


def test_deep_convnet():
    net = models.DeepConvNet(rng=0)
    assert [p.shape for name, p in net.params.items() if name[0] == "W"] == [
        (16, 1, 3, 3), (16, 16, 3, 3), (32, 16, 3, 3), (32, 32, 3, 3), (64, 32, 3, 3), (64, 64, 3, 3),
        (1024, 50), (50, 10),
    ]  # fmt: skip
    assert list(net.params) == [f"{letter}{i}" for i in range(1, 9) for letter in "Wb"]
    block = ["Convolution", "Relu", "Convolution", "Relu", "Pooling"]
    last = ["Affine", "Relu", "Dropout", "Affine", "Dropout"]
    assert isinstance(net.layers, list) and [type(layer).__name__ for layer in net.layers] == 3 * block + last
    assert [net.layers[i].W is net.params[f"W{k}"] for k, i in enumerate((0, 2, 5, 7, 10, 12, 15, 18), 1)] == [True] * 8
    for name, fan_in in (("W2", 144), ("W6", 576), ("W7", 1024)):
        assert net.params[name].std() == pytest.approx(np.sqrt(2 / fan_in), rel=0.05)
    x, t = images(5, 1, 28, 28), np.array([0, 1, 2, 3, 4])
    assert (net.predict(x) == net.predict(x)).all()
    assert (net.predict(x, train_flg=True) != net.predict(x, train_flg=True)).any()
    assert net.loss(x, t) != net.loss(x, t) and net.loss(x, t, train_flg=False) == net.loss(x, t, train_flg=False)
    gradient = net.gradient(x, t)
    assert [gradient[name].shape for name in net.params] == [p.shape for p in net.params.values()]
    assert all(g.any() for g in gradient.values())
    assert net.accuracy(x, net.predict(x).argmax(axis=1), batch_size=2) == 1.0


def test_filters_that_do_not_fit():
    with pytest.raises(ValueError, match="SimpleConvNet: a window of 5 does not fit on 4 pixels with a padding of 0"):
        models.SimpleConvNet(input_dim=(1, 4, 28))
    with pytest.raises(ValueError, match="DeepConvNet: a window of 2 does not fit on 1 pixels"):
        models.DeepConvNet(input_dim=(1, 2, 28))


def test_simple_convnet_learns_real_digits():
    mnist = pytest.importorskip("fastnn.dataset.mnist")
    (x_train, t_train), (x_test, t_test) = mnist.load_mnist_sample(flatten=False)
    net, opt, rng = models.SimpleConvNet(rng=0), optimizer.Adam(), np.random.default_rng(0)
    for _ in range(80):
        batch = rng.integers(len(x_train), size=50)
        opt.update(net.params, net.gradient(x_train[batch], t_train[batch]))
    assert net.accuracy(x_test, t_test) > 0.8


def test_deep_convnet_learns():
    """Two of the shipped digits' classes, 30 of each."""
    mnist = pytest.importorskip("fastnn.dataset.mnist")
    (x, t), _ = mnist.load_mnist_sample(flatten=False)
    x, t = (np.concatenate([a[t == digit][:30] for digit in (0, 1)]) for a in (x, t))
    net, opt = models.DeepConvNet(rng=0), optimizer.Adam()
    before = net.loss(x, t, train_flg=False)
    for _ in range(12):
        opt.update(net.params, net.gradient(x, t))
    assert net.loss(x, t, train_flg=False) < 0.5 * before and net.accuracy(x, t) > 0.9


def test_trainer_runs_convnets():
    x, t = images(20, 2, 9, 8), np.arange(20) % 4
    net = models.SimpleConvNet(**SMALL, hidden_size=5, output_size=4, rng=0)
    trainer = Trainer(net, x, t, x, t, epochs=2, mini_batch_size=5, optimizer="Adam", verbose=False, rng=0,
                      optimizer_param={"lr": 0.01})  # fmt: skip
    trainer.train()
    assert len(trainer.train_loss_list) == 8 and len(trainer.test_acc_list) == 2


DEEP = {
    "weight_init_std": 0.3, "weight_decay_lambda": 0.1, "use_dropout": True, "use_batchnorm": True, "dtype": "float64",
}  # fmt: skip
IMAGES, VECTORS = images(30, 2, 9, 8, dtype=np.float64), images(30, 12, dtype=np.float64)
CLASSIFIERS = {
    "TwoLayerNet": (lambda: models.TwoLayerNet(12, 5, 4, 0.3, "float64", rng=0), VECTORS),
    "MultiLayerNet": (lambda: models.MultiLayerNet(12, [5, 6, 7], 4, "tanh", 0.3, dtype="float64", rng=0), VECTORS),
    "MultiLayerNetExtend": (lambda: models.MultiLayerNetExtend(12, [5, 6, 7], 4, rng=0, **DEEP), VECTORS),
    "SimpleConvNet": (
        lambda: models.SimpleConvNet(**SMALL, hidden_size=5, output_size=4, dtype="float64", rng=0), IMAGES
    ),
    "DeepConvNet": (
        lambda: models.DeepConvNet((2, 9, 8), hidden_size=5, output_size=4, dtype="float64", rng=0), IMAGES
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_classifiers_are_networks(name):
    """The plan of the whole gives what the layers one by one give, bit for bit, in every pass; so do copies."""
    make, x = CLASSIFIERS[name]
    t = np.arange(30) % 4
    net, mine, like = make(), optimizer.Adam(), optimizer.Adam()
    other = copy.deepcopy(net)
    other._passes_are_ours = False
    for n in 1, 30, 7:
        rows = slice(n)
        ours, theirs = net.gradient(x[rows], t[rows]), other.gradient(x[rows], t[rows])
        for key, g in theirs.items():
            np.testing.assert_array_equal(ours[key], g)
        mine.update(net.params, ours)
        like.update(other.params, theirs)
        np.testing.assert_array_equal(net.predict(x[rows]), other.predict(x[rows]))
        for flag in ({},) if name in ("TwoLayerNet", "SimpleConvNet") else ({}, {"train_flg": True}):
            assert net.loss(x[rows], t[rows], **flag) == other.loss(x[rows], t[rows], **flag)
    assert net.accuracy(x, t) == other.accuracy(x, t)
    assert other._network is None and net.network.loss(x, t) == copy.deepcopy(net).network.loss(x, t)
    if name in ("TwoLayerNet", "MultiLayerNet"):
        assert max(gradient_check(net, x[:2], t[:2]).values()) < 1e-8
    if name in ("TwoLayerNet", "MultiLayerNetExtend"):
        for layer in net.network.layers:
            if hasattr(layer, "dropout_ratio"):
                layer.dropout_ratio = 0.0
        numerical = net.numerical_gradient(x[:3], t[:3])
        for key, g in net.gradient(x[:3], t[:3]).items():
            np.testing.assert_allclose(g, numerical[key], 1e-4, 1e-6)


def test_what_a_plan_does_not_take():
    """x of another dtype or of one dimension, integers, bad labels: as the layers have it."""
    net = models.MultiLayerNet(12, [5, 6, 7], 4, rng=0)
    x = images(3, 12)
    assert net.predict(x.astype(np.float64)).dtype == np.float64
    assert net.predict(x[0]).shape == (1, 4) and net.predict(x.tolist()).shape == (3, 4)
    assert net.predict((9 * x).astype(int)).dtype == np.float64
    with pytest.raises(IndexError):
        net.loss(x, np.array([0, 1, 4]))
    with pytest.raises(ValueError, match="affine_forward"):
        net.predict(x[:, :5])


@pytest.mark.parametrize("suffix", [".npz", ".safetensors", ".pkl"])
@pytest.mark.parametrize("model", [models.SimpleConvNet, models.TwoLayerNet])
def test_params_survive_a_file(tmp_path, model, suffix):
    if suffix == ".safetensors":
        pytest.importorskip("safetensors")
    options = {**SMALL, "hidden_size": 5} if model is models.SimpleConvNet else {"input_size": 6, "hidden_size": 5}
    net, other = (model(**options, output_size=4, rng=seed) for seed in (0, 1))
    arrays = dict(other.params)
    net.save_params(tmp_path / f"params{suffix}")
    other.load_params(tmp_path / f"params{suffix}")
    for name, p in net.params.items():
        assert other.params[name] is arrays[name]  # the layers and the optimizer hold it, too
        np.testing.assert_array_equal(other.params[name], p)
    wide = model(**options, output_size=4, dtype="float64")
    wide.load_params(tmp_path / f"params{suffix}")
    assert wide.params["W1"].dtype == np.float64 and (wide.params["W1"] == net.params["W1"]).all()


def test_params_of_another_network_change_nothing(tmp_path):
    net = models.TwoLayerNet(6, 5, 4, rng=0)
    before = {name: p.copy() for name, p in net.params.items()}
    models.TwoLayerNet(6, 5, 3).save_params(tmp_path / "a.npz")
    with pytest.raises(ValueError, match=r"load_params: .*a.npz: W2 is float32 \(5, 3\) but must be float32 \(5, 4\)"):
        net.load_params(tmp_path / "a.npz")
    models.MultiLayerNet(6, [5, 5], 4).save_params(tmp_path / "b.npz")
    with pytest.raises(ValueError, match="has W1, b1, W2, b2, W3, b3, the network has W1, b1, W2, b2"):
        net.load_params(tmp_path / "b.npz")
    for name, p in net.params.items():
        np.testing.assert_array_equal(p, before[name])


class Halved(models.DeepConvNet):
    def predict(self, x, train_flg=False):
        return 0.5 * super().predict(x, train_flg)


def test_loss_is_that_of_a_predict_of_the_readers():
    x, t = np.ones((2, 2, 9, 8), "f"), np.array([0, 1])
    net = Halved((2, 9, 8), hidden_size=5, output_size=4, rng=0)
    assert net.loss(x, t, False) == net.last_layer.forward(net.predict(x), t)
