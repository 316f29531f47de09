"""Optimizers as instructions."""

from operator import attrgetter
from typing import Any

import numpy as np

from .. import backends, ops, optimizer
from ..ops._bounds import bounded
from ..trainer import remove_duplicate
from .program import Scalar, straight, turned

# class -> (operation, numbers before the common ones as attributes; a constant where it decides what is computed)
_TAIL = "weight_decay", "clip_norm", "clip_value"
UPDATES = {
    optimizer.SGD: ("sgd_update", ("lr",), ()),
    optimizer.Momentum: ("momentum_update", ("lr", "momentum"), ()),
    optimizer.Nesterov: ("nesterov_update", ("lr", "momentum"), ("lookahead",)),
    optimizer.AdaGrad: ("adagrad_update", ("lr", "epsilon"), ()),
    optimizer.RMSprop: ("rmsprop_update", ("lr", "decay_rate", "epsilon"), ()),
    optimizer.Adam: ("adam_update", ("lr", "beta1", "beta2", "epsilon", "iter"), ("decoupled",)),
    optimizer.AdamW: ("adam_update", ("lr", "beta1", "beta2", "epsilon", "iter"), ("decoupled",)),
}


class _Numbers:
    """The numbers of a kind of optimizer that do not change by themselves."""

    def __init__(self, cls):
        self.op, names, _ = UPDATES[cls]
        self.names = [name for name in (*names, *_TAIL) if name != "iter"]
        self.counts = "iter" in names
        self.read = attrgetter(*self.names)
        self.good: Any = None  # those that were looked at last


_NUMBERS = {cls: _Numbers(cls) for cls in UPDATES}


def check_numbers(rule):
    """As the update itself does, but before a step does anything: ValueError for a number out of its interval."""
    known = _NUMBERS.get(type(rule))
    if known is None:
        return
    numbers = known.read(rule)
    if numbers != known.good:
        for name, number in zip(known.names, numbers, strict=True):
            bounded(known.op, name, number)
        known.good = numbers
    if known.counts and not rule.iter >= 0:
        bounded(known.op, "step", rule.iter + 1)


def structure(rule):
    """What of an optimizer decides the instructions: where it changes, they are emitted anew."""
    if type(rule) not in UPDATES:
        if isinstance(rule, type) or not callable(getattr(rule, "update", None)):
            raise TypeError(f"Network.step: optimizer is {rule!r}; it must have update(params, grads)")
        return id(rule), type(rule)
    _, _, constants = UPDATES[type(rule)]
    return id(rule), type(rule), rule.clip_norm > 0, *(getattr(rule, name) for name in constants)


class Updates:
    """Emits the updates of `rule` for parameters.

    Next to the gradients where the whole program is one native call, in which nothing fails once it has begun; else all
    at once at the end, so that no parameter changes where a layer in Python raises.
    """

    def __init__(self, program, rule, layers):
        """layers: all of the network with parameters, in the order of the optimizer's state."""
        self.program = program
        self.rule = rule
        self.layers = layers
        params = [p for layer in layers for p in layer.params]
        self.place: dict = {}  # of the memory of a parameter in `params`
        self.params = []
        for p in params:
            if self.place.setdefault(_memory(p), len(self.params)) == len(self.params):
                self.params.append(p)
        self.tied = len(self.params) < len(params)  # layers have an array in common: by the sum of their gradients
        self.pending: list = []  # layers whose updates come at the end
        self.numbers: list = []
        self.iteration = 0  # that a run is, for rules that count
        self._counts_itself = False
        self._beside: Any = None  # whether updates are next to their gradients, once that is known
        shared = any(np.may_share_memory(p, q) for i, p in enumerate(self.params) for q in self.params[:i])
        self.known = type(rule) in UPDATES and not shared  # parts of one array: as `remove_duplicate` has them
        if not self.known:
            return
        for name in rule.state_names:
            self._make_state(name)
        self.op, names, constants = UPDATES[type(rule)]
        constants = [getattr(rule, name) for name in constants]
        self._counts = "iter" in names
        read = [name for name in (*names, *_TAIL) if name != "iter"]
        self._read = attrgetter(*read)
        places = {name: program.scalar(None) for name in (*read, *["iter"] * self._counts)}
        self.numbers = [*(places[name] for name in names), *constants, *(places[name] for name in _TAIL)]
        self._checked: Any = None
        program.lead = self._lead
        if self._counts:
            program.after.append(self._count)

    def _lead(self):
        """The rule's numbers for the next step. ValueError or TypeError where its operation does not take them."""
        numbers = given = self._read(self.rule)
        if self._counts:
            self.iteration = self.rule.iter + 1
            numbers = (*given, self.iteration)
        if given != self._checked or (self._counts and self.iteration < 1):
            lists = [[] for _ in range(2 + len(self.rule.state_names))]
            getattr(ops, self.op)(*lists, *(numbers[n] if isinstance(n, Scalar) else n for n in self.numbers))
            self._checked = given
        return numbers

    def _count(self, view, n):
        """After a step."""
        if not self._counts_itself:
            self.rule.iter = self.iteration

    def _make_state(self, name):
        rule, params = self.rule, self.params
        rule._state(params, params)
        arrays = self.program.hold(rule, name)
        if not isinstance(arrays, list) or [a.shape for a in arrays] != [p.shape for p in params]:
            raise ValueError(
                f"{type(rule).__name__}: {name} is of other parameters; each network needs its own optimizer"
            )

    def ready(self, layer):
        """The gradients of a layer are complete."""
        if self._beside is None:
            self._beside = self.known and not self.tied and not self.rule.clip_norm > 0 and self._native()
        if self._beside:
            self._emit([layer])
        else:
            self.pending.append(layer)

    def _native(self):
        """Whether all of the program, these updates included, will be one native call."""
        state = [a for name in self.rule.state_names for a in getattr(self.rule, name)]
        return backends.active_name == "native" and not self.program.in_python and self._fits(self.layers, *state)

    def finish(self, named):
        """All gradients are complete; named(): the network's `Parameters` and their gradients."""
        if self.known and not (self.tied and not self._fits(self.pending)):
            pending = [layer for layer in self.layers if any(layer is other for other in self.pending)]
            if self.tied or self.rule.clip_norm > 0:  # in order: the norm over all gradients is a sum
                parts = [pending]
            else:  # what Python does first: the native part, which does not fail, is the end of the step
                fit = [self._fits([layer]) for layer in pending]
                parts = [[layer for layer, fits in zip(pending, fit, strict=True) if fits is f] for f in (False, True)]
            for part in parts:
                if part:
                    self._emit(part)
            return
        self._counts_itself = True

        def update():
            params, grads = remove_duplicate(*named())
            if len(params) == len(named()[0]):
                params, grads = named()
            self.rule.update(params, grads)

        def save(saved):
            for p in named()[0]:
                saved.add_array(p)
            saved.add_object(self.rule, None)

        self._python(update, save)

    def _fits(self, layers, *more):
        """Whether operations can work on the layers' arrays, and on more, as they are.

        Of arrays that several parameters are, the first is C-contiguous, and gradients are in the order of parameters.
        """
        pairs = [pair for layer in layers for pair in zip(layer.params, layer.grads, strict=False)]
        firsts = [self.params[self.place[_memory(p)]] for p, _ in pairs]
        in_python = any(layer is other for layer in layers for _, other in self.program.in_python)
        return (
            not in_python
            and self.program.fits(*firsts, *(straight(g) for _, g in pairs), *more)
            and all(turned(p) == turned(g) for p, g in pairs)
        )

    def _emit(self, layers):
        program = self.program
        params = [p for layer in layers for p in layer.params]
        places = [self.place[_memory(p)] for p in params]
        state = [[getattr(self.rule, name)[i] for i in places] for name in self.rule.state_names]
        if self._fits(layers, *(a for arrays in state for a in arrays)):
            known: dict = {}  # place -> (parameter, gradient)
            for layer in layers:
                for i, p in enumerate(layer.params):
                    gradient = program.array(layer.grads, i, turned(p))
                    first = known.setdefault(self.place[_memory(p)], (program.array(layer.params, i), gradient))[1]
                    if first is not gradient:
                        program.emit("add_arrays", first, gradient, first)
            columns = [list(column) for column in zip(*known.values(), strict=True)]
            columns += [[program.array(getattr(self.rule, name), i) for i in known] for name in self.rule.state_names]
            program.emit(self.op, *columns, *self.numbers)
            return
        operation = getattr(ops, self.op)

        def update(*numbers):
            now = [a for layer in layers for a in layer.grads]
            operation(params, now, *state, *numbers)

        def save(saved):
            for arrays in (params, *state):
                for a in arrays:
                    saved.add_array(a)

        self._python(update, save, *self.numbers)

    def _python(self, function, save, *args):
        """save(saved): adds what the function writes to a `Saved`."""
        function.save = save
        self.program.emit(function, *args)


def _memory(p):
    """What parameters have in common that are the same array, or one the transposed view of the other."""
    p = straight(p)
    return (p.ctypes.data, p.shape) if type(p) is np.ndarray and p.flags.c_contiguous else id(p)
