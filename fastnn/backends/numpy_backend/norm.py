"""Batch normalisation."""

import numpy as np

from ._common import _result


def _mean(x):
    """Mean over the first axis (0 where that is empty), in x's dtype."""
    return (x.sum(axis=0, dtype=np.float64) / max(x.shape[0], 1)).astype(x.dtype)


def batch_norm_forward(x, gamma, beta, epsilon=1e-6, out=None, mean=None, var=None):
    """out = gamma * (x - mean) / sqrt(var + epsilon) + beta; x (N, D), biased var (D,) -> (out, mean, var)."""
    mean = _result(_mean(x), mean)
    var = _result(_mean(np.square(x - mean)), var)
    return batch_norm_inference(x, gamma, beta, mean, var, epsilon, out), mean, var


def batch_norm_inference(x, gamma, beta, mean, var, epsilon=1e-6, out=None):
    """out = gamma * (x - mean) / sqrt(var + epsilon) + beta; x (N, D), the others (D,)."""
    return _result((x - mean) * (gamma / np.sqrt(var + epsilon)) + beta, out)


def batch_norm_backward(dout, x, gamma, mean, var, epsilon=1e-6, dx=None, dgamma=None, dbeta=None):
    """Through mean and var: dx = gamma / std * (dout - mean(dout) - xn * mean(dout * xn)), xn = (x - mean) / std.

    dout, x (N, D), the others (D,) -> (dx, dgamma = sum(dout * xn), dbeta = sum(dout)).
    """
    inverse = 1 / np.sqrt(var + epsilon)
    xn = (x - mean) * inverse
    d = gamma * inverse * (dout - _mean(dout) - xn * _mean(dout * xn))
    dgamma = _result((dout * xn).sum(axis=0, dtype=np.float64).astype(x.dtype), dgamma)
    dbeta = _result(dout.sum(axis=0, dtype=np.float64).astype(x.dtype), dbeta)
    return _result(d, dx), dgamma, dbeta
