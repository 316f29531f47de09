"""Steps against the gradient lead to the minimum; a learning rate that is too large flies off, a small one stays."""

import numpy as np

from fastnn.examples import Run, start, subplots
from fastnn.gradient import numerical_gradient


def function_2(x):
    return x[0] ** 2 + x[1] ** 2


def gradient_descent(f, init_x, lr=0.01, step_num=100):
    x = init_x.copy()
    x_history = []
    for _ in range(step_num):
        x_history.append(x.copy())
        x -= lr * numerical_gradient(f, x)
    return x, np.array(x_history)


def surface():
    figure, ax = subplots(size=(4.6, 3.8), subplot_kw={"projection": "3d"})
    x = np.meshgrid(np.arange(-3, 3, 0.1), np.arange(-3, 3, 0.1))
    ax.plot_wireframe(*x, function_2(x), rcount=25, ccount=25, linewidth=0.5)
    ax.set(xlabel="x0", ylabel="x1", title="f(x) = x0² + x1²")
    ax.set_box_aspect(None, zoom=0.85)
    return figure


def field():
    X, Y = (a.flatten() for a in np.meshgrid(np.arange(-2, 2.5, 0.25), np.arange(-2, 2.5, 0.25)))
    grad = np.array([numerical_gradient(function_2, x) for x in np.stack([X, Y], axis=1)])
    figure, ax = subplots(size=(4.2, 3.8))
    ax.quiver(X, Y, -grad[:, 0], -grad[:, 1], angles="xy", color="#666666")
    ax.set(xlabel="x0", ylabel="x1", xlim=(-2, 2), ylim=(-2, 2), title="minus the gradient points to the minimum")
    ax.grid(alpha=0.3)
    return figure


def path(x_history):
    figure, ax = subplots(size=(4.2, 3.8))
    x = np.meshgrid(np.linspace(-3.5, 3.5, 101), np.linspace(-4.5, 4.5, 101))
    ax.contour(*x, function_2(x), levels=8, colors="#BBBBBB", linewidths=0.7)
    ax.plot(x_history[:, 0], x_history[:, 1], "o-", markersize=4)
    ax.set_aspect("equal")
    ax.set(xlabel="x0", ylabel="x1", title="20 steps from (-3, 4), learning rate 0.1")
    return figure


def main(run: Run) -> None:
    init_x = np.array([-3.0, 4.0])
    x, x_history = gradient_descent(function_2, init_x, lr=0.1, step_num=20)
    run.row("20 steps from (-3, 4), learning rate 0.1", "near (0, 0)", x)
    run.row("the same by formula: 0.8^20 (-3, 4)", None, 0.8**20 * init_x)
    for lr in (0.1, 10.0, 1e-10):
        run.row(f"100 steps, learning rate {lr:g}", None, gradient_descent(function_2, init_x, lr)[0])
    run.picture("surface", surface)
    run.picture("gradient_field", field)
    run.picture("descent", path, x_history)


if __name__ == "__main__":
    start(main)
