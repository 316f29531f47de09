"""bench/peers: fastnn beside the fastnn of another environment, with processes whose times the test says."""

import json
import math
import os
import sys
from pathlib import Path

import pytest

pytest.importorskip("scipy")

PEERS = Path(__file__).resolve().parents[1] / "bench" / "peers"


@pytest.fixture
def run(monkeypatch):
    if not PEERS.is_dir():
        pytest.skip("no bench/peers beside the tests")
    monkeypatch.syspath_prepend(str(PEERS))
    import run

    monkeypatch.setattr(run.machine, "_compile", lambda: None)
    return run


def measure(run, monkeypatch, capsys, now, *arguments):
    """Status and results of a run of `relu`; now(case, start) -> the seconds of a block, or the error of the result."""

    class Worker:
        starts = 0

        def __init__(self, name, python, threads, processors):
            self.name, self.python = name, python

        def ask(self, do, **request):
            if do == "prepare":
                self.case = tuple(request["sizes"].values())
                error = now(self.case, Worker.starts) if self.name == "fastnn" else 0.0
                return {"flops": 0, "bytes": 0, "error": error if error == math.inf else 0.0, "limit": 1e-4}
            if do == "block":
                return {"samples": [now(self.case, Worker.starts) if self.name == "fastnn" else 1.0] * 3}
            return {"version": "1", "sizes": {}} if do == "hello" else {}

        def close(self):
            if self.name == "fastnn":
                Worker.starts += 1

    monkeypatch.setattr(run, "Worker", Worker)
    options = ["--before", sys.executable, "--workload", "relu", "--dtype", "float32", *arguments]
    monkeypatch.setattr(sys, "argv", ["run.py", *options])
    with pytest.raises(SystemExit) as end:
        run.main()
    return end.value.code, capsys.readouterr().out


def test_a_row_falls_only_twice(run, monkeypatch, capsys):
    def first(slow_first, slow_again):
        seen = []

        def now(case, start):
            seen.append(case)
            return (slow_first, slow_again)[start] if case == seen[0] else 1.0

        return now

    for slow, status in (((1.0, 1.0), 0), ((1.02, 1.02), 0), ((1.1, 1.0), 0), ((1.1, 1.1), 1)):
        code, printed = measure(run, monkeypatch, capsys, first(*slow), "--json")
        rows = json.loads(printed)[0]["rows"]
        assert code == status, slow
        assert [row["before"]["ratio"] for row in rows] == pytest.approx([1 / slow[0], *[1.0] * (len(rows) - 1)])
        again = [row["again"]["ratio"] for row in rows if "again" in row]  # only the rows that were low are repeated
        assert again == pytest.approx([1 / slow[1]] if slow[0] == 1.1 else [])


def test_the_table_names_what_fell(run, monkeypatch, capsys):
    code, printed = measure(run, monkeypatch, capsys, lambda case, start: 1.25)
    rows = [line for line in printed.split("### Beside before")[1].splitlines() if line.startswith("| relu")]
    assert code == 1 and rows and all("| 0.80x (0.80 to 0.80) | 0.80x (0.80 to 0.80) | fell |" in line for line in rows)


def test_what_is_wrong_now_has_fallen(run, monkeypatch, capsys):
    code, printed = measure(run, monkeypatch, capsys, lambda case, start: math.inf)
    assert code == 1 and "wrong: differs" in printed and printed.count("| fell |") == len(run.load()["relu"].cases)


def test_a_noisy_row_does_not_fall(run):
    low = run.report.is_low(run._paired([[1.0]] * 8, [[t] for t in (1.3, 0.8, 1.2, 0.9, 1.25, 0.85, 1.1, 1.0)]))
    assert not low and run.report.is_low(run._paired([[1.0]] * 8, [[1.05]] * 8)) and not run.report.is_low(None)


@pytest.mark.skipif(os.name != "posix", reason="the interpreter is a shell script")
def test_the_worker_is_the_other_interpreter_without_our_path(run, monkeypatch, tmp_path):
    monkeypatch.setenv("PYTHONPATH", "/ours")
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\nread line\necho "{\\"version\\": \\"$2 $3 $PYTHONPATH\\"}"\n')
    python.chmod(0o755)
    worker = run.Worker("before", str(python), 1, run.machine.cpus()[-1:])
    try:
        assert worker.ask("hello") == {"version": f"{PEERS / 'worker.py'} before "}
    finally:
        worker.close()


def test_before_needs_an_interpreter(run, monkeypatch, capsys):
    for options in (
        ["--before", "/no/such/python"],
        ["--peers", "before"],
        ["--before", sys.executable, "--rounds", "5"],
    ):
        monkeypatch.setattr(sys, "argv", ["run.py", *options])
        with pytest.raises(SystemExit, match="2"):
            run.main()
        assert "--" in capsys.readouterr().err
