"""Errors of the activations and derivatives in units of the last place (ULP), on every backend and instruction set.

Denormal results count with their own spacing. References: float64 formulas for float32; longdouble formulas and, for
the functions with erfc, mpmath for float64.
"""

import math

import numpy as np
import pytest

import fastnn
from fastnn import _core, ops

SELU = np.longdouble("1.0507009873554804934193349852946"), np.longdouble("1.6732632423543772848170429916717")
PI = np.longdouble("3.14159265358979323846264338327950288")
CUBE = np.longdouble("0.044715")
WIDE = {np.float32: np.float64, np.float64: np.longdouble}
has_longdouble = pytest.mark.skipif(np.finfo(np.longdouble).nmant < 63, reason="longdouble has no more digits here")

ISAS = list(_core.available_isas())


def logistic(x):
    e = np.exp(-np.abs(x))
    return np.where(x < 0, e, 1) / (1 + e)


def normal_tail(a):
    """erfc(a / sqrt(2)) / 2: only for float64, whose argument of erfc is exact enough for float32."""
    return np.array([math.erfc(v * math.sqrt(0.5)) / 2 for v in a])


def linear(x):
    return (2 * np.sqrt(2 / PI)).astype(x.dtype)


def gelu_tanh_inner(x):
    return linear(x) * (x + CUBE.astype(x.dtype) * x**3)


def mirrored(x, below):
    f = below(-np.abs(x))
    return np.where(x > 0, 1 - f, f)


def swish_derivative(x):
    e = np.exp(x)
    return e * (1 + e + x) / (1 + e) ** 2


def gelu_tanh_derivative(x):
    e = np.exp(gelu_tanh_inner(x))
    return e * (1 + e + linear(x) * (x + 3 * CUBE.astype(x.dtype) * x**3)) / (1 + e) ** 2


def mish(x):
    w = np.exp(np.minimum(x, 60))
    return x * (w * (w + 2)) / (w * (w + 2) + 2)


def mish_derivative(x):
    z = np.minimum(x, 60)
    w = np.exp(z)
    n = w * (w + 2) + 2
    return w * (4 * (z + 1) + w * (4 * z + 6) + 4 * w**2 + w**3) / n**2


def scaled_elu(x, scale, alpha):
    return scale.astype(x.dtype) * np.where(x > 0, x, alpha.astype(x.dtype) * np.expm1(np.where(x > 0, 0, x)))


def scaled_elu_derivative(x, scale, alpha):
    return scale.astype(x.dtype) * np.where(x > 0, 1, alpha.astype(x.dtype) * np.exp(np.where(x > 0, 0, x)))


ONE = np.longdouble(1), np.longdouble(1)
# kind -> reference and bound; a derivative has a dash
TABLE = {
    "sigmoid": (logistic, 2),
    "tanh": (np.tanh, 2),
    "softplus": (lambda x: np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x))), 2),
    "elu": (lambda x: scaled_elu(x, *ONE), 4),
    "selu": (lambda x: scaled_elu(x, *SELU), 4),
    "softsign": (lambda x: x / (1 + np.abs(x)), 2),
    "hard_sigmoid": (lambda x: np.clip((x + 3) / 6, 0, 1), 2),
    "swish": (lambda x: x * logistic(x), 4),
    "gelu": (lambda x: np.where(x > 0, x - x * normal_tail(np.abs(x)), x * normal_tail(np.abs(x))), 4),
    "gelu_tanh": (lambda x: x * logistic(gelu_tanh_inner(x)), 4),
    "mish": (mish, 4),
    "elu'": (lambda x: scaled_elu_derivative(x, *ONE), 4),
    "selu'": (lambda x: scaled_elu_derivative(x, *SELU), 4),
    "softplus'": (logistic, 4),
    "softsign'": (lambda x: (1 / (1 + np.abs(x))) ** 2, 4),
    "swish'": (lambda x: mirrored(x, swish_derivative), 4),
    "gelu'": (
        lambda x: mirrored(x, lambda z: normal_tail(-z) + z * np.exp(-z * z / 2) / np.sqrt(2 * PI).astype(x.dtype)),
        4,
    ),
    "gelu_tanh'": (lambda x: mirrored(x, gelu_tanh_derivative), 4),
    "mish'": (mish_derivative, 4),
}
ZEROS = 1.2784645427610738, 0.7517915246935645, 0.7524614220710163, 1.1924312145154953  # of derivatives, at -x


def compute(kind, x):
    alpha = 1.0 if kind.startswith("elu") else 0.0
    if kind.endswith("'"):
        return ops.activation_backward(np.ones_like(x), x, kind[:-1], alpha)
    return ops.activation_forward(x, kind, alpha)


def ulps(got, wide):
    """Errors in ULP of results of float32 or float64."""
    info = np.finfo(got.dtype)
    exponent = np.maximum(np.frexp(wide)[1] - 1, info.minexp).astype(np.int64) - info.nmant
    wide_type = np.longdouble if got.dtype == np.float64 else np.float64
    return np.abs(got.astype(wide_type) - wide) / np.ldexp(wide_type(1), exponent)


def float32_points(stride=65537):
    """Every so many of all float32, the ends of the range of exp, borders of range reductions, zeros of derivatives."""
    bits = np.arange(0, 1 << 32, stride, dtype=np.uint64).astype(np.uint32)
    x = bits.view(np.float32)
    borders = np.arange(-150, 128) * math.log(2) / 2
    centres = np.concatenate(
        [borders, [-z for z in ZEROS], [-103.97, -87.34, -16.6436, -14.2, -13.0, 8.14, 9.01, 20, 40, 88.72]]
    )
    steps = np.concatenate([np.arange(-20, 21), np.arange(-3000, 3001, 311)])
    near = (centres.astype(np.float32)[:, None].view(np.int32) + steps.astype(np.int32)).view(np.float32).reshape(-1)
    x = np.concatenate([x, near, -near])
    return x[np.isfinite(x)]


def float64_points(n, seed):
    rng = np.random.default_rng(seed)
    parts = [rng.uniform(-a, a, n // 8) for a in (1.0, 10.0, 50.0, 760.0)]
    parts.append(np.exp2(rng.uniform(-60, 9, n // 8)) * rng.choice([-1, 1], n // 8))
    parts.append(rng.uniform(-39, 0, n // 8))
    parts.append(-rng.choice(ZEROS, n // 8) * (1 + rng.uniform(-1, 1, n // 8) * np.exp2(-rng.uniform(0, 9, n // 8))))
    return np.concatenate(parts)


def check(kind, x, wide, bound, rest=0.0):
    """`rest`: absolute error of the reference."""
    with np.errstate(all="ignore"):
        got = compute(kind, x)
        error = ulps(got, wide)
        error -= rest * error / np.maximum(np.abs(got - wide), np.finfo(wide.dtype).tiny)
    # overflow rounds to infinity
    worst = int(np.argmax(np.where(got == wide, 0, error)))
    assert error[worst] <= bound, f"{kind}: {error[worst]:.2f} ULP at {x[worst]!r}: {got[worst]!r}, not {wide[worst]!r}"


@pytest.fixture(params=ISAS)
def isa(request):
    before = _core.isa()
    _core.use_isa(request.param)
    with fastnn.use_backend("native"):
        yield request.param
    _core.use_isa(before)


@pytest.fixture(scope="module")
def points():
    x = float32_points()
    with np.errstate(all="ignore"):
        return x, {
            kind: reference(np.clip(x, -1e30, 1e30).astype(np.float64)) for kind, (reference, _) in TABLE.items()
        }


@pytest.mark.parametrize("kind", TABLE)
def test_native_float32(kind, isa, points):
    x, wide = points
    check(kind, x, expected(kind, x, wide[kind]), TABLE[kind][1])


def expected(kind, x, wide):
    """The far ends, where the formulas are x, 0 or 1 and the references overflow."""
    big = np.abs(x) >= 1e30
    if not big.any() or kind in ("softsign", "softsign'"):
        return wide
    y = compute(kind, x)
    return np.where(big, y, wide)


@pytest.mark.parametrize("backend", [b for b in fastnn.backends.available() if b != "native"])
@pytest.mark.parametrize("kind", TABLE)
def test_other_backends_float32(kind, backend, points):
    """numpy rounds a float64 result, numba partly too."""
    x, wide = points
    with fastnn.use_backend(backend):
        check(
            kind,
            x[::3],
            expected(kind, x[::3], wide[kind][::3]),
            1 if backend == "numpy" and kind != "hard_sigmoid" else 4,
        )


@has_longdouble
@pytest.mark.parametrize("kind", [k for k in TABLE if k not in ("gelu", "gelu'")])
def test_native_float64(kind, isa):
    x = float64_points(40000, 1)
    with np.errstate(all="ignore"):
        wide = TABLE[kind][0](x.astype(np.longdouble))
    check(kind, x, wide, TABLE[kind][1], 2.0**-60 if kind.endswith("'") else 0)


@pytest.mark.parametrize("kind", ["gelu", "gelu'"])
def test_native_float64_gelu(kind, isa):
    mp = pytest.importorskip("mpmath")
    x = float64_points(1000, 2)
    with mp.workdps(40):
        exact = [mp.mpf(float(v)) for v in x]
        tails = [mp.erfc(-v / mp.sqrt(2)) / 2 for v in exact]
        if kind == "gelu":
            values = [v * t for v, t in zip(exact, tails, strict=True)]
        else:
            values = [t + v * mp.npdf(v) for v, t in zip(exact, tails, strict=True)]
        got = compute(kind, x)
        for v, g, want in zip(x, got, values, strict=True):
            unit = mp.mpf(max(float(np.spacing(abs(float(want)))), 5e-324))
            assert abs(mp.mpf(float(g)) - want) <= 4 * unit, (float(v), float(g), want)


def worst_of_float32(kind, begin, end, step=1 << 20):
    """The largest error of float32 over the numbers with these bits, and where. The float64 kernels are the reference:
    test_native_float64 holds them to 4 ULP of float64, and they are a hundred times quicker than libm and mpmath."""
    worst = 0.0, 0.0
    for first in range(begin, end, step):
        x = np.arange(first, min(first + step, end), dtype=np.uint64).astype(np.uint32).view(np.float32)
        x = x[np.isfinite(x)]
        if not x.size:
            continue
        with np.errstate(all="ignore"):
            got, wide = compute(kind, x).astype(np.float64), compute(kind, x.astype(np.float64))
            # 2^(exponent - 23), the last place of a float32; that of denormal numbers is 2^-149
            exponent = np.maximum(wide.view(np.int64) >> 52 & 0x7FF, 1023 - 126)
            error = np.abs(got - wide) / ((exponent - 23) << 52).view(np.float64)
            error = np.where(np.abs(wide) > np.finfo(np.float32).max, 0, np.where(np.isnan(got), np.inf, error))
        at = int(np.argmax(error))
        worst = max(worst, (float(error[at]), float(x[at])))
    return worst


@pytest.mark.nightly
@pytest.mark.parametrize("kind", [k for k in TABLE if not k.startswith("hard")])
def test_every_float32(kind, isa):
    error, at = worst_of_float32(kind, 0, 1 << 32)
    print(f"{kind} on {isa}: {error:.3f} ULP at {at!r}")
    assert error <= TABLE[kind][1]


@pytest.mark.nightly
@has_longdouble
@pytest.mark.parametrize("kind", [k for k in TABLE if k not in ("gelu", "gelu'")])
def test_a_million_float64(kind, isa):
    for seed in range(10):
        x = float64_points(100_000, seed)
        with np.errstate(all="ignore"):
            wide = TABLE[kind][0](x.astype(np.longdouble))
        check(kind, x, wide, TABLE[kind][1], 2.0**-60 if kind.endswith("'") else 0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", TABLE)
def test_neighbours_change_nothing(kind, dtype, isa):
    """Denormal, far and special numbers take another path; the numbers beside them in a vector keep their bits."""
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.standard_normal(512) * scale for scale in (1, 5, 1e-3, 1e-12, 1e-30)]).astype(dtype)
    x[::97], x[1::97] = 0, -0.0
    keep = np.arange(x.size) % 4 != 0
    with np.errstate(all="ignore"):
        alone = compute(kind, x)
        for beside in (np.finfo(dtype).tiny / 8, -95, 700, -np.inf, np.nan):
            mixed = np.where(keep, x, dtype(beside))
            assert compute(kind, mixed)[keep].tobytes() == alone[keep].tobytes()
