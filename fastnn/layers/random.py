"""Dropout."""

from typing import Any

import numpy as np

from .. import ops
from ..ops._bounds import bounded
from .base import Layer, unpack_mask


class Drawing:
    """What draws from a generator `rng`. One that was not given (None) is replaced by a `Network` that has a seed."""

    rng: Any
    _found_rng: Any = None  # the generator that was made because none was given

    def _set_rng(self, rng):
        self.rng = np.random.default_rng(rng)
        if rng is None:
            self._found_rng = self.rng

    def has_own_rng(self):
        return self._found_rng is None or self.rng is not self._found_rng

    def seed(self, seed):
        """What the network does for a layer without a generator of its own."""
        self.rng = self._found_rng = np.random.default_rng(seed)


class Dropout(Drawing, Layer):
    """Dropout by the books' rule: training multiplies by the mask, evaluation by 1 - dropout_ratio. Book 1 ch. 6.

    `rng` (None, a seed or a numpy.random.Generator) supplies one 64-bit key per training pass; in a `Network` with a
    seed None is a generator of that network's.
    """

    always_shown = ("dropout_ratio",)
    _mask: Any = None
    _shape: Any = None

    def __init__(self, dropout_ratio=0.5, rng=None):
        super().__init__()
        self.dropout_ratio = checked_ratio(dropout_ratio)
        self._set_rng(rng)

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


class Dropout2d(Drawing, Layer):
    """Dropout of whole channels of x (N, C, H, W), kept ones divided by 1 - dropout_ratio. As PyTorch's.

    Evaluation leaves x as it is. Unlike Dropout, which follows the books, the scaling is in training: the field's
    inverted dropout. `rng` as for Dropout. Tompson et al. 2015.
    """

    always_shown = ("dropout_ratio",)
    _mask: Any = None
    _shape: Any = None

    def __init__(self, dropout_ratio=0.5, rng=None):
        super().__init__()
        self.dropout_ratio = checked_ratio(dropout_ratio)
        self._set_rng(rng)

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


def drawing(layer):
    """The parts of a layer, itself included, that draw."""
    if isinstance(layer, Drawing):
        yield layer
    for value in getattr(layer, "__dict__", {}).values():
        for part in value if isinstance(value, list) else [value]:
            if isinstance(part, Layer | Drawing):
                yield from drawing(part)


def checked_ratio(ratio):
    """As it is; ValueError for one outside [0, 1], which evaluation would take without a word."""
    bounded("dropout_forward", "ratio", ratio)
    return ratio


def draw_key(rng):
    """A 64-bit key for a dropout operation."""
    return int(rng.integers(2**64, dtype=np.uint64))
