"""Matrix product and the fully connected layer."""

import numpy as np

from ._common import _result
from .activation import activation_forward


def matmul(a, b, out=None):
    """out = a @ b; a (M, K), b (K, N), out (M, N), or all with one more axis before. Transposed views are welcome."""
    return np.matmul(a, b, out=out)


def affine_forward(x, W, b, activation="identity", alpha=0.0, out=None):
    """out = activation(x @ W + b); x (N, D), W (D, M), b (M,) or None, out (N, M)."""
    out = np.matmul(x, W, out=out)
    if b is not None:
        out += b
    return out if activation == "identity" else activation_forward(out, activation, alpha, out)


def affine_backward(dout, x, W, dW=None, db=None, dx=None):
    """dx = dout @ W.T, dW = x.T @ dout, db = sum of dout over N; dout (N, M), x (N, D), W (D, M) -> (dx, dW, db)."""
    dW = np.matmul(x.T, dout, out=dW)
    db = _result(dout.sum(axis=0, dtype=np.float64).astype(dout.dtype), db)
    return np.matmul(dout, W.T, out=dx), dW, db
