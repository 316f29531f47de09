"""Cases of the family norm."""

import numpy as np

from fastnn.backends import numpy_backend

from ._common import SIZES, named, normal


def _batch_norm_forward(rng, dtype, shape, constant=False, epsilon=1e-6):
    C = shape[1]
    x = normal(rng, dtype, *shape, scale=2.0)
    x += np.asarray(rng.uniform(-3, 3, C), dtype).reshape(1, C, *[1] * (len(shape) - 2))
    if constant:
        x[:, 0] = 0.5
    return {"x": x, "gamma": normal(rng, dtype, C), "beta": normal(rng, dtype, C), "epsilon": epsilon}


def _batch_norm_inference(rng, dtype, shape, epsilon=1e-6):
    args = _batch_norm_forward(rng, dtype, shape)
    C = shape[1]
    return {
        "x": args["x"], "gamma": args["gamma"], "beta": args["beta"], "mean": normal(rng, dtype, C),
        "var": np.asarray(rng.uniform(0.5, 2, C), dtype), "epsilon": epsilon,
    }  # fmt: skip


def _dout(rng, dtype, shape):
    """Gradients whose sums are of the order of 1."""
    terms = max(np.prod(shape) // max(shape[1], 1), 1)
    return normal(rng, dtype, *shape, scale=terms**-0.5)


def _batch_norm_backward(rng, dtype, shape, epsilon=1e-6):
    x, gamma, beta, _ = _batch_norm_forward(rng, dtype, shape).values()
    _, mean, var = numpy_backend.batch_norm_forward(x, gamma, beta, epsilon)
    return {
        "dout": _dout(rng, dtype, shape), "x": x, "gamma": gamma, "mean": mean, "var": var, "epsilon": epsilon,
    }  # fmt: skip


def _layer_norm_forward(rng, dtype, shape, epsilon=1e-5):
    return _batch_norm_forward(rng, dtype, shape, epsilon=epsilon)


def _layer_norm_backward(rng, dtype, shape, epsilon=1e-5):
    args = _layer_norm_forward(rng, dtype, shape, epsilon)
    _, mean, rstd = numpy_backend.layer_norm_forward(**args)
    return {"dout": _dout(rng, dtype, shape), "x": args["x"], "gamma": args["gamma"], "mean": mean, "rstd": rstd}


def _group_norm_forward(rng, dtype, shape, groups, epsilon=1e-5):
    x, gamma, beta, _ = _batch_norm_forward(rng, dtype, shape).values()
    return {"x": x, "gamma": gamma, "beta": beta, "groups": groups, "epsilon": epsilon}


def _group_norm_backward(rng, dtype, shape, groups, epsilon=1e-5):
    args = _group_norm_forward(rng, dtype, shape, groups, epsilon)
    _, mean, rstd = numpy_backend.group_norm_forward(**args)
    dout = _dout(rng, dtype, shape)
    return {"dout": dout, "x": args["x"], "gamma": args["gamma"], "groups": groups, "mean": mean, "rstd": rstd}


_MATRICES = [((0, 3),), ((1, 5),), ((2, 1),), ((7, 65),), ((129, 17),), ((1030, 33),)]
_IMAGES = [
    ((0, 3, 2, 2),), ((2, 3, 0),), ((1, 1, 1),), ((2, 3, 5, 7),), ((5, 4, 1),), ((3, 2, 24, 24),), ((40, 3, 16),),
    ((2, 2, 70, 73),), ((1, 3, 65, 129),),
]  # fmt: skip
_OPTIONS = [((33, 7), {"epsilon": 0.1}), ((4, 6, 5), {"epsilon": 0.1})]
_BENCH = [((100, 100),), ((1000, 1000),), ((4096, 192),), ((100, 30, 24, 24),)]
_GROUPS = [
    ((2, 3), {"groups": 1}), ((0, 4, 3), {"groups": 2}), ((2, 4, 0), {"groups": 2}), ((3, 6, 5, 7), {"groups": 3}),
    ((2, 6, 9), {"groups": 6}), ((2, 6, 9), {"groups": 1}), ((3, 4, 24, 24), {"groups": 2}),
    ((2, 4, 70, 73), {"groups": 2}), ((5, 64), {"groups": 4}), ((4, 6, 5), {"groups": 2, "epsilon": 0.1}),
]  # fmt: skip


def _batch_cases(*more):
    return _cases([((4, 3),), ((2, 3, 2, 2),)], [*_MATRICES, *_IMAGES, *_OPTIONS, *more], _BENCH)


def _layer_cases(*more):
    bench = [((100, 100),), ((1000, 1000),), ((700, 768),)]
    return _cases([((4, 3),)], [*_MATRICES, ((3, 0),), ((3, 5000),), ((33, 7), {"epsilon": 0.1}), *more], bench)


def _group_cases():
    tiny, bench = [((2, 4, 3), {"groups": 2})], [((100, 30, 24, 24), {"groups": 5})]
    return _cases(tiny, _GROUPS, bench)


def _cases(*sizes):
    return {size: named(*cases) for size, cases in zip(SIZES, sizes, strict=True)}


RETURNS = {
    "batch_norm_forward": ("out", "mean", "var"),
    "batch_norm_backward": ("dx", "dgamma", "dbeta"),
    "layer_norm_forward": ("out", "mean", "rstd"),
    "layer_norm_backward": ("dx", "dgamma", "dbeta"),
    "group_norm_forward": ("out", "mean", "rstd"),
    "group_norm_backward": ("dx", "dgamma", "dbeta"),
}

BUILD = {
    "batch_norm_forward": _batch_norm_forward,
    "batch_norm_inference": _batch_norm_inference,
    "batch_norm_backward": _batch_norm_backward,
    "layer_norm_forward": _layer_norm_forward,
    "layer_norm_backward": _layer_norm_backward,
    "group_norm_forward": _group_norm_forward,
    "group_norm_backward": _group_norm_backward,
}

CASES = {
    "batch_norm_forward": _batch_cases(((33, 7), {"constant": True}), ((9, 7, 30), {"constant": True})),
    "batch_norm_inference": _batch_cases(),
    "batch_norm_backward": _batch_cases(),
    "layer_norm_forward": _layer_cases(),
    "layer_norm_backward": _layer_cases(),
    "group_norm_forward": _group_cases(),
    "group_norm_backward": _group_cases(),
}

# tolerance in multiples of the dtype's eps, by the first word of the operation; 8 where nothing is said
ULPS = {"batch": 64, "layer": 64, "group": 64}
