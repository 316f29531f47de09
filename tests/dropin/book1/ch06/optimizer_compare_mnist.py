import os
import sys

sys.path.append(os.pardir)
import numpy as np
from common.multi_layer_net import MultiLayerNet
from common.optimizer import *
from dataset.mnist import load_mnist


def train(steps=60):
    (x_train, t_train), _ = load_mnist(normalize=True)
    np.random.seed(0)
    optimizers = [SGD(), Momentum(), AdaGrad(), Adam()]
    networks = [MultiLayerNet(784, [100, 100, 100, 100], 10) for _ in optimizers]
    losses = []
    for _ in range(steps):
        batch = np.random.choice(x_train.shape[0], 128)
        x, t = x_train[batch], t_train[batch]
        for network, optimizer in zip(networks, optimizers):
            optimizer.update(network.params, network.gradient(x, t))
            losses.append(network.loss(x, t))
    return losses


if __name__ == "__main__":
    for loss in train():
        print(loss)
