import os
import sys

sys.path.append(os.pardir)
import numpy as np
from common.multi_layer_net_extend import MultiLayerNetExtend
from common.optimizer import SGD
from dataset.mnist import load_mnist


def train(steps=150):
    (x_train, t_train), _ = load_mnist(normalize=True)
    x_train, t_train = x_train[:1000], t_train[:1000]
    np.random.seed(0)
    sizes = dict(input_size=784, hidden_size_list=[100] * 5, output_size=10, weight_init_std=0.1)
    networks = [MultiLayerNetExtend(**sizes, use_batchnorm=True), MultiLayerNetExtend(**sizes)]
    optimizer = SGD(lr=0.01)
    losses = []
    for i in range(steps):
        batch = np.random.choice(x_train.shape[0], 100)
        x, t = x_train[batch], t_train[batch]
        for network in networks:
            optimizer.update(network.params, network.gradient(x, t))
        if i % 10 == 0:
            losses += [network.accuracy(x_train, t_train) for network in networks]
    return losses


if __name__ == "__main__":
    for loss in train():
        print(loss)
