"""Softmax makes scores into probabilities; large scores overflow unless the largest one is taken off first."""

import numpy as np

from fastnn.examples import Run, start, subplots
from fastnn.functions import softmax


def naive_softmax(a):
    with np.errstate(over="ignore", invalid="ignore"):
        return np.exp(a) / np.sum(np.exp(a))


def draw(a, y):
    figure, (left, right) = subplots(1, 2, size=(3.0, 2.8))
    for ax, values, title in ((left, a, "scores"), (right, y, "softmax: probabilities")):
        bars = ax.bar(["a1", "a2", "a3"], values)
        ax.bar_label(bars, fmt="%.3g")
        ax.set_title(title)
        ax.margins(y=0.15)
    return figure


def main(run: Run) -> None:
    a = np.array([0.3, 2.9, 4.0])
    y = softmax(a)
    run.row("softmax of (0.3, 2.9, 4.0)", [0.01821127, 0.24519181, 0.73659691], y, digits=7)
    run.row("its sum", 1.0, float(np.sum(y)))
    large = np.array([1010, 1000, 990])
    run.row("(1010, 1000, 990), exp(a) / sum(exp(a))", "overflow", naive_softmax(large))
    run.row("(1010, 1000, 990), softmax", None, softmax(large))
    run.row("the order of the scores stays", True, bool((np.argsort(y) == np.argsort(a)).all()))
    run.picture("softmax", draw, a, y)


if __name__ == "__main__":
    start(main)
