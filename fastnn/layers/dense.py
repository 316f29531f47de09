"""Nodes of the computational graph, and products: MatMul, Affine."""

from typing import Any

import numpy as np

from .. import init as start
from .. import ops
from ..described import Described
from ..functions import rows
from .base import Layer, grad, need_arrays, param, samples

# ---- nodes of the computational graph ------------------------------------------------------------------------------


class MulLayer(Described):
    """x * y, for numbers or arrays of one shape. Book 1 ch. 5."""

    x: Any = None
    y: Any = None

    def forward(self, x, y):
        self.x, self.y = x, y
        return x * y

    def backward(self, dout):
        """-> (dx, dy)"""
        return dout * self.y, dout * self.x


class AddLayer(Described):
    """x + y, for numbers or arrays of one shape. Book 1 ch. 5."""

    def forward(self, x, y):
        return x + y

    def backward(self, dout):
        """-> (dx, dy)"""
        return dout * 1, dout * 1


class Repeat(Layer):
    """x (D,) or (1, D) -> N equal rows (N, D); backward adds the rows up. Book 2 ch. 1."""

    def __init__(self, N):
        super().__init__()
        self.N = N
        self.input_shape = None

    def forward(self, x):
        x = np.asarray(x)
        self.input_shape = x.shape
        return np.repeat(x.reshape(1, x.shape[-1]), self.N, axis=0)

    def backward(self, dout):
        return dout.sum(axis=0).reshape(self.input_shape)


class Sum(Layer):
    """x (N, D) -> the sum of its rows (1, D); backward repeats. Book 2 ch. 1."""

    N: Any = None

    def forward(self, x):
        x = np.asarray(x)
        self.N = x.shape[0]
        return x.sum(axis=0, keepdims=True)

    def backward(self, dout):
        return np.repeat(dout, self.N, axis=0)


# ---- products ------------------------------------------------------------------------------------------------------


class MatMul(Layer):
    """out = x @ W; x (..., D), W (D, M) -> (..., M). Book 2 ch. 1."""

    size_names = "D", "M"
    W, dW = param(0), grad(0)
    x: Any = None

    def __init__(self, W):
        need_arrays(self, W=W)
        super().__init__(W)

    @classmethod
    def create(cls, D, M, *, init="he", rng=None, dtype="float32"):
        """A layer that makes its own W (D, M); the arguments are those of `Affine.create`."""
        what = f"{cls.__name__}.create"
        return cls(start.weights(tuple(start.sizes(what, D=D, M=M)), init, rng, dtype, what=what))

    def forward(self, x):
        W = self.params[0]
        self.x = x
        if getattr(x, "ndim", 0) == 2:
            return ops.matmul(x, W)
        return ops.matmul(rows(x), W).reshape(*np.shape(x)[:-1], W.shape[-1])

    def backward(self, dout):
        W, dW = self.params[0], self.grads[0]
        x, dy = rows(self.x), rows(dout)
        if dy.dtype == dW.dtype and x.dtype == dW.dtype:
            dx = ops.affine_backward(dy, x, W, dW)[0]
        else:  # a wider operand: computed in the promoted dtype, then cast
            dx, dW[...], _ = ops.affine_backward(dy, x, W)
        return dx if x is self.x else dx.reshape(np.shape(self.x))


def matrix_and_bias(cls, D, M, init, bias, rng, dtype):
    """W (D, M) and b (M,) of a layer of that class."""
    what = f"{cls.__name__}.create"
    D, M = start.sizes(what, D=D, M=M)
    b = start.bias(M, bias, start.floating(dtype, what), what)
    if b is None:
        raise ValueError(f"{what}: bias is {bias!r}; MatMul.create(D, M) is the layer without a bias")
    return start.weights((D, M), init, rng, dtype, what=what), b


class Affine(Layer):
    """Fully connected layer, out = x @ W + b; W (D, M), b (M,). Book 1 ch. 5, book 2 ch. 1.

    x may be any (N, ...) with N rows of D numbers in all: out is (N, M), dx has x's shape. A 1-D x is one sample: out
    is (1, M).
    """

    size_names = "D", "M"
    W, b, dW, db = param(0), param(1), grad(0), grad(1)  # for users; methods unpack the lists, which is faster
    _input: Any = None

    def __init__(self, W, b):
        need_arrays(self, W=W, b=b)
        super().__init__(W, b)

    @classmethod
    def create(cls, D, M, *, init="he", bias=True, rng=None, dtype="float32"):
        """A layer that makes its own W (D, M) and b (M,).

        init: a rule of `fastnn.init`: "he" for ReLU, "xavier" for sigmoid and tanh, "glorot", "lecun", "orthogonal",
        "zeros", or a number, the deviation. bias: True for zeros, or the number that b starts from; MatMul is the layer
        without one. rng: None, a seed or a numpy.random.Generator; dtype: float32 or float64. Raises TypeError and
        ValueError, with the argument's name, for what is none of these.
        """
        return cls(*matrix_and_bias(cls, D, M, init, bias, rng, dtype))

    @property
    def x(self):
        """The last input as the (N, D) array that was multiplied: a view where that is possible."""
        return None if self._input is None else samples(self._input)

    @property
    def original_x_shape(self):
        return None if self._input is None else np.shape(self._input)

    def forward(self, x):
        W, b = self.params
        self._input = x
        return ops.affine_forward(x if getattr(x, "ndim", 0) == 2 else samples(x), W, b)

    def backward(self, dout):
        x, W = self._input, self.params[0]
        if getattr(x, "ndim", 0) != 2:
            x = samples(x)
        dx = self._backward(dout, x, W)
        return dx if x is self._input else dx.reshape(np.shape(self._input))

    def _backward(self, dout, x, W):
        dW, db = self.grads
        if dout.dtype == dW.dtype and x.dtype == dW.dtype:
            return ops.affine_backward(dout, x, W, dW, db)[0]
        dx, dW[...], db[...] = ops.affine_backward(dout, x, W)  # a wider operand: the promoted dtype, then cast
        return dx
