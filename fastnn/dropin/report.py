"""What happened: calls, times, paths and copies (`--report`); ours beside the original (`--verify`).

Nothing of this is in the way of a call unless it is asked for: methods and backend functions are wrapped only then.
"""

import copy
import json
import operator
import os
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from itertools import zip_longest
from types import SimpleNamespace
from typing import Any

import numpy as np

from fastnn import backends
from fastnn.backends import numpy_backend
from fastnn.compat import notice

from . import recognise
from .session import Options, StrictError

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_FIRST, _EVERY = 3, 37  # calls that are verified: the first ones and then one in so many


@dataclass
class Entry:
    """One layer's method at one call site. seconds: all that is spent in the call; copies in bytes."""

    calls: int = 0
    seconds: float = 0.0
    copies: int = 0
    paths: Counter = field(default_factory=Counter)
    reasons: Counter = field(default_factory=Counter)


@dataclass
class Verified:
    """Calls compared with the original's: how many, and the largest relative difference."""

    calls: int = 0
    checked: int = 0
    error: float = 0.0
    failure: str = ""


class Recorder:
    """Wraps what is replaced, and the backend's functions, as far as the options need it."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.reports = options.report or options.report_json is not None or options.strict
        self.failure: StrictError | None = None  # what --strict has raised, for scripts that catch everything
        self.entries: dict[tuple[str, str], Entry] = {}
        self.verified: dict[str, Verified] = {}
        self.kernel_seconds = 0.0
        self.paused = False  # while something is tried
        self._current = [("", Entry())]
        self._declined: Any = None  # (operation, arguments) of a call that the fast path has just declined
        self._shadows: dict[int, Any] = {}
        self._tables: dict[str, SimpleNamespace] = {}  # those of the backend, while ours are in their place
        if self.reports or options.time:
            self._wrap_backend()
        if self.reports:
            notice.listener = self._fell_back

    def close(self) -> None:
        notice.listener = None
        for name, table in self._tables.items():
            setattr(backends, name, table)

    def pristine(self, cls):
        """What is compared with: the class as it was; None if nothing is."""
        return _pristine(cls) if self.options.verify else None

    # ---- wrapping ----

    def wrap(self, label, ours, pristine=None, method=""):
        """`ours` with its calls counted and, given the original (a function, or a class and its method), compared."""
        if self.options.verify and pristine is not None:
            ours = self._beside(label, ours, pristine, method)
        if not self.reports:
            return ours

        def recorded(*args, **named):
            if self.paused:
                return ours(*args, **named)
            site = _call_site()
            entry = self.entries.get((label, site))
            if entry is None:
                entry = self.entries[label, site] = Entry()
            self._current.append((label, entry))
            start = time.perf_counter()
            try:
                return ours(*args, **named)
            finally:
                entry.seconds += time.perf_counter() - start
                entry.calls += 1
                self._current.pop()

        return recorded

    def _wrap_backend(self):
        self._tables = {"active": backends.active, "checked": backends.checked}
        numpys = vars(numpy_backend)
        name = backends.active_name
        for table, first in (("active", True), ("checked", False)):
            timed = {}
            for op, f in vars(self._tables[table]).items():
                path = "NumPy reference" if f is numpys.get(op) and name != "numpy" else name
                timed[op] = self._timed(op, f, path, first)
            setattr(backends, table, SimpleNamespace(**timed))

    def _timed(self, op, f, path, first):
        def timed(*args, **named):
            start = time.perf_counter()
            result = f(*args, **named)
            self.kernel_seconds += time.perf_counter() - start
            if result is not None or not first:
                self._current[-1][1].paths[path] += 1
            if self.reports and not self.paused:
                if first:
                    self._declined = (op, args) if result is None else None
                else:
                    self._explain(op, args, path)
            return result

        return timed

    def _explain(self, op, used, path):
        """An operation has run on what `fastnn.ops` made of its arguments: each conversion and its reason."""
        declined, self._declined = self._declined, None
        if path == "NumPy reference":
            self._fell_back(f"{op}: the {backends.active_name} backend leaves it to NumPy")
        if declined is None or declined[0] != op:
            return
        outputs = []
        for name, given, array in zip_longest(backends.OPS[op].parameters, declined[1], used):
            if isinstance(array, np.ndarray) and not _same_memory(given, array):
                self._fell_back(f"{op}: {name} {_why(given, array)}", array.nbytes)
            elif isinstance(array, list) and not (
                isinstance(given, list) and len(array) == len(given) and all(map(operator.is_, array, given))
            ):
                self._fell_back(f"{op}: {name} differ in dtype or are not contiguous")
            elif array is None and isinstance(given, np.ndarray):
                outputs.append(name)
        for name in outputs:
            self._fell_back(f"{op}: {name} is not contiguous, of another dtype or overlaps: the result is copied there")

    def _fell_back(self, reason, copied=0):
        """Something was converted, or computed by NumPy. An error if --strict was asked for."""
        if self.paused:
            return
        label, entry = self._current[-1]
        entry.copies += copied
        entry.reasons[reason] += 1
        if self.options.strict:
            self.failure = StrictError(f"{label or 'a call'} at {_call_site(whole=True)}: {reason}; {_advice(reason)}")
            raise self.failure

    # ---- the original beside ours ----

    def _beside(self, label, ours, pristine, method):
        done = self.verified.setdefault(label, Verified())

        def compared(*args, **named):
            if self.paused:
                return ours(*args, **named)
            done.calls += 1
            sampled = done.calls <= _FIRST or done.calls % _EVERY == 0
            shadow = self._shadows.pop(id(args[0]), None) if method else None  # of the last forward
            if method in ("forward", "update"):
                shadow = _shadow(args[0], pristine) if sampled else None
                if sampled and method == "forward":
                    self._shadows[id(args[0])] = shadow
            if shadow is None and (method or not sampled):
                return ours(*args, **named)
            theirs = (shadow, *copy.deepcopy(args[1:])) if method else copy.deepcopy(args)
            state = np.random.get_state()
            result = ours(*args, **named)
            after = np.random.get_state()
            np.random.set_state(state)
            try:
                expected = (getattr(pristine, method) if method else pristine)(*theirs, **copy.deepcopy(named))
                self._compare(done, expected, result, theirs, args, method)
            except Exception as error:
                done.failure = f"the original fails: {type(error).__name__}: {error}"
            finally:
                np.random.set_state(after)
            return result

        return compared

    @staticmethod
    def _compare(done, expected, result, theirs, args, method):
        pairs = [(expected, result)]
        if method == "update":
            pairs = [(theirs[1], args[1])]
        elif method == "backward":
            for name in ("dW", "db", "dgamma", "dbeta", "grads"):
                pairs.append((getattr(theirs[0], name, None), getattr(args[0], name, None)))
        done.checked += 1
        for a, b in pairs:
            done.error = max(done.error, _error(a, b))

    # ---- at the end ----

    def lines(self, kept: dict[str, str], seconds: float) -> list[str]:
        """The texts that the options ask for."""
        out = []
        if self.options.report:
            out += _table(self._rows(), ["layer", "call site", "calls", "seconds", "path", "copied MB"])
            out += [
                f"  {label} at {site}, {count} times: {why}"
                for (label, site), entry in self.entries.items()
                for why, count in entry.reasons.most_common()
            ]
            out += [f"  {name} is the reader's own: {why}" for name, why in kept.items()]
        if self.options.verify:
            rows = [
                [label, str(v.calls), str(v.checked), v.failure or f"{v.error:.1e}"]
                for label, v in sorted(self.verified.items())
                if v.calls
            ]
            out += _table(rows, ["layer", "calls", "compared", "largest error"])
        if self.options.time:
            share = self.kernel_seconds
            out.append(f"fastnn: {seconds:.2f} s in all, {share:.2f} s of it in fastnn's kernels")
        return out

    def _rows(self):
        order = sorted(self.entries.items(), key=lambda item: -item[1].seconds)
        return [
            [label, site, str(e.calls), f"{e.seconds:.4f}", ", ".join(e.paths) or "Python", f"{e.copies / 1e6:.1f}"]
            for (label, site), e in order
        ]

    def write_json(self, kept: dict[str, str], seconds: float) -> None:
        """The same as an object: seconds, backend, calls, kept, verified."""
        calls = [
            {
                "layer": label, "site": site, "calls": e.calls, "seconds": e.seconds, "copied_bytes": e.copies,
                "paths": dict(e.paths), "fallbacks": dict(e.reasons),
            }
            for (label, site), e in self.entries.items()
        ]  # fmt: skip
        report = {
            "seconds": seconds,
            "kernel_seconds": self.kernel_seconds,
            "backend": backends.active_name,
            "calls": calls,
            "kept": kept,
            "verified": {label: vars(v) for label, v in self.verified.items()},
        }
        with open(str(self.options.report_json), "w", encoding="utf-8") as file:
            json.dump(report, file, indent=1)


def _call_site(whole=False):
    """file:line of the innermost frame outside this package."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        frame = frame.f_back
    name = frame.f_code.co_filename
    return f"{name if whole else os.path.basename(name)}:{frame.f_lineno}"


def _same_memory(given, array):
    return isinstance(given, np.ndarray) and (
        array is given or array.__array_interface__["data"] == given.__array_interface__["data"]
    )


def _why(given, array):
    """What `fastnn.ops` had to do to an argument."""
    dtype = getattr(given, "dtype", None)
    if dtype is None:
        return f"is a {type(given).__name__}"
    if dtype != array.dtype:
        return f"{dtype} to {array.dtype}"
    return "not contiguous" if not given.flags.c_contiguous else "not aligned, or shares memory with a result"


def _advice(reason):
    """What a reader can do."""
    if " to float" in reason or "dtype" in reason or "NumPy multiplies" in reason or "cast" in reason:
        return "give it the other arguments' dtype, as x.astype(np.float64) does, or run with --float32"
    if "contiguous" in reason:
        return "give it whole arrays, as np.ascontiguousarray(x) does"
    if " is a " in reason:
        return "give it an array, as np.asarray(x, np.float64) does"
    return "run without --strict, or with --report to see all of these"


def _pristine(cls):
    """A class like the reader's before its methods are replaced."""
    names = {name: value for name, value in vars(cls).items() if name not in ("__dict__", "__weakref__")}
    return type(cls.__name__, cls.__bases__, names)


def _shadow(layer, cls):
    """A copy of a layer as an object of the class as it was, sharing nothing."""
    shadow = object.__new__(cls)
    vars(shadow).update(copy.deepcopy({k: v for k, v in vars(layer).items() if k != "_saved"}))
    return shadow


def _error(a, b) -> float:
    """The largest relative difference of results: arrays, numbers, and lists, tuples or dicts of them."""
    if isinstance(a, dict):
        return max((_error(a[key], b[key]) for key in a), default=0.0)
    if isinstance(a, list | tuple):
        return max((_error(x, y) for x, y in zip(a, b, strict=True)), default=0.0)
    if a is None or b is None:
        return 0.0 if a is b else np.inf
    if np.shape(a) != np.shape(b):
        return np.inf
    return recognise.largest_error(a, b)


def _table(rows, head):
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    return ["  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)) for row in [head, *rows]]
