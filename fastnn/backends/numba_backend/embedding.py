"""Rows of a table by index: one loop each, on one thread, since two might add to the same row."""

import numpy as np

from ._compile import _deliver, _kernel, _plain, _target


@_kernel
def _gather(W, index, out):
    for i in range(index.size):
        for j in range(W.shape[1]):
            out[i, j] = W[index[i], j]


@_kernel
def _add_rows(dout, index, dW):
    for i in range(index.size):
        for j in range(dW.shape[1]):
            dW[index[i], j] += dout[i, j]


@_kernel
def _number_rows(index, V, rows, slot):
    """slot[i] of index[i], rows[slot] = index, numbered by first appearance -> how many rows there are."""
    place = np.full(V, -1)
    count = 0
    for i in range(index.size):
        k = index[i]
        if place[k] < 0:
            place[k] = count
            rows[count] = k
            count += 1
        slot[i] = place[k]
    return count


def _indices(index):
    return np.require(index, np.int64, "CAW").reshape(-1)


def embedding_forward(W, index, out=None):
    result = _target(out, np.empty((*index.shape, W.shape[1]), W.dtype), W)
    _gather(_plain(W), _indices(index), result.reshape(index.size, W.shape[1]))
    return _deliver(result, out)


def embedding_backward(dout, index, V, dW=None):
    D = dout.shape[-1]
    result = _target(dW, np.empty((V, D), dout.dtype), dout)
    result[...] = 0
    _add_rows(_plain(dout).reshape(index.size, D), _indices(index), result)
    return _deliver(result, dW)


def embedding_backward_rows(dout, index, V):
    index, D = _indices(index), dout.shape[-1]
    rows, slot = np.empty_like(index), np.empty_like(index)
    count = _number_rows(index, V, rows, slot)
    values = np.zeros((count, D), dout.dtype)
    _add_rows(_plain(dout).reshape(index.size, D), slot, values)
    return rows[:count].copy(), values
