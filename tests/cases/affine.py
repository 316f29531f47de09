"""Cases of the family affine."""

import numpy as np

from fastnn.backends.numpy_backend import ACTIVATIONS

from ._common import matrix_cases, normal, sprinkle, turned


def _repeated(a):
    """The first column of a, K times, with strides of one element and none."""
    return np.broadcast_to(np.ascontiguousarray(a[..., 0])[..., None], a.shape)


def _matmul(rng, dtype, M, K, N, transpose="", repeat="", pairs=None):
    first = () if pairs is None else (pairs,)
    a, b = normal(rng, dtype, *first, M, K), normal(rng, dtype, *first, K, N, scale=K**-0.5 if K else 1)
    if repeat:
        return {"a": _repeated(a) if "a" in repeat else a, "b": _repeated(b) if "b" in repeat else b}
    return {
        "a": np.ascontiguousarray(a.swapaxes(-1, -2)).swapaxes(-1, -2) if "a" in transpose else a,
        "b": np.ascontiguousarray(b.swapaxes(-1, -2)).swapaxes(-1, -2) if "b" in transpose else b,
    }


def _affine_forward(rng, dtype, N, D, M, bias=True, activation="identity", alpha=0.0, special=False, transpose=False):
    x = normal(rng, dtype, N, D)
    if special:
        sprinkle(rng, x, np.array([np.nan, np.inf, -np.inf, 0.0]))
    W, b = normal(rng, dtype, D, M, scale=D**-0.5 if D else 1), normal(rng, dtype, M)
    W = turned(W) if transpose else W
    return {"x": x, "W": W, "b": b if bias else None, "activation": activation, "alpha": alpha}


def _affine_backward(rng, dtype, N, D, M, transpose=False):
    dout, x = normal(rng, dtype, N, M, scale=N**-0.5 if N else 1), normal(rng, dtype, N, D)
    W = normal(rng, dtype, D, M, scale=M**-0.5 if M else 1)
    return {"dout": dout, "x": x, "W": turned(W) if transpose else W}


_AFFINE = (
    [((2, 3, 4),)],
    # empty, single, and one below and above the edges of register tiles and cache blocks
    [((n, d, m),) for n, d, m in [(0, 3, 4), (3, 4, 0), (1, 1, 1), (1, 257, 17), (5, 2, 65), (7, 33, 31), (15, 64, 16)]]
    + [((n, d, m),) for n, d, m in [(29, 100, 50), (63, 9, 33), (65, 513, 10), (257, 31, 49)]]
    # copied panels of B, several depths, and B packed as a whole (rows, or D in backward, above 512)
    + [((n, d, m),) for n, d, m in [(97, 16, 51), (9, 1027, 35), (515, 257, 51), (257, 515, 33)]],
    [((100, 784, 50),), ((1, 784, 50),), ((100, 50, 100),), ((1024, 100, 10),), ((256, 512, 512),)],
)


# W the transposed view of a C-contiguous matrix, as the books' tied weights.
_TRANSPOSED = [((n, d, m), {"transpose": True}) for n, d, m in [
    (0, 3, 4), (1, 5, 7), (1, 100, 517), (2, 3, 4), (5, 2, 65), (9, 20, 1), (64, 1, 9), (33, 17, 18), (65, 64, 1003),
    (20, 600, 300), (600, 130, 70),
]]  # fmt: skip
_TIED = [((n, 650, 10000), {"transpose": True}) for n in (1, 20)]

# What an operation returns, in order; "loss", "norm" and "sum" are floats, the rest are arrays. ("out",) is left out.
RETURNS = {
    "affine_backward": ("dx", "dW", "db"),
}

BUILD = {
    "matmul": _matmul,
    "affine_forward": _affine_forward,
    "affine_backward": _affine_backward,
}

CASES = {
    "matmul": matrix_cases(
        "MKN", _AFFINE[0], [*_AFFINE[1], *(((33, 65, 18), {"transpose": t}) for t in ("a", "b", "ab")),
         *((size, {"repeat": r}) for size in ((5, 1, 7), (33, 65, 18)) for r in ("a", "b", "ab")),
         ((40, 9, 11), {"pairs": 3, "repeat": "a"}),
         *(((1, 65, 515), {"transpose": t}) for t in ("", "b")), ((515, 131, 1027),),
         *((size,) for size in ((1, 5, 203), (1, 1, 300), (1, 3, 417), (1, 9, 839))),
         *((size, {"pairs": pairs}) for pairs, *size in ((0, 2, 3, 4), (3, 2, 0, 4), (1, 5, 6, 7), (5, 29, 31, 1),
                                                         (7, 1, 40, 33), (40, 9, 10, 11), (3, 120, 110, 130))),
         *(((10, 29, 33), {"pairs": 4, "transpose": t}) for t in ("a", "b", "ab"))],
        [*_AFFINE[2], *(((100, 784, 50), {"transpose": t}) for t in ("a", "b")),
         *((size, {"pairs": 128, "transpose": t}) for size, t in (((10, 256, 29), "b"), ((29, 10, 256), "a"))),
         ((29, 256, 1), {"pairs": 128}), ((200, 300, 150), {"pairs": 3})],
    ),
    "affine_forward": matrix_cases(
        "NDM", _AFFINE[0],
        [
            *_AFFINE[1], ((5, 0, 3),), ((17, 33, 19), {"bias": False}), ((17, 33, 19), {"special": True}),
            *(((17, 33, 19), {"activation": kind, "alpha": 0.3}) for kind in ACTIVATIONS), *_TRANSPOSED,
        ],
        [*_AFFINE[2], ((100, 784, 50), {"activation": "relu"}), *_TIED],
    ),
    "affine_backward": matrix_cases("NDM", _AFFINE[0], [*_AFFINE[1], *_TRANSPOSED], [*_AFFINE[2], *_TIED]),
}  # fmt: skip

# tolerance in multiples of the dtype's eps, by the first word of the operation; 8 where nothing is said
ULPS = {"matmul": 64, "affine": 64}
