"""Softmax and the losses."""

import math
from typing import Any

import numpy as np

from .. import ops
from ..functions import BOOK_EPSILON
from ..targets import like, rows, targets
from .base import Layer, private_copy


class Softmax(Layer):
    """Softmax over the last axis of x (..., V). Book 2 ch. 1."""

    out: Any = None

    def forward(self, x):
        x = np.asarray(x)
        y = ops.softmax_forward(rows(x)).reshape(x.shape)
        self.out = private_copy(y, self.out)
        return y

    def backward(self, dout):
        return ops.softmax_backward(rows(dout), rows(self.out)).reshape(self.out.shape)


class SoftmaxCrossEntropy(Layer):
    """Softmax and its exact cross entropy -log(y[t]); x (N, V) -> float. As PyTorch's CrossEntropyLoss.

    t is labels (N,) or targets (N, V), one-hot or soft. Labels equal to `ignore_index` do not count; `weight` (V,) are
    the classes' weights; the loss is the mean over the weights that count, nan if nothing does. A 1-D x is one sample,
    with its label or its V targets. `backward(dout)` multiplies by dout.
    """

    epsilon = 0.0
    loss: Any = None
    y: Any = None
    t: Any = None

    def __init__(self, weight=None, ignore_index=None, label_smoothing=0.0):
        super().__init__()
        self.options = weight, ignore_index, label_smoothing

    def _option(self, name):
        return dict(zip(("weight", "ignore_index", "label_smoothing"), self.options, strict=True))[name]

    @property
    def ignore_label(self):
        """The label that does not count, or None: ignore_index."""
        return self.options[1]

    def forward(self, x, t):
        self.t = t
        x_rows, t = targets(x, t, type(self).__name__)
        self.loss, self.y = ops.softmax_cross_entropy_forward(x_rows, t, *self.options, self.epsilon)
        if x_rows is not x:
            self.y = self.y.reshape(np.shape(x))
        return self.loss

    def backward(self, dout=1.0):
        y, t = targets(self.y, self.t)
        dx = ops.softmax_cross_entropy_backward(y, t, dout, *self.options)
        return dx if y is self.y else dx.reshape(self.y.shape)


class SoftmaxWithLoss(SoftmaxCrossEntropy):
    """The books' softmax and loss -log(y[t] + 1e-7); x (N, V), t labels (N,) or one-hot (N, V) -> float.

    Its gradient is (y - onehot(t)) * dout / N. Book 1 ch. 5, book 2 ch. 1.
    """

    epsilon = BOOK_EPSILON

    def __init__(self):
        super().__init__()


class SigmoidWithLoss(Layer):
    """Sigmoid and the books' cross entropy with 1e-7 in the log, the mean over all elements -> float. Book 2 ch. 4.

    x (N,) or (N, 1) or any shape, t 0 or 1 (any real dtype), (N,) or like x. Gradient: (y - t) * dout / size.
    """

    loss: Any = None
    y: Any = None
    t: Any = None

    def forward(self, x, t):
        x, self.t = np.asarray(x), t
        self.loss, self.y = ops.sigmoid_cross_entropy_forward(x, like(x, t), BOOK_EPSILON)
        return self.loss

    def backward(self, dout=1.0):
        if self.y is None:
            raise RuntimeError(f"{type(self).__name__}: backward needs a forward before it")
        return ops.sigmoid_cross_entropy_backward(self.y, like(self.y, self.t), dout)


class MeanSquaredError(Layer):
    """Mean of (y - t)^2 over all elements -> float; t in y's shape, but for axes of length 1.

    The gradient is 2 * (y - t) * dout / size.
    """

    loss: Any = None
    y: Any = None
    t: Any = None

    def forward(self, y, t):
        self.y = y = np.asarray(y)
        self.t = t = like(y, t)
        total, size = ops.squared_error_forward(y, t), y.size
        self.loss = total / size if size else math.nan
        return self.loss

    def backward(self, dout=1.0):
        return ops.squared_error_backward(self.y, self.t, 2.0 * dout / max(np.size(self.y), 1))
