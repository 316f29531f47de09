"""Cases of the family attention."""

import numpy as np

from ._common import SIZES, normal

_LETTERS = "N", "T", "S", "D", "M"


def _forward(rng, dtype, N, T, S, D, M, heads=None, mask=False, causal=False, offset=0, nan=False):
    by_head = () if heads is None else (heads,)
    q, k, v = (normal(rng, dtype, N, steps, *by_head, width) for steps, width in ((T, D), (S, D), (S, M)))
    if nan:
        q[0, -1, ..., 0] = np.nan
    args = {"q": q, "k": k, "v": v, "mask": None, "causal": causal, "offset": offset}
    if mask:
        args["mask"] = rng.random((N, S)) < 0.7
        args["mask"][:1] = False  # a sequence of padding
        args["mask"][1:2, : S // 2] = False
    return args


def _backward(rng, dtype, **what):
    args = _forward(rng, dtype, **what)
    shape = *args["q"].shape[:-1], args["v"].shape[-1]
    return {"dout": normal(rng, dtype, *shape, scale=max(what["T"], 1) ** -0.5)} | args


def _named(*cases):
    return {
        ",".join(["x".join(str(n) for n in shape), *(f"{k}={v}" for k, v in options.items())]):
        dict(zip(_LETTERS, shape, strict=True)) | options
        for shape, options in cases
    }  # fmt: skip


# around vectors, and blocks of 64 queries and of 512 keys; nothing along one axis
_SHAPES = [
    (1, 1, 1, 1, 1), (2, 1, 33, 8, 5), (2, 5, 1, 7, 9), (2, 6, 6, 4, 4), (3, 9, 17, 15, 33), (1, 65, 64, 16, 16),
    (2, 3, 1030, 5, 6), (1, 130, 513, 3, 4), (0, 3, 3, 2, 2), (2, 0, 3, 4, 5), (2, 3, 0, 4, 5), (2, 3, 4, 0, 5),
    (2, 3, 4, 5, 0), (2, 3, 4, 0, 0),
]  # fmt: skip
_OPTIONS = [
    {"causal": True},
    {"mask": True},
    {"mask": True, "causal": True},
    {"heads": 3},
    {"heads": 3, "mask": True, "causal": True},
    {"heads": 3, "causal": True, "offset": 2},
    {"mask": True, "causal": True, "offset": -30},
    {"mask": True, "causal": True, "offset": 500},
]
_CASES = dict(
    zip(
        SIZES,
        (
            _named(((2, 3, 4, 5, 6), {}), ((2, 3, 4, 5, 6), {"mask": True, "causal": True})),
            _named(
                *((shape, {}) for shape in _SHAPES),
                *(
                    (shape, options)
                    for shape in ((3, 7, 9, 5, 6), (2, 70, 40, 8, 8), (2, 200, 700, 4, 3))
                    for options in _OPTIONS
                ),
                ((2, 5, 6, 3, 4), {"nan": True, "causal": True}),
                ((2, 6, 7, 5, 5), {"mask": True, "heads": 2}),
            ),
            _named(
                ((8, 256, 256, 32, 32), {"heads": 4}),
                ((8, 256, 256, 32, 32), {"heads": 4, "causal": True}),
                ((1, 1024, 1024, 64, 64), {"heads": 8, "causal": True, "mask": True}),
                ((128, 10, 29, 256, 256), {}),
                ((2, 300, 700, 16, 16), {"heads": 2}),
            ),
        ),
        strict=True,
    )
)

RETURNS = {"scaled_dot_product_attention_backward": ("dq", "dk", "dv")}

BUILD = {"scaled_dot_product_attention_forward": _forward, "scaled_dot_product_attention_backward": _backward}

CASES = dict.fromkeys(BUILD, _CASES)

# exp of scores, whose rounding errors grow with them
ULPS = {"scaled": 64}
