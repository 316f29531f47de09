"""Spoken digits by a bidirectional LSTM(64) of 1,000 steps, clipped: one epoch, more of them, and then whole words."""

import numpy as np

from fastnn import plots
from fastnn.dataset import spoken_digit
from fastnn.examples import Run, start
from fastnn.models import BiLSTMClassifier
from fastnn.optimizer import Adam

NUM_DATA_POINTS, HIDDEN = 1000, 64


def recordings():
    """x (N, 8000), digits t, and which are for validation: a second of each, cut or filled up with zeros."""
    (x_train, t_train), (x_valid, t_valid) = spoken_digit.load_data(8000)
    t = np.concatenate([t_train, t_valid]).astype(np.int64)
    return np.concatenate([x_train, x_valid]), t, np.arange(len(t)) >= len(t_train)


def tones(rng, n=600):
    """A digit is a tone of its own pitch, with noise."""
    t = rng.integers(10, size=n)
    angle = 2 * np.pi * (200 * 1.3 ** t[:, None] * np.arange(8000) / 8000 + rng.random((n, 1)))
    x = (np.sin(angle) + 0.1 * rng.standard_normal((n, 8000))).astype(np.float32)
    return x, t, np.arange(n) >= n * 0.8


def samples(x):
    return x[:, :NUM_DATA_POINTS, None]  # one a step, as in the document: (N, 1000, 1)


def bands(x):
    """A second in 1,000 steps of 8 samples: the logarithm of the energy in 16 bands around each. (N, 1000, 16)"""
    padded = np.pad(x / x.std(axis=1, keepdims=True), ((0, 0), (60, 60)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, 128, axis=1)[:, ::8]
    energies = (np.abs(np.fft.rfft(one * np.hanning(128))[:, 1:]) ** 2 for one in windows)
    return np.stack([np.log(e.reshape(-1, 16, 4).mean(axis=2) + 0.01) for e in energies]).astype(np.float32)


def long_memory(model, T, rng):
    """Forget gates that keep for 1 ... T steps, and input gates that are as slow (Tallec and Ollivier 2018)."""
    for b in (model.params[2], model.params[5]):  # of both directions: f, g, i, o
        b[:HIDDEN] = np.log(rng.uniform(1, T - 1, HIDDEN))
        b[2 * HIDDEN : 3 * HIDDEN] = -b[:HIDDEN]


def train(run, name, model, x, t, valid, epochs, batch_size, lr, rng):
    """-> history, median seconds of a step; the rate rises to lr and falls to 0, or is Adam's own (None)."""
    net, optimizer = model.network, Adam(clip_value=0.5)
    history, seconds, train = {"loss": [], "val_accuracy": []}, [], np.flatnonzero(~valid)
    for epoch in run.progress(epochs, name):
        losses = []
        for i, batch in enumerate(batches := np.array_split(rng.permutation(train), len(train) // batch_size)):
            done = (epoch + i / len(batches)) / epochs
            optimizer.lr = lr * min(1, 20 * done) * (1 + np.cos(np.pi * done)) / 2 if lr else 0.001
            with run.clock() as clock:
                losses.append(net.step(x[batch], t[batch], optimizer))
            seconds.append(clock.seconds)
        history["loss"].append(float(np.mean(losses)))
        history["val_accuracy"].append(model.accuracy(x[valid], t[valid]))
    return history, np.median(seconds)


def main(run: Run) -> None:
    rng = np.random.default_rng(0)
    x, t, valid = run.load(recordings, lambda: tones(rng), "generated tones")
    T = 100 if run.quick else NUM_DATA_POINTS
    for what, scale in (("as integers", 1 << 15), ("in [-1, 1)", 1)):  # the document's, and as they are loaded here
        model = BiLSTMClassifier(1, HIDDEN, 10, rng=rng)
        history, seconds = train(run, what, model, scale * samples(x)[:, :T], t, valid, 1, 8, None, rng)
        run.row(f"a step, 8 recordings of {T:,} samples {what}", None, "trained", 0.715, seconds)
        run.row(f"samples {what}: validation accuracy after 1 epoch", 0.192, history["val_accuracy"][-1])
    run.row("parameters", 35082, sum(p.size for p in model.params))
    curves, inputs = {}, {f"first {T:,} samples": (samples, 10), "whole word": (bands, 5)}
    for name, (of, epochs) in inputs.items():
        rng, epochs, steps = np.random.default_rng(1), 2 if run.quick else epochs, of(x)[:, :T]
        steps = (steps - steps[~valid].mean(axis=(0, 1))) / steps[~valid].std(axis=(0, 1))
        model = BiLSTMClassifier(steps.shape[2], HIDDEN, 10, rng=rng)
        long_memory(model, T, rng)
        with run.clock() as clock:
            curves[name], _ = train(run, name, model, steps, t, valid, epochs, 32, 0.003, rng)
        accuracy = curves[name]["val_accuracy"]
        run.row(f"{name}: validation accuracy after {epochs} epochs", None, accuracy[-1], None, clock.seconds)
        run.row(f"{name}: first epoch with 0.9", None, next((e for e, a in enumerate(accuracy, 1) if a >= 0.9), "none"))
    run.picture("training", plots.history, curves)


if __name__ == "__main__":
    start(main)
