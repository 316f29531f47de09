"""Cases of the family branch."""

from ._common import elementwise, matrix_cases, normal


def _add_arrays(rng, dtype, shape):
    return {"a": normal(rng, dtype, *shape), "b": normal(rng, dtype, *shape)}


def _concatenate(rng, dtype, N, A, B):
    return {"a": normal(rng, dtype, N, A), "b": normal(rng, dtype, N, B)}


def _split(rng, dtype, N, A, B):
    return {"x": normal(rng, dtype, N, A + B), "columns": A}


_PAIRS = (
    [((2, 3, 4),)],
    [((n, a, b),) for n, a, b in [(0, 2, 3), (1, 1, 1), (3, 0, 4), (3, 4, 0), (5, 17, 33), (700, 3, 5), (3, 5000, 70)]],
    [((4480, 64, 64),), ((1000, 1000, 500),)],
)

RETURNS = {"split": ("a", "b")}

BUILD = {"add_arrays": _add_arrays, "concatenate": _concatenate, "split": _split}

CASES = {
    "add_arrays": elementwise(),
    "concatenate": matrix_cases("NAB", *_PAIRS),
    "split": matrix_cases("NAB", *_PAIRS),
}
