"""The gradient of a loss has the shape of the weights: it says of each how the loss grows if that weight grows."""

import numpy as np

from fastnn.examples import Run, start, subplots
from fastnn.functions import cross_entropy_error, softmax
from fastnn.gradient import numerical_gradient
from fastnn.layers import MatMul, SoftmaxWithLoss


class simpleNet:
    def __init__(self, rng):
        self.W = rng.random((2, 3))

    def predict(self, x):
        return np.dot(x, self.W)

    def loss(self, x, t):
        z = self.predict(x)
        y = softmax(z)
        return cross_entropy_error(y, t)


def draw(W, dW):
    figure, axes = subplots(1, 2, size=(3.2, 2.4))
    limit = np.abs(np.stack([W, dW])).max()
    for ax, values, title in zip(axes, (W, dW), ("W", "dW"), strict=True):
        ax.imshow(values, cmap="PuOr", vmin=-limit, vmax=limit)
        for (i, j), value in np.ndenumerate(values):
            ax.text(j, i, f"{value:.3f}", ha="center", va="center", bbox={"color": "white", "alpha": 0.8, "pad": 1.5})
        ax.set(title=title, xticks=range(3), yticks=range(2), xlabel="class", ylabel="input")
    figure.suptitle("the right class is 2: only its weights should grow")
    return figure


def main(run: Run) -> None:
    rng = np.random.default_rng(0)
    x = rng.random(2)
    t = np.array([0, 0, 1])
    net = simpleNet(rng)
    loss = net.loss(x, t)
    dW = numerical_gradient(lambda W: net.loss(x, t), net.W)
    run.row("loss", "random", float(loss))
    run.row("dW", "random", dW)

    matmul, last = MatMul(net.W), SoftmaxWithLoss()  # the same by backpropagation, chapter 5
    last.forward(matmul.forward(x[np.newaxis]), t[np.newaxis])
    matmul.backward(last.backward())
    run.row("largest difference from backpropagation", None, float(np.abs(dW - matmul.dW).max()), digits=1)
    run.picture("gradient", draw, net.W.copy(), dW)
    net.W -= 0.1 * dW
    run.row("loss after a step of 0.1 against the gradient", None, float(net.loss(x, t)))


if __name__ == "__main__":
    start(main)
