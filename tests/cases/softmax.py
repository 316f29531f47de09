"""Cases of the family softmax."""

import numpy as np

from fastnn.backends import numpy_backend

from ._common import elementwise, matrix_cases, normal, turned


def _logits(rng, dtype, N, V, special):
    x = normal(rng, dtype, N, V, scale=3.0)
    if special and x.size:
        x[0, :] += 1000
        x[-1, 0] = np.nan
        if N > 2 and V > 1:
            x[1, 1:] = -np.inf
            x[2, 0] = -1000
    return x


def _softmax_forward(rng, dtype, N, V, special=False):
    return {"x": _logits(rng, dtype, N, V, special)}


def _softmax_backward(rng, dtype, N, V):
    y = numpy_backend.softmax_forward(normal(rng, dtype, N, V, scale=3.0))
    return {"dout": normal(rng, dtype, N, V), "y": y}


def _log_softmax_backward(rng, dtype, N, V):
    y = numpy_backend.log_softmax_forward(normal(rng, dtype, N, V, scale=3.0))
    return {"dout": normal(rng, dtype, N, V, scale=max(V, 1) ** -0.5), "y": y}  # the sum of a row is of the order of 1


def _targets(rng, dtype, N, V, target, weighted, ignore_index, all_ignored):
    """t and weight; target is an integer dtype's name, "onehot" or "soft"."""
    labels = rng.integers(0, V, N)
    if target == "onehot":
        t = np.eye(V, dtype=dtype)[labels]
    elif target == "soft":
        t = numpy_backend.softmax_forward(normal(rng, dtype, N, V))
    else:
        t = labels.astype(target)
        if ignore_index is not None and N:
            t[rng.random(N) < 0.3] = ignore_index
            t[0], t[-1] = ignore_index, labels[-1]
        if all_ignored:
            t[:] = ignore_index
    return t, rng.uniform(0.5, 2.0, V).astype(dtype) if weighted else None


def _softmax_cross_entropy_forward(
    rng, dtype, N, V, target="int64", weighted=False, ignore_index=None, label_smoothing=0.0, epsilon=0.0,
    special=False, all_ignored=False,
):  # fmt: skip
    x = _logits(rng, dtype, N, V, special)
    t, weight = _targets(rng, dtype, N, V, target, weighted, ignore_index, all_ignored)
    if special and N > 2:  # the row of -inf has its label on the finite logit; the row with NaN is ignored
        t[1] = np.eye(V, dtype=dtype)[0] if t.ndim == 2 else 0
        if ignore_index is not None:
            t[-1] = ignore_index
    return {
        "x": x, "t": t, "weight": weight, "ignore_index": ignore_index, "label_smoothing": label_smoothing,
        "epsilon": epsilon,
    }  # fmt: skip


def _softmax_cross_entropy_backward(
    rng, dtype, N, V, target="int64", weighted=False, ignore_index=None, label_smoothing=0.0, dout=1.0,
    all_ignored=False,
):  # fmt: skip
    t, weight = _targets(rng, dtype, N, V, target, weighted, ignore_index, all_ignored)
    y = numpy_backend.softmax_forward(normal(rng, dtype, N, V, scale=3.0))
    return {
        "y": y, "t": t, "dout": dout, "weight": weight, "ignore_index": ignore_index,
        "label_smoothing": label_smoothing,
    }  # fmt: skip


def _affine_softmax_cross_entropy(
    rng, dtype, N, D, V, target="int64", weighted=False, ignore_index=None, label_smoothing=0.0, epsilon=0.0,
    bias=True, all_ignored=False, transpose=False,
):  # fmt: skip
    x, W, b = normal(rng, dtype, N, D), normal(rng, dtype, D, V, scale=3 * max(D, 1) ** -0.5), normal(rng, dtype, V)
    W = turned(W) if transpose else W
    t, weight = _targets(rng, dtype, N, V, target, weighted, ignore_index, all_ignored)
    return {
        "x": x, "W": W, "b": b if bias else None, "t": t, "weight": weight, "ignore_index": ignore_index,
        "label_smoothing": label_smoothing, "epsilon": epsilon, "gradient": True,
    }  # fmt: skip


def _sigmoid_cross_entropy_forward(rng, dtype, shape, epsilon=0.0, scale=3.0, soft=False):
    t = rng.random(shape) if soft else rng.integers(0, 2, shape)
    x = np.clip(normal(rng, dtype, *shape, scale=scale), -100, 100)
    return {"x": x, "t": np.asarray(t, dtype), "epsilon": epsilon}


def _sigmoid_cross_entropy_backward(rng, dtype, shape, dout=1.0):
    y = np.asarray(rng.random(shape), dtype)
    return {"y": y, "t": np.asarray(rng.integers(0, 2, shape), dtype), "dout": dout}


def _squared_error_forward(rng, dtype, shape):
    return {"y": normal(rng, dtype, *shape), "t": normal(rng, dtype, *shape)}


def _squared_error_backward(rng, dtype, shape, scale=0.25):
    return _squared_error_forward(rng, dtype, shape) | {"scale": scale}


_ROWS = (
    [((2, 3),)],
    [((0, 4),), ((1, 1),), ((3, 1),), ((1, 65),), ((5, 15),), ((7, 16),), ((9, 33),), ((4, 1000),), ((130, 10),)],
    [((100, 10),), ((700, 10000),)],
)


_LABELS = ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "onehot", "soft"]


_LOSS_OPTIONS = [
    *({"target": target} for target in _LABELS),
    {"weighted": True},
    {"ignore_index": -1},
    {"ignore_index": 3, "target": "uint8"},
    {"ignore_index": -100, "weighted": True},
    {"ignore_index": -1, "all_ignored": True},
    {"label_smoothing": 0.1},
    {"label_smoothing": 0.1, "weighted": True, "ignore_index": -1},
    {"label_smoothing": 0.1, "weighted": True, "target": "soft"},
    {"weighted": True, "target": "onehot"},
]


def _loss_cases(more):
    tiny, odd, bench = _ROWS
    odd = odd + [((19, 37), option) for option in _LOSS_OPTIONS + more]
    bench = [*bench, ((100, 10), {"target": "onehot"})]
    return matrix_cases("NV", tiny, odd, bench)


# What an operation returns, in order; "loss", "norm" and "sum" are floats, the rest are arrays. ("out",) is left out.
RETURNS = {
    "softmax_backward": ("dx",),
    "log_softmax_backward": ("dx",),
    "softmax_cross_entropy_forward": ("loss", "y"),
    "softmax_cross_entropy_backward": ("dx",),
    "affine_softmax_cross_entropy": ("loss", "dx", "dW", "db"),
    "sigmoid_cross_entropy_forward": ("loss", "y"),
    "sigmoid_cross_entropy_backward": ("dx",),
    "squared_error_forward": ("sum",),
    "squared_error_backward": ("dx",),
}

BUILD = {
    "softmax_forward": _softmax_forward,
    "softmax_backward": _softmax_backward,
    "log_softmax_forward": _softmax_forward,
    "log_softmax_backward": _log_softmax_backward,
    "softmax_cross_entropy_forward": _softmax_cross_entropy_forward,
    "softmax_cross_entropy_backward": _softmax_cross_entropy_backward,
    "affine_softmax_cross_entropy": _affine_softmax_cross_entropy,
    "sigmoid_cross_entropy_forward": _sigmoid_cross_entropy_forward,
    "sigmoid_cross_entropy_backward": _sigmoid_cross_entropy_backward,
    "squared_error_forward": _squared_error_forward,
    "squared_error_backward": _squared_error_backward,
}

CASES = {
    "softmax_forward": matrix_cases("NV", _ROWS[0], [*_ROWS[1], ((5, 67), {"special": True})], _ROWS[2]),
    "softmax_backward": matrix_cases("NV", *_ROWS),
    "log_softmax_forward": matrix_cases("NV", _ROWS[0], [*_ROWS[1], ((5, 67), {"special": True})], _ROWS[2]),
    "log_softmax_backward": matrix_cases("NV", *_ROWS),
    "softmax_cross_entropy_forward": _loss_cases(
        [{"epsilon": 1e-7}, {"epsilon": 1e-7, "target": "onehot"}, {"epsilon": 1e-7, "label_smoothing": 0.1},
         {"epsilon": 1e-7, "weighted": True, "ignore_index": -1}, {"special": True},
         {"special": True, "ignore_index": -1}, {"special": True, "target": "onehot"},
         {"special": True, "epsilon": 1e-7, "ignore_index": -1}],
    ),
    "softmax_cross_entropy_backward": _loss_cases([{"dout": 0.25}, {"dout": 0.25, "weighted": True}]),
    "affine_softmax_cross_entropy": matrix_cases(
        "NDV", [((2, 4, 3),)],
        [
            *((size,) for size in ((0, 3, 4), (1, 1, 1), (5, 3, 100), (9, 33, 64), (25, 7, 131), (130, 5, 10))),
            *(((19, 6, 70), option) for option in _LOSS_OPTIONS), ((19, 6, 70), {"bias": False}),
            ((19, 6, 70), {"epsilon": 1e-7}), ((19, 6, 70), {"epsilon": 1e-7, "label_smoothing": 0.1}),
            *((size, {"transpose": True}) for size in ((2, 4, 3), (25, 7, 131), (130, 5, 10))),
            ((197, 3, 22001), {"ignore_index": -1}),  # more than one block
        ],
        [((700, 100, 10000),), ((32, 100, 10000),), ((32, 650, 10000), {"transpose": True})],
    ),
    "sigmoid_cross_entropy_forward": elementwise(
        (),
        [{"scale": 40.0}, {"soft": True}, {"epsilon": 1e-7, "scale": 1.0},
         {"epsilon": 1e-7, "soft": True, "scale": 1.0}],
    ),
    "sigmoid_cross_entropy_backward": elementwise((), [{"dout": 0.25}]),
    "squared_error_forward": elementwise(),
    "squared_error_backward": elementwise((), [{"scale": 2.0}]),
}  # fmt: skip

# tolerance in multiples of the dtype's eps, by the first word of the operation; 8 where nothing is said
ULPS = {"softmax": 32, "log": 128, "sigmoid": 32}
