"""Batch, layer and group normalisation."""

import numpy as np

from ._common import _result

# infinities make NaN where they should; a variance of 0 without epsilon is divided by
_silent = np.errstate(invalid="ignore", over="ignore", divide="ignore")


def _mean(x, axes):
    """Mean over the axes (0 where they are empty), in x's dtype, dimensions kept."""
    total = x.sum(axis=axes, dtype=np.float64, keepdims=True)
    return (total / max(x.size // max(total.size, 1), 1)).astype(x.dtype)


def _moments(x, axes):
    """Mean and biased variance over the axes (0 where they are empty), in x's dtype, dimensions kept.

    The mean of a constant is that constant to the last bit. In float32 the sum in float64 sees to that; in float64 what
    rounding did to the sum is added to the mean. Where the mean is not finite the variance is NaN.
    """
    mean = _mean(x, axes)
    if x.dtype == np.float64:
        mean = np.where(np.isfinite(mean), mean + _mean(x - mean, axes), mean)
    return mean, _mean(np.square(x - mean, dtype=np.float64), axes).astype(x.dtype)


def _sum(x, axes):
    return x.sum(axis=axes, dtype=np.float64).astype(x.dtype)


def _batch(x):
    """Axes of the statistics, and the shape in which those broadcast: columns of (N, D), channels of (N, C, ...)."""
    return (0, *range(2, x.ndim)), (1, x.shape[1], *[1] * (x.ndim - 2))


@_silent
def batch_norm_forward(x, gamma, beta, epsilon=1e-6, out=None, mean=None, var=None):
    """out = gamma * (x - mean) / sqrt(var + epsilon) + beta; biased var -> (out, mean, var).

    x (N, D): statistics over N, the books' way; x (N, C, ...): over all but C. The others (D,) or (C,).
    """
    axes, _ = _batch(x)
    m, v = _moments(x, axes)
    var = _result(v.reshape(-1), var)
    mean = _result(m.reshape(-1), mean)
    return batch_norm_inference(x, gamma, beta, mean, var, epsilon, out), mean, var


@_silent
def batch_norm_inference(x, gamma, beta, mean, var, epsilon=1e-6, out=None):
    """out = gamma * (x - mean) / sqrt(var + epsilon) + beta; x (N, D) or (N, C, ...), the others (D,) or (C,)."""
    _, shape = _batch(x)
    scale = gamma / np.sqrt(var + epsilon)
    return _result((x - mean.reshape(shape)) * scale.reshape(shape) + beta.reshape(shape), out)


@_silent
def batch_norm_backward(dout, x, gamma, mean, var, epsilon=1e-6, dx=None, dgamma=None, dbeta=None):
    """Through mean and var: dx = gamma / std * (dout - mean(dout) - xn * mean(dout * xn)), xn = (x - mean) / std.

    dout, x (N, D) or (N, C, ...), the others (D,) or (C,) -> (dx, dgamma = sum(dout * xn), dbeta = sum(dout)).
    """
    axes, shape = _batch(x)
    inverse = (1 / np.sqrt(var + epsilon)).reshape(shape)
    xn = (x - mean.reshape(shape)) * inverse
    d = gamma.reshape(shape) * inverse * (dout - _mean(dout, axes) - xn * _mean(dout * xn, axes))
    dgamma, dbeta = _result(_sum(dout * xn, axes), dgamma), _result(_sum(dout, axes), dbeta)
    return _result(d, dx), dgamma, dbeta  # dx last: it may be dout or x


@_silent
def layer_norm_forward(x, gamma, beta, epsilon=1e-5, out=None, mean=None, rstd=None):
    """out = gamma * (x - mean) * rstd + beta, rstd = 1 / sqrt(var + epsilon), by row -> (out, mean (N,), rstd (N,)).

    x (N, D), gamma and beta (D,); biased variance. Ba, Kiros and Hinton 2016.
    """
    m, var = _moments(x, 1)
    r = 1 / np.sqrt(var + epsilon)
    return _result(gamma * (x - m) * r + beta, out), _result(m[:, 0], mean), _result(r[:, 0], rstd)


@_silent
def layer_norm_backward(dout, x, gamma, mean, rstd, dx=None, dgamma=None, dbeta=None):
    """dx = rstd * (g - mean(g) - xn * mean(g * xn)), g = dout * gamma, xn = (x - mean) * rstd, means by row.

    dout, x (N, D), gamma (D,), mean, rstd (N,) -> (dx, dgamma = sum(dout * xn), dbeta = sum(dout), over N).
    """
    r = rstd[:, None]
    xn, g = (x - mean[:, None]) * r, dout * gamma
    d = r * (g - _mean(g, 1) - xn * _mean(g * xn, 1))
    dgamma, dbeta = _result(_sum(dout * xn, 0), dgamma), _result(_sum(dout, 0), dbeta)
    return _result(d, dx), dgamma, dbeta


def _by_group(x, groups):
    """x (N, C, ...) as (N, groups, C / groups, S), and the shape in which a number a channel broadcasts to it."""
    N, C = x.shape[:2]
    return x.reshape(N, groups, C // groups, -1 if x.size else 0), (1, groups, C // groups, 1)


@_silent
def group_norm_forward(x, gamma, beta, groups, epsilon=1e-5, out=None, mean=None, rstd=None):
    """out = gamma * (x - mean) * rstd + beta, statistics over the channels of a group -> (out, mean, rstd (N, groups)).

    x (N, C, ...), gamma and beta (C,), rstd = 1 / sqrt(biased var + epsilon). Wu and He 2018.
    """
    grouped, shape = _by_group(x, groups)
    m, var = _moments(grouped, (2, 3))
    r = 1 / np.sqrt(var + epsilon)
    y = gamma.reshape(shape) * (grouped - m) * r + beta.reshape(shape)
    return _result(y.reshape(x.shape), out), _result(m[:, :, 0, 0], mean), _result(r[:, :, 0, 0], rstd)


@_silent
def group_norm_backward(dout, x, gamma, groups, mean, rstd, dx=None, dgamma=None, dbeta=None):
    """dx = rstd * (g - mean(g) - xn * mean(g * xn)), g = dout * gamma, xn = (x - mean) * rstd, means by group.

    dout, x (N, C, ...), gamma (C,), mean, rstd (N, groups) -> (dx, dgamma = sum(dout * xn), dbeta = sum(dout), by
    channel).
    """
    (x_, shape), (dout_, _) = _by_group(x, groups), _by_group(dout, groups)
    r = rstd[:, :, None, None]
    xn, g = (x_ - mean[:, :, None, None]) * r, dout_ * gamma.reshape(shape)
    d = r * (g - _mean(g, (2, 3)) - xn * _mean(g * xn, (2, 3)))
    dgamma = _result(_sum(dout_ * xn, (0, 3)).reshape(-1), dgamma)
    dbeta = _result(_sum(dout_, (0, 3)).reshape(-1), dbeta)
    return _result(d.reshape(x.shape), dx), dgamma, dbeta
