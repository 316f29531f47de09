import os
import pickle
import sys

sys.path.append(os.pardir)
from collections import OrderedDict

import numpy as np
from common.gradient import numerical_gradient
from common.layers import *


class SimpleConvNet:
    """Convolution, ReLU, pooling, Affine, ReLU, Affine, softmax loss, as chapter 7 of book 1 describes it."""

    def __init__(
        self, input_dim=(1, 28, 28), conv_param={"filter_num": 30, "filter_size": 5, "pad": 0, "stride": 1},
        hidden_size=100, output_size=10, weight_init_std=0.01,
    ):
        number, size = conv_param["filter_num"], conv_param["filter_size"]
        pad, stride = conv_param["pad"], conv_param["stride"]
        side = (input_dim[1] - size + 2 * pad) // stride + 1
        self.params = {
            "W1": weight_init_std * np.random.randn(number, input_dim[0], size, size),
            "b1": np.zeros(number),
            "W2": weight_init_std * np.random.randn(number * (side // 2) ** 2, hidden_size),
            "b2": np.zeros(hidden_size),
            "W3": weight_init_std * np.random.randn(hidden_size, output_size),
            "b3": np.zeros(output_size),
        }
        self.layers = OrderedDict()
        self.layers["Conv1"] = Convolution(self.params["W1"], self.params["b1"], stride, pad)
        self.layers["Relu1"] = Relu()
        self.layers["Pool1"] = Pooling(pool_h=2, pool_w=2, stride=2)
        self.layers["Affine1"] = Affine(self.params["W2"], self.params["b2"])
        self.layers["Relu2"] = Relu()
        self.layers["Affine2"] = Affine(self.params["W3"], self.params["b3"])
        self.last_layer = SoftmaxWithLoss()

    def predict(self, x):
        for layer in self.layers.values():
            x = layer.forward(x)
        return x

    def loss(self, x, t):
        return self.last_layer.forward(self.predict(x), t)

    def gradient(self, x, t):
        self.loss(x, t)
        dout = self.last_layer.backward(1)
        for layer in reversed(list(self.layers.values())):
            dout = layer.backward(dout)
        owners = {"1": self.layers["Conv1"], "2": self.layers["Affine1"], "3": self.layers["Affine2"]}
        return {key: getattr(owners[key[1]], "d" + key[0]) for key in self.params}

    def save_params(self, file_name="params.pkl"):
        with open(file_name, "wb") as f:
            pickle.dump(dict(self.params), f)

    def load_params(self, file_name="params.pkl"):
        with open(file_name, "rb") as f:
            self.params.update(pickle.load(f))
        for i, key in enumerate(["Conv1", "Affine1", "Affine2"], start=1):
            self.layers[key].W = self.params[f"W{i}"]
            self.layers[key].b = self.params[f"b{i}"]
