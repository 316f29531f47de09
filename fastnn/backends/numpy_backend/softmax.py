"""Softmax and the losses, on the rows of matrices."""

import math

import numpy as np

from ._common import _result
from .activation import _sigmoid, _softplus
from .affine import affine_backward, affine_forward


def _shifted(x):
    """x minus its row maximum, that is with the largest exponent 0. A row of -inf (or with +inf) becomes NaN."""
    with np.errstate(invalid="ignore"):
        return x - x.max(axis=1, keepdims=True, initial=-np.inf)


def softmax_forward(x, out=None):
    """out = exp(x - max) / sum(exp(x - max)) by row; x (N, V)."""
    y = np.exp(_shifted(x))
    y /= y.sum(axis=1, keepdims=True)
    return _result(y, out)


def softmax_backward(dout, y, dx=None):
    """dx = y * (dout - sum(dout * y)) by row; dout (N, V), y (N, V) the softmax."""
    return _result(y * (dout - (dout * y).sum(axis=1, keepdims=True)), dx)


def log_softmax_forward(x, out=None):
    """out = x - max - log(sum(exp(x - max))) by row; x (N, V)."""
    z = _shifted(x)
    with np.errstate(divide="ignore"):  # V = 0
        return _result(z - np.log(np.exp(z).sum(axis=1, keepdims=True)), out)


def log_softmax_backward(dout, y, dx=None):
    """dx = dout - exp(y) * sum(dout) by row; dout (N, V), y (N, V) the log-softmax."""
    return _result(dout - np.exp(y) * dout.sum(axis=1, keepdims=True), dx)


def _counted_labels(t, classes, weight, ignore_index, dtype):
    """Rows that count, their labels in [0, classes), their weights and the divisor of the loss, the sum of these."""
    rows = np.arange(len(t)) if ignore_index is None else np.flatnonzero(t != ignore_index)
    labels = t[rows]
    if labels.size and not (labels.min() >= 0 and labels.max() < classes):
        raise IndexError(f"labels must lie in [0, {classes})")
    labels = labels.astype(np.int64)
    w = np.ones(len(rows), dtype) if weight is None else weight[labels]
    return rows, labels, w, w.sum(dtype=np.float64)


def _cross_entropy_targets(t, shape, dtype, weight, ignore_index, label_smoothing):
    """Weights q (N, V) and their divisor: the loss is -sum(q * log p) / divisor.

    Labels: q = w[t] * ((1 - s) * onehot(t)) + s / V * w, rows with t == ignore_index are 0; divisor = sum of w[t].
    Targets: q = w * ((1 - s) * t + s / V); divisor = N.   (s: label smoothing; as PyTorch's cross_entropy.)
    """
    N, V = shape
    w = np.ones(V, dtype) if weight is None else weight
    if t.ndim == 2:
        q = w * ((1 - label_smoothing) * t + label_smoothing / max(V, 1))
        return q.astype(dtype, copy=False), N
    rows, labels, chosen, divisor = _counted_labels(t, V, weight, ignore_index, dtype)
    q = np.zeros(shape, dtype)
    if label_smoothing:
        q[rows] = label_smoothing / V * w
    q[rows, labels] += (1 - label_smoothing) * chosen
    return q, divisor


def _only_labels(t, label_smoothing):
    """Whether q has one number a row, so that (N, V) work on it can be saved."""
    return t.ndim == 1 and not label_smoothing


def softmax_cross_entropy_forward(x, t, weight=None, ignore_index=None, label_smoothing=0.0, epsilon=0.0, y=None):
    """loss = -sum(q * log p) / divisor, p = softmax(x) (N, V) -> (loss, y = p).

    t: integer labels (N,), or targets (N, V); q and divisor: see _cross_entropy_targets. Where q is 0 nothing is added,
    even if log p is -inf. epsilon > 0 takes log(p + epsilon), the books' loss. Nothing counted: nan.
    """
    z = _shifted(x)
    e = np.exp(z)
    total = e.sum(axis=1, keepdims=True)
    p = e / total
    if _only_labels(t, label_smoothing):
        rows, labels, q, divisor = _counted_labels(t, x.shape[1], weight, ignore_index, x.dtype)
        z, total, chosen = z[rows, labels], total[rows, 0], p[rows, labels]
    else:
        q, divisor = _cross_entropy_targets(t, x.shape, x.dtype, weight, ignore_index, label_smoothing)
        chosen = p
    with np.errstate(divide="ignore", invalid="ignore"):
        logp = np.log(chosen + epsilon) if epsilon > 0 else z - np.log(total)
        summed = np.where(q == 0, 0, q * logp).sum(dtype=np.float64)
    return 0.0 - float(summed / divisor) if divisor else math.nan, _result(p, y)


def softmax_cross_entropy_backward(y, t, dout=1.0, weight=None, ignore_index=None, label_smoothing=0.0, dx=None):
    """dx = (y * sum(q) - q) * dout / divisor by row, the gradient of the exact loss; y (N, V).

    Rows that do not count are 0, whatever y is.
    """
    if _only_labels(t, label_smoothing):
        rows, labels, q, divisor = _counted_labels(t, y.shape[1], weight, ignore_index, y.dtype)
        scale = np.zeros((len(y), 1), y.dtype)
        scale[rows, 0] = q * float(dout / divisor) if divisor else 0
        d = y * scale
        d[rows, labels] -= scale[rows, 0]
        d[scale[:, 0] == 0] = 0
        return _result(d, dx)
    q, divisor = _cross_entropy_targets(t, y.shape, y.dtype, weight, ignore_index, label_smoothing)
    scale = float(dout / divisor) if divisor else 0.0
    total = q.sum(axis=1, keepdims=True)
    return _result(np.where((total == 0) & (q == 0), y.dtype.type(0), (y * total - q) * scale), dx)


def affine_softmax_cross_entropy(
    x, W, b, t, weight=None, ignore_index=None, label_smoothing=0.0, epsilon=0.0, gradient=True,
    dW=None, db=None, dx=None,
):  # fmt: skip
    """softmax_cross_entropy_forward of x @ W + b and its gradients -> (loss, dx, dW, db); x (N, D), W (D, V), b (V,).

    Three times None without `gradient`; dx is None where False is given for it.
    """
    passes = affine_forward, softmax_cross_entropy_forward, softmax_cross_entropy_backward
    options = weight, ignore_index, label_smoothing
    return _affine_softmax_cross_entropy(passes, x, W, b, t, options, epsilon, gradient, dW, db, dx)


def _affine_softmax_cross_entropy(passes, x, W, b, t, options, epsilon, gradient, dW, db, dx):
    affine, loss_forward, loss_backward = passes
    loss, y = loss_forward(affine(x, W, b), t, *options, epsilon)
    if not gradient:
        return loss, None, None, None
    wanted = dx is not False
    dx, dW, db = affine_backward(loss_backward(y, t, 1.0, *options, y), x, W, dW, db, dx if wanted else None)
    return loss, dx if wanted else None, dW, db


def sigmoid_cross_entropy_forward(x, t, epsilon=0.0, y=None):
    """loss = mean of max(x, 0) - x * t + log(1 + exp(-|x|)); t like x -> (loss, y = sigmoid(x)). Empty: nan.

    epsilon > 0: mean of -t * log(y + epsilon) - (1 - t) * log(1 - y + epsilon), the books' loss.
    """
    p = _sigmoid(x)
    terms = -t * np.log(p + epsilon) - (1 - t) * np.log(1 - p + epsilon) if epsilon > 0 else _softplus(x) - x * t
    return float(terms.sum(dtype=np.float64) / x.size) if x.size else math.nan, _result(p, y)


def sigmoid_cross_entropy_backward(y, t, dout=1.0, dx=None):
    """dx = (y - t) * dout / size; any shape."""
    return _result((y - t) * (float(dout) / max(y.size, 1)), dx)


def squared_error_forward(y, t):
    """Sum of (y - t)^2 as a float; any shape."""
    return float(np.square(y - t).sum(dtype=np.float64))


def squared_error_backward(y, t, scale, dx=None):
    """dx = scale * (y - t); any shape."""
    return _result(float(scale) * (y - t), dx)
