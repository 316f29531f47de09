"""What `fastnn bench` can tell apart on this machine, on demand: pytest -m nightly tests/test_bench_figures.py -s

Takes about 25 minutes of measuring on a quiet machine; the figures are recorded in docs/regression-tracking.md. One try
of each: FASTNN_BENCH_TRIES=1, or any other number.
"""

import json
import os
import shutil
import textwrap

import pytest

from fastnn.bench import store
from fastnn.cli import main

pytestmark = pytest.mark.nightly

TRIES = os.environ.get("FASTNN_BENCH_TRIES")
KERNEL = """
    import numpy as np

    a, b, out = np.ones(1000), np.ones(1000), np.empty(1000)

    def work(n):
        for _ in range({} * n):
            np.add(a, b, out)
"""
BENCHMARK = """
    import kernel, pytest

    @pytest.mark.parametrize("n", [2, 8])
    def test_work(benchmark, n):
        benchmark(kernel.work, n)
"""


@pytest.fixture
def compare(tmp_path):
    """compare(per cent slower, *options) -> result; two tests of about 70 us and 300 us."""
    for path, text in {
        "project/bench/bench_kernel.py": BENCHMARK,
        "project/pytest.ini": "[pytest]\npython_files = bench_*.py\n",
        **{f"slower{n}/kernel.py": KERNEL.format(100 + n) for n in (0, 1, 3, 8)},
    }.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(textwrap.dedent(text))
    project = tmp_path / "project"

    def compare(slower, *options, command="compare"):
        sides = [str(tmp_path / "slower0"), str(tmp_path / f"slower{slower}")]
        assert main(["bench", command, "--project", str(project), *sides, *options]) == 0
        return json.loads(store.latest_result(project).read_text())

    return compare


def caught(result):
    return all(test["verdict"] == "regression" for test in result["tests"].values())


def test_a_against_a(compare):
    half_widths = []
    for _ in range(int(TRIES or 30)):
        result = compare(0)
        assert all(test["verdict"] != "regression" for test in result["tests"].values())
        half_widths += [(test["high"] - test["low"]) / 2 for test in result["tests"].values()]
    print(f"half-widths: median {sorted(half_widths)[len(half_widths) // 2]:.4f}, largest {max(half_widths):.4f}")
    assert max(half_widths) <= 0.02


def test_eight_per_cent(compare):
    tries = int(TRIES or 10)
    results = [compare(8) for _ in range(tries)]
    print("seconds:", [round(result["seconds"]) for result in results])
    assert sum(map(caught, results)) == tries
    assert max(result["seconds"] for result in results) <= 60


def test_three_per_cent(compare):
    tries = int(TRIES or 10)
    found = sum(caught(compare(3, "--limit", "1.01", "--max-rounds", "60")) for _ in range(tries))
    print(f"{found} of {tries}")
    assert found >= 0.8 * tries


@pytest.mark.skipif(not shutil.which("valgrind"), reason="needs valgrind")
def test_count_sees_one_per_cent(compare):
    for _ in range(int(TRIES or 5)):
        assert caught(compare(1, command="count"))
        assert all(test["ratio"] < 1.001 for test in compare(0, command="count")["tests"].values())
