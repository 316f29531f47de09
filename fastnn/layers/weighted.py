"""A loss whose samples count differently."""

import math
from typing import Any

import numpy as np

from .. import ops
from ..functions import BOOK_EPSILON
from ..targets import check_labels, labels_or_targets, like, rows
from .base import Layer
from .loss import MeanSquaredError, SigmoidWithLoss, SoftmaxCrossEntropy, SoftmaxWithLoss

_OF_CLASSES = SoftmaxWithLoss, SoftmaxCrossEntropy


class WeightedLoss(Layer):
    """A loss with a weight for each sample, step or element: the sum of weight * loss over the sum of the weights.

    loss: SoftmaxWithLoss, SoftmaxCrossEntropy, TimeSoftmaxWithLoss, SigmoidWithLoss, TimeSigmoidWithLoss or
    MeanSquaredError, whose options stay: what it ignores does not count, and class weights of its own multiply. Weights
    that are all equal change nothing, a weight of 2 is the sample twice, one of 0 leaves it out. This is the mean of
    PyTorch's class weights; Keras divides by the number of samples instead.

    `forward(x, t, weight)`: weight (N,), or of more of the leading axes of x (of all but the last, for classes);
    without one, `weight` as it was assigned, or all ones. The loss is nan where nothing counts. In a `Network` it runs
    in Python. Raises TypeError for another loss, ValueError for weights of another shape, negative or not finite.
    """

    weight: Any = None
    _saved: Any = None

    def __init__(self, loss):
        super().__init__()
        self.loss = loss
        _way(loss)

    @property
    def ignore_label(self):
        """The label that does not count, or None."""
        return getattr(self.loss, "ignore_label", None)

    def __repr__(self):
        return f"WeightedLoss({self.loss!r})"

    def forward(self, x, t, weight=None):
        """-> the weighted mean, a float."""
        x = np.asarray(x)
        x = x.astype(np.float64) if x.dtype.kind in "biu" else x
        loss, self._saved = _way(self.loss)(self.loss, x, t, self.weight if weight is None else weight)
        return loss

    def backward(self, dout=1.0):
        """-> dx, like x"""
        if self._saved is None:
            raise RuntimeError("WeightedLoss: backward needs a forward before it")
        kind, shape, *saved = self._saved
        return kind(dout, *saved).reshape(shape)


def takes_weights(loss):
    """Whether `WeightedLoss` knows how to weigh the samples of this loss layer."""
    return _way(loss, None) is not None


def _way(loss, otherwise=TypeError):
    from ..time_layers import TimeSigmoidWithLoss, TimeSoftmaxWithLoss

    ways = {
        **dict.fromkeys([*_OF_CLASSES, TimeSoftmaxWithLoss], _of_classes),
        **dict.fromkeys([SigmoidWithLoss, TimeSigmoidWithLoss], _of_sigmoid),
        MeanSquaredError: _of_squares,
    }
    if type(loss) in ways or otherwise is None:
        return ways.get(type(loss))
    known = ", ".join(cls.__name__ for cls in ways)
    raise otherwise(f"WeightedLoss: loss is a {type(loss).__name__}; samples can be weighted in {known}")


def spread(weight, shape, what="WeightedLoss"):
    """Weights of the leading axes as an array of the whole shape, float64; ones for None.

    ValueError for other axes, and for numbers that are negative or not finite.
    """
    if weight is None:
        return np.ones(shape)
    weight = np.asarray(weight)
    if weight.dtype.kind not in "biuf":
        raise TypeError(f"{what}: the weights have dtype {weight.dtype}; they must be real numbers")
    if not weight.ndim or weight.shape != shape[: weight.ndim]:
        raise ValueError(f"{what}: the weights are {weight.shape} but the losses are {shape}; they must begin alike")
    weight = weight.astype(np.float64)
    if not (np.isfinite(weight) & (weight >= 0)).all():
        raise ValueError(f"{what}: the weights have numbers that are negative or not finite")
    return np.broadcast_to(weight.reshape(*weight.shape, *[1] * (len(shape) - weight.ndim)), shape)


def _of_classes(loss, x, t, weight):
    """Targets that carry the weights: `ops.softmax_cross_entropy_forward` takes any that are not negative."""
    name = type(loss).__name__
    own, ignored, smoothing = getattr(loss, "options", (None, getattr(loss, "ignore_label", None), 0.0))
    scores, V = rows(x), x.shape[-1] if x.ndim else 1
    t = labels_or_targets(t, x.shape or (1,), name)
    if name.startswith("Time") and t.ndim == 2:
        t = t.argmax(axis=1)
    m = spread(weight, x.shape[:-1]).reshape(-1)
    own = np.ones(V) if own is None else np.asarray(own, np.float64)
    if t.ndim == 2:
        q = own * ((1 - smoothing) * t + smoothing / max(V, 1))
        divisor = m
    else:
        check_labels(t, V, name, ignored)
        counts = np.ones(len(t), bool) if ignored is None else t != ignored
        labels = np.where(counts, t, 0).astype(np.int64)
        m = np.where(counts, m, 0.0)
        divisor = m * own[labels]
        q = np.tile(smoothing / max(V, 1) * own, (len(t), 1))
        q[np.arange(len(t)), labels] += (1 - smoothing) * own[labels]
    q = np.where(m[:, np.newaxis] == 0, 0.0, m[:, np.newaxis] * q).astype(scores.dtype, copy=False)
    total = float(divisor.sum())
    mean, y = ops.softmax_cross_entropy_forward(scores, q, None, None, 0.0, getattr(loss, "epsilon", 0.0))
    scale = len(q) / total if total else math.nan
    return mean * scale, (_back_to_scores, x.shape, y, q, scale if total else 0.0)


def _back_to_scores(dout, y, q, scale):
    return ops.softmax_cross_entropy_backward(y, q, dout * scale)


def _of_sigmoid(loss, x, t, weight):
    t = like(x, t)
    y = ops.activation_forward(x, "sigmoid")
    _same_shape(loss, x, t)
    terms = -(t * np.log(y + BOOK_EPSILON) + (1 - t) * np.log(1 - y + BOOK_EPSILON))
    return _mean(terms, y - t, x, weight)


def _of_squares(loss, x, t, weight):
    t = like(x, t)
    _same_shape(loss, x, t)
    return _mean(np.square(x - t), 2 * (x - t), x, weight)


def _same_shape(loss, x, t):
    if x.shape != t.shape:
        raise ValueError(f"{type(loss).__name__}: x is {x.shape} but t is {t.shape}; they must be equal")


def _mean(terms, slopes, x, weight):
    """The weighted mean of terms, whose derivatives by x are slopes."""
    m = spread(weight, x.shape)
    total = float(m.sum())
    loss = float(np.where(m == 0, 0.0, m * terms).sum()) / total if total else math.nan
    dx = np.where(m == 0, 0.0, m / total * slopes) if total else np.zeros(x.shape)
    return loss, (_times, x.shape, dx.astype(x.dtype, copy=False))


def _times(dout, dx):
    return dx * dx.dtype.type(dout)
