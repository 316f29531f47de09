"""Replacing: methods inside the reader's classes, functions in every module that has them; and the way back."""

import contextlib
import gc
import sys
import types
from typing import Any

import fastnn
from fastnn.compat.kept import settle

from . import float32, recognise
from .session import Options, StrictError

_ABSENT = object()


class Replacements:
    """What has been replaced, what has not and why, and everything that is needed to restore it."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.methods: dict[type, dict[str, Any]] = {}  # class -> what its names were
        self.functions: dict[int, tuple] = {}  # id of an original -> (it, ours)
        self.kept: dict[str, str] = {}  # "module.name" -> why it stays the reader's
        self._backend = fastnn.backends._state()
        self._casts: dict[str, Any] = {}
        if options.backend:
            fastnn.use_backend(options.backend)
        if options.threads:
            fastnn.set_num_threads(options.threads)
        self.recorder: Any = None
        if options.report or options.report_json or options.verify or options.time:
            from .report import Recorder

            self.recorder = Recorder(options)
        if options.float32:
            self._casts = float32.install()

    def replace(self, modules, everywhere=False):
        """Look at what the modules define. everywhere: functions are also replaced where they have been imported to."""
        new = {}
        for module in modules:
            for name, value in list(vars(module).items()):
                if recognise.is_candidate(module, name, value) and value not in self.methods:
                    with self._nothing_else():
                        ours, why = recognise.match(value, module)
                    if ours is None:
                        self._keep(f"{module.__name__}.{name}", why)
                    elif isinstance(value, type):
                        self._replace_methods(value, ours)
                    else:
                        if self.recorder is not None:
                            ours = self.recorder.wrap(name, ours, value)
                        new[id(value)] = value, recognise.function_like(value, ours)
        self.functions |= new
        if new:
            rebind({key: ours for key, (_, ours) in new.items()}, everywhere=everywhere, modules=modules)

    def record(self, module):
        """Let the layers of a module that fastnn provides be counted, as far as the options ask for it."""
        for cls in vars(module).values() if self.recorder is not None else ():
            if isinstance(cls, type) and cls.__module__.startswith("fastnn.compat") and cls not in self.methods:
                before = self.methods[cls] = {}
                for name in recognise.CALLED:
                    if name != "__init__" and (method := getattr(cls, name, None)) is not None:
                        before[name] = vars(cls).get(name, _ABSENT)
                        setattr(cls, name, self.recorder.wrap(f"{cls.__name__}.{name}", method))

    @contextlib.contextmanager
    def _nothing_else(self):
        """For a trial: no casts, nothing recorded."""
        if self._casts:
            float32.remove(self._casts)
        if self.recorder is not None:
            self.recorder.paused = True
        try:
            yield
        finally:
            if self._casts:
                float32.install()
            if self.recorder is not None:
                self.recorder.paused = False

    def _keep(self, name, why):
        self.kept[name] = why
        if self.options.strict:
            raise StrictError(f"{name} is not replaced: {why}")

    def _replace_methods(self, cls, ours):
        before = self.methods[cls] = {}
        original = self.recorder and self.recorder.pristine(cls)
        for name, value in recognise.members(ours).items():
            if self.recorder is not None and name in recognise.CALLED:
                value = self.recorder.wrap(f"{cls.__name__}.{name}", value, original, name)
            before[name] = vars(cls).get(name, _ABSENT)
            setattr(cls, name, value)

    def restore(self):
        """Everything as it was. Attributes that our methods compute only when read are computed now."""
        for instance in _instances(self.methods):
            settle(instance)
        for cls, before in self.methods.items():
            for name, value in before.items():
                if value is _ABSENT:
                    delattr(cls, name)
                else:
                    setattr(cls, name, value)
        rebind({id(ours): original for original, ours in self.functions.values()}, everywhere=True)
        self.methods, self.functions = {}, {}
        if self._casts:
            float32.remove(self._casts)
        if self.recorder is not None:
            self.recorder.close()
        fastnn.backends._set(*self._backend)


def rebind(new: dict[int, Any], everywhere: bool, modules=()) -> None:
    """Replace values by id, in these modules or in all that are loaded."""
    for module in list(sys.modules.values()) if everywhere else modules:
        if isinstance(module, types.ModuleType):
            names = vars(module)
            for name, value in list(names.items()):
                if id(value) in new and isinstance(value, types.FunctionType):
                    names[name] = new[id(value)]


def _instances(classes):
    """All living instances of these classes and of their subclasses."""
    kinds, more = set(), [*classes]
    while more:
        kind = more.pop()
        kinds.add(kind)
        more += kind.__subclasses__()
    return [x for x in gc.get_objects() if type(x) in kinds]
