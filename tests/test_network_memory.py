"""Steps of a network need no new memory: page faults, the pool's blocks and the resident size stay as they are."""

import gc
import resource
from pathlib import Path

import numpy as np
import pytest

import fastnn
from fastnn import layers, models, optimizer, time_layers
from fastnn.network import Network

if "native" not in fastnn.backends.available():
    pytest.skip("the native backend is not installed", allow_module_level=True)

WORDS = np.random.default_rng(0).integers(0, 500, (10, 13))


def images(n=50):
    return np.random.default_rng(0).random((n, 1, 28, 28), np.float32), np.arange(n) % 10


def dense():
    model = models.MultiLayerNetExtend(784, [100, 100], 10, use_batchnorm=True, use_dropout=True, rng=0)
    x, t = images()
    return Network(list(model.layers.values()), layers.SoftmaxWithLoss()), x.reshape(len(x), -1), t


def convolutional():
    return Network(list(models.SimpleConvNet(rng=0).layers.values()), layers.SoftmaxWithLoss()), *images()


def recurrent():
    net = models.Rnnlm(500, 30, 40, rng=0).layers
    return Network(net, time_layers.TimeSoftmaxWithLoss()), WORDS[:, :-1].copy(), WORDS[:, 1:].copy()


def vocabulary():
    words = np.random.default_rng(0).integers(0, 2500, (4, 11))
    net = models.Rnnlm(2500, 10, 10, rng=0).layers
    return Network(net, time_layers.TimeSoftmaxWithLoss()), words[:, :-1].copy(), words[:, 1:].copy()


def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


@pytest.mark.parametrize("make, steps", [(dense, 400), (convolutional, 60), (recurrent, 150), (vocabulary, 100)])
def test_steps_take_no_new_memory(make, steps):
    net, x, t = make()
    rule = optimizer.Adam()
    with fastnn.use_backend("native"):
        for _ in range(20):
            net.step(x, t, rule)
        gc.collect()
        taken, best = fastnn._core.pool_stats(), steps
        for _ in range(3):  # other threads of the process have page faults of their own: the best of three
            before = faults()
            for _ in range(steps):
                net.step(x, t, rule)
            best = min(best, faults() - before)
        assert best <= steps // 20
        assert fastnn._core.pool_stats() == taken


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="no /proc")
def test_resident_size_stays():
    net, x, t = dense()
    rule = optimizer.Adam()
    with fastnn.use_backend("native"):
        predictor = fastnn.compile(net, input_shape=(784,))
        out = predictor(x)
        for _ in range(200):
            net.step(x, t, rule)
            predictor(x, out)
        gc.collect()
        before = resident()
        for _ in range(1500):
            net.step(x, t, rule)
            predictor(x, out)
        assert resident() - before < 2 << 20


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="no /proc")
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("make, steps", [
    *[(make, 300) for make in (dense, vocabulary)],
    *[pytest.param(make, 10_000, marks=pytest.mark.nightly) for make in (dense, convolutional, recurrent, vocabulary)],
])  # fmt: skip
def test_many_steps(make, steps, threads):
    """No page faults but the process's own, no block taken from the pool, a flat resident size."""
    net, x, t = make()
    rule, before = optimizer.Adam(), fastnn.get_num_threads()
    with fastnn.use_backend("native"):
        fastnn.set_num_threads(threads)
        try:
            for _ in range(100):
                net.step(x, t, rule)
            gc.collect()
            taken, size, faulted = fastnn._core.pool_stats(), resident(), faults()
            for _ in range(steps):
                net.step(x, t, rule)
            faulted, grown = faults() - faulted, resident() - size
        finally:
            fastnn.set_num_threads(before)
    print(f"{make.__name__}, {threads} threads, {steps} steps: {faulted} page faults, resident size +{grown >> 10} KiB")
    assert fastnn._core.pool_stats() == taken
    assert faulted <= max(steps // 20, 50) and grown < 2 << 20


@pytest.mark.parametrize("make", [dense, convolutional, recurrent, vocabulary])
def test_two_threads_give_the_same_bits(make):
    results, before = [], fastnn.get_num_threads()
    with fastnn.use_backend("native"):
        try:
            for threads in 1, 2:
                fastnn.set_num_threads(threads)
                net, x, t = make()
                rule = optimizer.Adam()
                losses = [net.step(x, t, rule) for _ in range(5)]
                results.append((losses, [p.tobytes() for p in net.params]))
        finally:
            fastnn.set_num_threads(before)
    assert results[0] == results[1]
