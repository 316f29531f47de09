"""Six optimizers go down the long valley x^2 / 20 + y^2 from (-7, 2): SGD in zigzags, the others on smoother ways."""

import numpy as np

from fastnn.examples import Run, start, subplots
from fastnn.optimizer import SGD, AdaGrad, Adam, Momentum, Nesterov, RMSprop

OPTIMIZERS = {
    "SGD": SGD(lr=0.95),
    "Momentum": Momentum(lr=0.1),
    "Nesterov": Nesterov(lr=0.1, lookahead=False),
    "AdaGrad": AdaGrad(lr=1.5),
    "RMSprop": RMSprop(lr=0.5, decay_rate=0.9),
    "Adam": Adam(lr=0.3),
}


def f(x, y):
    return x**2 / 20.0 + y**2


def df(x, y):
    return x / 10.0, 2.0 * y


def descend(optimizer, steps=30):
    params = {"x": -7.0, "y": 2.0}
    history = [(params["x"], params["y"])]
    for _ in range(steps):
        dx, dy = df(params["x"], params["y"])
        optimizer.update(params, {"x": dx, "y": dy})
        history.append((params["x"], params["y"]))
    return np.array(history)


def draw(paths):
    figure, axes = subplots(2, 3, size=(3.6, 2.7), sharex=True, sharey=True)
    X, Y = np.meshgrid(np.linspace(-10, 10, 201), np.linspace(-5, 5, 201))
    for ax, (name, path) in zip(axes.flat, paths.items(), strict=True):
        ax.contour(X, Y, f(X, Y), levels=[0.1, 0.5, 1, 2, 3, 5, 7], colors="#BBBBBB", linewidths=0.7)
        ax.plot(path[:, 0], path[:, 1], "o-", color="#D55E00", markersize=3, linewidth=1)
        ax.plot(0, 0, "k+", markersize=10)
        ax.set(title=name, xlim=(-9, 6), ylim=(-4, 4))
    for ax in axes[1]:
        ax.set_xlabel("x")
    for ax in axes[:, 0]:
        ax.set_ylabel("y")
    return figure


def main(run: Run) -> None:
    paths = {name: descend(optimizer) for name, optimizer in OPTIMIZERS.items()}
    for name, path in paths.items():
        run.row(f"{name}: place after 30 steps", None, path[-1], digits=3)
    lengths = {name: float(np.hypot(*np.diff(path, axis=0).T).sum()) for name, path in paths.items()}
    for name, length in lengths.items():
        run.row(f"{name}: length of its way (straight: 7.28)", None, length, digits=3)
    run.picture("paths", draw, paths)


if __name__ == "__main__":
    start(main)
