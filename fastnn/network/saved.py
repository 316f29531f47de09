"""What a pass may change before it fails, kept so that it can be put back."""

import random
import sys
import types
from typing import Any

import numpy as np

_GENERATORS = np.random.Generator, np.random.RandomState, np.random.BitGenerator
_MOST_BYTES = 16 << 20  # of an array that a layer in Python keeps: larger ones are data, not states
_MOST_ITEMS, _MOST_DEPTH = 1000, 6
_PLAIN = type(None), bool, int, float, complex, str, bytes, type, types.ModuleType, types.FunctionType


class Saved:
    """Random generators, arrays and attributes as they were when they were added."""

    def __init__(self):
        self._generators: dict = {}  # id -> (the object, its state)
        self._arrays: list = []  # (array, copy)
        self._containers: list = []  # (list, dict or the attributes of an object, its items)
        self._seen: dict = {}  # id -> object, which keeps the id its own
        self._python: Any = None  # states of the generators that any Python may draw from

    def add_generator(self, rng):
        if isinstance(rng, _GENERATORS) and id(rng) not in self._generators:
            source = getattr(rng, "bit_generator", rng)
            state = rng.get_state(legacy=False) if isinstance(rng, np.random.RandomState) else source.state
            self._generators[id(rng)] = rng, state

    def add_array(self, a):
        if isinstance(a, np.ndarray) and a.flags.writeable:
            self._arrays.append((a, a.copy()))

    def add_layer(self, layer):
        """A layer that a plan runs: its generator and running statistics. Recurrent states change after a pass only."""
        self.add_generator(getattr(layer, "rng", None))
        for name in "running_mean", "running_var":
            self.add_array(getattr(layer, name, None))

    def add_object(self, owner, most=_MOST_BYTES):
        """Anything written in Python: its attributes, and the arrays and generators in them.

        Parameters and gradients of a layer stay as they are, but not which arrays these are. most: bytes of an array
        that is copied.
        """
        for name in "params", "grads":
            arrays = getattr(owner, name, None)
            if hasattr(owner, "forward") and isinstance(arrays, list):
                self._seen |= {id(a): a for a in arrays if isinstance(a, np.ndarray)}
        self._walk(owner, most, 0)

    def add_global_generators(self):
        """Those of `numpy.random` and `random`."""
        numpy_state = np.random.get_state(legacy=False)
        self._python = numpy_state, random.getstate() if "random" in sys.modules else None

    def _walk(self, value, most, depth):
        if isinstance(value, _PLAIN) or id(value) in self._seen or depth > _MOST_DEPTH:
            return
        self._seen[id(value)] = value
        if isinstance(value, np.ndarray):
            if value.dtype != object and (most is None or value.nbytes <= most):
                self.add_array(value)
        elif isinstance(value, _GENERATORS):
            self.add_generator(value)
        elif isinstance(value, random.Random):
            if not isinstance(value, random.SystemRandom):  # which has no state
                self._generators[id(value)] = value, value.getstate()
        elif type(value) in (list, dict, set, tuple):
            if type(value) is not tuple:
                self._containers.append((value, value.copy()))
            if len(value) <= _MOST_ITEMS:
                for item in value.values() if type(value) is dict else value:
                    self._walk(item, most, depth + 1)
        elif isinstance(getattr(value, "__dict__", None), dict) and not type(value).__module__.startswith(__package__):
            own = vars(value)
            self._containers.append((own, own.copy()))
            for item in own.values():
                self._walk(item, most, depth + 1)

    def restore(self, generators=True):
        """Put everything back, or all but random generators."""
        for container, items in self._containers:
            if type(container) is list:
                container[:] = items
            else:
                container.clear()
                container.update(items)
        for a, before in self._arrays:
            a[...] = before
        if not generators:
            return
        for rng, state in self._generators.values():
            if isinstance(rng, np.random.RandomState):
                rng.set_state(state)
            elif isinstance(rng, random.Random):
                rng.setstate(state)
            else:
                getattr(rng, "bit_generator", rng).state = state
        if self._python is not None:
            numpy_state, python_state = self._python
            np.random.set_state(numpy_state)
            if python_state is not None:
                random.setstate(python_state)


def saved_before(program):
    """What a run of a program, instruction by instruction, may change before its updates. Training only."""
    saved = Saved()
    if not program.train:
        return saved
    for layer in program.planned:
        saved.add_layer(layer)
    for _, layer in program.in_python:
        saved.add_object(layer)
    if program.in_python:
        saved.add_global_generators()
    return saved
