"""Cases of the family embedding."""

import math

from ._common import dimensions, named, normal

_INTEGERS = ["int8", "uint8", "int16", "uint16", "int32", "uint32", "uint64"]


def _embedding_forward(rng, dtype, V, D, index, integer="int64"):
    return {"W": normal(rng, dtype, V, D), "index": rng.integers(0, V, index).astype(integer)}


def _embedding_backward(rng, dtype, V, D, index, integer="int64"):
    args = _embedding_forward(rng, dtype, V, D, index, integer)
    return {"dout": normal(rng, dtype, *index, D), "index": args["index"], "V": V}


def _table_cases():
    def sized(*cases):
        return dimensions(("V", "D", "index"), named(*cases))

    odd = [
        ((1, 1, ()),), ((5, 3, (0,)),), ((5, 0, (4,)),), ((0, 4, (0,)),), ((7, 65, (2, 0, 3)),), ((9, 15, (3, 4, 5)),),
        ((40, 17, (1000,)),), ((3, 129, (257,)),), ((40, 33, (70,)),),
    ]  # fmt: skip
    odd += [((40, 16, (70,)), {"integer": integer}) for integer in _INTEGERS]
    bench = [((10000, 100, (20, 35)),), ((10000, 650, (20, 35)),), ((13, 16, (128, 7)),)]
    return {"tiny": sized(((3, 2, (4,)),)), "odd": sized(*odd), "bench": sized(*bench)}


RETURNS = {"embedding_backward": ("dW",), "embedding_backward_rows": ("rows", "values")}

BUILD = {
    "embedding_forward": _embedding_forward,
    "embedding_backward": _embedding_backward,
    "embedding_backward_rows": _embedding_backward,
}

CASES = {op: _table_cases() for op in BUILD}

# 1,000 numbers added in a row, or 1,000 of 13 rows
ULPS = {"embedding": 8 * math.isqrt(1000)}
