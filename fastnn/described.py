"""What `repr` says of layers, optimizers, networks, models and predictors: the one place that writes it."""

import inspect
from typing import Any, ClassVar

import numpy as np

_ABSENT = object()
_WIDEST = 100  # characters of a line in a list of layers, up to which branches stay on it
_OPTIMIZER_OPTIONS = "weight_decay", "clip_norm", "clip_value"  # which every optimizer takes as **options


class Described:
    """Affine(D=784, M=100): the sizes of the parameters, and the options that are not the constructor's defaults.

    The classes of `fastnn.compat` keep the plain repr of Python's objects, which the books' own have.
    """

    size_names: ClassVar[tuple[str, ...]] = ()  # of the axes of the first parameter
    always_shown: ClassVar[tuple[str, ...]] = ()  # options that are shown with their default value too

    def _sizes(self) -> dict[str, Any]:
        """{name: size}, as `create` takes them."""
        first = next(iter(getattr(self, "params", None) or []), None)
        return dict(zip(self.size_names, np.shape(first), strict=False)) if first is not None else {}

    def _option(self, name: str) -> Any:
        """The value of an argument of the constructor; _ABSENT where the object does not keep it."""
        return getattr(self, name, _ABSENT)

    def __repr__(self) -> str:
        return described(self, self._sizes(), self.always_shown)


def described(owner: Any, sizes: dict[str, Any] | None = None, always_shown: tuple[str, ...] | None = None) -> str:
    """Class(name=value, ...) of an object. always_shown None: all arguments, those with their default value too."""
    if of_compat(owner):
        return object.__repr__(owner)
    shown = dict(sizes or {})
    named = [p for p in inspect.signature(type(owner).__init__).parameters.values() if p.name != "self"]
    arrays = {id(p) for p in getattr(owner, "params", None) or [] if isinstance(p, np.ndarray)}
    option = getattr(owner, "_option", lambda name: getattr(owner, name, _ABSENT))
    for p in named:
        if p.kind is p.VAR_POSITIONAL:
            continue
        if p.kind is p.VAR_KEYWORD:
            values = {name: getattr(owner, name, 0.0) for name in _OPTIMIZER_OPTIONS if name not in shown}
            shown |= {name: value for name, value in values.items() if value}
            continue
        value = option(p.name)
        if p.name == "b" and value is None:
            shown["bias"] = False
        elif value is _ABSENT or id(value) in arrays or p.name in ("rng", "running_mean", "running_var"):
            continue
        elif isinstance(value, np.ndarray):
            shown[p.name] = _Text(f"array {value.shape}")
        elif always_shown is None or p.name in always_shown or not _equal(value, p.default):
            shown[p.name] = value
    return f"{type(owner).__name__}({', '.join(f'{name}={_plain(value)!r}' for name, value in shown.items())})"


class _Text(str):
    """Shown without quotes."""

    __slots__ = ()
    __repr__ = str.__str__


def _plain(value):
    """NumPy's numbers as Python's."""
    if isinstance(value, tuple | list):
        return type(value)(_plain(item) for item in value)
    return value.item() if isinstance(value, np.generic) else value


def _equal(value, default):
    return value is default or (type(value) in (bool, int, float, str, tuple) and value == default)


def of_compat(owner: Any) -> bool:
    """Whether an object is one of the books' own classes, or of a reader's subclass of these."""
    return any(base.__module__.startswith("fastnn.compat") for base in type(owner).__mro__)


def listed(owner: Any, parts: dict[Any, Any], *facts: str) -> str:
    """Class(, a line for each part, ) and its facts: `parts` are layers, models or the loss, by number or name."""
    if of_compat(owner):
        return object.__repr__(owner)
    lines = [f"  {name}: {_part(part)}" for name, part in parts.items()]
    text = "\n".join(line.replace("\n", "\n  ") for line in lines)
    return f"{type(owner).__name__}(\n{text}\n) " + ", ".join([f"{count(parts.values()):,} parameters", *facts])


def count(layers: Any) -> int:
    """Parameters of layers; what several of them share, turned or not, is counted once."""
    arrays = [np.asarray(p) for layer in layers for p in getattr(layer, "params", None) or []]
    return sum({a.__array_interface__["data"][0]: a.size for a in arrays if a.size}.values())


def _part(part):
    if type(part).__repr__ is object.__repr__:
        return f"{type(part).__name__}(...)"
    text = repr(part)
    branches = getattr(part, "branches", None)
    if branches is None or len(text) <= _WIDEST:
        return text
    inside = "\n".join("  [" + "\n   ".join(map(_part, branch)) + "]" for branch in branches)
    return f"{type(part).__name__}(\n{inside}\n)"
