"""What happened: what was replaced and what not, calls, times, paths and copies (`--report`).

Nothing of this is in the way of a call unless it is asked for: methods and backend functions are wrapped only then.
"""

import functools
import json
import operator
import os
import sys
import threading
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

from .session import Options, StrictError
from .verify import Verifier

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep


@dataclass
class Entry:
    """One layer's method at one call site. seconds: all that is spent in the call; copies in bytes."""

    calls: int = 0
    seconds: float = 0.0
    copies: int = 0
    paths: Counter = field(default_factory=Counter)
    reasons: Counter = field(default_factory=Counter)


class _Thread(threading.local):
    """What each thread is doing."""

    def __init__(self) -> None:
        self.paused = False  # while something is tried, or an original runs
        self.current = [("", Entry())]
        self.declined: Any = None  # (operation, arguments) of a call that the fast path has just declined


class Recorder:
    """Wraps what is replaced, and the backend's functions, as far as the options need it."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.reports = options.report or options.report_json is not None or options.strict
        self.failure: StrictError | None = None  # what --strict has raised, for scripts that catch everything
        self.entries: dict[tuple[str, str], Entry] = {}
        self.verifier = Verifier(self) if options.verify else None
        self.kernel_seconds = 0.0
        self.open = True  # until unpatch
        self._thread = _Thread()
        self._tables: dict[str, SimpleNamespace] = {}  # those of the backend, while ours are in their place
        if self.reports or options.time:
            self._wrap_backend()
        if self.reports:
            notice.listener = self._fell_back

    @property
    def paused(self) -> bool:
        """Is nothing counted in this thread?"""
        return self._thread.paused

    @paused.setter
    def paused(self, value: bool) -> None:
        self._thread.paused = value

    def close(self) -> None:
        self.open = False
        notice.listener = None
        for name, table in self._tables.items():
            setattr(backends, name, table)

    # ---- wrapping ----

    def wrap(self, label, ours, original=None, compared=True):
        """`ours` with its calls counted and, given the original, compared with that."""
        if self.reports and compared:
            ours = self._recorded(label, ours)
        if self.verifier is not None and original is not None:
            ours = self.verifier.beside(label, ours, original, compared)
        return ours

    def _recorded(self, label, ours):
        @functools.wraps(ours)
        def recorded(*args, **named):
            thread = self._thread
            if thread.paused or not self.open:
                return ours(*args, **named)
            site = self.call_site()
            entry = self.entries.get((label, site))
            if entry is None:
                entry = self.entries[label, site] = Entry()
            thread.current.append((label, entry))
            start = time.perf_counter()
            try:
                return ours(*args, **named)
            finally:
                entry.seconds += time.perf_counter() - start
                entry.calls += 1
                thread.current.pop()

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
            thread = self._thread
            if thread.paused:
                return f(*args, **named)
            start = time.perf_counter()
            result = f(*args, **named)
            self.kernel_seconds += time.perf_counter() - start
            if result is not None or not first:
                thread.current[-1][1].paths[path] += 1
            if self.reports:
                if first:
                    thread.declined = (op, args) if result is None else None
                else:
                    self._explain(op, args, path)
            return result

        return timed

    def _explain(self, op, used, path):
        """An operation has run on what `fastnn.ops` made of its arguments: each conversion and its reason."""
        declined, self._thread.declined = self._thread.declined, None
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
        label, entry = self._thread.current[-1]
        entry.copies += copied
        entry.reasons[reason] += 1
        if self.options.strict:
            where = f"{label or 'a call'} at {self.call_site(whole=True)}"
            self.failure = StrictError(f"{where}: {reason}; {_advice(reason)}")
            raise self.failure

    @staticmethod
    def call_site(whole=False):
        """file:line of the innermost frame outside this package."""
        frame = sys._getframe(1)
        while frame.f_back is not None and frame.f_code.co_filename.startswith(_PACKAGE):
            frame = frame.f_back
        name = frame.f_code.co_filename
        return f"{name if whole else os.path.basename(name)}:{frame.f_lineno}"

    # ---- at the end ----

    def calls(self) -> list[str]:
        """A line for each method at each call site, the slowest first, and one for each reason to fall back."""
        order = sorted(self.entries.items(), key=lambda item: -item[1].seconds)
        rows = [
            [label, site, str(e.calls), f"{e.seconds:.4f}", ", ".join(e.paths) or "Python", f"{e.copies / 1e6:.1f}"]
            for (label, site), e in order
        ]
        return _table(rows, ["layer", "call site", "calls", "seconds", "path", "copied MB"]) + [
            f"  {label} at {site}, {count} times: {why}"
            for (label, site), entry in self.entries.items()
            for why, count in entry.reasons.most_common()
        ]

    def comparisons(self) -> list[str]:
        """A line for each method and function that was compared with the original, and the verdict."""
        if self.verifier is None:
            return []
        rows = [
            [label, str(v.calls), str(v.checked), f"{v.error:.1e}", f"{v.tolerance:.0e}" if v.tolerance else "equal"]
            for label, v in sorted(self.verifier.results.items())
            if v.calls
        ]
        found = sorted(self.verifier.results.items())
        return [
            *_table(rows, ["layer", "calls", "compared", "largest error", "allowed"]),
            *(f"  {label} differs: {v.failure}" for label, v in found if v.failure),
            *(f"  {label}: {v.skipped}" for label, v in found if v.skipped),
            self.verifier.verdict()[0],
        ]

    def as_dict(self) -> dict[str, Any]:
        """kernel_seconds, backend, calls, verified."""
        calls = [
            {
                "layer": label, "site": site, "calls": e.calls, "seconds": e.seconds, "copied_bytes": e.copies,
                "paths": dict(e.paths), "fallbacks": dict(e.reasons),
            }
            for (label, site), e in self.entries.items()
        ]  # fmt: skip
        found = {"kernel_seconds": self.kernel_seconds, "backend": backends.active_name, "calls": calls}
        if self.verifier is None:
            return {**found, "verified": {}}
        sentence, agrees = self.verifier.verdict()
        verified = {label: vars(v) for label, v in self.verifier.results.items()}
        return {**found, "verified": verified, "verdict": sentence, "agrees": agrees}


def lines(used, seconds: float) -> list[str]:
    """What the options ask for at the end. used: the hook, which knows what was replaced, kept and provided."""
    options, recorder = used.options, used.recorder
    out: list[str] = []
    if options.report:
        out += recorder.calls() if recorder is not None and recorder.entries else []
        out += summary(used)
    if options.verify:
        out += recorder.comparisons() if recorder is not None else [f"fastnn: nothing was verified: {_nothing(used)}"]
    if options.time:
        share = 0.0 if recorder is None else recorder.kernel_seconds
        out.append(f"fastnn: {seconds:.2f} s in all, {share:.2f} s of it in fastnn's kernels")
    return out


def summary(used) -> list[str]:
    """What was replaced, what stays the reader's own and why, what fastnn provided."""
    modules: dict[str, list[str]] = {}
    for name in used.replaced:
        module, _, last = name.rpartition(".")
        modules.setdefault(module, []).append(last)
    return [
        *(f"  replaced in {module}: {', '.join(names)}" for module, names in modules.items()),
        *([] if modules else [f"  nothing was replaced: {_nothing(used)}"]),
        *(f"  {name} is the reader's own: {why}" for name, why in used.kept.items()),
        *(f"  {name} {what}" for name, what in used.provided.items()),
    ]


def _nothing(used):
    """Why nothing was replaced."""
    if used.kept:
        return "all that has a book's name computes something else, or may do so"
    if any(name.startswith("common.") for name in used.provided):
        return "fastnn provided the modules of `common`, so its layers compute as they are"
    if used.seen:
        return "the modules of `common` that were imported define nothing with a book's name"
    return "no module of a package `common` was imported"


def write_json(used, seconds: float) -> None:
    """The same as an object: seconds, replaced, kept, provided, and what `Recorder.as_dict` has."""
    empty: dict[str, Any] = {"kernel_seconds": 0.0, "backend": None, "calls": [], "verified": {}}
    report = {
        "seconds": seconds,
        "replaced": dict(used.replaced),
        "kept": used.kept,
        "provided": used.provided,
        **(empty if used.recorder is None else used.recorder.as_dict()),
    }
    with open(str(used.options.report_json), "w", encoding="utf-8") as file:
        json.dump(report, file, indent=1)


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


def _table(rows, head):
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    return ["  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)) for row in [head, *rows]]
