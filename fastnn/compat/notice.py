"""Where a layer takes NumPy instead of a kernel, or casts, it says so here: for `--report` and `--strict`."""

from typing import Any

casting: Any = None  # casting(): do operations cast float64 to float32 (`fastnn run --float32`)?
listener: Any = None  # listener(reason, copied bytes), while somebody wants to know


def notice(reason: str, operands: tuple = (), copied=None) -> None:
    """Tell the listener, if any. operands: arrays whose dtypes and shapes explain it; copied: what was made."""
    if listener is not None:
        kinds = ", ".join(f"{a.dtype} {a.shape}" for a in operands)
        listener(f"{reason} ({kinds})" if kinds else reason, 0 if copied is None else copied.nbytes)


def casts(*arrays) -> bool:
    """Are these all floating arrays that operations bring to one dtype anyway, so that a layer need not?"""
    return casting is not None and casting() and all(a.dtype.kind == "f" for a in arrays)
