"""Element-wise functions and their derivatives."""

from .. import backends
from ._check import Call


def activation_forward(x, kind, alpha=0.0, out=None):
    """y = kind(x), x of any shape.

    kind: identity, step, sigmoid, tanh, relu, leaky_relu (slope alpha), elu (height alpha), selu, softplus, softsign,
    hard_sigmoid, swish, gelu, gelu_tanh or mish. Raises ValueError for another kind, TypeError for a dtype that is not
    real. At infinity every function has its limit: swish, mish and both GELU are 0 at -inf, where PyTorch gives NaN.
    Formulas and sources: ACTIVATIONS in `fastnn.backends.numpy_backend`. Book 1 ch. 3.
    """
    result = backends.active.activation_forward(x, kind, alpha, out)
    return _activation_forward(x, kind, alpha, out) if result is None else result


def _activation_forward(x, kind, alpha, out):
    call = Call("activation_forward")
    call.kind(kind)
    (x,) = call.floats(x=x)
    call.check_out("out", out, x.shape)
    return call.deliver(backends.checked.activation_forward(x, kind, call.number("alpha", alpha)), out)


def activation_backward(dout, saved, kind, alpha=0.0, dx=None):
    """dx = dout * derivative; `saved` is the output y for sigmoid and tanh, the input x for every other kind.

    dout and saved of one shape. Raises ValueError for shapes that differ or an unknown kind, TypeError for a dtype that
    is not real.
    """
    result = backends.active.activation_backward(dout, saved, kind, alpha, dx)
    return _activation_backward(dout, saved, kind, alpha, dx) if result is None else result


def _activation_backward(dout, saved, kind, alpha, dx):
    call = Call("activation_backward")
    call.kind(kind)
    dout, saved = call.floats(dout=dout, saved=saved)
    call.same_shape(dout=dout, saved=saved)
    call.check_out("dx", dx, dout.shape)
    return call.deliver(backends.checked.activation_backward(dout, saved, kind, call.number("alpha", alpha)), dx)


def relu_forward(x, out=None, mask=None):
    """max(x, 0) and which elements were kept: x of any shape -> (out, mask).

    mask: uint8, 8 * ceil(n / 64) bytes; bit i (little-endian bit order) is 1 where element i > 0 or NaN. Raises
    TypeError for a dtype that is not real. Book 1 ch. 5 (whose mask is the opposite: True where x <= 0).
    """
    result = backends.active.relu_forward(x, out, mask)
    return _relu_forward(x, out, mask) if result is None else result


def _relu_forward(x, out, mask):
    call = Call("relu_forward")
    (x,) = call.floats(x=x)
    call.check_out("out", out, x.shape)
    call.check_out("mask", mask, call.mask_shape(x.size), "uint8")
    return call.deliver(backends.checked.relu_forward(x), out, mask)


def relu_backward(dout, mask, dx=None):
    """dout where the bit of mask is 1, else 0; dx may be dout.

    Raises ValueError or TypeError for a mask that does not fit.
    """
    result = backends.active.relu_backward(dout, mask, dx)
    return _relu_backward(dout, mask, dx) if result is None else result


def _relu_backward(dout, mask, dx):
    call = Call("relu_backward")
    (dout,) = call.floats(dout=dout)
    mask = call.mask(mask, dout.size)
    call.check_out("dx", dx, dout.shape)
    return call.deliver(backends.checked.relu_backward(dout, mask), dx)
