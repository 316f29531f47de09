"""What losses take as t, and the classes of scores: one meaning in layers, networks, models, `fit` and predictors."""

import math

import numpy as np
import pytest
from every_backend import *  # noqa: F403 (fixtures)
from every_backend import on_every_backend

import fastnn
from fastnn import Network, layers, models, ops, optimizer, targets, time_layers, trainer
from fastnn.compat import book1, book2
from fastnn.text import create_co_matrix

pytestmark = on_every_backend


def normal(*shape):
    return np.random.default_rng(sum(shape)).standard_normal(shape)


X, T = normal(40, 6), np.random.default_rng(1).integers(0, 4, 40)


def affine(*shape):
    return layers.Affine(normal(*shape), normal(shape[1]))


def classifier(loss=None):
    return Network([affine(6, 4)], loss or layers.SoftmaxWithLoss())


def one_output(loss, *more):
    return Network([affine(6, 1), *more], loss)


NETS = {
    "TwoLayerNet": lambda: (models.TwoLayerNet(6, 5, 4, rng=0), X),
    "MultiLayerNet": lambda: (models.MultiLayerNet(6, [5], 4, rng=0), X),
    "MultiLayerNetExtend": lambda: (models.MultiLayerNetExtend(6, [5], 4, use_batchnorm=True, rng=0), X),
    "SimpleConvNet": lambda: (models.SimpleConvNet((1, 12, 12), output_size=4, rng=0), normal(40, 1, 12, 12)),
    "Network": lambda: (classifier(), X),
    "book1": lambda: (book1.TwoLayerNet(6, 5, 4), X),
}


@pytest.mark.parametrize("name", NETS)
def test_labels_in_a_column_are_labels_everywhere(name):
    net, x = NETS[name]()
    for t in T[:, None], np.eye(4)[T], T.astype(np.uint64), T[:, None].astype(">i2"):
        assert net.loss(x, t) == pytest.approx(net.loss(x, T), rel=1e-6)
        assert net.accuracy(x, t) == net.accuracy(x, T) < 1
    if name != "book1":
        for t in T[None], T[:39], np.eye(5)[T]:
            with pytest.raises(ValueError, match=r"labels must|targets must|but t is"):
                net.loss(x, t)
            with pytest.raises(ValueError, match=r"labels must|targets must|but t is"):
                net.accuracy(x, t)


def test_training_with_labels_in_a_column():
    losses = []
    for t in T, T[:, None]:
        net = classifier()
        net.fit(X, t, 2, 10, optimizer.SGD(0.1), validation=(X, t), rng=0, progress=False)
        losses.append(net.history)
    assert losses[0] == losses[1]
    accuracies = []
    for t in T, T[:, None]:
        train = trainer.Trainer(models.TwoLayerNet(6, 5, 4, rng=0), X, t, X, t, 2, 10, rng=0, verbose=False)
        train.train()
        accuracies.append((train.train_loss_list, train.train_acc_list, train.test_acc_list))
    assert accuracies[0] == accuracies[1]


def test_sequences():
    xs, ts = normal(3, 5, 4), np.random.default_rng(0).integers(0, 4, (3, 5))
    ts[0, 2] = -1  # does not count
    layer, net = time_layers.TimeSoftmaxWithLoss(), Network([affine_over_time()], time_layers.TimeSoftmaxWithLoss())
    expected = layer.forward(xs, ts)
    for t in ts[:, :, None], ts.reshape(-1):
        assert layer.forward(xs, t) == expected and net.loss(xs, t) == net.loss(xs, ts)
        assert net.accuracy(xs, t) == net.accuracy(xs, ts)
    for t in ts.T, ts[:2]:  # transposed labels have as many elements
        with pytest.raises(ValueError, match="labels must be"):
            layer.forward(xs, t)
        with pytest.raises(ValueError, match="labels must be"):
            net.loss(xs, t)
    found = net.predict(xs).argmax(axis=-1)
    assert net.accuracy(xs, ts) == np.mean((found == ts)[ts != -1])


def affine_over_time():
    return time_layers.TimeAffine(normal(4, 4), normal(4))


def test_labels_that_the_loss_ignores_do_not_count():
    t = np.where(np.arange(40) % 3 == 0, -1, T)
    net = classifier(layers.SoftmaxCrossEntropy(ignore_index=-1))
    found = net.predict(X).argmax(axis=1)
    assert net.accuracy(X, t) == np.mean((found == t)[t != -1])
    assert math.isnan(net.accuracy(X, np.full(40, -1)))


@pytest.mark.parametrize(
    "bad", [np.array([0, -1]), np.array([0, 4]), np.array([0, 2**64 - 1], np.uint64), np.array([0, 2**63], np.uint64)]
)
def test_labels_outside_are_refused_everywhere(bad):
    """-1 too, unless it is the label that does not count; 2^64 - 1 never is -1."""
    x, first = X[:2], f"t\\[1\\] is {bad[1]}"
    scores, net = normal(2, 4), classifier()
    W = normal(6, 4)
    calls = [
        lambda: ops.softmax_cross_entropy_forward(scores, bad),
        lambda: ops.softmax_cross_entropy_backward(scores, bad),
        lambda: ops.affine_softmax_cross_entropy(x, W, None, bad),
        lambda: layers.SoftmaxWithLoss().forward(scores, bad),
        lambda: fastnn.functions.cross_entropy_error(scores, bad),
        lambda: fastnn.functions.softmax_cross_entropy(scores, bad),
        lambda: net.loss(x, bad),
        lambda: net.accuracy(x, bad),
        lambda: net.step(x, bad, optimizer.SGD()),
        lambda: models.TwoLayerNet(6, 5, 4).accuracy(x, bad),
    ]
    if bad.dtype != np.uint64 and bad[1] == -1:
        assert np.isfinite(ops.softmax_cross_entropy_forward(scores, bad, ignore_index=-1)[0])
    else:
        calls += [
            lambda: ops.softmax_cross_entropy_forward(scores, bad, ignore_index=-1),
            lambda: time_layers.TimeSoftmaxWithLoss().forward(scores[None], bad[None]),
            lambda: Network([affine_over_time()], time_layers.TimeSoftmaxWithLoss()).loss(scores[None], bad[None]),
        ]
    for call in calls:
        with pytest.raises(IndexError, match=first):
            call()


def test_the_reference_refuses_labels_too():
    reference = fastnn.backends.load("numpy").softmax_cross_entropy_forward
    for t in np.array([0, -1]), np.array([0, 2**64 - 1], np.uint64):
        with pytest.raises(IndexError):
            reference(normal(2, 4), t)
    with pytest.raises(IndexError):
        reference(normal(2, 4), np.array([0, 2**64 - 1], np.uint64), None, -1)


def test_the_books_count_negative_labels_from_the_end():
    scores, t, from_end = normal(2, 4), np.array([1, 3]), np.array([-3, -1])
    for loss in book1.SoftmaxWithLoss, book2.SoftmaxWithLoss:
        one, other = loss(), loss()
        assert one.forward(scores, t) == other.forward(scores, from_end)
        np.testing.assert_array_equal(one.backward(), other.backward())
    for book in book1, book2:
        assert book.cross_entropy_error(np.abs(scores), t) == book.cross_entropy_error(np.abs(scores), from_end)
        with pytest.raises(IndexError):
            book.cross_entropy_error(np.abs(scores), np.array([0, -5]))
    one, other = book2.TimeSoftmaxWithLoss(), book2.TimeSoftmaxWithLoss()
    assert one.forward(scores[None], np.array([[-1, 2]])) == other.forward(scores[None], np.array([[-1, -2]]))
    np.testing.assert_array_equal(one.backward(), other.backward())


def test_dtypes_of_labels():
    scores = normal(2, 4)
    expected = layers.SoftmaxWithLoss().forward(scores, np.array([1, 0]))
    assert layers.SoftmaxWithLoss().forward(scores, np.array([True, False])) == expected
    net = Network([layers.Identity()], layers.SoftmaxWithLoss())
    for t in np.array([True, False]), np.array([1, 0], ">i4"):
        assert net.loss(scores, t) == pytest.approx(expected, rel=1e-6)
    for t in np.array([1.0, 0.0]), np.array(["1", "0"]), np.array([1j, 0]):
        for call in layers.SoftmaxWithLoss().forward, fastnn.functions.cross_entropy_error, net.loss, net.accuracy:
            with pytest.raises(TypeError):
                call(scores, t)
    for loss in layers.SigmoidWithLoss(), layers.MeanSquaredError():
        with pytest.raises(TypeError):
            Network([layers.Identity()], loss).loss(normal(2, 1), np.array(["1", "0"]))
    with pytest.raises(TypeError, match="ignore_index is"):
        ops.softmax_cross_entropy_forward(scores, np.array([1, 0]), ignore_index=0.5)


def test_numbers_as_targets():
    """A loss of numbers: only axes of length 1 may differ, in the layer as in the network."""
    y, t = normal(5, 1), normal(5)
    for loss in layers.MeanSquaredError, layers.SigmoidWithLoss:
        expected = loss().forward(y, np.abs(t[:, None]))
        assert loss().forward(y, np.abs(t)) == expected
        assert Network([layers.Identity()], loss()).loss(y, np.abs(t)) == pytest.approx(expected)
        with pytest.raises(ValueError, match=r"\(5, 1\)"):
            loss().forward(y, normal(4))


def test_classes_of_one_output():
    p = fastnn.compile(one_output(layers.SigmoidWithLoss()))
    found = p.predict_classes(X)
    assert found.shape == (40,) and found.dtype == np.int64
    np.testing.assert_array_equal(found, p.predict_proba(X)[:, 0] > 0.5)
    assert 0 < found.sum() < 40
    out = np.full(40, 7)
    assert p.predict_classes(X, out=out) is out and np.array_equal(out, found)
    net = one_output(layers.SigmoidWithLoss())
    assert net.accuracy(X, found) == net.accuracy(X, found[:, None]) == net.accuracy(X, found * 0.8 + 0.1) == 1
    p = fastnn.compile(one_output(None, layers.Sigmoid()))
    np.testing.assert_array_equal(p.predict_classes(X), p.predict(X)[:, 0] > 0.5)
    for net in one_output(layers.MeanSquaredError()), one_output(None), one_output(layers.SoftmaxWithLoss()):
        with pytest.raises(ValueError, match=r"Predictor.predict_classes: the scores are \(N, 1\); they must be"):
            fastnn.compile(net).predict_classes(X)
        with pytest.raises(ValueError, match="several classes"):
            net.accuracy(X, found)
    p = fastnn.compile(classifier())
    np.testing.assert_array_equal(p.predict_classes(X), p.predict(X).argmax(axis=1))


BAD_VALIDATION = {
    "labels": (X, np.full(40, 4), IndexError, r"t\[0\] is 4"),
    "a later label": (X, np.where(np.arange(40) == 39, -1, T), IndexError, r"t\[39\] is -1"),
    "shape": (X, np.eye(5)[T], ValueError, "targets must be"),
    "dtype": (X, T * 1.0, TypeError, "labels are integers"),
    "samples": (normal(40, 5), T, ValueError, "5"),
}


@pytest.mark.parametrize("name", BAD_VALIDATION)
def test_validation_data_is_looked_at_before_the_first_step(name):
    x, t, error, words = BAD_VALIDATION[name]
    net = classifier()
    before = [p.copy() for p in net.params]
    with pytest.raises(error, match=f"Network.fit: validation: .*{words}"):
        net.fit(X, T, 1, 10, optimizer.SGD(0.1), validation=(x, t), progress=False)
    for p, q in zip(net.params, before, strict=True):
        np.testing.assert_array_equal(p, q)


def test_validation_indices_and_states():
    words, t = np.random.default_rng(0).integers(0, 9, (12, 5)), np.random.default_rng(1).integers(0, 4, (12, 5))
    lstm = time_layers.TimeLSTM(normal(3, 16), normal(4, 16), normal(16), stateful=True)
    net = Network([time_layers.TimeEmbedding(normal(9, 3)), lstm], time_layers.TimeSoftmaxWithLoss())
    bad = words.copy()
    bad[-1, -1] = 9
    with pytest.raises(IndexError, match=r"Network.fit: validation: .*index\[11, 4\] is 9 but W has V = 9 rows"):
        net.fit(words, t, 1, 6, optimizer.SGD(), validation=(bad, t), progress=False)
    lstm.set_state(np.ones((6, 4)), np.ones((6, 4)))
    state = lstm.h, lstm.c
    with pytest.raises(IndexError):
        net.fit(words, t, 1, 6, optimizer.SGD(), validation=(words, t + 4), progress=False)
    assert lstm.h is state[0] and lstm.c is state[1]


def test_a_seed_of_the_network_is_one_for_what_draws_in_it():
    x = np.ones((20, 30))

    def draws(rng, *own):
        parts = [layers.Dropout(0.2), layers.Add([], [layers.Dropout(0.5)]), layers.Dropout(0.5, *own)]
        net = Network([*parts, affine(30, 4)], layers.SoftmaxWithLoss(), rng=rng)
        return [net.loss(x, T[:20], train_flg=True) for _ in range(3)], [p.rng.random() for p in parts[::2]]

    assert draws(0) == draws(0) != draws(1)
    assert draws(0)[1][0] != draws(0)[1][1]
    assert draws(0, 5)[1][1] == draws(1, 5)[1][1]  # its own, whatever the network's
    assert draws(None) != draws(None)
    histories = []
    for _ in range(2):
        net = Network([affine(6, 9), layers.Dropout(0.2), affine(9, 4)], layers.SoftmaxWithLoss(), rng=0)
        histories.append(net.fit(X, T, 2, 10, progress=False))
    assert histories[0] == histories[1]
    layer = layers.Dropout(0.2)
    layer.rng = mine = np.random.default_rng(3)  # given later: its own too
    Network([layer], rng=0)
    assert layer.rng is mine


def test_functions():
    assert targets.labels_of(np.eye(3)[[2, 0]], (2, 3), "f").tolist() == [2, 0]
    assert targets.labels_of(2, (3,), "f").shape == () and targets.labels_of([2], (3,), "f") == 2
    assert targets.labels_or_targets([], (0, 3), "f").dtype == np.int64
    with pytest.raises(ValueError, match=r"f: t is int64 \(2, 2\) but the scores are \(2, 3\); labels must be \(2,\)"):
        targets.labels_or_targets(np.zeros((2, 2), int), (2, 3), "f")


def test_words_outside_the_vocabulary():
    """They counted for other pairs of words."""
    for bad in np.array([0, 1, 3]), np.array([0, -1, 2]), np.array([0, 1, 2**64 - 1], np.uint64):
        with pytest.raises(IndexError, match=r"create_co_matrix: corpus\[\d\] is"):
            create_co_matrix(bad, 3)
    with pytest.raises(TypeError, match="corpus has dtype float64"):
        create_co_matrix(np.array([0.0, 1.0]), 3)
    assert create_co_matrix(np.array([0, 1, 2], np.uint8), 3).tolist() == [[0, 1, 0], [1, 0, 1], [0, 1, 0]]
