"""Frozen networks: the same numbers, any batch size, threads, and bad input."""

import threading

import numpy as np
import pytest
from every_backend import backend, on_every_backend, one_thread  # noqa: F401
from test_network import NETWORKS, WORDS, Doubled, X, dense, forward, lstm, normal, recurrent

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
    x = np.random.default_rng(n).integers(-11, 11, (n, 7))
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
    for outside in 11, -12:
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
