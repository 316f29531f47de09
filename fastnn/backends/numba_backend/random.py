"""Random."""

import math

import numpy as np

from ..numpy_backend._common import _pack_bits, _result
from ._compile import _deliver, _helper, _kernel, _plain, _spread, _target
from .activation import _bits


@_helper
def _philox_words(block, key0, key1, words):
    """words[4 i .. 4 i + 3] = Philox4x32-10 of counter block + i."""
    low, shift = np.uint64(0xFFFFFFFF), np.uint64(32)
    for i in range(words.size // 4):
        counter = block + np.uint64(i)
        c0, c1, c2, c3 = counter & low, counter >> shift, np.uint64(0), np.uint64(0)
        k0, k1 = key0, key1
        for _ in range(10):
            p0, p1 = c0 * np.uint64(0xD2511F53), c2 * np.uint64(0xCD9E8D57)
            c0, c1, c2, c3 = (p1 >> shift) ^ c1 ^ k0, p1 & low, (p0 >> shift) ^ c3 ^ k1, p0 & low
            k0, k1 = (k0 + np.uint64(0x9E3779B9)) & low, (k1 + np.uint64(0xBB67AE85)) & low
        words[4 * i] = c0
        words[4 * i + 1] = c1
        words[4 * i + 2] = c2
        words[4 * i + 3] = c3


@_kernel
def _dropout(x, out, kept, first, threshold, key0, key1, scale):
    """first: the index of x[0] in the whole array, a multiple of 4."""
    words, factor, zero = np.empty(1024, np.uint32), x.dtype.type(scale), x.dtype.type(0)
    for i in range(0, x.size, 1024):
        n = min(1024, x.size - i)
        _philox_words(np.uint64((first + i) // 4), key0, key1, words)
        a, b, c = x[i : i + n], out[i : i + n], kept[i : i + n]
        for j in range(n):
            keep = (words[j] >> np.uint32(8)) >= threshold
            c[j] = keep
            b[j] = a[j] * (factor if keep else zero)


def _dropout_piece(x, out, kept, places, *numbers):
    _dropout(x, out, kept, places.start, *numbers)


@_kernel
def _legacy_kept(kept, ratio, state):
    """kept[i] = whether the i-th double of MT19937 is > ratio; `state` (625,) is moved on."""
    position = state[624]
    for i in range(kept.size):
        a = b = np.uint32(0)
        for _ in range(2):
            if position == 624:
                position = np.uint32(0)
                for k in range(624):
                    y = (state[k] & np.uint32(0x80000000)) | (state[(k + 1) % 624] & np.uint32(0x7FFFFFFF))
                    odd = np.uint32(0x9908B0DF) if y & np.uint32(1) else np.uint32(0)
                    state[k] = state[(k + 397) % 624] ^ (y >> np.uint32(1)) ^ odd
            y = state[position]
            position += np.uint32(1)
            y ^= y >> np.uint32(11)
            y ^= (y << np.uint32(7)) & np.uint32(0x9D2C5680)
            y ^= (y << np.uint32(15)) & np.uint32(0xEFC60000)
            y ^= y >> np.uint32(18)
            a, b = b, y
        kept[i] = (float(a >> np.uint32(5)) * 67108864.0 + float(b >> np.uint32(6))) / 9007199254740992.0 > ratio
    state[624] = position


@_kernel
def _scaled_by_bits(dout, kept, dx, scale):
    factor, zero = dout.dtype.type(scale), dout.dtype.type(0)
    for i in range(dout.size):
        dx[i] = dout[i] * (factor if kept[i] else zero)


def dropout_forward(x, ratio, key, scale=1.0, out=None, mask=None):
    x, key = _plain(x), int(key)
    y, kept = _target(out, x), np.empty(x.size, np.uint8)
    numbers = np.uint32(math.ceil(ratio * 2.0**24)), np.uint64(key & 0xFFFFFFFF), np.uint64(key >> 32), float(scale)
    _spread(_dropout_piece, [x.reshape(-1), y.reshape(-1), kept, range(x.size)], *numbers)
    return _deliver(y, out), _pack_bits(kept, mask)


def legacy_dropout_forward(x, ratio, state, scale=1.0, out=None, mask=None, next_state=None):
    x, kept, after = _plain(x), np.empty(x.size, np.uint8), np.array(state)
    y = _target(out, x)
    _legacy_kept(kept, float(ratio), after)
    _spread(_scaled_by_bits, [x.reshape(-1), kept, y.reshape(-1)], float(scale))
    return _deliver(y, out), _pack_bits(kept, mask), _result(after, next_state)


def dropout_backward(dout, mask, scale=1.0, dx=None):
    dout = _plain(dout)
    d = _target(dx, dout)
    arrays = [dout.reshape(-1), _bits(mask, dout.size), d.reshape(-1)]
    _spread(_scaled_by_bits, arrays, float(scale))
    return _deliver(d, dx)
