"""Where `Network.fit` takes its batches from: arrays, or anything that gives batches."""

import itertools
from typing import Any

import numpy as np

from ..layers import SigmoidWithLoss, SoftmaxCrossEntropy
from ..layers.weighted import spread
from ..targets import ignored_label, labels_or_targets, like
from ..time_layers import TimeSoftmaxWithLoss

OF_CLASSES = SoftmaxCrossEntropy | TimeSoftmaxWithLoss


class Arrays:
    """x (N, ...), t (N, ...) and weights, cut into batches of batch_size, the last one perhaps smaller."""

    def __init__(self, x, t, weight, batch_size, shuffle):
        self.x, self.t, self.weight = x, t, weight
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.samples: Any = len(x)
        self.count: Any = -(-len(x) // batch_size)  # batches of an epoch

    def epoch(self, rng, dtype, begin):
        """The batches of an epoch from number `begin` on: (x, t, weight or None). Their order is drawn now."""
        order = rng.permutation(len(self.x)) if self.shuffle else np.arange(len(self.x))
        size = self.batch_size
        x, t = _Batch(self.x, size, dtype), _Batch(self.t, size)
        places = (order[i * size : (i + 1) * size] for i in range(begin, self.count))
        return ((x.take(rows), t.take(rows), None if self.weight is None else self.weight[rows]) for rows in places)


class Stream:
    """Batches (x, t) or (x, t, weight): a list of them, an object or a function that gives them anew each epoch."""

    batch_size = samples = None

    def __init__(self, source, epochs, steps_per_epoch):
        self.source = source
        self.makes = source if not hasattr(source, "__iter__") else lambda: source  # what gives an iterable
        self.steps = steps_per_epoch
        self.count: Any = steps_per_epoch or (len(source) if hasattr(source, "__len__") else None)
        self._running: Any = None  # what goes on from epoch to epoch
        self.done = 0  # batches that a resumed training has had
        once = hasattr(source, "__next__")
        if once and epochs > 1 and steps_per_epoch is None:
            raise ValueError(
                f"Network.fit: x is a {type(source).__name__}, whose batches can be read once, but epochs is {epochs}; "
                "pass a function that makes one, or steps_per_epoch"
            )

    def epoch(self, rng, dtype, begin):
        """As `Arrays.epoch`; the order is that of the source."""
        if self.steps is None:
            batches = itertools.islice(self._anew(), begin, None)
        else:
            if self._running is None:
                self._running = itertools.islice(self._on_and_on(), self.done, None)
            batches = itertools.islice(self._running, self.steps - begin)
        return (_checked(batch, number) for number, batch in enumerate(batches, begin + 1))

    def _anew(self):
        return iter(self.makes())

    def _on_and_on(self):
        """The batches, from the beginning again where they end."""
        while True:
            empty = True
            for batch in self._anew():
                empty = False
                yield batch
            if empty:
                raise ValueError("Network.fit: x has no more batches, and steps_per_epoch asks for more")


def _checked(batch, number):
    if not isinstance(batch, tuple | list) or len(batch) not in (2, 3):
        found = f"{len(batch)} things" if isinstance(batch, tuple | list) else f"a {type(batch).__name__}"
        raise TypeError(f"Network.fit: batch {number} of x is {found}; it must be (x, t) or (x, t, weight)")
    x, t, *weight = (np.asarray(a) for a in batch)
    if x.shape[:1] != t.shape[:1] or not len(x) or (weight and weight[0].shape[:1] != x.shape[:1]):
        shapes = ", ".join(str(a.shape) for a in (x, t, *weight))
        raise ValueError(f"Network.fit: batch {number} of x is {shapes}; all must have as many samples, at least 1")
    return x, t, weight[0] if weight else None


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


class ClassWeights:
    """A weight for each class: an array (V,), or {class: weight} where other classes have 1."""

    def __init__(self, given, loss):
        self.loss = loss
        if not isinstance(loss, OF_CLASSES | SigmoidWithLoss):
            kind = "no loss" if loss is None else f"the loss {type(loss).__name__}"
            raise TypeError(f"Network.fit: class_weight needs a loss of classes; the network has {kind}")
        self.named = dict(given) if isinstance(given, dict) else None
        values = list(given.values()) if isinstance(given, dict) else given
        self.values = np.asarray(values, np.float64)
        if self.values.ndim != 1 or not (np.isfinite(self.values) & (self.values >= 0)).all():
            raise ValueError("Network.fit: class_weight must be numbers that are finite and not negative, one a class")

    def of(self, t, shape):
        """The weights of targets t for scores of that shape: (N, ...) without the last axis, or for each sigmoid."""
        sigmoid = isinstance(self.loss, SigmoidWithLoss)
        table = self._table(2 if sigmoid else shape[-1], shape)
        if sigmoid:
            t = like(np.empty(shape, np.float32), t)
            if t.shape != shape:
                raise ValueError(f"Network.fit: t is {t.shape} but the scores are {shape}")
            return table[(t > 0.5).astype(np.int64)]
        t = labels_or_targets(t, shape, f"Network.fit: {type(self.loss).__name__}")
        labels = t.argmax(axis=1) if t.ndim == 2 else np.where(t == ignored_label(self.loss), 0, t)
        return table[np.clip(labels, 0, len(table) - 1)].reshape(shape[:-1])  # the loss refuses those outside

    def _table(self, V, shape):
        if self.named is None:
            if len(self.values) != V:
                raise ValueError(f"Network.fit: class_weight is {self.values.shape} but the scores are {shape}")
            return self.values
        table = np.ones(V)
        for name, value in self.named.items():
            if not isinstance(name, int | np.integer) or not 0 <= name < V:
                raise ValueError(f"Network.fit: class_weight has the class {name!r}; classes lie in [0, {V})")
            table[name] = value
        return table


def together(weight, more):
    """Two weights of the same samples multiplied, where one may have more axes; None is 1."""
    if weight is None or more is None:
        return more if weight is None else weight
    wider, other = (weight, more) if np.ndim(weight) > np.ndim(more) else (more, weight)
    return wider * spread(other, np.shape(wider), "Network.fit: sample_weight")
