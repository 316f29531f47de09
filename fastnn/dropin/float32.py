"""`--float32`: operations with their float64 arguments cast, so that networks in float64 compute in float32."""

import contextlib
import functools
import sys
import threading

import numpy as np

from fastnn import backends, ops
from fastnn.compat import notice

_FLOAT32 = np.dtype(np.float32)
_OPTIMIZERS = "grads", "arrays", "state"  # first or second arguments: parameters and random states keep their dtype
# Output arguments that layers give in float64, by name; and the results where these come in another order, or where the
# name is an input elsewhere.
_OUTPUTS = {
    "out",
    "dx",
    "dW",
    "db",
    "dgamma",
    "dbeta",
    "dWx",
    "dWh",
    "dh0",
    "dc0",
    "dpeephole",
    "db_h",
    "dq",
    "dk",
    "dv",
}
_RESULTS = {
    "affine_backward": ["dx", "dW", "db"],
    "affine_softmax_cross_entropy": ["loss", "dx", "dW", "db"],
    "softmax_cross_entropy_forward": ["loss", "y"],
    "sigmoid_cross_entropy_forward": ["loss", "y"],
    "split": ["a", "b"],
}


class _Thread(threading.local):
    suspended = False


_thread = _Thread()


@contextlib.contextmanager
def suspended():
    """In this thread nothing is cast."""
    before, _thread.suspended = _thread.suspended, True
    try:
        yield
    finally:
        _thread.suspended = before


def in_float64(function):
    """A numerical gradient without casts: steps of 1e-4 are lost in the rounding of float32."""

    @functools.wraps(function)
    def numerical_gradient(*args):
        if not _said:
            _said.append(function)
            print(
                "fastnn: --float32: numerical gradients are computed in float64, those of backward in float32; they "
                "differ by the rounding of float32, about 1e-7 of the largest",
                file=sys.stderr,
            )
        with suspended():
            return function(*args)

    return numerical_gradient


_said: list = []  # once in a process is enough


def install() -> dict:
    """Put the casting functions into `fastnn.ops` -> what was there."""
    notice.casting = lambda: not _thread.suspended
    before = {}
    for op, signature in backends.OPS.items():
        names = list(signature.parameters)
        if not set(_OPTIMIZERS) & set(names[:3]):
            before[op] = getattr(ops, op)
            setattr(ops, op, _cast(before[op], names, _RESULTS.get(op)))
    return before


def remove(before: dict) -> None:
    notice.casting = None
    _said.clear()
    for op, function in before.items():
        setattr(ops, op, function)


def _cast(function, names, results):
    results = results or [name for name in names if name in _OUTPUTS]
    is_result = [name in results for name in names]

    def cast(*args, **named):
        if _thread.suspended:
            return function(*args, **named)
        given = {}  # output arguments in float64: the results are copied into them
        values = list(args)
        for i, a in enumerate(args):
            if type(a) is np.ndarray and a.dtype.char == "d" and a.ndim:
                if is_result[i]:
                    given[names[i]], values[i] = a, None
                else:
                    values[i] = a.astype(_FLOAT32)
        for name, a in named.items():
            if type(a) is np.ndarray and a.dtype.char == "d" and a.ndim:
                if name in results:
                    given[name], named[name] = a, None
                else:
                    named[name] = a.astype(_FLOAT32)
        made = function(*values, **named)
        if not given:
            return made
        several = isinstance(made, tuple)
        filled = [
            _filled(given[name], value) if name in given else value
            for name, value in zip(results, made if several else (made,), strict=False)
        ]
        return tuple(filled) if several else filled[0]

    return cast


def _filled(array, value):
    array[...] = value
    return array
