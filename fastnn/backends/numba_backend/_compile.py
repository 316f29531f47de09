"""Compiling and running: flags, threads, what kernels may write to."""

import functools
import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numba import njit

from ..._threads import get_num_threads

# Division by 0 is inf, as in NumPy: the check that raises would stop vectorisation (sigmoid, float32, 1e5 elements:
# 230 us with it, 15 us without). FMA is allowed. A helper keeps its flags where it is inlined into a loop with others.
_OPTIONS = {"nogil": True, "error_model": "numpy", "fastmath": {"contract"}}
_INLINE = {"error_model": "numpy", "fastmath": {"contract"}, "forceinline": True}  # LLVM would not inline erfc
_helper = njit(**_OPTIONS)
_formula = njit(**_INLINE)
# for sums and maxima over a row: several partial results
_reduction = njit(**_OPTIONS | {"fastmath": {"contract", "reassoc", "nsz", "nnan"}})
# for sums of numbers that may be inf or NaN
_summation = njit(**_OPTIONS | {"fastmath": {"contract", "reassoc", "nsz"}})


def _kernel(function):
    """Compile with a cache on disk; without one where no folder is writable."""
    try:
        return njit(cache=True, **_OPTIONS)(function)
    except RuntimeError:
        return njit(**_OPTIONS)(function)


# Elements a thread. Handing over a piece takes 70 us: on 1e6 elements two threads take sigmoid from 200 us to 184, but
# ReLU from 84 to 110; on 2e6 all gain.
_GRAIN = 1 << 19


@functools.lru_cache(maxsize=1)
def _executor(threads):
    return ThreadPoolExecutor(max(threads - 1, 1), "fastnn")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_executor.cache_clear)  # a child has none of the parent's threads


def _spread(kernel, arrays, *numbers):
    """kernel(*arrays, *numbers), on several threads if the arrays are large -> list of the results by piece."""
    if arrays[0].size < 2 * _GRAIN:
        return [kernel(*arrays, *numbers)]
    pieces = _pieces(arrays)
    waiting = [_executor(len(pieces)).submit(kernel, *piece, *numbers) for piece in pieces[1:]]
    return [kernel(*pieces[0], *numbers), *(future.result() for future in waiting)]


def _pieces(arrays):
    """Large arrays cut along their first axis, one piece a thread; flat ones at multiples of 64 elements."""
    length = len(arrays[0])
    threads = max(min(get_num_threads(), arrays[0].size // _GRAIN, length), 1)
    step = -(-length // threads)
    if arrays[0].ndim == 1:
        step = -(-step // 64) * 64
    return [[a[i : i + step] for a in arrays] for i in range(0, length, step)]


def _plain(a):
    return a if a.flags.carray else np.require(a, requirements="CAW")


def _flat(a):
    return _plain(a).reshape(-1)


def _target(out, like, *inputs):
    """Where a kernel may write a result of the shape and dtype of `like`: `out` if it is plain, else new memory.

    Also new where `out` is an input's memory: a loop over arrays that overlap is not vectorised (3 times slower).
    """
    if out is None:
        return np.empty_like(like)
    fits = out.flags.carray and out.dtype == like.dtype and out.shape == like.shape
    return out if fits and not any(np.may_share_memory(out, a) for a in (like, *inputs)) else np.empty_like(like)


def _deliver(result, out):
    if out is None or result is out:
        return result
    out[...] = result
    return out
