"""Dropout."""

from typing import Any

import numpy as np

from .. import ops
from .base import Layer, unpack_mask


class Dropout(Layer):
    """Dropout by the books' rule: training multiplies by the mask, evaluation by 1 - dropout_ratio. Book 1 ch. 6.

    `rng` (None, a seed or a numpy.random.Generator) supplies one 64-bit key per training pass.
    """

    _mask: Any = None
    _shape: Any = None

    def __init__(self, dropout_ratio=0.5, rng=None):
        super().__init__()
        self.dropout_ratio = dropout_ratio
        self.rng = np.random.default_rng(rng)

    @property
    def mask(self):
        """True where the last training pass kept x (bool, x's shape), None before it."""
        return unpack_mask(self._mask, self._shape)

    def forward(self, x, train_flg=True):
        if not train_flg:
            return np.multiply(x, 1.0 - self.dropout_ratio)
        key = int(self.rng.integers(2**64, dtype=np.uint64))
        out, self._mask = ops.dropout_forward(x, self.dropout_ratio, key)
        self._shape = out.shape
        return out

    def backward(self, dout):
        return ops.dropout_backward(dout, self._mask)
