"""Spoken digits by a bidirectional LSTM(64) over 1,000 steps with clipped gradients: one epoch, then until it hears.

First as in the document; then the same network and samples, trained with care; then 1,000 steps through the whole word.
"""

import numpy as np

from fastnn import plots
from fastnn.dataset import spoken_digit
from fastnn.examples import Run, start
from fastnn.models import BiLSTMClassifier
from fastnn.optimizer import Adam

NUM_DATA_POINTS = 1000
HIDDEN = 64


def recordings():
    """x (N, 8000), digits t, and which are for validation: a second of each, cut or filled up with zeros."""
    (x_train, t_train), (x_valid, t_valid) = spoken_digit.load_data(8000)
    t = np.concatenate([t_train, t_valid]).astype(np.int64)
    return np.concatenate([x_train, x_valid]), t, np.arange(len(t)) >= len(t_train)


def tones(rng, n=600):
    """A digit is a tone of its own pitch, with noise."""
    t = rng.integers(10, size=n)
    pitch, phase = 200 * 1.3 ** t[:, None], rng.uniform(0, 2 * np.pi, (n, 1))
    x = np.sin(2 * np.pi * pitch * np.arange(8000) / 8000 + phase) + 0.1 * rng.standard_normal((n, 8000))
    return x.astype(np.float32), t, np.arange(n) >= n * 0.8


def samples(x):
    """The first 1,000 samples, one a step, as in the document: an eighth of a second. (N, 1000, 1)"""
    return x[:, :NUM_DATA_POINTS, None]


def bands(x):
    """A second in 1,000 steps of 8 samples: the logarithm of the energy in 16 bands around each. (N, 1000, 16)"""
    padded = np.pad(x / x.std(axis=1, keepdims=True), ((0, 0), (60, 60)))
    windows, window = np.lib.stride_tricks.sliding_window_view(padded, 128, axis=1)[:, ::8], np.hanning(128)
    energies = (np.abs(np.fft.rfft(one * window)[:, 1:]) ** 2 for one in windows)
    return np.stack([np.log(e.reshape(-1, 16, 4).mean(axis=2) + 0.01) for e in energies]).astype(np.float32)


def long_memory(model, T, rng):
    """Forget gates that keep for 1 ... T steps, and input gates that are as slow (Tallec and Ollivier 2018)."""
    for b in (model.params[2], model.params[5]):  # of both directions: f, g, i, o
        b[:HIDDEN] = np.log(rng.uniform(1, T - 1, HIDDEN))
        b[2 * HIDDEN : 3 * HIDDEN] = -b[:HIDDEN]


def rise_and_fall(done):
    return 0.0015 * min(1, 20 * done) * (1 + np.cos(np.pi * done))


def train(run, name, model, x, t, valid, epochs, batch_size, schedule, rng):
    """-> history, median seconds of a step"""
    net, optimizer = model.network, Adam(clip_value=0.5)
    history, seconds, train = {"loss": [], "val_accuracy": []}, [], np.flatnonzero(~valid)
    for epoch in run.progress(epochs, name):
        order, losses = rng.permutation(train), []
        for i in range(0, len(order), batch_size):
            batch = order[i : i + batch_size]
            optimizer.lr = schedule((epoch + i / len(order)) / epochs)
            with run.clock() as clock:
                losses.append(net.step(x[batch], t[batch], optimizer))
            seconds.append(clock.seconds)
        history["loss"].append(float(np.mean(losses)))
        history["val_accuracy"].append(model.accuracy(x[valid], t[valid]))
    return history, float(np.median(seconds))


def main(run: Run) -> None:
    rng = np.random.default_rng(0)
    x, t, valid = run.load(recordings, lambda: tones(rng), "generated tones")
    T = 100 if run.quick else NUM_DATA_POINTS
    model = BiLSTMClassifier(1, HIDDEN, 10, rng=rng)
    run.row("parameters", 35082, sum(p.size for p in model.params))
    history, seconds = train(
        run, "as in the document", model, samples(x)[:, :T], t, valid, 1, 8, lambda done: 0.001, rng
    )
    run.row(f"a step of 8 recordings, {T:,} samples each", None, "trained", 0.715, seconds)
    run.row("validation accuracy after 1 epoch", 0.192, history["val_accuracy"][-1])
    curves = {}
    for name, inputs, epochs in (("first 1,000 samples", samples, 20), ("whole word", bands, 15)):
        rng = np.random.default_rng(1)
        steps = inputs(x)[:, :T]
        steps = (steps - steps.mean(axis=(0, 1))) / steps.std(axis=(0, 1))
        model = BiLSTMClassifier(steps.shape[2], HIDDEN, 10, rng=rng)
        long_memory(model, T, rng)
        epochs = 2 if run.quick else epochs
        with run.clock() as clock:
            curves[name], _ = train(run, name, model, steps, t, valid, epochs, 32, rise_and_fall, rng)
        accuracy = curves[name]["val_accuracy"]
        run.row(f"{name}: validation accuracy after {epochs} epochs", None, accuracy[-1], None, clock.seconds)
        run.row(f"{name}: first epoch with 0.9", None, next((e for e, a in enumerate(accuracy, 1) if a >= 0.9), "none"))
    run.picture("training", plots.history, curves)


if __name__ == "__main__":
    start(main)
