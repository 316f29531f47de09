"""What the layers share: parameters and gradients as attributes, masks as bits, shapes."""

import math

import numpy as np

from ..described import Described


class param:
    """Attribute for `params[i]`, None if there is none. Assigning another shape or dtype also renews `grads[i]`."""

    def __init__(self, i):
        self.i = i

    def __get__(self, layer, owner=None):
        return self if layer is None else _at(layer.params, self.i)

    def __set__(self, layer, value):
        layer.params[self.i] = value
        g = layer.grads[self.i]
        if g is not None and (g.shape, g.dtype) != (np.shape(value), gradient_dtype(value)):
            layer.grads[self.i] = layer.gradient_array(value)


class grad:
    """Attribute for `grads[i]`, None if there is none."""

    def __init__(self, i):
        self.i = i

    def __get__(self, layer, owner=None):
        return self if layer is None else _at(layer.grads, self.i)

    def __set__(self, layer, value):
        layer.grads[self.i] = value


def _at(values, i):
    return values[i] if i < len(values) else None


class from_forward:
    """Attribute that forward sets for backward: RuntimeError where there has been no forward."""

    def __get__(self, layer, owner=None):
        if layer is None:
            return self
        raise RuntimeError(f"{type(layer).__name__}: backward needs a forward before it")


def gradient_dtype(p):
    """The dtype of a parameter's gradient: its own, float64 if it is not a floating one."""
    dtype = np.asarray(p).dtype
    return dtype if dtype.kind == "f" else np.dtype(np.float64)


class Layer(Described):
    """A layer without parameters; layers with parameters give them to `__init__`."""

    def __init__(self, *params):
        self.params = list(params)
        self.grads = [self.gradient_array(p) for p in params]

    @staticmethod
    def gradient_array(p):
        """The array that backward fills for parameter `p`, in the memory order of `p`."""
        return np.zeros_like(p, dtype=gradient_dtype(p))

    def _buffers(self, *operands):
        """`grads` for an operation to write into; None for each if an operand has another dtype: cast by `_store`."""
        same = all(getattr(a, "dtype", None) is g.dtype for a in operands for g in self.grads)
        return self.grads if same else [None] * len(self.grads)

    def _store(self, grads):
        """Keep what an operation returned: cast into the arrays of `grads`, unless it wrote into them."""
        for kept, g in zip(self.grads, grads, strict=True):
            if kept is not g:
                kept[...] = g


def need_arrays(layer, **given):
    """TypeError for a size in the place of an array: layers take their weights, they do not make them."""
    for name, value in given.items():
        if value is not None and (np.ndim(value) == 0 or isinstance(value, tuple)):
            raise TypeError(
                f"{type(layer).__name__}: {name} is {value!r}; it must be an array: a layer takes the arrays of its "
                f"weights, not their sizes; {type(layer).__name__}.create makes them from sizes"
            )


def pack_mask(keep):
    """Boolean array -> the bit mask of `ops.relu_forward` (uint8, little-endian bits, padded to a multiple of 8)."""
    mask = np.zeros(8 * -(-keep.size // 64), np.uint8)
    bits = np.packbits(keep.reshape(-1), bitorder="little")
    mask[: bits.size] = bits
    return mask


def unpack_mask(mask, shape):
    """The inverse of `pack_mask` -> boolean array of that shape; None stays None."""
    if mask is None:
        return None
    return np.unpackbits(mask, count=math.prod(shape), bitorder="little").reshape(shape).view(np.bool_)


def private_copy(array, buffer):
    """A copy of `array`, in `buffer` where that fits: the caller may change the array that forward returns."""
    if buffer is None or buffer.shape != array.shape or buffer.dtype is not array.dtype:
        return array.copy()
    buffer[...] = array
    return buffer


def samples(x):
    """x (N, ...) as (N, D); a 1-D x as (1, D)."""
    x = np.asarray(x)
    if x.ndim == 2:
        return x
    return x.reshape(1, -1) if x.ndim < 2 else x.reshape(x.shape[0], math.prod(x.shape[1:]))


def pair(value):
    """A number as (value, value), for the vertical and the horizontal; a pair as a tuple."""
    return value if type(value) is tuple else (value, value) if np.ndim(value) == 0 else tuple(value)
