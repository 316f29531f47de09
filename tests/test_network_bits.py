"""A network's numbers are those of its layers, bit for bit, at the sizes where sums could be made in another order."""

import copy

import numpy as np
import pytest
from every_backend import one_thread  # noqa: F401

import fastnn
from fastnn import layers, time_layers
from fastnn.network import Network, lowering, network, predictor

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.skipif("native" not in fastnn.backends.available(), reason="compiled kernels"),
]
ACTIVATIONS = [layers.Relu, layers.Sigmoid, layers.Tanh, layers.GELU, layers.Swish]
WIDTHS = [1, 2, 3, 4, 5, 8, 9, 16, 17, 33, 64, 100, 128, 129]
CLASSES = [1, 2, 3, 10, 17, 129, 1999, 2000, 2001, 2003, 2009, 2016, 2017, 2047, 2048, 2049, 2050, 3000]
SAMPLES = [1, 2, 3, 11, 12, 15, 16, 17, 23, 24, 25, 47, 49, 100, 193]


class Random:
    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)
        self.dtype = self.of(["f4", "f8"])

    def of(self, values):
        return values[self.rng.integers(len(values))]

    def array(self, *shape):
        return (0.3 * self.rng.standard_normal(shape)).astype(self.dtype)

    def weights(self, D, M):
        return self.array(M, D).T if self.rng.random() < 0.2 else self.array(D, M)

    def activation(self):
        return self.of(ACTIVATIONS)()


def dense(r):
    n, D = r.of(SAMPLES), r.of([*WIDTHS, 784])
    x, net = r.array(n, D), []
    for _ in range(r.rng.integers(0, 3)):
        M = r.of(WIDTHS)
        net += [layers.Affine(r.weights(D, M), r.array(M)), *([r.activation()] if r.rng.random() < 0.7 else [])]
        if r.rng.random() < 0.2:
            net.append(layers.LayerNorm(np.ones(M, r.dtype), np.zeros(M, r.dtype)))
        D = M
    V = r.of(CLASSES)
    net.append(layers.MatMul(r.weights(D, V)) if r.rng.random() < 0.3 else layers.Affine(r.weights(D, V), r.array(V)))
    if V == 1 or r.rng.random() < 0.1:
        return net, layers.MeanSquaredError(), x, r.array(n, V)
    weight = np.abs(r.array(V)) + 0.1 if r.rng.random() < 0.3 else None
    loss = layers.SoftmaxWithLoss() if r.rng.random() < 0.5 else layers.SoftmaxCrossEntropy(weight, None, 0.1)
    return net, loss, x, r.rng.integers(0, V, n)


def sequences(r):
    n, T, D, H, V = (r.of(s) for s in (SAMPLES[:9], [1, 2, 5], [1, 2, 3, 17], [1, 2, 3, 16, 33], CLASSES[1:]))
    cls, gates = r.of([(time_layers.TimeRNN, 1), (time_layers.TimeLSTM, 4), (time_layers.TimeGRU, 3)])
    net = [cls(r.array(D, gates * H), r.array(H, gates * H), r.array(gates * H))]
    net.append(time_layers.TimeAffine(r.weights(H, V), r.array(V)))
    return net, time_layers.TimeSoftmaxWithLoss(), r.array(n, T, D), r.rng.integers(-1, V, (n, T))


def images(r):
    n, C, F, V = r.of(SAMPLES[:9]), r.of([1, 2, 8]), r.of([1, 2, 16, 17]), r.of(CLASSES[1:])
    net = [layers.Convolution(r.array(F, C, 3, 3), r.array(F), r.of([1, 2]), r.of([0, 1])), r.activation()]
    net += [layers.GlobalAveragePooling(), layers.Affine(r.weights(F, V), r.array(V))]
    return net, layers.SoftmaxWithLoss(), r.array(n, C, 7, 8), r.rng.integers(0, V, n)


def check(net, loss, x, t):
    one, own = copy.deepcopy(net), copy.deepcopy(loss)
    planned = Network(net, loss)
    y = x
    for layer in one:
        y = layer.forward(y)
    np.testing.assert_array_equal(planned.predict(x), y)
    np.testing.assert_array_equal(fastnn.compile(planned)(x), y)
    value, dout = own.forward(y, t), own.backward()
    for layer in reversed(one):
        dout = layer.backward(dout)
    np.testing.assert_equal(planned.loss(x, t), value)
    planned.gradient(x, t)
    for mine, theirs in zip(planned.grads, [g for layer in lowering.leaves(one) for g in layer.grads], strict=True):
        np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize("make", [dense, sequences, images])
def test_random_networks(make):
    for seed in range(60):
        check(*make(Random(seed)))


@pytest.mark.nightly
@pytest.mark.parametrize("make", [dense, sequences, images])
def test_many_random_networks(make):
    for seed in range(1000, 9000):
        check(*make(Random(seed)))


@pytest.mark.parametrize("D", [1, 2, 3])
@pytest.mark.parametrize("V", [2000, 2001, 2008, 2015, 2049])
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_narrow_products_over_many_classes(D, V, dtype):
    for n in 1, 2, 3, 4, 25:
        for transposed in False, True:
            r = Random(n)
            r.dtype = dtype
            W = r.array(V, D).T if transposed else r.array(D, V)
            check([layers.Affine(W, r.array(V))], layers.SoftmaxWithLoss(), r.array(n, D), np.arange(n) % V)
            if n < 4:
                hs = time_layers.TimeAffine(W.copy(), r.array(V))
                check([hs], time_layers.TimeSoftmaxWithLoss(), r.array(n, 3, D), np.arange(3 * n).reshape(n, 3))


def test_parts_of_a_batch(monkeypatch):
    """`predict` of a network and of a predictor cut batches: the bits are those of the whole."""
    monkeypatch.setattr(predictor, "_CACHE_BYTES", 1)
    monkeypatch.setattr(network, "_BLOCK_BYTES", 1)
    for seed in range(120):
        r = Random(seed)
        net, _, x, _ = r.of([dense, sequences, images])(r)
        x = r.array(int(r.rng.integers(1, 130)), *x.shape[1:])
        y = x
        for layer in net:
            y = layer.forward(y)
        np.testing.assert_array_equal(Network(net).predict(x), y)
        np.testing.assert_array_equal(fastnn.compile(Network(net))(x), y)
