"""Norm: sums over the columns in float64, a row at a time."""

import numpy as np

from ..numpy_backend import norm as reference
from ._compile import _deliver, _kernel, _plain, _spread, _target


@_kernel
def _column_sums(x):
    s = np.zeros(x.shape[1])
    for i in range(x.shape[0]):
        row = x[i]
        for j in range(row.size):
            s[j] += np.float64(row[j])
    return s


@_kernel
def _column_squares(x, mean):
    s = np.zeros(x.shape[1])
    for i in range(x.shape[0]):
        row = x[i]
        for j in range(row.size):
            d = row[j] - mean[j]
            s[j] += np.float64(d * d)
    return s


@_kernel
def _column_products(dout, x, mean, inverse):
    """(2, D): sums of dout and of dout * (x - mean) * inverse."""
    s = np.zeros((2, x.shape[1]))
    plain, product = s[0], s[1]
    for i in range(x.shape[0]):
        d, row = dout[i], x[i]
        for j in range(row.size):
            plain[j] += np.float64(d[j])
            product[j] += np.float64(d[j] * ((row[j] - mean[j]) * inverse[j]))
    return s


@_kernel
def _normalise(x, out, mean, scale, beta):
    for i in range(x.shape[0]):
        row, y = x[i], out[i]
        for j in range(row.size):
            y[j] = (row[j] - mean[j]) * scale[j] + beta[j]


@_kernel
def _norm_gradient(dout, x, dx, mean, inverse, scale, mean_d, mean_product):
    for i in range(x.shape[0]):
        d, row, out = dout[i], x[i], dx[i]
        for j in range(row.size):
            xn = (row[j] - mean[j]) * inverse[j]
            out[j] = scale[j] * (d[j] - mean_d[j] - xn * mean_product[j])


def batch_norm_forward(x, gamma, beta, epsilon=1e-6, out=None, mean=None, var=None):
    if x.ndim > 2:
        return reference.batch_norm_forward(x, gamma, beta, epsilon, out, mean, var)
    x = _plain(x)
    n = max(len(x), 1)
    m = (sum(_spread(_column_sums, [x])) / n).astype(x.dtype)
    v = (sum(_spread(_column_squares, [x], m)) / n).astype(x.dtype)
    return batch_norm_inference(x, gamma, beta, m, v, epsilon, out), _deliver(m, mean), _deliver(v, var)


def batch_norm_inference(x, gamma, beta, mean, var, epsilon=1e-6, out=None):
    if x.ndim > 2:
        return reference.batch_norm_inference(x, gamma, beta, mean, var, epsilon, out)
    x = _plain(x)
    y = _target(out, x)
    _spread(_normalise, [x, y], _plain(mean), gamma / np.sqrt(var + epsilon), _plain(beta))
    return _deliver(y, out)


def batch_norm_backward(dout, x, gamma, mean, var, epsilon=1e-6, dx=None, dgamma=None, dbeta=None):
    if x.ndim > 2:
        return reference.batch_norm_backward(dout, x, gamma, mean, var, epsilon, dx, dgamma, dbeta)
    dout, x, mean = _plain(dout), _plain(x), _plain(mean)
    d, n = _target(dx, dout, x), max(len(x), 1)
    inverse = 1 / np.sqrt(var + epsilon)
    sums = sum(_spread(_column_products, [dout, x], mean, inverse))
    mean_d, mean_product = (sums / n).astype(x.dtype)
    _spread(_norm_gradient, [dout, x, d], mean, inverse, gamma * inverse, mean_d, mean_product)
    db, dg = sums.astype(x.dtype)
    return _deliver(d, dx), _deliver(dg, dgamma), _deliver(db, dbeta)
