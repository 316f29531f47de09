"""Repeat copies a row and adds gradients up; Sum adds rows up and copies the gradient; MatMul has two products."""

import numpy as np

from fastnn.examples import Run, start, subplots
from fastnn.gradient import numerical_gradient
from fastnn.layers import MatMul, Repeat, Sum

D, N = 8, 7


def draw(nodes):
    figure, axes = subplots(len(nodes), 4, size=(2.5, 1.9))
    limit = max(np.abs(a).max() for arrays in nodes.values() for a in arrays)
    for row, (name, arrays) in zip(axes, nodes.items(), strict=True):
        for ax, a, title in zip(row, arrays, ("x", "out", "gradient of out", "gradient of x"), strict=True):
            ax.imshow(a, cmap="PuOr", vmin=-limit, vmax=limit)
            ax.set(title=f"{name}: {title} {a.shape}", xticks=[], yticks=[])
            ax.title.set_size(9)
    return figure


def main(run: Run) -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((1, D))  # Repeat: one row becomes N
    repeat = Repeat(N)
    y = repeat.forward(x)
    dy = rng.standard_normal((N, D))
    dx = repeat.backward(dy)
    run.row("Repeat: y, dx", "(7, 8), (1, 8)", f"{y.shape}, {dx.shape}")
    run.row("Repeat: dx is the sum of dy's rows", True, bool(np.allclose(dx, dy.sum(axis=0, keepdims=True))))

    rows = rng.standard_normal((N, D))  # Sum: N rows become one
    total = Sum()
    s = total.forward(rows)
    ds = rng.standard_normal((1, D))
    drows = total.backward(ds)
    run.row("Sum: y, dx", "(1, 8), (7, 8)", f"{s.shape}, {drows.shape}")
    run.row("Sum: every row of dx is dy", True, bool((drows == ds).all()))

    W = rng.standard_normal((D, 3))  # MatMul: the gradient of each factor is a product with the other
    matmul = MatMul(W)
    dout = rng.standard_normal((N, 3))
    out = matmul.forward(rows)
    dX = matmul.backward(dout)
    dW = matmul.grads[0]
    by_differences = numerical_gradient(lambda _: float((matmul.forward(rows) * dout).sum()), W)
    run.row("MatMul: dX, dW have the shapes of X, W", True, dX.shape == rows.shape and dW.shape == W.shape)
    run.row("MatMul: dW against numerical differences", None, float(np.abs(dW - by_differences).max()))
    nodes = {"Repeat": (x, y, dy, dx), "Sum": (rows, s, ds, drows), "MatMul": (rows, out, dout, dX)}
    run.picture("nodes", draw, nodes)


if __name__ == "__main__":
    start(main)
