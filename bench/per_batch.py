"""One by one against batches, for every network: python bench/per_batch.py docs/per_batch.svg

Microseconds a sample at batches of 1 to 1000, float32, one thread: frozen by `fastnn.compile`, and the layers in NumPy,
the way of the books. Prints the table, and draws it where a file is given.
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


def of(model):
    return list(model.layers.values()) if isinstance(model.layers, dict) else model.layers


# name: (layers, loss, shape of a sample; a number for indices below it)
NETWORKS = {
    "784-50-100-10": (lambda: dense(784, 50, 100, 10), layers.SoftmaxWithLoss, (784,)),
    "TwoLayerNet": (lambda: of(models.TwoLayerNet(784, 50, 10)), layers.SoftmaxWithLoss, (784,)),
    "784-625-10": (lambda: dense(784, 625, 10), layers.SoftmaxWithLoss, (784,)),
    "784-100x6-10\nBatchNorm": (
        lambda: dense(784, *[100] * 6, 10, activation=layers.Relu, normalised=True), layers.SoftmaxWithLoss, (784,),
    ),
    "SimpleConvNet": (lambda: of(models.SimpleConvNet()), layers.SoftmaxWithLoss, (1, 28, 28)),
    "DeepConvNet": (lambda: of(models.DeepConvNet()), layers.SoftmaxWithLoss, (1, 28, 28)),
    "Rnnlm\n35 words of 1000": (lambda: of(models.Rnnlm(1000, 100, 100)), time_layers.TimeSoftmaxWithLoss, (35,)),
}  # fmt: skip


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
    for name, (make, loss, shape) in NETWORKS.items():
        stack = make()
        net = fastnn.Network(stack, loss())
        predictor = fastnn.compile(net, input_shape=shape)

        def by_layers(x, stack=stack):
            for layer in stack:
                named = type(layer).forward.__code__.co_varnames
                x = layer.forward(x, False) if "train_flg" in named else layer.forward(x)
            return x

        rows = found[name] = {"fastnn": [], "NumPy": []}
        for n in BATCHES:
            x = rng.random((n, *shape), np.float32)
            if net.layers[0].params[0].ndim == 2 and hasattr(net.layers[0], "idx"):
                x = (x * len(net.layers[0].params[0])).astype(np.int64)
            net.reset_state()
            out = predictor(x)
            rows["fastnn"].append(seconds(lambda predictor=predictor, x=x, out=out: predictor(x, out), 0.1) / n)
            slow = rows["NumPy"] and (rows["NumPy"][-1] is None or rows["NumPy"][-1] * n > MOST)
            with fastnn.use_backend("numpy"):
                rows["NumPy"].append(None if slow else seconds(lambda x=x: by_layers(x), 0.15) / n)
    return found


def table(found):
    lines = ["| us a sample | " + " | ".join(f"{n}" for n in BATCHES) + " |", "| --- |" + " ---: |" * len(BATCHES)]
    for name, rows in found.items():
        for who, values in rows.items():
            cells = ("" if v is None else f"{v * 1e6:.3g}" for v in values)
            lines.append(f"| {' '.join(name.split())}, {who} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def draw(found, path):
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib import ticker

    plt.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "fastnn", "font.size": 9})
    figure, grid = plt.subplots(2, 4, figsize=(10, 5), sharex=True, layout="constrained")
    for axes, (name, rows) in zip(grid.flat, found.items(), strict=False):
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
    last = grid.flat[-1]
    last.axis("off")
    last.legend(*grid.flat[0].get_legend_handles_labels(), loc="center", frameon=False, fontsize=11)
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
