"""A network of three layers with given weights: x goes through it by products of matrices, sigmoids between them."""

import numpy as np

from fastnn import Network, plots
from fastnn.examples import Run, start
from fastnn.functions import identity_function, sigmoid
from fastnn.layers import Affine, Sigmoid


def init_network():
    return {
        "W1": np.array([[0.1, 0.3, 0.5], [0.2, 0.4, 0.6]]),
        "W2": np.array([[0.1, 0.4], [0.2, 0.5], [0.3, 0.6]]),
        "W3": np.array([[0.1, 0.3], [0.2, 0.4]]),
        "b1": np.array([0.1, 0.2, 0.3]),
        "b2": np.array([0.1, 0.2]),
        "b3": np.array([0.1, 0.2]),
    }


def forward(network, x):
    a1 = np.dot(x, network["W1"]) + network["b1"]
    z1 = sigmoid(a1)
    a2 = np.dot(z1, network["W2"]) + network["b2"]
    z2 = sigmoid(a2)
    a3 = np.dot(z2, network["W3"]) + network["b3"]
    return identity_function(a3)


def main(run: Run) -> None:
    n = init_network()
    x = np.array([1.0, 0.5])
    y = forward(n, x)
    run.row("y of x = (1.0, 0.5)", [0.31682708, 0.69627909], y, digits=8)
    layers = [Affine(n["W1"], n["b1"]), Sigmoid(), Affine(n["W2"], n["b2"]), Sigmoid(), Affine(n["W3"], n["b3"])]
    network = Network(layers)  # the same as layers, a batch of one
    run.row("y by a Network of layers", [0.31682708, 0.69627909], network.predict(x[np.newaxis])[0], digits=8)
    run.graph("network", plots.graph(network, style="neurons", title="2 inputs, layers of 3 and 2, 2 outputs"))


if __name__ == "__main__":
    start(main)
