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


class StrictError(Exception):
    """Something is not computed by fastnn's kernels as it comes, and `strict` was asked for.

    A class or function with a book's name that was not replaced, or a call that converts its arguments or leaves the
    work to NumPy.
    """


active: Hook | None = None  # the import hook while the drop-in is on


def patch(**options) -> None:
    """Let the books' `common` compute with fastnn: what is imported from now on, and what is loaded already.

    Keywords as the options of `fastnn run` (`Options`). Does nothing if it is on already. `unpatch` undoes all of it.
    """
    global active
    if active is not None:
        return
    from . import hook as hooks

    hook = hooks.Hook(Options(**options))
    active = hook
    sys.meta_path.insert(0, hook)
    try:
        hook.replace_loaded()
    except BaseException:
        unpatch()
        raise


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
    recorder = active.replacements.recorder if active is not None and active.used else None
    return None if recorder is None else recorder.failure


def finish(seconds: float) -> None:
    """Print, on stderr, what the options ask for at the end of a script that took so long."""
    if active is None:
        return
    recorder = active.replacements.recorder if active.used else None
    if recorder is not None:
        kept = active.replacements.kept
        for line in recorder.lines(kept, seconds):
            print(line, file=sys.stderr)
        if recorder.options.report_json is not None:
            recorder.write_json(kept, seconds)
    elif active.options.time:
        print(f"fastnn: {seconds:.2f} s in all, 0.00 s of it in fastnn's kernels", file=sys.stderr)


class patched:
    """`with fastnn.patched(): ...`: on inside the block; off after it unless it was on before."""

    def __init__(self, **options) -> None:
        self.options = options
        self.entered: list[bool] = []

    def __enter__(self) -> patched:
        self.entered.append(active is None)
        patch(**self.options)
        return self

    def __exit__(self, *exc) -> None:
        if self.entered.pop():
            unpatch()
