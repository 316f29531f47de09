"""Backends: complete tables of the operations that the package numpy_backend defines, and the choice among them.

Every backend function is ``f(inputs..., outputs...) -> array(s) | None``. Only native functions decline (None), when an
argument is not a plain array that fits; `fastnn.ops` then converts, checks and explains, and calls the `checked` table.
"""

import importlib
import importlib.util
import os
import sys
import warnings
from types import SimpleNamespace

from .. import _threads as _threads  # sets the limit of the native kernels

# One row a backend, best first.
_MODULES = {
    "native": "fastnn.backends.native",
    "numba": "fastnn.backends.numba_backend",
    "numpy": "fastnn.backends.numpy_backend",
}
_NEEDS = {"native": "fastnn._core", "numba": "numba"}  # whose absence makes a backend unavailable

active: SimpleNamespace  # what ops calls first: the native table, or functions that decline
checked: SimpleNamespace  # the table of the backend in use, for arguments that ops has checked
active_name: str
why: str  # the backend was chosen

OPS: dict  # operation -> its signature in NumPy


def __getattr__(name):
    """OPS is made when it is asked for: the native backend, which has every operation, starts without NumPy's."""
    if name != "OPS":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = _operations()
    return value


def _operations() -> dict:
    import inspect

    from . import numpy_backend

    return {
        op: inspect.signature(f)
        for op, f in vars(numpy_backend).items()
        if inspect.isfunction(f) and f.__module__.startswith(numpy_backend.__name__) and not op.startswith("_")
    }


def load(name: str) -> SimpleNamespace:
    """The complete table of a backend: what Numba lacks is NumPy's. ValueError for a wrong name."""
    module = _module(name)
    if name == "native":
        return SimpleNamespace(**module.OPERATIONS)
    numpy_backend = _module("numpy")
    return SimpleNamespace(**{op: getattr(module, op, getattr(numpy_backend, op)) for op in _operations()})


def available() -> list[str]:
    """Names of the backends that can be used here, best first."""
    return [name for name in _MODULES if _unavailable(name) is None]


def _unavailable(name: str) -> str | None:
    """Why a backend cannot be used here; None if it can."""
    needs = _NEEDS.get(name)
    if needs is None:
        return None
    try:
        found = importlib.util.find_spec(needs) is not None
    except ModuleNotFoundError:
        found = False
    if found:
        return None
    return (
        "this installation has no compiled kernels (pure-Python fallback)"
        if name == "native"
        else f"{needs} is not installed: pip install 'fastnn-kernels[{name}]'"
    )


def _module(name: str):
    if name not in _MODULES:
        raise ValueError(f"backend {name!r} is not one of {', '.join(_MODULES)}")
    why = _unavailable(name)
    if why is not None:
        raise ValueError(f"backend {name!r} is not available: {why}")
    return importlib.import_module(_MODULES[name])


def _decline(*args, **kwargs):
    """What `active` holds for a backend whose functions do not look at their arguments: ops checks first."""
    return


class use_backend:
    """Choose the backend, for good or as a context manager: ``with fastnn.use_backend("numpy"): ...``.

    Raises ValueError for a name that is not native, numba or numpy, or that is not available here.
    """

    def __init__(self, name: str) -> None:
        table = load(name)
        self._before = _state()
        _set(name, table, f"use_backend({name!r})")

    def __enter__(self) -> "use_backend":
        return self

    def __exit__(self, *exc) -> None:
        _set(*self._before)


def _state() -> tuple:
    return active_name, checked, why


def _set(name: str, table: SimpleNamespace, reason: str) -> None:
    global active_name, active, checked, why
    active_name, checked, why = name, table, reason
    active = SimpleNamespace(**(vars(table) if name == "native" else dict.fromkeys(vars(table), _decline)))


def _choose() -> tuple[str, str]:
    wanted = os.environ.get("FASTNN_BACKEND")
    if wanted:
        return wanted, f"FASTNN_BACKEND={wanted}"
    best = available()[0]
    if best != "native":
        warnings.warn(
            f"fastnn has no compiled kernels here and runs on {best}: install a C++ compiler, then "
            "pip install --no-cache-dir --force-reinstall fastnn (FASTNN_BACKEND chooses without this warning)",
            RuntimeWarning,
            stacklevel=2,
        )
    reasons = [f"{name}: {_unavailable(name)}" for name in _MODULES if _unavailable(name)]
    return best, "; ".join(["best of those available", *reasons])


def show_config() -> dict:
    """What fastnn runs on: versions, backend and why, instruction set, OpenMP runtime, threads, recycled memory."""
    import platform

    import numpy

    from .._build_info import version
    from .._threads import get_num_threads

    config = {
        "fastnn": version,
        "python": platform.python_version(),
        "numpy": numpy.__version__,
        "platform": f"{platform.system()} {platform.machine()}",
        "backend": active_name,
        "why": why,
        "available": available(),
        "threads": get_num_threads(),
    }
    if _unavailable("native") is None:
        from . import native

        config |= native.config()
    return config


def trim() -> None:
    """Hand the memory that fastnn keeps for reuse back to the system."""
    if "fastnn._core" in sys.modules:
        sys.modules["fastnn._core"].trim()


_name, _reason = _choose()
_set(_name, load(_name), _reason)
