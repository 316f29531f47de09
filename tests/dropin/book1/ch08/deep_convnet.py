import os
import sys

sys.path.append(os.pardir)
import numpy as np
from common.layers import *


class DeepConvNet:
    """Three blocks of two convolutions and pooling, two Affine layers with dropout, as chapter 8 of book 1 has it."""

    def __init__(self, input_dim=(1, 28, 28), filters=(16, 16, 32, 32, 64, 64), pads=(1, 1, 1, 2, 1, 1), hidden_size=50):
        self.params, self.layers = {}, []
        channels = input_dim[0]
        for i, (number, pad) in enumerate(zip(filters, pads), start=1):
            W = self.params[f"W{i}"] = np.sqrt(2.0 / (channels * 9)) * np.random.randn(number, channels, 3, 3)
            b = self.params[f"b{i}"] = np.zeros(number)
            self.layers += [Convolution(W, b, 1, pad), Relu()]
            if i % 2 == 0:
                self.layers.append(Pooling(pool_h=2, pool_w=2, stride=2))
            channels = number
        for i, (D, M) in enumerate([(64 * 4 * 4, hidden_size), (hidden_size, 10)], start=7):
            W = self.params[f"W{i}"] = np.sqrt(2.0 / D) * np.random.randn(D, M)
            b = self.params[f"b{i}"] = np.zeros(M)
            self.layers += [Affine(W, b), Relu(), Dropout(0.5)] if i == 7 else [Affine(W, b), Dropout(0.5)]
        self.last_layer = SoftmaxWithLoss()

    def predict(self, x, train_flg=False):
        for layer in self.layers:
            x = layer.forward(x, train_flg) if isinstance(layer, Dropout) else layer.forward(x)
        return x

    def loss(self, x, t):
        return self.last_layer.forward(self.predict(x, train_flg=True), t)

    def gradient(self, x, t):
        self.loss(x, t)
        dout = self.last_layer.backward(1)
        for layer in reversed(self.layers):
            dout = layer.backward(dout)
        owners = [layer for layer in self.layers if hasattr(layer, "W")]
        return {f"{kind}{i}": getattr(layer, f"d{kind}") for i, layer in enumerate(owners, start=1) for kind in "Wb"}
