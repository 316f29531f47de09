"""Two worked examples: the loss is small where the network is sure of the right class, 2, and large where it says 7."""

import numpy as np

from fastnn.examples import Run, start, subplots
from fastnn.functions import cross_entropy_error, sum_squared_error

t = [0, 0, 1, 0, 0, 0, 0, 0, 0, 0]  # the right class is 2
EXAMPLES = {  # y: the network's output
    "2 is the most likely": [0.1, 0.05, 0.6, 0.0, 0.05, 0.1, 0.0, 0.1, 0.0, 0.0],
    "7 is the most likely": [0.1, 0.05, 0.1, 0.0, 0.05, 0.1, 0.0, 0.6, 0.0, 0.0],
}
SQUARED, CROSS_ENTROPY = [0.0975, 0.5975], [0.510825457099, 2.30258409299]  # of the document


def draw(values):
    figure, axes = subplots(1, 2, size=(3.6, 2.9), sharey=True)
    for ax, (name, y) in zip(axes, EXAMPLES.items(), strict=True):
        bars = ax.bar(range(10), y, color=["#0072B2" if right else "#B0B0B0" for right in t])
        ax.bar_label(bars, ["right class" if right else "" for right in t], fontsize=8)
        squared, cross_entropy = values[name]
        ax.set_title(f"{name}\nsquared error {squared:.4f}, cross entropy {cross_entropy:.4f}", fontsize=9)
        ax.set(xticks=range(10), xlabel="class", ylim=(0, 0.7))
    axes[0].set_ylabel("y")
    return figure


def main(run: Run) -> None:
    values = {}
    for (name, y), squared, cross_entropy in zip(EXAMPLES.items(), SQUARED, CROSS_ENTROPY, strict=True):
        values[name] = sum_squared_error(y, t), float(cross_entropy_error(np.array(y), np.array(t)))
        run.row(f"{name}: sum of y", 1.0, float(np.sum(y)))
        run.row(f"{name}: squared error", squared, values[name][0])
        run.row(f"{name}: cross-entropy error", cross_entropy, values[name][1], digits=12)
    run.picture("losses", draw, values)


if __name__ == "__main__":
    start(main)
