"""One by one against batches, for every network: python bench/per_batch.py docs/per_batch.svg

Microseconds a sample at batches of 1 to 1000, float32, one thread: frozen by `fastnn.compile` (models that write, and
the one that reads in both directions: their own methods), and the layers in NumPy, the way of the books. Prints the
table, and draws it where a file is given.
"""

import itertools
import sys
import time
from pathlib import Path

import numpy as np

import fastnn
from fastnn import layers, models, time_layers

sys.path.insert(1, str(Path(__file__).parent / "peers"))
import environment

BATCHES = 1, 3, 10, 32, 100, 320, 1000
MOST = 0.6  # s for one point, about
ORANGE, GREEN = "#d9822b", "#0a8f4f"


def dense(*sizes, activation=layers.Sigmoid, normalised=False):
    rng, stack = np.random.default_rng(0), []
    for i, (D, M) in enumerate(itertools.pairwise(sizes), 1):
        W = rng.standard_normal((D, M)).astype(np.float32) * np.float32(D**-0.5)
        stack.append(layers.Affine(W, np.zeros(M, np.float32)))
        if i < len(sizes) - 1:
            if normalised:
                ones = np.ones(M, np.float32)
                norm = layers.BatchNormalization(ones, 0 * ones, running_mean=0 * ones, running_var=1 * ones)
                stack.append(norm)
            stack.append(activation())
    return stack


def transformer(D=64, heads=4, V=20):
    """A block of attention and a network, and scores of each step; x (N, T, D)."""
    rng = np.random.default_rng(0)

    def affine(D, M):
        return rng.standard_normal((D, M)).astype(np.float32) * np.float32(D**-0.5), np.zeros(M, np.float32)

    def norm():
        return layers.LayerNorm(np.ones(D, np.float32), np.zeros(D, np.float32))

    attention = time_layers.MultiHeadAttention(*(a for _ in range(4) for a in affine(D, D)), heads, causal=True)
    wide, narrow = (time_layers.TimeAffine(*affine(*shape)) for shape in ((D, 4 * D), (4 * D, D)))
    last = time_layers.TimeAffine(*affine(D, V))
    return [layers.Add([], [norm(), attention]), layers.Add([], [norm(), wide, layers.Relu(), narrow]), last]


def of(model):
    return list(model.layers.values()) if isinstance(model.layers, dict) else model.layers


def numbers(*shape):
    return lambda rng, n: rng.random((n, *shape), np.float32)


def ids(T, V):
    return lambda rng, n: rng.integers(0, V, (n, T))


# Makers of (inputs of n samples, the compiled way, the books' way); both take (x, out), and the latter lets out be.


def chain(stack, inputs, loss=layers.SoftmaxWithLoss):
    """Layers in order."""
    example = inputs(np.random.default_rng(0), 1)
    predictor = fastnn.compile(fastnn.Network(stack, loss()), input_shape=example.shape[1:])

    def by_layers(x, out):
        for layer in stack:
            named = type(layer).forward.__code__.co_varnames
            x = layer.forward(x, False) if "train_flg" in named else layer.forward(x)

    def reset():
        for layer in stack:
            if hasattr(layer, "reset_state"):
                layer.reset_state()

    return inputs, predictor, by_layers, reset


def sequences(model, inputs):
    """Both directions of an LSTM."""
    return inputs, lambda x, out=None: model.predict(x), lambda x, out: model.predict(x), lambda: None


def answers(model, inputs, size):
    """An encoder and a decoder that writes `size` ids."""

    def by_layers(x, out):
        model.decoder.generate(model.encoder.forward(x), 0, size)

    return inputs, lambda x, out=None: model.generate(x, 0, size), by_layers, lambda: None


IMAGE, TIME = (1, 28, 28), time_layers.TimeSoftmaxWithLoss
NETWORKS = {
    "784-50-100-10": lambda: chain(dense(784, 50, 100, 10), numbers(784)),
    "TwoLayerNet": lambda: chain(of(models.TwoLayerNet(784, 50, 10)), numbers(784)),
    "784-625-10": lambda: chain(dense(784, 625, 10), numbers(784)),
    "784-100x6-10\nBatchNorm": lambda: chain(
        dense(784, *[100] * 6, 10, activation=layers.Relu, normalised=True), numbers(784)
    ),
    "SimpleConvNet": lambda: chain(of(models.SimpleConvNet()), numbers(*IMAGE)),
    "DeepConvNet": lambda: chain(of(models.DeepConvNet()), numbers(*IMAGE)),
    "Rnnlm\n35 words of 1000": lambda: chain(of(models.Rnnlm(1000, 100, 100)), ids(35, 1000), TIME),
    "BetterRnnlm, H 200\n35 words of 1000": lambda: chain(of(models.BetterRnnlm(1000, 200, 200)), ids(35, 1000), TIME),
    "BiLSTMClassifier, H 50\n28 rows of 28": lambda: sequences(models.BiLSTMClassifier(28, 50, 10), numbers(28, 28)),
    "Seq2seq, H 128\n7 digits to 4": lambda: answers(models.Seq2seq(13, 16, 128), ids(7, 13), 4),
    "AttentionSeq2seq, H 256\n29 letters to 10": lambda: answers(models.AttentionSeq2seq(59, 16, 256), ids(29, 59), 10),
    "transformer block, D 64\n32 steps, 4 heads": lambda: chain(transformer(), numbers(32, 64), TIME),
}


def seconds(call, most=MOST):
    """The median of calls for `most` seconds, three at least."""
    call()
    times, end = [], time.perf_counter() + most
    while len(times) < 3 or (time.perf_counter() < end and len(times) < 2000):
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
    return float(np.median(times))


def measure():
    """-> {name: {"fastnn": [seconds a sample at each batch], "NumPy": ...}}; None where one call takes too long."""
    rng, found = np.random.default_rng(1), {}
    for name, make in NETWORKS.items():
        inputs, compiled, by_layers, reset = make()
        rows = found[name] = {"fastnn": [], "NumPy": []}
        for n in BATCHES:
            x = inputs(rng, n)
            reset()
            out = compiled(x)
            rows["fastnn"].append(seconds(lambda call=compiled, x=x, out=out: call(x, out), 0.1) / n)
            slow = rows["NumPy"] and (rows["NumPy"][-1] is None or rows["NumPy"][-1] * n > MOST)
            with fastnn.use_backend("numpy"):
                rows["NumPy"].append(None if slow else seconds(lambda call=by_layers, x=x: call(x, None), 0.15) / n)
    return found


def table(found):
    lines = ["| us a sample | " + " | ".join(f"{n}" for n in BATCHES) + " |", "| --- |" + " ---: |" * len(BATCHES)]
    for name, rows in found.items():
        for who, values in rows.items():
            cells = ("" if v is None else f"{v * 1e6:.{3 if v < 1e-3 else 4}g}" for v in values)
            lines.append(f"| {name.replace(chr(10), ', ')}, {who} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def draw(found, path):
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib import ticker

    plt.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "fastnn", "font.size": 9})
    figure, grid = plt.subplots(3, 4, figsize=(10, 7.5), sharex=True, layout="constrained")
    for axes, (name, rows) in zip(grid.flat, found.items(), strict=True):
        for (who, values), colour in zip(rows.items(), (GREEN, ORANGE), strict=True):
            points = [(n, v * 1e6) for n, v in zip(BATCHES, values, strict=True) if v is not None]
            axes.plot(*zip(*points, strict=True), "o-", color=colour, label=who, markersize=4, linewidth=1.5)
        gain = rows["fastnn"][0] / min(rows["fastnn"])
        axes.set_title(f"{name}\nbatches {gain:.1f}x one by one", fontsize=9)
        axes.set(xscale="log", yscale="log")
        axes.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
        axes.set_xticks([1, 10, 100, 1000])
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(ticker.FormatStrFormatter("%g"))
            axis.set_minor_formatter(ticker.NullFormatter())
        axes.grid(color="#dddddd")
        axes.spines[["top", "right"]].set_visible(False)
    labels = grid.flat[0].get_legend_handles_labels()
    figure.legend(*labels, loc="outside upper center", ncols=2, frameon=False, fontsize=11)
    figure.supxlabel("samples in a batch", fontsize=10)
    figure.supylabel("us a sample, float32, 1 thread", fontsize=10)
    figure.savefig(path, metadata={"Date": None} if str(path).endswith(".svg") else None)


def main(path=None):
    environment.enter(threads=1)
    found = measure()
    print(table(found))
    if path is not None:
        draw(found, path)


if __name__ == "__main__":
    main(*sys.argv[1:])
