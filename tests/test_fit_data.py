"""What `Network.fit` takes besides two arrays: splits, batches of any kind, metrics, plateaus, schedules."""

import copy
import math

import numpy as np
import pytest

import fastnn
from fastnn import layers, optimizer, time_layers
from fastnn.network import (
    Callback,
    Checkpoint,
    CosineDecay,
    EarlyStopping,
    LearningRate,
    Network,
    ReduceLROnPlateau,
    StepDecay,
    cosine_decay,
    step_decay,
)  # fmt: skip
from fastnn.pickles import to_pickle

rng = np.random.default_rng(0)
X = rng.standard_normal((50, 5))
T = rng.integers(0, 3, 50)
QUIET = {"progress": False, "shuffle": False}


def network(loss=None, outputs=3):
    made = np.random.default_rng(1)
    net = [
        layers.Affine.create(5, 8, rng=made, dtype="float64"), layers.Relu(),
        layers.Affine.create(8, outputs, rng=made, dtype="float64"),
    ]  # fmt: skip
    return Network(net, layers.SoftmaxWithLoss() if loss is None else loss, rng=0)


def assert_equal(one, other):
    for p, q in zip(one.params, other.params, strict=True):
        np.testing.assert_array_equal(p, q)


def batches(size=10):
    return [(X[i : i + size], T[i : i + size]) for i in range(0, len(X), size)]


class Again:
    """Gives its batches anew each time."""

    def __init__(self, size=10):
        self.size, self.reads = size, 0

    def __iter__(self):
        self.reads += 1
        yield from batches(self.size)


def expected(epochs=3, size=10, **options):
    net = network()
    history = net.fit(X, T, epochs, size, optimizer.Adam(0.01), **QUIET, **options)
    return net, history


# ---- validation_split -----------------------------------------------------------------------------------------------


def test_validation_split():
    net, other = network(), network()
    history = net.fit(X, T, 3, 10, optimizer.Adam(), validation_split=0.2, progress=False, rng=3)
    same = other.fit(X[:40], T[:40], 3, 10, optimizer.Adam(), validation=(X[40:], T[40:]), progress=False, rng=3)
    assert history == same and list(history) == ["loss", "val_loss", "val_accuracy"]
    assert_equal(net, other)


@pytest.mark.parametrize("split", [1.0, -0.1, 2, 0.001, 0.999])
def test_bad_splits(split):
    with pytest.raises(ValueError, match=f"validation_split is {split} of 50 samples"):
        network().fit(X, T, validation_split=split)
    with pytest.raises(ValueError, match="validation and validation_split are both given"):
        network().fit(X, T, validation=(X, T), validation_split=split)


# ---- batches --------------------------------------------------------------------------------------------------------


def test_batches_of_any_kind():
    net, history = expected()
    again = Again()
    for source in (batches(), again, lambda: (b for b in batches()), lambda: batches(), tuple(batches())):
        other = network()
        assert other.fit(source, epochs=3, optimizer=optimizer.Adam(0.01), progress=False) == history
        assert_equal(other, net)
    assert again.reads == 3


def test_generators_are_read_once():
    net, history = expected(1)
    other = network()
    assert other.fit((b for b in batches()), epochs=1, optimizer=optimizer.Adam(0.01), progress=False) == history
    assert_equal(other, net)
    read = []
    with pytest.raises(ValueError, match=r"x is a generator, whose batches can be read once, but epochs is 3"):
        network().fit((read.append(b) for b in batches()), epochs=3)
    assert read == []


def test_steps_per_epoch():
    net, history = expected(4, 10)
    endless, repeated = network(), network()

    def forever():
        while True:
            yield from batches()

    one = endless.fit(forever(), epochs=10, optimizer=optimizer.Adam(0.01), steps_per_epoch=2, progress=False)
    two = repeated.fit(Again(), epochs=10, optimizer=optimizer.Adam(0.01), steps_per_epoch=2, progress=False)
    assert one == two and len(one["loss"]) == 10
    assert sum(one["loss"]) * 2 == pytest.approx(sum(history["loss"]) * 5)
    assert_equal(endless, net)
    with pytest.raises(ValueError, match="x has no more batches, and steps_per_epoch asks for more"):
        network().fit((b for b in batches()), epochs=2, steps_per_epoch=4, progress=False)


def test_batches_of_unequal_sizes_and_weights():
    """The loss of an epoch is the mean over samples, or weights."""
    net = network()
    sizes = [(X[:7], T[:7]), (X[7:50], T[7:50])]
    history = net.fit(sizes, epochs=1, optimizer=optimizer.SGD(0.0), progress=False)
    assert history["loss"] == [pytest.approx(net.loss(X, T))]
    weights = np.arange(50.0)
    given = [(X[:7], T[:7], weights[:7]), (X[7:], T[7:], weights[7:])]
    history = net.fit(given, epochs=1, optimizer=optimizer.SGD(0.0), class_weight=[1.0, 0.0, 2.0], progress=False)
    loss = layers.WeightedLoss(layers.SoftmaxWithLoss())
    whole = loss.forward(net.predict(X), T, weights * np.array([1.0, 0.0, 2.0])[T])
    assert history["loss"] == [pytest.approx(whole)]


def test_validation_of_batches():
    made = np.random.default_rng(4)
    x, t = made.standard_normal((250, 5)), made.integers(0, 3, 250)  # more than a part
    net, other = network(), network()
    stop = EarlyStopping(1, monitor="val_top_2_accuracy")
    history = net.fit(
        Again(),
        epochs=4,
        validation=(x, t),
        class_weight={0: 2.0},
        metrics="top_2_accuracy",
        callbacks=stop,
        progress=False,
    )
    assert list(history) == ["loss", "val_loss", "val_accuracy", "val_top_2_accuracy"]
    assert stop.best == -max(history["val_top_2_accuracy"]) and net.accuracy(x, t) in history["val_accuracy"]
    weights = np.array([2.0, 1.0, 1.0])[T]
    same = other.fit(X, T, len(history["loss"]), 10, sample_weight=weights, validation=(x, t), **QUIET)
    np.testing.assert_allclose(history["loss"], same["loss"])
    np.testing.assert_allclose(history["val_loss"], same["val_loss"])
    with pytest.raises(IndexError, match=r"validation: .* is 3; labels must lie in"):
        network().fit(Again(), epochs=1, validation=(x, np.where(np.arange(250) == 249, 3, t)))


def test_progress_of_batches():
    seen = []
    schedule = LearningRate(lambda epoch: seen.append(epoch) or 0.01)
    network().fit(batches(25), epochs=2, callbacks=[schedule], progress=False)
    assert seen == [0, 0.5, 1, 1.5, 2]
    seen.clear()
    network().fit(Again(25), epochs=2, callbacks=[schedule], progress=False)
    assert seen == [0, 0, 1, 1.5, 2]  # how many batches there are is not known in the first epoch


def test_resuming_batches(tmp_path):
    class Stop(LearningRate):
        def on_step(self, fit):
            fit.stop = fit.step == 8

    whole, half, other = network(), network(), network()
    history = whole.fit(Again(), epochs=3, optimizer=optimizer.Adam(0.01), progress=False)
    stop, kept = Stop(lambda epoch: 0.01), Checkpoint(tmp_path / "c.npz", steps=4)
    half.fit(Again(), epochs=3, optimizer=optimizer.Adam(), callbacks=[stop, kept], progress=False)
    resumed = other.fit(Again(), epochs=3, optimizer=optimizer.Adam(0.01), resume=tmp_path / "c.npz", progress=False)
    assert resumed == history
    assert_equal(other, whole)


@pytest.mark.parametrize("steps", [3, 5])
def test_resuming_an_epoch_of_so_many_steps(tmp_path, steps):
    """In the middle of an epoch, of batches that an epoch does not begin with."""

    def stop(fit):
        fit.stop = fit.step == 7

    class Stop(Callback):
        on_step = on_epoch = staticmethod(stop)

    options = {"epochs": 4, "steps_per_epoch": steps, "progress": False}
    whole, half, other = network(), network(), network()
    history = whole.fit(Again(), optimizer=optimizer.Adam(0.01), **options)
    kept = Checkpoint(tmp_path / "c.npz", steps=7)
    half.fit(Again(), optimizer=optimizer.Adam(0.01), callbacks=[Stop(), kept], **options)
    resumed = other.fit(Again(), optimizer=optimizer.Adam(0.01), resume=tmp_path / "c.npz", **options)
    assert resumed == history
    assert_equal(other, whole)


def test_a_checkpoint_of_weights_goes_on(tmp_path):
    weights = rng.random(50)
    whole, half, other = network(), network(), network()
    options = {"sample_weight": weights, "metrics": "accuracy", **QUIET}
    history = whole.fit(X, T, 4, 20, optimizer.Adam(), **options)
    half.fit(X, T, 2, 20, optimizer.Adam(), callbacks=[Checkpoint(tmp_path / "c.npz", steps=2)], **options)
    assert other.fit(X, T, 4, 20, optimizer.Adam(), resume=tmp_path / "c.npz", **options) == history
    assert_equal(other, whole)


@pytest.mark.parametrize(
    ("source", "options", "kind", "text"),
    [
        (X, {}, TypeError, "t is None and x a ndarray; without t, x must give batches"),
        (3, {}, TypeError, "t is None and x a int"),
        (batches(), {"validation_split": 0.1}, ValueError, "validation_split is for arrays"),
        (batches(), {"sample_weight": T}, ValueError, "sample_weight is for arrays"),
        (batches(), {"metrics": "accuracy"}, ValueError, "metrics of batches are taken of validation data"),
        (batches(), {"steps_per_epoch": 0}, ValueError, "steps_per_epoch is 0; it must be at least 1"),
        (batches(), {"epochs": 1.5}, TypeError, "epochs is 1.5; it must be a whole number"),
        ([(X, T, T, T)], {}, TypeError, "batch 1 of x is 4 things"),
        ([X], {}, TypeError, "batch 1 of x is a ndarray"),
        ([(X, T[1:])], {}, ValueError, r"batch 1 of x is \(50, 5\), \(49,\); all must have as many samples"),
        ([(X[:0], T[:0])], {}, ValueError, r"batch 1 of x is \(0, 5\), \(0,\)"),
        ([], {}, ValueError, "x gives no batches in epoch 1"),
        ([(X[:2], T[:2], [1, -1])], {}, ValueError, "negative or not finite"),
        ([(X[:2], T[:2], [[1, 1], [1, 1]])], {}, ValueError, r"the weights are \(2, 2\) but the losses are \(2,\)"),
    ],
)
def test_bad_batches(source, options, kind, text):
    with pytest.raises(kind, match=text):
        network().fit(source, **options)


def test_steps_of_arrays():
    with pytest.raises(ValueError, match="steps_per_epoch is for batches"):
        network().fit(X, T, steps_per_epoch=3)


# ---- what is checked before the first step --------------------------------------------------------------------------


def test_labels_and_indices_are_checked_first():
    net, before = network(), network()
    wrong = T.copy()
    wrong[-1] = 3
    with pytest.raises(IndexError, match=r"t\[49\] is 3; labels must lie in \[0, 3\)"):
        net.fit(X, wrong, 1, 10, **QUIET)
    assert_equal(net, before)
    words = rng.integers(0, 6, (20, 4))
    words[-1, -1] = 6
    model = Network(
        [time_layers.TimeEmbedding.create(6, 3), time_layers.TimeAffine.create(3, 6)], time_layers.TimeSoftmaxWithLoss()
    )
    kept = copy.deepcopy(model.params)
    with pytest.raises(IndexError):
        model.fit(words, np.zeros((20, 4), int), 1, 5, **QUIET)
    assert all((p == q).all() for p, q in zip(model.params, kept, strict=True))


def test_an_unknown_name_is_found_first():
    net, before = network(), network()
    for callback in (EarlyStopping(monitor="val_loss"), ReduceLROnPlateau(monitor="val_loss")):
        with pytest.raises(ValueError, match="'val_loss' is not one of loss"):
            net.fit(X, T, 1, 10, callbacks=[callback], **QUIET)
    assert_equal(net, before)


# ---- metrics --------------------------------------------------------------------------------------------------------


def test_metrics():
    def share(scores, t):
        assert len(scores) == len(t) and scores.shape[1:] == (3,)
        return float((scores.argmax(axis=1) == t).mean())

    seen = []

    def look(fit):
        seen.append((fit.network.accuracy(X[:40], T[:40]), fit.network.accuracy(X[40:], T[40:])))
        scores = fit.network.predict(X[:40])
        assert fit.history["top_2_accuracy"][-1] == np.mean(
            [t in np.argsort(s)[-2:] for s, t in zip(scores, T, strict=False)]
        )
        assert fit.names == list(fit.history)

    net = network()
    history = net.fit(
        X, T, 3, 15, optimizer.Adam(0.01), validation_split=0.2, metrics=["accuracy", "top_2_accuracy", share],
        callbacks=look, progress=False,
    )  # fmt: skip
    assert list(history) == [
        "loss", "accuracy", "top_2_accuracy", "share", "val_loss", "val_accuracy", "val_top_2_accuracy", "val_share",
    ]  # fmt: skip
    assert history["accuracy"] == [a for a, _ in seen] == history["share"]
    assert history["val_accuracy"] == [b for _, b in seen] == history["val_share"]
    plain = network()
    plain.fit(X, T, 3, 15, optimizer.Adam(0.01), validation_split=0.2, progress=False)
    assert_equal(net, plain)


def test_metrics_of_numbers():
    t = rng.standard_normal((50, 2))
    net = network(layers.MeanSquaredError(), 2)
    history = net.fit(
        X, t, 1, 20, optimizer.SGD(0.01), validation=(X, t), metrics=["mae", "mean_squared_error"], progress=False
    )
    assert history["mean_absolute_error"] == [pytest.approx(np.abs(net.predict(X) - t).mean())]
    assert history["mean_squared_error"] == history["val_mean_squared_error"]
    assert history["val_mean_squared_error"] == [pytest.approx(history["val_loss"][0])]
    named = net.fit(
        X, t, 1, 20, optimizer.SGD(0.0), metrics={"error": "mae", "top": lambda y, t: y.max()}, progress=False
    )
    assert list(named) == ["loss", "error", "top"] and named["top"] == [net.predict(X).max()]


def test_metrics_of_steps_leave_out_what_is_ignored():
    words, following = rng.integers(0, 6, (10, 4)), rng.integers(0, 6, (10, 4))
    following[2:, 1:] = -1
    model = Network(
        [time_layers.TimeEmbedding.create(6, 3), time_layers.TimeAffine.create(3, 6)], time_layers.TimeSoftmaxWithLoss()
    )
    history = model.fit(
        words, following, 1, 5, metrics=["accuracy", "top_1_accuracy", "top_6_accuracy"], progress=False
    )
    counts = following >= 0
    right = (model.predict(words).argmax(axis=2) == following)[counts].mean()
    assert history["accuracy"] == history["top_1_accuracy"] == [right] and history["top_6_accuracy"] == [1.0]


@pytest.mark.parametrize(
    ("metrics", "kind", "text"),
    [
        ("acc", ValueError, "the metric 'acc' is not known; metrics are accuracy, "),
        ([3], ValueError, "the metric 3 is not known"),
        (["mae", "mean_absolute_error"], ValueError, "each name may come once"),
        ({"loss": "mae"}, ValueError, "none is loss"),
        ({"val_loss": "mae"}, ValueError, "none is loss or begins with val_"),
        ("top_4_accuracy", ValueError, "there are no 4 classes"),
        ("mae", ValueError, r"mean_absolute_error: t is \(10,\) but the scores are \(10, 3\)"),
        (lambda y, t: y, ValueError, r"the metric <lambda> gives float64 \(10, 3\); it must be a number"),
    ],
)
def test_bad_metrics(metrics, kind, text):
    net, before = network(), network()
    with pytest.raises(kind, match=text):
        net.fit(X, T, 1, 10, metrics=metrics, **QUIET)
    assert_equal(net, before)


# ---- plateaus and schedules -----------------------------------------------------------------------------------------


def rates(losses, **options):
    """The rate after each epoch, for a network whose validation loss is what is given."""
    found, values = [], iter(losses)

    def pretend(fit):
        fit.history.setdefault("val_loss", []).append(next(values))

    def look(fit):
        found.append(fit.optimizer.lr)

    network().fit(
        X, T, len(losses), 50, optimizer.SGD(1.0), callbacks=[pretend, ReduceLROnPlateau(**options), look], **QUIET
    )
    return found


def test_plateaus():
    assert rates([5, 4, 4, 4, 4, 4, 3, 3, 3], patience=2) == [1, 1, 1, 0.5, 0.5, 0.25, 0.25, 0.25, 0.125]
    assert rates([5, 4.99, 4.98, 4.97], patience=2, min_delta=0.1) == [1, 1, 0.5, 0.5]
    assert rates([5] * 6, patience=1, factor=0.1, min_lr=0.05) == [1, 0.1, 0.05, 0.05, 0.05, 0.05]
    assert rates([5] * 6, patience=1, cooldown=2) == [1, 0.5, 0.5, 0.5, 0.25, 0.25]
    with pytest.raises(ValueError, match="factor is 2; it must lie between 0 and 1"):
        ReduceLROnPlateau(factor=2)
    for name, bad in (("patience", -1), ("patience", "5"), ("min_lr", -0.1), ("min_delta", np.nan), ("cooldown", -5)):
        with pytest.raises(ValueError, match=f"{name} is {bad!r}; it must be a number of at least"):
            ReduceLROnPlateau(**{name: bad})
    with pytest.raises(ValueError, match="callbacks has a LearningRate too"):
        network().fit(X, T, 1, callbacks=[ReduceLROnPlateau(monitor="loss"), LearningRate(StepDecay(0.1))], **QUIET)


def test_a_plateau_goes_on(tmp_path):
    path = tmp_path / "c.npz"
    far = {"epochs": 6, "batch_size": 50, "validation": (X, T), **QUIET}

    def plateau():
        return ReduceLROnPlateau(patience=2, monitor="val_accuracy")

    whole, half, other = network(), network(), network()
    whole.fit(X, T, optimizer=optimizer.SGD(1e-9), callbacks=[plateau()], **far)
    half.fit(X, T, optimizer=optimizer.SGD(1e-9), callbacks=[plateau(), Checkpoint(path)], **far | {"epochs": 4})
    rule = optimizer.SGD(5.0)
    other.fit(X, T, optimizer=rule, callbacks=[plateau()], resume=path, **far)
    assert rule.lr == pytest.approx(1e-9 / 4)
    assert_equal(other, whole)


def test_schedules_and_splits_of_wrong_numbers():
    with pytest.raises(ValueError, match="StepDecay: every is 0; it must be above 0 epochs"):
        StepDecay(0.1, every=0)
    with pytest.raises(ValueError, match="CosineDecay: epochs is -5 and warmup 0"):
        CosineDecay(0.1, -5)
    with pytest.raises(TypeError, match="validation_split is '0"):
        network().fit(X, T, validation_split="0.2")


def test_schedules_can_be_pickled():
    for schedule in (
        step_decay(0.1, 0.5, 3),
        cosine_decay(1.0, 10, warmup=2, end=0.1),
        StepDecay(0.2),
        CosineDecay(1, 5),
    ):
        copied = copy.deepcopy(schedule)
        assert copied == schedule and copied is not schedule
        assert [copied(e) for e in (0, 1.5, 7)] == [schedule(e) for e in (0, 1.5, 7)]
        assert type(schedule).__qualname__.encode() in to_pickle(LearningRate(schedule))
    assert [StepDecay(1.0, 0.5, 2)(e) for e in (0, 1.9, 2, 4)] == [1, 1, 0.5, 0.25]
    assert repr(StepDecay(1.0)) == "StepDecay(lr=1.0, factor=0.5, every=10)"
    assert math.isclose(CosineDecay(1.0, 10)(5), 0.5)


def test_books_models_take_it_all():
    net = fastnn.models.TwoLayerNet(5, 8, 3, rng=0, dtype="float64")
    history = net.network.fit(
        X, T, 2, 10, validation_split=0.2, class_weight={0: 2.0}, metrics="accuracy", progress=False
    )
    assert list(history) == ["loss", "accuracy", "val_loss", "val_accuracy"]
