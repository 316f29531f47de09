"""Replacing: methods inside the reader's classes, code inside his functions; and the way back."""

import contextlib
import functools
import gc
import inspect
import types
from typing import Any

import fastnn
from fastnn import gradient
from fastnn.compat.kept import Kept, settle, settling, unsettled

from . import float32, recognise
from .session import Options, StrictError

_ABSENT = object()
POSITIONAL_OR_KEYWORD = inspect.Parameter.POSITIONAL_OR_KEYWORD


class Replacements:
    """What has been replaced, what has not and why, and everything that is needed to restore it."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.methods: dict[type, dict[str, Any]] = {}  # class -> what its names were
        self.functions: dict[types.FunctionType, types.CodeType] = {}  # function -> its own code
        self.kept: dict[str, str] = {}  # "module.name" -> why it stays the reader's
        self.replaced: dict[str, str] = {}  # "module.name" -> what replaces it, as "book 1 Affine"
        self._backend = fastnn.backends._state()
        self._casts: dict[str, Any] = {}
        self._threads = fastnn.get_num_threads() if options.threads else None
        if options.backend:
            fastnn.use_backend(options.backend)
        elif options.strict and fastnn.backends.active_name != "native":
            raise StrictError(f"the {fastnn.backends.active_name} backend is in use: {fastnn.backends.why}")
        if options.threads:
            fastnn.set_num_threads(options.threads)
        self.recorder: Any = None
        if options.report or options.report_json or options.verify or options.time or options.strict:
            from .report import Recorder

            self.recorder = Recorder(options)
        if options.float32:
            self._casts = float32.install()
            for function in (gradient.numerical_gradient, gradient._network_gradient):
                self._keep_float64(function)

    def replace(self, modules):
        """Look at what the modules define, and replace in place what computes what the book's does."""
        for module in modules:
            for name, value in list(vars(module).items()):
                if self._casts and "numerical_gradient" in name and isinstance(value, types.FunctionType):
                    self._keep_float64(value)
                if not recognise.is_candidate(module, name, value):
                    continue
                if value not in self.methods and value not in self.functions:
                    with self._nothing_else():
                        ours, why, description = recognise.match(value)
                    if ours is None:
                        self._keep(f"{module.__name__}.{name}", why)
                    else:
                        self.replaced[f"{module.__name__}.{name}"] = description
                        replace = self._replace_methods if isinstance(value, type) else self._replace_code
                        replace(value, ours)

    def record(self, module):
        """Let the layers and functions of a module that fastnn provides be counted, if the options ask for it."""
        for name, value in list(vars(module).items()) if self.recorder is not None else ():
            if isinstance(value, types.FunctionType) and value.__module__.startswith("fastnn."):
                setattr(module, name, self.recorder.wrap(name, value))
            if isinstance(value, type) and value.__module__.startswith("fastnn.compat") and value not in self.methods:
                before = self.methods[value] = {}
                for called in ("forward", "backward", "update", "get_batch"):
                    if (method := getattr(value, called, None)) is not None:
                        before[called] = vars(value).get(called, _ABSENT)
                        setattr(value, called, self.recorder.wrap(f"{value.__name__}.{called}", method))

    @contextlib.contextmanager
    def _nothing_else(self):
        """For a trial: no casts, nothing recorded."""
        paused = self.recorder is not None and self.recorder.paused
        if self.recorder is not None:
            self.recorder.paused = True
        try:
            with float32.suspended():
                yield
        finally:
            if self.recorder is not None:
                self.recorder.paused = paused

    def _keep(self, name, why):
        self.kept[name] = why
        if self.options.strict and name.rpartition(".")[2] not in recognise.CALLING:
            raise StrictError(f"{name} is not replaced: {why}")

    def _replace_methods(self, cls, ours):
        before = self.methods[cls] = {}
        for name, value in recognise.fitted(cls, ours).items():
            before[name] = vars(cls).get(name, _ABSENT)
            if self.recorder is not None and isinstance(value, types.FunctionType):
                original = _inherited(cls, name) if before[name] is _ABSENT else before[name]
                value = self.recorder.wrap(f"{cls.__name__}.{name}", value, original, name in recognise.CALLED)
            setattr(cls, name, value)
        if any(isinstance(value, Kept) for value in vars(cls).values()):
            for name, value in settling(cls).items():
                before[name] = vars(cls).get(name, _ABSENT)
                setattr(cls, name, value)

    def _keep_float64(self, function):
        """A numerical gradient under --float32."""
        kinds = {p.kind for p in inspect.signature(function).parameters.values()}
        if function not in self.functions and not function.__closure__ and kinds == {POSITIONAL_OR_KEYWORD}:
            self._swap(function, float32.in_float64(_clone(function)))

    def _replace_code(self, function, ours):
        """Let the function itself call ours: so does whoever holds it, in a dict, a closure or a default argument."""
        if self.recorder is not None:
            ours = self.recorder.wrap(function.__name__, ours, _clone(function))
        self._swap(function, ours)

    def _swap(self, function, ours):
        self.functions[function] = function.__code__
        function.__code__ = recognise.calling(ours, function)

    def restore(self):
        """Everything as it was. Attributes that our methods compute only when read are computed now."""
        while waiting := [x for x in _instances(self.methods) if unsettled(x)]:
            for instance in waiting:  # settling layers over time makes layers of their steps
                settle(instance)
        for cls, before in self.methods.items():
            for name, value in before.items():
                if value is _ABSENT:
                    delattr(cls, name)
                else:
                    setattr(cls, name, value)
        for function, code in self.functions.items():
            function.__code__ = code
        self.methods, self.functions = {}, {}
        if self._threads:
            fastnn.set_num_threads(self._threads)
        if self._casts:
            float32.remove(self._casts)
        if self.recorder is not None:
            self.recorder.close()
        fastnn.backends._set(*self._backend)


def _clone(function):
    """The function as it is, another object."""
    made = types.FunctionType(function.__code__, function.__globals__, function.__name__, function.__defaults__)
    made.__kwdefaults__ = function.__kwdefaults__
    return made


def _inherited(cls, name):
    """The method that a class of the reader's takes from its bases; None if there is none."""
    if not hasattr(cls, name):
        return None

    @functools.wraps(getattr(cls, name))
    def inherited(layer, *args, **named):
        return getattr(super(cls, layer), name)(*args, **named)

    return inherited


def _instances(classes):
    """All living instances of these classes and of their subclasses."""
    kinds, more = set(), [*classes]
    while more:
        kind = more.pop()
        kinds.add(kind)
        more += kind.__subclasses__()
    return [x for x in gc.get_objects() if type(x) in kinds]
