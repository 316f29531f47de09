"""Cases of the family norm."""

import numpy as np

from fastnn.backends import numpy_backend

from ._common import matrix_cases, normal


def _batch_norm_forward(rng, dtype, N, D, constant=False, epsilon=1e-6):
    x = normal(rng, dtype, N, D, scale=2.0) + np.asarray(rng.uniform(-3, 3, D), dtype)
    if constant:
        x[:, 0] = 0.5
    return {"x": x, "gamma": normal(rng, dtype, D), "beta": normal(rng, dtype, D), "epsilon": epsilon}


def _batch_norm_inference(rng, dtype, N, D, epsilon=1e-6):
    args = _batch_norm_forward(rng, dtype, N, D)
    return {
        "x": args["x"], "gamma": args["gamma"], "beta": args["beta"], "mean": normal(rng, dtype, D),
        "var": np.asarray(rng.uniform(0.5, 2, D), dtype), "epsilon": epsilon,
    }  # fmt: skip


def _batch_norm_backward(rng, dtype, N, D, epsilon=1e-6):
    x, gamma, beta, _ = _batch_norm_forward(rng, dtype, N, D).values()
    _, mean, var = numpy_backend.batch_norm_forward(x, gamma, beta, epsilon)
    dout = normal(rng, dtype, N, D, scale=N**-0.5 if N else 1)
    return {"dout": dout, "x": x, "gamma": gamma, "mean": mean, "var": var, "epsilon": epsilon}


def _norm_cases(*more):
    tiny, odd, bench = [((4, 3),)], [((0, 3),), ((1, 5),), ((2, 1),), ((7, 65),), ((129, 17),), *more], [((100, 100),)]
    return matrix_cases("ND", tiny, odd, [*bench, ((1000, 1000),)])


# What an operation returns, in order; "loss", "norm" and "sum" are floats, the rest are arrays. ("out",) is left out.
RETURNS = {
    "batch_norm_forward": ("out", "mean", "var"),
    "batch_norm_backward": ("dx", "dgamma", "dbeta"),
}

BUILD = {
    "batch_norm_forward": _batch_norm_forward,
    "batch_norm_inference": _batch_norm_inference,
    "batch_norm_backward": _batch_norm_backward,
}

CASES = {
    "batch_norm_forward": _norm_cases(((33, 7), {"constant": True}), ((33, 7), {"epsilon": 0.1})),
    "batch_norm_inference": _norm_cases(((33, 7), {"epsilon": 0.1})),
    "batch_norm_backward": _norm_cases(((33, 7), {"epsilon": 0.1})),
}  # fmt: skip

# tolerance in multiples of the dtype's eps, by the first word of the operation; 8 where nothing is said
ULPS = {"batch": 64}
