"""A chain of layers with a loss, planned once and run as a whole."""

import itertools
import math
import os
import threading
import weakref
from typing import Any

import numpy as np

from .. import backends, ops
from ..described import listed
from ..layers import SigmoidWithLoss, SoftmaxCrossEntropy
from ..layers.base import param
from ..layers.random import drawing
from ..optimizer import Adam
from ..targets import ignored_label, right
from ..time_layers import TimeSoftmaxWithLoss
from ..weights import load_weights, save_weights
from . import lowering
from .fit import fit
from .plan import FEWEST, Plan, cut, make_plan
from .program import Program, buffers_in
from .summary import summary
from .updates import Updates, check_numbers, structure

_BLOCK_BYTES = 4 << 20  # of memory for what lies between the layers: larger inputs of predict go through in blocks
_BLOCK = 1024  # samples of such a block, at most
_KEPT = 16  # plans, each with its memory: sequences of many lengths are so many shapes


class Parameters(list):
    """Arrays of parameters or gradients: book 2's list, which also has book 1's names.

    `params[0]` and `params["W1"]`, `keys()`, `items()`, `values()`; iteration goes over the arrays.
    """

    def __init__(self, arrays, names):
        """names: a function, which is asked when names are needed."""
        super().__init__(arrays)
        self._ask = names

    @property
    def _names(self):
        return self._ask()

    def keys(self):
        return list(self._names)

    def values(self):
        return list(self)

    def items(self):
        return list(zip(self._names, self, strict=True))

    def __getitem__(self, key):
        return super().__getitem__(self._place(key) if isinstance(key, str) else key)

    def __setitem__(self, key, value):
        """The values of an array, which stays the same object (`params["W1"] -= ...`, `params[0] -= ...`)."""
        array = self[key]
        if not isinstance(array, np.ndarray):
            raise TypeError("Parameters: assign to params[name] or params[i]; arrays are replaced in the layers")
        if value is not array:
            array[...] = value

    def __contains__(self, key):
        return key in self._names if isinstance(key, str) else any(key is array for array in self)

    def _place(self, name):
        try:
            return self._names.index(name)
        except ValueError:
            raise KeyError(f"{name!r} is not one of {', '.join(self._names)}") from None


class Network:
    """Layers in order, and a loss: any of `fastnn.layers` and `time_layers`, or anything with forward and backward.

    layers: a list; a layer's arrays are used as they are, in one dtype (`dtype`: float32 or float64; the inputs are
    converted to it). loss: a loss layer, forward(x, t) and backward(), or None for a network that only predicts. rng:
    None, a seed or a numpy.random.Generator, from which `fit` draws; unless it is None, layers that draw (Dropout) and
    were given no rng of their own get generators from it, in order. input_gradient: whether `backward` also gives the
    gradient of x, if that is numbers. Each pass is planned for the shape of a sample when it is first seen: memory that
    is reused within the pass, activations in the products before them, no gradient that nobody needs. Layers that the
    plan does not know run in Python, as they are; `summary()` names them.

    The results are those of the layers one by one; the layers' own records of a pass (`x`, `mask`, `out`) are not kept.
    A network without parameters computes in the dtype of its input: float32 for float32 and float16, else float64.

    A pass that raises changes nothing but gradients: no parameter, state, statistic or random number. For layers that
    run in Python this includes their attributes, except for arrays of more than 16 MiB. Raises ValueError where shapes
    do not chain, with the layer's number (from 1), class and both shapes.
    """

    def __init__(self, layers, loss=None, rng=None, input_gradient=False):
        if isinstance(layers, type) or not hasattr(layers, "__iter__"):
            raise TypeError(f"Network: layers is {_described(layers)}; it must be a list of layers")
        self.layers = list(layers)
        self.loss_layer = loss
        self.rng = np.random.default_rng(rng)
        self.input_gradient = input_gradient
        self.history: dict = {}
        self.input_shape = None  # of the samples seen last
        self._plans: dict = {}
        self._lock = threading.RLock()
        self._pending = None  # what backward() continues
        if not self.layers:
            raise ValueError("Network: layers is empty")
        named = [(f"layer {i}", layer) for i, layer in enumerate(self.layers, 1)]
        for name, layer in named if loss is None else [*named, ("loss", loss)]:
            if isinstance(layer, type):
                raise TypeError(f"Network: {name} is {_described(layer)}; {layer.__name__}(...) makes a layer")
            for method in ("forward", "backward"):
                if not callable(getattr(layer, method, None)):
                    raise TypeError(f"Network: {name} is {_described(layer)}, which has no {method}")
        self.dtype: Any = np.dtype(np.float32)
        self._set_dtype()
        _networks.add(self)
        if rng is not None:
            parts = [part for layer in [*self.leaves(), loss] for part in drawing(layer)]
            for part in {id(part): part for part in parts if not part.has_own_rng()}.values():
                part.seed(int(self.rng.integers(2**63)))

    def _set_dtype(self):
        dtype = self._dtype()
        self.follows_input = dtype is None  # there is no parameter: the dtype is that of the last input
        self.dtype = self.dtype if dtype is None else dtype
        indices = lowering.LAYERS.get(type(self.layers[0])) in lowering.OF_INDICES
        self.input_dtype = None if indices else self.dtype  # of x; None: integers of any kind

    def _dtype(self):
        """Of the parameters: float64 where all are integers, None where there are none."""
        dtypes = {np.asarray(p).dtype for layer in self.layers for p in getattr(layer, "params", None) or []}
        floats = sorted(d for d in dtypes if d in (np.float32, np.float64))
        if len(floats) > 1:
            raise ValueError("Network: the layers' parameters are float32 and float64; a network has one dtype")
        if floats or not dtypes:
            return floats[0] if floats else None
        return np.dtype(np.float32 if any(d.kind == "f" for d in dtypes) else np.float64)

    def __repr__(self):
        loss = {} if self.loss_layer is None else {"loss": self.loss_layer}
        return listed(self, dict(enumerate(self.layers, 1)) | loss, str(self.dtype))

    # ---- parameters ------------------------------------------------------------------------------------------------

    @property
    def params(self):
        """The layers' parameters, in order: `Parameters`."""
        return Parameters([p for layer in self._with_params() for p in layer.params], self._names)

    @property
    def grads(self):
        """The arrays that the last gradients are in, like `params`."""
        return Parameters([g for layer in self._with_params() for g in layer.grads], self._names)

    def _with_params(self):
        return [layer for layer in self.leaves() if getattr(layer, "params", None)]

    def leaves(self):
        """The layers, those in branches included."""
        return list(lowering.leaves(self.layers))

    def _names(self):
        """W1, b1, W2, ...: each kind of parameter counted by itself, as book 1 does."""
        names, counts = [], {}
        for layer in self._with_params():
            own = {d.i: name for name, d in vars_of(type(layer)).items() if isinstance(d, param)}
            own = own or dict(enumerate(getattr(layer, "param_names", ())))
            for i in range(len(layer.params)):
                name = own.get(i, "param")
                counts[name] = counts.get(name, 0) + 1
                names.append(f"{name}{counts[name]}")
        return names

    def __getstate__(self):
        """For copies and pickles: without the plans, which are made anew."""
        pending = None if self._pending is None else (None, *self._pending[1:])
        return {k: v for k, v in vars(self).items() if k != "_lock"} | {"_plans": {}, "_pending": pending}

    def __setstate__(self, state):
        vars(self).update(state, _lock=threading.RLock())
        _networks.add(self)
        self.dtype = np.dtype(self.dtype.str)  # NumPy's own object: a pickled one is only equal to it
        self.input_dtype = None if self.input_dtype is None else self.dtype

    @property
    def nbytes(self):
        """Memory of the plans that have been made."""
        return sum(lowered.program.arena_bytes for lowered in self._plans.values())

    # ---- passes ----------------------------------------------------------------------------------------------------

    def predict(self, x, train_flg=False):
        """What the last layer gives: x (N, ...) -> (N, ...), scores for a classifier. Large inputs go in blocks."""
        with self._lock:
            x = self._samples(x)
            if train_flg or len(x) <= FEWEST:
                return self._scores(self._input(x), train_flg).copy()
            cuts = cut(len(x), self._most(x))
            first = self._scores(self._input(x[: cuts[1]]), train_flg)
            if len(cuts) == 2:
                return first.copy()
            out = np.empty((len(x), *first.shape[1:]), first.dtype)
            out[: cuts[1]] = first
            for begin, end in itertools.pairwise(cuts[1:]):
                out[begin:end] = self._scores(self._input(x[begin:end]), False)
            return out

    def loss(self, x, t, train_flg=False):
        """The mean loss of x (N, ...) and t, which the loss layer takes."""
        with self._lock:
            return self._run("loss", train_flg, self._input(x), t)[0]

    def accuracy(self, x, t):
        """Share of x (N, ...) whose class is that of t, which is what the loss takes. nan for no samples.

        The class is that of the largest score, and labels that the loss ignores do not count; with a sigmoid's loss
        each score is a class of its own, 1 where its probability is above 0.5. ValueError for scores of a single class
        with another loss.
        """
        right, count = self._right(x, t)
        return right / count if count else math.nan

    def _right(self, x, t):
        """How many samples (or steps, or scores) are classified as t says, of how many."""
        return self._right_of(self.predict(x), t)

    def _right_of(self, scores, t):
        """The same of scores."""
        threshold = lowering.threshold(self.loss_layer, self.layers[-1], scores.shape)
        return right(scores, t, "Network.accuracy", threshold, ignored_label(self.loss_layer))

    def gradient(self, x, t):
        """Backpropagation in training mode -> `grads`, the layers' own arrays, which the next call overwrites."""
        with self._lock:
            self._run("gradient", True, self._input(x), t)
            return self.grads

    def forward(self, x, t):
        """The loss in training mode; `backward()` then fills `grads`. As book 2's models have it."""
        with self._lock:
            x = self._input(x)
            lowered = self._plan("gradient", True, x.shape[1:], x.dtype, len(x))
            n, inputs = len(x), self._inputs(lowered, x, t)
            loss = self._run_plan(lowered, n, inputs, lowered.split)
            self._pending = lowered, n, inputs, lowered.plan.scalars
            return lowered.scale(loss, n)

    def backward(self, dout=1):
        """Fill `grads` after `forward`, times dout -> the gradient of x with `input_gradient`, else None."""
        with self._lock:
            if self._pending is None:
                raise RuntimeError("Network.backward: needs a forward before it, and each time a new one")
            (lowered, n, inputs, scalars), self._pending = self._pending, None
            if lowered is None:  # in a copy, whose plan runs forward too, with the same numbers
                lowered = self._plan("gradient", True, inputs[0].shape[1:], inputs[0].dtype, n)
                lowered.plan.run(n, inputs, 0, lowered.split, scalars)
            lowered.plan.run(n, inputs, lowered.split)
            dx = None if lowered.dx is None else lowered.plan.view(lowered.dx, n).copy()
            if dout != 1:
                ops.scale_arrays(list({id(g): g for g in [*self.grads, dx] if g is not None}.values()), dout)
            return dx

    def step(self, x, t, optimizer):
        """Gradients of x (N, ...) and t, and the optimizer's update -> the loss before it.

        A step whose loss is not finite changes nothing but the random numbers drawn, one that raises not even these.
        """
        with self._lock:
            check_numbers(optimizer)
            return self._run("step", True, self._input(x), t, optimizer)[0]

    def fit(
        self, x, t=None, epochs=10, batch_size=100, optimizer=None, validation=None, callbacks=(), rng=None,
        shuffle=True, progress=True, resume=None, *, validation_split=0.0, sample_weight=None, class_weight=None,
        metrics=(), steps_per_epoch=None,
    ):  # fmt: skip
        """Train on x (N, ...) and t (N, ...) -> history, {"loss": [mean of each epoch], ...}, also kept as `history`.

        optimizer: one of `fastnn.optimizer`, Adam by default. validation: (x, t) or (x, t, weight), adds val_loss, and
        val_accuracy for a classifier; validation_split: this share of x, its end, is the validation data. callbacks: of
        `fastnn.network` (EarlyStopping, LearningRate, ReduceLROnPlateau, Checkpoint), or functions called with the
        `Fit` after each epoch. rng: None (the network's), a seed or a generator, for the order of the samples; the last
        batch of an epoch may be smaller. progress: print a line an epoch, with a bar where tqdm is installed. resume: a
        file that `Checkpoint` wrote; training goes on as if it had not stopped, bit for bit.

        metrics: "accuracy", "top_5_accuracy" (or another number), "mean_absolute_error", "mean_squared_error" (mae,
        mse), functions of (scores, t) for all samples, or {name: either}; taken after each epoch of x, and of the
        validation data with val_ before the name.

        sample_weight: (N,), or (N, T) for steps; class_weight: (V,), or {class: weight}, others 1; both: the product.
        The loss of a batch is the sum of weight * loss over the sum of the weights, and a batch whose weights are all 0
        is left out: see `layers.WeightedLoss`, which runs in Python. class_weight does not count in val_loss.

        Without t, x gives batches: (x, t) or (x, t, weight), of any sizes, in its own order. It is a list, an object
        that can be iterated over anew each epoch, or a function that returns such; an epoch ends where they end. With
        steps_per_epoch an epoch has so many, a generator is read on and on, and what ends begins again. A resumed
        training skips the batches that its epoch had (with steps_per_epoch: all epochs), and relies on the same ones.

        Arguments and validation data are checked before the first step. Ctrl-C takes effect between two steps. Raises
        FloatingPointError, with the step and the layer, where the loss is not finite: the parameters are then those
        from before that step.
        """
        rule = Adam() if optimizer is None else optimizer
        return fit(
            self, x, t, epochs, batch_size, rule, validation, callbacks, rng, shuffle, progress, resume,
            validation_split, sample_weight, class_weight, metrics, steps_per_epoch,
        )  # fmt: skip

    @property
    def classifies(self):
        """Whether the loss is one of classes, so that accuracy says something."""
        return isinstance(self.loss_layer, SoftmaxCrossEntropy | TimeSoftmaxWithLoss | SigmoidWithLoss)

    def summary(self, x=None, batch_size=100, repeats=5):
        """A table of the layers: output shapes, parameters, FLOPs of a sample, seconds of a training pass by layer.

        Times are the best of `repeats` passes over batch_size samples, of random numbers unless x (N, ...) is given;
        without any input so far, and without x, there are neither shapes nor times. `print` it; `rows` are the numbers.
        """
        with self._lock:
            return summary(self, x, batch_size, repeats)

    def reset_state(self):
        """Stateful recurrent layers start from zeros again."""
        for layer in self.leaves():
            if hasattr(layer, "reset_state"):
                layer.reset_state()

    # ---- files -----------------------------------------------------------------------------------------------------

    def save(self, path):
        """Write the parameters and running statistics by name: .npz, .safetensors or .pkl, whole or not at all."""
        save_weights(path, self._named_arrays())

    def load(self, path):
        """Read what `save` wrote into the arrays that are there.

        Raises ValueError, before anything is changed, for a file of another network.
        """
        self._fill(load_weights(path), f"Network.load: {path}")

    def _named_arrays(self):
        arrays = dict(self.params.items())
        for i, layer in enumerate(self.leaves(), 1):
            for name in ("running_mean", "running_var"):
                if isinstance(getattr(layer, name, None), np.ndarray):
                    arrays[f"layer{i}.{name}"] = getattr(layer, name)
        return arrays

    def _fill(self, loaded, what):
        wanted = self._named_arrays()
        late = {k: a for k, a in loaded.items() if k not in wanted and k.startswith("layer") and k.count(".") == 1}
        if loaded.keys() - late.keys() != wanted.keys() or not all(self._has_no(k) for k in late):
            raise ValueError(f"{what} has {', '.join(loaded) or 'nothing'}; the network has {', '.join(wanted)}")
        for name, array in wanted.items():
            if loaded[name].shape != np.shape(array):
                raise ValueError(f"{what}: {name} is {loaded[name].shape} but must be {np.shape(array)}")
        for name, array in wanted.items():
            array[...] = loaded[name]
        for key, value in late.items():  # statistics that this network's layers do not have yet
            number, name = key.removeprefix("layer").split(".")
            setattr(self.leaves()[int(number) - 1], name, np.array(value))

    def _has_no(self, key):
        number, name = key.removeprefix("layer").split(".")
        if not number.isdigit() or not 1 <= int(number) <= len(self.leaves()):
            return False
        return getattr(self.leaves()[int(number) - 1], name, 0) is None

    # ---- plans -----------------------------------------------------------------------------------------------------

    def _input(self, x):
        """x as (N, ...): contiguous, integers as they are where the first layer looks rows up, else in `dtype`."""
        if type(x) is np.ndarray and x.dtype is self.input_dtype and x.flags.carray and x.ndim > 1:
            return x
        x = self._samples(x)
        dtype = x.dtype.newbyteorder("=") if self.input_dtype is None else self.dtype
        return np.require(x, dtype, ["C_CONTIGUOUS", "ALIGNED"])

    def _samples(self, x):
        """x as (N, ...) of any layout, and of any dtype that becomes what the network takes."""
        x = np.asarray(x)
        if self.input_dtype is not None:
            if x.dtype.kind not in "biuf":
                raise TypeError(f"Network: x has dtype {x.dtype}; it must be real numbers")
            if self.follows_input:
                self.dtype = self.input_dtype = computed_dtype(x.dtype)
            return x.reshape(1, -1) if x.ndim < 2 else x
        if x.size == 0:
            x = x.astype(np.int64)
        first = f"layer 1 ({type(self.layers[0]).__name__}) takes indices"
        if x.dtype.kind not in "iu":
            raise TypeError(f"Network: x has dtype {x.dtype}; {first}")
        if x.ndim == 0:
            raise ValueError(f"Network: x is (); {first} (N, ...)")
        return x

    def _scores(self, x, train_flg):
        """A view that the next run overwrites."""
        if not len(x):
            return np.empty((0, *self._plan("predict", train_flg, x.shape[1:], x.dtype, 1).y.shape), self.dtype)
        lowered = self._run("predict", train_flg, x, None)[1]
        return lowered.plan.view(lowered.y.buffer, len(x)) if lowered.in_arena else lowered.outside(x)

    def _run(self, kind, train, x, t, rule=None):
        n = len(x)
        if n == 0 and kind != "predict":
            raise ValueError(f"Network.{kind}: x is {x.shape}; the batch is empty")
        lowered = self._plan(kind, train, x.shape[1:], x.dtype, n, rule)
        if x.dtype is not self.input_dtype and self.input_dtype is not None:
            x = self._input(x)  # parameters of another dtype have taken the place of those before
        self._pending = None
        loss = self._run_plan(lowered, n, self._inputs(lowered, x, t), None, kind == "step")
        return lowered.scale(loss, n), lowered

    def _run_plan(self, lowered, n, inputs, end=None, step=False):
        """A whole pass, or its first instructions, and what follows it -> the loss."""
        plan = lowered.plan
        plan.began, plan.saved = False, None
        try:
            loss = plan.run(n, inputs, 0, end)
            if not step or math.isfinite(loss):
                lowered.finish(n)
            elif plan.saved is not None:
                plan.saved.restore(generators=False)
        except BaseException as error:
            if plan.has_ended():  # Ctrl-C came after that
                lowered.finish(n)
                raise
            try:
                if isinstance(error, IndexError):  # say which index it is
                    Plan(lowered.program).run(n, inputs, 0, lowered.split, [1] * len(lowered.program.scalars))
            finally:
                if plan.saved is not None:
                    plan.saved.restore()
            raise
        plan.saved = None  # and its memory
        return loss

    def _inputs(self, lowered, x, t):
        n, states = len(x), lowered.program.inputs
        if lowered.loss is not None:
            t = lowered.targets(t, n)
        elif not states:
            return (x,)
        return (x, t, *[function(x) for function in states])

    def _plan(self, kind, train, shape, dtype, n, rule=None):
        known = dtype.num if self.input_dtype is not None else None
        key = kind, train, shape, known, None if rule is None else structure(rule)
        lowered = self._plans.get(key)
        if lowered is not None and lowered.plan.backend == backends.active_name and not lowered.program.stale():
            if n <= lowered.program.capacity:
                return lowered
            n = max(n, 2 * lowered.program.capacity)
        if rule is not None:  # one optimizer's plan at a time: another's may hold arrays of its state
            self._plans = {k: v for k, v in self._plans.items() if k[0] != "step"}
        self._set_dtype()
        self.input_shape = shape
        if len(self._plans) >= _KEPT and key not in self._plans:
            del self._plans[next(iter(self._plans))]
        lowered = self._plans[key] = Lowered(self, kind, train, shape, dtype, max(n, 1), rule)
        return lowered

    def _first_not_finite(self, x, t):
        """Where the first number that is not finite comes from, in words."""
        with self._lock:
            x = self._input(x)
            if x.dtype.kind == "f" and not np.isfinite(x).all():
                return "x is not finite"
            for number, layer in enumerate(self.layers, 1):
                for i, p in enumerate(getattr(layer, "params", None) or []):
                    if not np.isfinite(p).all():
                        return f"parameter {i} of layer {number} ({type(layer).__name__}) is not finite"
            lowered = self._plan("gradient", True, x.shape[1:], x.dtype, len(x))
            plan, n, inputs = lowered.plan, len(x), self._inputs(lowered, x, t)
            for i in range(lowered.split):
                loss = plan.run(n, inputs, i, i + 1)
                number = lowered.program.layer_of[i]
                for buffer in buffers_in(lowered.program.instructions[i][1]):
                    record = lowered.program.records[buffer]
                    made = record.kind == "arena" and record.dtype == "float" and record.where.begin == i
                    if made and not np.isfinite(plan.view(buffer, n)).all():
                        name = type(self.layers[number - 1] if number <= len(self.layers) else self.loss_layer)
                        return f"the output of layer {number} ({name.__name__}) is the first that is not finite"
                if loss is not None and not math.isfinite(loss):
                    return f"the scores are finite but the loss {type(self.loss_layer).__name__} of them is not"
            return "it could not be found again"

    def _most(self, x):
        """Samples of x that `predict` sends through at once."""
        dtype = x.dtype if self.input_dtype is None else self.input_dtype
        program = self._plan("predict", False, x.shape[1:], dtype, 1).program
        if program.after:  # states, which belong to the whole batch
            return len(x)
        each = program.arena_bytes // program.capacity
        return max(min(_BLOCK_BYTES // max(each, 1), _BLOCK), FEWEST)


class Lowered:
    """One pass of a network for one shape of samples: its program, its plan and what surrounds a run."""

    def __init__(self, net, kind, train, shape, dtype, capacity, rule):
        self.program = program = Program(net.dtype, capacity, train, kind in ("gradient", "step"))
        program.keeps_masks = kind == "gradient"
        x = program.input(0, shape, "labels" if net.input_dtype is None else "float")
        self.loss = None
        updates = None
        if rule is not None:
            updates = Updates(program, rule, net._with_params())
            program.ready = updates.ready
        wanted = kind == "gradient" and net.input_gradient and net.input_dtype is not None
        self.dx = None  # the gradient of x, where that is wanted
        self.y, backward = lowering.chain(program, net.layers, lowering.Value(x, shape, wanted, "the input"))
        self.in_arena = program.records[self.y.buffer].kind == "arena"
        if kind == "predict":
            if self.in_arena:
                program.pin(self.y.buffer)
        else:
            if net.loss_layer is None:
                raise ValueError(f"Network.{kind}: the network has no loss")
            self.loss = lowering.lower_loss(program, net.loss_layer, self.y)
        program.close_forward()
        self.split = len(program.instructions)
        if kind in ("gradient", "step"):
            dy = self.loss.backward()
            dx = backward(dy) if self.y.wanted else None
            if wanted and dx is not None:
                self.dx = program.pin(dx)
            if updates is not None:
                updates.finish(lambda: (net.params, net.grads))
        self.plan = make_plan(program)

    def targets(self, t, n):
        return self.loss.targets(t, n)

    def scale(self, loss, n):
        return loss if self.loss is None or self.loss.divisor is None else loss / self.loss.divisor(n)

    def outside(self, x):
        """The output where no layer computes anything: views of the input."""
        return x.reshape(len(x), *self.y.shape)

    def finish(self, n):
        for function in self.program.after:
            function(self.plan.view, n)


_networks: weakref.WeakSet = weakref.WeakSet()


def _after_fork():
    """Locks that threads of the parent held will not be released here."""
    for network in list(_networks):
        network._lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def computed_dtype(dtype):
    """What layers without parameters compute an input of this dtype in."""
    return np.dtype(np.float32 if dtype.kind == "f" and dtype.itemsize <= 4 else np.float64)


def _described(value):
    return f"the class {value.__name__}" if isinstance(value, type) else f"a {type(value).__name__}"


def vars_of(cls):
    """Attributes of a class, those it inherits included."""
    return {name: value for base in reversed(cls.__mro__) for name, value in vars(base).items()}
