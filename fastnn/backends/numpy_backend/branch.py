"""Where the branches of a network meet and part."""

import numpy as np

from ._common import _result


def add_arrays(a, b, out=None):
    """out = a + b, of one shape; out may be a or b."""
    return _result(np.add(a, b), out)


def concatenate(a, b, out=None):
    """out (N, A + B): the rows of a (N, A) and b (N, B) side by side."""
    return _result(np.concatenate([a, b], axis=1), out)


def split(x, columns, a=None, b=None):
    """The first columns of x (N, C), and the others -> (a (N, columns), b (N, C - columns))."""
    first, second = x[:, :columns].copy(), x[:, columns:].copy()
    return _result(first, a), _result(second, b)
