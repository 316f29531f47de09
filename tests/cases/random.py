"""Cases of the family random."""

from fastnn.backends import numpy_backend

from ._common import SIZES, SPECIAL_CASE, elementwise, named, normal
from .activation import _relu_backward, _relu_forward


def _dropout_forward(rng, dtype, shape, ratio=0.5, key=0x0123456789ABCDEF, scale=1.0, special=False):
    return _relu_forward(rng, dtype, shape, special) | {"ratio": ratio, "key": key, "scale": scale}


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


# What an operation returns, in order; "loss", "norm" and "sum" are floats, the rest are arrays. ("out",) is left out.
RETURNS = {
    "dropout_forward": ("out", "mask"),
    "dropout_backward": ("dx",),
    "dropout2d_forward": ("out", "mask"),
    "dropout2d_backward": ("dx",),
}

BUILD = {
    "dropout_forward": _dropout_forward,
    "dropout_backward": _dropout_backward,
    "dropout2d_forward": _dropout2d_forward,
    "dropout2d_backward": _dropout2d_backward,
}

CASES = {
    "dropout_forward": elementwise(SPECIAL_CASE, _DROPOUT),
    "dropout_backward": elementwise(SPECIAL_CASE, [{"scale": 1.25}]),
    "dropout2d_forward": _image_cases(*_DROPOUT),
    "dropout2d_backward": _image_cases({"scale": 1.25}),
}  # fmt: skip
