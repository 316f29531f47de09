import os
import sys

sys.path.append(os.pardir)
import numpy as np
from dataset.mnist import load_mnist
from two_layer_net import TwoLayerNet


def train(steps=200):
    (x_train, t_train), _ = load_mnist(normalize=True, one_hot_label=True)
    np.random.seed(0)
    network = TwoLayerNet(input_size=784, hidden_size=50, output_size=10)
    losses = []
    for _ in range(steps):
        batch = np.random.choice(x_train.shape[0], 100)
        x, t = x_train[batch], t_train[batch]
        grad = network.gradient(x, t)
        for key in ("W1", "b1", "W2", "b2"):
            network.params[key] -= 0.1 * grad[key]
        losses.append(network.loss(x, t))
    return losses


if __name__ == "__main__":
    for loss in train():
        print(loss)
