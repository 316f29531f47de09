"""Rows of a table by index, and their gradient."""

import numpy as np

from .. import backends
from ._check import Call


class RowGradient:
    """The gradient of a table W (V, D) by the rows that are not 0: dW[rows] = values; `numpy.asarray` makes it dense.

    rows (U,) int64, each once, and values (U, D) are filled by a layer and read by the optimizers in `ops`, which touch
    these rows of W and of their state only.
    """

    __slots__ = "rows", "shape", "values"

    def __init__(self, shape, dtype):
        self.shape = tuple(shape)
        self.rows = np.empty(0, np.int64)
        self.values = np.empty((0, *self.shape[1:]), dtype)

    @property
    def dtype(self):
        return self.values.dtype

    def __array__(self, dtype=None, copy=None):
        dense = np.zeros(self.shape, self.dtype if dtype is None else dtype)
        dense[self.rows] = self.values
        return dense


def embedding_forward(W, index, out=None):
    """W[index]: W (V, D), index of any shape (up to 15 axes) and integer dtype -> (..., D).

    Raises IndexError, with the index and V, for one outside [0, V): none counts from the end. Book 2 ch. 4.
    """
    result = backends.active.embedding_forward(W, index, out)
    return _embedding_forward(W, index, out) if result is None else result


def _embedding_forward(W, index, out):
    call = Call("embedding_forward")
    (W,) = call.floats(W=W)
    call.ndim(2, W=W)
    index = _indices(call, index, W.shape[0])
    call.check_out("out", out, (*index.shape, W.shape[1]))
    return call.deliver(backends.checked.embedding_forward(W, index), out)


def embedding_backward(dout, index, V, dW=None):
    """Gradient of embedding_forward with respect to W: dout (..., D), index (...) -> dW (V, D), all of it written.

    Rows of equal indices are added in the order of the index. Raises IndexError, with the index and V, for one outside
    [0, V), ValueError for shapes that do not fit and for a V outside [0, 2^31).
    """
    result = backends.active.embedding_backward(dout, index, V, dW)
    return _embedding_backward(dout, index, V, dW) if result is None else result


def _embedding_backward(dout, index, V, dW):
    call = Call("embedding_backward")
    dout, index, V = _gradient_arguments(call, dout, index, V)
    call.check_out("dW", dW, (V, dout.shape[-1]))
    return call.deliver(backends.checked.embedding_backward(dout, index, V), dW)


def embedding_backward_rows(dout, index, V):
    """embedding_backward by the rows that occur -> (rows (U,) int64, values (U, D)): dW[rows] is values, the rest 0.

    Each row occurs once, in the order of its first appearance in index; no (V, D) array is made. Raises as
    embedding_backward.
    """
    result = backends.active.embedding_backward_rows(dout, index, V)
    return _embedding_backward_rows(dout, index, V) if result is None else result


def _embedding_backward_rows(dout, index, V):
    call = Call("embedding_backward_rows")
    return call.deliver(
        backends.checked.embedding_backward_rows(*_gradient_arguments(call, dout, index, V)), None, None
    )


def _gradient_arguments(call, dout, index, V):
    (dout,) = call.floats(dout=dout)
    V = call.whole("V", V)
    index = _indices(call, index, V)
    call.require(
        dout.ndim == index.ndim + 1 and dout.shape[:-1] == index.shape,
        f"dout is {dout.shape} but index is {index.shape}; dout must have one row for each index",
    )
    return dout, index, V


def _indices(call, index, V):
    """As int64; IndexError for one outside [0, V)."""
    if index is None:
        raise call.missing("index")
    index = np.asarray(index)
    if index.size == 0:
        index = index.astype(np.int64)
    if index.dtype.kind not in "iu":
        raise call.error(TypeError, f"index has dtype {index.dtype}; it must be an integer one")
    call.require(index.ndim < 16, f"index is {index.shape}; it may have at most 15 dimensions")
    bad = (index < 0) | (index >= V)
    if bad.any():
        at = np.unravel_index(int(bad.argmax()), index.shape)
        place = f"index[{', '.join(map(str, at))}]" if at else "index"
        raise call.error(IndexError, f"{place} is {index[at]} but W has V = {V} rows; it must lie in [0, {V})")
    return np.require(index, np.int64, ["C_CONTIGUOUS", "ALIGNED"])
