"""Layers that treat every time step alike: embedding, affine, losses, dropout."""

from typing import Any

import numpy as np

from .. import ops
from ..layers.base import Layer, grad, need_arrays, param, unpack_mask
from ..layers.dense import matrix_and_bias
from ..layers.embedding import Embedding
from ..layers.loss import SigmoidWithLoss
from ..layers.random import Drawing, checked_ratio, draw_key
from ..targets import labels_or_targets, rows


class TimeEmbedding(Embedding):
    """Rows of W (V, D) by xs (N, T) -> (N, T, D). Book 2 ch. 5."""


class TimeAffine(Layer):
    """out = x @ W + b over the last axis; x (N, T, D), W (D, M), b (M,) -> (N, T, M). Book 2 ch. 5.

    W may be a transposed view of another layer's table, as for tied weights; no copy of it is made.
    """

    size_names = "D", "M"
    W, b, dW, db = param(0), param(1), grad(0), grad(1)
    x: Any = None

    def __init__(self, W, b):
        need_arrays(self, W=W, b=b)
        super().__init__(W, b)

    @classmethod
    def create(cls, D, M, *, init="he", bias=True, rng=None, dtype="float32"):
        """A layer that makes its own W (D, M) and b (M,); the arguments are those of `Affine.create`."""
        return cls(*matrix_and_bias(cls, D, M, init, bias, rng, dtype))

    def forward(self, x):
        W, b = self.params
        self.x = x
        return ops.affine_forward(rows(x), W, b).reshape(*x.shape[:-1], W.shape[1])

    def backward(self, dout):
        W, (dW, db) = self.params[0], self.grads
        x, dout = rows(self.x), rows(dout)
        if x.dtype == dW.dtype and dout.dtype == dW.dtype:
            dx = ops.affine_backward(dout, x, W, dW, db)[0]
        else:  # a wider operand: computed in the promoted dtype, then cast
            dx, dW[...], db[...] = ops.affine_backward(dout, x, W)
        return dx.reshape(self.x.shape)


class TimeSoftmaxWithLoss(Layer):
    """Softmax and -log(y[t]), the mean over the positions that count -> float. Book 2 ch. 5.

    xs (N, T, V), ts labels (N, T) or targets (N, T, V), of which the largest is the label; labels equal to
    `ignore_label` do not count; nan if none does.
    Exact: no number is added inside the log. backward turns the probabilities into the gradient, in their memory, so
    that it can be called once after each forward.
    """

    ignore_label = -1
    _saved: Any = None

    def forward(self, xs, ts):
        shape = np.shape(xs)
        labels = labels_or_targets(ts, shape, "TimeSoftmaxWithLoss")
        if labels.ndim == 2:
            labels = labels.argmax(axis=1)
        loss, y = ops.softmax_cross_entropy_forward(rows(xs), labels, None, self.ignore_label)
        self._saved = labels, y, shape
        return loss

    @property
    def cache(self):
        """Labels (N * T,), probabilities (N * T, V), what counts (N * T,), (N, T, V); None after backward."""
        if self._saved is None:
            return None
        labels, y, shape = self._saved
        return labels, y, labels != self.ignore_label, shape

    def backward(self, dout=1):
        if self._saved is None:
            raise RuntimeError("TimeSoftmaxWithLoss: backward needs a forward before it, and each time a new one")
        (labels, y, shape), self._saved = self._saved, None
        return ops.softmax_cross_entropy_backward(y, labels, dout, None, self.ignore_label, 0.0, y).reshape(shape)


class TimeSigmoidWithLoss(SigmoidWithLoss):
    """Sigmoid and cross entropy, the mean over all of xs (N, T), ts (N, T) of 0 and 1 -> float. Book 2, `common`."""


class TimeDropout(Drawing, Layer):
    """Inverted dropout: training multiplies by mask / (1 - ratio), evaluation (`train_flg` False) copies. Book 2 ch. 6.

    `rng` (None, a seed or a numpy.random.Generator) supplies one 64-bit key per training pass.
    """

    always_shown = ("dropout_ratio",)
    _mask: Any = None
    _shape: Any = None

    def __init__(self, dropout_ratio=0.5, rng=None):
        super().__init__()
        self.dropout_ratio = checked_ratio(dropout_ratio)
        self.train_flg = True
        self._set_rng(rng)

    @property
    def mask(self):
        """The factor of each element in the last training pass, 0 or 1 / (1 - ratio), float32; None before it."""
        keep = unpack_mask(self._mask, self._shape)
        return None if keep is None else keep * np.float32(self._scale())

    def _scale(self):
        return 1 / (1 - self.dropout_ratio) if self.dropout_ratio < 1 else 0.0

    def forward(self, xs):
        if not self.train_flg:
            return np.array(xs)
        out, self._mask = ops.dropout_forward(xs, self.dropout_ratio, draw_key(self.rng), self._scale())
        self._shape = out.shape
        return out

    def backward(self, dout):
        return ops.dropout_backward(dout, self._mask, self._scale()) if self.train_flg else np.array(dout)
