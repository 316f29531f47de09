"""Norm: sums over the columns in float64, a row at a time."""

import numpy as np

from ..numpy_backend.norm import _silent
from ._compile import _deliver, _formula, _kernel, _plain, _spread, _summation, _target

# Moments: sums of x - shift and of (x - mean)^2 in float64. The shift is the first number where that is finite, so that
# the mean of a constant is that constant to the last bit.


@_kernel
def _column_sums(x, shift):
    s = np.zeros(x.shape[1])
    for i in range(x.shape[0]):
        row = x[i]
        for j in range(row.size):
            s[j] += np.float64(row[j]) - shift[j]
    return s


@_kernel
def _column_squares(x, mean):
    s = np.zeros(x.shape[1])
    for i in range(x.shape[0]):
        row = x[i]
        for j in range(row.size):
            d = np.float64(row[j]) - np.float64(mean[j])
            s[j] += d * d
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


# ---- rows (R, S) with a number of each vector (R,): channels of images are N * C rows ------------------------------


@_summation
def _total(row):
    s = 0.0
    for j in range(row.size):
        s += np.float64(row[j])
    return s


@_formula
def _difference(a, b):
    """a - b in float64, which a sum may not take apart (sum(a) - n * b would lose the digits that b saves)."""
    return np.float64(a) - np.float64(b)


@_summation
def _total_from(row, shift):
    s = 0.0
    for j in range(row.size):
        s += _difference(row[j], shift)
    return s


@_summation
def _total_of_squares(row, mean):
    s = 0.0
    for j in range(row.size):
        d = _difference(row[j], mean)
        s += d * d
    return s


@_summation
def _total_of_products(d, row, mean):
    s = 0.0
    for j in range(row.size):
        s += np.float64(d[j] * (row[j] - mean))
    return s


@_kernel
def _row_sums(x, shift, to):
    for i in range(x.shape[0]):
        to[i] = _total_from(x[i], shift[i])


@_kernel
def _row_squares(x, mean, to):
    for i in range(x.shape[0]):
        to[i] = _total_of_squares(x[i], mean[i])


@_kernel
def _row_products(dout, x, mean, inverse, to):
    """to (R, 2): sums of dout and of dout * (x - mean) * inverse."""
    for i in range(x.shape[0]):
        to[i, 0] = _total(dout[i])
        # of no numbers 0, not 0 times an infinite inverse
        to[i, 1] = _total_of_products(dout[i], x[i], mean[i]) * np.float64(inverse[i]) if x.shape[1] else 0.0


@_kernel
def _normalise_rows(x, out, mean, scale, beta):
    for i in range(x.shape[0]):
        row, y = x[i], out[i]
        m, k, b = mean[i], scale[i], beta[i]
        for j in range(row.size):
            y[j] = (row[j] - m) * k + b


@_kernel
def _row_gradients(dout, x, dx, mean, scale, gamma, shift, factor):
    """dx = scale * (gamma * dout - shift - (x - mean) * factor)."""
    for i in range(x.shape[0]):
        d, row, out = dout[i], x[i], dx[i]
        m, k, g, b, a = mean[i], scale[i], gamma[i], shift[i], factor[i]
        for j in range(row.size):
            out[j] = k * (g * d[j] - b - (row[j] - m) * a)


@_kernel
def _layer_normalise(x, out, gamma, beta, mean, rstd):
    for i in range(x.shape[0]):
        row, y = x[i], out[i]
        m, r = mean[i], rstd[i]
        for j in range(row.size):
            y[j] = (row[j] - m) * r * gamma[j] + beta[j]


@_kernel
def _layer_gradients(dout, x, dx, gamma, mean, rstd, weighted):
    """-> (2, D): sums of dout * xn and of dout over the rows; weighted: memory for a row."""
    sums = np.zeros((2, x.shape[1]))
    for i in range(x.shape[0]):
        d, row, out = dout[i], x[i], dx[i]
        m, r = mean[i], rstd[i]
        for j in range(row.size):
            weighted[j] = d[j] * gamma[j]
            sums[0, j] += np.float64(d[j] * ((row[j] - m) * r))
            sums[1, j] += np.float64(d[j])
        n = max(row.size, 1)
        b = x.dtype.type(_total(weighted) / n)
        a = x.dtype.type(_total_of_products(weighted, row, m) / n) * r * r
        for j in range(row.size):
            out[j] = (weighted[j] - b - (row[j] - m) * a) * r
    return sums


def _rows(x):
    """(N, C, ...) as (N * C, S)."""
    return x.reshape(x.shape[0] * x.shape[1], -1 if x.size else 0)


def _filled(kernel, *arrays, width=()):
    """What a kernel writes into its last argument, float64 (R, *width)."""
    to = np.empty((len(arrays[0]), *width))
    _spread(kernel, [*arrays, to])
    return to


def _mean(sums, first, count, dtype):
    """Means of `count` numbers; sums(shift) are those of x - shift, `first` one of the numbers.

    In float64 rounding shows: the differences from this mean are added up once more.
    """
    mean = first.astype(np.float64)
    for _ in range(2 if dtype == np.float64 else 1):
        shift = np.where(np.isfinite(mean), mean, 0)
        mean = shift + sums(shift) / count
    return mean.astype(dtype)


def _group_moments(rows, x, groups):
    """mean and var (N, groups) of the rows of a group, in x's dtype."""
    N, C = x.shape[:2]
    count = max(C // groups * rows.shape[1], 1)

    def by_group(kernel, centre):
        return _filled(kernel, rows, _by_row(centre, C, groups)).reshape(N, groups, C // groups).sum(axis=2)

    first = x.reshape(N, groups, -1)[:, :, 0] if x.size else np.zeros((N, groups), x.dtype)
    mean = _mean(lambda shift: by_group(_row_sums, shift), first, count, x.dtype)
    return mean, (by_group(_row_squares, mean) / count).astype(x.dtype)


def _by_row(a, C, groups):
    """A number a group (N, groups) as one a row (N * C,)."""
    return np.repeat(a.reshape(-1), C // groups)


def _channel_moments(rows, x):
    """mean and var (C,) of the rows of a channel."""
    N, C = x.shape[:2]
    count = max(N * rows.shape[1], 1)

    def by_channel(kernel, centre):
        return _filled(kernel, rows, np.tile(centre, N)).reshape(N, C).sum(axis=0)

    first = x.reshape(N, C, -1)[0, :, 0] if x.size else np.zeros(C)
    mean = _mean(lambda shift: by_channel(_row_sums, shift), first, count, x.dtype)
    return mean, (by_channel(_row_squares, mean) / count).astype(x.dtype)


@_silent
def batch_norm_forward(x, gamma, beta, epsilon=1e-6, out=None, mean=None, var=None):
    x = _plain(x)
    if x.ndim == 2:
        n, first = max(len(x), 1), x[0] if len(x) else np.zeros(x.shape[1])
        m = _mean(lambda shift: sum(_spread(_column_sums, [x], shift)), first, n, x.dtype)
        v = (sum(_spread(_column_squares, [x], m)) / n).astype(x.dtype)
    else:
        m, v = _channel_moments(_rows(x), x)
    return batch_norm_inference(x, gamma, beta, m, v, epsilon, out), _deliver(m, mean), _deliver(v, var)


@_silent
def batch_norm_inference(x, gamma, beta, mean, var, epsilon=1e-6, out=None):
    x = _plain(x)
    y, scale = _target(out, x), gamma / np.sqrt(var + epsilon)
    if x.ndim == 2:
        _spread(_normalise, [x, y], _plain(mean), scale, _plain(beta))
    else:
        _spread(_normalise_rows, [_rows(x), _rows(y), *(np.tile(a, len(x)) for a in (mean, scale, beta))])
    return _deliver(y, out)


@_silent
def batch_norm_backward(dout, x, gamma, mean, var, epsilon=1e-6, dx=None, dgamma=None, dbeta=None):
    dout, x, mean = _plain(dout), _plain(x), _plain(mean)
    d, N = _target(dx, dout, x), len(x)
    inverse = 1 / np.sqrt(var + epsilon)
    scale = gamma * inverse
    if x.ndim == 2:
        sums = sum(_spread(_column_products, [dout, x], mean, inverse))
        mean_d, mean_product = (sums / max(N, 1)).astype(x.dtype)
        _spread(_norm_gradient, [dout, x, d], mean, inverse, scale, mean_d, mean_product)
    else:
        rows, dout_rows, m = _rows(x), _rows(dout), np.tile(mean, N)
        products = _filled(_row_products, dout_rows, rows, m, np.tile(inverse, N), width=(2,))
        sums = products.reshape(N, x.shape[1], 2).sum(axis=0).T
        mean_d, mean_product = (sums / max(N * rows.shape[1], 1)).astype(x.dtype)
        numbers = scale, np.ones_like(scale), mean_d, inverse * mean_product
        _spread(_row_gradients, [dout_rows, rows, _rows(d), m, *(np.tile(a, N) for a in numbers)])
    db, dg = sums.astype(x.dtype)
    return _deliver(d, dx), _deliver(dg, dgamma), _deliver(db, dbeta)


@_silent
def layer_norm_forward(x, gamma, beta, epsilon=1e-5, out=None, mean=None, rstd=None):
    x = _plain(x)
    y, n = _target(out, x), max(x.shape[1], 1)
    m = _mean(lambda shift: _filled(_row_sums, x, shift), x[:, 0] if x.size else np.zeros(len(x)), n, x.dtype)
    r = 1 / np.sqrt((_filled(_row_squares, x, m) / n).astype(x.dtype) + epsilon)
    if x.shape[0]:
        _spread(_with_gamma, [x, y, m, r], _plain(gamma), _plain(beta))
    return _deliver(y, out), _deliver(m, mean), _deliver(r, rstd)


def _with_gamma(x, out, mean, rstd, gamma, beta):
    _layer_normalise(x, out, gamma, beta, mean, rstd)


@_silent
def layer_norm_backward(dout, x, gamma, mean, rstd, dx=None, dgamma=None, dbeta=None):
    dout, x = _plain(dout), _plain(x)
    d = _target(dx, dout, x)
    sums = sum(_spread(_gradients_with_gamma, [dout, x, d, _plain(mean), _plain(rstd)], _plain(gamma)))
    dg, db = sums.astype(x.dtype)
    return _deliver(d, dx), _deliver(dg, dgamma), _deliver(db, dbeta)


def _gradients_with_gamma(dout, x, dx, mean, rstd, gamma):
    return _layer_gradients(dout, x, dx, gamma, mean, rstd, np.empty_like(gamma))


@_silent
def group_norm_forward(x, gamma, beta, groups, epsilon=1e-5, out=None, mean=None, rstd=None):
    x = _plain(x)
    (N, C), rows, y = x.shape[:2], _rows(x), _target(out, x)
    m, v = _group_moments(rows, x, groups)
    r = 1 / np.sqrt(v + epsilon)
    scale = np.tile(gamma, N) * _by_row(r, C, groups)
    _spread(_normalise_rows, [rows, _rows(y), _by_row(m, C, groups), scale, np.tile(beta, N)])
    return _deliver(y, out), _deliver(m, mean), _deliver(r, rstd)


@_silent
def group_norm_backward(dout, x, gamma, groups, mean, rstd, dx=None, dgamma=None, dbeta=None):
    dout, x = _plain(dout), _plain(x)
    (N, C), d = x.shape[:2], _target(dx, dout, x)
    rows, dout_rows = _rows(x), _rows(dout)
    m, r = _by_row(mean, C, groups), _by_row(rstd, C, groups)
    products = _filled(_row_products, dout_rows, rows, m, r, width=(2,)).reshape(N, C, 2)
    db, dg = products.sum(axis=0).T.astype(x.dtype)
    count = max(C // groups * rows.shape[1], 1)
    weighted = (products * gamma[:, None]).reshape(N, groups, C // groups, 2).sum(axis=2) / count
    shift, factor = (_by_row(weighted[:, :, k].astype(x.dtype), C, groups) for k in (0, 1))
    _spread(_row_gradients, [dout_rows, rows, _rows(d), m, r, np.tile(gamma, N), shift, factor * r])
    return _deliver(d, dx), _deliver(dg, dgamma), _deliver(db, dbeta)
