"""Training: the loop of `Network.fit`, what listens to it, and checkpoints."""

import contextlib
import importlib.util
import json
import math
import signal
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

from .. import ops
from ..layers import SoftmaxCrossEntropy
from ..optimizer import Optimizer
from ..targets import check_targets, ignored_label
from ..time_layers import TimeSoftmaxWithLoss
from ..weights import load_weights, save_weights

_FORMAT = "fastnn checkpoint 1"


class Callback:
    """Told by `fit` about every step and epoch; a plain function is told about epochs. `fit.stop = True` ends it."""

    def on_begin(self, fit):
        """Before the first step; after a checkpoint has been read."""

    def on_step(self, fit):
        """After each step, but for those that end an epoch."""

    def on_epoch(self, fit):
        """After each epoch, its numbers in `fit.history`."""

    def arrays(self):
        """What of this callback a checkpoint keeps, {name: array or number}."""
        return {}

    def restore(self, arrays):
        """The other way."""


class LearningRate(Callback):
    """Sets `optimizer.lr` before each step to schedule(epochs done so far), a float."""

    def __init__(self, schedule):
        self.schedule = schedule

    def on_begin(self, fit):
        fit.optimizer.lr = self.schedule(fit.progress)

    on_step = on_epoch = on_begin


def step_decay(lr, factor=0.5, every=10):
    """A schedule: lr times `factor` after each `every` epochs."""
    return lambda epoch: lr * factor ** (epoch // every)


def cosine_decay(lr, epochs, warmup=0.0, end=0.0):
    """A schedule: from 0 to lr in `warmup` epochs, then half a cosine down to `end` (Loshchilov and Hutter 2017)."""

    def schedule(epoch):
        if epoch < warmup:
            return lr * (epoch + 1e-3) / warmup
        done = min((epoch - warmup) / max(epochs - warmup, 1e-9), 1.0)
        return end + (lr - end) * 0.5 * (1 + math.cos(math.pi * done))

    return schedule


class EarlyStopping(Callback):
    """Ends training once `monitor` has not improved for `patience` epochs; the parameters become the best epoch's.

    monitor: a name of the history; larger is better for names that end with accuracy. restore: keep a copy of the best.
    """

    def __init__(self, patience=5, monitor="val_loss", restore=True):
        self.patience = patience
        self.monitor = monitor
        self.keeps = restore
        self._start()

    def _start(self):
        self.best = math.inf
        self.waited = 0
        self._best: dict = {}  # the arrays of the best epoch

    def on_begin(self, fit):
        if not fit.step:  # not one that goes on
            self._start()

    def on_epoch(self, fit):
        if self.monitor not in fit.history:
            raise ValueError(f"EarlyStopping: {self.monitor!r} is not one of {', '.join(fit.history)}")
        value = fit.history[self.monitor][-1] * (-1 if self.monitor.endswith("accuracy") else 1)
        if value < self.best:
            self.best, self.waited = value, 0
            if self.keeps:
                self._best = {name: a.copy() for name, a in fit.network._named_arrays().items()}
            return
        self.waited += 1
        if self.waited >= self.patience:
            fit.stop = True
            if self._best:
                fit.network._fill(self._best, "EarlyStopping")

    def arrays(self):
        return {"best": self.best, "waited": self.waited} | {f"best.{name}": a for name, a in self._best.items()}

    def restore(self, arrays):
        self.best, self.waited = float(arrays["best"]), int(arrays["waited"])
        self._best = {name.removeprefix("best."): a for name, a in arrays.items() if name.startswith("best.")}


class Checkpoint(Callback):
    """Writes all that training needs to `path` (.npz), whole or not at all, every so many epochs, or steps if given.

    `fit(..., resume=path)` goes on from there, bit for bit as if it had not stopped: parameters, statistics, recurrent
    states, the optimizer, random numbers, the place in the data, what callbacks have counted. Raises FloatingPointError
    where parameters are not finite: the file then stays the last good one.
    """

    def __init__(self, path, every=1, steps=None):
        self.path = Path(path)
        self.every = every
        self.steps = steps
        if self.path.suffix != ".npz":
            raise ValueError(f"Checkpoint: {self.path}: the suffix must be .npz")

    def on_begin(self, fit):
        if not isinstance(fit.optimizer, Optimizer):
            kind = type(fit.optimizer).__name__
            raise TypeError(f"Checkpoint: the state of a {kind} is not known; take an optimizer of fastnn")

    def on_step(self, fit):
        if self.steps and fit.step % self.steps == 0:
            self._write(fit)

    def on_epoch(self, fit):
        if fit.epoch % self.every == 0 if not self.steps else fit.step % self.steps == 0:
            self._write(fit)

    def _write(self, fit):
        for name, a in fit.network._named_arrays().items():
            if not np.isfinite(a).all():
                kept = f"; {fit.checkpoint} is from before" if fit.checkpoint else ""
                raise FloatingPointError(f"Checkpoint: {name} is not finite after step {fit.step} in all{kept}")
        save_weights(self.path, fit.snapshot())
        fit.checkpoint = self.path


class Fit:
    """One call of `Network.fit`, as its callbacks see it.

    network, optimizer; epoch and step (done so far, in all), progress (epochs done, as a float), loss (of the last
    step), history; `stop`, to be set. `checkpoint`: the last file written.
    """

    def __init__(self, network, x, t, epochs, batch_size, optimizer, validation, callbacks, rng, shuffle, progress):
        self.network = network
        self.optimizer = optimizer
        self.epochs = epochs
        self.batch_size = batch_size
        self.history: dict = {"loss": []}
        self.epoch = self.step = 0
        self.loss = math.nan
        self.stop = False
        self.checkpoint: Any = None
        self.rng = rng
        self._x, self._t = x, t
        self._validation = validation
        told = [c if isinstance(c, Callback) else _Function(c) for c in callbacks]
        self._callbacks = sorted(told, key=lambda c: isinstance(c, Checkpoint))  # which write what the others have done
        self._shuffle = shuffle
        self._progress = progress
        self._batches = -(-len(x) // batch_size)
        self._in_epoch = 0  # steps done in the current epoch
        self._sum = 0.0  # of their losses, each times its samples
        self._epoch_rng = _state(rng)  # before the order of the current epoch was drawn
        self._restored: Any = None  # states of generators, to be set after that order has been drawn anew

    @property
    def progress(self):
        return self.epoch + self._in_epoch / self._batches

    # ---- the loop --------------------------------------------------------------------------------------------------

    def run(self):
        if self._validation is not None:
            self._check_validation(*self._validation)
        self._tell("on_begin")
        with _Interruptible() as interrupt:
            while self.epoch < self.epochs and not self.stop:
                self._run_epoch(interrupt)
            if interrupt.asked:
                raise KeyboardInterrupt
        return self.history

    def _run_epoch(self, interrupt):
        x, t, size = self._x, self._t, self.batch_size
        self._epoch_rng = _state(self.rng) if self._restored is None else self._epoch_rng
        order = self.rng.permutation(len(x)) if self._shuffle else np.arange(len(x))
        if self._restored is not None:
            self._restore_generators()
        dtype = None if self.network.follows_input else self.network.input_dtype
        batch_x, batch_t = _Batch(x, size, dtype), _Batch(t, size)
        began, bar = time.perf_counter(), self._bar()
        network, optimizer = self.network, self.optimizer
        for i in range(self._in_epoch, self._batches):
            rows = order[i * size : (i + 1) * size]
            loss = self.loss = network.step(batch_x.take(rows), batch_t.take(rows), optimizer)
            if not math.isfinite(loss):
                self._diverged(batch_x.take(rows), batch_t.take(rows))
            self.step += 1
            self._in_epoch += 1
            self._sum += loss * len(rows)
            if bar is not None:
                bar.update(1)
            if self._in_epoch < self._batches:
                self._tell("on_step")
            if interrupt.asked:
                raise KeyboardInterrupt
            if self.stop:
                break
        if bar is not None:
            bar.close()
        if self._in_epoch == self._batches:
            self._end_epoch(time.perf_counter() - began)

    def _end_epoch(self, seconds):
        self.history["loss"].append(self._sum / len(self._x))
        if self._validation is not None:
            for name, value in self._validate(*self._validation).items():
                self.history.setdefault(name, []).append(value)
        self.epoch += 1
        self._in_epoch, self._sum = 0, 0.0
        self._epoch_rng = _state(self.rng)
        if self._progress:
            numbers = ", ".join(f"{name} {values[-1]:.4g}" for name, values in self.history.items())
            print(f"epoch {self.epoch}/{self.epochs}: {numbers} ({seconds:.1f} s)", flush=True)
        self._tell("on_epoch")

    def _check_validation(self, x, t):
        """Raise before the first step what validation would raise after an epoch."""
        net, first = self.network, slice(self.batch_size)
        try:
            self._validate(x[first], t[first])  # shapes, dtypes, what a loss in Python asks for
            if net.input_dtype is None:
                ops.embedding_forward(net.layers[0].params[0][:, :0], x)  # the look-up, of rows without elements
            if isinstance(net.loss_layer, SoftmaxCrossEntropy | TimeSoftmaxWithLoss):
                with _kept_states(net):
                    shape = net.predict(x[first]).shape[1:]
                check_targets(t, (len(x), *shape), type(net.loss_layer).__name__, ignored_label(net.loss_layer))
        except (ValueError, TypeError, IndexError) as error:
            kind = next(kind for kind in (IndexError, TypeError, ValueError) if isinstance(error, kind))
            raise kind(f"Network.fit: validation: {error}") from None

    def _validate(self, x, t):
        """Recurrent states start from zeros, and are afterwards what they were."""
        net = self.network
        with _kept_states(net):
            numbers = {"val_loss": sum(net.loss(*part) * len(part[0]) for part in self._parts(x, t)) / len(x)}
            if net.classifies:
                right, count = map(sum, zip(*(net._right(*part) for part in self._parts(x, t)), strict=True))
                numbers["val_accuracy"] = right / count if count else math.nan
        return numbers

    def _parts(self, x, t):
        """Batches of (x, t); recurrent states go from one to the next of the same size."""
        for i in range(0, len(x), self.batch_size):
            part = slice(i, i + self.batch_size)
            if i == 0 or len(x[part]) < self.batch_size:
                self.network.reset_state()
            yield x[part], t[part]

    def _tell(self, what):
        for callback in self._callbacks:
            getattr(callback, what)(self)

    def _bar(self):
        if not self._progress or not importlib.util.find_spec("tqdm"):
            return None
        from tqdm.auto import tqdm

        title = f"epoch {self.epoch + 1}/{self.epochs}"
        return tqdm(total=self._batches, initial=self._in_epoch, desc=title, leave=False, mininterval=0.5)

    def _diverged(self, x, t):
        where = self.network._first_not_finite(x, t)
        kept = f"; the last checkpoint is {self.checkpoint}" if self.checkpoint else ""
        raise FloatingPointError(
            f"Network.fit: the loss is {self.loss} at step {self._in_epoch + 1} of epoch {self.epoch + 1} (step "
            f"{self.step + 1} in all): {where}. The parameters are those from before the step{kept}"
        )

    # ---- checkpoints -----------------------------------------------------------------------------------------------

    def _generators(self):
        """All random generators that training draws from, each once."""
        found = [self.rng, *(getattr(layer, "rng", None) for layer in self.network.leaves())]
        found = [g for g in found if isinstance(g, np.random.Generator)]
        return list({id(g): g for g in found}.values())

    def snapshot(self):
        """All that training needs to go on, as {name: array}."""
        optimizer = self.optimizer
        arrays = {f"net.{name}": a for name, a in self.network._named_arrays().items()}
        for i, _, name, state in _states(self.network):
            if state is not None:
                arrays[f"state.{i}.{name}"] = state
        for i, callback in enumerate(self._keeping()):
            arrays |= {f"callback.{i}.{name}": np.asarray(a) for name, a in callback.arrays().items()}
        for name in optimizer.state_names:
            for i, a in enumerate(getattr(optimizer, name) or []):
                arrays[f"optimizer.{name}.{i}"] = a
        facts = {
            "format": _FORMAT,
            "optimizer": type(optimizer).__name__,
            "numbers": {k: v for k, v in vars(optimizer).items() if isinstance(v, (int, float))},
            "samples": len(self._x),
            "batch_size": self.batch_size,
            "epoch": self.epoch,
            "step": self.step,
            "in_epoch": self._in_epoch,
            "sum": self._sum,
            "history": self.history,
            "epoch_rng": self._epoch_rng,
            "generators": [_state(g) for g in self._generators()],
            "callbacks": [type(c).__name__ for c in self._keeping()],
        }
        arrays["facts"] = np.frombuffer(json.dumps(facts).encode(), np.uint8)
        return arrays

    def _keeping(self):
        """The callbacks that a checkpoint has something of."""
        return [c for c in self._callbacks if type(c).arrays is not Callback.arrays]

    def resume(self, path):
        """Go on from a checkpoint. ValueError, before anything is changed, for one of another training."""
        arrays, what = load_weights(path), f"Network.fit: {path}"
        try:
            facts = json.loads(arrays.pop("facts").tobytes())
            known = facts["format"] == _FORMAT
        except (KeyError, ValueError, TypeError):
            known = False
        if not known:
            raise ValueError(f"{what} is not a checkpoint of fastnn")
        for name, value in (
            ("optimizer", type(self.optimizer).__name__), ("samples", len(self._x)), ("batch_size", self.batch_size),
        ):  # fmt: skip
            if facts[name] != value:
                raise ValueError(f"{what} was written with {name} {facts[name]}; now it is {value}")
        generators = self._generators()
        if len(facts["generators"]) != len(generators):
            found = len(facts["generators"])
            raise ValueError(f"{what} has {found} random generators; the network has {len(generators)}")
        self.network._fill({k[4:]: a for k, a in arrays.items() if k.startswith("net.")}, what)
        self.network.reset_state()
        for key, a in arrays.items():
            kind, *rest = key.split(".")
            if kind == "state":
                setattr(self.network.leaves()[int(rest[0]) - 1], rest[1], a)
        for name in self.optimizer.state_names:
            state = [a for key, a in arrays.items() if key.startswith(f"optimizer.{name}.")]
            setattr(self.optimizer, name, state or None)
        vars(self.optimizer).update(facts["numbers"])
        if facts.get("callbacks") == [type(c).__name__ for c in self._keeping()]:  # other ones begin anew
            for i, callback in enumerate(self._keeping()):
                start = f"callback.{i}."
                callback.restore({k.removeprefix(start): a for k, a in arrays.items() if k.startswith(start)})
        self.epoch, self.step, self._in_epoch = facts["epoch"], facts["step"], facts["in_epoch"]
        self._sum, self.history = facts["sum"], facts["history"]
        self._epoch_rng, self._restored = facts["epoch_rng"], facts["generators"]
        if self._in_epoch:  # the order of this epoch is drawn anew first
            self.rng.bit_generator.state = self._epoch_rng
        else:
            self._restore_generators()
        self.checkpoint = path

    def _restore_generators(self):
        for generator, state in zip(self._generators(), self._restored, strict=True):
            generator.bit_generator.state = state
        self._restored = None


class _Function(Callback):
    def __init__(self, function):
        self.function = function

    def on_epoch(self, fit):
        self.function(fit)


class _Batch:
    """Rows of an array gathered into one buffer, in `dtype` where the array holds numbers of another one."""

    def __init__(self, array, size, dtype=None):
        self.array = array
        self.buffer = np.empty((size, *array.shape[1:]), array.dtype)
        cast = dtype is not None and array.dtype != dtype and array.dtype.kind in "biuf"
        self.cast = np.empty(self.buffer.shape, dtype) if cast else None

    def take(self, rows):
        out = self.buffer[: len(rows)]
        np.take(self.array, rows, axis=0, out=out, mode="clip")  # the mode that writes straight into out
        if self.cast is None:
            return out
        self.cast[: len(rows)] = out
        return self.cast[: len(rows)]


class _Interruptible:
    """Lets a step end before Ctrl-C takes effect; a second one takes effect at once."""

    asked = False

    def __enter__(self):
        self._before = None
        if threading.current_thread() is threading.main_thread():
            before = signal.getsignal(signal.SIGINT)
            if callable(before):
                self._before = before
                signal.signal(signal.SIGINT, self._ask)
        return self

    def _ask(self, number, frame):
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True

    def __exit__(self, *exc):
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)


def _states(network):
    """(number, layer, "h" or "c", state) of the stateful layers."""
    for i, layer in enumerate(network.leaves(), 1):
        if getattr(layer, "stateful", False):
            yield from ((i, layer, name, getattr(layer, name)) for name in ("h", "c") if hasattr(layer, name))


@contextlib.contextmanager
def _kept_states(network):
    """Recurrent states start from zeros inside, and are afterwards what they were."""
    states = list(_states(network))
    network.reset_state()
    try:
        yield
    finally:
        for _, layer, name, state in states:
            setattr(layer, name, state)


def _state(generator):
    """A generator's state as plain numbers."""
    return _plain(generator.bit_generator.state)


def _plain(value):
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return [int(item) for item in value]
    return value


def fit(network, x, t, epochs, batch_size, optimizer, validation, callbacks, rng, shuffle, progress, resume):
    """See `Network.fit`."""
    x, t = np.asarray(x), np.asarray(t)
    if len(x) != len(t):
        raise ValueError(f"Network.fit: x is {x.shape} but t is {t.shape}; they must have as many samples")
    if not len(x) or not isinstance(batch_size, int | np.integer) or batch_size < 1:
        raise ValueError(f"Network.fit: x is {x.shape} and batch_size {batch_size!r}; both must be at least 1")
    if validation is not None:
        validation = tuple(np.asarray(a) for a in validation)
        lengths = [len(a) for a in validation]
        if len(lengths) != 2 or lengths[0] != lengths[1] or not lengths[0]:
            shapes = " and ".join(str(a.shape) for a in validation)
            raise ValueError(f"Network.fit: validation is {shapes}; it must be x and t of as many samples, at least 1")
    callbacks = [callbacks] if callable(callbacks) or isinstance(callbacks, Callback) else list(callbacks)
    for callback in callbacks:
        if isinstance(callback, type) or not (callable(callback) or isinstance(callback, Callback)):
            raise TypeError(f"Network.fit: callback {callback!r} is neither a Callback nor a function")
    rng = network.rng if rng is None else np.random.default_rng(rng)
    one = Fit(network, x, t, epochs, batch_size, optimizer, validation, callbacks, rng, shuffle, progress)
    if resume is not None:
        one.resume(resume)
    network.history = one.history
    return one.run()
