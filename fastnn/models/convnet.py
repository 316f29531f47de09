"""What the convolutional networks of book 1 share."""

import math

import numpy as np

from .. import init
from .classifier import Classifier


class ConvNet(Classifier):
    """A classifier of images (N, C, H, W)."""

    def __init__(self, input_dim, dtype, rng):
        super().__init__(dtype, rng)
        self._shape = tuple(input_dim)  # (C, H, W) after the layers so far

    def _add_convolution_params(self, i, conv_param, scale=None):
        """W{i}, b{i} for {"filter_num", "filter_size", "pad", "stride"}; scale None: He's sqrt(2 / fan-in)."""
        C, *sizes = self._shape
        FN, F = conv_param["filter_num"], conv_param["filter_size"]
        self._add_params(i, (FN, C, F, F), FN, init.deviation("he", C * F * F) if scale is None else scale)
        self._shape = FN, *(self._output(n, F, conv_param["stride"], conv_param["pad"]) for n in sizes)

    def _after_pooling(self):
        """Account for Pooling(2, 2, stride=2)."""
        C, *sizes = self._shape
        self._shape = C, *(self._output(n, 2, 2, 0) for n in sizes)

    def _output(self, n, window, stride, pad):
        size = (n + 2 * pad - window) // stride + 1
        if size < 1:
            name = type(self).__name__
            raise ValueError(f"{name}: a window of {window} does not fit on {n} pixels with a padding of {pad}")
        return size

    def _add_convolution(self, i, conv_param, name):
        W, b = self.params[f"W{i}"], self.params[f"b{i}"]
        layer = self.layer_types.Convolution(W, b, conv_param["stride"], conv_param["pad"])
        layer.input_gradient = bool(self.layers)  # nobody asks for that of the first layer
        self._add_layer(name, layer, W=f"W{i}", b=f"b{i}")

    def accuracy(self, x, t, batch_size=100):
        """Share of x (N, C, H, W) whose largest score is at t, labels (N,) or one-hot (N, V), batch by batch."""
        return self._correct(x, t, batch_size) / len(x) if len(x) else math.nan

    def _correct(self, x, t, batch_size):
        """How many of x are classified as t says."""
        t = np.asarray(t)
        if len(t) != len(x):
            raise ValueError(f"{type(self).__name__}.accuracy: x is {np.shape(x)} but t is {t.shape}")
        return sum(self._right(x[i : i + batch_size], t[i : i + batch_size])[0] for i in range(0, len(x), batch_size))
