"""The slope of a function from two values close to each other, and the line with that slope that touches its curve."""

import numpy as np

from fastnn.examples import Run, start, subplots
from fastnn.gradient import numerical_gradient


def numerical_diff(f, x):
    h = 1e-4
    return (f(x + h) - f(x - h)) / (2 * h)


def function_1(x):
    return 0.01 * x**2 + 0.1 * x


def function_2(x):
    return x[0] ** 2 + x[1] ** 2


def tangent_line(f, x):
    d = numerical_diff(f, x)
    y = f(x) - d * x
    return lambda t: d * t + y


def draw(x):
    figure, axes = subplots(1, 2, size=(3.8, 3.0), sharey=True)
    for ax, place in zip(axes, (5, 10), strict=True):
        ax.plot(x, function_1(x), label="f(x) = 0.01 x² + 0.1 x")
        ax.plot(x, tangent_line(function_1, place)(x), "--", label=f"tangent at x = {place}")
        ax.plot(place, function_1(place), "ko")
        ax.set(xlabel="x", title=f"slope at {place}: {numerical_diff(function_1, place):.4f}")
        ax.legend(fontsize=8)
    axes[0].set_ylabel("f(x)")
    return figure


def main(run: Run) -> None:
    for place in (5, 10):
        d = numerical_diff(function_1, place)
        run.row(f"slope of 0.01 x^2 + 0.1 x at {place}", None, d, digits=12)
        run.row(f"its difference from 0.02 x + 0.1 at {place}", None, abs(d - (0.02 * place + 0.1)), digits=1)
    x = np.linspace(-3, 3, 61)
    error = np.abs(numerical_diff(np.sin, x) - np.cos(x)).max()
    run.row("slope of sin against cos: largest difference", None, error, digits=1)
    dx0 = numerical_diff(lambda x0: function_2([x0, 4.0]), 3.0)
    dx1 = numerical_diff(lambda x1: function_2([3.0, x1]), 4.0)
    run.row("partial derivatives of x0^2 + x1^2 at (3, 4)", None, [dx0, dx1])
    run.row("its gradient there: both in one vector", None, numerical_gradient(function_2, np.array([3.0, 4.0])))
    run.picture("tangents", draw, np.arange(0.0, 20.0, 0.1))


if __name__ == "__main__":
    start(main)
