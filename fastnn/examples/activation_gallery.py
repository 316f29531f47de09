"""Every activation of fastnn with its derivative; the dashed line is what backpropagation multiplies with."""

import numpy as np

from fastnn import layers
from fastnn.examples import Run, start, subplots
from fastnn.functions import softmax

ACTIVATIONS: dict[str, layers.Activation | layers.Relu] = {
    "step": layers.Step(),
    "sigmoid": layers.Sigmoid(),
    "tanh": layers.Tanh(),
    "ReLU": layers.Relu(),
    "leaky ReLU": layers.LeakyRelu(0.01),
    "swish": layers.Swish(),
    "ELU": layers.ELU(),
    "SELU": layers.SELU(),
    "softplus": layers.Softplus(),
    "softsign": layers.Softsign(),
    "hard sigmoid": layers.HardSigmoid(),
    "GELU": layers.GELU(),
    "GELU, tanh form": layers.GELU(approximate=True),
    "Mish": layers.Mish(),
    "identity": layers.Identity(),
}
beta = 1.0


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def swish(x):
    return x * sigmoid(beta * x)


def d_swish(x):
    return beta * swish(x) + sigmoid(beta * x) * (1 - beta * swish(x))


def draw(x, curves):
    figure, axes = subplots(4, 4, size=(2.6, 2.1), sharex=True)
    for ax, (name, (y, dy)) in zip(axes.flat, curves.items(), strict=False):
        ax.plot(x, y, color="#0072b2", label="f(x)")
        ax.plot(x, dy, "--", color="#d55e00", label="f'(x)")
        ax.set_title(name, fontsize=10)
        ax.grid(alpha=0.3)
    scores = np.stack([x, np.zeros_like(x), np.ones_like(x)], axis=1)
    for i, (style, p) in enumerate(zip(("-", "--", ":"), softmax(scores).T, strict=True)):
        axes[3, 3].plot(x, p, style, label=("x", "0", "1")[i])
    axes[3, 3].set_title("softmax of the scores (x, 0, 1)", fontsize=10)
    axes[3, 3].legend(fontsize=7, loc="center left")
    axes[3, 3].grid(alpha=0.3)
    axes[0, 0].legend(fontsize=7, loc="center left")
    figure.supxlabel("x", fontsize=10)
    return figure


def main(run: Run) -> None:
    x = np.arange(-600, 601) * 0.01
    corner = np.min(np.abs(np.subtract.outer(x, (-3, 0, 3))), axis=1) < 0.005
    curves, errors, h = {}, [], 1e-5
    for name, layer in ACTIVATIONS.items():
        y = layer.forward(x)
        dy = layer.backward(np.ones_like(x))
        curves[name] = y, dy
        slope = (layer.forward(x + h) - layer.forward(x - h)) / (2 * h)
        errors.append(np.abs(slope - dy)[~corner].max())
        run.row(f"{name}: f(1), f'(1)", None, [float(y[700]), float(dy[700])])
    run.row("all: f' against differences of f, largest error", None, float(max(errors)), digits=2)
    y, dy = curves["swish"]
    run.row(
        "swish against the document's function, largest difference", None, float(np.abs(y - swish(x)).max()), digits=2
    )
    run.row(
        "swish' against the document's function, largest difference",
        None,
        float(np.abs(dy - d_swish(x)).max()),
        digits=2,
    )
    run.picture("activations", draw, x, curves)


if __name__ == "__main__":
    start(main)
