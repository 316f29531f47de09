"""MNIST without a hidden layer and with 625 sigmoid units, 30,000 steps each: the document's table, redrawn."""

import numpy as np

from fastnn import Network
from fastnn.examples import Run, start, subplots
from fastnn.layers import Affine, Sigmoid, SoftmaxWithLoss
from fastnn.optimizer import SGD

loop_num = 30000
batch_size = 100
learning_rate = 0.001
hidden_size = 625
DOCUMENT = {"no hidden layer": (44, 94.0, 92.2), "625 hidden units": (503, 97.0, 96.6)}  # seconds, train %, test %


def normal(rng, *shape):
    return rng.normal(0, 0.05, shape).astype(np.float32)


def zeros(*shape):
    return np.zeros(shape, np.float32)


def models(rng):
    return {
        "no hidden layer": [Affine(zeros(784, 10), zeros(10))],
        "625 hidden units": [
            Affine(normal(rng, 784, hidden_size), zeros(hidden_size)),
            Sigmoid(),
            Affine(normal(rng, hidden_size, 10), zeros(10)),
        ],
    }


def train(run, name, layers, x, t, steps, rng):
    net = Network(layers, SoftmaxWithLoss())
    optimizer = SGD(learning_rate * batch_size)  # the document's loss is a sum over the batch, ours a mean
    accuracies = []
    order = rng.permutation(len(x))
    for i in run.progress(steps, name):
        first = i * batch_size % len(x)
        if first == 0:  # every image once an epoch, in a new order
            order = rng.permutation(len(x))
        batch = order[first : first + batch_size]
        net.step(x[batch], t[batch], optimizer)
        if i % 100 == 0:
            accuracies.append(net.accuracy(x[batch], t[batch]))
    return net, accuracies


def draw(curves):
    figure, axes = subplots(1, 2, sharey=True)
    for ax, (name, accuracies) in zip(axes, curves.items(), strict=True):
        ax.plot(np.arange(len(accuracies)) * 100, accuracies, linewidth=0.7)
        ax.set(title=name, xlabel="step", ylim=(0, 1.02))
    axes[0].set_ylabel("accuracy of the batch")
    return figure


def main(run: Run) -> None:
    (x_train, t_train), (x_test, t_test) = run.mnist()
    steps = loop_num // 50 if run.quick else loop_num
    rng = np.random.default_rng(0)
    curves = {}
    for name, layers in models(rng).items():
        seconds, train_acc, test_acc = DOCUMENT[name]
        with run.clock() as clock:
            net, curves[name] = train(run, name, layers, x_train, t_train, steps, rng)
        run.row(f"{name}, {steps:,} steps", None, "trained", seconds, clock.seconds)
        run.row(f"{name}: accuracy on training data, %", train_acc, 100 * net.accuracy(x_train, t_train))
        run.row(f"{name}: accuracy on test data, %", test_acc, 100 * net.accuracy(x_test, t_test))
    run.picture("accuracy", draw, curves)


if __name__ == "__main__":
    start(main)
