"""Training: the loop of `Network.fit`, and what a checkpoint keeps of it."""

import contextlib
import importlib.util
import json
import math
import signal
import threading
import time
from typing import Any

import numpy as np

from .. import ops
from ..layers import Embedding
from ..layers.weighted import WeightedLoss, spread, takes_weights
from ..targets import check_targets, ignored_label
from ..weights import load_weights
from .callbacks import Callback, Checkpoint, Function
from .data import OF_CLASSES, Arrays, ClassWeights, Stream, together
from .metrics import metrics_of
from .updates import check_numbers

_FORMAT = "fastnn checkpoint 1"
_PART = 100  # samples of a part of the validation data, where batches come as they are


class Fit:
    """One call of `Network.fit`, as its callbacks see it.

    network, optimizer; epoch and step (done so far, in all), progress (epochs done, as a float), loss (of the last
    step), history, and names, of what it will have; `stop`, to be set. `checkpoint`: the last file written.
    """

    def __init__(
        self, network, data, epochs, optimizer, validation, callbacks, rng, progress, metrics=(), class_weights=None
    ):  # fmt: skip
        self.network = network
        self.optimizer = optimizer
        self.epochs = epochs
        self.batch_size = data.batch_size
        self.history: dict = {"loss": []}
        self.epoch = self.step = 0
        self.loss = math.nan
        self.stop = False
        self.checkpoint: Any = None
        self.rng = rng
        self._data = data
        self._validation = validation
        self._metrics, self._class_weights = metrics, class_weights
        told = [c if isinstance(c, Callback) else Function(c) for c in callbacks]
        self.callbacks = sorted(told, key=lambda c: isinstance(c, Checkpoint))  # which write what the others have done
        self._progress = progress
        self._batches = data.count  # of an epoch; None while that is not known
        self._in_epoch = 0  # steps done in the current epoch
        self._sum = 0.0  # of their losses, each times its samples or the sum of their weights
        self._total = 0.0  # of these samples or weights
        self._of_weights: Any = None  # the network with a loss that takes weights
        self._epoch_rng = _state(rng)  # before the order of the current epoch was drawn
        self._restored: Any = None  # states of generators, to be set after that order has been drawn anew

    @property
    def progress(self):
        return self.epoch + (self._in_epoch / self._batches if self._batches else 0.0)

    @property
    def names(self):
        """What the history will have, apart from what callbacks add."""
        names = ["loss", *(m.name for m in self._metrics if isinstance(self._data, Arrays))]
        if self._validation is not None:
            names += [
                "val_loss",
                *["val_accuracy"] * self.network.classifies,
                *(f"val_{m.name}" for m in self._metrics),
            ]
        return list(dict.fromkeys(names))

    # ---- the loop --------------------------------------------------------------------------------------------------

    def run(self):
        check_numbers(self.optimizer)
        if isinstance(self._data, Arrays):
            self._check_training(self._data)
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
        self._epoch_rng = _state(self.rng) if self._restored is None else self._epoch_rng
        dtype = None if self.network.follows_input else self.network.input_dtype
        batches = self._data.epoch(self.rng, dtype, self._in_epoch)
        if self._restored is not None:
            self._restore_generators()
        began, bar = time.perf_counter(), self._bar()
        batch = next(batches, None)
        if batch is None:
            raise ValueError(f"Network.fit: x gives no batches in epoch {self.epoch + 1}")
        while batch is not None:
            total = self._take(*batch)
            self.step += 1
            self._in_epoch += 1
            self._sum += self.loss * total
            self._total += total
            if bar is not None:
                bar.update(1)
            batch = next(batches, None)
            if batch is not None:
                self._tell("on_step")
            if interrupt.asked:
                raise KeyboardInterrupt
            if self.stop:
                break
        if bar is not None:
            bar.close()
        if batch is None:
            self._end_epoch(time.perf_counter() - began)

    def _take(self, x, t, weight):
        """One step -> its samples, or the sum of their weights."""
        net, total = self.network, len(x)
        if self._class_weights is not None and isinstance(self._data, Stream):
            weight = together(weight, self._class_weights.of(t, self._shape_of_scores(self._weighting, x)))
        if weight is not None:
            if not np.any(weight):
                self.loss = 0.0
                return 0.0
            net, total = self._weighting, float(np.sum(weight))
            net.loss_layer.weight = weight
        self.loss = net.step(x, t, self.optimizer)
        if not math.isfinite(self.loss):
            self._diverged(net, x, t)
        self.network.input_shape = net.input_shape
        return total

    @property
    def _weighting(self):
        """The network with a loss that takes weights: the same layers, the same arrays."""
        if self._of_weights is None:
            self._of_weights = _weighing(self.network)
        return self._of_weights

    def _shape_of_scores(self, net, x):
        with net._lock:
            x = net._input(x)
            return (len(x), *net._plan("step", True, x.shape[1:], x.dtype, len(x), self.optimizer).y.shape)

    def _end_epoch(self, seconds):
        self._batches = self._in_epoch
        self.history["loss"].append(self._sum / self._total if self._total else math.nan)
        numbers = {}
        if isinstance(self._data, Arrays):
            numbers |= self._measured(self._data.x, self._data.t, self._metrics)
        if self._validation is not None:
            numbers |= self._validate(*self._validation)
        for name, value in numbers.items():
            self.history.setdefault(name, []).append(value)
        self.epoch += 1
        self._in_epoch, self._sum, self._total = 0, 0.0, 0.0
        self._epoch_rng = _state(self.rng)
        if self._progress:
            numbers = ", ".join(f"{name} {values[-1]:.4g}" for name, values in self.history.items())
            print(f"epoch {self.epoch}/{self.epochs}: {numbers} ({seconds:.1f} s)", flush=True)
        self._tell("on_epoch")

    def _check_training(self, data):
        """Raise before the first step what would come up in a later one, and weigh the classes."""
        weighs = data.weight is not None or self._class_weights is not None
        net, first = self._weighting if weighs else self.network, slice(data.batch_size)
        shape = (len(data.x), *self._shape_of_scores(net, data.x[first])[1:])
        _check_indices(self.network, data.x)
        _check_labels(self.network, data.t, shape)
        if self._class_weights is not None:
            data.weight = together(data.weight, self._class_weights.of(data.t, shape))
        if weighs:
            name = "sample_weight" if self._class_weights is None else "class_weight"
            data.weight = _checked_weight(self.network, data.weight, shape, name)
        self._measured(data.x[first], data.t[first], self._metrics)

    def _check_validation(self, x, t, weight):
        """Raise before the first step what validation would raise after an epoch."""
        net, first = self.network, slice(self.batch_size or _PART)
        try:
            if weight is not None:
                with _kept_states(net):
                    shape = (len(x), *net.predict(x[first]).shape[1:])
                _checked_weight(net, weight, shape, "weight")
            self._validate(x[first], t[first], None if weight is None else weight[first])
            _check_indices(net, x)
            if isinstance(net.loss_layer, OF_CLASSES):
                with _kept_states(net):
                    shape = (len(x), *net.predict(x[first]).shape[1:])
                _check_labels(net, t, shape)
        except (ValueError, TypeError, IndexError) as error:
            kind = next(kind for kind in (IndexError, TypeError, ValueError) if isinstance(error, kind))
            raise kind(f"Network.fit: validation: {error}") from None

    def _validate(self, x, t, weight):
        """Recurrent states start from zeros, and are afterwards what they were."""
        net = self.network
        with _kept_states(net):
            losses = [self._loss(*part) for part in self._parts(x, t, weight)]
            total = sum(count for _, count in losses)
            numbers = {"val_loss": sum(loss * count for loss, count in losses) / total if total else math.nan}
        if net.classifies:
            with _kept_states(net):
                right, count = map(sum, zip(*(net._right(*part[:2]) for part in self._parts(x, t)), strict=True))
                numbers["val_accuracy"] = right / count if count else math.nan
        metrics = [metric for metric in self._metrics if f"val_{metric.name}" not in numbers]
        return numbers | {f"val_{name}": value for name, value in self._measured(x, t, metrics).items()}

    def _loss(self, x, t, weight):
        """(the loss of a part, how much it counts)"""
        if weight is None:
            return self.network.loss(x, t), len(x)
        net, total = self._weighting, float(np.sum(weight))
        net.loss_layer.weight = weight
        return (net.loss(x, t) if total else 0.0), total

    def _measured(self, x, t, metrics):
        """{name: value} of the metrics."""
        if not metrics:
            return {}
        for metric in metrics:
            metric.start()
        with _kept_states(self.network):
            for x_part, t_part, _ in self._parts(x, t):
                scores = self.network.predict(x_part)
                for metric in metrics:
                    metric.add(scores, t_part)
        return {metric.name: metric.value() for metric in metrics}

    def _parts(self, x, t, weight=None):
        """Batches of (x, t, weight); recurrent states go from one to the next of the same size."""
        size = self.batch_size or _PART
        for i in range(0, len(x), size):
            part = slice(i, i + size)
            if i == 0 or len(x[part]) < size:
                self.network.reset_state()
            yield x[part], t[part], None if weight is None else weight[part]

    def _tell(self, what):
        for callback in self.callbacks:
            getattr(callback, what)(self)

    def _bar(self):
        if not self._progress or not importlib.util.find_spec("tqdm"):
            return None
        from tqdm.auto import tqdm

        title = f"epoch {self.epoch + 1}/{self.epochs}"
        return tqdm(total=self._batches, initial=self._in_epoch, desc=title, leave=False, mininterval=0.5)

    def _diverged(self, net, x, t):
        where = net._first_not_finite(x, t)
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
            "samples": self._data.samples,
            "batch_size": self.batch_size,
            "epoch": self.epoch,
            "step": self.step,
            "in_epoch": self._in_epoch,
            "sum": self._sum,
            "total": self._total,
            "history": self.history,
            "epoch_rng": self._epoch_rng,
            "generators": [_state(g) for g in self._generators()],
            "callbacks": [type(c).__name__ for c in self._keeping()],
        }
        arrays["facts"] = np.frombuffer(json.dumps(facts).encode(), np.uint8)
        return arrays

    def _keeping(self):
        """The callbacks that a checkpoint has something of."""
        return [c for c in self.callbacks if type(c).arrays is not Callback.arrays]

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
        now = {"optimizer": type(self.optimizer).__name__, "samples": self._data.samples, "batch_size": self.batch_size}
        for name, value in now.items():
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
        if isinstance(self._data, Stream):
            self._data.done = self.step
        self._total = facts.get("total", facts["in_epoch"] * (facts["batch_size"] or 0))
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


def _check_indices(net, x):
    """IndexError for indices that the first layer's table does not have; where there are several, the pass looks."""
    tables = [layer.params[0] for layer in net.leaves() if isinstance(layer, Embedding)]
    if net.input_dtype is None and len({len(table) for table in tables}) == 1:
        ops.embedding_forward(tables[0][:, :0], x)  # the look-up, of rows without elements


def _check_labels(net, t, shape):
    if isinstance(net.loss_layer, OF_CLASSES):
        check_targets(t, shape, type(net.loss_layer).__name__, ignored_label(net.loss_layer))


def _checked_weight(net, weight, shape, name):
    """The weights as they are; ValueError for those that do not fit the losses of scores of that shape."""
    spread(weight, shape[:-1] if isinstance(net.loss_layer, OF_CLASSES) else shape, f"Network.fit: {name}")
    if not np.any(weight):
        raise ValueError(f"Network.fit: {name} {np.shape(weight)} is 0 for every sample")
    return weight


def _weighing(network):
    """A network of the same layers whose loss takes weights."""
    if not takes_weights(network.loss_layer):
        kind = "no loss" if network.loss_layer is None else f"the loss {type(network.loss_layer).__name__}"
        raise TypeError(f"Network.fit: weights need a loss that `layers.WeightedLoss` knows; the network has {kind}")
    from .network import Network

    return Network(network.layers, WeightedLoss(network.loss_layer))


def _whole(name, value, least):
    """TypeError for what is no whole number, ValueError for one that is too small."""
    if not isinstance(value, int | np.integer) or isinstance(value, bool):
        raise TypeError(f"Network.fit: {name} is {value!r}; it must be a whole number")
    if value < least:
        raise ValueError(f"Network.fit: {name} is {value}; it must be at least {least}")


def _pairs_of(given, what):
    """(x, t, weight or None) of what was given as validation data."""
    arrays = tuple(np.asarray(a) for a in given)
    if len(arrays) not in (2, 3) or len({a.shape[:1] for a in arrays}) != 1 or not arrays[0].size:
        shapes = " and ".join(str(a.shape) for a in arrays)
        raise ValueError(f"Network.fit: {what} is {shapes}; it must be x and t of as many samples, at least 1")
    return (*arrays, None)[:3]


def _data(x, t, epochs, batch_size, shuffle, validation, validation_split, weight, steps_per_epoch):
    """(`Arrays` or a `Stream`, validation data or None)"""
    if not isinstance(validation_split, int | float | np.floating):
        raise TypeError(f"Network.fit: validation_split is {validation_split!r}; it must be a number from 0 to below 1")
    if validation is not None and validation_split:
        raise ValueError("Network.fit: validation and validation_split are both given; the data comes from one of them")
    if steps_per_epoch is not None:
        _whole("steps_per_epoch", steps_per_epoch, 1)
    validation = None if validation is None else _pairs_of(validation, "validation")
    if t is None:
        if isinstance(x, np.ndarray) or not (callable(x) or hasattr(x, "__iter__")):
            raise TypeError(f"Network.fit: t is None and x a {type(x).__name__}; without t, x must give batches (x, t)")
        if validation_split or weight is not None:
            name = "validation_split" if validation_split else "sample_weight"
            raise ValueError(
                f"Network.fit: {name} is for arrays; batches may be (x, t, weight), validation is separate"
            )
        return Stream(x, epochs, steps_per_epoch), validation
    if steps_per_epoch is not None:
        raise ValueError("Network.fit: steps_per_epoch is for batches; of arrays an epoch is every sample once")
    x, t = np.asarray(x), np.asarray(t)
    weight = None if weight is None else np.asarray(weight)
    if len(x) != len(t):
        raise ValueError(f"Network.fit: x is {x.shape} but t is {t.shape}; they must have as many samples")
    if not len(x) or not isinstance(batch_size, int | np.integer) or batch_size < 1:
        raise ValueError(f"Network.fit: x is {x.shape} and batch_size {batch_size!r}; both must be at least 1")
    if weight is not None and weight.shape[:1] != x.shape[:1]:
        raise ValueError(f"Network.fit: x is {x.shape} but sample_weight is {weight.shape}; one weight a sample")
    if validation_split:
        kept = len(x) - round(len(x) * validation_split) if 0 < validation_split < 1 else 0
        if not 0 < kept < len(x):
            raise ValueError(
                f"Network.fit: validation_split is {validation_split!r} of {len(x)} samples; both parts must have some"
            )
        validation = x[kept:], t[kept:], None if weight is None else weight[kept:]
        x, t, weight = x[:kept], t[:kept], None if weight is None else weight[:kept]
    return Arrays(x, t, weight, batch_size, shuffle), validation


def fit(
    network, x, t, epochs, batch_size, optimizer, validation, callbacks, rng, shuffle, progress, resume,
    validation_split, sample_weight, class_weight, metrics, steps_per_epoch,
):  # fmt: skip
    """See `Network.fit`."""
    _whole("epochs", epochs, 0)
    data, validation = _data(
        x, t, epochs, batch_size, shuffle, validation, validation_split, sample_weight, steps_per_epoch
    )
    metrics = metrics_of(metrics, network)
    if metrics and validation is None and isinstance(data, Stream):
        raise ValueError("Network.fit: metrics of batches are taken of validation data, and there is none")
    class_weights = None if class_weight is None else ClassWeights(class_weight, network.loss_layer)
    if sample_weight is not None or class_weights is not None or (validation is not None and validation[2] is not None):
        _weighing(network)
    callbacks = [callbacks] if callable(callbacks) or isinstance(callbacks, Callback) else list(callbacks)
    for callback in callbacks:
        if isinstance(callback, type) or not (callable(callback) or isinstance(callback, Callback)):
            raise TypeError(f"Network.fit: callback {callback!r} is neither a Callback nor a function")
    rng = network.rng if rng is None else np.random.default_rng(rng)
    one = Fit(network, data, epochs, optimizer, validation, callbacks, rng, progress, metrics, class_weights)
    if resume is not None:
        one.resume(resume)
    network.history = one.history
    return one.run()
