"""Cases of the family activation."""

import numpy as np

from fastnn.backends import numpy_backend
from fastnn.backends.numpy_backend import ACTIVATIONS

from ._common import SPECIAL, SPECIAL_CASE, elementwise, named, normal, sprinkle

# kinds whose formula has a limit at +inf and at -inf; softsign, and -inf elsewhere, is inf / inf or 0 * inf
_HAS_PLUS_INF = set(ACTIVATIONS) - {"softsign"}


_HAS_MINUS_INF = _HAS_PLUS_INF - {"swish", "gelu", "gelu_tanh", "mish"}


def _activation_forward(rng, dtype, shape, kind, alpha=0.0, special=False):
    x = normal(rng, dtype, *shape, scale=3.0)
    if special:
        infinite = [np.inf] * (kind in _HAS_PLUS_INF) + [-np.inf] * (kind in _HAS_MINUS_INF)
        sprinkle(rng, x, np.concatenate([infinite, SPECIAL]))
    return {"x": x, "kind": kind, "alpha": alpha}


def _activation_backward(rng, dtype, shape, kind, alpha=0.0, special=False):
    x = _activation_forward(rng, dtype, shape, kind, alpha)["x"]
    if special:
        sprinkle(rng, x, SPECIAL)
    saved = x if ACTIVATIONS[kind].saved == "x" else numpy_backend.activation_forward(x, kind, alpha)
    return {"dout": normal(rng, dtype, *shape), "saved": saved, "kind": kind, "alpha": alpha}


def _relu_forward(rng, dtype, shape, special=False):
    return {"x": _activation_forward(rng, dtype, shape, "relu", special=special)["x"]}


def _relu_backward(rng, dtype, shape, special=False):
    mask = numpy_backend.relu_forward(normal(rng, dtype, *shape))[1]
    dout = normal(rng, dtype, *shape)
    return {"dout": sprinkle(rng, dout, np.array([np.nan, np.inf, -np.inf])) if special else dout, "mask": mask}


_ALPHA = {"leaky_relu": 0.1, "elu": 0.7}


def _activation_cases():
    kinds = [{"kind": kind} | ({"alpha": _ALPHA[kind]} if kind in _ALPHA else {}) for kind in ACTIVATIONS]
    special = [((257,), kind | {"special": True}) for kind in kinds]
    shapes = [(shape, kind) for shape in [(), (0,), (1,), (67,), (3, 5, 7)] for kind in kinds]
    return {
        "tiny": named(*(((2, 3), kind) for kind in kinds)),
        "odd": named(*shapes, *special),
        "bench": named(*(((100, 1000), kind) for kind in kinds)),
    }


# What an operation returns, in order; "loss", "norm" and "sum" are floats, the rest are arrays. ("out",) is left out.
RETURNS = {
    "activation_backward": ("dx",),
    "relu_forward": ("out", "mask"),
    "relu_backward": ("dx",),
}

BUILD = {
    "activation_forward": _activation_forward,
    "activation_backward": _activation_backward,
    "relu_forward": _relu_forward,
    "relu_backward": _relu_backward,
}

CASES = {
    "activation_forward": _activation_cases(),
    "activation_backward": _activation_cases(),
    "relu_forward": elementwise(SPECIAL_CASE),
    "relu_backward": elementwise(SPECIAL_CASE),
}  # fmt: skip

# tolerance in multiples of the dtype's eps, by the first word of the operation; 8 where nothing is said
ULPS = {"activation": 64}
