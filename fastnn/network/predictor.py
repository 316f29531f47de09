"""Frozen networks."""

import contextlib
import copy
import threading
import time
from typing import Any

import numpy as np

from .. import backends, layers, time_layers
from ..layers.base import Layer
from ..layers.branch import Branches
from . import lowering
from .plan import Plan, native_plan
from .program import Program

_CACHE_BYTES = 1 << 20  # of memory between the layers that a block of samples takes, at most
_BLOCK = 256  # samples of a block, at most
_SCORES, _PROBABILITIES = 0, 1
_OF_A_PASS = "x", "_input", "_saved", "_mask", "out", "idx", "_arg", "h", "c", "dh", "dc"  # attributes of layers
_SIGMOID_LOSSES = layers.SigmoidWithLoss, time_layers.TimeSigmoidWithLoss


def compile(net, dtype=None, input_shape=None):
    """A `Predictor`: the network as it is now, frozen. dtype: "float32" or "float64", by default the network's.

    input_shape: of one sample, where the network has not seen one yet; by default it is taken from the first input.
    """
    return Predictor(net, dtype, input_shape)


class Predictor:
    """Predictions of a network as it was when `compile` was called: later changes of the network do not count.

    x is (N, *input_shape) of any N; what is large goes through in blocks, so that memory stays bounded. `out`: an array
    for the result, which is then not allocated. Any number of threads may call a predictor at the same time. Stateful
    recurrent layers start from zeros at each call. Raises ValueError for samples of another shape.
    """

    def __init__(self, net, dtype=None, input_shape=None):
        self.dtype = np.dtype(net.dtype if dtype is None else dtype)
        if self.dtype not in (np.float32, np.float64):
            raise TypeError(f"compile: dtype is {self.dtype}; it must be float32 or float64")
        self.layers = [_frozen(layer, self.dtype) for layer in net.layers]
        self._indices = net.input_dtype is None
        self._to_probabilities = _probabilities(net)
        self.input_shape: Any = None
        self._results: list[Any] = [None, None]
        shape = net.input_shape if input_shape is None else tuple(input_shape)
        self._lock = threading.Lock()
        if shape is not None:
            self._prepare(shape)

    def _prepare(self, shape):
        with self._lock:
            if self.input_shape is not None:
                return
            self._results[_SCORES] = scores = _Frozen(self, shape, None)
            if not isinstance(self._to_probabilities, Exception):
                self._results[_PROBABILITIES] = _Frozen(self, shape, self._to_probabilities)
            self.output_shape = scores.shape
            own = {
                "predict": (_SCORES, False),
                "predict_proba": (_PROBABILITIES, False),
                "predict_classes": (_SCORES, True),
            }
            for name, (which, classes) in own.items():  # one call instead of two, where no subclass has its own
                result = self._results[which]
                if result is not None and getattr(type(self), name) is getattr(Predictor, name):
                    vars(self)[name] = result.function(classes)
            self.input_shape = shape

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
        """The class of the largest score: x (N, ...) -> int64 (N, ...)."""
        return self._result(_SCORES, x).classes(x, out)

    def _result(self, which, x):
        if self.input_shape is None:
            self._prepare(_as_input(x, self.dtype, self._indices).shape[1:])
        if self._results[which] is None:
            raise self._to_probabilities
        return self._results[which]

    def latency(self, n=1, calls=1000):
        """Seconds that predictions of n samples take -> {"p50", "p90", "p99", "mean"}: `calls` calls, one thread."""
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


def _as_input(x, dtype, indices):
    """x as an array of at least two dimensions that a network of this dtype, or one that takes indices, can take."""
    x = np.asarray(x)
    if x.dtype.kind not in ("iu" if indices else "biuf"):
        wants = "indices" if indices else "real numbers"
        raise TypeError(f"Predictor: x has dtype {x.dtype}; the network takes {wants}")
    if not indices:
        x = np.require(x, dtype, ["C_CONTIGUOUS", "ALIGNED"])
        x = x.reshape(1, -1) if x.ndim < 2 else x
    return x


class _Frozen:
    """One result of a predictor: scores or probabilities."""

    def __init__(self, predictor, shape, last):
        self.dtype, self._indices, self.input_shape = predictor.dtype, predictor._indices, shape
        program = self._lower(predictor, shape, last, 1)
        self.block = max(1, min(_BLOCK, _CACHE_BYTES // max(program.arena_bytes, 1)))
        self._program = self._lower(predictor, shape, last, self.block)
        self._native = native_plan(self._program, frozen=True) if self._writes_last else None
        self._local = threading.local()  # plans in Python: one a thread
        self._one_at_a_time = threading.Lock() if self._program.in_python else contextlib.nullcontext()

    def function(self, classes):
        """(x, out=None) -> scores or classes: one native call where up to `block` samples are as that takes them."""
        own = self.classes if classes else self
        if self._native is None or (self._result.rows, self._result.shape) != (1, self.shape):
            return own
        return self._native.function(own, classes) or own

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
        self._result = program.result()
        self._writes_last = self._result is not None and self._result.where is program.records[y.buffer].where
        return program

    def __call__(self, x, out=None):
        x = self._input(x)
        n = len(x)
        if out is None:
            out = np.empty((n, *self.shape), self.dtype)
        elif (
            type(out) is not np.ndarray
            or out.shape != (n, *self.shape)
            or out.dtype != self.dtype
            or not (out.flags.c_contiguous and out.flags.writeable)
        ):
            found = f"{out.dtype} {out.shape}" if isinstance(out, np.ndarray) else type(out).__name__
            raise ValueError(f"Predictor: out is {found}; it must be {self.dtype} {(n, *self.shape)}, C-contiguous")
        elif np.may_share_memory(out, x):
            out[...] = self(x)
            return out
        block = self.block
        for i in range(0, n, block):
            self._part(x[i : i + block], out[i : i + block])
        return out

    def classes(self, x, out=None):
        x = self._input(x)
        n, block = len(x), self.block
        if out is None:
            out = np.empty((n, *self.shape[:-1]), np.int64)
        elif np.shape(out) != (n, *self.shape[:-1]):
            raise ValueError(f"Predictor: out is {np.shape(out)}; it must be {(n, *self.shape[:-1])}")
        for i in range(0, n, block):
            np.argmax(self(x[i : i + block]), axis=-1, out=out[i : i + block])
        return out

    def _input(self, x):
        if self._indices or type(x) is not np.ndarray or x.dtype is not self.dtype or x.ndim < 2:
            x = _as_input(x, self.dtype, self._indices)
        if x.shape[1:] != self.input_shape:
            takes = ", ".join(["N", *map(str, self.input_shape)])
            raise ValueError(f"Predictor: x is {x.shape} but the network takes ({takes})")
        return np.require(x, None, ["C_CONTIGUOUS", "ALIGNED"])

    def _part(self, x, out):
        n = len(x)
        if self._native is not None:
            self._native.run_frozen(n, (x,), self._as_written(out, n))
            return
        plans = self._local.__dict__
        plan = plans.get(backends.active_name)
        if plan is None:
            plan = plans[backends.active_name] = Plan(self._program)
        inputs = (x, None, *(function(n) for function in self._program.inputs))
        with self._one_at_a_time:  # layers in Python keep things
            plan.run(n, inputs)
        y = self._program.records[self.y.buffer]
        out[...] = x.reshape(out.shape) if y.kind == "input" else plan.view(self.y.buffer, n)

    def _as_written(self, out, n):
        """`out` in the shape in which the last instruction writes it."""
        shape = self._result.shape_for(n)
        return out if out.shape == shape else out.reshape(shape)


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
        return type(layer)(*([_frozen(inner, dtype) for inner in branch] for branch in layer.branches))
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
