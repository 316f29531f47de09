"""Dropout."""

import numpy as np

from .. import backends
from ._check import Call


def dropout_forward(x, ratio, key, scale=1.0, out=None, mask=None):
    """x * keep * scale, each element kept with probability 1 - ratio: x of any shape -> (out, mask).

    key: 64-bit int; the same key, shape and ratio keep the same elements on every backend (Philox4x32-10, Salmon et al.
    2011). mask: bits as in relu_forward. Raises ValueError for a ratio outside [0, 1] or a key outside [0, 2^64).
    Book 1 ch. 6 (scale 1); scale = 1 / (1 - ratio) is the field's inverted dropout.
    """
    result = backends.active.dropout_forward(x, ratio, key, scale, out, mask)
    return _dropout_forward(x, ratio, key, scale, out, mask) if result is None else result


def _dropout_forward(x, ratio, key, scale, out, mask):
    call = Call("dropout_forward")
    (x,) = call.floats(x=x)
    ratio, key, scale = _draw(call, ratio, key, scale)
    call.check_out("out", out, x.shape)
    call.check_out("mask", mask, call.mask_shape(x.size), "uint8")
    return call.deliver(backends.checked.dropout_forward(x, ratio, key, scale), out, mask)


def dropout_backward(dout, mask, scale=1.0, dx=None):
    """dout * bit * scale, a product: NaN is not hidden. Raises ValueError or TypeError for a mask that does not fit."""
    result = backends.active.dropout_backward(dout, mask, scale, dx)
    return _dropout_backward(dout, mask, scale, dx) if result is None else result


def _dropout_backward(dout, mask, scale, dx):
    call = Call("dropout_backward")
    (dout,) = call.floats(dout=dout)
    mask = call.mask(mask, dout.size)
    call.check_out("dx", dx, dout.shape)
    return call.deliver(backends.checked.dropout_backward(dout, mask, call.number("scale", scale)), dx)


def legacy_dropout_forward(x, ratio, state, scale=1.0, out=None, mask=None, next_state=None):
    """x * keep * scale, kept where np.random.rand(*x.shape) > ratio: x of any shape -> (out, mask, next_state).

    state: uint32 (625,), the key of NumPy's legacy generator and its position (`np.random.get_state()[1:3]`);
    next_state: the same after the draw. mask: bits as in relu_forward. Raises TypeError or ValueError for a state that
    is no such array. The books' dropout (book 1 ch. 6), bit for bit.
    """
    result = backends.active.legacy_dropout_forward(x, ratio, state, scale, out, mask, next_state)
    return _legacy_dropout_forward(x, ratio, state, scale, out, mask, next_state) if result is None else result


def _legacy_dropout_forward(x, ratio, state, scale, out, mask, next_state):
    call = Call("legacy_dropout_forward")
    (x,) = call.floats(x=x)
    state = np.require(state, requirements="CA")
    if state.dtype != np.uint32:
        raise call.error(TypeError, f"state has dtype {state.dtype}; it must be uint32")
    call.require(state.shape == (625,), f"state is {state.shape}; it must be (625,)")
    call.require(state[-1] <= 624, f"state has position {state[-1]}; it must lie in [0, 624]")
    call.check_out("out", out, x.shape)
    call.check_out("mask", mask, call.mask_shape(x.size), "uint8")
    call.check_out("next_state", next_state, state.shape, "uint32")
    result = backends.checked.legacy_dropout_forward(x, call.number("ratio", ratio), state, call.number("scale", scale))
    return call.deliver(result, out, mask, next_state)


def dropout2d_forward(x, ratio, key, scale=1.0, out=None, mask=None):
    """x * keep * scale, each channel of each image kept with probability 1 - ratio: x (N, C, ...) -> (out, mask).

    mask: bit n * C + c, drawn as dropout_forward does for N * C elements, whose key and errors it has too. Tompson et
    al. 2015; PyTorch's Dropout2d (with scale = 1 / (1 - ratio)).
    """
    result = backends.active.dropout2d_forward(x, ratio, key, scale, out, mask)
    return _dropout2d_forward(x, ratio, key, scale, out, mask) if result is None else result


def _dropout2d_forward(x, ratio, key, scale, out, mask):
    call = Call("dropout2d_forward")
    (x,) = call.floats(x=x)
    ratio, key, scale = _draw(call, ratio, key, scale)
    call.check_out("out", out, x.shape)
    call.check_out("mask", mask, call.mask_shape(_channels(call, x=x)), "uint8")
    return call.deliver(backends.checked.dropout2d_forward(x, ratio, key, scale), out, mask)


def dropout2d_backward(dout, mask, scale=1.0, dx=None):
    """dout * bit * scale by channel, dout (N, C, ...). Raises ValueError or TypeError for a mask that does not fit."""
    result = backends.active.dropout2d_backward(dout, mask, scale, dx)
    return _dropout2d_backward(dout, mask, scale, dx) if result is None else result


def _dropout2d_backward(dout, mask, scale, dx):
    call = Call("dropout2d_backward")
    (dout,) = call.floats(dout=dout)
    mask = call.mask(mask, _channels(call, dout=dout))
    call.check_out("dx", dx, dout.shape)
    return call.deliver(backends.checked.dropout2d_backward(dout, mask, call.number("scale", scale)), dx)


def _draw(call, ratio, key, scale):
    return call.number("ratio", ratio), call.whole("key", key), call.number("scale", scale)


def _channels(call, **images):
    """How many channels all images have together."""
    ((name, a),) = images.items()
    call.require(a.ndim >= 2, f"{name} is {a.shape}; it must have 2 dimensions (N, C) or more")
    return a.shape[0] * a.shape[1]
