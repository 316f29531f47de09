"""Where the branches of a network meet and part."""

from .. import backends
from ._check import Call


def add_arrays(a, b, out=None):
    """a + b, two arrays of one shape; out may be one of them. Raises ValueError for shapes that differ."""
    result = backends.active.add_arrays(a, b, out)
    return _add_arrays(a, b, out) if result is None else result


def _add_arrays(a, b, out):
    call = Call("add_arrays")
    a, b = call.floats(a=a, b=b)
    call.same_shape(a=a, b=b)
    call.check_out("out", out, a.shape)
    return call.deliver(backends.checked.add_arrays(a, b), out)


def concatenate(a, b, out=None):
    """The rows of a (N, A) and b (N, B) side by side -> (N, A + B). Raises ValueError for shapes that do not fit."""
    result = backends.active.concatenate(a, b, out)
    return _concatenate(a, b, out) if result is None else result


def _concatenate(a, b, out):
    call = Call("concatenate")
    a, b = call.floats(a=a, b=b)
    call.ndim(2, a=a, b=b)
    call.require(len(a) == len(b), f"a is {a.shape} but b is {b.shape}; they must have equally many rows")
    call.check_out("out", out, (len(a), a.shape[1] + b.shape[1]))
    return call.deliver(backends.checked.concatenate(a, b), out)


def split(x, columns, a=None, b=None):
    """The inverse of concatenate: x (N, C) -> (a (N, columns), b (N, C - columns)).

    Raises ValueError for columns outside [0, C].
    """
    result = backends.active.split(x, columns, a, b)
    return _split(x, columns, a, b) if result is None else result


def _split(x, columns, a, b):
    call = Call("split")
    (x,) = call.floats(x=x)
    call.ndim(2, x=x)
    columns = call.whole("columns", columns)
    call.require(0 <= columns <= x.shape[1], f"columns is {columns} but x is {x.shape}")
    call.check_out("a", a, (len(x), columns))
    call.check_out("b", b, (len(x), x.shape[1] - columns))
    return call.deliver(backends.checked.split(x, columns), a, b)
