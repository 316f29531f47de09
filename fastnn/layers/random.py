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
        out, self._mask = ops.dropout_forward(x, self.dropout_ratio, draw_key(self.rng))
        self._shape = out.shape
        return out

    def backward(self, dout):
        return ops.dropout_backward(dout, self._mask)


class Dropout2d(Layer):
    """Dropout of whole channels of x (N, C, H, W), kept ones divided by 1 - dropout_ratio. As PyTorch's.

    Evaluation leaves x as it is. Unlike Dropout, which follows the books, the scaling is in training: the field's
    inverted dropout. `rng` as for Dropout. Tompson et al. 2015.
    """

    _mask: Any = None
    _shape: Any = None

    def __init__(self, dropout_ratio=0.5, rng=None):
        super().__init__()
        self.dropout_ratio = dropout_ratio
        self.rng = np.random.default_rng(rng)

    @property
    def mask(self):
        """True where the last training pass kept a channel (bool (N, C)), None before it."""
        return unpack_mask(self._mask, self._shape)

    def _scale(self):
        return 1 / (1 - self.dropout_ratio) if self.dropout_ratio < 1 else 0.0

    def forward(self, x, train_flg=True):
        if not train_flg:
            return np.array(x)
        out, self._mask = ops.dropout2d_forward(x, self.dropout_ratio, draw_key(self.rng), self._scale())
        self._shape = out.shape[:2]
        return out

    def backward(self, dout):
        return ops.dropout2d_backward(dout, self._mask, self._scale())


def draw_key(rng):
    """A 64-bit key for a dropout operation."""
    return int(rng.integers(2**64, dtype=np.uint64))
