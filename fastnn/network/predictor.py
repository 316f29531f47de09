"""Frozen networks."""

import contextlib
import copy
import os
import threading
import time
import weakref
from typing import Any

import numpy as np

from .. import backends, layers, time_layers
from ..layers.base import Layer
from ..layers.branch import Branches
from ..targets import classes, one_class
from . import lowering
from .plan import Plan, native_plan
from .program import Program

_CACHE_BYTES = 2 << 20  # of memory between the layers that a block of samples takes, at most, but for so many samples:
_FEWEST, _FEWEST_SEQUENCES = 4, 32  # one at a time a BetterRnnlm takes 10.4 ms, 32 4.2 ms each
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

    x is (N, *input_shape) of any N; what is large goes through in blocks, so that memory stays bounded. `out`: an array
    for the result, which is then not allocated. Any number of threads may call a predictor at the same time. Stateful
    recurrent layers start from zeros at each call. Raises ValueError for samples of another shape.
    """

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
        self.input_shape: Any = None
        self._results: list[Any] = [None, None]
        self._new_locks()
        _predictors.add(self)
        if shape is not None:
            self._prepare(_SCORES, shape)

    def __getstate__(self):
        """For copies and pickles: without the plans, which are made anew."""
        return {k: vars(self)[k] for k in ("dtype", "layers", "_indices", "_to_probabilities", "_loss", "input_shape")}

    def __setstate__(self, state):
        vars(self).update(state, dtype=np.dtype(state["dtype"].str))  # NumPy's own object
        self._begin(self.input_shape)

    def _new_locks(self):
        self._lock = threading.Lock()
        self._one_at_a_time = threading.Lock()  # for layers in Python, which keep things

    def _prepare(self, which, shape):
        with self._lock:
            if self._results[which] is not None:
                return
            shape = shape if self.input_shape is None else self.input_shape
            last = self._to_probabilities if which == _PROBABILITIES else None
            result = self._results[_SCORES] if which == _PROBABILITIES and last is None else None
            result = _Frozen(self, shape, last) if result is None else result
            names = {"predict_proba": False} if which == _PROBABILITIES else {"predict": False, "predict_classes": True}
            for name, classes in names.items():  # one call instead of two, where no subclass has its own
                if getattr(type(self), name) is getattr(Predictor, name):
                    vars(self)[name] = result.function(classes)
            if which == _SCORES:
                self.input_shape, self.output_shape = shape, result.shape
            self._results[which] = result

    def __call__(self, x, out=None):
        """What the network's `predict` gives: scores. x (N, ...) -> (N, ...)."""
        return self.predict(x, out)

    def predict(self, x, out=None):
        """What the network's `predict` gives: scores. x (N, ...) -> (N, ...)."""
        return self._result(_SCORES, x)(x, out)

    def predict_proba(self, x, out=None):
        """Probabilities: the softmax of the scores over the last axis, their sigmoid for a network with that loss."""
        return self._result(_PROBABILITIES, x)(x, out)

    def predict_classes(self, x, out=None):
        """The class of the largest score: x (N, ..., V) -> int64 (N, ...).

        One output of a network with a sigmoid's loss, or of a last Sigmoid, has the classes 1, where the probability is
        above 0.5, and 0: x (N, ..., 1) -> int64 (N, ...). ValueError for one output of any other network.
        """
        return self._result(_SCORES, x).classes(x, out)

    def _result(self, which, x):
        if which == _PROBABILITIES and isinstance(self._to_probabilities, Exception):
            raise self._to_probabilities
        if self._results[which] is None:
            shape = _samples(_as_array(x, self._indices), self._indices).shape[1:]
            self._prepare(_SCORES, shape)
            self._prepare(which, shape)
        return self._results[which]

    def latency(self, n=1, calls=1000):
        """Seconds that predictions of n samples take -> {"p50", "p90", "p99", "mean"}: `calls` calls, one thread."""
        if n < 1 or calls < 1:
            raise ValueError(f"Predictor.latency: n is {n} and calls {calls}; both must be at least 1")
        if self._results[_SCORES] is None:
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


_predictors: weakref.WeakSet = weakref.WeakSet()


def _after_fork():
    """Locks that threads of the parent held will not be released here."""
    for predictor in list(_predictors):
        predictor._new_locks()


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


class _Frozen:
    """One result of a predictor: scores or probabilities."""

    def __init__(self, predictor, shape, last):
        self.dtype, self._indices, self.input_shape = predictor.dtype, predictor._indices, shape
        self._first = predictor.layers[0]
        self._predictor = weakref.proxy(predictor)
        program = self._lower(predictor, shape, last, 1)
        sequences = any(op in _RECURRENT for op, _ in program.instructions)
        fewest = _FEWEST_SEQUENCES if sequences else _FEWEST
        self.block = max(fewest, min(_BLOCK, _CACHE_BYTES // max(program.arena_bytes, 1)))
        self._program = self._lower(predictor, shape, last, self.block)
        self._threshold = lowering.threshold(predictor._loss, predictor.layers[-1], self.shape)
        self._native = native_plan(self._program, frozen=self.y.buffer)
        # (x, out) of up to `block` samples, plain arrays -> out, None where an index is outside
        self._block_of_scores = self._native and self._native.function()
        self._block_of_classes = self._native and self._native.function(classes=True)
        if self._block_of_scores is None:
            self._native, self._block_of_scores, self._block_of_classes = None, self._in_python, self._argmax
        self._local = threading.local()  # plans in Python: one a thread

    def function(self, classes):
        """(x, out=None) -> scores or classes: one native call where up to `block` samples are as that takes them."""
        own = self.classes if classes else self
        return own if self._native is None or (classes and self._one_score()) else self._native.function(own, classes)

    def _one_score(self):
        return self.shape[-1:] in ((), (1,))

    def _lower(self, predictor, shape, last, capacity):
        program = Program(self.dtype, capacity, train=False, backward=False)
        x = program.input(0, shape, "labels" if predictor._indices else "float")
        y, _ = lowering.chain(program, predictor.layers, lowering.Value(x, shape, False, "the input"))
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
        return self._in_blocks(self._block_of_scores, x, out, self.shape, self.dtype)

    def classes(self, x, out=None):
        if self._one_score():
            if self._threshold is None:
                raise ValueError(f"Predictor.predict_classes: {one_class(('N', *self.shape))}")
            found = classes(self(x), self._threshold)
            if out is None:
                return found
            self._output(out, found.shape, found.dtype)[...] = found
            return out
        return self._in_blocks(self._block_of_classes, x, out, self.shape[:-1], np.dtype(np.int64))

    def _in_blocks(self, function, x, out, shape, dtype):
        """`function` of x, converted block by block, into out (N, *shape)."""
        x = self._input(x)
        n = len(x)
        block = -(-n // max(-(-n // self.block), 1))  # as many in each; a few alone would take longer
        result = self._output(out, (n, *shape), dtype)
        into = np.empty_like(result) if out is not None and np.may_share_memory(result, x) else result
        wanted = x.dtype.newbyteorder("=") if self._indices else self.dtype
        plain = x.dtype == wanted and x.flags.c_contiguous and x.flags.aligned
        try:
            for i in range(0, n, block or 1):
                part = x[i : i + block]
                if not plain:
                    part = np.require(part, wanted, ["C_CONTIGUOUS", "ALIGNED"])
                if function(part, into[i : i + block]) is None:
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
        if samples.shape[1:] != self.input_shape or samples.ndim == 0:
            takes = ", ".join(["N", *map(str, self.input_shape)]) + ("" if self.input_shape else ",")
            hint = "; one sample is x[None]" if x.shape == self.input_shape else ""
            raise ValueError(f"Predictor: x is {x.shape} but the network takes ({takes}){hint}")
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
        bad = (x < -V) | (x >= V)
        if bad.any():
            at = tuple(map(int, np.unravel_index(int(bad.argmax()), x.shape)))
            place, name = ", ".join(map(str, at)), type(self._first).__name__
            raise IndexError(
                f"Predictor: x[{place}] is {x[at]}, but layer 1 ({name}) has {V} rows: indices lie in [{-V}, {V})"
            )

    def _in_python(self, x, out):
        n = len(x)
        plans = self._local.__dict__
        plan = plans.get(backends.active_name)
        if plan is None:
            plan = plans[backends.active_name] = Plan(self._program)
        inputs = (x, None, *(function(x) for function in self._program.inputs))
        with self._predictor._one_at_a_time if self._program.in_python else contextlib.nullcontext():
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
