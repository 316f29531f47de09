"""Inputs for every operation at the sizes tiny, odd and bench, what it returns, and how exact that must be.

`make(op, size, dtype)` builds the arguments of one case, `CASES[op][size]` names them all. A benchmark that takes its
inputs here times only what a test has verified. To run an operation on a target: `with target(name) as table`.
"""

import contextlib
import importlib
import math
import zlib

import numpy as np

from fastnn import backends
from fastnn.backends import OPS, numpy_backend
from fastnn.backends.numpy_backend import ACTIVATIONS

SIZES = "tiny", "odd", "bench"
DTYPES = np.float32, np.float64
TARGETS = "numpy", "numba", "native-baseline", "native-avx2", "native-avx512"


# What an operation returns, in order; "loss", "norm" and "sum" are floats, the rest are arrays.
RETURNS = {
    "affine_backward": ("dx", "dW", "db"),
    "activation_backward": ("dx",),
    "relu_forward": ("out", "mask"),
    "relu_backward": ("dx",),
    "softmax_backward": ("dx",),
    "log_softmax_backward": ("dx",),
    "softmax_cross_entropy_forward": ("loss", "y"),
    "softmax_cross_entropy_backward": ("dx",),
    "sigmoid_cross_entropy_forward": ("loss", "y"),
    "sigmoid_cross_entropy_backward": ("dx",),
    "squared_error_forward": ("sum",),
    "squared_error_backward": ("dx",),
    "batch_norm_forward": ("out", "mean", "var"),
    "batch_norm_backward": ("dx", "dgamma", "dbeta"),
    "dropout_forward": ("out", "mask"),
    "dropout_backward": ("dx",),
    "grad_norm": ("norm",),
    "scale_arrays": ("arrays",),
} | {op: ("params",) for op in OPS if op.endswith("_update")}
RETURNS = {op: RETURNS.get(op, ("out",)) for op in OPS}

_LISTS = "params", "arrays", "m", "v", "h"
# The arrays among them: optional last parameters, allocated when they are None.
OUTPUTS = {op: tuple(n for n in OPS[op].parameters if n in RETURNS[op] and n not in ("params", "arrays")) for op in OPS}
# Lists of arrays that are updated in place.
IN_PLACE = {op: () if OUTPUTS[op] else tuple(n for n in OPS[op].parameters if n in _LISTS) for op in OPS}


# ---- building arguments: one function per shape of signature, (rng, dtype, ...) -> dict in the order of the signature

_SPECIAL = np.array([np.nan, 0.0, -0.0, 1e-30, -1e-30, 40.0, -40.0, 1000.0, -1000.0, 1.0, -1.0])
# kinds whose formula has a limit at +inf and at -inf; softsign, and -inf elsewhere, is inf / inf or 0 * inf
_HAS_PLUS_INF = set(ACTIVATIONS) - {"softsign"}
_HAS_MINUS_INF = _HAS_PLUS_INF - {"swish", "gelu", "gelu_tanh", "mish"}


def _normal(rng, dtype, *shape, scale=1.0):
    return np.asarray(rng.standard_normal(shape) * scale, dtype)


def _sprinkle(rng, x, values):
    """Overwrite random places of x with the values, as many as fit."""
    flat = x.reshape(-1)
    places = rng.permutation(flat.size)[: len(values)]
    flat[places] = values[: len(places)]
    return x


def _matmul(rng, dtype, M, K, N, transpose=""):
    a, b = _normal(rng, dtype, M, K), _normal(rng, dtype, K, N, scale=K**-0.5 if K else 1)
    return {
        "a": np.ascontiguousarray(a.T).T if "a" in transpose else a,
        "b": np.ascontiguousarray(b.T).T if "b" in transpose else b,
    }


def _affine_forward(rng, dtype, N, D, M, bias=True, activation="identity", alpha=0.0, special=False):
    x = _normal(rng, dtype, N, D)
    if special:
        _sprinkle(rng, x, np.array([np.nan, np.inf, -np.inf, 0.0]))
    W, b = _normal(rng, dtype, D, M, scale=D**-0.5 if D else 1), _normal(rng, dtype, M)
    return {"x": x, "W": W, "b": b if bias else None, "activation": activation, "alpha": alpha}


def _affine_backward(rng, dtype, N, D, M):
    return {
        "dout": _normal(rng, dtype, N, M, scale=N**-0.5 if N else 1),
        "x": _normal(rng, dtype, N, D),
        "W": _normal(rng, dtype, D, M, scale=M**-0.5 if M else 1),
    }


def _activation_forward(rng, dtype, shape, kind, alpha=0.0, special=False):
    x = _normal(rng, dtype, *shape, scale=3.0)
    if special:
        infinite = [np.inf] * (kind in _HAS_PLUS_INF) + [-np.inf] * (kind in _HAS_MINUS_INF)
        _sprinkle(rng, x, np.concatenate([infinite, _SPECIAL]))
    return {"x": x, "kind": kind, "alpha": alpha}


def _activation_backward(rng, dtype, shape, kind, alpha=0.0, special=False):
    x = _activation_forward(rng, dtype, shape, kind, alpha)["x"]
    if special:
        _sprinkle(rng, x, _SPECIAL)
    saved = x if ACTIVATIONS[kind].saved == "x" else numpy_backend.activation_forward(x, kind, alpha)
    return {"dout": _normal(rng, dtype, *shape), "saved": saved, "kind": kind, "alpha": alpha}


def _relu_forward(rng, dtype, shape, special=False):
    return {"x": _activation_forward(rng, dtype, shape, "relu", special=special)["x"]}


def _relu_backward(rng, dtype, shape, special=False):
    mask = numpy_backend.relu_forward(_normal(rng, dtype, *shape))[1]
    dout = _normal(rng, dtype, *shape)
    return {"dout": _sprinkle(rng, dout, np.array([np.nan, np.inf, -np.inf])) if special else dout, "mask": mask}


def _logits(rng, dtype, N, V, special):
    x = _normal(rng, dtype, N, V, scale=3.0)
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
    y = numpy_backend.softmax_forward(_normal(rng, dtype, N, V, scale=3.0))
    return {"dout": _normal(rng, dtype, N, V), "y": y}


def _log_softmax_backward(rng, dtype, N, V):
    y = numpy_backend.log_softmax_forward(_normal(rng, dtype, N, V, scale=3.0))
    return {"dout": _normal(rng, dtype, N, V, scale=V**-0.5), "y": y}  # the sum of a row is of the order of 1


def _targets(rng, dtype, N, V, target, weighted, ignore_index, all_ignored):
    """t and weight; target is an integer dtype's name, "negative", "onehot" or "soft"."""
    labels = rng.integers(0, V, N)
    if target == "negative":
        t = np.where(rng.random(N) < 0.5, labels - V, labels)
    elif target == "onehot":
        t = np.eye(V, dtype=dtype)[labels]
    elif target == "soft":
        t = numpy_backend.softmax_forward(_normal(rng, dtype, N, V))
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
    y = numpy_backend.softmax_forward(_normal(rng, dtype, N, V, scale=3.0))
    return {
        "y": y, "t": t, "dout": dout, "weight": weight, "ignore_index": ignore_index,
        "label_smoothing": label_smoothing,
    }  # fmt: skip


def _sigmoid_cross_entropy_forward(rng, dtype, shape, epsilon=0.0, scale=3.0, soft=False):
    t = rng.random(shape) if soft else rng.integers(0, 2, shape)
    x = np.clip(_normal(rng, dtype, *shape, scale=scale), -100, 100)
    return {"x": x, "t": np.asarray(t, dtype), "epsilon": epsilon}


def _sigmoid_cross_entropy_backward(rng, dtype, shape, dout=1.0):
    y = np.asarray(rng.random(shape), dtype)
    return {"y": y, "t": np.asarray(rng.integers(0, 2, shape), dtype), "dout": dout}


def _squared_error_forward(rng, dtype, shape):
    return {"y": _normal(rng, dtype, *shape), "t": _normal(rng, dtype, *shape)}


def _squared_error_backward(rng, dtype, shape, scale=0.25):
    return _squared_error_forward(rng, dtype, shape) | {"scale": scale}


def _batch_norm_forward(rng, dtype, N, D, constant=False, epsilon=1e-6):
    x = _normal(rng, dtype, N, D, scale=2.0) + np.asarray(rng.uniform(-3, 3, D), dtype)
    if constant:
        x[:, 0] = 0.5
    return {"x": x, "gamma": _normal(rng, dtype, D), "beta": _normal(rng, dtype, D), "epsilon": epsilon}


def _batch_norm_inference(rng, dtype, N, D, epsilon=1e-6):
    args = _batch_norm_forward(rng, dtype, N, D)
    return {
        "x": args["x"], "gamma": args["gamma"], "beta": args["beta"], "mean": _normal(rng, dtype, D),
        "var": np.asarray(rng.uniform(0.5, 2, D), dtype), "epsilon": epsilon,
    }  # fmt: skip


def _batch_norm_backward(rng, dtype, N, D, epsilon=1e-6):
    x, gamma, beta, _ = _batch_norm_forward(rng, dtype, N, D).values()
    _, mean, var = numpy_backend.batch_norm_forward(x, gamma, beta, epsilon)
    dout = _normal(rng, dtype, N, D, scale=N**-0.5 if N else 1)
    return {"dout": dout, "x": x, "gamma": gamma, "mean": mean, "var": var, "epsilon": epsilon}


def _dropout_forward(rng, dtype, shape, ratio=0.5, key=0x0123456789ABCDEF, scale=1.0, special=False):
    return _relu_forward(rng, dtype, shape, special) | {"ratio": ratio, "key": key, "scale": scale}


def _dropout_backward(rng, dtype, shape, scale=1.0, special=False):
    return _relu_backward(rng, dtype, shape, special) | {"scale": scale}


def _arrays(rng, dtype, shapes, scale=1.0):
    return [_normal(rng, dtype, *shape, scale=scale) for shape in shapes]


def _optimizer(**own):
    """Builder of one update rule's arguments: its state lists, then the numbers of `own`, then the common tail."""

    def build(rng, dtype, shapes, weight_decay=0.0, clip_norm=0.0, clip_value=0.0, **changed):
        args = {"params": _arrays(rng, dtype, shapes), "grads": _arrays(rng, dtype, shapes)}
        for name, value in (own | changed).items():
            args[name] = value
            if value == "signed":
                args[name] = _arrays(rng, dtype, shapes, scale=0.1)
            elif value == "positive":
                args[name] = [np.asarray(np.square(a)) for a in _arrays(rng, dtype, shapes)]
        return args | {"weight_decay": weight_decay, "clip_norm": clip_norm, "clip_value": clip_value}

    return build


def _grad_norm(rng, dtype, shapes):
    return {"grads": _arrays(rng, dtype, shapes)}


def _scale_arrays(rng, dtype, shapes, scale=0.3):
    return {"arrays": _arrays(rng, dtype, shapes), "scale": scale}


_BUILD = {
    "matmul": _matmul,
    "affine_forward": _affine_forward,
    "affine_backward": _affine_backward,
    "activation_forward": _activation_forward,
    "activation_backward": _activation_backward,
    "relu_forward": _relu_forward,
    "relu_backward": _relu_backward,
    "softmax_forward": _softmax_forward,
    "softmax_backward": _softmax_backward,
    "log_softmax_forward": _softmax_forward,
    "log_softmax_backward": _log_softmax_backward,
    "softmax_cross_entropy_forward": _softmax_cross_entropy_forward,
    "softmax_cross_entropy_backward": _softmax_cross_entropy_backward,
    "sigmoid_cross_entropy_forward": _sigmoid_cross_entropy_forward,
    "sigmoid_cross_entropy_backward": _sigmoid_cross_entropy_backward,
    "squared_error_forward": _squared_error_forward,
    "squared_error_backward": _squared_error_backward,
    "batch_norm_forward": _batch_norm_forward,
    "batch_norm_inference": _batch_norm_inference,
    "batch_norm_backward": _batch_norm_backward,
    "dropout_forward": _dropout_forward,
    "dropout_backward": _dropout_backward,
    "grad_norm": _grad_norm,
    "scale_arrays": _scale_arrays,
    "sgd_update": _optimizer(lr=0.1),
    "momentum_update": _optimizer(v="signed", lr=0.1, momentum=0.9),
    "nesterov_update": _optimizer(v="signed", lr=0.1, momentum=0.9, lookahead=False),
    "adagrad_update": _optimizer(h="positive", lr=0.1, epsilon=1e-7),
    "rmsprop_update": _optimizer(h="positive", lr=0.1, decay_rate=0.99, epsilon=1e-7),
    "adam_update": _optimizer(
        m="signed", v="positive", lr=0.1, beta1=0.9, beta2=0.999, epsilon=1e-7, step=3, decoupled=False
    ),
}


# ---- the cases: CASES[op][size][name] = what to build --------------------------------------------------------------


def _named(*options, **common):
    """Cases named after what tells them apart: {"3x4,bias=False": {...}}; the first positional is the shape."""
    cases = {}
    for shape, *more in options:
        given = more[0] if more else {}
        text = "x".join(str(n) for n in shape) or "scalar"
        cases[",".join([text, *(f"{k}={v}" for k, v in given.items())])] = {"shape": shape} | common | given
    return cases


def _dimensions(letters, cases):
    """Replace `shape` by one argument for each letter."""
    return {
        name: dict(zip(letters, case["shape"], strict=True)) | {k: v for k, v in case.items() if k != "shape"}
        for name, case in cases.items()
    }


def _matrix_cases(letters, tiny, odd, bench):
    return {size: _dimensions(letters, _named(*cases)) for size, cases in zip(SIZES, (tiny, odd, bench), strict=True)}


_AFFINE = (
    [((2, 3, 4),)],
    # empty, single, and one below and above the edges of register tiles and cache blocks
    [((n, d, m),) for n, d, m in [(0, 3, 4), (3, 4, 0), (1, 1, 1), (1, 257, 17), (5, 2, 65), (7, 33, 31), (15, 64, 16)]]
    + [((n, d, m),) for n, d, m in [(29, 100, 50), (63, 9, 33), (65, 513, 10), (257, 31, 49)]],
    [((100, 784, 50),), ((1, 784, 50),), ((100, 50, 100),), ((1024, 100, 10),), ((256, 512, 512),)],
)
_ROWS = (
    [((2, 3),)],
    [((0, 4),), ((1, 1),), ((3, 1),), ((1, 65),), ((5, 15),), ((7, 16),), ((9, 33),), ((4, 1000),), ((130, 10),)],
    [((100, 10),), ((700, 10000),)],
)
_ANY = (
    [((2, 3),)],
    [((),), ((0,),), ((1,),), ((63,),), ((64,),), ((65,),), ((3, 5, 7),), ((2, 0, 3),), ((1025,),)],
    [((100, 100),), ((1000, 1000),)],
)
_ALPHA = {"leaky_relu": 0.1, "elu": 0.7}


def _activation_cases():
    kinds = [{"kind": kind} | ({"alpha": _ALPHA[kind]} if kind in _ALPHA else {}) for kind in ACTIVATIONS]
    special = [((257,), kind | {"special": True}) for kind in kinds]
    shapes = [(shape, kind) for shape in [(), (0,), (1,), (67,), (3, 5, 7)] for kind in kinds]
    return {
        "tiny": _named(*(((2, 3), kind) for kind in kinds)),
        "odd": _named(*shapes, *special),
        "bench": _named(*(((100, 1000), kind) for kind in kinds)),
    }


def _elementwise(special=(), options=()):
    tiny, odd, bench = _ANY
    odd = odd + [((257,), s) for s in special] + [((1001,), o) for o in options]
    return {size: _named(*cases) for size, cases in zip(SIZES, (tiny, odd, bench), strict=True)}


_LABELS = ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "negative", "onehot", "soft"]
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
    return _matrix_cases("NV", tiny, odd, bench)


_NETWORK = (784, 50), (50,), (50, 10), (10,)  # TwoLayerNet
_MIXED = (1,), (), (0,), (67, 3), (64,), (3, 5, 7), (1025,)


def _optimizer_cases(*options):
    tails = [
        {"weight_decay": 0.1}, {"clip_norm": 0.5}, {"clip_norm": 1e6}, {"clip_value": 0.3},
        {"weight_decay": 0.1, "clip_norm": 0.5, "clip_value": 0.01},
    ]  # fmt: skip
    odd = {"no arrays": {"shapes": ()}, "mixed": {"shapes": _MIXED}}
    odd |= {",".join(f"{k}={v}" for k, v in o.items()): {"shapes": _MIXED} | o for o in [*tails, *options]}
    bench = {"TwoLayerNet": {"shapes": _NETWORK}, "50x10000": {"shapes": ((10000,),) * 50}}
    return {"tiny": {"one": {"shapes": ((2, 3),)}}, "odd": odd, "bench": bench}


def _norm_cases(*more):
    tiny, odd, bench = [((4, 3),)], [((0, 3),), ((1, 5),), ((2, 1),), ((7, 65),), ((129, 17),), *more], [((100, 100),)]
    return _matrix_cases("ND", tiny, odd, [*bench, ((1000, 1000),)])


_DROPOUT = [{"ratio": 0.0}, {"ratio": 0.1, "scale": 1 / 0.9}, {"ratio": 1.0}, {"key": 2**64 - 1}, {"key": 0}]
_SPECIAL_CASE = ({"special": True},)

CASES = {
    "matmul": _matrix_cases(
        "MKN", _AFFINE[0], [*_AFFINE[1], *(((33, 65, 18), {"transpose": t}) for t in ("a", "b", "ab"))],
        [*_AFFINE[2], *(((100, 784, 50), {"transpose": t}) for t in ("a", "b"))],
    ),
    "affine_forward": _matrix_cases(
        "NDM", _AFFINE[0],
        [
            *_AFFINE[1], ((5, 0, 3),), ((17, 33, 19), {"bias": False}), ((17, 33, 19), {"special": True}),
            *(((17, 33, 19), {"activation": kind, "alpha": 0.3}) for kind in ACTIVATIONS),
        ],
        [*_AFFINE[2], ((100, 784, 50), {"activation": "relu"})],
    ),
    "affine_backward": _matrix_cases("NDM", *_AFFINE),
    "activation_forward": _activation_cases(),
    "activation_backward": _activation_cases(),
    "relu_forward": _elementwise(_SPECIAL_CASE),
    "relu_backward": _elementwise(_SPECIAL_CASE),
    "softmax_forward": _matrix_cases("NV", _ROWS[0], [*_ROWS[1], ((5, 67), {"special": True})], _ROWS[2]),
    "softmax_backward": _matrix_cases("NV", *_ROWS),
    "log_softmax_forward": _matrix_cases("NV", _ROWS[0], [*_ROWS[1], ((5, 67), {"special": True})], _ROWS[2]),
    "log_softmax_backward": _matrix_cases("NV", *_ROWS),
    "softmax_cross_entropy_forward": _loss_cases(
        [{"epsilon": 1e-7}, {"epsilon": 1e-7, "target": "onehot"}, {"epsilon": 1e-7, "label_smoothing": 0.1},
         {"epsilon": 1e-7, "weighted": True, "ignore_index": -1}, {"special": True},
         {"special": True, "ignore_index": -1}, {"special": True, "target": "onehot"},
         {"special": True, "epsilon": 1e-7, "ignore_index": -1}],
    ),
    "softmax_cross_entropy_backward": _loss_cases([{"dout": 0.25}, {"dout": 0.25, "weighted": True}]),
    "sigmoid_cross_entropy_forward": _elementwise(
        (),
        [{"scale": 40.0}, {"soft": True}, {"epsilon": 1e-7, "scale": 1.0},
         {"epsilon": 1e-7, "soft": True, "scale": 1.0}],
    ),
    "sigmoid_cross_entropy_backward": _elementwise((), [{"dout": 0.25}]),
    "squared_error_forward": _elementwise(),
    "squared_error_backward": _elementwise((), [{"scale": 2.0}]),
    "batch_norm_forward": _norm_cases(((33, 7), {"constant": True}), ((33, 7), {"epsilon": 0.1})),
    "batch_norm_inference": _norm_cases(((33, 7), {"epsilon": 0.1})),
    "batch_norm_backward": _norm_cases(((33, 7), {"epsilon": 0.1})),
    "dropout_forward": _elementwise(_SPECIAL_CASE, _DROPOUT),
    "dropout_backward": _elementwise(_SPECIAL_CASE, [{"scale": 1.25}]),
    "grad_norm": _optimizer_cases(),
    "scale_arrays": _optimizer_cases(),
    "sgd_update": _optimizer_cases(),
    "momentum_update": _optimizer_cases(),
    "nesterov_update": _optimizer_cases({"lookahead": True}, {"lookahead": True, "weight_decay": 0.1}),
    "adagrad_update": _optimizer_cases(),
    "rmsprop_update": _optimizer_cases(),
    "adam_update": _optimizer_cases({"step": 1}, {"step": 100000}, {"decoupled": True, "weight_decay": 0.1}),
}  # fmt: skip
for _op in ("grad_norm", "scale_arrays"):
    CASES[_op]["odd"] = {name: CASES[_op]["odd"][name] for name in ("no arrays", "mixed")}


def build(op, dtype, **what):
    """Arguments for any shape and options, as the values of CASES: build("affine_forward", d, N=8, D=3, M=4)."""
    seed = zlib.crc32(f"{op} {sorted(what.items())}".encode())
    return _BUILD[op](np.random.default_rng(seed), np.dtype(dtype).type, **what)


def make(op, size, dtype, case=None):
    """Arguments of one case (the first of CASES[op][size] by default): a dict in the order of the signature.

    No outputs among them; the same at each call. `f(*args.values())` and `f(**args)` both work.
    """
    cases = CASES[op][size]
    return build(op, dtype, **cases[next(iter(cases)) if case is None else case])


# ---- how exact -----------------------------------------------------------------------------------------------------

_ULPS = {"matmul": 64, "affine": 64, "softmax": 32, "log": 128, "sigmoid": 32, "batch": 64, "activation": 64}


def tolerance(op, dtype):
    """(rtol, atol) against the reference in float64: multiples of the dtype's eps. Results are of the order of 1."""
    eps = float(np.finfo(dtype).eps) * _ULPS.get(op.split("_")[0], 8)
    return eps, eps


def assert_close(got, expected, op, dtype, name=""):
    """Shape, dtype and values of one result; a uint8 mask must be equal, NaN and inf in the same places."""
    rtol, atol = tolerance(op, dtype)
    if isinstance(expected, float):
        assert isinstance(got, float), f"{name} is {type(got)}"
        assert got == expected or math.isclose(got, expected, rel_tol=rtol, abs_tol=atol) or got != got != expected
        return
    assert isinstance(got, np.ndarray) and got.shape == expected.shape, f"{name}: {got.shape}, not {expected.shape}"
    if expected.dtype == np.uint8:
        np.testing.assert_array_equal(got, expected, err_msg=name)
    else:
        assert got.dtype == dtype, f"{name} is {got.dtype}"
        np.testing.assert_allclose(got, expected, rtol, atol, err_msg=name)


# ---- running -------------------------------------------------------------------------------------------------------


def why_not(name):
    """Why a target cannot run here; "" if it can."""
    backend, _, isa = name.partition("-")
    if backend not in backends.available():
        return f"the {backend} backend is not installed"
    if isa and isa not in _core().available_isas():
        return f"{isa} is not built or this CPU does not have it"
    return ""


def _core():
    return importlib.import_module("fastnn._core")


@contextlib.contextmanager
def target(name):
    """The table of operations of a target; inside, its backend and its ISA are the active ones."""
    backend, _, isa = name.partition("-")
    before = _core().isa() if isa else None
    with backends.use_backend(backend):
        try:
            if isa:
                _core().use_isa(isa)
            yield backends.checked
        finally:
            if isa:
                _core().use_isa(before)


def copied(args):
    """A deep copy of the arrays, each with the memory layout it has."""

    def copy(value):
        if isinstance(value, np.ndarray):
            return value.copy(order="K")
        return [copy(v) for v in value] if isinstance(value, (list, tuple)) else value

    return {name: copy(value) for name, value in args.items()}


def in_float64(args):
    """The same arguments with every float array as float64 (for the reference)."""

    def convert(value):
        if isinstance(value, np.ndarray):
            return value.astype(np.float64) if value.dtype.kind == "f" else value.copy()
        return [convert(v) for v in value] if isinstance(value, (list, tuple)) else value

    return {name: convert(value) for name, value in args.items()}


def run(function, op, args, **outputs):
    """Call with copies of the arguments -> dict of all that it produced (lists flattened), or None if it declined."""
    args = copied(args)
    returned = function(*args.values(), **outputs)
    if returned is None:
        return None
    names = RETURNS[op]
    if len(names) == 1:
        returned = (returned,)
    assert isinstance(returned, tuple) and len(returned) == len(names)
    results = {} if IN_PLACE[op] else dict(zip(names, returned, strict=True))
    for name in IN_PLACE[op]:
        results |= {f"{name}[{i}]": a for i, a in enumerate(args[name])}
    if IN_PLACE[op]:
        assert returned[0] is args[names[0]]
    return results


def expected(op, args):
    """What the reference says, computed in float64."""
    return run(getattr(numpy_backend, op), op, in_float64(args))
