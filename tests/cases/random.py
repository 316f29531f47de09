"""Cases of the family random."""

import numpy as np

from fastnn.backends import numpy_backend

from ._common import SIZES, SPECIAL_CASE, elementwise, named, normal
from .activation import _relu_backward, _relu_forward


def _dropout_forward(rng, dtype, shape, ratio=0.5, key=0x0123456789ABCDEF, scale=1.0, special=False):
    return _relu_forward(rng, dtype, shape, special) | {"ratio": ratio, "key": key, "scale": scale}


def _legacy_dropout_forward(rng, dtype, shape, ratio=0.5, position=624, scale=1.0, special=False):
    state = rng.integers(0, 2**32, 625, np.uint32)
    state[624] = position
    return _relu_forward(rng, dtype, shape, special) | {"ratio": ratio, "state": state, "scale": scale}


def _dropout_backward(rng, dtype, shape, scale=1.0, special=False):
    return _relu_backward(rng, dtype, shape, special) | {"scale": scale}


def _dropout2d_forward(rng, dtype, shape, ratio=0.5, key=0x0123456789ABCDEF, scale=1.0, special=False):
    return {"x": _relu_forward(rng, dtype, shape, special)["x"], "ratio": ratio, "key": key, "scale": scale}


def _dropout2d_backward(rng, dtype, shape, scale=1.0, special=False):
    mask = numpy_backend.dropout2d_forward(normal(rng, dtype, *shape), 0.5, 5)[1]
    return {"dout": _relu_backward(rng, dtype, shape, special)["dout"], "mask": mask, "scale": scale}


_IMAGES = [
    ((2, 3),), ((0, 3, 2, 2),), ((2, 3, 0),), ((1, 1, 1),), ((2, 3, 5, 7),), ((7, 11, 2, 3),), ((3, 64, 17),),
    ((13, 10, 4, 4),),
]  # fmt: skip


def _image_cases(*options):
    odd = [*_IMAGES, ((5, 9, 3, 7), {"special": True}), *(((5, 40, 3, 7), option) for option in options)]
    sizes = [((2, 3, 2, 2),)], odd, [((100, 30, 24, 24),)]
    return {size: named(*cases) for size, cases in zip(SIZES, sizes, strict=True)}


_DROPOUT = [{"ratio": 0.0}, {"ratio": 0.1, "scale": 1 / 0.9}, {"ratio": 1.0}, {"key": 2**64 - 1}, {"key": 0}]


# Positions: nothing left of the words, some (an odd number too), all; from 2,500 elements on the state moves by blocks.
_LEGACY = [
    {"ratio": 0.0}, {"ratio": 0.1, "scale": 1 / 0.9, "position": 1}, {"ratio": 1.0, "position": 600},
    {"ratio": -1.0, "position": 623}, {"position": 0},
]  # fmt: skip
_LEGACY_CASES = elementwise(SPECIAL_CASE, _LEGACY)
_LEGACY_CASES["odd"] |= named(((2496,), {"position": 0}), ((4992,),), ((7001,), {"position": 77}))


# What an operation returns, in order; "loss", "norm" and "sum" are floats, the rest are arrays. ("out",) is left out.
RETURNS = {
    "dropout_forward": ("out", "mask"),
    "legacy_dropout_forward": ("out", "mask", "next_state"),
    "dropout_backward": ("dx",),
    "dropout2d_forward": ("out", "mask"),
    "dropout2d_backward": ("dx",),
}

BUILD = {
    "dropout_forward": _dropout_forward,
    "legacy_dropout_forward": _legacy_dropout_forward,
    "dropout_backward": _dropout_backward,
    "dropout2d_forward": _dropout2d_forward,
    "dropout2d_backward": _dropout2d_backward,
}

CASES = {
    "dropout_forward": elementwise(SPECIAL_CASE, _DROPOUT),
    "legacy_dropout_forward": _LEGACY_CASES,
    "dropout_backward": elementwise(SPECIAL_CASE, [{"scale": 1.25}]),
    "dropout2d_forward": _image_cases(*_DROPOUT),
    "dropout2d_backward": _image_cases({"scale": 1.25}),
}  # fmt: skip
