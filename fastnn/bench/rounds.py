"""Rounds of benchmarks in fresh processes: A B, B A, A B, ... until every test is decided."""

import errno
import json
import os
import re
import subprocess
import time
from pathlib import Path

import numpy as np

from . import BenchError, decide, sides, store

_PLUGIN = Path(__file__).with_name("plugin.py")
STATISTIC = "min"  # of a process: A against A over 20 rounds, half-width 0.9 % where the median has 1.5 %
_POOLS = ("OMP", "OPENBLAS", "MKL", "NUMBA", "VECLIB", "BLIS")


def environment(threads: int, side: sides.Side | None = None) -> dict[str, str]:
    """Variables of a benchmark's process: threads, hash seed and processors fixed, and the side's own packages."""
    env = {name: value for name, value in os.environ.items() if name not in ("FASTNN_BACKEND", "FASTNN_BENCH_ROUND")}
    env |= {f"{name}_NUM_THREADS": str(threads) for name in _POOLS} | {"PYTHONHASHSEED": "0"}
    if hasattr(os, "sched_getaffinity"):
        env["FASTNN_BENCH_PROCESSORS"] = ",".join(map(str, sorted(os.sched_getaffinity(0))[-threads:]))
    if side and side.own:
        env.pop("PYTHONPATH", None)
    if side and side.backend:
        env["FASTNN_BACKEND"] = side.backend
    return env


def pytest_command(python: str, given) -> list[str]:
    """pytest with our plugin on the benchmarks that `given` chooses."""
    command = [python, "-P", str(_PLUGIN), "-p", "no:cacheprovider"]
    command += ["-p", "no:hypothesispytest"]  # its import takes longer than all else together
    command += ["-k", given.keyword] if given.keyword else []
    return command + given.pytest + given.path


def paths(tree: Path, wanted: list[str]) -> list[str]:
    """Where the benchmarks are: as asked for, or the folder bench or benchmarks, or all of the tree."""
    for name in wanted:
        if not (tree / name.split("::")[0]).exists():
            raise BenchError(f"--path {name}: not in {tree}")
    return wanted or [next((name for name in ("bench", "benchmarks") if (tree / name).is_dir()), ".")]


def run_once(side: sides.Side, tree: Path, given, folder: Path, only=None, prefix=(), **more) -> dict:
    """One process of benchmarks of `side` -> {"tests": {name: stats}, "limits", "failures", "machine"}.

    Names are pytest's, with * for the side's backend. BenchError if pytest could not even start.
    """
    result = folder / "result.json"
    result.unlink(missing_ok=True)
    settings = {"only": only, "backend": side.backend, "seconds": given.seconds, "machine": False, "count": ""}
    settings |= more
    (folder / "round.json").write_text(json.dumps(settings | {"result": str(result)}), encoding="utf-8")
    env = environment(given.threads, side) | {"FASTNN_BENCH_ROUND": str(folder / "round.json")}
    command = [*prefix, *pytest_command(side.python, given), "-q", "--rootdir", "."]
    command += [] if settings["count"] else [f"--benchmark-json={os.devnull}"]
    done = subprocess.run(
        command, cwd=tree, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8", errors="replace"
    )
    try:
        found = json.loads(result.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        lines = [line for line in done.stdout.splitlines() if line.strip()] or [f"exit code {done.returncode}"]
        raise BenchError(f"{side.name}: the benchmarks did not run: {lines[-1].strip()}") from None
    found["ids"] = {_key(name, side.backend): name for name in found["tests"]}
    if not found["tests"] and not found["failures"]:
        raise BenchError("no benchmarks were found")
    for key in ("tests", "limits", "failures"):
        found[key] = {_key(name, side.backend): value for name, value in found[key].items()}
    return found


def _key(name: str, backend: str | None) -> str:
    return re.sub(rf"(?<=[\[-]){backend}(?=[\]-])", "*", name) if backend else name


class Comparison:
    """A and B measured in turns; `result` is what is stored, always as far as it goes."""

    def __init__(self, given, say):
        self.given, self.say = given, say
        self.tests: dict[str, dict] = {}
        self.failures: dict[str, str] = {}
        self.ids: dict[str, tuple[str, str]] = {}  # pytest's name of a test on either side
        self.result = {"tests": self.tests, "failures": self.failures, "message": None, "rounds": 0, "seconds": 0.0}

    def run(self, a: str, b: str) -> dict:
        """The result, with "message" where it ended early. BenchError if nothing was measured at all."""
        self.result |= {"a": {"name": a}, "b": {"name": b}}
        try:
            with sides.workspace() as folder:
                self._measure(a, b, folder)
        except KeyboardInterrupt:
            self.result["message"] = f"interrupted in round {self.result['rounds'] + 1}"
        except BenchError as error:
            self.result["message"] = str(error)
        except OSError as error:
            full = "the disk is full" if error.errno == errno.ENOSPC else str(error)
            self.result["message"] = f"round {self.result['rounds'] + 1}: {full}"
        if not self.tests and not self.failures:
            raise BenchError(self.result["message"] or "no benchmarks were found")
        return self.result

    def _measure(self, a: str, b: str, folder: Path) -> None:
        given, project = self.given, self.given.project
        self.say(f"preparing {a} and {b}")
        pair = sides.prepare(a, project, folder / "a"), sides.prepare(b, project, folder / "b", files=True)
        tree = sides.benchmark_files(*pair, project, folder)
        given.path = paths(tree, given.path)
        self.result |= {"a": pair[0].describe(), "b": pair[1].describe()}
        start = time.monotonic()
        remaining = None
        while remaining != [] and self.result["rounds"] < given.max_rounds:
            self._round(pair, tree, folder, remaining)
            self.result["seconds"] = time.monotonic() - start
            decide.judge(self.tests, given.precision)
            remaining = [name for name, test in self.tests.items() if not test["done"] and name not in self.failures]
            self.say(
                f"round {self.result['rounds']}, {self.result['seconds']:.0f} s: "
                f"{len(remaining)} of {len(self.tests)} tests need more"
            )

    def _round(self, pair, tree: Path, folder: Path, remaining) -> None:
        """Both sides once; A first in even rounds, B first in odd ones."""
        found = {}
        for i in (0, 1) if self.result["rounds"] % 2 == 0 else (1, 0):
            only = None if remaining is None else [self.ids[name][i] for name in remaining]
            found[i] = run_once(pair[i], tree, self.given, folder, only, machine=remaining is None and i == 1)
        for i, side in enumerate(pair):
            for name, failure in found[i]["failures"].items():
                hint = f"; {side.hint}" if side.hint and "No module named" in failure else ""
                self.failures.setdefault(name, f"{side.name}: {failure}{hint}")
        if remaining is None:
            self._begin(found)
        names = remaining if remaining is not None else {**found[0]["tests"], **found[1]["tests"]}
        for name in names:
            if not all(name in found[i]["tests"] for i in (0, 1)) and name not in self.failures:
                self.failures[name] = f"not measured on {pair[name in found[0]['tests']].name}"
            if name not in self.failures:
                times = [found[i]["tests"][name][STATISTIC] for i in (0, 1)]
                self.tests[name]["logs"].append(float(np.log(times[1] / times[0])))
                for i in (0, 1):
                    self.tests[name]["seconds"][i].append(times[i])
        self.result["rounds"] += 1

    def _begin(self, found) -> None:
        """After the first round: the tests that both sides have, their limits, and the machine."""
        machine = store.machine(found[1]["machine"])
        floors = store.floors(self.given.project, machine)
        self.result |= {"machine": machine, "machine_info": found[1]["machine"]}
        for name in found[0]["tests"].keys() & found[1]["tests"].keys() - self.failures.keys():
            limit = found[1]["limits"].get(name, {}).get("ratio", self.given.limit)
            limit = max(limit, floors.get(name, floors.get("", 1.0)))
            self.tests[name] = {"logs": [], "seconds": ([], []), "limit": limit}
            self.ids[name] = found[0]["ids"][name], found[1]["ids"][name]
