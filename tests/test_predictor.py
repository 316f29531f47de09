"""Frozen networks: the same numbers, any batch size, threads, and bad input."""

import copy
import os
import threading
import time
import tracemalloc

import numpy as np
import pytest
from every_backend import backend, on_every_backend, one_thread  # noqa: F401
from test_network import NETWORKS, PICTURES, WORDS, Doubled, X, dense, forward, lstm, normal, recurrent

import fastnn
from fastnn import layers, optimizer, time_layers
from fastnn.functions import sigmoid, softmax
from fastnn.network import Network

pytestmark = [on_every_backend, pytest.mark.usefixtures("one_thread")]


@pytest.mark.parametrize("name", NETWORKS)
def test_same_numbers_as_the_network(name):
    make, make_loss, x, t = NETWORKS[name]
    net = Network(make(), make_loss())
    net.step(x, t, optimizer.SGD(0.1))
    for layer in net.layers:
        if hasattr(layer, "reset_state"):
            layer.reset_state()
    predictor, expected = fastnn.compile(net), net.predict(x)
    # the bits of NumPy's products depend on how many rows there are, and a predictor cuts other blocks
    rtol = 0 if fastnn.backends.active_name == "native" else 1e-11
    np.testing.assert_allclose(predictor(x), expected, rtol, rtol)
    out = np.full_like(expected, np.nan)
    assert predictor.predict(x, out=out) is out
    np.testing.assert_allclose(out, expected, rtol, rtol)
    np.testing.assert_array_equal(predictor.predict_classes(x), expected.argmax(axis=-1))
    narrow = fastnn.compile(net, "float32")
    assert narrow(x).dtype == np.float32
    np.testing.assert_allclose(narrow(x), expected, 1e-3, 1e-4)


def test_probabilities():
    net = Network(dense(), layers.SoftmaxWithLoss())
    np.testing.assert_allclose(fastnn.compile(net).predict_proba(X), softmax(net.predict(X)), 1e-12)
    net = Network(dense(), layers.SigmoidWithLoss())
    np.testing.assert_allclose(fastnn.compile(net).predict_proba(X), sigmoid(net.predict(X)), 1e-12)
    net = Network([*dense(), layers.Softmax()])
    np.testing.assert_array_equal(fastnn.compile(net).predict_proba(X), net.predict(X))
    net = Network(recurrent(lstm()), time_layers.TimeSoftmaxWithLoss())
    np.testing.assert_allclose(fastnn.compile(net).predict_proba(WORDS), softmax(net.predict(WORDS)), 1e-12)
    with pytest.raises(ValueError, match="MeanSquaredError gives no probabilities"):
        fastnn.compile(Network(dense(), layers.MeanSquaredError())).predict_proba(X)


def test_frozen():
    net = Network(dense(lambda M: layers.BatchNormalization(np.ones(M), np.zeros(M))), layers.SoftmaxWithLoss())
    net.step(X, np.arange(8) % 3, optimizer.SGD(0.1))
    predictor, expected = fastnn.compile(net), net.predict(X)
    for _ in range(3):
        net.step(X, np.arange(8) % 3, optimizer.SGD(0.1))
    np.testing.assert_array_equal(predictor(X), expected)
    assert (net.predict(X) != expected).any()


def test_any_number_of_samples():
    own = dense(lambda M: layers.Relu(), dtype="float32")
    predictor = fastnn.compile(Network(own))
    x = normal(3000, 20, dtype="float32")
    whole = predictor(x)
    np.testing.assert_allclose(whole, forward(own, x, False), 1e-5, 1e-6)
    for n in (0, 1, 7, 255, 256, 257, 600):
        np.testing.assert_allclose(predictor(x[:n]), whole[:n], 1e-5, 1e-6)
        assert predictor.predict_classes(x[:n]).shape == (n,)
    assert predictor(x[0]).shape == (1, 3)
    assert predictor(x[::2]).shape == (1500, 3)  # not contiguous


def test_threads():
    net = Network(dense(lambda M: layers.Tanh(), lambda M: Doubled(), dtype="float32"))
    predictor = fastnn.compile(net)
    x = normal(700, 20, dtype="float32")
    expected, wrong = predictor(x), []

    def work(i):
        for n in range(1, 400, 7):
            if not np.allclose(predictor(x[i : i + n]), expected[i : i + n], 1e-5, 1e-6):
                wrong.append(n)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def float32(*shape):
    return normal(*shape, dtype="float32")


def convolutional():
    first = layers.Convolution(float32(4, 2, 3, 3), float32(4), 1, 1)
    return [first, layers.Relu(), layers.Pooling(2, 2), layers.Affine(float32(64, 3), float32(3))]


HAMMERED = {
    "dense": lambda: (dense(lambda M: layers.Relu(), dtype="float32"), float32(700, 20)),
    "convolution": lambda: (convolutional(), float32(60, 2, 9, 8)),
    "recurrent": lambda: ([time_layers.TimeGRU(float32(6, 15), float32(5, 15), float32(15))], float32(100, 7, 6)),
    "indices": lambda: (recurrent(lstm()), np.arange(700).reshape(100, 7) % 11),
    "in Python": lambda: (dense(lambda M: layers.Tanh(), lambda M: Remembers(), dtype="float32"), float32(300, 20)),
}


class Remembers:
    """A layer in Python that two threads may not be in at once."""

    def forward(self, x):
        self.x = x
        time.sleep(0)
        assert self.x is x
        return 2 * x

    def backward(self, dout):
        return 2 * dout


@pytest.mark.parametrize("kind", HAMMERED)
def test_eight_threads(kind):
    """First calls at once, then any number of samples and dtype, with and without out."""
    net, x = HAMMERED[kind]()
    net = Network(net, layers.SoftmaxWithLoss())
    expected = fastnn.compile(net)(x)
    tolerance = {"rtol": 1e-5, "atol": 1e-6}
    predictor, errors, start = fastnn.compile(Network(net.layers, net.loss_layer)), [], threading.Barrier(8)
    kinds = ["i1", "i8", "u2", ">i4"] if x.dtype.kind == "i" else ["f4", "f8", ">f8", "f2"]

    def work(i):
        rng = np.random.default_rng(i)
        try:
            start.wait()
            for _ in range(25):
                n, begin = rng.integers(0, 1 + len(x) // 2, 2)
                given, wanted = x[begin : begin + n].astype(rng.choice(kinds)), expected[begin : begin + n]
                loose = {"rtol": 0.02, "atol": 0.02} if given.dtype == "f2" else tolerance
                out = np.full_like(wanted, np.nan) if rng.random() < 0.5 else None
                result = predictor.predict(given, out)
                assert out is None or result is out
                np.testing.assert_allclose(result, wanted, **loose)
                np.testing.assert_allclose(predictor.predict_proba(given).sum(-1), 1, 1e-4)
                places = np.empty(wanted.shape[:-1], np.int64) if rng.random() < 0.5 else None
                if given.dtype != "f2":
                    np.testing.assert_array_equal(predictor.predict_classes(given, places), wanted.argmax(-1))
                if kind in ("recurrent", "indices"):  # a shorter sequence
                    assert predictor(given[:, :-1]).shape == (n, *wanted[:, :-1].shape[1:])
                else:
                    with pytest.raises((ValueError, TypeError)):
                        predictor(given[:, :-1])
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors, errors


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("kind", HAMMERED)
def test_fork(kind):
    """A child has no use for locks that threads of its parent hold."""
    net, x = HAMMERED[kind]()
    used, unused = fastnn.compile(Network(net)), fastnn.compile(Network(net))
    expected = used(x)
    one, other = used._results.locks, unused._results.locks
    with one.planning, one.one_at_a_time, other.planning, other.one_at_a_time:
        child = os.fork()
        if child == 0:
            try:
                same = all(np.allclose(p(x[:9]), expected[:9], 1e-4, 1e-5) for p in (used, unused))
            except BaseException:
                same = False
            os._exit(0 if same else 1)
    for _ in range(600):
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            break
        time.sleep(0.05)
    else:
        os.kill(child, 9)
        os.waitpid(child, 0)
    assert done and status == 0


@pytest.mark.parametrize("kind", HAMMERED)
def test_nothing_is_allocated_with_out(kind):
    if fastnn.backends.active_name != "native" or kind == "in Python":
        pytest.skip("one native call")
    net, x = HAMMERED[kind]()
    predictor = fastnn.compile(Network(net))
    sizes = [x[:n] for n in (1, 3, 32, 2) if n <= len(x)]
    pairs = [(part, predictor(part), predictor.predict_classes(part)) for part in sizes]

    def rounds():
        for _ in range(50):
            for part, out, places in pairs:
                predictor.predict(part, out)
                predictor.predict_classes(part, places)

    rounds()
    taken = fastnn._core.pool_stats()
    tracemalloc.start()
    try:
        rounds()
        before = tracemalloc.take_snapshot()
        rounds()
        after = tracemalloc.take_snapshot()
    finally:
        tracemalloc.stop()
    own = tracemalloc.Filter(False, tracemalloc.__file__)
    grown = after.filter_traces([own]).compare_to(before.filter_traces([own]), "lineno")
    assert sum(line.size_diff for line in grown) < 2000, grown[:3]  # the snapshot's own
    assert fastnn._core.pool_stats() == taken


@pytest.mark.parametrize("kind", ["f8", ">f4", "F", "strided", "memmap", "u1"])
def test_large_inputs_are_converted_in_blocks(kind, tmp_path):
    net = Network(dense(lambda M: layers.Relu(), dtype="float32"))
    N = 60_000
    x = np.random.default_rng(0).integers(0, 5, (N, 20))
    if kind == "F":
        given = np.asfortranarray(x.astype("f4"))
    elif kind == "strided":
        given = x.astype("f4").repeat(2, axis=0)[::2]
    elif kind == "memmap":
        x.astype("f8").tofile(tmp_path / "x")
        given = np.memmap(tmp_path / "x", "f8", "r", shape=x.shape)
    else:
        given = x.astype(kind)
    predictor = fastnn.compile(net, input_shape=(20,))
    few = np.arange(0, N, 997)
    expected = predictor(x[few].astype("f4"))
    predictor.predict_classes(given[:600]), net.predict(given[:2000])
    out = np.memmap(tmp_path / "out", "f4", "w+", shape=(N, 3))
    calls = {
        "predict": (lambda: predictor(given, out=out), 0),
        "classes": (lambda: predictor.predict_classes(given), 8 * N),
        "network": (lambda: net.predict(given), 12 * N),
    }
    for name, (call, result_bytes) in calls.items():
        tracemalloc.start()
        result = call()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak - result_bytes < 600_000, (name, peak)  # in float32 x is 4,800,000 bytes
        wanted = expected.argmax(1) if name == "classes" else expected
        np.testing.assert_allclose(result[few], wanted, 1e-5, 1e-6)
    assert result.shape == (N, 3) and predictor(given, out=out) is out


def test_memory_of_networks_of_indices_is_bounded():
    net = Network(recurrent(lstm()), time_layers.TimeSoftmaxWithLoss())
    x = np.arange(3000 * 7).reshape(3000, 7) % 11
    whole = net.predict(x)
    plan = next(iter(net._plans.values()))
    assert plan.program.capacity < 2000
    np.testing.assert_allclose(net.predict(x[2990:]), whole[2990:], 1e-12)
    for layer in net.layers:
        if hasattr(layer, "stateful"):
            layer.stateful = True
    net.predict(x[:40])
    assert net.predict(x[40:80]).shape == (40, 7, 11) and net.layers[1].h.shape == (40, 5)  # never cut


def test_classes_of_scores_that_are_not_numbers():
    predictor = fastnn.compile(Network([layers.Affine(np.eye(4), np.zeros(4))]))
    x = normal(300, 4)
    x[3, 2] = x[299, 1] = np.nan
    assert predictor.predict_classes(x)[[3, 299]].tolist() == [0, 0]  # the whole row is NaN
    np.testing.assert_array_equal(
        np.delete(predictor.predict_classes(x), [3, 299]), np.delete(x, [3, 299], 0).argmax(1)
    )
    out = np.zeros(300, np.int64)
    assert predictor.predict_classes(x, out=out) is out and out[4] == x[4].argmax()
    for n in 0, 256, 300, 1024:
        with pytest.raises(ValueError, match=rf"out is int64 \(1025,\); it must be an array of int64 \({n},\)"):
            predictor.predict_classes(normal(n, 4), out=np.zeros(1025, np.int64))


@pytest.mark.parametrize("n", [1, 6, 300])
def test_indices(n):
    net = Network(recurrent(lstm()), time_layers.TimeSoftmaxWithLoss())
    x = np.random.default_rng(n).integers(0, 11, (n, 7))
    predictor, expected = fastnn.compile(net), net.predict(x)
    native = fastnn.backends.active_name == "native"
    for kind in "i1", "i2", "i4", "i8", "u1", "u8", ">i4":
        given = (x % 11).astype(kind)
        scores = predictor(given)
        np.testing.assert_allclose(scores, expected, 0, 0 if native else 1e-12)
        np.testing.assert_array_equal(predictor.predict_classes(given), scores.argmax(-1))
    np.testing.assert_allclose(predictor(x), expected, 0, 0 if native else 1e-12)
    np.testing.assert_allclose(predictor(x.tolist()), expected, 0, 0 if native else 1e-12)
    np.testing.assert_allclose(predictor(np.asfortranarray(x)), expected, 0, 0 if native else 1e-12)
    out, places = np.empty((n, 7, 11)), np.empty((n, 7), np.int64)
    assert predictor(x, out=out) is out and predictor.predict_classes(x, places) is places
    np.testing.assert_array_equal(places, out.argmax(-1))
    proba = predictor.predict_proba(x)
    np.testing.assert_allclose(proba, softmax(expected), 1e-12)
    for outside in 11, -1, -11:
        x[n - 1, 3] = outside
        where = rf"x\[{n - 1}, 3\] is {outside}, but layer 1 \(TimeEmbedding\) has 11 rows"
        for call in predictor, predictor.predict_classes, predictor.predict_proba:
            with pytest.raises(IndexError, match=where):
                call(x)
    with pytest.raises(TypeError, match="dtype float64; the network takes indices"):
        predictor(x * 1.0)
    with pytest.raises(ValueError, match=r"x is \(7,\) but the network takes \(N, 7\); one sample is x\[None\]"):
        predictor(x[0])
    assert predictor(x[:0]).shape == (0, 7, 11) and predictor(np.empty((0, 7))).shape == (0, 7, 11)


def test_rows_of_a_table():
    """A network of one index a sample."""
    net = Network([layers.Embedding(normal(9, 4)), *dense(sizes=(4, 3))])
    x = np.arange(700) % 9
    predictor = fastnn.compile(net)
    np.testing.assert_allclose(predictor(x), net.predict(x), 1e-12)
    assert predictor(x[:1]).shape == (1, 3) and predictor.predict_classes(x[:300]).shape == (300,)
    with pytest.raises(ValueError, match=r"x is \(\) but the network takes \(N,\)"):
        predictor(5)
    with pytest.raises(IndexError, match=r"x\[600\] is 9"):
        predictor(np.where(np.arange(700) == 600, 9, x))


def test_unaligned_input():
    net = Network([layers.Affine(normal(4, 3), np.zeros(3))])
    x = np.frombuffer(bytearray(8 * 8 + 1), np.uint8)[1:].view(np.float64).reshape(2, 4)
    x[:] = normal(2, 4)
    assert x.flags.c_contiguous and not x.flags.aligned
    for predict in net.predict, fastnn.compile(net).predict:
        np.testing.assert_array_equal(predict(x), predict(x.copy()))


def test_out_may_be_x():
    W = normal(4, 4)
    predictor = fastnn.compile(Network([layers.Affine(W, np.zeros(4))]))
    for n in 3, 1000:
        x = normal(n, 4)
        expected = predictor(x)
        np.testing.assert_array_equal(predictor(x, out=x), expected)


def test_copies():
    net = Network(dense(lambda M: layers.Relu()), layers.SoftmaxWithLoss())
    unused = copy.deepcopy(fastnn.compile(net))
    expected = net.predict(X)
    predictor = fastnn.compile(net)
    for other in unused, copy.copy(predictor), copy.deepcopy(predictor):
        np.testing.assert_array_equal(other(X), expected)
        np.testing.assert_array_equal(other.predict_classes(X), expected.argmax(1))
        np.testing.assert_allclose(other.predict_proba(X).sum(1), 1)


def test_subclass():
    class Twice(fastnn.network.Predictor):
        def predict(self, x, out=None):
            return 2 * super().predict(x, out)

    net = Network(dense())
    net.predict(X)
    np.testing.assert_array_equal(Twice(net)(X), 2 * net.predict(X))


def test_latency():
    net = Network(dense(dtype="float32"))
    with pytest.raises(RuntimeError, match="no input yet"):
        fastnn.compile(net).latency()
    times = fastnn.compile(net, input_shape=(20,)).latency(calls=20)
    assert 0 < times["p50"] <= times["p90"] <= times["p99"] and times["mean"] > 0
    language = Network(recurrent(lstm()), time_layers.TimeSoftmaxWithLoss())
    language.predict(WORDS)
    assert fastnn.compile(language).latency(3, 5)["p50"] > 0


def test_bad_input():
    net = Network(dense(), layers.SoftmaxWithLoss())
    net.predict(X)
    predictor = fastnn.compile(net)
    with pytest.raises(ValueError, match=r"Predictor: x is \(8, 19\) but the network takes \(N, 20\)"):
        predictor(X[:, 1:])
    with pytest.raises(ValueError, match=r"Predictor: x is \(7,\) but the network takes \(N, 20\)"):
        predictor.predict_classes(X[0, :7])
    with pytest.raises(TypeError, match="complex128"):
        predictor(X * 1j)
    for out in (np.empty((8, 4)), np.empty((8, 3), np.float32), np.empty((3, 8)).T, [1]):
        with pytest.raises(ValueError, match=r"Predictor: out is .*; it must be an array of float64 \(8, 3\)"):
            predictor(X, out=out)
    with pytest.raises(TypeError, match="dtype is float16"):
        fastnn.compile(net, "float16")
    with pytest.raises(ValueError, match=r"layer 1 \(Affine\) takes 20 numbers"):
        fastnn.compile(net, input_shape=(19,))
    for shape in "20", 20.0, (-20,), (None,):
        with pytest.raises(ValueError, match=r"input_shape is .*; it must be the sizes of one sample"):
            fastnn.compile(net, input_shape=shape)
    assert fastnn.compile(net, input_shape=20).input_shape == (20,)
    for other in [layers.Relu()], None, Network, np.zeros(3):
        with pytest.raises(TypeError, match=r"compile: net is a .*; it must be a fastnn.Network"):
            fastnn.compile(other)
    with pytest.raises(ValueError, match=r"Predictor: x is \(2, 9, 8\) .*; one sample is x\[None\]"):
        fastnn.compile(Network(convolutional()), input_shape=(2, 9, 8))(PICTURES[0])
    for n, calls in (0, 1), (1, 0), (-1, 5):
        with pytest.raises(ValueError, match="latency: n is"):
            predictor.latency(n, calls)
    with pytest.raises(TypeError, match="takes indices"):
        fastnn.compile(Network(recurrent(lstm())), input_shape=(7,))(X)


def test_summary():
    net = Network([*dense(lambda M: layers.Relu()), Doubled()], layers.SoftmaxWithLoss())
    assert "once the network has seen an input" in str(net.summary())
    before = [p.copy() for p in net.params]
    table = net.summary(X)
    assert [(row.name, row.shape, row.params) for row in table.rows[:3]] == [
        ("Affine", (9,), 189), ("Relu", (9,), 0), ("Affine", (7,), 70)
    ]  # fmt: skip
    assert table.rows[0].flops == 360 and table.rows[0].forward > 0 < table.rows[0].backward
    text = str(table)
    assert "layer 6 (Doubled)" in text and "(N, 9)" in text and "in the layer before" in text and "total" in text
    for p, q in zip(net.params, before, strict=True):
        np.testing.assert_array_equal(p, q)
    assert len(str(Network(recurrent(lstm())).summary(WORDS)).splitlines()) == 9
