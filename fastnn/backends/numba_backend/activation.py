"""Activation: kind -> (formula of x and alpha, gradient of dout, saved and alpha), as numpy_backend.ACTIVATIONS."""

import functools
import math

import numpy as np

from ..numpy_backend._common import _pack_bits
from ..numpy_backend.activation import _GELU_CUBE, _GELU_SCALE, _SELU_ALPHA, _SELU_SCALE
from ._compile import _deliver, _formula, _helper, _kernel, _plain, _spread, _target
from ._math import _exp, _expm1, _log1p, _normal_density, _normal_distribution, _number, _sigmoid, _tanh

_DENSITY = 1 / math.sqrt(2 * math.pi)


@_formula
def _softplus(x):
    return (x if x > 0 else _number(x, 0.0)) + _log1p(_exp(-abs(x)))


@_formula
def _elu(x, alpha):
    return x if x > 0 else alpha * _expm1(_number(x, 0.0) if x > 0 else x)


@_formula
def _elu_derivative(x, alpha):
    return _number(x, 1.0) if x > 0 else alpha * _exp(_number(x, 0.0) if x > 0 else x)


@_formula
def _swish_derivative(x):
    s = _sigmoid(x)
    return s + x * s * (_number(x, 1.0) - s)


@_formula
def _gelu_derivative(x):
    density = _normal_density(x)
    return _normal_distribution(x, density) + x * density * _number(x, _DENSITY)


@_formula
def _gelu_tanh_sigmoid(x):
    return _sigmoid(_number(x, 2 * _GELU_SCALE) * (x + _number(x, _GELU_CUBE) * x * x * x))


@_formula
def _gelu_tanh_derivative(x):
    one, s = _number(x, 1.0), _gelu_tanh_sigmoid(x)
    inner = _number(x, 2 * _GELU_SCALE) * (one + _number(x, 3 * _GELU_CUBE) * x * x)
    return s + x * s * (one - s) * inner


@_formula
def _exp_to_20(x):
    limit = _number(x, 20.0)
    return _exp(limit if x > limit else x)


@_formula
def _tanh_softplus(x, e):
    """tanh(log(1 + e)) = w / (w + 2), w = e * (e + 2), e = e^x up to x = 20, where the result is 1."""
    w = e * (e + _number(x, 2.0))
    return w / (w + _number(x, 2.0))


@_formula
def _mish_derivative(x):
    e, one = _exp_to_20(x), _number(x, 1.0)
    t = _tanh_softplus(x, e)
    return t + x * (one - t * t) * (e / (one + e))


@_formula
def _hard_sigmoid(x):
    y, zero, one = x * _number(x, 1 / 6) + _number(x, 0.5), _number(x, 0.0), _number(x, 1.0)
    return zero if y < zero else (one if y > one else y)


_ACTIVATIONS = {
    "step": (lambda x, a: _number(x, 1.0) if x > 0 else _number(x, 0.0), lambda d, x, a: _number(x, 0.0)),
    "sigmoid": (lambda x, a: _sigmoid(x), lambda d, y, a: d * (y * (_number(y, 1.0) - y))),
    "tanh": (lambda x, a: _tanh(x), lambda d, y, a: d * (_number(y, 1.0) - y * y)),
    "relu": (
        lambda x, a: _number(x, 0.0) if x <= 0 else x,
        lambda d, x, a: _number(x, 0.0) if x <= 0 else d,
    ),
    "leaky_relu": (lambda x, a: a * x if x <= 0 else x, lambda d, x, a: a * d if x <= 0 else d),
    "elu": (lambda x, a: _elu(x, a), lambda d, x, a: d * _elu_derivative(x, a)),
    "selu": (
        lambda x, a: _number(x, _SELU_SCALE) * _elu(x, _number(x, _SELU_ALPHA)),
        lambda d, x, a: d * (_number(x, _SELU_SCALE) * _elu_derivative(x, _number(x, _SELU_ALPHA))),
    ),
    "softplus": (lambda x, a: _softplus(x), lambda d, x, a: d * _sigmoid(x)),
    "softsign": (
        lambda x, a: x / (_number(x, 1.0) + abs(x)),
        lambda d, x, a: d / ((_number(x, 1.0) + abs(x)) * (_number(x, 1.0) + abs(x))),
    ),
    "hard_sigmoid": (
        lambda x, a: _hard_sigmoid(x),
        lambda d, x, a: _number(x, 0.0) if abs(x) >= 3 else d * _number(x, 1 / 6),
    ),
    "swish": (lambda x, a: x * _sigmoid(x), lambda d, x, a: d * _swish_derivative(x)),
    "gelu": (
        lambda x, a: x * _normal_distribution(x, _normal_density(x)),
        lambda d, x, a: d * _gelu_derivative(x),
    ),
    "gelu_tanh": (lambda x, a: x * _gelu_tanh_sigmoid(x), lambda d, x, a: d * _gelu_tanh_derivative(x)),
    "mish": (lambda x, a: x * _tanh_softplus(x, _exp_to_20(x)), lambda d, x, a: d * _mish_derivative(x)),
}


# Closures are compiled anew in each process (0.1 s a kind): Numba's cache on disk never finds one again.
@functools.cache
def _activation_loop(kind):
    formula = _formula(_ACTIVATIONS[kind][0])

    @_helper
    def loop(x, out, alpha):
        a = x.dtype.type(alpha)
        for i in range(x.size):
            out[i] = formula(x[i], a)

    return loop


@functools.cache
def _gradient_loop(kind):
    gradient = _formula(_ACTIVATIONS[kind][1])

    @_helper
    def loop(dout, saved, dx, alpha):
        a = dout.dtype.type(alpha)
        for i in range(dout.size):
            dx[i] = gradient(dout[i], saved[i], a)

    return loop


def _tanh_float32(x, out, alpha):
    """NumPy's own: 1e5 elements 19 us, the loop here 22 (in float64: 78 and 59)."""
    np.tanh(x, out=out)


def _identity(x, out, alpha):
    """NumPy's own copy: 1e5 elements in float64 14 us, the loop here 16."""
    out[...] = x


def _loop(kind, dtype):
    if kind == "identity":
        return _identity
    return _tanh_float32 if kind == "tanh" and dtype == np.float32 else _activation_loop(kind)


def activation_forward(x, kind, alpha=0.0, out=None):
    x = _plain(x)
    y = _target(out, x)
    _spread(_loop(kind, x.dtype), [x.reshape(-1), y.reshape(-1)], float(alpha))
    return _deliver(y, out)


def activation_backward(dout, saved, kind, alpha=0.0, dx=None):
    if kind == "identity":
        return activation_forward(dout, kind, alpha, dx)
    dout, saved = _plain(dout), _plain(saved)
    d = _target(dx, dout, saved)
    arrays = [dout.reshape(-1), saved.reshape(-1), d.reshape(-1)]
    _spread(_gradient_loop(kind), arrays, float(alpha))
    return _deliver(d, dx)


@_kernel
def _relu_kept(x, out, kept):
    for i in range(x.size):
        kept[i] = not (x[i] <= 0)
        out[i] = _number(x[i], 0.0) if x[i] <= 0 else x[i]


@_kernel
def _select(dout, kept, dx):
    for i in range(dout.size):
        dx[i] = dout[i] if kept[i] else _number(dout[i], 0.0)


def _bits(mask, size):
    return np.unpackbits(mask, count=size, bitorder="little")


def relu_forward(x, out=None, mask=None):
    x = _plain(x)
    y, kept = _target(out, x), np.empty(x.size, np.uint8)
    _spread(_relu_kept, [x.reshape(-1), y.reshape(-1), kept])
    return _deliver(y, out), _pack_bits(kept, mask)


def relu_backward(dout, mask, dx=None):
    dout = _plain(dout)
    d = _target(dx, dout)
    _spread(_select, [dout.reshape(-1), _bits(mask, dout.size), d.reshape(-1)])
    return _deliver(d, dx)
