"""Mathematics on one number: written without branches, so that LLVM vectorises it."""

import math

import numpy as np
from numba import types
from numba.extending import overload

from ._compile import _INLINE, _formula


def _number(x, value):
    """`value` in the type of x: a bare literal would turn float32 arithmetic into float64."""


@overload(_number, inline="always")
def _overload_number(x, value):
    dtype = x
    return lambda x, value: dtype(value)


def _scale_and_rest(x):
    """(2^n, e^r - 1) with e^x = 2^n * e^r and |r| <= log(2) / 2; the Taylor series is below half an ulp there."""


@overload(_scale_and_rest, jit_options=_INLINE)
def _overload_scale_and_rest(x):
    if x == types.float32:
        c1, c2, c3, c4, c5, c6, c7 = (np.float32(1 / math.factorial(k)) for k in range(1, 8))
        per_log2, half, high, low = map(np.float32, (1 / math.log(2), 0.5, 0.693359375, -2.12194440054e-4))

        def float32(x):
            n = np.floor(x * per_log2 + half)
            r = (x - n * high) - n * low
            p = r * (c1 + r * (c2 + r * (c3 + r * (c4 + r * (c5 + r * (c6 + r * c7))))))
            return np.int32((np.int32(n) + np.int32(127)) << np.int32(23)).view(np.float32), p

        return float32

    d = tuple(1 / math.factorial(k) for k in range(1, 14))
    d1, d2, d3, d4, d5, d6, d7, d8, d9, d10, d11, d12, d13 = d
    per_log2, high, low = 1 / math.log(2), 0.693147180369123816490, 1.90821492927058770002e-10

    def float64(x):
        n = np.floor(x * per_log2 + 0.5)
        r = (x - n * high) - n * low
        p = d8 + r * (d9 + r * (d10 + r * (d11 + r * (d12 + r * d13))))
        p = r * (d1 + r * (d2 + r * (d3 + r * (d4 + r * (d5 + r * (d6 + r * (d7 + r * p)))))))
        return np.int64((np.int64(np.int32(n)) + np.int64(1023)) << np.int64(52)).view(np.float64), p

    return float64


def _lowest(x):
    """Below this argument e^x is 0, and x e^x too."""


@overload(_lowest, inline="always")
def _overload_lowest(x):
    value = np.float32(-110.0) if x == types.float32 else -760.0
    return lambda x: value


@_formula
def _exp_parts(x):
    """(m, k) with e^x = m * k for x <= 88 (float32) or 709: k is 1, or m where e^x may be denormal. NaN stays."""
    one, low = _number(x, 1.0), _lowest(x)
    z = low if x < low else x
    deep = z < _number(x, 0.75) * low
    scale, rest = _scale_and_rest(_number(x, 0.5) * z if deep else z)
    m = scale + scale * rest
    return m, m if deep else one


@_formula
def _exp(x):
    """e^x for x <= 88 (float32) or 709, denormal where it has to be. NaN stays."""
    m, k = _exp_parts(x)
    return m * k


@_formula
def _expm1(x):
    """e^x - 1 for x <= 88 (float32) or 709."""
    lowest = _number(x, -40.0)
    scale, rest = _scale_and_rest(lowest if x < lowest else x)
    return scale * rest + (scale - _number(x, 1.0))


@_formula
def _tanh(x):
    limit = _number(x, 20.0)
    c = limit if x > limit else (-limit if x < -limit else x)
    e = _expm1(c + c)
    return x if abs(x) < _number(x, 1e-9) else e / (e + _number(x, 2.0))


@_formula
def _sigmoid(x):
    e = _exp(-abs(x))
    one = _number(x, 1.0)
    return (one if x >= 0 else e) / (one + e)


def _log1p(u):
    """log(1 + u) for u in [0, 1]: 2 * artanh(s), s = u / (2 + u) <= 1/3, by its series."""


@overload(_log1p, jit_options=_INLINE)
def _overload_log1p(u):
    if u == types.float32:
        c1, c2, c3, c4, c5, c6, c7 = (np.float32(2 / (2 * k + 1)) for k in range(1, 8))
        two = np.float32(2)

        def float32(u):
            s = u / (two + u)
            q = s * s
            return s * (two + q * (c1 + q * (c2 + q * (c3 + q * (c4 + q * (c5 + q * (c6 + q * c7)))))))

        return float32

    d = tuple(2 / (2 * k + 1) for k in range(1, 17))
    d1, d2, d3, d4, d5, d6, d7, d8, d9, d10, d11, d12, d13, d14, d15, d16 = d

    def float64(u):
        s = u / (2 + u)
        q = s * s
        p = d9 + q * (d10 + q * (d11 + q * (d12 + q * (d13 + q * (d14 + q * (d15 + q * d16))))))
        p = d1 + q * (d2 + q * (d3 + q * (d4 + q * (d5 + q * (d6 + q * (d7 + q * (d8 + q * p)))))))
        return s * (2 + q * p)

    return float64


# exp(z^2) * erfc(z) / (2 t), t = 1 / (1 + z / 2), z >= 0, as a polynomial in 2 t - 1: Chebyshev interpolation in 60
# digits. Relative error of erfc: 2.2e-7 in float32, 5.3e-16 in float64 (z up to 6).
_ERFCX_32 = (
    0.255395678,
    0.171790159,
    0.0698678668,
    0.00911083471,
    -0.00537581309,
    -0.00162172596,
    0.00076457858,
    0.000215335244,
    -0.000149691356,
    -1.83009385e-05,
    2.10805986e-05,
)
_ERFCX_64 = (
    0.25539567631050575,
    0.17179017110345335,
    0.069868023139007376,
    0.0091105578766474595,
    -0.0053776654720182658,
    -0.0016197962647635767,
    0.0007726530070506643,
    0.00020932398553302539,
    -0.00016576828834507305,
    -8.5926270852034493e-06,
    3.6117094147524032e-05,
    -8.5383190725397859e-06,
    -5.4214926649822052e-06,
    4.0335531056101147e-06,
    -2.8882118057557134e-07,
    -9.1753927044907648e-07,
    5.1528496076455527e-07,
    7.8602700333970787e-09,
    -1.6312304676483359e-07,
    7.4857176301115603e-08,
    1.8000422646039968e-08,
    -2.5728147171788679e-08,
    3.2602173072007699e-09,
    3.2986836514501373e-09,
    -9.5558686430394695e-10,
)


def _erfcx(z):
    """exp(z^2) * erfc(z) / 2 for z >= 0."""


@overload(_erfcx, jit_options=_INLINE)
def _overload_erfcx(z):
    if z == types.float32:
        first, rest = np.float32(_ERFCX_32[-1]), tuple(np.float32(c) for c in _ERFCX_32[-2::-1])
        one, half = np.float32(1), np.float32(0.5)

        def float32(z):
            t = one / (one + half * z)
            s = t + t - one
            p = first
            for c in rest:  # short enough to be unrolled, which vectorisation needs
                p = c + s * p
            return t * p

        return float32

    c0, c1, c2, c3, c4, c5, c6, c7, c8, c9, c10, c11, c12, *more = _ERFCX_64
    c13, c14, c15, c16, c17, c18, c19, c20, c21, c22, c23, c24 = more

    def float64(z):
        t = 1 / (1 + 0.5 * z)
        s = t + t - 1
        p = c18 + s * (c19 + s * (c20 + s * (c21 + s * (c22 + s * (c23 + s * c24)))))
        p = c12 + s * (c13 + s * (c14 + s * (c15 + s * (c16 + s * (c17 + s * p)))))
        p = c6 + s * (c7 + s * (c8 + s * (c9 + s * (c10 + s * (c11 + s * p)))))
        p = c0 + s * (c1 + s * (c2 + s * (c3 + s * (c4 + s * (c5 + s * p)))))
        return t * p

    return float64


@_formula
def _split(x):
    """x as two numbers of half as many digits (float64)."""
    high = np.int64(np.float64(x).view(np.int64) & np.int64(-(1 << 27))).view(np.float64)
    return high, x - high


@_formula
def _normal_parts(a):
    """(m, rest) with exp(-a^2 / 2) = m * m * rest, 0 <= a <= 40: a^2 is not rounded."""
    high, low = _split(a)
    return _exp(-0.25 * high * high), _exp(-0.5 * low * (a + high))


@_formula
def _exact_product(a, b):
    """(product, rest) with a * b = product + rest."""
    product = a * b
    a_high, a_low = _split(a)
    b_high, b_low = _split(b)
    return product, ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low
