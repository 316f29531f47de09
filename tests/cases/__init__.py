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

from . import activation, affine, attention, branch, conv, embedding, norm, optim, pool, random, rnn, softmax
from ._common import SIZES as SIZES

DTYPES = np.float32, np.float64
TARGETS = "numpy", "numba", "native-baseline", "native-avx2", "native-avx512"

_FAMILIES = affine, activation, softmax, norm, random, optim, conv, pool, embedding, rnn, attention, branch


def _merged(name):
    """The dictionaries that families call `name`, as one."""
    return {key: value for family in _FAMILIES for key, value in getattr(family, name, {}).items()}


CASES = _merged("CASES")  # CASES[op][size][name] = what to build
_BUILD = _merged("BUILD")  # _BUILD[op](rng, dtype, ...) -> arguments in the order of the signature
_ULPS = _merged("ULPS")

# What an operation returns, in order; "loss", "norm" and "sum" are floats, the rest are arrays.
RETURNS = dict.fromkeys(OPS, ("out",)) | _merged("RETURNS")

_LISTS = "params", "arrays", "m", "v", "h"
# The arrays among them: optional last parameters, allocated when they are None.
OUTPUTS = {op: tuple(n for n in OPS[op].parameters if n in RETURNS[op] and n not in ("params", "arrays")) for op in OPS}
# Lists of arrays that are updated in place.
IN_PLACE = {op: () if OUTPUTS[op] else tuple(n for n in OPS[op].parameters if n in _LISTS) for op in OPS}


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


def tolerance(op, dtype):
    """(rtol, atol) against the reference in float64: multiples of the dtype's eps. Results are of the order of 1."""
    eps = float(np.finfo(dtype).eps) * _ULPS.get(op.split("_")[0], 8)
    return eps, eps


def assert_close(got, expected, op, dtype, name=""):
    """Shape, dtype and values of one result; integers (masks, indices) are equal, NaN and inf in the same places."""
    rtol, atol = tolerance(op, dtype)
    if isinstance(expected, float):
        assert isinstance(got, float), f"{name} is {type(got)}"
        assert got == expected or math.isclose(got, expected, rel_tol=rtol, abs_tol=atol) or got != got != expected
        return
    assert isinstance(got, np.ndarray) and got.shape == expected.shape, f"{name}: {got.shape}, not {expected.shape}"
    if expected.dtype.kind in "iu":
        assert got.dtype == expected.dtype, f"{name} is {got.dtype}"
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
            return value.copy(order="K") if value.flags.writeable else value  # repeated elements stay repeated
        return type(value)(copy(v) for v in value) if isinstance(value, (list, tuple)) else value

    return {name: copy(value) for name, value in args.items()}


def in_float64(args):
    """The same arguments with every float array as float64 (for the reference)."""

    def convert(value):
        if isinstance(value, np.ndarray):
            return value.astype(np.float64) if value.dtype.kind == "f" else value.copy()
        return type(value)(convert(v) for v in value) if isinstance(value, (list, tuple)) else value

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
    results = {name: value for name, value in results.items() if value is not None}  # not asked for
    for name in IN_PLACE[op]:
        results |= {f"{name}[{i}]": a for i, a in enumerate(args[name])}
    if IN_PLACE[op]:
        assert returned[0] is args[names[0]]
    return results


def expected(op, args):
    """What the reference says, computed in float64."""
    return run(getattr(numpy_backend, op), op, in_float64(args))


def compile_all():
    """One call of every operation in both dtypes under Numba, whose cache on disk then has the kernels."""
    with target("numba") as table:
        for op in CASES:
            for dtype in DTYPES:
                run(getattr(table, op), op, make(op, "tiny", dtype))
