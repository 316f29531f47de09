"""Branches: what several chains of layers make of the same input, together."""

import inspect
from typing import Any

import numpy as np

from .base import Layer, from_forward


class Branches(Layer):
    """What Add and Concatenate share. branches: lists of layers, run one after the other; [] is the input itself."""

    def __init__(self, *branches):
        if not branches:
            raise ValueError(f"{type(self).__name__}: no branches")
        super().__init__()
        self.branches = [list(branch) for branch in branches]
        inner = [layer for branch in self.branches for layer in branch]
        self.params = [p for layer in inner for p in getattr(layer, "params", [])]
        self.grads = [g for layer in inner for g in getattr(layer, "grads", [])]

    def __repr__(self):
        return f"{type(self).__name__}({', '.join(map(repr, self.branches))})"

    def rebuilt(self, branches):
        """The same of other layers."""
        return type(self)(*branches)

    def _outputs(self, x, train_flg):
        outputs = []
        for branch in self.branches:
            y = x
            for layer in branch:
                flag = (train_flg,) if "train_flg" in inspect.signature(layer.forward).parameters else ()
                y = layer.forward(y, *flag)
            outputs.append(y)
        return outputs

    def _backward(self, douts):
        """The gradients of each branch's output -> the sum of those of x."""
        total = None
        for branch, dout in zip(self.branches, douts, strict=True):
            for layer in reversed(branch):
                dout = layer.backward(dout)
            total = dout if total is None or dout is None else total + dout
        return total


class Add(Branches):
    """The sum of what the branches make of x, all of one shape: a residual block is `Add([], [Affine(...), ...])`.

    He et al. 2015.
    """

    def forward(self, x, train_flg=True):
        first, *more = self._outputs(x, train_flg)
        if any(y.shape != first.shape for y in more):
            raise ValueError(f"Add: the branches give {', '.join(str(y.shape) for y in (first, *more))}")
        total = np.array(first)
        for y in more:
            total += y
        return total

    def backward(self, dout):
        return self._backward([dout] * len(self.branches))


class Concatenate(Branches):
    """What the branches make of x, side by side along axis 1: (N, D1 + D2 + ...), or channels of images.

    Szegedy et al. 2014 (Inception).
    """

    _ends: Any = from_forward()

    def forward(self, x, train_flg=True):
        outputs = self._outputs(x, train_flg)
        self._ends = np.cumsum([y.shape[1] for y in outputs])
        return np.concatenate(outputs, axis=1)

    def backward(self, dout):
        return self._backward([np.ascontiguousarray(d) for d in np.split(dout, self._ends[:-1], axis=1)])
