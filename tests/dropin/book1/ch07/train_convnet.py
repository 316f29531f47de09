import os
import sys

sys.path.append(os.pardir)
import numpy as np
from common.optimizer import Adam
from dataset.mnist import load_mnist
from simple_convnet import SimpleConvNet


def train(steps=12):
    (x_train, t_train), _ = load_mnist(flatten=False)
    np.random.seed(0)
    network = SimpleConvNet()
    optimizer = Adam(lr=0.001)
    losses = []
    for _ in range(steps):
        batch = np.random.choice(x_train.shape[0], 100)
        x, t = x_train[batch], t_train[batch]
        optimizer.update(network.params, network.gradient(x, t))
        losses.append(network.loss(x, t))
    return losses


if __name__ == "__main__":
    for loss in train():
        print(loss)
