"""What the families' cases share: random arrays, and names of cases."""

import numpy as np

SIZES = "tiny", "odd", "bench"


SPECIAL = np.array([np.nan, 0.0, -0.0, 1e-30, -1e-30, 40.0, -40.0, 1000.0, -1000.0, 1.0, -1.0])


def normal(rng, dtype, *shape, scale=1.0):
    return np.asarray(rng.standard_normal(shape) * scale, dtype)


def turned(a):
    """The same values as the transposed view of a C-contiguous matrix."""
    return np.ascontiguousarray(a.T).T


def sprinkle(rng, x, values):
    """Overwrite random places of x with the values, as many as fit."""
    flat = x.reshape(-1)
    places = rng.permutation(flat.size)[: len(values)]
    flat[places] = values[: len(places)]
    return x


def named(*options, **common):
    """Cases named after what tells them apart: {"3x4,bias=False": {...}}; the first positional is the shape."""
    cases = {}
    for shape, *more in options:
        given = more[0] if more else {}
        text = "x".join(str(n) for n in shape) or "scalar"
        cases[",".join([text, *(f"{k}={v}" for k, v in given.items())])] = {"shape": shape} | common | given
    return cases


def dimensions(letters, cases):
    """Replace `shape` by one argument for each letter."""
    return {
        name: dict(zip(letters, case["shape"], strict=True)) | {k: v for k, v in case.items() if k != "shape"}
        for name, case in cases.items()
    }


def matrix_cases(letters, tiny, odd, bench):
    return {size: dimensions(letters, named(*cases)) for size, cases in zip(SIZES, (tiny, odd, bench), strict=True)}


ANY = (
    [((2, 3),)],
    [((),), ((0,),), ((1,),), ((63,),), ((64,),), ((65,),), ((3, 5, 7),), ((2, 0, 3),), ((1025,),)],
    [((100, 100),), ((1000, 1000),)],
)


def elementwise(special=(), options=()):
    tiny, odd, bench = ANY
    odd = odd + [((257,), s) for s in special] + [((1001,), o) for o in options]
    return {size: named(*cases) for size, cases in zip(SIZES, (tiny, odd, bench), strict=True)}


SPECIAL_CASE = ({"special": True},)
