"""x (1, 3) through linear, ReLU, linear to a squared error: the Chainer note step by step, then trained.

The note's outputs come from several runs with different weights. Its u follows from the W it prints, its loss from the
y it prints; the steps between belong to other runs, so there is nothing to compare them with.
"""

import numpy as np

from fastnn import Network
from fastnn.examples import Run, start, subplots
from fastnn.layers import Affine, MeanSquaredError, Relu
from fastnn.optimizer import SGD

x = np.array([[1, 2, 3]], np.float32)
t = np.array([[3]], np.float32)
# as the note prints them
W = np.array([[0.02888694, -0.23364061, -0.31486371], [-0.8928591, 0.56717008, -0.63570172]], np.float32)
y_printed = np.array([[-1.42774189]], np.float32)


def draw(losses, predictions):
    figure, (left, right) = subplots(1, 2)
    left.semilogy(losses)
    left.set(xlabel="step", ylabel="squared error", title="the loss")
    right.plot(predictions)
    right.axhline(t.item(), linestyle="--", color="black", label="t = 3")
    right.set(xlabel="step", ylabel="y", title="the prediction")
    right.legend()
    return figure


def main(run: Run) -> None:
    rng = np.random.default_rng(3)
    fc1 = Affine(np.ascontiguousarray(W.T), np.zeros(2, np.float32))  # Chainer keeps W as (out, in)
    relu = Relu()
    fc2 = Affine(rng.normal(0, 2**-0.5, (2, 1)).astype(np.float32), np.zeros(1, np.float32))
    loss = MeanSquaredError()

    u = fc1.forward(x)
    run.row("u = x W, from the printed W", [-1.38298547, -1.66562414], u[0], digits=9)
    run.row("loss of the printed y and t = 3", 19.60489845275879, float(loss.forward(y_printed, t)), digits=6)
    run.row("z = ReLU(u), of another run there", [1.70384192, 0.0], relu.forward(u)[0])

    fc1.W[...] = rng.normal(0, 3**-0.5, (3, 2))  # of our own: with the note's W both units are dead, u is negative
    fc1.W[:, 0] = np.abs(fc1.W[:, 0])
    net = Network([fc1, relu, fc2], loss)
    optimizer = SGD(lr=0.002)
    losses, predictions = [], []
    for _ in range(200):
        predictions.append(net.predict(x).item())
        losses.append(float(net.step(x, t, optimizer)))
    run.row("loss before training", None, losses[0])
    run.row("loss after 200 steps", None, losses[-1])
    run.row("y after 200 steps (t = 3)", None, net.predict(x).item())
    run.picture("training", draw, losses, predictions)


if __name__ == "__main__":
    start(main)
