"""Switching the drop-in on and off. No NumPy here: `fastnn run` starts with this module."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .hook import Hook

# What takes long to import (dataclasses, typing, argparse, pathlib) is avoided in what `fastnn run` starts with.


class Options:
    """What `patch` and `fastnn run` take, all off by default. provide: `common` and `dataset` where there are none."""

    report: bool = False
    verify: bool = False
    strict: bool = False
    float32: bool = False
    compat: bool = False
    time: bool = False
    report_json: str | None = None
    provide: bool = False
    backend: str | None = None
    threads: int | None = None

    def __init__(self, **given) -> None:
        for name, value in given.items():
            if name not in Options.__annotations__:
                raise TypeError(f"fastnn.patch has no option {name!r}; it has {', '.join(Options.__annotations__)}")
            setattr(self, name, value)


class Replaced(dict):
    """What was replaced so far: {"common.layers.Affine": "book 1 Affine", ...}. Grows while modules are imported."""

    def __str__(self) -> str:
        return "\n".join(f"{name}: {what}" for name, what in self.items()) or "nothing was replaced"


class StrictError(Exception):
    """Something is not computed by fastnn's kernels as it comes, and `strict` was asked for.

    A class or function with a book's name that was not replaced, or a call that converts its arguments or leaves the
    work to NumPy.
    """


active: Hook | None = None  # the import hook while the drop-in is on


def patch(**options) -> Replaced:
    """Let the books' `common` compute with fastnn: what is imported from now on, and what is loaded already.

    Returns what was replaced, which grows with what is imported later; print it to see. Keywords as the options of
    `fastnn run` (`Options`). Does nothing if it is on already. `unpatch` undoes all of it.
    """
    global active
    if active is not None:
        return active.replaced
    from . import hook as hooks

    hook = hooks.Hook(Options(**options))
    active = hook
    sys.meta_path.insert(0, hook)
    try:
        hook.replace_loaded()
    except BaseException:
        unpatch()
        raise
    return hook.replaced


def unpatch() -> None:
    """Restore every class and module exactly as it was, as if what was imported meanwhile had been imported without."""
    global active
    if active is None:
        return
    hook, active = active, None
    sys.meta_path.remove(hook)
    hook.restore()


def strict_failure() -> StrictError | None:
    """What `strict` has raised so far."""
    recorder = None if active is None else active.recorder
    return None if recorder is None else recorder.failure


def verified() -> bool:
    """Has `verify` found no difference so far?"""
    verifier = None if active is None or active.recorder is None else active.recorder.verifier
    return verifier is None or verifier.verdict()[1]


def finish(seconds: float) -> None:
    """Print, on stderr, what the options ask for at the end of a script that took so long."""
    if active is None:
        return
    options = active.options
    if options.report or options.verify or options.time or options.report_json is not None:
        from . import report

        for line in report.lines(active, seconds):
            print(line, file=sys.stderr)
        if options.report_json is not None:
            report.write_json(active, seconds)


class patched:
    """`with fastnn.patched() as replaced: ...`: on inside the block; off after it unless it was on before."""

    def __init__(self, **options) -> None:
        self.options = options
        self.entered: list[bool] = []

    def __enter__(self) -> Replaced:
        self.entered.append(active is None)
        return patch(**self.options)

    def __exit__(self, *exc) -> None:
        if self.entered.pop():
            unpatch()
