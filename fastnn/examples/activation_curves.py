"""The step function jumps where the sigmoid climbs smoothly; ReLU lets positive numbers through as they are."""

import numpy as np

from fastnn.examples import Run, start, subplots
from fastnn.functions import identity_function, relu, sigmoid, step_function

FUNCTIONS = {"step function": step_function, "sigmoid": sigmoid, "ReLU": relu, "identity": identity_function}


def draw(x):
    figure, axes = subplots(1, len(FUNCTIONS), size=(2.6, 2.4))
    for ax, (name, function) in zip(axes, FUNCTIONS.items(), strict=True):
        ax.plot(x, function(x))
        ax.set(title=name, xlabel="x")
        ax.grid(alpha=0.3)
        if name in ("step function", "sigmoid"):
            ax.set_ylim(-0.1, 1.1)
    return figure


def main(run: Run) -> None:
    x = np.array([-1.0, 1.0, 2.0])
    for name, function in FUNCTIONS.items():
        run.row(f"{name} of (-1, 1, 2)", None, function(x))
    run.picture("curves", draw, np.arange(-5.0, 5.0, 0.01))


if __name__ == "__main__":
    start(main)
