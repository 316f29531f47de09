"""The slow path of every operation: convert once, check once, explain; then the `checked` backend table is called.

Fast path: ``result = backends.active.<op>(...)``. Only when that is None do these functions run.
"""

import math

import numpy as np

from ..targets import check_labels
from ._bounds import bounded, bounded_whole

_COMPUTED = (np.dtype(np.float32), np.dtype(np.float64))


class Call:
    """One call of operation `op` that the fast path declined."""

    def __init__(self, op: str) -> None:
        self.op = op
        self.dtype = np.dtype(np.float64)  # of the result

    def error(self, kind: type[Exception], message: str) -> Exception:
        return kind(f"{self.op}: {message}")

    def require(self, condition, message: str) -> None:
        """ValueError, with the operation's name, unless the condition holds."""
        if not condition:
            raise self.error(ValueError, message)

    def missing(self, name: str) -> Exception:
        """TypeError for None where an array must be; in a layer's backward what its forward would have kept is None."""
        hint = " (a layer's backward needs a forward before it)" if "_backward" in self.op else ""
        return self.error(TypeError, f"{name} is None; it must be an array{hint}")

    def array(self, name: str, value) -> np.ndarray:
        """As an array of real numbers; TypeError for None, complex, object, text and extended precision."""
        try:
            array = np.asarray(value)
        except ValueError as error:  # a ragged list
            raise self.error(TypeError, f"{name} is not an array of numbers ({error})") from None
        if array.dtype.kind == "O" and array.size == 1 and array.item() is None:
            raise self.missing(name)
        if array.dtype.kind not in "biuf" or array.dtype.itemsize > 8:
            raise self.error(
                TypeError, f"{name} has dtype {array.dtype}; float32, float64 or a dtype that converts to them"
            )
        return array

    def floats(self, optional: tuple = (), **values) -> list:
        """Arguments as C-contiguous arrays of the one dtype that is computed in; those of `optional` may be None.

        The result dtype (`self.dtype`) is NumPy's promotion of the operands, float64 when all are integers; float16
        is computed in float32.
        """
        for name, value in values.items():
            if value is None and name not in optional:
                raise self.missing(name)
        given = [value for value in values.values() if value is not None]
        dtype = getattr(given[0], "dtype", None)
        if dtype in _COMPUTED and all(
            type(a) is np.ndarray and a.dtype == dtype and a.flags.c_contiguous and a.flags.aligned for a in given
        ):  # nothing to convert: the common case of the numba and numpy backends
            self.dtype = dtype
            return list(values.values())
        arrays = {name: self.array(name, value) for name, value in values.items() if value is not None}
        promoted = np.result_type(*(a.dtype for a in arrays.values()))
        self.dtype = promoted if promoted.kind == "f" else np.dtype(np.float64)
        compute = self.dtype.newbyteorder("=") if self.dtype.newbyteorder("=") in _COMPUTED else np.dtype(np.float32)
        self.dtype = self.dtype.newbyteorder("=")
        return [
            None if values[name] is None else np.require(arrays[name], compute, ["C_CONTIGUOUS", "ALIGNED"])
            for name in values
        ]

    def ndim(self, n: int, **arrays) -> None:
        for name, a in arrays.items():
            self.require(a.ndim == n, f"{name} is {a.shape}; it must have {n} dimension{'s' * (n != 1)}")

    def same_shape(self, **arrays) -> None:
        (first, a), *rest = arrays.items()
        for name, b in rest:
            self.require(a.shape == b.shape, f"{first} is {a.shape} but {name} is {b.shape}; they must be equal")

    def kind(self, kind) -> None:
        """A name of ACTIVATIONS."""
        from ..backends.numpy_backend import ACTIVATIONS

        if kind not in ACTIVATIONS:
            raise self.error(ValueError, f"activation {kind!r} is not one of {', '.join(ACTIVATIONS)}")

    def labels(self, t, n: int, classes: int, ignore_index=None) -> np.ndarray:
        """Labels as int64 (n,); IndexError for one outside [0, classes) that is not ignore_index."""
        self.require(t.shape == (n,), f"t is {t.shape} but x has {n} rows; labels must have shape ({n},)")
        check_labels(t, classes, self.op, ignore_index)
        return np.require(t, np.int64, ["C_CONTIGUOUS", "ALIGNED"])

    def whole(self, name: str, value) -> int:
        """As an int, in the argument's interval of `_bounds`."""
        return bounded_whole(self.op, name, value)

    def number(self, name: str, value) -> float:
        """As a float, in the argument's interval of `_bounds`."""
        return bounded(self.op, name, value)

    def mask_shape(self, n: int) -> tuple[int]:
        """Shape of the bit mask of n elements: whole 64-bit words."""
        return (8 * math.ceil(n / 64),)

    def mask(self, mask, n: int) -> np.ndarray:
        """A bit mask for n elements, as relu_forward makes it."""
        if mask is None:
            raise self.missing("mask")
        mask, shape = np.asarray(mask), self.mask_shape(n)
        if mask.dtype != np.uint8 or mask.shape != shape:
            raise self.error(
                TypeError if mask.dtype != np.uint8 else ValueError,
                f"mask is {mask.dtype} {mask.shape}; for {n} elements it must be uint8 {shape}",
            )
        return mask.copy()  # new memory is contiguous and word-aligned

    def check_out(self, name: str, out, shape: tuple, dtype=None) -> None:
        """An output that the caller gave: an ndarray of the result's shape and dtype that may be written."""
        if out is None:
            return
        dtype = self.dtype if dtype is None else np.dtype(dtype)
        if not isinstance(out, np.ndarray):
            raise self.error(TypeError, f"{name} is a {type(out).__name__}; it must be an ndarray")
        if out.dtype != dtype:
            raise self.error(TypeError, f"{name} has dtype {out.dtype} but the result is {dtype}")
        self.require(out.shape == shape, f"{name} is {out.shape} but the result is {shape}")
        self.require(out.flags.writeable, f"{name} is read-only")

    def taken(self, result):
        """The result of a call with checked arguments, which no backend declines."""
        if result is None:
            raise self.error(RuntimeError, "the backend declined arguments that were checked; please report this")
        return result

    def deliver(self, result, *outs):
        """The result(s) in the promised dtype, copied into the caller's arrays where given (whatever they overlap)."""
        self.taken(result)
        single = not isinstance(result, tuple)
        results = (result,) if single else result
        done = []
        for value, out in zip(results, outs, strict=True):
            if isinstance(value, np.ndarray) and value.dtype.kind == "f":
                value = value.astype(self.dtype, copy=False)
            if out is not None:
                out[...] = value
                value = out
            done.append(value)
        return done[0] if single else tuple(done)
