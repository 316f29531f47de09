"""Threads of a large call: the least of OMP_NUM_THREADS, threadpoolctl, the cgroup's quota and set_num_threads()."""

import functools
import importlib
import math
import os
from types import ModuleType

_core: ModuleType | None
try:
    _core = importlib.import_module("fastnn._core")
except ModuleNotFoundError as error:
    if error.name != "fastnn._core":
        raise
    _core = None  # pure-Python installation: the limit below holds for the numba backend


def set_num_threads(n: int) -> None:
    """Let large calls use at most n threads (n >= 1), in every calling thread; results do not depend on it."""
    if n != int(n) or n < 1:
        raise ValueError(f"set_num_threads: n is {n!r}; it must be a whole number >= 1")
    global _limit
    _limit = int(n)
    if _core is not None:
        _core.set_thread_limit(_limit)


def get_num_threads() -> int:
    """Threads that a large call made now would use."""
    return min(_limit, _openmp_threads()) if _core is None else _core.max_threads()


def _openmp_threads() -> int:
    """What OpenMP would allow, for an installation without it: OMP_NUM_THREADS, or the CPUs of this process."""
    wanted = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    if wanted.isdigit() and int(wanted) > 0:
        return int(wanted)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _quota() -> int:
    """CPUs that the cgroup allows (version 2, then 1), rounded up; OpenMP itself does not look at it."""
    for read in (_quota_v2, _quota_v1):
        try:
            quota, period = read()
        except (OSError, ValueError):
            continue
        if quota > 0 and period > 0:
            return max(1, math.ceil(quota / period))
    return os.cpu_count() or 1


def _quota_v2() -> tuple[int, int]:
    quota, period = _read("/sys/fs/cgroup/cpu.max").split()
    return int(quota), int(period)  # "max" is a ValueError: no limit


def _quota_v1() -> tuple[int, int]:
    folder = "/sys/fs/cgroup/cpu/cpu.cfs_"
    return int(_read(folder + "quota_us")), int(_read(folder + "period_us"))


def _read(path: str) -> str:
    with open(path, encoding="utf-8") as file:
        return file.read()


_limit = _quota() if _core is not None and _core.openmp else min(_quota(), _openmp_threads())
if _core is not None:
    _core.set_thread_limit(_limit)
# A forked child (one of several, as a rule) has one thread until it asks for more.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=lambda: set_num_threads(1))


@functools.lru_cache(maxsize=1)
def _helper():
    from concurrent.futures import ThreadPoolExecutor  # 5 ms, which only side_by_side needs

    return ThreadPoolExecutor(1, "fastnn")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_helper.cache_clear)  # a child has none of the parent's threads


def side_by_side(first, second, pays: bool = True) -> tuple:
    """(first(), second()), the second in a thread of its own if it pays and more than one may be used.

    Handing over takes 70 us; native calls of 50 us and more release the GIL.
    """
    if not pays or get_num_threads() < 2:
        return first(), second()
    other = _helper().submit(second)
    try:
        own = first()
    finally:
        other.exception()  # also after an exception: it works on the caller's arrays
    return own, other.result()
