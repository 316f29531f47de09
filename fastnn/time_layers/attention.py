"""The book's attention: weights by products of states, softmax, weighted sums. Book 2 ch. 8."""

from typing import Any

import numpy as np

from .. import ops
from ..functions import rows
from ..layers.base import Layer


class WeightSum(Layer):
    """sum over t of a[t] * hs[t]; hs (N, T, H), a (N, T) -> (N, H)."""

    cache: Any = None

    def forward(self, hs, a):
        self.cache = hs, a
        return _weighted(a, hs)

    def backward(self, dc):
        """dc (N, H) -> (dhs, da)"""
        hs, a = self.cache
        return _outer((a,), (dc,)), _likeness(hs, dc)


class AttentionWeight(Layer):
    """softmax over t of hs[t] . h; hs (N, T, H), h (N, H) -> a (N, T)."""

    cache: Any = None

    def forward(self, hs, h):
        a = ops.softmax_forward(_likeness(hs, h))
        self.cache = hs, h, a.copy()
        return a

    def backward(self, da):
        """da (N, T) -> (dhs, dh)"""
        hs, h, a = self.cache
        ds = ops.softmax_backward(da, a)
        return _outer((ds,), (h,)), _weighted(ds, hs)


class Attention(Layer):
    """The sum of hs (N, T, H) weighted by its likeness to h (N, H) -> (N, H)."""

    attention_weight: Any = None

    def __init__(self):
        super().__init__()
        self.attention_weight_layer = AttentionWeight()
        self.weight_sum_layer = WeightSum()

    def forward(self, hs, h):
        self.attention_weight = self.attention_weight_layer.forward(hs, h)
        return self.weight_sum_layer.forward(hs, self.attention_weight)

    def backward(self, dout):
        """dout (N, H) -> (dhs, dh)"""
        hs, h, a = self.attention_weight_layer.cache
        ds = ops.softmax_backward(_likeness(hs, dout), a)
        return _outer((a, ds), (dout, h)), _weighted(ds, hs)


class TimeAttention(Layer):
    """`Attention` of every decoder step: hs_enc (N, Te, H), hs_dec (N, Td, H) -> (N, Td, H), all steps at once."""

    _saved: Any = None

    @property
    def attention_weights(self):
        """The weights (N, Te) of each decoder step, a list of Td arrays; None before the first forward."""
        return None if self._saved is None else list(self._saved[2].swapaxes(0, 1).copy())

    def forward(self, hs_enc, hs_dec):
        score = ops.matmul(hs_dec, hs_enc.swapaxes(1, 2))
        a = ops.softmax_forward(rows(score)).reshape(score.shape)
        self._saved = hs_enc, hs_dec, a
        return ops.matmul(a, hs_enc)

    def backward(self, dout):
        """dout (N, Td, H) -> (dhs_enc, dhs_dec)"""
        hs_enc, hs_dec, a = self._saved
        da = ops.matmul(dout, hs_enc.swapaxes(1, 2))
        ds = ops.softmax_backward(rows(da), rows(a)).reshape(a.shape)
        # a.T @ dout + ds.T @ hs_dec as one product
        both, others = np.concatenate([a, ds], axis=1), np.concatenate([dout, hs_dec], axis=1)
        return ops.matmul(both.swapaxes(1, 2), others), ops.matmul(ds, hs_enc)


def _likeness(hs, h):
    """hs (N, T, H) times h (N, H) -> (N, T)"""
    return ops.matmul(hs, h[:, :, np.newaxis])[:, :, 0]


def _weighted(a, hs):
    """The sum over T of a (N, T) times hs (N, T, H) -> (N, H)"""
    return ops.matmul(a[:, np.newaxis], hs)[:, 0]


def _outer(a, c):
    """The sum of a[i] (N, T) times c[i] (N, H) -> (N, T, H)"""
    return ops.matmul(np.stack(a, axis=2), np.stack(c, axis=1))
