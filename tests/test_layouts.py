"""Every operation takes every memory layout: misaligned, strided, reversed, transposed, byte-swapped, read-only."""

import cases
import numpy as np
import pytest
from every_backend import *  # noqa: F403 (fixtures)
from every_backend import on_every_backend

from fastnn import ops
from fastnn.backends import OPS

pytestmark = on_every_backend


def misaligned(a):
    view = np.zeros(a.nbytes + 1, np.uint8)[1:].view(a.dtype).reshape(a.shape) if a.size else a.copy()
    view[...] = a
    return view


def strided(a):
    wide = np.zeros((*a.shape[:-1], 2 * a.shape[-1]) if a.ndim else (), a.dtype)
    view = wide[..., ::2] if a.ndim else wide
    view[...] = a
    return view


def backwards(a):
    return a[::-1].copy()[::-1] if a.ndim else a


def swapped(a):
    return a.astype(a.dtype.newbyteorder()) if a.dtype.kind in "f" else a


def read_only(a):
    a = a.copy()
    a.flags.writeable = False
    return a


def column_major(a):
    return np.asfortranarray(a) if a.ndim else a


LAYOUTS = misaligned, strided, backwards, column_major, swapped, read_only


def changed(value, layout):
    if isinstance(value, np.ndarray):
        return layout(value)
    return [changed(v, layout) for v in value] if isinstance(value, list) else value


def flat(value):
    """The arrays and numbers in a result."""
    if isinstance(value, tuple | list):
        return [a for each in value for a in flat(each)]
    return [] if value is None or isinstance(value, str) else [value]


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("op", OPS)
def test_any_layout(op, layout, backend):
    """In float64, which slow paths have no reason to convert, and so to copy, unless they look at the layout."""
    names = list(cases.CASES[op]["odd"])
    for case in {names[0], names[-1]}:
        args = cases.make(op, "odd", np.float64, case)
        plain = getattr(ops, op)(*cases.copied(args).values())
        expected = flat(plain)
        written = cases.IN_PLACE[op]
        given = {
            name: value if layout is read_only and name in written else changed(value, layout)
            for name, value in cases.copied(args).items()
        }
        before = {name: changed(value, np.copy) for name, value in given.items()}
        result = getattr(ops, op)(*given.values())
        assert result is not None
        for a, b in zip(flat(result), expected, strict=True):
            np.testing.assert_allclose(a, b, 1e-12, 1e-12, err_msg=case)
        for name in args.keys() - set(written):
            for a, b in zip(flat(given[name]), flat(before[name]), strict=True):
                np.testing.assert_array_equal(a, b, f"{name} was changed")


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda f: f.__name__)
def test_norm_of_gradients(layout):
    """It was None for misaligned arrays of float64."""
    for dtype in np.float32, np.float64:
        assert ops.grad_norm([layout(np.arange(4, dtype=dtype))]) == pytest.approx(14**0.5, rel=1e-7)
