"""Pooling of images (N, C, H, W), and Flatten."""

from typing import Any

import numpy as np

from .. import ops
from .base import Layer, from_forward, pair, samples


class Pooling(Layer):
    """The maximum of each window: x (N, C, H, W) -> (N, C, OH, OW). Book 1 ch. 7.

    stride and pad are numbers or pairs (vertical, horizontal); OH = (H + 2 * pad - pool_h) // stride + 1, rounded up
    with ceil_mode. Padding never is the maximum, NaN always is; among equals the first is, and gets the gradient.
    """

    always_shown = "stride", "pad"
    x: Any = None
    _arg: Any = from_forward()

    def __init__(self, pool_h, pool_w, stride=2, pad=0, ceil_mode=False):
        super().__init__()
        self.pool_h = pool_h
        self.pool_w = pool_w
        self.stride = stride
        self.pad = pad
        self.ceil_mode = ceil_mode

    @property
    def arg_max(self):
        """Where the maxima lie in their windows, row by row: int64 (N * OH * OW * C,) in that order; None at first."""
        arg = vars(self).get("_arg")
        return None if arg is None else arg.transpose(0, 2, 3, 1).reshape(-1).astype(np.int64)

    def forward(self, x):
        self.x = x
        kernel, stride, pad = (self.pool_h, self.pool_w), pair(self.stride), pair(self.pad)
        out, self._arg = ops.max_pool2d_forward(x, kernel, stride, pad, self.ceil_mode)
        return out

    def backward(self, dout):
        kernel, stride, pad = (self.pool_h, self.pool_w), pair(self.stride), pair(self.pad)
        return ops.max_pool2d_backward(dout, self._arg, np.shape(self.x), kernel, stride, pad)


class AveragePooling(Layer):
    """The mean of each window: x (N, C, H, W) -> (N, C, OH, OW). Arguments as for Pooling.

    count_include_pad: padding counts as zeros in the mean; else the mean is over the pixels of x alone.
    """

    always_shown = "stride", "pad"
    _shape: Any = from_forward()

    def __init__(self, pool_h, pool_w, stride=2, pad=0, ceil_mode=False, count_include_pad=True):
        super().__init__()
        self.pool_h = pool_h
        self.pool_w = pool_w
        self.stride = stride
        self.pad = pad
        self.ceil_mode = ceil_mode
        self.count_include_pad = count_include_pad

    def _options(self):
        kernel = self.pool_h, self.pool_w
        return kernel, pair(self.stride), pair(self.pad), self.ceil_mode, self.count_include_pad

    def forward(self, x):
        self._shape = np.shape(x)
        return ops.avg_pool2d_forward(x, *self._options())

    def backward(self, dout):
        return ops.avg_pool2d_backward(dout, self._shape, *self._options())


class GlobalMaxPooling(Layer):
    """The maximum of each channel: x (N, C, H, W) -> (N, C), or (N, C, 1, 1) with keepdims."""

    _shape: Any = from_forward()

    def __init__(self, keepdims=False):
        super().__init__()
        self.keepdims = keepdims

    def forward(self, x):
        self._shape = shape = image_shape("GlobalMaxPooling", x)
        out, self._arg = ops.max_pool2d_forward(x, shape[2:], (1, 1), (0, 0))
        return out if self.keepdims else out.reshape(shape[:2])

    def backward(self, dout):
        shape = self._shape
        dout = np.asarray(dout).reshape(*shape[:2], 1, 1)
        return ops.max_pool2d_backward(dout, self._arg, shape, shape[2:], (1, 1), (0, 0))


class GlobalAveragePooling(Layer):
    """The mean of each channel: x (N, C, H, W) -> (N, C), or (N, C, 1, 1) with keepdims. Lin et al. 2014."""

    _shape: Any = from_forward()

    def __init__(self, keepdims=False):
        super().__init__()
        self.keepdims = keepdims

    def forward(self, x):
        self._shape = shape = image_shape("GlobalAveragePooling", x)
        out = ops.avg_pool2d_forward(x, shape[2:], (1, 1), (0, 0))
        return out if self.keepdims else out.reshape(shape[:2])

    def backward(self, dout):
        shape = self._shape
        dout = np.asarray(dout).reshape(*shape[:2], 1, 1)
        return ops.avg_pool2d_backward(dout, shape, shape[2:], (1, 1), (0, 0), False, True)


class Flatten(Layer):
    """x (N, ...) -> (N, D), a view where that is possible; backward restores the shape."""

    _shape: Any = from_forward()

    def forward(self, x):
        self._shape = np.shape(x)
        return samples(x)

    def backward(self, dout):
        return np.reshape(dout, self._shape)


def image_shape(layer, x):
    """The shape of x, which must be (N, C, H, W)."""
    shape = np.shape(x)
    if len(shape) != 4:
        raise ValueError(f"{layer}: x is {shape}; it must be (N, C, H, W)")
    return shape
