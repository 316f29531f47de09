"""Layers kept in a list: forward is a loop over them, and a softmax layer at the end says how wrong ten rows are."""

import numpy as np

from fastnn.examples import Run, start, subplots
from fastnn.layers import Affine, Sigmoid, SoftmaxWithLoss


class TwoLayerNet:
    def __init__(self, input_size, hidden_size, output_size, rng):
        W1 = rng.standard_normal((input_size, hidden_size))
        b1 = rng.standard_normal(hidden_size)
        W2 = rng.standard_normal((hidden_size, output_size))
        b2 = rng.standard_normal(output_size)
        self.layers = [Affine(W1, b1), Sigmoid(), Affine(W2, b2)]
        self.loss_layer = SoftmaxWithLoss()

    def predict(self, x):
        for layer in self.layers:
            x = layer.forward(x)
        return x

    def forward(self, x, t):
        return self.loss_layer.forward(self.predict(x), t)


def draw(x, s, t, losses):
    figure, axes = subplots(1, 3, size=(3.2, 3.6))
    for ax, values, title in zip(axes, (x, s, losses[:, None]), ("x (10, 2)", "scores (10, 3)", "loss"), strict=True):
        ax.imshow(values, cmap="cividis", aspect="auto")
        for (i, j), value in np.ndenumerate(values):
            right = values is s and t[i] == j
            text = f"[{value:.2f}]" if right else f"{value:.2f}"
            ax.text(j, i, text, ha="center", va="center", bbox={"color": "white", "alpha": 0.8, "pad": 1.5})
        ax.set(title=title, xticks=[], yticks=range(10))
    axes[0].set_ylabel("row")
    figure.suptitle("the loss of a row is small where the score of its label, in brackets, is the largest")
    return figure


def main(run: Run) -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((10, 2))
    t = rng.integers(0, 3, 10)
    net = TwoLayerNet(input_size=2, hidden_size=4, output_size=3, rng=rng)
    s = net.predict(x)
    losses = np.array([net.forward(x[i : i + 1], t[i : i + 1]) for i in range(10)])
    right = s.argmax(axis=1) == t
    run.row("shape of the scores of 10 rows", "(10, 3)", s.shape)
    run.row("loss of the 10 rows", None, float(net.forward(x, t)))
    run.row("mean loss where the largest score is right", "small", float(losses[right].mean()))
    run.row("mean loss where it is not", "large", float(losses[~right].mean()))
    run.picture("losses", draw, x, s, t, losses)


if __name__ == "__main__":
    start(main)
