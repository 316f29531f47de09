"""The books' networks, image by image against batches of 100, on each backend.

pytest bench/bench_networks.py --benchmark-columns=median,iqr,ops: a call classifies the same images either way.
"""

import itertools

import numpy as np
import pytest

import fastnn
from fastnn import layers, models, optimizer

BATCH = 100
IMAGES = {"SimpleConvNet": 200, "DeepConvNet": 100}  # classified by a call; 1000 for the dense networks

pytestmark = pytest.mark.benchmark(max_time=0.5, min_rounds=3)


def _dense(*sizes):
    """The sigmoid network of book 1 ch. 3: probabilities of x (N, D)."""
    rng = np.random.default_rng(0)
    stack = []
    for D, M in itertools.pairwise(sizes):
        W = rng.standard_normal((D, M)).astype(np.float32) * np.float32(D**-0.5)
        stack += [layers.Affine(W, np.zeros(M, np.float32)), layers.Sigmoid()]
    stack[-1] = layers.Softmax()

    def predict(x):
        for layer in stack:
            x = layer.forward(x)
        return x

    return predict


NETWORKS = {
    "784-50-100-10": lambda: _dense(784, 50, 100, 10),
    "TwoLayerNet": lambda: models.TwoLayerNet(784, 50, 10, rng=0).predict,
    "MultiLayerNet": lambda: models.MultiLayerNet(784, [100] * 4, 10, rng=0).predict,
    "SimpleConvNet": lambda: models.SimpleConvNet(rng=0).predict,
    "DeepConvNet": lambda: models.DeepConvNet(rng=0).predict,
}


def images(rng, network, n):
    shape = (1, 28, 28) if network in IMAGES else (784,)
    return rng.random((n, *shape), np.float32)


def classify(predict, x, batch):
    """Class of each row of x, a batch at a time."""
    return np.concatenate([predict(x[i : i + batch]).argmax(axis=1) for i in range(0, len(x), batch)])


@pytest.mark.parametrize("batch", [1, BATCH], ids=["per-sample", "per-batch"])
@pytest.mark.parametrize("backend", fastnn.backends.available())
@pytest.mark.parametrize("network", NETWORKS)
def test_inference(benchmark, network, backend, batch):
    n = IMAGES.get(network, 1000)
    benchmark.group = f"{network}: {n} images"
    x = images(np.random.default_rng(1), network, n)
    with fastnn.use_backend(backend):
        predict = NETWORKS[network]()
        classify(predict, x[:BATCH], batch)
        benchmark(classify, predict, x, batch)


@pytest.mark.parametrize("backend", fastnn.backends.available())
@pytest.mark.parametrize("network", ["TwoLayerNet", "MultiLayerNet", *IMAGES])
def test_training_step(benchmark, network, backend):
    Optimizer = optimizer.Adam if network in IMAGES else optimizer.SGD
    benchmark.group = f"{network}: one step of {Optimizer.__name__}, batch {BATCH}"
    rng = np.random.default_rng(1)
    x, t = images(rng, network, BATCH), rng.integers(0, 10, BATCH)
    with fastnn.use_backend(backend):
        net = NETWORKS[network]().__self__
        update = Optimizer(0.001).update

        def step():
            update(net.params, net.gradient(x, t))

        step()
        benchmark(step)
