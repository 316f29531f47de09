"""Softmax and the losses: a row at a time, while it is in the cache."""

import math

import numpy as np

from ..numpy_backend.softmax import (
    _affine_softmax_cross_entropy,
    _counted_labels,
    _cross_entropy_targets,
    _only_labels,
)
from ._compile import _deliver, _flat, _helper, _kernel, _plain, _reduction, _spread, _target
from ._math import _exp, _log1p, _number
from .activation import activation_forward
from .affine import affine_forward


@_reduction
def _max(row):
    m = _number(row[0], -np.inf) if row.size else row.dtype.type(0)
    for i in range(row.size):
        m = row[i] if row[i] > m else m
    return m


@_reduction
def _sum(row):
    s = row.dtype.type(0)
    for i in range(row.size):
        s += row[i]
    return s


@_reduction
def _dot(a, b):
    s = a.dtype.type(0)
    for i in range(a.size):
        s += a[i] * b[i]
    return s


@_helper
def _exp_of_shifted(row, peak, out):
    for i in range(row.size):
        out[i] = _exp(row[i] - peak)


@_kernel
def _softmax_rows(x, y, peak, total):
    """y = softmax of the rows; peak (N,) their maxima, total (N,) the sums of exp(x - peak)."""
    for i in range(x.shape[0]):
        peak[i] = _max(x[i])
        row = y[i]
        _exp_of_shifted(x[i], peak[i], row)
        total[i] = _sum(row)
        inverse = _number(peak[i], 1.0) / total[i]
        for j in range(row.size):
            row[j] *= inverse


@_kernel
def _log_softmax_rows(x, y):
    e = np.empty(x.shape[1], x.dtype)
    for i in range(x.shape[0]):
        peak, row, out = _max(x[i]), x[i], y[i]
        _exp_of_shifted(row, peak, e)
        log_total = np.log(_sum(e))
        for j in range(row.size):
            out[j] = (row[j] - peak) - log_total


@_kernel
def _softmax_gradient_rows(dout, y, dx):
    for i in range(y.shape[0]):
        d, p, out = dout[i], y[i], dx[i]
        s = _dot(d, p)
        for j in range(p.size):
            out[j] = p[j] * (d[j] - s)


@_kernel
def _log_softmax_gradient_rows(dout, y, dx):
    for i in range(y.shape[0]):
        d, logp, out = dout[i], y[i], dx[i]
        s = _sum(d)
        for j in range(logp.size):
            out[j] = d[j] - _exp(logp[j]) * s


def softmax_forward(x, out=None):
    x = _plain(x)
    y, rows = _target(out, x), np.empty((2, len(x)), x.dtype)
    _spread(_softmax_rows, [x, y, *rows])
    return _deliver(y, out)


def log_softmax_forward(x, out=None):
    x = _plain(x)
    y = _target(out, x)
    _spread(_log_softmax_rows, [x, y])
    return _deliver(y, out)


def softmax_backward(dout, y, dx=None):
    dout, y = _plain(dout), _plain(y)
    d = _target(dx, dout, y)
    _spread(_softmax_gradient_rows, [dout, y, d])
    return _deliver(d, dx)


def log_softmax_backward(dout, y, dx=None):
    dout, y = _plain(dout), _plain(y)
    d = _target(dx, dout, y)
    _spread(_log_softmax_gradient_rows, [dout, y, d])
    return _deliver(d, dx)


@_kernel
def _target_loss_rows(x, q, y, epsilon):
    """y = softmax of the rows -> sum of q * log(y), or of q * log(y + epsilon) if epsilon > 0, where q is not 0."""
    e, summed = np.empty(x.shape[1], x.dtype), 0.0
    eps = x.dtype.type(epsilon)
    for i in range(x.shape[0]):
        peak, row, weights, out = _max(x[i]), x[i], q[i], y[i]
        _exp_of_shifted(row, peak, e)
        total = _sum(e)
        log_total, inverse = np.log(total), _number(total, 1.0) / total
        for j in range(row.size):
            if weights[j] != 0:
                logp = np.log(e[j] * inverse + eps) if eps > 0 else (row[j] - peak) - log_total
                summed += weights[j] * logp
            out[j] = e[j] * inverse
    return summed


@_kernel
def _label_gradient_rows(y, labels, scales, dx):
    for i in range(y.shape[0]):
        p, scale, out = y[i], scales[i], dx[i]
        if scale == 0:  # an ignored row, whatever it holds
            for j in range(p.size):
                out[j] = scale
        else:
            for j in range(p.size):
                out[j] = p[j] * scale
            out[labels[i]] -= scale


@_kernel
def _target_gradient_rows(y, q, dx, scale):
    factor = y.dtype.type(scale)
    for i in range(y.shape[0]):
        p, weights, out = y[i], q[i], dx[i]
        total = _sum(weights)
        for j in range(p.size):
            nothing = total == 0 and weights[j] == 0
            out[j] = _number(total, 0.0) if nothing else (p[j] * total - weights[j]) * factor


def _plain_targets(t, weight, label_smoothing):
    return t.ndim == 2 and weight is None and not label_smoothing


def softmax_cross_entropy_forward(x, t, weight=None, ignore_index=None, label_smoothing=0.0, epsilon=0.0, y=None):
    x = _plain(x)
    p = _target(y, x, *([t] if t.ndim == 2 else []))
    if _only_labels(t, label_smoothing):
        rows, labels, w, divisor = _counted_labels(t, x.shape[1], weight, ignore_index, x.dtype)
        chosen, (peak, total) = x[rows, labels], np.empty((2, len(x)), x.dtype)
        _spread(_softmax_rows, [x, p, peak, total])
        with np.errstate(divide="ignore", invalid="ignore"):
            logp = np.log(p[rows, labels] + epsilon) if epsilon > 0 else chosen - peak[rows] - np.log(total[rows])
            summed = np.where(w == 0, 0, w * logp).sum(dtype=np.float64)
    else:
        q, divisor = (
            (_plain(t), len(x))
            if _plain_targets(t, weight, label_smoothing)
            else _cross_entropy_targets(t, x.shape, x.dtype, weight, ignore_index, label_smoothing)
        )
        summed = sum(_spread(_target_loss_rows, [x, q, p], float(epsilon)))
    return 0.0 - float(summed / divisor) if divisor else math.nan, _deliver(p, y)


def softmax_cross_entropy_backward(y, t, dout=1.0, weight=None, ignore_index=None, label_smoothing=0.0, dx=None):
    y = _plain(y)
    d = _target(dx, y, *([t] if t.ndim == 2 else []))
    if _only_labels(t, label_smoothing):
        rows, labels, w, divisor = _counted_labels(t, y.shape[1], weight, ignore_index, y.dtype)
        scales, places = np.zeros(len(y), y.dtype), np.zeros(len(y), np.int64)
        scales[rows], places[rows] = w * float(dout / divisor) if divisor else 0, labels
        _spread(_label_gradient_rows, [y, places, scales, d])
    else:
        q, divisor = (
            (_plain(t), len(y))
            if _plain_targets(t, weight, label_smoothing)
            else _cross_entropy_targets(t, y.shape, y.dtype, weight, ignore_index, label_smoothing)
        )
        _spread(_target_gradient_rows, [y, q, d], float(dout / divisor) if divisor else 0.0)
    return _deliver(d, dx)


def affine_softmax_cross_entropy(
    x, W, b, t, weight=None, ignore_index=None, label_smoothing=0.0, epsilon=0.0, gradient=True,
    dW=None, db=None, dx=None,
):  # fmt: skip
    passes = affine_forward, softmax_cross_entropy_forward, softmax_cross_entropy_backward
    options = weight, ignore_index, label_smoothing
    return _affine_softmax_cross_entropy(passes, x, W, b, t, options, epsilon, gradient, dW, db, dx)


@_helper
def _sigmoid_loss_terms(x, t, y, terms):
    for i in range(x.size):
        zero, one, e = _number(x[i], 0.0), _number(x[i], 1.0), _exp(-abs(x[i]))
        y[i] = (one if x[i] >= 0 else e) / (one + e)
        terms[i] = (x[i] if x[i] > 0 else zero) - x[i] * t[i] + _log1p(e)


@_reduction
def _sum_in_float64(a):
    s = 0.0
    for i in range(a.size):
        s += np.float64(a[i])
    return s


@_kernel
def _sigmoid_loss(x, t, y):
    """y = sigmoid(x) -> the sum of the losses; 1024 at a time, so that the terms stay in the cache."""
    terms, summed = np.empty(1024, x.dtype), 0.0
    for i in range(0, x.size, 1024):
        n = min(1024, x.size - i)
        _sigmoid_loss_terms(x[i : i + n], t[i : i + n], y[i : i + n], terms)
        summed += _sum_in_float64(terms[:n])
    return summed


def sigmoid_cross_entropy_forward(x, t, epsilon=0.0, y=None):
    if epsilon > 0:
        p = activation_forward(x, "sigmoid")
        loss = -(t * np.log(p + epsilon) + (1 - t) * np.log(1 - p + epsilon)).sum(dtype=np.float64)
    else:
        x, t = _plain(x), _plain(t)
        p = _target(y, x, t)
        loss = sum(_spread(_sigmoid_loss, [x.reshape(-1), t.reshape(-1), p.reshape(-1)]))
    return float(loss / x.size) if x.size else math.nan, _deliver(p, y)


@_kernel
def _scaled_difference(y, t, out, scale):
    factor = y.dtype.type(scale)
    for i in range(y.size):
        out[i] = (y[i] - t[i]) * factor


@_reduction
def _sum_of_squares(y, t):
    s = 0.0
    for i in range(y.size):
        d = np.float64(y[i] - t[i])
        s += d * d
    return s


def squared_error_forward(y, t):
    return float(sum(_spread(_sum_of_squares, [_flat(y), _flat(t)])))


def squared_error_backward(y, t, scale, dx=None):
    y, t = _plain(y), _plain(t)
    d = _target(dx, y, t)
    _spread(_scaled_difference, [y.reshape(-1), t.reshape(-1), d.reshape(-1)], float(scale))
    return _deliver(d, dx)


def sigmoid_cross_entropy_backward(y, t, dout=1.0, dx=None):
    return squared_error_backward(y, t, dout / max(y.size, 1), dx)
