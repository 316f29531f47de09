"""Activation: kind -> (formula of x and alpha, gradient of dout, saved and alpha), as numpy_backend.ACTIVATIONS."""

import functools
import math

import numpy as np

from ..numpy_backend._common import _pack_bits
from ..numpy_backend.activation import _GELU_CUBE, _GELU_SCALE, _SELU_ALPHA, _SELU_SCALE
from ._compile import _deliver, _formula, _helper, _kernel, _plain, _spread, _target
from ._math import _erfcx, _exact_product, _exp, _exp_parts, _expm1, _log1p, _normal_parts, _number, _sigmoid, _tanh

_DENSITY = 1 / math.sqrt(2 * math.pi)
_LINEAR, _CUBIC = 2 * _GELU_SCALE, 2 * _GELU_SCALE * _GELU_CUBE
# what the two lack of 2 sqrt(2 / pi) and of 0.044715 times that
_LINEAR_REST, _CUBIC_REST = -9.96930880911092e-17, -6.175149918155315e-19


@_formula
def _softplus(x):
    return (x if x > 0 else _number(x, 0.0)) + _log1p(_exp(-abs(x)))


@_formula
def _elu(x, alpha):
    return x if x > 0 else alpha * (x if abs(x) < _number(x, 1e-20) else _expm1(_number(x, 0.0) if x > 0 else x))


@_formula
def _elu_derivative(x, alpha):
    return _number(x, 1.0) if x > 0 else alpha * _exp(_number(x, 0.0) if x > 0 else x)


@_formula
def _softsign(x):
    a = abs(x)
    limit = _number(x, 1e30)
    z = limit if a > limit else a
    y = z / (_number(x, 1.0) + z)
    return x if a < _number(x, 1e-30) else (-y if x < 0 else y)


@_formula
def _softsign_derivative(d, x):
    r = _number(x, 1.0) / (_number(x, 1.0) + abs(x))
    return d * r * r


# From here on in float64, whatever the arrays are: the far tails need more digits than float32 has.
@_formula
def _times_logistic(x, w):
    """x / (1 + e^w)."""
    z = -800.0 if x < -800.0 else x  # not infinity times 0
    m, k = _exp_parts(-abs(w))
    above = 1.0 + m * k
    return (z * m / above) * k if x < 0 else z / above


@_formula
def _swish(x):
    return _times_logistic(x, -x)


@_formula
def _mirrored(x, f):
    """A derivative with f(x) + f(-x) = 1, given f(-|x|)."""
    return 1.0 - f if x > 0 else f


@_formula
def _swish_derivative(x):
    a = 800.0 if abs(x) > 800.0 else abs(x)
    m, k = _exp_parts(-a)
    e = m * k
    return _mirrored(x, (m * (1.0 + e - a) / ((1.0 + e) * (1.0 + e))) * k)


@_formula
def _gelu(x):
    a = 40.0 if abs(x) > 40.0 else abs(x)
    m, rest = _normal_parts(a)
    tail = ((a * _erfcx(a * math.sqrt(0.5)) * rest) * m) * m
    return x - tail if x > 0 else (-tail if x < 0 else x)


@_formula
def _gelu_derivative(x):
    a = 40.0 if abs(x) > 40.0 else abs(x)
    m, rest = _normal_parts(a)
    return _mirrored(x, (((_erfcx(a * math.sqrt(0.5)) - a * _DENSITY) * rest) * m) * m)


@_formula
def _gelu_tanh_argument(a):
    """(w, rest), w + rest = 2 sqrt(2 / pi) (a + 0.044715 a^3), 0 <= a <= 23."""
    square, square_rest = _exact_product(a, a)
    cube, cube_rest = _exact_product(square, _CUBIC)
    factor = cube + _LINEAR
    back = factor - cube
    rest = (cube - (factor - back)) + (_LINEAR - back) + cube_rest + square_rest * _CUBIC
    w, w_rest = _exact_product(a, factor)
    return w, w_rest + a * (rest + _LINEAR_REST + _CUBIC_REST * square)


@_formula
def _gelu_tanh(x):
    a = 23.0 if abs(x) > 23.0 else abs(x)
    w, rest = _gelu_tanh_argument(a)
    m, k = _exp_parts(-w)
    m -= m * rest * (1.0 if k == 1.0 else 0.5)
    k = 1.0 if k == 1.0 else m
    above = 1.0 + m * k
    return (-a * m / above) * k if x < 0 else x / above


@_formula
def _gelu_tanh_derivative(x):
    a = 23.0 if abs(x) > 23.0 else abs(x)
    w, rest = _gelu_tanh_argument(a)
    m, k = _exp_parts(-w)
    m -= m * rest * (1.0 if k == 1.0 else 0.5)
    k = 1.0 if k == 1.0 else m
    e = m * k
    slope = a * (_LINEAR + 3 * _CUBIC * a * a)
    return _mirrored(x, (m * (1.0 + e - slope) / ((1.0 + e) * (1.0 + e))) * k)


@_formula
def _tanh_softplus_parts(x):
    """(t, k) with tanh(log(1 + e^x)) = t * k."""
    m, k = _exp_parts(40.0 if x > 40.0 else x)
    w = m * k
    return m * (w + 2.0) / (w * (w + 2.0) + 2.0), k


@_formula
def _mish(x):
    z = -800.0 if x < -800.0 else x
    t, k = _tanh_softplus_parts(x)
    return (z * t) * k


@_formula
def _mish_derivative(x):
    z = -800.0 if x < -800.0 else (40.0 if x > 40.0 else x)
    m, k = _exp_parts(z)
    w = m * k
    below = w * (w + 2.0) + 2.0
    return (m * ((w + 2.0) + 4.0 * z * (w + 1.0) / below) / below) * k


@_formula
def _hard_sigmoid(x):
    y, zero, one = (x + _number(x, 3.0)) * _number(x, 1 / 6), _number(x, 0.0), _number(x, 1.0)
    return zero if y < zero else (one if y > one else y)


_IN_FLOAT64 = "swish", "gelu", "gelu_tanh", "mish"  # their second function is the derivative alone
_ACTIVATIONS = {
    "step": (lambda x, a: _number(x, 1.0) if x > 0 else _number(x, 0.0), lambda d, x, a: _number(x, 0.0)),
    "sigmoid": (lambda x, a: _sigmoid(x), lambda d, y, a: d * (y * (_number(y, 1.0) - y))),
    "tanh": (lambda x, a: _tanh(x), lambda d, y, a: d * ((_number(y, 1.0) - y) * (_number(y, 1.0) + y))),
    "relu": (
        lambda x, a: _number(x, 0.0) if x <= 0 else x,
        lambda d, x, a: _number(x, 0.0) if x <= 0 else d,
    ),
    "leaky_relu": (
        lambda x, a: (a * x if a != 0 else a) if x <= 0 else x,
        lambda d, x, a: (a * d if a != 0 else a) if x <= 0 else d,
    ),
    "elu": (lambda x, a: _elu(x, a), lambda d, x, a: d * _elu_derivative(x, a)),
    "selu": (
        lambda x, a: _number(x, _SELU_SCALE) * _elu(x, _number(x, _SELU_ALPHA)),
        lambda d, x, a: d * (_number(x, _SELU_SCALE) * _elu_derivative(x, _number(x, _SELU_ALPHA))),
    ),
    "softplus": (lambda x, a: _softplus(x), lambda d, x, a: d * _sigmoid(x)),
    "softsign": (lambda x, a: _softsign(x), lambda d, x, a: _softsign_derivative(d, x)),
    "hard_sigmoid": (
        lambda x, a: _hard_sigmoid(x),
        lambda d, x, a: _number(x, 0.0) if abs(x) >= 3 else d * _number(x, 1 / 6),
    ),
    "swish": (lambda x, a: _swish(x), lambda d, x, a: _swish_derivative(x)),
    "gelu": (lambda x, a: _gelu(x), lambda d, x, a: _gelu_derivative(x)),
    "gelu_tanh": (lambda x, a: _gelu_tanh(x), lambda d, x, a: _gelu_tanh_derivative(x)),
    "mish": (lambda x, a: _mish(x), lambda d, x, a: _mish_derivative(x)),
}


# Closures are compiled anew in each process (0.1 s a kind): Numba's cache on disk never finds one again.
@functools.cache
def _activation_loop(kind):
    formula = _formula(_ACTIVATIONS[kind][0])
    if kind in _IN_FLOAT64:

        @_helper
        def wide(x, out, alpha):
            for i in range(x.size):
                out[i] = x.dtype.type(formula(np.float64(x[i]), alpha))

        return wide

    @_helper
    def loop(x, out, alpha):
        a = x.dtype.type(alpha)
        for i in range(x.size):
            out[i] = formula(x[i], a)

    return loop


@functools.cache
def _gradient_loop(kind):
    gradient = _formula(_ACTIVATIONS[kind][1])
    if kind in _IN_FLOAT64:

        @_helper
        def wide(dout, saved, dx, alpha):
            for i in range(dout.size):
                dx[i] = dout[i] * dout.dtype.type(gradient(dout[i], np.float64(saved[i]), alpha))

        return wide

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
