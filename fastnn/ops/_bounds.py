"""Where the numbers that operations take must lie: the table of intervals, and the one function that reads it.

Native functions compare with the same intervals (`finite_from_0` and the like in src/bindings/array.h) and decline what
lies outside, so that this is asked for on the slow path only. Tests hold each row against all backends.
"""

import math
import operator
from typing import NamedTuple


class Interval(NamedTuple):
    """Numbers from low to high; an open end is not one of them. NaN is in none."""

    low: float
    high: float
    open_low: bool
    open_high: bool
    text: str

    @classmethod
    def read(cls, text):
        """As mathematics writes it, powers as Python: "[0, 1)", "[0, 2**64)"."""
        low, high = (_end(end.strip()) for end in text[1:-1].split(","))
        return cls(low, high, text[0] == "(", text[-1] == ")", text)

    def __contains__(self, value):
        above = self.low < value if self.open_low else self.low <= value
        return above and (value < self.high if self.open_high else value <= self.high)


def _end(text):
    base, _, power = text.partition("**")
    return float(base) ** int(power or 1)


# A rate is any number but NaN: a negative one climbs. What is added to a root that is divided by must not be 0 in
# float32. A norm of inf clips nothing.
_ANY, _FINITE = "[-inf, inf]", "(-inf, inf)"
_DIVIDES = "[1e-38, inf)"
_UPDATE = {"lr": _ANY, "weight_decay": "[0, inf)", "clip_norm": "[0, inf]", "clip_value": "[0, inf]"}
_NORM = {"epsilon": "[0, inf)"}
_ENTROPY = {"label_smoothing": "[0, 1]", "ignore_index": "[-2**63, 2**63)"}
_DROPOUT = {"ratio": "[0, 1]", "key": "[0, 2**64)"}

_TABLE = {
    "sgd_update": _UPDATE,
    "momentum_update": _UPDATE | {"momentum": "[0, 1]"},
    "nesterov_update": _UPDATE | {"momentum": "[0, 1]"},
    "adagrad_update": _UPDATE | {"epsilon": _DIVIDES},
    "rmsprop_update": _UPDATE | {"decay_rate": "[0, 1]", "epsilon": _DIVIDES},
    "adam_update": _UPDATE | {"beta1": "[0, 1)", "beta2": "[0, 1)", "epsilon": _DIVIDES, "step": "[1, 2**53]"},
    "moving_average": {"momentum": "[0, 1]", "factor": _FINITE},
    "clip_grads": {"max_norm": "[0, inf]"},
    "softmax_cross_entropy_forward": _ENTROPY | {"epsilon": "[0, inf)"},
    "softmax_cross_entropy_backward": _ENTROPY,
    "affine_softmax_cross_entropy": _ENTROPY | {"epsilon": "[0, inf)"},
    "sigmoid_cross_entropy_forward": {"epsilon": "[0, inf)"},
    "dropout_forward": _DROPOUT,
    "dropout2d_forward": _DROPOUT,
    "embedding_backward": {"V": "[0, 2**31)"},
    "embedding_backward_rows": {"V": "[0, 2**31)"},
    "batch_norm_forward": _NORM,
    "batch_norm_inference": _NORM,
    "batch_norm_backward": _NORM,
    "layer_norm_forward": _NORM,
    "group_norm_forward": _NORM,
}

# operation -> {argument: Interval}
BOUNDS = {op: {name: Interval.read(text) for name, text in rows.items()} for op, rows in _TABLE.items()}


def bounded(op, name, value):
    """The argument as a float. TypeError if it is no number, ValueError if it is outside of an interval in BOUNDS."""
    try:
        if isinstance(value, str | bytes):
            raise TypeError
        number = float(value)
    except OverflowError:  # of an int
        value = number = math.inf if value > 0 else -math.inf
    except (TypeError, ValueError):
        raise TypeError(f"{op}: {name} is {value!r}; it must be a number") from None
    _require(op, name, value, number)
    return number


def bounded_whole(op, name, value):
    """The same as an int; TypeError for what is no whole number."""
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{op}: {name} is {value!r}; it must be a whole number") from None
    _require(op, name, number, number)
    return number


def _require(op, name, value, number):
    interval = BOUNDS.get(op, {}).get(name)
    if interval is not None and number not in interval:
        raise ValueError(f"{op}: {name} is {value}; it must lie in {interval.text}")
