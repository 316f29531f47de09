"""`--verify`: the reader's own code beside what replaces it, on some of the calls.

A compared call runs twice: ours on what the script gave, the original on a copy of it. In that thread the original
calls nothing but originals meanwhile. Then everything is compared that a caller can see: the result, attributes and
gradients, the arguments, what was written in place and what was replaced, what shares memory with what, what was
printed, and the state of NumPy's random generator.
"""

import contextlib
import copy
import ctypes
import inspect
import io
import random
import re
import sys
import threading
import types
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastnn.compat.kept import Kept, copies_as_they_are, settle, unsettled

from .session import StrictError

_FIRST, _EVERY = 3, 37  # calls that are compared: the first ones and then one in so many

# What counts as rounding: the largest difference, relative to the largest value of the original's array or, for an
# argument that is changed in place, to its largest change. float16 results come of float32 computation.
TOLERANCES = {"float64": 1e-10, "float32": 1e-5, "float16": 2e-3}
# Layers that amplify rounding allow a multiple: products sum thousands of terms (the largest error of float32 seen is
# 7.1e-6, TimeAffine.backward over 10,000 classes), BatchNormalization divides by standard deviations as small as 1e-3,
# recurrent layers feed their errors to the next step, whole networks do all of that.
MULTIPLES = {
    "Affine": 10, "MatMul": 10, "TimeAffine": 10, "Convolution": 10, "RNN": 10, "LSTM": 10, "GRU": 10,
    "BatchNormalization": 100, "TimeRNN": 100, "TimeLSTM": 100, "TimeGRU": 100, "MultiLayerNet": 100,
    "MultiLayerNetExtend": 100,
}  # fmt: skip
_NOISE = 16  # a sum that cancels may leave so many units in the last place of the largest argument
# Where a float32 result of float32 arguments is no mistake although the original's is float64.
_NARROWER = "Convolution", "Pooling", "im2col", "col2im"
# Effects that differ and are left so: the place in a call of what the book makes anew and we do not.
_FREE = {
    "Momentum.update": "self.v",  # updated in place
    "MultiLayerNet.gradient": "result[",  # where the book adds 0 * W: the layer's own dW, as db is in the book too
    "MultiLayerNetExtend.gradient": "result[",
}


def tolerance(label: str, dtype: str) -> float:
    """What is allowed for a layer's method ("Affine.backward") or a function, in a dtype."""
    return TOLERANCES[dtype] * MULTIPLES.get(label.partition(".")[0], 1)


@dataclass
class Verified:
    """Calls of one method or function: all, those compared, the worst error with what was allowed, the first fault."""

    calls: int = 0
    checked: int = 0
    error: float = 0.0
    tolerance: float = 0.0
    failure: str = ""
    skipped: str = ""  # why calls could not be compared

    def worse(self, error: float, allowed: float) -> None:
        if not self.tolerance or error / allowed > self.error / self.tolerance:
            self.error, self.tolerance = float(error), allowed


class _Thread(threading.local):
    original = False


class Verifier:
    """Compares calls; what it needs to know of the recorder: whether it is paused, and where a call comes from."""

    def __init__(self, recorder) -> None:
        self.recorder = recorder
        self.results: dict[str, Verified] = {}
        self._thread = _Thread()

    def beside(self, label, ours, original, compared=True):
        """`ours`, which is the original while the thread runs an original; some calls are compared."""
        done = self.results.setdefault(label, Verified()) if compared else None

        def either(*args, **named):
            if self._thread.original:
                return original(*args, **named)
            if done is None or self.recorder.paused:
                return ours(*args, **named)
            done.calls += 1
            if done.calls > _FIRST and done.calls % _EVERY:
                return ours(*args, **named)
            return self._both(label, done, ours, original, args, named)

        return either

    @contextlib.contextmanager
    def _originals(self):
        """In this thread originals call originals, and nothing is counted."""
        paused, self.recorder.paused, self._thread.original = self.recorder.paused, True, True
        try:
            yield
        finally:
            self.recorder.paused, self._thread.original = paused, False

    def _both(self, label, done, ours, original, args, named):
        names = _names(original, args)
        try:
            with self._originals():
                twin_args, twin_named = twin((args, named))
                before = World(names, args, named), World(names, twin_args, twin_named)
                values = {at: x.copy() for at, x in before[0].arrays.items() if not at.startswith("self.")}
        except Exception as error:  # a file, a lock, a generator
            done.skipped = f"its arguments cannot be copied: {type(error).__name__}: {error}"
            return ours(*args, **named)
        states = np.random.get_state(), random.getstate()
        with _listening() as printed:
            result, raised = _called(ours, args, named)
        if isinstance(raised, StrictError):
            raise raised
        after = np.random.get_state(), random.getstate()
        try:
            _set_random(states)
            with self._originals(), np.errstate(all="ignore"), _listening(aside=True) as expected_print:
                expected, failed = _called(original, twin_args, twin_named)
            draws = np.random.get_state()
        finally:
            _set_random(after)
        with self._originals():
            try:
                if raised is not None or failed is not None:
                    fault = _exceptions_differ(raised, failed)
                else:
                    mine = World(names, args, named, result)
                    theirs = World(names, twin_args, twin_named, expected)
                    fault = (
                        self._values_differ(label, done, mine, theirs, values)
                        or _effects_differ(before, (mine, theirs), _FREE.get(label, "-"))
                        or _prints_differ(expected_print.text(), printed.text())
                    )
                    if not fault and not _same_state(draws, after[0]):
                        fault = "NumPy's random generator is left in another state"
                done.checked += 1
            except Exception as error:
                done.skipped = f"could not be compared: {type(error).__name__}: {error}"
                fault = ""
        if fault and not done.failure:
            done.failure = f"{fault} (at {self.recorder.call_site()})"
        if raised is not None:
            raise raised
        return result

    def _values_differ(self, label, done, mine, theirs, before) -> str:
        """The first value that differs by more than rounding; all errors are noted."""
        given = [x for x in before.values() if x.dtype.kind == "f"]
        noise = max(map(_largest, given), default=0.0)
        narrow = self.recorder.options.float32
        narrow_sums = narrow or any(x.dtype == np.float32 for x in given)
        fault = ""
        for at, a in theirs.values.items():
            if at not in mine.values:
                fault = fault or f"{at} is missing"
                continue
            b = mine.values[at]
            why, error, dtype = _difference(a, b, before.get(at), noise, narrow_sums if np.ndim(a) == 0 else narrow)
            if dtype is not None:
                allowed = tolerance(label, dtype)
                done.worse(error, allowed)
                if error > allowed:
                    why = why or f"differs by {error:.1e}, {allowed:.0e} is allowed"
                may_be_narrower = narrow or (narrow_sums and label.startswith(_NARROWER))
                if not why and not may_be_narrower and np.asarray(a).dtype != np.asarray(b).dtype:
                    why = f"is {np.asarray(b).dtype}, the original's {np.asarray(a).dtype}"
            if why:
                fault = fault or f"{at} {why}"
        return fault

    # ---- at the end ----

    def verdict(self) -> tuple[str, bool]:
        """A sentence, and whether everything agrees."""
        called = {label: v for label, v in self.results.items() if v.calls}
        checked = sum(v.checked for v in called.values())
        faults = {label: v.failure for label, v in called.items() if v.failure}
        if faults:
            first, why = next(iter(faults.items()))
            more = f"; so do {len(faults) - 1} more" if len(faults) > 1 else ""
            return f"fastnn: verification FAILED: {first} differs from the original: {why}{more}", False
        if not checked:
            return "fastnn: nothing was verified: no call of anything that was replaced could be compared", True
        calls, compared = sum(v.calls for v in called.values()), sum(v.checked > 0 for v in called.values())
        sentence = (
            f"fastnn: verified: {checked} of {calls} calls of {compared} methods and functions were compared, "
            "and all agree with the originals"
        )
        left = [label for label, v in called.items() if not v.checked]
        return sentence + (f"; not compared: {', '.join(left)}" if left else ""), True


# ---- copies --------------------------------------------------------------------------------------------------------


def twin(value):
    """A deep copy in which arrays that share memory do so too, and objects are settled: as the original would be."""
    memo = _copied_arrays(value)
    with copies_as_they_are():
        made = copy.deepcopy(value, memo)
    for x in [*memo.values()]:
        if unsettled(x):
            settle(x)
    return made


def _copied_arrays(value) -> dict[int, Any]:
    """{id(array): its copy} of all arrays in lists, dicts and attributes below a value."""
    arrays = {id(x): x for x in _below(value) if type(x) is np.ndarray and not x.dtype.hasobject}
    found: dict[int, Any] = {}
    for low, high, group in _overlapping(arrays.values()):
        if len(group) == 1:
            copies = [group[0].copy("K")]
        else:
            memory = np.frombuffer((ctypes.c_ubyte * (high - low)).from_address(low), np.uint8).copy()
            copies = [
                np.ndarray(a.shape, a.dtype, memory, a.__array_interface__["data"][0] - low, a.strides) for a in group
            ]
        for a, made in zip(group, copies, strict=True):
            made.flags.writeable = a.flags.writeable
            found[id(a)] = made
    return found


def _overlapping(arrays):
    """Groups of arrays whose memory overlaps: (first byte, end, arrays)."""
    groups: list[tuple[int, int, list]] = []
    for low, high, a in sorted(((*_bounds(a), a) for a in arrays), key=lambda item: item[:2]):
        if groups and low < groups[-1][1]:
            first, end, members = groups[-1]
            members.append(a)
            groups[-1] = first, max(end, high), members
        else:
            groups.append((low, high, [a]))
    return groups


def _bounds(a):
    """The first byte of an array, and the end."""
    start = a.__array_interface__["data"][0]
    if not a.size:
        return start, start
    reach = [(n - 1) * stride for n, stride in zip(a.shape, a.strides, strict=True)]
    return start + sum(min(r, 0) for r in reach), start + sum(max(r, 0) for r in reach) + a.itemsize


def _below(value):
    seen, more = set(), [value]
    while more:
        x = more.pop()
        if id(x) not in seen:
            seen.add(id(x))
            yield x
            more += _parts(x)


def _parts(x):
    if isinstance(x, dict):
        return [*x.values()]
    if isinstance(x, list | tuple | set):
        return [*x]
    return [*vars(x).values()] if _is_object(x) else []


def _is_object(x):
    return hasattr(x, "__dict__") and not isinstance(x, type | types.ModuleType | types.FunctionType | np.ndarray)


# ---- what a caller can see -----------------------------------------------------------------------------------------


class World:
    """Values by where they are: "result[0]", "self.params[1]", "dout". arrays: those that are kept, not computed."""

    def __init__(self, names, args, named, *result) -> None:
        self.values: dict[str, Any] = {}
        self.arrays: dict[str, np.ndarray] = {}
        self._seen: set[int] = set()
        for name, value in [*zip(names, args, strict=True), *named.items()]:
            self._add(name, value, False)
        for value in result:
            self._add("result", value, False)

    def _add(self, at, x, computed):
        if isinstance(x, np.ndarray | np.generic | int | float | str | None):
            self.values[at] = x
            if type(x) is np.ndarray and not computed:
                self.arrays[at] = x
            return
        if id(x) in self._seen:
            return
        self._seen.add(id(x))
        if isinstance(x, dict):
            parts = [(f"{at}[{key!r}]", value, computed) for key, value in x.items()]
        elif isinstance(x, list | tuple):
            self.values[f"len({at})"] = len(x)
            parts = [(f"{at}[{i}]", value, computed) for i, value in enumerate(x)]
        else:
            parts = [(f"{at}.{name}", *seen) for name, seen in sorted(_attributes(x).items())] if _is_object(x) else []
        for part in parts:
            self._add(*part)

    def sharing(self, common) -> set[frozenset]:
        """Which of these places share memory."""
        places: dict[int, list[str]] = {}
        for at in common:
            if self.arrays[at].size:
                places.setdefault(id(self.arrays[at]), []).append(at)
        arrays = {id(self.arrays[at]): self.arrays[at] for at in common if self.arrays[at].size}
        groups = [[at for a in members for at in places[id(a)]] for *_, members in _overlapping(arrays.values())]
        return {frozenset(group) for group in groups if len(group) > 1}


def _attributes(x) -> dict[str, tuple[Any, bool]]:
    """{name: (value, is it computed when it is read?)}; steps of layers over time are left out."""
    kept = {name for kind in type(x).__mro__ for name, value in vars(kind).items() if isinstance(value, Kept)}
    found = {name: (value, False) for name, value in vars(x).items() if name not in kept and name != "_saved"}
    for name in kept - {"layers"}:
        with contextlib.suppress(AttributeError):
            found[name] = getattr(x, name), True
    return found


def _names(original, args):
    """What to call the arguments by position."""
    try:
        names = [*inspect.signature(original).parameters][: len(args)]
    except (TypeError, ValueError):
        names = []
    return [*names, *(f"argument {i + 1}" for i in range(len(names), len(args)))]


# ---- comparisons ---------------------------------------------------------------------------------------------------


def _difference(a, b, before, noise, narrow):
    """(why b cannot be a, "" if it can; their relative error; the dtype that judges it, None if they must be equal)."""
    if a is None or b is None or isinstance(a, str) or isinstance(b, str):
        return ("" if a is b or (type(a) is type(b) and a == b) else f"is {b!r}, the original's {a!r}"), 0.0, None
    x, y = np.asarray(a), np.asarray(b)
    if x.shape != y.shape:
        return f"has shape {y.shape}, the original's {x.shape}", 0.0, None
    if x.dtype.kind not in "fc" and y.dtype.kind not in "fc":
        count = int(np.count_nonzero(x != y))
        return (f"differs in {count} of {x.size} elements" if count else ""), 0.0, None
    names = [d.name for d in (x.dtype, y.dtype) if d.name in TOLERANCES]
    dtype = max(names, key=lambda name: TOLERANCES[name], default="float64")
    if narrow and dtype == "float64":
        dtype = "float32"
    x, y = x.astype(np.float64), y.astype(np.float64)
    finite = np.isfinite(x)
    if not np.array_equal(finite, np.isfinite(y)) or not np.array_equal(x[~finite], y[~finite], equal_nan=True):
        return "differs in NaN or infinity", np.inf, dtype
    x, y = x[finite], y[finite]
    error = _largest(x - y)
    scale = _largest(x)
    epsilon = float(np.finfo(dtype).eps)
    if before is not None and before.shape == finite.shape and (change := _largest(x - before[finite])):
        error, scale = max(0.0, error - 4 * epsilon * scale), change
    else:
        scale = max(scale, _NOISE * epsilon * noise / TOLERANCES[dtype])
    return "", error / (scale or 1.0), dtype


def _largest(x) -> float:
    """The largest magnitude of what is finite."""
    x = np.asarray(x, np.float64)
    return float(np.abs(x[np.isfinite(x)]).max(initial=0.0))


def _effects_differ(before, after, free) -> str:
    """What is written in place, replaced or shared in one of (ours, the original's) and not in the other."""
    mine, theirs = after
    replaced = []
    for was, now in zip(before, after, strict=True):
        both = [at for at in was.arrays.keys() & now.arrays.keys() if not at.startswith(free)]
        replaced.append({at: not _same_elements(was.arrays[at], now.arrays[at]) for at in both})
    for at in sorted(replaced[0].keys() & replaced[1].keys()):
        if replaced[0][at] != replaced[1][at]:
            does = "is another array afterwards", "is the same array afterwards"
            return f"{at} {does[replaced[1][at]]}, the original's {does[replaced[0][at]]}"
    common = [at for at in mine.arrays.keys() & theirs.arrays.keys() if not at.startswith(free)]
    for at in sorted(at for at in common if at.startswith("result")):
        same = [{p for p in common if p != at and w.arrays[p] is w.arrays[at] and "." not in p} for w in (mine, theirs)]
        if same[0] != same[1]:
            one = [", ".join(sorted(places)) or "a new array" for places in same]
            return f"{at} is {one[0]}, the original's {one[1]}"
    shared = mine.sharing(common), theirs.sharing(common)
    for which, text in ((0, "share memory, not so the original's"), (1, "do not share memory, the original's do")):
        for group in sorted(map(sorted, shared[which] - shared[1 - which])):
            return f"{' and '.join(group[:4])} {text}"
    return ""


def _same_elements(a, b):
    """Are they one array, or views of the same elements?"""
    x, y = a.__array_interface__, b.__array_interface__
    return a is b or all(x[key] == y[key] for key in ("data", "shape", "strides", "typestr"))


def _exceptions_differ(raised, failed) -> str:
    if raised is None:
        return f"the original raises {type(failed).__name__}: {failed}"
    if failed is None:
        return f"it raises {type(raised).__name__}, which the original does not: {raised}"
    return "" if isinstance(raised, type(failed)) else f"it raises {type(raised).__name__}, not {type(failed).__name__}"


_NUMBER = re.compile(r"[-+]?\d+\.\d+(?:e[-+]?\d+)?")


def _prints_differ(expected, got) -> str:
    """Texts may differ in the last digits of numbers."""
    same = _NUMBER.sub("#", expected) == _NUMBER.sub("#", got)
    a, b = (np.array([float(x) for x in _NUMBER.findall(text)]) for text in (expected, got))
    return "" if same and np.allclose(a, b, rtol=1e-6, atol=1e-9) else "another text is printed"


def _same_state(a, b):
    return a[0] == b[0] and np.array_equal(a[1], b[1]) and a[2:] == b[2:]


def _set_random(states):
    np.random.set_state(states[0])
    random.setstate(states[1])


def _called(function, args, named):
    """(result, None) or (None, the exception)."""
    try:
        return function(*args, **named), None
    except Exception as error:
        return None, error


class _Ear(io.TextIOBase):
    """A stream that keeps what this thread writes; others', and this one's unless aside, goes on to the real one."""

    def __init__(self, real, aside) -> None:
        self.real, self.aside, self.thread = real, aside, threading.get_ident()
        self.kept: list[str] = []

    def write(self, text):
        mine = threading.get_ident() == self.thread
        if mine:
            self.kept.append(text)
        if (not mine or not self.aside) and self.real is not None:
            self.real.write(text)
        return len(text)

    def flush(self):
        if self.real is not None:
            self.real.flush()

    def __getattr__(self, name):
        return getattr(self.real, name)

    def text(self):
        return "".join(self.kept)


@contextlib.contextmanager
def _listening(aside=False):
    before = sys.stdout
    sys.stdout = ear = _Ear(before, aside)
    try:
        yield ear
    finally:
        if sys.stdout is ear:
            sys.stdout = before
