"""Cases of the family rnn."""

import numpy as np

from fastnn.backends import numpy_backend

from ._common import SIZES, normal

_SHAPE = "N", "T", "D", "H"


def _sequence(
    rng, dtype, gates, N, T, D, H, bias=True, state=True, lengths=False, reverse=False, time_major=False, nan=False
):
    """Arguments that all six operations share."""
    x = normal(rng, dtype, *((T, N) if time_major else (N, T)), D)
    if nan:
        x[-1, -1, -1] = np.nan
    arrays = {
        "x": x,
        "Wx": normal(rng, dtype, D, gates * H, scale=D**-0.5 if D else 1),
        "Wh": normal(rng, dtype, H, gates * H, scale=H**-0.5 if H else 1),
        "b": normal(rng, dtype, gates * H, scale=0.5) if bias else None,
        "h0": normal(rng, dtype, N, H, scale=0.5) if state else None,
    }
    some = rng.integers(0, T + 1, N)
    some[:2] = (T, 0)[:N]
    options = {"lengths": some if lengths else None, "reverse": reverse, "time_major": time_major}
    return arrays, options


def _gradient(rng, dtype, args, H):
    """Of the order that makes dW and db of the order of 1."""
    steps = args["x"].shape[:2]
    return normal(rng, dtype, *steps, H, scale=max(np.prod(steps), 1) ** -0.5)


def _without(args, *names):
    return {name: value for name, value in args.items() if name not in names}


def _rnn_forward(rng, dtype, activation="tanh", **what):
    arrays, options = _sequence(rng, dtype, 1, **what)
    return arrays | {"activation": activation} | options


def _rnn_backward(rng, dtype, **what):
    args = _rnn_forward(rng, dtype, **what)
    hs = numpy_backend.rnn_forward(**args)
    arrays = {"dhs": _gradient(rng, dtype, args, what["H"])} | _without(args, "b", *_tail(args)) | {"hs": hs}
    return arrays | {name: args[name] for name in _tail(args)}


def _tail(args):
    return [
        n for n in ("activation", "peephole", "linear_before_reset", "lengths", "reverse", "time_major") if n in args
    ]


def _lstm_forward(rng, dtype, peephole=False, **what):
    arrays, options = _sequence(rng, dtype, 4, **what)
    N, H = what["N"], what["H"]
    c0 = normal(rng, dtype, N, H) if what.get("state", True) else None
    weights = normal(rng, dtype, 3 * H, scale=0.5) if peephole else None
    return arrays | {"c0": c0, "peephole": weights} | options


def _lstm_backward(rng, dtype, **what):
    args = _lstm_forward(rng, dtype, **what)
    hs, cs, gates = numpy_backend.lstm_forward(**args)
    dcT = normal(rng, dtype, what["N"], what["H"], scale=0.1) if what.get("state", True) else None
    first = {"dhs": _gradient(rng, dtype, args, what["H"]), "dcT": dcT}
    saved = {"hs": hs, "cs": cs, "gates": gates}
    return first | _without(args, "b", *_tail(args)) | saved | {name: args[name] for name in _tail(args)}


def _gru_forward(rng, dtype, linear=False, **what):
    arrays, options = _sequence(rng, dtype, 3, **what)
    b_h = normal(rng, dtype, what["H"], scale=0.5) if linear and what.get("bias", True) else None
    return arrays | {"linear_before_reset": linear, "b_h": b_h} | options


def _gru_backward(rng, dtype, **what):
    args = _gru_forward(rng, dtype, **what)
    hs, gates = numpy_backend.gru_forward(**args)
    first, saved = {"dhs": _gradient(rng, dtype, args, what["H"])}, {"hs": hs, "gates": gates}
    return first | _without(args, "b", "b_h", *_tail(args)) | saved | {name: args[name] for name in _tail(args)}


def _named(*cases):
    """Cases named after what tells them apart; the first of each is (N, T, D, H)."""
    return {
        ",".join(["x".join(str(n) for n in shape), *(f"{k}={v}" for k, v in options.items())]):
        dict(zip(_SHAPE, shape, strict=True)) | options
        for shape, options in cases
    }  # fmt: skip


# single steps and sequences; sizes around vectors, tiles of rows and blocks of units; x of few columns and of many, and
# more rows than a block of its gradients has; D or H of 0
_SHAPES = [
    (0, 3, 2, 4), (1, 1, 1, 1), (3, 1, 5, 17), (4, 3, 6, 6), (1, 4, 3, 33), (2, 3, 0, 5), (2, 3, 4, 0), (7, 5, 9, 31),
    (13, 3, 4, 65), (97, 2, 3, 8), (2, 2, 3, 520), (5, 4, 33, 18), (130, 8, 2, 6),
]  # fmt: skip
_OPTIONS = [
    {"bias": False},
    {"state": False},
    {"reverse": True},
    {"time_major": True},
    {"lengths": True},
    {"lengths": True, "reverse": True},
    {"lengths": True, "reverse": True, "time_major": True, "state": False},
    {"nan": True},
]
_BENCH = [(20, 35, 100, 100), (1, 1, 100, 100), (8, 100, 1, 64), (128, 5, 16, 256), (20, 3, 650, 650)]


def _cases(*more):
    odd = [(shape, {}) for shape in _SHAPES]
    odd += [((7, 5, 9, 19), options | kind) for kind in ({}, *more) for options in ({}, *_OPTIONS) if options or kind]
    odd += [((1, 3, 4, 9), kind | {"lengths": True, "reverse": True}) for kind in ({}, *more)]
    bench = [(shape, {}) for shape in _BENCH] + [(_BENCH[0], kind) for kind in more]
    return dict(zip(SIZES, (_named(((2, 3, 4, 5), {})), _named(*odd), _named(*bench)), strict=True))


_GRADIENTS = "dx", "dWx", "dWh", "db", "dh0"

RETURNS = {
    "rnn_forward": ("hs",),
    "rnn_backward": _GRADIENTS,
    "lstm_forward": ("hs", "cs", "gates"),
    "lstm_backward": (*_GRADIENTS, "dc0", "dpeephole"),
    "gru_forward": ("hs", "gates"),
    "gru_backward": (*_GRADIENTS, "db_h"),
}

BUILD = {
    "rnn_forward": _rnn_forward,
    "rnn_backward": _rnn_backward,
    "lstm_forward": _lstm_forward,
    "lstm_backward": _lstm_backward,
    "gru_forward": _gru_forward,
    "gru_backward": _gru_backward,
}

_RNN, _LSTM = _cases({"activation": "relu"}, {"activation": "sigmoid"}), _cases({"peephole": True})
_GRU = _cases({"linear": True})

CASES = {
    "rnn_forward": _RNN,
    "rnn_backward": _RNN,
    "lstm_forward": _LSTM,
    "lstm_backward": _LSTM,
    "gru_forward": _GRU,
    "gru_backward": _GRU,
}

# rounding errors of one step are carried on through the next ones
ULPS = {"rnn": 256, "lstm": 256, "gru": 256}
