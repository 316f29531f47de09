import sys

sys.path.append("..")
import numpy as np
from common.layers import Affine, Sigmoid, SoftmaxWithLoss
from common.optimizer import SGD
from dataset import spiral


class TwoLayerNet:
    def __init__(self, input_size, hidden_size, output_size):
        W1, b1 = 0.01 * np.random.randn(input_size, hidden_size), np.zeros(hidden_size)
        W2, b2 = 0.01 * np.random.randn(hidden_size, output_size), np.zeros(output_size)
        self.layers = [Affine(W1, b1), Sigmoid(), Affine(W2, b2)]
        self.loss_layer = SoftmaxWithLoss()
        self.params, self.grads = [], []
        for layer in self.layers:
            self.params += layer.params
            self.grads += layer.grads

    def forward(self, x, t):
        for layer in self.layers:
            x = layer.forward(x)
        return self.loss_layer.forward(x, t)

    def backward(self, dout=1):
        dout = self.loss_layer.backward(dout)
        for layer in reversed(self.layers):
            dout = layer.backward(dout)
        return dout


def train(steps=100):
    x, t = spiral.load_data()
    model, optimizer = TwoLayerNet(2, 10, 3), SGD(lr=1.0)
    losses = []
    for _ in range(steps):
        order = np.random.permutation(len(x))
        x, t = x[order], t[order]
        for i in range(len(x) // 30):
            losses.append(model.forward(x[i * 30 : (i + 1) * 30], t[i * 30 : (i + 1) * 30]))
            model.backward()
            optimizer.update(model.params, model.grads)
    return losses


if __name__ == "__main__":
    for loss in train():
        print(loss)
