"""Central differences, as book 1's `common.gradient`."""

import numpy as np


def _numerical_gradient_1d(f, x):
    grad = np.zeros_like(x)
    for i in range(x.size):
        grad[i] = _slope(f, x, i)
    return grad


def numerical_gradient_2d(f, X):
    if X.ndim == 1:
        return _numerical_gradient_1d(f, X)
    grad = np.zeros_like(X)
    for i, row in enumerate(X):
        grad[i] = _numerical_gradient_1d(f, row)
    return grad


def numerical_gradient(f, x):
    grad = np.zeros_like(x)
    for i in np.ndindex(*x.shape):
        grad[i] = _slope(f, x, i)
    return grad


def _slope(f, x, i, h=1e-4):
    value = x[i]
    x[i] = float(value) + h
    above = f(x)
    x[i] = value - h
    below = f(x)
    x[i] = value
    return (above - below) / (2 * h)
