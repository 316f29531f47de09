"""What listens to `Network.fit`: schedules, stopping, checkpoints."""

import dataclasses
import math
import numbers
from pathlib import Path

import numpy as np

from ..optimizer import Optimizer
from ..weights import save_weights


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


@dataclasses.dataclass(frozen=True)
class StepDecay:
    """A schedule: lr times `factor` after each `every` epochs, a number above 0 (ValueError)."""

    lr: float
    factor: float = 0.5
    every: float = 10

    def __post_init__(self):
        if not self.every > 0:
            raise ValueError(f"StepDecay: every is {self.every!r}; it must be above 0 epochs")

    def __call__(self, epoch):
        return self.lr * self.factor ** (epoch // self.every)


@dataclasses.dataclass(frozen=True)
class CosineDecay:
    """A schedule: from 0 to lr in `warmup` epochs, then half a cosine down to `end` (Loshchilov and Hutter 2017).

    Raises ValueError where `epochs` is not above 0 or `warmup` is below 0.
    """

    lr: float
    epochs: float
    warmup: float = 0.0
    end: float = 0.0

    def __post_init__(self):
        if not (self.epochs > 0 and self.warmup >= 0):
            numbers = f"epochs is {self.epochs!r} and warmup {self.warmup!r}"
            raise ValueError(f"CosineDecay: {numbers}; the first must be above 0, the second not below 0")

    def __call__(self, epoch):
        if epoch < self.warmup:
            return self.lr * (epoch + 1e-3) / self.warmup
        done = min((epoch - self.warmup) / max(self.epochs - self.warmup, 1e-9), 1.0)
        return self.end + (self.lr - self.end) * 0.5 * (1 + math.cos(math.pi * done))


step_decay, cosine_decay = StepDecay, CosineDecay  # as functions of these names made them


class Watching(Callback):
    """What EarlyStopping and ReduceLROnPlateau share: the best value of `monitor`, and epochs without a better one.

    Larger is better for names that end with accuracy.
    """

    def __init__(self, monitor, min_delta=0.0):
        self.monitor = monitor
        self.min_delta = min_delta
        self._start()

    def _start(self):
        self.best = math.inf
        self.waited = 0

    def on_begin(self, fit):
        others = [c for c in fit.callbacks if type(c).__module__ != __name__ or isinstance(c, Function)]
        if not others:  # which may record what they like
            self._check_name(fit.names)
        if not fit.step:  # not one that goes on
            self._start()

    def _check_name(self, names):
        if self.monitor not in names:
            raise ValueError(f"{type(self).__name__}: {self.monitor!r} is not one of {', '.join(names)}")

    def _improved(self, fit):
        """Whether this epoch is the best so far."""
        self._check_name(fit.history)
        value = fit.history[self.monitor][-1] * (-1 if self.monitor.endswith("accuracy") else 1)
        if value < self.best - self.min_delta:
            self.best, self.waited = value, 0
            return True
        self.waited += 1
        return False

    def arrays(self):
        return {"best": self.best, "waited": self.waited}

    def restore(self, arrays):
        self.best, self.waited = float(arrays["best"]), int(arrays["waited"])


class EarlyStopping(Watching):
    """Ends training once `monitor` has not improved for `patience` epochs; the parameters become the best epoch's.

    monitor: a name of the history; larger is better for names that end with accuracy. restore: keep a copy of the best.
    """

    def __init__(self, patience=5, monitor="val_loss", restore=True):
        self.patience = patience
        self.keeps = restore
        super().__init__(monitor)

    def _start(self):
        super()._start()
        self._best: dict = {}  # the arrays of the best epoch

    def on_epoch(self, fit):
        if self._improved(fit):
            if self.keeps:
                self._best = {name: a.copy() for name, a in fit.network._named_arrays().items()}
        elif self.waited >= self.patience:
            fit.stop = True
            if self._best:
                fit.network._fill(self._best, "EarlyStopping")

    def arrays(self):
        return super().arrays() | {f"best.{name}": a for name, a in self._best.items()}

    def restore(self, arrays):
        super().restore(arrays)
        self._best = {name.removeprefix("best."): a for name, a in arrays.items() if name.startswith("best.")}


class ReduceLROnPlateau(Watching):
    """Multiplies `optimizer.lr` by `factor` where `monitor` has not improved for `patience` epochs.

    An improvement is one by more than min_delta. The rate never falls below min_lr. After a cut it waits for `patience`
    epochs again, and `cooldown` more. It does not go together with LearningRate, which sets the rate at every step.
    """

    def __init__(self, factor=0.5, patience=5, monitor="val_loss", min_lr=0.0, min_delta=1e-4, cooldown=0):
        if not 0 < factor < 1:
            raise ValueError(f"ReduceLROnPlateau: factor is {factor!r}; it must lie between 0 and 1")
        given = {"patience": patience, "min_lr": min_lr, "min_delta": min_delta, "cooldown": cooldown}
        for name, value in given.items():
            if not isinstance(value, numbers.Real) or not 0 <= value < math.inf:
                raise ValueError(f"ReduceLROnPlateau: {name} is {value!r}; it must be a number of at least 0")
        self.factor = factor
        self.patience = patience
        self.min_lr = min_lr
        self.cooldown = cooldown
        super().__init__(monitor, min_delta)

    def on_begin(self, fit):
        super().on_begin(fit)
        if any(isinstance(callback, LearningRate) for callback in fit.callbacks):
            raise ValueError(
                "ReduceLROnPlateau: callbacks has a LearningRate too, which sets optimizer.lr at every step"
            )

    def on_epoch(self, fit):
        if not self._improved(fit) and self.waited >= self.patience:
            fit.optimizer.lr = max(fit.optimizer.lr * self.factor, min(self.min_lr, fit.optimizer.lr))
            self.waited = -self.cooldown


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


class Function(Callback):
    def __init__(self, function):
        self.function = function

    def on_epoch(self, fit):
        self.function(fit)
