import os
import sys

sys.path.append(os.pardir)
import numpy as np
from common.functions import sigmoid, softmax
from dataset.mnist import load_mnist


def init_network():
    """Three layers of the sizes of chapter 3 of book 1, not trained."""
    rn, network, sizes = np.random.RandomState(0).randn, {}, (784, 50, 100, 10)
    for i in (1, 2, 3):
        network[f"W{i}"] = (rn(sizes[i - 1], sizes[i]) / np.sqrt(sizes[i - 1])).astype("f")
        network[f"b{i}"] = np.zeros(sizes[i]).astype("f")
    return network


def predict(network, x):
    z = sigmoid(np.dot(x, network["W1"]) + network["b1"])
    z = sigmoid(np.dot(z, network["W2"]) + network["b2"])
    return softmax(np.dot(z, network["W3"]) + network["b3"])


def train(images=4000, batch_size=1):
    """Probabilities of the largest class, images one by one or in batches."""
    x, network, best = load_mnist()[0][0][:images], init_network(), []
    if batch_size == 1:
        for i in range(len(x)):
            y = predict(network, x[i])
            best.append(y[np.argmax(y)])
    for i in range(0, len(x) if batch_size > 1 else 0, batch_size):
        best += list(np.max(predict(network, x[i : i + batch_size]), axis=1))
    return best


if __name__ == "__main__":
    print(sum(train()))
