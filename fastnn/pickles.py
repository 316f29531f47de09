"""The books' weight files: pickles, read without running anything that a pickle may ask for.

A pickle is a program. Here it gets a few tools (make an array, a dtype, a NumPy number) and nothing else, and what it
builds with them is checked. Arrays and dtypes are stand-ins until the end and then made from their parts by us, since
NumPy's own `__setstate__` trusts its input.
"""

import io
import math
import os
import pickle
import pickletools
import re
from collections.abc import Callable
from typing import Any

import numpy as np

_ALLOWED = "only NumPy arrays of numbers, dict, list, tuple, str and numbers are read"
_NUMBERS = re.compile(r"[?bBhHiIlLqQefdgFDG]|b1|[iu][1248]|f(2|4|8|12|16)|c(8|16|24|32)")


def load_pickle(path):
    """What a pickle (protocols 2 to 5) of NumPy arrays, dicts, lists, tuples, strings and numbers holds.

    Reads book 1's sample_weight.pkl and params.pkl, book 2's cbow_params.pkl and Rnnlm.pkl, and what their save_params
    wrote.

    Raises
    ------
    ValueError: the file asks for anything else (the message names it), or is truncated or damaged. None of it was run.
    """
    with open(path, "rb") as file:
        content = file.read()
    try:
        _scan(content)
        return _finished(_Reader(content).load(), {})
    except MemoryError:
        raise
    except _Refused as error:
        reason = str(error)
    except RecursionError:
        reason = "is nested too deeply"
    except Exception as error:  # a damaged pickle can raise nearly anything
        reason = f"is not a whole, valid pickle ({type(error).__name__}: {error})"
    raise ValueError(f"load_pickle: {os.fspath(path)}: {reason}")


def to_pickle(arrays: dict) -> bytes:
    """The bytes of a pickle of {name: array}, for the books' own scripts; `load_pickle` reads it, too."""
    return pickle.dumps(arrays, protocol=4)


class _Refused(Exception):
    """The pickle asks for something that is not on the list."""


def _scan(content: bytes) -> None:
    """Walk over the opcodes without running them: later, a wrong length or memo index would cost memory first."""
    for op, argument, _ in pickletools.genops(content):
        if op.name.startswith("EXT"):
            raise _Refused(f"refuses copyreg extension {argument}; {_ALLOWED}")
        if op.name.endswith("PUT") and int(argument or 0) > len(content):
            raise _Refused(f"is damaged (memo index {argument})")


class _Tool:
    """A function that the pickle may call; unlike a plain one, it has no attributes that a pickle could set."""

    __slots__ = ("function",)
    function: Callable

    def __init__(self, function: Callable) -> None:
        object.__setattr__(self, "function", function)

    def __call__(self, *args):
        return self.function(*args)

    def __setattr__(self, name, value):
        raise _Refused("tries to change a function")

    def __setstate__(self, state):
        raise _Refused("tries to change a function")


class _DType:
    """A dtype: its name, then, as its state, the byte order."""

    __slots__ = ("name", "order")

    def __init__(self, name) -> None:
        if not isinstance(name, str) or not _NUMBERS.fullmatch(name):
            raise _Refused(f"refuses an array or number of dtype {name!r}; {_ALLOWED}")
        self.name = name
        self.order: Any = "="

    def __setstate__(self, state):
        version, order, *parts = state[:5]
        if version != 3 or order not in ("<", ">", "=", "|") or parts != [None, None, None]:
            raise _Refused(f"refuses a dtype with fields; {_ALLOWED}")
        self.order = order

    def real(self) -> np.dtype:
        return np.dtype(self.name).newbyteorder(self.order)


class _Array:
    """An array: nothing, then, as its state, everything."""

    __slots__ = ("_reader", "value")

    def __init__(self, reader) -> None:
        self._reader = reader
        self.value: np.ndarray | None = None

    def __setstate__(self, state):
        if self.value is not None:
            raise _Refused("tries to change an array")
        _, shape, dtype, fortran, content = state
        self.value = self._reader.array(content, dtype, shape, "F" if fortran is True else "C")


class _Reader(pickle.Unpickler):
    """An unpickler that knows these tools and nothing else."""

    def __init__(self, content: bytes) -> None:
        super().__init__(io.BytesIO(content))
        self._budget = 2 * len(content)  # bytes; what a file says is in it, but one buffer can be named very often
        self._ndarray = object()  # only ever an argument of _reconstruct
        self._tools = {
            "numpy.ndarray": self._ndarray,
            "numpy.dtype": _Tool(lambda name, *flags: _DType(name)),
            "_codecs.encode": _Tool(self._encode),  # how protocol 2 writes bytes
        }
        for module in ("__builtin__", "builtins"):  # Python 2's name, which protocol 2 still writes
            self._tools |= {f"{module}.bytes": _Tool(lambda: b""), f"{module}.complex": _Tool(complex)}
        for module in ("numpy.core", "numpy._core"):  # before NumPy 2, and since
            self._tools |= {
                f"{module}.multiarray._reconstruct": _Tool(self._reconstruct),
                f"{module}.multiarray.scalar": _Tool(self._scalar),
                f"{module}.numeric._frombuffer": _Tool(self._frombuffer),
            }

    def find_class(self, module, name):
        try:
            return self._tools[f"{module}.{name}"]
        except KeyError:
            raise _Refused(f"refuses {module}.{name}; {_ALLOWED}") from None

    def array(self, content, dtype, shape, order) -> np.ndarray:
        """The array of these bytes; ValueError if anything does not fit."""
        if type(content) not in (bytes, bytearray) or type(dtype) is not _DType or order not in ("C", "F"):
            raise _Refused(f"refuses an array of objects or text; {_ALLOWED}")
        if type(shape) is not tuple or any(type(n) is not int or n < 0 for n in shape):
            raise _Refused(f"refuses an array of shape {shape!r}")
        real = dtype.real()
        if math.prod(shape) * real.itemsize != len(content):
            raise _Refused(f"is damaged: an array of shape {shape}, dtype {real} has {len(content)} bytes")
        self._spend(len(content))
        if real.kind == "b":
            return np.ndarray(shape, np.uint8, content, order=order).astype(bool)  # as bool, 2 would be undefined
        return np.ndarray(shape, real, content, order=order).copy(order=order)

    def _reconstruct(self, array_class, shape, typecode) -> _Array:
        if array_class is not self._ndarray:
            raise _Refused(f"refuses a subclass of ndarray; {_ALLOWED}")
        return _Array(self)

    def _frombuffer(self, content, dtype, shape, order) -> _Array:
        result = _Array(self)
        result.value = self.array(content, dtype, shape, order)
        return result

    def _scalar(self, dtype, content):
        return self.array(content, dtype, (), "C")[()]

    def _encode(self, text, encoding) -> bytes:
        if encoding != "latin1":
            raise _Refused(f"refuses _codecs.encode to {encoding!r}; {_ALLOWED}")
        self._spend(len(text))
        return text.encode("latin1")

    def _spend(self, count: int) -> None:
        self._budget -= count
        if self._budget < 0:
            raise _Refused("would become larger than the file itself")


def _finished(value, done: dict):
    """`value` with real arrays for the stand-ins, shared objects still shared; refuses whatever is not on the list."""
    kind = type(value)
    if value is None or kind in (str, bool, int, float, complex) or isinstance(value, np.generic):
        return value
    if kind is _DType:
        return value.real()
    if kind is _Array and value.value is not None:
        return value.value
    if kind not in (dict, list, tuple):
        raise _Refused(f"refuses an object of type {kind.__name__.lstrip('_')}; {_ALLOWED}")
    if id(value) not in done:
        done[id(value)] = None  # None: still under way
        if kind is dict:
            done[id(value)] = {_finished(key, done): _finished(item, done) for key, item in value.items()}
        else:
            done[id(value)] = kind(_finished(item, done) for item in value)
    if done[id(value)] is None:
        raise _Refused("contains itself")
    return done[id(value)]
