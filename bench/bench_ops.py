"""Every dense operation at its `bench` sizes on each backend; the cases are those that tests/ verify.

pytest bench/bench_ops.py --benchmark-columns=median,iqr,ops --benchmark-sort=name
"""

import cases
import numpy as np
import pytest

from fastnn import backends


def _name(op, dtype, case):
    return f"{op} {np.dtype(dtype)} {case}"


def _rows():
    """All cases of the operations in float32; the first one of each in float64 too."""
    for op in cases.CASES:
        for i, case in enumerate(cases.CASES[op]["bench"]):
            for dtype in cases.DTYPES if i == 0 else cases.DTYPES[:1]:
                yield op, dtype, case


@pytest.mark.benchmark(max_time=0.1, min_rounds=3)
@pytest.mark.parametrize("backend", backends.available())
@pytest.mark.parametrize(("op", "dtype", "case"), list(_rows()), ids=lambda v: getattr(v, "__name__", str(v)))
def test_op(benchmark, op, dtype, case, backend):
    benchmark.group = _name(op, dtype, case)
    args = list(cases.make(op, "bench", dtype, case).values())
    function = getattr(backends.load(backend), op)
    function(*args)  # compiles, and touches memory, once
    benchmark(function, *args)
