"""Threads of a large call: the least of OMP_NUM_THREADS, threadpoolctl, the cgroup's quota and set_num_threads()."""

import importlib
import math
import os
from pathlib import Path
from types import ModuleType

_core: ModuleType | None
try:
    _core = importlib.import_module("fastnn._core")
except ModuleNotFoundError as error:
    if error.name != "fastnn._core":
        raise
    _core = None  # pure-Python installation: one thread


def set_num_threads(n: int) -> None:
    """Let large calls use at most n threads (n >= 1), in every calling thread; results do not depend on it."""
    if n != int(n) or n < 1:
        raise ValueError(f"set_num_threads: n is {n!r}; it must be a whole number >= 1")
    if _core is not None:
        _core.set_thread_limit(int(n))


def get_num_threads() -> int:
    """Threads that a large call made now would use."""
    return 1 if _core is None else _core.max_threads()


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
    quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
    return int(quota), int(period)  # "max" is a ValueError: no limit


def _quota_v1() -> tuple[int, int]:
    folder = Path("/sys/fs/cgroup/cpu")
    return int((folder / "cpu.cfs_quota_us").read_text()), int((folder / "cpu.cfs_period_us").read_text())


if _core is not None:
    _core.set_thread_limit(_quota())
    # After a region with several threads, libgomp hangs in a forked child at the first one there: stay serial.
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=lambda: set_num_threads(1))
