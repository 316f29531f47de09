"""What the families of the reference share."""

import math

import numpy as np


def _result(value, out=None):
    """`value` itself as an array, or `out` filled with it."""
    if out is None:
        return np.asarray(value)
    out[...] = value
    return out


def _pack_bits(keep, mask=None):
    """Boolean array, n elements -> uint8 array of 8*ceil(n/64) bytes: bit i is element i (C order), padding is 0."""
    packed = np.packbits(keep.reshape(-1), bitorder="little")
    bits = np.zeros(8 * (-(-keep.size // 64)), np.uint8)
    bits[: packed.size] = packed
    return _result(bits, mask)


def _unpack_bits(mask, shape):
    return np.unpackbits(mask, count=math.prod(shape), bitorder="little").reshape(shape).view(np.bool_)
