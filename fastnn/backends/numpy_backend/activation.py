"""Element-wise functions: ACTIVATIONS holds formula and derivative of each; relu with its mask as bits."""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ._common import _pack_bits, _result, _unpack_bits

_SELU_SCALE, _SELU_ALPHA = 1.0507009873554805, 1.6732632423543772  # Klambauer et al. 2017, equation 14
_GELU_SCALE, _GELU_CUBE = math.sqrt(2.0 / math.pi), 0.044715  # Hendrycks and Gimpel 2016

_erf_object = np.frompyfunc(math.erf, 1, 1)


def _erf(x):
    return np.asarray(_erf_object(x)).astype(x.dtype)


def _sigmoid(x):
    with np.errstate(over="ignore"):  # exp(-x) = inf gives 0
        return 1 / (1 + np.exp(-x))


def _softplus(x):
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def _elu(x, alpha):
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))


def _elu_derivative(x, alpha):
    return np.where(x > 0, x.dtype.type(1), alpha * np.exp(np.minimum(x, 0)))


def _swish_derivative(x):
    s = _sigmoid(x)
    return s + x * s * (1 - s)


def _gelu_derivative(x):
    return 0.5 * (1 + _erf(x * math.sqrt(0.5))) + x * np.exp(-0.5 * x * x) * (1 / math.sqrt(2 * math.pi))


def _gelu_tanh_sigmoid(x):
    """(1 + tanh(u)) / 2 = sigmoid(2 u), u = sqrt(2 / pi) * (x + 0.044715 x^3)."""
    return _sigmoid(2 * _GELU_SCALE * (x + _GELU_CUBE * x * x * x))


def _gelu_tanh_derivative(x):
    s = _gelu_tanh_sigmoid(x)
    return s + x * s * (1 - s) * (2 * _GELU_SCALE) * (1 + 3 * _GELU_CUBE * x * x)


def _mish_derivative(x):
    t = np.tanh(_softplus(x))
    return t + x * (1 - t * t) * _sigmoid(x)


def _where_positive(x, dout, otherwise):
    """dout where x > 0 or x is NaN, else `otherwise` (a number or an array)."""
    return np.where(x <= 0, np.asarray(otherwise, x.dtype), dout)


class Activation(NamedTuple):
    """One entry of ACTIVATIONS."""

    formula: Callable  # (x, alpha) -> y
    gradient: Callable  # (dout, saved, alpha) -> dx: dout times the derivative; 0 where that is 0 by selection
    saved: str  # what backward needs: "x", the input, or "y", the output


ACTIVATIONS = {
    "identity": Activation(lambda x, a: x, lambda dout, x, a: dout, "x"),
    "step": Activation(lambda x, a: (x > 0).astype(x.dtype), lambda dout, x, a: np.zeros_like(x), "x"),
    "sigmoid": Activation(lambda x, a: _sigmoid(x), lambda dout, y, a: dout * (y * (1 - y)), "y"),
    "tanh": Activation(lambda x, a: np.tanh(x), lambda dout, y, a: dout * (1 - y * y), "y"),
    "relu": Activation(lambda x, a: np.maximum(x, 0), lambda dout, x, a: _where_positive(x, dout, 0.0), "x"),
    "leaky_relu": Activation(
        lambda x, a: _where_positive(x, x, a * x), lambda dout, x, a: _where_positive(x, dout, a * dout), "x"
    ),
    "elu": Activation(_elu, lambda dout, x, a: dout * _elu_derivative(x, a), "x"),
    "selu": Activation(
        lambda x, a: _SELU_SCALE * _elu(x, _SELU_ALPHA),
        lambda dout, x, a: dout * (_SELU_SCALE * _elu_derivative(x, _SELU_ALPHA)),
        "x",
    ),
    "softplus": Activation(lambda x, a: _softplus(x), lambda dout, x, a: dout * _sigmoid(x), "x"),
    "softsign": Activation(lambda x, a: x / (1 + np.abs(x)), lambda dout, x, a: dout / np.square(1 + np.abs(x)), "x"),
    # PyTorch's hard sigmoid (slope 1/6), not ONNX's default (0.2)
    "hard_sigmoid": Activation(
        lambda x, a: np.clip(x * (1 / 6) + 0.5, 0, 1),
        lambda dout, x, a: np.where(np.abs(x) >= 3, x.dtype.type(0), dout * (1 / 6)),
        "x",
    ),
    "swish": Activation(lambda x, a: x * _sigmoid(x), lambda dout, x, a: dout * _swish_derivative(x), "x"),
    "gelu": Activation(
        lambda x, a: 0.5 * x * (1 + _erf(x * math.sqrt(0.5))), lambda dout, x, a: dout * _gelu_derivative(x), "x"
    ),
    "gelu_tanh": Activation(
        lambda x, a: x * _gelu_tanh_sigmoid(x), lambda dout, x, a: dout * _gelu_tanh_derivative(x), "x"
    ),
    "mish": Activation(lambda x, a: x * np.tanh(_softplus(x)), lambda dout, x, a: dout * _mish_derivative(x), "x"),
}


def activation_forward(x, kind, alpha=0.0, out=None):
    """out = ACTIVATIONS[kind].formula(x, alpha); any shape. alpha: slope of leaky_relu, height of elu."""
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):  # inf - inf and 0 * inf are NaN, silently
        y = ACTIVATIONS[kind].formula(x, alpha)
    return _result(y.copy() if y is x and out is None else y, out)


def activation_backward(dout, saved, kind, alpha=0.0, dx=None):
    """dx = dout * derivative; saved is the output y of sigmoid and tanh, the input x of every other kind."""
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        d = ACTIVATIONS[kind].gradient(dout, saved, alpha)
    return _result(d.copy() if d is dout and dx is None else d, dx)


def relu_forward(x, out=None, mask=None):
    """out = max(x, 0), NaN stays; mask: bit i is 1 where element i is kept (x > 0 or NaN) -> (out, mask)."""
    keep = ~(x <= 0)
    return _result(np.where(keep, x, x.dtype.type(0)), out), _pack_bits(keep, mask)


def relu_backward(dout, mask, dx=None):
    """dx = dout where the mask bit is 1, else 0."""
    return _result(np.where(_unpack_bits(mask, dout.shape), dout, dout.dtype.type(0)), dx)
