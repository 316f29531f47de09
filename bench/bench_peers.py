"""fastnn beside the libraries that are installed, on workloads of bench/peers: the table in `fastnn bench report`.

All in one process, so a first look; `python bench/peers/run.py` gives each a process of its own and checks the results.
"""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.append(str(Path(__file__).parent / "peers"))

import workload
from peers import PEERS

WORKLOADS = workload.load()
ROWS = [(name, i) for name in ("inference", "affine_forward", "softmax_forward") for i in (0, -1)]
LIBRARIES = [name for name in ("fastnn", "numpy", "torch", "onnxruntime", "jax") if importlib.util.find_spec(name)]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.benchmark(max_time=0.1, min_rounds=3)
@pytest.mark.parametrize("backend", LIBRARIES)
@pytest.mark.parametrize(("name", "row"), ROWS, ids=lambda v: v if isinstance(v, str) else ("first", "last")[v])
def test_library(benchmark, name, row, backend):
    case = WORKLOADS[name]("float32", **WORKLOADS[name].cases[row])
    benchmark.group = f"{name} {case.case}"
    try:
        call = PEERS[backend](1).prepare(case, case.inputs(np.random.default_rng(0)))
    except (ImportError, AttributeError) as reason:  # fastnn is a checkout; a workload that a library cannot do
        pytest.skip(str(reason))
    if call is None:
        pytest.skip("not for this library")
    call()
    benchmark(call)
