"""Network.fit: learning, history, callbacks, checkpoints that go on bit for bit, Ctrl-C, losses that are not finite."""

import os
import signal

import numpy as np
import pytest
from every_backend import backend, on_every_backend, one_thread  # noqa: F401

from fastnn import layers, optimizer, time_layers
from fastnn.network import Checkpoint, EarlyStopping, LearningRate, Network, cosine_decay, step_decay

pytestmark = [on_every_backend, pytest.mark.usefixtures("one_thread")]


def normal(*shape, seed=0, scale=0.4):
    return scale * np.random.default_rng([seed, *shape]).standard_normal(shape)


def data(n=90):
    """Three clouds of points (n, 6)."""
    t = np.arange(n) % 3
    return normal(3, 6, seed=5, scale=1.5)[t] + normal(n, 6, seed=6), t


def classifier(dropout=0.2, rng=7):
    shared = np.random.default_rng(rng)  # the same generator for the order and for dropout
    net = [
        layers.Affine(normal(6, 8), np.zeros(8)), layers.BatchNormalization(np.ones(8), np.zeros(8)), layers.Relu(),
        layers.Dropout(dropout, shared), layers.Affine(normal(8, 3), np.zeros(3)),
    ]  # fmt: skip
    return Network(net, layers.SoftmaxWithLoss(), shared)


def train(net, rule, epochs, **options):
    return net.fit(*data(), epochs, 20, rule, progress=False, **options)


def assert_equal(net, other):
    for name, a in net._named_arrays().items():
        np.testing.assert_array_equal(a, other._named_arrays()[name], name)


def test_learns(capsys):
    net, seen = classifier(), []
    history = net.fit(
        *data(), 30, 20, optimizer.Adam(0.02), validation=data(60), callbacks=[lambda f: seen.append(f.epoch)]
    )
    assert net.history is history and seen == list(range(1, 31))
    assert {name: len(values) for name, values in history.items()} == {
        "loss": 30, "val_loss": 30, "val_accuracy": 30
    }  # fmt: skip
    assert history["loss"][-1] < 0.5 < history["loss"][0] and history["val_accuracy"][-1] > 0.9
    assert "epoch 30/30: loss " in capsys.readouterr().out
    assert net.accuracy(*data(60)) == history["val_accuracy"][-1]


def test_an_epoch_is_its_batches():
    """One pass over a permutation, the last batch smaller; losses weighted by their samples."""
    net, other, rng = classifier(0.0), classifier(0.0), np.random.default_rng(3)
    x, t = data(50)
    history = net.fit(x, t, 2, 20, optimizer.SGD(0.1), rng=3, progress=False)
    rule = optimizer.SGD(0.1)
    for epoch in range(2):
        order, total = rng.permutation(50), 0.0
        for i in range(0, 50, 20):
            rows = order[i : i + 20]
            total += other.step(x[rows], t[rows], rule) * len(rows)
        assert history["loss"][epoch] == total / 50
    assert_equal(net, other)


def test_float64_and_integer_data():
    x, t = data()
    net, other = classifier(0.0), classifier(0.0)
    net.fit(np.round(x).astype(np.int8), t.astype(np.uint8), 1, 20, optimizer.SGD(0.1), progress=False, rng=0)
    other.fit(np.round(x), t, 1, 20, optimizer.SGD(0.1), progress=False, rng=0)
    assert_equal(net, other)


@pytest.mark.parametrize("rule", [optimizer.Adam, optimizer.Momentum, optimizer.SGD])
@pytest.mark.parametrize("options", [{"every": 1}, {"steps": 7}], ids=["epochs", "steps"])
def test_checkpoints_go_on_bit_for_bit(tmp_path, rule, options):
    whole, schedule = classifier(), LearningRate(cosine_decay(0.05, 6, warmup=1))
    expected = train(whole, rule(), 6, callbacks=[schedule], validation=data(60))
    path = tmp_path / "c.npz"
    half = classifier()
    train(half, rule(), 3, callbacks=[schedule, Checkpoint(path, **options)], validation=data(60))
    again, like = classifier(rng=99), rule(lr=9.0)
    history = train(again, like, 6, callbacks=[schedule], validation=data(60), resume=path)
    assert history == expected
    assert_equal(again, whole)


def test_a_language_model_goes_on(tmp_path):
    def model():
        net = [
            time_layers.TimeEmbedding(normal(11, 4)),
            time_layers.TimeLSTM(normal(4, 20), normal(5, 20), normal(20), stateful=True),
            time_layers.TimeAffine(normal(5, 11), normal(11)),
        ]
        return Network(net, time_layers.TimeSoftmaxWithLoss())

    words = np.random.default_rng(0).integers(0, 11, (24, 7))
    options = {"batch_size": 6, "shuffle": False, "progress": False}
    whole, half, again = model(), model(), model()
    expected = whole.fit(words, words, 4, optimizer=optimizer.SGD(0.5), **options)
    half.fit(words, words, 2, optimizer=optimizer.SGD(0.5), callbacks=[Checkpoint(tmp_path / "c.npz")], **options)
    history = again.fit(words, words, 4, optimizer=optimizer.SGD(0.5), resume=tmp_path / "c.npz", **options)
    assert history == expected
    assert_equal(again, whole)
    np.testing.assert_array_equal(again.layers[1].c, whole.layers[1].c)


def test_checkpoints_of_another_training(tmp_path):
    path = tmp_path / "c.npz"
    train(classifier(), optimizer.Adam(), 1, callbacks=[Checkpoint(path)])
    other = Network([layers.Affine(normal(6, 3), normal(3))], layers.SoftmaxWithLoss())
    net, before = classifier(), classifier()
    with pytest.raises(ValueError, match=r"c.npz has 2 random|c.npz has 1 random|c.npz has .* the network has"):
        train(other, optimizer.Adam(), 2, resume=path)
    with pytest.raises(ValueError, match="written with optimizer Adam; now it is SGD"):
        train(net, optimizer.SGD(), 2, resume=path)
    with pytest.raises(ValueError, match="written with batch_size 20; now it is 10"):
        net.fit(*data(), 2, 10, optimizer.Adam(), progress=False, resume=path)
    net.save(tmp_path / "weights.npz")
    with pytest.raises(ValueError, match=r"weights.npz is not a checkpoint"):
        train(net, optimizer.Adam(), 2, resume=tmp_path / "weights.npz")
    with pytest.raises(FileNotFoundError):
        train(net, optimizer.Adam(), 2, resume=tmp_path / "none.npz")
    assert_equal(net, before)


def test_early_stopping():
    net = classifier(0.0)
    losses = iter([5.0, 3.0, 4.0, 3.5, 9.0, 1.0])
    kept = []

    def pretend(fit):
        fit.history.setdefault("val_loss", []).append(next(losses))
        kept.append({name: a.copy() for name, a in net._named_arrays().items()})

    history = train(net, optimizer.SGD(0.1), 6, callbacks=[pretend, EarlyStopping(2)])
    assert history["val_loss"] == [5.0, 3.0, 4.0, 3.5]
    for name, a in net._named_arrays().items():
        np.testing.assert_array_equal(a, kept[1][name])
    with pytest.raises(ValueError, match="'val_accuracy' is not one of loss"):
        train(classifier(), optimizer.SGD(), 1, callbacks=[EarlyStopping(monitor="val_accuracy")])


def test_early_stopping_goes_on(tmp_path):
    """What it has counted is in the checkpoint, whose callback comes first in the list; a new training begins anew."""

    def options(*more):
        return {"callbacks": [*more, EarlyStopping(4)], "validation": data(30)}

    whole, half, again = classifier(0.5), classifier(0.5), classifier(0.5, rng=99)
    stop = EarlyStopping(4)
    expected = train(whole, optimizer.Adam(0.1), 60, callbacks=stop, validation=data(30))
    epochs = len(expected["loss"])
    assert 6 < epochs < 60
    train(half, optimizer.Adam(0.1), epochs - 2, **options(Checkpoint(tmp_path / "c.npz")))
    assert train(again, optimizer.Adam(), 60, resume=tmp_path / "c.npz", **options()) == expected
    assert_equal(again, whole)
    history = train(classifier(), optimizer.Adam(1e-9), 9, callbacks=stop, validation=data(30))
    assert len(history["loss"]) >= 5 and stop.best < 9


def test_checkpoints_stay_the_last_good_one(tmp_path):
    """A step may have a finite loss and leave parameters that are not."""
    net, path = classifier(0.0), tmp_path / "c.npz"
    train(net, optimizer.SGD(0.1), 1, callbacks=Checkpoint(path))
    content = path.read_bytes()
    jump = LearningRate(lambda epoch: 0.0 if epoch < 1.7 else 1e309)
    with (
        np.errstate(all="ignore"),
        pytest.raises(FloatingPointError, match="Checkpoint: W1 is not finite after step 10"),
    ):
        train(net, optimizer.SGD(), 3, callbacks=[jump, Checkpoint(path, every=2)], resume=path)
    assert path.read_bytes() == content


def test_sigmoid_losses_count_too():
    x, t = data()
    net = Network([layers.Affine(normal(6, 1), np.zeros(1))], layers.SigmoidWithLoss())
    history = net.fit(x, t == 1, 40, 30, optimizer.Adam(0.1), validation=(x, t == 1), progress=False)
    share = np.mean((net.predict(x)[:, 0] > 0) == (t == 1))
    assert history["val_accuracy"][-1] == net.accuracy(x, t == 1) == net.accuracy(x, (t == 1)[:, None]) == share > 0.8


def test_validation_leaves_recurrent_states():
    net = Network(
        [
            time_layers.TimeLSTM(normal(4, 20), normal(5, 20), normal(20), stateful=True),
            time_layers.TimeAffine(normal(5, 3), normal(3)),
        ],
        time_layers.TimeSoftmaxWithLoss(),
    )
    x, t, states = normal(10, 6, 4), np.arange(60).reshape(10, 6) % 3, []
    both = {"validation": (x[:7], t[:7]), "callbacks": lambda fit: states.append(net.layers[0].h)}
    history = net.fit(x, t, 2, 5, optimizer.SGD(0.0), progress=False, **both)
    assert history["val_loss"][0] == history["val_loss"][1] and len(states[0]) == 5
    net.reset_state()
    assert history["val_accuracy"][0] == pytest.approx(net.accuracy(x[:7], t[:7]))
    net.reset_state()
    assert history["val_loss"][0] == pytest.approx(net.loss(x[:7], t[:7]))


@pytest.mark.parametrize("keys", [lambda params: params.keys(), lambda params: range(len(params))])
def test_optimizers_of_the_reader(keys, tmp_path):
    """With either book's way through the parameters."""

    class Own:
        def update(self, params, grads):
            for key in keys(params):
                params[key] -= 0.1 * grads[key]

    net, other = classifier(0.0), classifier(0.0)
    losses = train(net, Own(), 2)["loss"]
    assert losses == pytest.approx(train(other, optimizer.SGD(0.1), 2)["loss"], rel=1e-12)
    for name, a in net._named_arrays().items():
        np.testing.assert_allclose(a, other._named_arrays()[name], 1e-12, 1e-14)
    with pytest.raises(TypeError, match="the state of a Own is not known"):
        train(net, Own(), 1, callbacks=Checkpoint(tmp_path / "c.npz"))


def test_schedules():
    rates = []

    class Watch(LearningRate):
        def on_step(self, fit):
            super().on_step(fit)
            rates.append(fit.optimizer.lr)

    train(classifier(), optimizer.SGD(), 4, callbacks=[Watch(step_decay(1e-3, 0.5, 2))])
    assert rates == [1e-3] * 8 + [5e-4] * 8
    schedule = cosine_decay(1.0, 10, warmup=2, end=0.1)
    assert 0 < schedule(0) < 0.01 and schedule(1) == pytest.approx(0.5, abs=0.01) and schedule(2) == 1
    assert schedule(6) == pytest.approx(0.55) and schedule(10) == pytest.approx(0.1) == schedule(99)


def test_a_loss_that_is_not_finite(tmp_path):
    """Training stops with the step and the layer; parameters and the last checkpoint are those of before."""
    x, t = data()
    bad = x.copy()
    bad[41, 2] = np.nan
    net, path = classifier(0.0), tmp_path / "c.npz"
    train(net, optimizer.SGD(0.1), 1, callbacks=[Checkpoint(path)])
    with pytest.raises(
        FloatingPointError, match=r"loss is nan at step 3 of epoch 1 \(step 3 in all\): x is not finite"
    ):
        net.fit(bad, t, 2, 20, optimizer.SGD(0.1), progress=False, shuffle=False)
    assert all(np.isfinite(a).all() for a in net._named_arrays().values())
    broken = classifier(0.0)
    broken.layers[4].W[...] = 1.7e308  # finite, but not what comes of it
    with np.errstate(all="ignore"), pytest.raises(FloatingPointError, match=r"layer 5 \(Affine\) is the first"):
        train(broken, optimizer.SGD(0.1), 1)
    broken.layers[4].W[0, 0] = np.inf
    with np.errstate(all="ignore"), pytest.raises(FloatingPointError, match=r"parameter 0 of layer 5 \(Affine\)"):
        train(broken, optimizer.SGD(0.1), 1)
    net.fit(x, t, 2, 20, optimizer.SGD(0.1), progress=False, resume=path)
    with pytest.raises(FloatingPointError, match=r"the last checkpoint is .*c.npz"):
        net.fit(bad, t, 3, 20, optimizer.SGD(0.1), progress=False, callbacks=[Checkpoint(path, steps=1)])


def test_ctrl_c_leaves_a_usable_network():
    net, other = classifier(0.0), classifier(0.0)

    class Press(LearningRate):
        def on_step(self, fit):
            if fit.step == 6:
                os.kill(os.getpid(), signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            train(net, optimizer.Adam(), 9, callbacks=[Press(lambda epoch: 0.01)], rng=0)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
    stop = type("Stop", (LearningRate,), {"on_step": lambda self, fit: setattr(fit, "stop", fit.step == 6)})
    train(other, optimizer.Adam(0.01), 9, callbacks=[stop(lambda epoch: 0.01)], rng=0)
    assert_equal(net, other)
    assert len(net.history["loss"]) == 1


def test_bad_input():
    x, t = data()
    net = classifier()
    with pytest.raises(ValueError, match=r"x is \(90, 6\) but t is \(89,\); they must have as many samples"):
        net.fit(x, t[1:])
    with pytest.raises(ValueError, match=r"x is \(0, 6\) and batch_size 100; both must be at least 1"):
        net.fit(x[:0], t[:0])
    with pytest.raises(ValueError, match="batch_size 0"):
        net.fit(x, t, batch_size=0)
    with pytest.raises(ValueError, match=r"batch_size 20\.5"):
        net.fit(x, t, batch_size=20.5)
    for validation in (x, t[1:]), (x[:0], t[:0]), (x,):
        with pytest.raises(ValueError, match=r"validation is .*; it must be x and t of as many samples"):
            net.fit(x, t, validation=validation)
    with pytest.raises(TypeError, match="callback 3 is neither a Callback nor a function"):
        net.fit(x, t, callbacks=[3])
    with pytest.raises(TypeError, match="optimizer is 'adam'; it must have update"):
        net.fit(x, t, optimizer="adam", progress=False)
    with pytest.raises(ValueError, match=r"the suffix must be .npz"):
        Checkpoint("a.pkl")
