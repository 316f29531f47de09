"""Cases of the family random."""

from ._common import SPECIAL_CASE, elementwise
from .activation import _relu_backward, _relu_forward


def _dropout_forward(rng, dtype, shape, ratio=0.5, key=0x0123456789ABCDEF, scale=1.0, special=False):
    return _relu_forward(rng, dtype, shape, special) | {"ratio": ratio, "key": key, "scale": scale}


def _dropout_backward(rng, dtype, shape, scale=1.0, special=False):
    return _relu_backward(rng, dtype, shape, special) | {"scale": scale}


_DROPOUT = [{"ratio": 0.0}, {"ratio": 0.1, "scale": 1 / 0.9}, {"ratio": 1.0}, {"key": 2**64 - 1}, {"key": 0}]


# What an operation returns, in order; "loss", "norm" and "sum" are floats, the rest are arrays. ("out",) is left out.
RETURNS = {
    "dropout_forward": ("out", "mask"),
    "dropout_backward": ("dx",),
}

BUILD = {
    "dropout_forward": _dropout_forward,
    "dropout_backward": _dropout_backward,
}

CASES = {
    "dropout_forward": elementwise(SPECIAL_CASE, _DROPOUT),
    "dropout_backward": elementwise(SPECIAL_CASE, [{"scale": 1.25}]),
}  # fmt: skip
