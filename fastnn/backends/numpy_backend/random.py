"""Dropout, by a counter-based generator."""

import numpy as np

from ._common import _pack_bits, _result, _unpack_bits

_PHILOX_MULTIPLIERS = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)  # Salmon et al. 2011, Philox4x32
_PHILOX_WEYL = 0x9E3779B9, 0xBB67AE85
_LOW, _SHIFT = np.uint64(0xFFFFFFFF), np.uint64(32)


def _philox4x32(counter, key, rounds=10):
    """Philox4x32: counter uint64 array (4, n) of 32-bit words, key two ints -> uint64 array (4, n) of 32-bit words."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(rounds):
        p0, p1 = c0 * _PHILOX_MULTIPLIERS[0], c2 * _PHILOX_MULTIPLIERS[1]
        c0, c1, c2, c3 = (p1 >> _SHIFT) ^ c1 ^ np.uint64(k0), p1 & _LOW, (p0 >> _SHIFT) ^ c3 ^ np.uint64(k1), p0 & _LOW
        k0, k1 = (k0 + _PHILOX_WEYL[0]) & 0xFFFFFFFF, (k1 + _PHILOX_WEYL[1]) & 0xFFFFFFFF
    return np.stack([c0, c1, c2, c3])


def _random_words(n, key):
    """n 32-bit words (in uint64): word i is number i % 4 of the block whose counter is i // 4."""
    block = np.arange(-(-n // 4), dtype=np.uint64)
    zero = np.zeros_like(block)
    words = _philox4x32(np.stack([block & _LOW, block >> _SHIFT, zero, zero]), (int(key) & 0xFFFFFFFF, int(key) >> 32))
    return words.T.reshape(-1)[:n]


def dropout_forward(x, ratio, key, scale=1.0, out=None, mask=None):
    """out = x * keep * scale; mask: bit i is keep of element i -> (out, mask). Any shape.

    keep where u >= ratio, u = (word >> 8) * 2^-24, words of Philox4x32-10 keyed by the 64-bit int `key`.
    """
    keep = (_random_words(x.size, key) >> np.uint64(8)).reshape(x.shape) >= ratio * 2.0**24
    mask = _pack_bits(keep, mask)
    return dropout_backward(x, mask, scale, out), mask


def dropout_backward(dout, mask, scale=1.0, dx=None):
    """dx = dout * bit * scale (a product: NaN is not hidden). Any shape."""
    with np.errstate(invalid="ignore"):
        return _result(dout * (_unpack_bits(mask, dout.shape).astype(dout.dtype) * float(scale)), dx)


def legacy_dropout_forward(x, ratio, state, scale=1.0, out=None, mask=None, next_state=None):
    """out = x * keep * scale, keep = np.random.rand(*x.shape) > ratio -> (out, mask, next_state). Any shape.

    state, next_state: uint32 (625,), MT19937's 624 words and its position, before and after the draw.
    """
    twister = np.random.MT19937(0)
    twister.state = {"bit_generator": "MT19937", "state": {"key": state[:-1], "pos": int(state[-1])}}
    mask = _pack_bits(np.random.RandomState(twister).random_sample(x.shape) > ratio, mask)
    after = twister.state["state"]
    next_state = _result(np.append(after["key"], np.uint32(after["pos"])), next_state)
    return dropout_backward(x, mask, scale, out), mask, next_state


def dropout2d_forward(x, ratio, key, scale=1.0, out=None, mask=None):
    """out = x * keep * scale for whole channels of x (N, C, ...); mask: bit n * C + c is keep -> (out, mask).

    keep as dropout_forward has it for N * C elements.
    """
    _, mask = dropout_forward(np.zeros(x.shape[:2], x.dtype), ratio, key, scale, None, mask)
    return dropout2d_backward(x, mask, scale, out), mask


def dropout2d_backward(dout, mask, scale=1.0, dx=None):
    """dx = dout * bit * scale, the bit that of the channel (a product: NaN is not hidden); dout (N, C, ...)."""
    keep = _unpack_bits(mask, dout.shape[:2]).reshape(*dout.shape[:2], *[1] * (dout.ndim - 2))
    with np.errstate(invalid="ignore"):
        return _result(dout * (keep.astype(dout.dtype) * float(scale)), dx)
