"""Rows of a table by index, and their gradient, dense or by the rows that occur."""

import numpy as np

from ._common import _result


def embedding_forward(W, index, out=None):
    """out = W[index]; W (V, D), index any shape of any integer dtype in [0, V), out (..., D)."""
    return _result(W[index], out)


def embedding_backward(dout, index, V, dW=None):
    """dW (V, D) = 0, then dW[index[i]] += dout[i] in the order of i; dout (..., D), index (...)."""
    dW = np.zeros((V, dout.shape[-1]), dout.dtype) if dW is None else _result(0, dW)
    np.add.at(dW, index.reshape(-1), dout.reshape(index.size, dout.shape[-1]))
    return dW


def embedding_backward_rows(dout, index, V):
    """The same by the rows that occur -> (rows (U,) int64, values (U, D)): dW[rows] = values, 0 elsewhere.

    Rows come in the order of their first appearance.
    """
    index = index.reshape(-1).astype(np.int64)
    found, first, place = np.unique(index, return_index=True, return_inverse=True)
    order = np.argsort(first)
    place = np.argsort(order)[place]
    return found[order], embedding_backward(dout.reshape(index.size, dout.shape[-1]), place, len(found))
