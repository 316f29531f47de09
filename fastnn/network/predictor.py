"""Frozen networks."""

import contextlib
import copy
import itertools
import os
import threading
import time
import weakref
from typing import Any

import numpy as np

from .. import backends, layers, time_layers
from ..described import listed
from ..layers.base import Layer
from ..layers.branch import Branches
from ..targets import classes, one_class
from . import lowering
from .network import computed_dtype
from .plan import FEWEST, Plan, cut, native_plan
from .program import Program

_KEPT, _KEPT_BYTES = 16, 256 << 20  # plans beside the first, and memory of their runs
_CACHE_BYTES = 2 << 20  # of memory between the layers that a block of samples takes, at most, but for so many samples:
_FEWEST_SEQUENCES = 32  # one at a time a BetterRnnlm takes 10.4 ms, 32 4.2 ms each
_BLOCK = 256  # samples of a block, at most
_RECURRENT = {"rnn_forward", "lstm_forward", "gru_forward"}
_SCORES, _PROBABILITIES = 0, 1
_OF_A_PASS = "x", "_input", "_saved", "_mask", "out", "idx", "_arg", "h", "c", "dh", "dc"  # attributes of layers
_SIGMOID_LOSSES = layers.SigmoidWithLoss, time_layers.TimeSigmoidWithLoss


def compile(net, dtype=None, input_shape=None):
    """A `Predictor`: the network as it is now, frozen. dtype: "float32" or "float64", by default the network's.

    input_shape: of one sample, where the network has not seen one yet; by default it is taken from the first input.
    Raises TypeError for what is not a `Network` and for another dtype, ValueError for a shape that the network does not
    take.
    """
    return Predictor(net, dtype, input_shape)


class Predictor:
    """Predictions of a network as it was when `compile` was called: later changes of the network do not count.

    x is (N, ...) of any N, of samples of any shape that the layers take: sequences of any length, images of any size.
    Each shape is planned when it first comes. The plan of the first one (`input_shape`) is kept for good, and calls
    with it are the quickest; of the others the last few are kept. Large inputs go through in blocks, so that memory
    stays bounded. `out`: an array for the result, which is then not allocated. Any number of threads may call a
    predictor at the same time. Stateful recurrent layers start from zeros at each call. Raises ValueError for samples
    of a shape that the layers do not take.
    """

    _follows_input, _loss = False, None  # of pickles that do not say

    def __init__(self, net, dtype=None, input_shape=None):
        net = getattr(net, "network", net)  # of a model
        if not hasattr(net, "input_dtype"):
            raise TypeError(
                f"compile: net is a {type(net).__name__}; it must be a fastnn.Network: Network(layers, loss)"
            )
        self.dtype = np.dtype(net.dtype if dtype is None else dtype)
        if self.dtype not in (np.float32, np.float64):
            raise TypeError(f"compile: dtype is {self.dtype}; it must be float32 or float64")
        self.layers = [_frozen(layer, self.dtype) for layer in net.layers]
        self._indices = net.input_dtype is None
        self._follows_input = net.follows_input and dtype is None
        self._to_probabilities = _probabilities(net)
        self._loss = layers.SigmoidWithLoss() if isinstance(net.loss_layer, _SIGMOID_LOSSES) else None
        shape = net.input_shape if input_shape is None else input_shape
        if shape is not None:
            shape = tuple(shape) if isinstance(shape, tuple | list) else (shape,)
            if not all(isinstance(size, int | np.integer) and size >= 0 for size in shape):
                raise ValueError(f"compile: input_shape is {input_shape!r}; it must be the sizes of one sample")
            shape = tuple(map(int, shape))
        self._begin(shape)

    def _begin(self, shape):
        asked = self._indices, self._follows_input, self._to_probabilities, self._loss
        self._results = _Results(self.layers, self.dtype, *asked)
        if shape is not None:
            self._results.get(_SCORES, shape, self.dtype)
        for name, method in _METHODS.items():  # one call instead of two, where no subclass has its own
            if backends.active_name == "native" and getattr(type(self), name) is getattr(Predictor, name):
                vars(self)[name] = self._results.function(*method)

    def __getstate__(self):
        """For copies and pickles: without the plans, which are made anew."""
        names = "dtype", "layers", "_indices", "_follows_input", "_to_probabilities", "_loss"
        return {name: vars(self)[name] for name in names} | {"input_shape": self.input_shape}

    def __setstate__(self, state):
        shape = state["input_shape"]
        state = {name: value for name, value in state.items() if name != "input_shape"}
        vars(self).update(state, dtype=np.dtype(state["dtype"].str))  # NumPy's own object
        self._begin(shape)

    @property
    def input_shape(self):
        """Of the samples that were planned first; None before that."""
        first = self._results.first[_SCORES]
        return None if first is None else first.input_shape

    @property
    def output_shape(self):
        """What those samples give."""
        first = self._results.first[_SCORES]
        return None if first is None else first.shape

    def __repr__(self):
        shape = [] if self.input_shape is None else [f"samples {self.input_shape}"]
        return listed(self, dict(enumerate(self.layers, 1)), str(self.dtype), *shape)

    def __call__(self, x, out=None):
        """What the network's `predict` gives: scores. x (N, ...) -> (N, ...)."""
        return self.predict(x, out)

    def predict(self, x, out=None):
        """What the network's `predict` gives: scores. x (N, ...) -> (N, ...)."""
        return self._results.find(_SCORES, x).run(False, x, out)

    def predict_proba(self, x, out=None):
        """Probabilities: the softmax of the scores over the last axis, their sigmoid for a network with that loss."""
        return self._results.find(_PROBABILITIES, x).run(False, x, out)

    def predict_classes(self, x, out=None):
        """The class of the largest score: x (N, ..., V) -> int64 (N, ...).

        One output of a network with a sigmoid's loss, or of a last Sigmoid, has the classes 1, where the probability is
        above 0.5, and 0: x (N, ..., 1) -> int64 (N, ...). ValueError for one output of any other network. Several
        outputs give the most probable one, whatever the loss; where each is a yes or no of its own, use
        `predict_proba(x) > 0.5`.
        """
        return self._results.find(_SCORES, x).run(True, x, out)

    def latency(self, n=1, calls=1000):
        """Seconds that predictions of n samples take -> {"p50", "p90", "p99", "mean"}: `calls` calls, one thread."""
        if n < 1 or calls < 1:
            raise ValueError(f"Predictor.latency: n is {n} and calls {calls}; both must be at least 1")
        if self.input_shape is None:
            raise RuntimeError("Predictor.latency: no input yet; call the predictor once, or compile with input_shape")
        shape = (n, *self.input_shape)
        x = np.zeros(shape, np.int64) if self._indices else np.random.default_rng(0).random(shape).astype(self.dtype)
        predict, out, times = self.predict, self(x), []
        for _ in range(calls):
            began = time.perf_counter_ns()
            predict(x, out)
            times.append(time.perf_counter_ns() - began)
        p50, p90, p99 = (float(p) * 1e-9 for p in np.percentile(times, (50, 90, 99)))
        return {"p50": p50, "p90": p90, "p99": p99, "mean": float(np.mean(times)) * 1e-9}


# The methods that are native functions on an instance -> (which result, whether its classes).
_METHODS = {
    "predict": (_SCORES, False),
    "predict_classes": (_SCORES, True),
    "predict_proba": (_PROBABILITIES, False),
}


class _Results:
    """What a predictor and its methods have in common: frozen layers, and a `_Frozen` for each shape that came.

    A method that is kept alone keeps this alive, which is all that it needs of the predictor.
    """

    def __init__(self, frozen_layers, dtype, indices, follows_input, to_probabilities, loss):
        self.layers, self.dtype, self.indices = frozen_layers, dtype, indices
        self.follows_input, self.to_probabilities, self.loss = follows_input, to_probabilities, loss
        self.first: list[Any] = [None, None]  # of scores and of probabilities: kept for good
        self._others: dict = {}  # (which, shape, dtype) -> _Frozen, the last one that was used at the end
        self.locks = _Locks()

    def function(self, which, classes):
        """A method of the predictor as a native function, of the plan for the first shape as soon as there is one."""
        from .._core import Plan as NativePlan

        method = _Method(self, which, classes)
        return (
            NativePlan.function_later(method, classes) if method.plan is None else method.plan.function(method, classes)
        )

    def find(self, which, x):
        """The `_Frozen` for these samples."""
        if which == _PROBABILITIES and isinstance(self.to_probabilities, Exception):
            raise self.to_probabilities
        array = _as_array(x, self.indices)
        samples = _samples(array, self.indices)
        dtype = computed_dtype(array.dtype) if self.follows_input else self.dtype
        try:
            if samples.ndim == 0:
                raise ValueError("samples are (N, ...)")
            if self.first[_SCORES] is None:
                self.get(_SCORES, samples.shape[1:], dtype)
            return self.get(which, samples.shape[1:], dtype)
        except ValueError as error:
            first = self.first[_SCORES]
            if first is None:
                raise
            takes = _of_any(first.input_shape)
            hint = "; one sample is x[None]" if array.shape == first.input_shape else ""
            raise ValueError(f"Predictor: x is {array.shape} but the network takes {takes}{hint}. {error}") from None

    def get(self, which, shape, dtype):
        """The `_Frozen` for samples of a shape, planned if there is none."""
        last = self.to_probabilities if which == _PROBABILITIES else None
        which = which if last is not None else _SCORES
        with self.locks.planning:
            first = self.first[which]
            if first is not None and first.input_shape == shape and first.dtype == dtype:
                return first
            key = which, shape, dtype
            found = self._others.pop(key, None)
            if found is None:
                found = _Frozen(self, shape, dtype, last, self.first[which] or self.first[_SCORES])
            scores = self.first[_SCORES]
            if first is None and (which == _SCORES or (scores.input_shape, scores.dtype) == (shape, dtype)):
                self.first[which] = found
            else:
                self._others[key] = found
                self._forget()
            return found

    def _forget(self):
        """The shapes that have not been used for longest, while there are too many; never the last one."""
        while len(self._others) > _KEPT or sum(f.nbytes for f in self._others.values()) > _KEPT_BYTES:
            if len(self._others) == 1:
                return
            del self._others[next(iter(self._others))]


class _Method:
    """What a native function calls for what it cannot take: another shape, dtype or layout, or bad input.

    plan: the native plan of the first shape, which the function calls from then on; None where there is none.
    """

    def __init__(self, results, which, classes):
        self._results, self._which, self._classes = results, which, classes

    def __call__(self, x, out=None):
        return self._results.find(self._which, x).run(self._classes, x, out)

    @property
    def plan(self):
        which = self._which if self._results.to_probabilities is not None else _SCORES
        first = self._results.first[which]
        return None if first is None or (self._classes and first.one_score) else first.native


class _Locks:
    """New ones in a forked child: those that threads of the parent held will not be released there."""

    def __init__(self):
        self.renew()
        _all_locks.add(self)

    def renew(self):
        self.planning = threading.Lock()
        self.one_at_a_time = threading.Lock()  # for layers in Python, which keep things


_all_locks: weakref.WeakSet = weakref.WeakSet()


def _after_fork():
    for locks in list(_all_locks):
        locks.renew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def _as_array(x, indices):
    """x as an array of a dtype that a network, or one that takes indices, can take."""
    x = np.asarray(x)
    if x.dtype.kind not in ("iu" if indices else "biuf") and not (indices and x.size == 0):
        wants = "indices" if indices else "real numbers"
        raise TypeError(f"Predictor: x has dtype {x.dtype}; the network takes {wants}")
    return x


def _samples(x, indices):
    """One sample of real numbers without its N as (1, ...)."""
    return x if indices or x.ndim > 1 else x.reshape(1, -1)


def _of_any(shape):
    """The shape of N samples, in words."""
    return f"({', '.join(['N', *map(str, shape)])}{'' if shape else ','})"


class _Frozen:
    """One result of a predictor for samples of one shape: scores or probabilities."""

    def __init__(self, results, shape, dtype, last, share):
        """last: what makes probabilities of scores. share: a `_Frozen` whose packed weights this one uses too."""
        self.dtype, self._indices, self.input_shape = dtype, results.indices, shape
        self._first = results.layers[0]
        self._locks = results.locks
        program = self._lower(results, shape, last, 1)
        sequences = any(op in _RECURRENT for op, _ in program.instructions)
        fewest = _FEWEST_SEQUENCES if sequences else FEWEST
        self.block = max(fewest, min(_BLOCK, _CACHE_BYTES // max(program.arena_bytes, 1)))
        self._program = self._lower(results, shape, last, max(self.block, 2 * FEWEST - 1))
        self._threshold = lowering.threshold(results.loss, results.layers[-1], self.shape)
        self.one_score = self.shape[-1:] in ((), (1,))  # whose class the largest does not say
        self.native = native_plan(self._program, self.y.buffer, share and share.native)
        # (x, out) of up to `block` samples, plain arrays -> out, None where an index is outside
        self._block_of_scores = self.native and self.native.function()
        self._block_of_classes = None if self.one_score else self.native and self.native.function(classes=True)
        if self._block_of_scores is None:
            self.native = None
        self._local = threading.local()  # plans in Python: one a thread

    @property
    def nbytes(self):
        """Memory of its runs, but for packed weights."""
        return self._program.arena_bytes if self.native is None else self.native.nbytes

    def run(self, classes, x, out):
        """Scores or classes: one native call where up to `block` samples are as that takes them."""
        native = self._block_of_classes if classes else self._block_of_scores
        result = None if native is None else native(x, out)
        if result is not None:
            return result
        return self.classes(x, out) if classes else self(x, out)

    def _lower(self, results, shape, last, capacity):
        program = Program(self.dtype, capacity, train=False, backward=False)
        x = program.input(0, shape, "labels" if results.indices else "float")
        y, _ = lowering.chain(program, results.layers, lowering.Value(x, shape, False, "the input"))
        if last == "softmax":
            y, _ = lowering.LAYERS[layers.Softmax](program, None, y)
        elif last == "sigmoid":
            y, _ = lowering.LAYERS[layers.Sigmoid](program, layers.Sigmoid(), y)
        if program.records[y.buffer].kind == "arena":
            program.pin(y.buffer)
        program.place()
        self.y, self.shape = y, y.shape
        return program

    def __call__(self, x, out=None):
        return self._in_blocks(self._block_of_scores or self._in_python, x, out, self.shape, self.dtype)

    def classes(self, x, out=None):
        if self.one_score:
            if self._threshold is None:
                raise ValueError(f"Predictor.predict_classes: {one_class(_of_any(self.shape))}")
            found = classes(self(x), self._threshold)
            if out is None:
                return found
            self._output(out, found.shape, found.dtype)[...] = found
            return out
        return self._in_blocks(self._block_of_classes or self._argmax, x, out, self.shape[:-1], np.dtype(np.int64))

    def _in_blocks(self, function, x, out, shape, dtype):
        """`function` of x, converted block by block, into out (N, *shape)."""
        x = self._input(x)
        n = len(x)
        result = self._output(out, (n, *shape), dtype)
        into = np.empty_like(result) if out is not None and np.may_share_memory(result, x) else result
        wanted = x.dtype.newbyteorder("=") if self._indices else self.dtype
        plain = x.dtype == wanted and x.flags.c_contiguous and x.flags.aligned
        try:
            for begin, end in itertools.pairwise(cut(n, self.block) if n else ()):
                part = x[begin:end]
                if not plain:
                    part = np.require(part, wanted, ["C_CONTIGUOUS", "ALIGNED"])
                if function(part, into[begin:end]) is None:
                    raise IndexError
        except IndexError:
            self._refuse_indices(x)
            raise
        if into is not result:
            result[...] = into
        return result if out is None else out

    def _input(self, x):
        """x (N, ...) as an array of any dtype and layout."""
        x = _as_array(x, self._indices)
        samples = _samples(x, self._indices)
        return samples if samples.size or not self._indices else samples.astype(np.int64)

    def _output(self, out, shape, dtype):
        """`out`, or a new array, as a plain one."""
        if out is None:
            return np.empty(shape, dtype)
        array = type(out) in (np.ndarray, np.memmap)
        if not array or out.shape != shape or out.dtype != dtype or not out.flags.carray:
            found = f"{out.dtype} {out.shape}" if array else type(out).__name__
            wants = f"{dtype} {shape}, C-contiguous, aligned and writable"
            raise ValueError(f"Predictor: out is {found}; it must be an array of {wants}")
        return out.view(np.ndarray)

    def _refuse_indices(self, x):
        """IndexError with the first index that the table does not have, if there is one."""
        if not self._indices:
            return
        V = len(self._first.params[0])
        bad = (x < 0) | (x >= V)
        if bad.any():
            at = tuple(map(int, np.unravel_index(int(bad.argmax()), x.shape)))
            place, name = ", ".join(map(str, at)), type(self._first).__name__
            raise IndexError(
                f"Predictor: x[{place}] is {x[at]}, but layer 1 ({name}) has {V} rows: indices lie in [0, {V})"
            )

    def _in_python(self, x, out):
        n = len(x)
        plans = self._local.__dict__
        plan = plans.get(backends.active_name)
        if plan is None:
            plan = plans[backends.active_name] = Plan(self._program)
        inputs = (x, None, *(function(x) for function in self._program.inputs))
        with self._locks.one_at_a_time if self._program.in_python else contextlib.nullcontext():
            plan.run(n, inputs)
        y = self._program.records[self.y.buffer]
        out[...] = x.reshape(out.shape) if y.kind == "input" else plan.view(self.y.buffer, n)
        return out

    def _argmax(self, x, out):
        scores = self._in_python(x, np.empty((len(x), *self.shape), self.dtype))
        return classes(scores, out=out)


def _probabilities(net):
    """What makes probabilities of the network's output: "softmax", "sigmoid", None, or the error that nothing does."""
    if isinstance(net.layers[-1], (layers.Softmax, layers.Sigmoid)):
        return None
    if isinstance(net.loss_layer, layers.MeanSquaredError):
        return ValueError("Predictor.predict_proba: a network with the loss MeanSquaredError gives no probabilities")
    return "sigmoid" if isinstance(net.loss_layer, _SIGMOID_LOSSES) else "softmax"


def _frozen(layer, dtype):
    """A copy of a layer with parameters and statistics of its own in `dtype`, without gradients."""
    if isinstance(layer, Branches):
        return layer.rebuilt([[_frozen(inner, dtype) for inner in branch] for branch in layer.branches])
    if type(layer) not in lowering.LAYERS and type(layer) not in lowering.FUSING:
        return copy.deepcopy(layer)
    twin = copy.copy(layer)
    twin.grads = []
    for name, value in vars(layer).items():
        if name == "params":
            twin.params = [np.array(p, dtype, order="C") if np.ndim(p) else p for p in value]
        elif name in ("running_mean", "running_var") and value is not None:
            setattr(twin, name, np.array(value, dtype, order="C"))
        elif name in _OF_A_PASS:
            setattr(twin, name, None)
        elif name == "stateful":
            twin.stateful = False
    parts = {name: value for name, value in vars(layer).items() if isinstance(value, Layer) or name == "projections"}
    if parts:  # a layer of layers, whose arrays are theirs
        twin.params = []
        for name, value in parts.items():
            copies = [_frozen(part, dtype) for part in (value if isinstance(value, list) else [value])]
            setattr(twin, name, copies if isinstance(value, list) else copies[0])
            twin.params += [p for part in copies for p in part.params]
    return twin
