"""The book's trained network reads 10,000 digits: one by one, then in batches of 100, which is much quicker."""

import os
from pathlib import Path

import numpy as np

from fastnn import Network
from fastnn.examples import Run, start, subplots
from fastnn.functions import sigmoid, softmax
from fastnn.layers import Affine, Sigmoid, SoftmaxWithLoss
from fastnn.optimizer import Adam
from fastnn.weights import load_weights

batch_size = 100


def sample_weight():
    path = Path(os.environ.get("FASTNN_DATA", "."), "book1", "sample_weight.pkl")
    if not path.is_file():
        raise FileNotFoundError(f"{path} was not found; the book's repository has it as ch03/sample_weight.pkl")
    return load_weights(path)


def layers(n):
    return [Affine(n["W1"], n["b1"]), Sigmoid(), Affine(n["W2"], n["b2"]), Sigmoid(), Affine(n["W3"], n["b3"])]


def trained(x, t):
    rng = np.random.default_rng(0)
    n = {}
    for i, (D, M) in enumerate([(784, 50), (50, 100), (100, 10)], 1):
        n[f"W{i}"] = (rng.standard_normal((D, M)) / np.sqrt(D)).astype(np.float32)
        n[f"b{i}"] = np.zeros(M, np.float32)
    Network(layers(n), SoftmaxWithLoss()).fit(x, t, 10, optimizer=Adam(0.003), rng=rng, progress=False)
    return n


def predict(network, x):
    a1 = np.dot(x, network["W1"]) + network["b1"]
    z1 = sigmoid(a1)
    a2 = np.dot(z1, network["W2"]) + network["b2"]
    z2 = sigmoid(a2)
    a3 = np.dot(z2, network["W3"]) + network["b3"]
    return softmax(a3)


def draw(x, t, y):
    figure, axes = subplots(2, 5, size=(1.9, 2.2), height_ratios=(1, 1))
    for i, (above, below) in enumerate(axes.T):
        above.imshow(x[i].reshape(28, 28), cmap="gray_r")
        above.set(title=f"label {t[i]}", xticks=[], yticks=[])
        below.bar(range(10), y[i])
        below.set(xticks=range(0, 10, 3), ylim=(0, 1), xlabel="digit")
        below.label_outer()
    axes[1, 0].set_ylabel("probability")
    return figure


def main(run: Run) -> None:
    (x_train, t_train), (x, t) = run.mnist()
    network = run.load(sample_weight, lambda: trained(x_train, t_train), "a network that is trained first")
    with run.clock() as clock:
        accuracy_cnt = 0
        for i in range(len(x)):
            y = predict(network, x[i])
            accuracy_cnt += np.argmax(y) == t[i]
    name = "one by one: accuracy (document's seconds: the whole script)"
    run.row(name, 0.9352, accuracy_cnt / len(x), 2.220, clock.seconds)
    with run.clock() as clock:
        accuracy_cnt = 0
        for i in range(0, len(x), batch_size):
            y_batch = predict(network, x[i : i + batch_size])
            p = np.argmax(y_batch, axis=1)
            accuracy_cnt += np.sum(p == t[i : i + batch_size])
    run.row("in batches of 100: accuracy", 0.9352, accuracy_cnt / len(x), 0.991, clock.seconds)
    with run.clock() as clock:
        accuracy = Network(layers(network), SoftmaxWithLoss()).accuracy(x, t)
    run.row("all at once, by a Network of layers: accuracy", None, accuracy, None, clock.seconds)
    run.picture("digits", draw, x, t, predict(network, x[:5]))


if __name__ == "__main__":
    start(main)
