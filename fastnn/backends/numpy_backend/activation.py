"""Element-wise functions: ACTIVATIONS holds formula and derivative of each; relu with its mask as bits.

Formulas are computed in a wider type and rounded once: float32 in float64, float64 in NumPy's longdouble. Where that
has no more digits than float64 (Windows, macOS on ARM), the far tails of float64 GELU lose digits. At infinity every
function has its limit (PyTorch has NaN for swish, mish and both GELU at -inf); only NaN gives NaN.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ._common import _pack_bits, _result, _unpack_bits

_SELU_SCALE, _SELU_ALPHA = 1.0507009873554805, 1.6732632423543772  # Klambauer et al. 2017, equation 14
_GELU_SCALE, _GELU_CUBE = math.sqrt(2.0 / math.pi), 0.044715  # Hendrycks and Gimpel 2016

_WIDE = {np.dtype(np.float32): np.float64, np.dtype(np.float64): np.longdouble}
_PI = np.longdouble("3.14159265358979323846264338327950288")
_erfc_object = np.frompyfunc(math.erfc, 1, 1)


def _wide(x):
    return x.astype(_WIDE.get(x.dtype, x.dtype))


def _sigmoid(x):
    e = np.exp(-np.abs(x))
    return np.where(x < 0, e, e.dtype.type(1)) / (1 + e)


def _softplus(x):
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def _elu(x, alpha):
    return np.where(x > 0, x, alpha * np.expm1(np.where(x > 0, 0, x)))


def _elu_derivative(x, alpha):
    return np.where(x > 0, x.dtype.type(1), alpha * np.exp(np.minimum(x, 0)))


def _softsign(x):
    return np.where(np.isinf(x), np.sign(x), x / (1 + np.abs(x)))


def _from_below(x):
    """x, but for the far end, where -inf times 0 would be NaN and the result is 0 long since."""
    return np.maximum(x, -2000)


def _by_half(x, below):
    """A derivative f with f(x) + f(-x) = 1 from its values at -|x|."""
    f = below(_from_below(-np.abs(x)))
    return np.where(x > 0, 1 - f, f)


def _swish_derivative(x):
    def below(x):
        e = np.exp(x)
        return e * (1 + e + x) / np.square(1 + e)

    return _by_half(x, below)


def _normal_tail(a):
    """erfc(a / sqrt(2)) / 2 for a >= 0."""
    c = np.sqrt(a.dtype.type(0.5))
    exact = a * c
    z = np.minimum(exact, 18).astype(np.float64)
    erfc = np.asarray(_erfc_object(z)).astype(a.dtype)
    near = (erfc - 2 / np.sqrt(_PI).astype(a.dtype) * (exact - z) * np.exp(-np.square(z.astype(a.dtype)))) / 2
    s = 1 / np.square(np.maximum(a, 25))  # far out: the asymptotic series of Mills' ratio
    series = sum((-1) ** k * math.prod(range(1, 2 * k, 2)) * s**k for k in range(10))
    far = np.exp(-a * a / 2) / np.sqrt(2 * _PI).astype(a.dtype) * series / np.maximum(a, 1)
    return np.where(a > 25, far, near)


def _gelu(x):
    z = np.clip(x, -2000, 2000)
    tail = _normal_tail(np.abs(z))
    return np.where(x > 0, x - z * tail, z * tail)


def _gelu_derivative(x):
    def below(x):
        return _normal_tail(-x) + x * np.exp(-0.5 * x * x) / np.sqrt(2 * _PI).astype(x.dtype)

    return _by_half(x, below)


def _gelu_tanh_argument(x):
    """2 u, u = sqrt(2 / pi) (x + 0.044715 x^3): (1 + tanh(u)) / 2 = sigmoid(2 u)."""
    return 2 * np.sqrt(2 / _PI).astype(x.dtype) * (x + x.dtype.type("0.044715") * x * x * x)


def _gelu_tanh_derivative(x):
    def below(x):
        e = np.exp(_gelu_tanh_argument(x))
        slope = 2 * np.sqrt(2 / _PI).astype(x.dtype) * (x + 3 * x.dtype.type("0.044715") * x * x * x)  # x (2 u)'
        return e * (1 + e + slope) / np.square(1 + e)

    return _by_half(x, below)


def _tanh_softplus(x):
    """tanh(log(1 + w)) = n / (n + 2), w = e^x, n = w^2 + 2 w; 1 above 50."""
    w = np.exp(np.minimum(x, 50))
    n = w * (w + 2)
    return n / (n + 2)


def _mish_derivative(x):
    z = np.clip(x, -2000, 50)
    w = np.exp(z)
    n = w * (w + 2)
    return (n + 4 * z * w * (w + 1) / (n + 2)) / (n + 2)


def _where_positive(x, dout, otherwise):
    """dout where x > 0 or x is NaN, else `otherwise` (a number or an array)."""
    return np.where(x <= 0, np.asarray(otherwise, x.dtype), dout)


def _leaky(x, values, alpha):
    """values times 1 or, where x <= 0, times alpha; with alpha = 0 that is relu, at -inf too."""
    return _where_positive(x, values, alpha * values if alpha else 0.0)


class Activation(NamedTuple):
    """One entry of ACTIVATIONS."""

    formula: Callable  # (x, alpha) -> y
    gradient: Callable  # (dout, saved, alpha) -> dx: dout times the derivative; 0 where that is 0 by selection
    saved: str  # what backward needs: "x", the input, or "y", the output


def _computed(formula, derivative):
    """Both in the wider type, rounded once."""
    return Activation(
        lambda x, a: np.asarray(formula(_wide(x), a)).astype(x.dtype),
        lambda dout, x, a: dout * np.asarray(derivative(_wide(x), a)).astype(x.dtype),
        "x",
    )


ACTIVATIONS = {
    "identity": Activation(lambda x, a: x, lambda dout, x, a: dout, "x"),
    "step": Activation(lambda x, a: (x > 0).astype(x.dtype), lambda dout, x, a: np.zeros_like(x), "x"),
    "sigmoid": Activation(
        lambda x, a: np.asarray(_sigmoid(_wide(x))).astype(x.dtype), lambda dout, y, a: dout * (y * (1 - y)), "y"
    ),
    "tanh": Activation(
        lambda x, a: np.asarray(np.tanh(_wide(x))).astype(x.dtype), lambda dout, y, a: dout * ((1 - y) * (1 + y)), "y"
    ),
    "relu": Activation(lambda x, a: _where_positive(x, x, 0.0), lambda dout, x, a: _where_positive(x, dout, 0.0), "x"),
    "leaky_relu": Activation(lambda x, a: _leaky(x, x, a), lambda dout, x, a: _leaky(x, dout, a), "x"),
    "elu": _computed(_elu, _elu_derivative),
    "selu": _computed(
        lambda x, a: _SELU_SCALE * _elu(x, _SELU_ALPHA), lambda x, a: _SELU_SCALE * _elu_derivative(x, _SELU_ALPHA)
    ),
    "softplus": _computed(lambda x, a: _softplus(x), lambda x, a: _sigmoid(x)),
    "softsign": _computed(lambda x, a: _softsign(x), lambda x, a: 1 / np.square(1 + np.abs(x))),
    # PyTorch's hard sigmoid (slope 1/6), not ONNX's default (0.2)
    "hard_sigmoid": Activation(
        lambda x, a: np.clip((x + 3) * (1 / 6), 0, 1),
        lambda dout, x, a: np.where(np.abs(x) >= 3, x.dtype.type(0), dout * (1 / 6)),
        "x",
    ),
    "swish": _computed(lambda x, a: _from_below(x) * _sigmoid(x), lambda x, a: _swish_derivative(x)),
    "gelu": _computed(lambda x, a: _gelu(x), lambda x, a: _gelu_derivative(x)),
    "gelu_tanh": _computed(
        lambda x, a: _from_below(x) * _sigmoid(_gelu_tanh_argument(x)), lambda x, a: _gelu_tanh_derivative(x)
    ),
    "mish": _computed(lambda x, a: _from_below(x) * _tanh_softplus(x), lambda x, a: _mish_derivative(x)),
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
