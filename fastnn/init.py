"""Weights to start from. The layers' `create` and the models draw theirs here.

A rule is a name or a number:

    "he"          normal, deviation sqrt(2 / fan_in): for ReLU. Book 1 ch. 6; He et al. 2015
    "xavier"      normal, sqrt(1 / fan_in): for sigmoid and tanh, as the books have it. "lecun" is the same
    "glorot"      normal, sqrt(2 / (fan_in + fan_out)): the paper's own (Glorot and Bengio 2010), what other libraries
                  call Xavier
    "orthogonal"  rows or columns that are orthonormal: for recurrent weights (Saxe et al. 2014)
    "zeros"       0
    a number      normal, with this deviation

fan_in is how many numbers go into an output, fan_out how many outputs a number goes to. Equal generators give equal
weights; one generator for all layers makes a network reproducible, one seed for each of them makes layers alike.
"""

import math
import numbers
from typing import Any

import numpy as np

_DEVIATIONS: dict[str, Any] = {
    "he": lambda fan_in, fan_out: math.sqrt(2 / fan_in),
    "xavier": lambda fan_in, fan_out: math.sqrt(1 / fan_in),
    "lecun": lambda fan_in, fan_out: math.sqrt(1 / fan_in),
    "glorot": lambda fan_in, fan_out: math.sqrt(2 / (fan_in + fan_out)),
}
RULES = (*_DEVIATIONS, "orthogonal", "zeros")


def weights(
    shape: tuple[int, ...], init: str | float = "he", rng: Any = None, dtype: Any = "float32",
    fans: tuple[int, int] | None = None, what: str = "init.weights",
) -> np.ndarray:  # fmt: skip
    """An array of that shape by a rule: (D, M), or filters (FN, C, FH, FW).

    rng: None, a seed or a numpy.random.Generator; dtype: float32 or float64. fans: (fan_in, fan_out), by default those
    of the shape: D and M, or C * FH * FW and FN * FH * FW. Raises ValueError for another rule, a deviation that is
    negative or not finite, and a size below 1; TypeError for another dtype. `what` begins the messages.
    """
    shape, dtype, rng = tuple(shape), floating(dtype, what), np.random.default_rng(rng)
    if any(not isinstance(n, int | np.integer) or n < 1 for n in shape) or not shape:
        raise ValueError(f"{what}: the shape is {shape}; its sizes must be whole numbers of at least 1")
    if not isinstance(init, str) and (not isinstance(init, numbers.Real) or isinstance(init, bool)):
        raise TypeError(f"{what}: init is {init!r}; it must be a number or one of {', '.join(RULES)}")
    if isinstance(init, str) and init.lower() not in RULES:
        raise ValueError(f"{what}: init is {init!r}; it must be a number or one of {', '.join(RULES)}")
    if isinstance(init, str) and init.lower() == "zeros":
        return np.zeros(shape, dtype)
    if isinstance(init, str) and init.lower() == "orthogonal":
        return orthogonal(shape, rng, dtype)
    std = deviation(init, *(_fans(shape) if fans is None else fans))
    if not 0 <= std < math.inf:
        raise ValueError(f"{what}: init is {init!r}; a deviation must be finite and not negative")
    return normal(shape, std, rng, dtype)


def deviation(init: str | float, fan_in: int, fan_out: int = 1) -> float:
    """The deviation of a rule by that name, or the number itself."""
    return float(_DEVIATIONS[init.lower()](fan_in, fan_out)) if isinstance(init, str) else float(init)


def normal(shape: tuple[int, ...], std: float, rng: Any, dtype: Any, over: float = 1.0) -> np.ndarray:
    """Normal draws times std / over: drawn and multiplied in float64, then cast."""
    return scaled(np.random.default_rng(rng).standard_normal(shape), std, dtype, over)


def scaled(draws: np.ndarray, std: float, dtype: Any, over: float = 1.0) -> np.ndarray:
    """The draws times std and divided by `over`, in that order (book 1 multiplies, book 2 divides), in dtype."""
    return (std * draws / over).astype(dtype)


def orthogonal(shape: tuple[int, ...], rng: Any, dtype: Any) -> np.ndarray:
    """Q of (rows, columns): orthonormal columns, or rows where there are more columns. More axes count as columns."""
    rows, columns = shape[0], math.prod(shape[1:])
    draws = np.random.default_rng(rng).standard_normal((max(rows, columns), min(rows, columns)))
    q, r = np.linalg.qr(draws)
    q = q * np.where(np.diagonal(r) < 0, -1.0, 1.0)  # so that every orthogonal matrix is as likely
    return np.ascontiguousarray(q if rows >= columns else q.T).reshape(shape).astype(dtype)


def bias(M: int, value: Any, dtype: Any, what: str) -> np.ndarray | None:
    """(M,) zeros for True, M times a number, None for False. Raises TypeError for anything else."""
    if value is False or value is None:
        return None
    if not isinstance(value, numbers.Real):
        raise TypeError(f"{what}: bias is {value!r}; it must be True, False, or a number to start from")
    return np.full(M, 0.0 if value is True else float(value), dtype)


def sizes(what: str, **given: Any) -> list[int]:
    """The sizes as int. TypeError for one that is no whole number, ValueError for one below 1."""
    for name, value in given.items():
        if not isinstance(value, int | np.integer) or isinstance(value, bool):
            raise TypeError(f"{what}: {name} is {value!r}; it must be a whole number")
        if value < 1:
            raise ValueError(f"{what}: {name} is {value}; it must be at least 1")
    return [int(value) for value in given.values()]


def floating(dtype: Any, what: str) -> np.dtype:
    """The dtype; TypeError for one that is not float32 or float64."""
    dtype = np.dtype(dtype)
    if dtype not in (np.float32, np.float64):
        raise TypeError(f"{what}: dtype is {dtype}; it must be float32 or float64")
    return dtype


def _fans(shape):
    if len(shape) == 1:
        return shape[0], shape[0]
    if len(shape) == 2:
        return shape
    window = math.prod(shape[2:])
    return shape[1] * window, shape[0] * window
