"""Losses whose samples count differently: values, gradients on every backend, and in `Network.fit`."""

import copy
import math

import numpy as np
import pytest
from every_backend import backend, on_every_backend  # noqa: F401 (fixtures)

import fastnn
from fastnn import layers, optimizer, time_layers
from fastnn.gradient import numerical_gradient
from fastnn.layers import WeightedLoss

rng = np.random.default_rng(0)
ROWS, STEPS = rng.standard_normal((6, 4)), rng.standard_normal((3, 5, 4))
LABELS = np.array([0, 3, 1, 1, 2, 0])
STEP_LABELS = rng.integers(0, 4, (3, 5))
STEP_LABELS[1, 3:] = -1
SOFT = rng.dirichlet(np.ones(4), 6)
WEIGHTS = np.array([1.0, 0.5, 0.0, 2.0, 3.0, 0.25])
STEP_WEIGHTS = rng.random((3, 5)) * (rng.random((3, 5)) > 0.2)
CLASSES = np.array([1.0, 2.0, 0.5, 3.0])
CASES = {
    "softmax": (layers.SoftmaxWithLoss(), ROWS, LABELS, WEIGHTS),
    "one_hot": (layers.SoftmaxWithLoss(), ROWS, np.eye(4)[LABELS], WEIGHTS),
    "exact": (layers.SoftmaxCrossEntropy(), ROWS, LABELS, WEIGHTS),
    "soft": (layers.SoftmaxCrossEntropy(), ROWS, SOFT, WEIGHTS),
    "classes": (layers.SoftmaxCrossEntropy(CLASSES), ROWS, LABELS, WEIGHTS),
    "smoothed": (layers.SoftmaxCrossEntropy(CLASSES, 1, 0.2), ROWS, LABELS, WEIGHTS),
    "smoothed_soft": (layers.SoftmaxCrossEntropy(CLASSES, None, 0.2), ROWS, SOFT, WEIGHTS),
    "time": (time_layers.TimeSoftmaxWithLoss(), STEPS, STEP_LABELS, STEP_WEIGHTS),
    "time_of_samples": (time_layers.TimeSoftmaxWithLoss(), STEPS, STEP_LABELS, WEIGHTS[:3]),
    "sigmoid": (layers.SigmoidWithLoss(), ROWS[:, :1], LABELS > 1, WEIGHTS),
    "sigmoids": (layers.SigmoidWithLoss(), ROWS, SOFT > 0.3, WEIGHTS),
    "time_sigmoid": (time_layers.TimeSigmoidWithLoss(), STEPS[:, :, 0], STEP_LABELS > 1, STEP_WEIGHTS),
    "squares": (layers.MeanSquaredError(), ROWS, SOFT, WEIGHTS),
    "squares_of_elements": (layers.MeanSquaredError(), ROWS, SOFT, np.abs(ROWS)),
}


@pytest.mark.parametrize("name", CASES)
@on_every_backend
def test_gradients(name):
    loss, x, t, weight = CASES[name]
    weighted = WeightedLoss(copy.deepcopy(loss))
    books = getattr(loss, "epsilon", 0) > 0 or "igmoid" in type(loss).__name__  # whose 1e-7 is not in the gradient
    tolerance = 1e-5 if books else 1e-7
    x = x.copy()
    numeric = numerical_gradient(lambda _: weighted.forward(x, t, weight), x)
    weighted.forward(x, t, weight)
    got = weighted.backward()
    assert got.shape == x.shape and got.dtype == x.dtype
    np.testing.assert_allclose(got, numeric, atol=tolerance)
    np.testing.assert_allclose(weighted.backward(3.0), 3 * got, rtol=1e-12)
    expected = weighted.forward(x, t, weight)
    assert weighted.forward(x.astype("f"), t, weight) == pytest.approx(expected, rel=1e-5)
    assert weighted.backward().dtype == np.float32
    np.testing.assert_allclose(weighted.backward(), got, atol=1e-6)


@pytest.mark.parametrize("name", CASES)
def test_equal_weights_change_nothing(name):
    loss, x, t, _ = CASES[name]
    loss, weighted = copy.deepcopy(loss), WeightedLoss(copy.deepcopy(loss))
    expected = loss.forward(x, t)
    dx = loss.backward()
    for weight in (None, np.full(len(x), 0.3)):
        assert weighted.forward(x, t, weight) == pytest.approx(expected, rel=1e-12)
        np.testing.assert_allclose(weighted.backward(), dx, rtol=1e-11, atol=1e-16)


@pytest.mark.parametrize("name", CASES)
def test_a_weight_of_two_is_the_sample_twice(name):
    loss, x, t, _ = CASES[name]
    counts = np.array([1, 2, 0, 3, 1, 0])[: len(x)]
    places = np.repeat(np.arange(len(x)), counts)
    plain, weighted = copy.deepcopy(loss), WeightedLoss(copy.deepcopy(loss))
    assert weighted.forward(x, t, counts) == pytest.approx(plain.forward(x[places], t[places]), rel=1e-12)
    summed = np.zeros_like(x)
    np.add.at(summed, places, plain.backward())
    np.testing.assert_allclose(weighted.backward(), summed, rtol=1e-11, atol=1e-16)


def test_what_counts_nothing_is_not_read():
    x = ROWS.copy()
    x[2] = np.nan
    for loss, t in (
        (layers.SoftmaxWithLoss(), LABELS),
        (layers.MeanSquaredError(), SOFT),
        (layers.SigmoidWithLoss(), SOFT),
    ):
        weighted = WeightedLoss(loss)
        with np.errstate(invalid="ignore"):
            assert math.isfinite(weighted.forward(x, t, WEIGHTS)) and np.isfinite(weighted.backward()).all()
            assert math.isnan(weighted.forward(ROWS, t, np.zeros(6))) and not weighted.backward().any()


def test_weights_of_an_attribute():
    weighted = WeightedLoss(layers.SoftmaxWithLoss())
    weighted.weight = WEIGHTS
    assert weighted.forward(ROWS, LABELS) == weighted.forward(ROWS, LABELS, WEIGHTS)
    assert weighted.forward(ROWS, LABELS) != weighted.forward(ROWS, LABELS, np.ones(6))
    assert repr(weighted) == "WeightedLoss(SoftmaxWithLoss())"


def network(loss=None, dtype="float64"):
    made = np.random.default_rng(1)
    net = [
        layers.Affine.create(5, 8, rng=made, dtype=dtype),
        layers.Relu(),
        layers.Affine.create(8, 3, rng=made, dtype=dtype),
    ]
    return fastnn.Network(net, layers.SoftmaxWithLoss() if loss is None else loss, rng=0)


X = rng.standard_normal((40, 5))
T = rng.integers(0, 3, 40)
W = rng.integers(0, 4, 40).astype(float)
QUIET = {"progress": False, "shuffle": False}


def assert_equal(one, other, rtol=1e-9):
    for p, q in zip(one.params, other.params, strict=True):
        np.testing.assert_allclose(p, q, rtol=rtol, atol=1e-12)


def test_in_a_network():
    net = network(WeightedLoss(layers.SoftmaxWithLoss()))
    net.loss_layer.weight = W
    plain = network()
    repeated = np.repeat(np.arange(40), W.astype(int))
    assert net.loss(X, T) == pytest.approx(plain.loss(X[repeated], T[repeated]))
    for g, expected in zip(net.gradient(X, T), plain.gradient(X[repeated], T[repeated]), strict=True):
        np.testing.assert_allclose(g, expected, rtol=1e-9, atol=1e-14)
    assert "(WeightedLoss) runs in Python" in str(net.summary(batch_size=40))


def test_fit_with_sample_weights():
    """A batch with weights is the batch with its samples repeated."""
    net, plain = network(), network()
    history = net.fit(X, T, 3, 40, optimizer.SGD(0.5), sample_weight=W, validation=(X, T, W), **QUIET)
    repeated = np.repeat(np.arange(40), W.astype(int))
    expected = plain.fit(
        X[repeated], T[repeated], 3, len(repeated), optimizer.SGD(0.5), validation=(X[repeated], T[repeated]), **QUIET
    )
    np.testing.assert_allclose(history["loss"], expected["loss"], rtol=1e-9)
    np.testing.assert_allclose(history["val_loss"], expected["val_loss"], rtol=1e-9)
    assert_equal(net, plain)
    assert net.input_shape == (5,) and type(net.loss_layer) is layers.SoftmaxWithLoss


def test_the_loss_of_an_epoch_is_the_mean_over_weights():
    net = network()
    history = net.fit(X, T, 1, 7, optimizer.SGD(0.0), sample_weight=W, **QUIET)
    weighted = WeightedLoss(layers.SoftmaxWithLoss())
    assert history["loss"] == [pytest.approx(weighted.forward(net.predict(X), T, W))]
    with np.errstate(invalid="ignore"):
        some = W.copy()
        some[7:21] = 0  # two whole batches
        history = net.fit(X, T, 1, 7, optimizer.Adam(), sample_weight=some, callbacks=[lambda f: None], **QUIET)
    assert math.isfinite(history["loss"][0])


@pytest.mark.parametrize("batch_size", [40, 7])
def test_fit_with_class_weights(batch_size):
    """As the loss layer's own class weights; a dictionary names some."""
    weights = np.array([1.0, 3.0, 0.5])
    own = network(layers.SoftmaxCrossEntropy(weights))
    own.fit(X, T, 3, batch_size, optimizer.Momentum(0.1), **QUIET)
    for given in (weights, {1: 3.0, 2: 0.5}):
        net = network(layers.SoftmaxCrossEntropy())
        net.fit(X, T, 3, batch_size, optimizer.Momentum(0.1), class_weight=given, **QUIET)
        assert_equal(net, own)
    both, product = network(), network()
    both.fit(X, T, 2, batch_size, optimizer.SGD(0.1), class_weight=weights, sample_weight=W, **QUIET)
    product.fit(X, np.eye(3)[T], 2, batch_size, optimizer.SGD(0.1), sample_weight=W * weights[T], **QUIET)
    assert_equal(both, product)


def test_class_weights_of_steps_and_sigmoids():
    made = np.random.default_rng(2)
    words, following = made.integers(0, 6, (10, 4)), made.integers(0, 6, (10, 4))
    following[0, 2:] = -1
    table = np.arange(6.0)

    def model():
        rng = np.random.default_rng(3)
        net = [time_layers.TimeEmbedding.create(6, 3, rng=rng, init=1.0), time_layers.TimeAffine.create(3, 6, rng=rng)]
        return fastnn.Network(net, time_layers.TimeSoftmaxWithLoss())

    one, other = model(), model()
    one.fit(words, following, 2, 5, optimizer.SGD(0.1), class_weight=table, **QUIET)
    other.fit(words, following, 2, 5, optimizer.SGD(0.1), sample_weight=table[np.maximum(following, 0)], **QUIET)
    assert_equal(one, other, 1e-6)
    last = [layers.Affine.create(5, 1, rng=0)], [layers.Affine.create(5, 1, rng=0)]
    binary, same = (fastnn.Network(part, layers.SigmoidWithLoss()) for part in last)
    binary.fit(X, T > 0, 2, 10, optimizer.SGD(0.1), class_weight={1: 4.0}, **QUIET)
    same.fit(X, T > 0, 2, 10, optimizer.SGD(0.1), sample_weight=np.where(T > 0, 4.0, 1.0), **QUIET)
    assert_equal(binary, same, 1e-6)


@pytest.mark.parametrize(
    ("options", "kind", "text"),
    [
        ({"sample_weight": W[1:]}, ValueError, r"x is \(40, 5\) but sample_weight is \(39,\)"),
        ({"sample_weight": np.ones((40, 2))}, ValueError, r"the weights are \(40, 2\) but the losses are \(40,\)"),
        ({"sample_weight": -W}, ValueError, "negative or not finite"),
        ({"sample_weight": W * np.nan}, ValueError, "negative or not finite"),
        ({"sample_weight": W * 0}, ValueError, r"sample_weight \(40,\) is 0 for every sample"),
        ({"sample_weight": ["a"] * 40}, TypeError, "the weights have dtype"),
        ({"class_weight": np.ones(4)}, ValueError, r"class_weight is \(4,\) but the scores are \(40, 3\)"),
        ({"class_weight": {3: 1.0}}, ValueError, r"class_weight has the class 3; classes lie in \[0, 3\)"),
        ({"class_weight": np.zeros(3)}, ValueError, r"class_weight \(40,\) is 0 for every sample"),
        ({"class_weight": {1: -1.0}}, ValueError, "class_weight must be numbers that are finite"),
        ({"validation": (X, T, W[1:])}, ValueError, r"validation is \(40, 5\) and \(40,\) and \(39,\)"),
        ({"validation": (X, T, W * 0)}, ValueError, r"validation: .*weight \(40,\) is 0"),
    ],
)
def test_bad_weights(options, kind, text):
    net = network()
    before = copy.deepcopy(net.params)
    with pytest.raises(kind, match=text):
        net.fit(X, T, 1, 10, **QUIET, **options)
    for p, q in zip(net.params, before, strict=True):
        np.testing.assert_array_equal(p, q)


def test_losses_that_take_no_weights():
    class Own(layers.Layer):
        def forward(self, x, t):
            self.x = x
            return float(x.sum())

        def backward(self, dout=1):
            return np.ones_like(self.x)

    with pytest.raises(TypeError, match="loss is a Own; samples can be weighted in SoftmaxWithLoss, "):
        WeightedLoss(Own())
    with pytest.raises(TypeError, match=r"weights need a loss that .* the network has the loss Own"):
        network(Own()).fit(X, T, 1, sample_weight=W, **QUIET)
    with pytest.raises(
        TypeError, match="class_weight needs a loss of classes; the network has the loss MeanSquaredError"
    ):
        network(layers.MeanSquaredError()).fit(X, X[:, :3], 1, class_weight=[1, 2, 3], **QUIET)
    with pytest.raises(RuntimeError, match="backward needs a forward"):
        WeightedLoss(layers.SoftmaxWithLoss()).backward()
    with pytest.raises(IndexError, match="labels must lie in"):
        WeightedLoss(layers.SoftmaxWithLoss()).forward(ROWS, LABELS + 1)
    with pytest.raises(ValueError, match=r"MeanSquaredError: x is \(6, 4\) but t is \(6, 3\)"):
        WeightedLoss(layers.MeanSquaredError()).forward(ROWS, SOFT[:, 1:])


@pytest.mark.parametrize("name", CASES)
def test_scores_of_integers(name):
    loss, x, t, weight = CASES[name]
    x, weighted = np.round(3 * x).astype(int), WeightedLoss(copy.deepcopy(loss))
    expected = weighted.forward(x.astype(float), t, weight), weighted.backward()
    assert weighted.forward(x, t, weight) == expected[0]
    np.testing.assert_array_equal(weighted.backward(), expected[1])
