"""What `Network.fit` measures after each epoch, by name or by a function of the user's."""

import math
import re
from typing import Any

import numpy as np

from ..targets import ignored_label, labels_of, like

_SHORT = {"mae": "mean_absolute_error", "mse": "mean_squared_error"}
_NAMES = "accuracy, top_5_accuracy (or another number), mean_absolute_error, mean_squared_error"


class Metric:
    """A number of scores and targets, taken batch by batch: `add` each, then `value`."""

    name: str

    def __init__(self, name, net):
        self.name, self.net = name, net
        self.start()

    def start(self):
        """Nothing has been added."""
        self.total, self.count = 0.0, 0

    def add(self, scores, t):
        """scores (n, ...) as `predict` gives them, and their targets."""
        total, count = self._of(scores, t)
        self.total, self.count = self.total + total, self.count + count

    def value(self):
        """The mean; nan where nothing counts."""
        return self.total / self.count if self.count else math.nan

    def _of(self, scores, t) -> Any:
        raise NotImplementedError


class _Accuracy(Metric):
    def _of(self, scores, t):
        return self.net._right_of(scores, t)


class _TopAccuracy(Metric):
    def __init__(self, name, net, k):
        super().__init__(name, net)
        self.k = k

    def _of(self, scores, t):
        ignored = ignored_label(self.net.loss_layer)
        labels = labels_of(t, scores.shape, f"Network.fit: {self.name}", ignored).reshape(-1)
        rows = scores.reshape(len(labels), -1)
        if self.k > rows.shape[1]:
            raise ValueError(f"Network.fit: {self.name}: the scores are {scores.shape}; there are no {self.k} classes")
        counts = np.ones(len(labels), bool) if ignored is None else labels != ignored
        rows, labels = rows[counts], labels[counts]
        best = np.argpartition(rows, -self.k, axis=1)[:, -self.k :]
        return int((best == labels[:, np.newaxis]).sum()), len(labels)


class _Error(Metric):
    def __init__(self, name, net, power):
        super().__init__(name, net)
        self.power = power

    def _of(self, scores, t):
        t = like(scores, t)
        if t.shape != scores.shape:
            raise ValueError(f"Network.fit: {self.name}: t is {t.shape} but the scores are {scores.shape}")
        difference = np.abs(scores.astype(np.float64) - t)
        return float((difference**self.power).sum()), scores.size


class _Own(Metric):
    """A function of all scores and all targets."""

    def __init__(self, name, net, function):
        super().__init__(name, net)
        self.function = function

    def start(self):
        self.scores, self.targets = [], []

    def add(self, scores, t):
        self.scores.append(scores)
        self.targets.append(t)

    def value(self):
        result = np.asarray(self.function(np.concatenate(self.scores), np.concatenate(self.targets)))
        if result.size != 1 or result.dtype.kind not in "biuf":
            raise ValueError(
                f"Network.fit: the metric {self.name} gives {result.dtype} {result.shape}; it must be a number"
            )
        return float(result.reshape(()))


def metrics_of(given, net):
    """[Metric] of names, functions, or {name: either}. ValueError for a name that is none, or comes twice."""
    given = [given] if isinstance(given, str) or callable(given) else given
    pairs = given.items() if isinstance(given, dict) else [(None, each) for each in given or ()]
    found = [_metric(name, each, net) for name, each in pairs]
    names = [metric.name for metric in found]
    if len(set(names)) < len(names) or any(name == "loss" or name.startswith("val_") for name in names):
        raise ValueError(
            f"Network.fit: metrics is {', '.join(names)}; each name may come once, and none is loss or begins with val_"
        )
    return found


def _metric(name, each, net):
    if callable(each):
        return _Own(str(name or getattr(each, "__name__", type(each).__name__)), net, each)
    if isinstance(each, str):
        full = _SHORT.get(each, each)
        name = name or full
        top = re.fullmatch(r"top_([1-9]\d*)_accuracy", full)
        if full == "accuracy":
            return _Accuracy(str(name), net)
        if top:
            return _TopAccuracy(str(name), net, int(top[1]))
        if full in _SHORT.values():
            return _Error(str(name), net, 1 if full == "mean_absolute_error" else 2)
    raise ValueError(
        f"Network.fit: the metric {each!r} is not known; metrics are {_NAMES}, or functions of (scores, t)"
    )
