"""The pytest plugin: `bench_limit`, what the benchmarks ran on, and one round of `fastnn bench`.

`fastnn bench` runs it as a script, `python -P plugin.py PYTEST-ARGUMENTS`, in an environment that may have another
version of fastnn or none, so it imports nothing but pytest. A project may ask for it with `-p fastnn.bench.plugin`; it
is no entry point, because it must not change the test runs of projects that do not ask.
"""

import ctypes
import gc
import json
import mmap
import os
import platform
import sys
from pathlib import Path

import pytest

ROUND = "FASTNN_BENCH_ROUND"  # environment variable: the JSON file with the settings of one round
# What a project's addopts may ask for, and `fastnn bench` decides itself. `dist`: pytest-xdist disables benchmarks.
OPTIONS = {
    "benchmark_only": True,
    "benchmark_skip": False,
    "benchmark_disable": False,
    "benchmark_disable_gc": True,
    "benchmark_autosave": False,
    "benchmark_save_data": False,
    "benchmark_compare": None,
    "benchmark_compare_fail": None,
    "benchmark_histogram": None,
    "benchmark_cprofile": None,
    "dist": "no",
    "numprocesses": None,
}


@pytest.hookimpl(tryfirst=True)  # before pytest-benchmark and pytest-xdist read the options
def pytest_configure(config):
    if __name__ == "__main__":
        for name in OPTIONS.keys() & vars(config.option).keys():
            setattr(config.option, name, OPTIONS[name])
    config.addinivalue_line(
        "markers",
        "bench_limit(ratio=1.05, instructions=1.01): `fastnn bench` calls a larger change of this test a regression",
    )
    if ROUND in os.environ and config.pluginmanager.hasplugin("benchmark"):
        config.option.benchmark_save = None
        config.pluginmanager.register(Round(json.loads(Path(os.environ[ROUND]).read_text(encoding="utf-8"))))


@pytest.hookimpl(optionalhook=True)
def pytest_benchmark_update_machine_info(config, machine_info):
    """Adds key "fastnn": name of the machine, backend, ISA, threads and versions."""
    if ROUND not in os.environ or machine_info:
        machine_info["fastnn"] = _describe()


@pytest.hookimpl(optionalhook=True)
def pytest_benchmark_update_json(config, benchmarks, output_json):
    """Adds key "load": not to the machine's description, which pytest-benchmark compares between two runs."""
    output_json["load"] = os.getloadavg()[0] if hasattr(os, "getloadavg") else None


def _describe():
    names = ("fastnn", "numpy", "scipy", "numba", "torch")
    loaded = {name: sys.modules[name] for name in names if name in sys.modules}
    info = {
        "machine": os.environ.get("FASTNN_BENCH_MACHINE") or platform.node(),
        "threads": os.environ.get("OMP_NUM_THREADS"),
        "hash_seed": os.environ.get("PYTHONHASHSEED"),
        "versions": {name: getattr(module, "__version__", "?") for name, module in loaded.items()},
    }
    if "fastnn" in loaded:
        config = loaded["fastnn"].show_config()
        info |= {key: config.get(key) for key in ("backend", "isa", "threads")}
    return info


class Round:
    """Runs the chosen benchmarks for as long as `settings` says and writes what came out to one JSON file."""

    def __init__(self, settings):
        self.settings = settings
        self.limits, self.failures, self.tests, self.machine = {}, {}, {}, {}
        if settings["count"]:
            _count_instead(Callgrind(settings["count"]), self.tests)

    def pytest_collection_modifyitems(self, config, items):
        """Keep the tests that are wanted, of one backend if they are parametrized by it; note their limits."""
        keep, drop = [], []
        only, backend = self.settings["only"], self.settings["backend"]
        for item in items:
            param = getattr(item, "callspec", None) and item.callspec.params.get("backend")
            wanted = not (backend and isinstance(param, str) and param != backend)
            wanted = wanted and "benchmark" in getattr(item, "fixturenames", ())
            (keep if wanted and (only is None or item.nodeid in only) else drop).append(item)
        items[:] = keep
        config.hook.pytest_deselected(items=drop)
        for item in keep:
            marker = item.get_closest_marker("bench_limit")
            self.limits[item.nodeid] = marker.kwargs if marker else {}
            if self.settings["seconds"]:  # also where the test's own marker says something else
                marker = item.get_closest_marker("benchmark")
                options = (marker.kwargs if marker else {}) | {"max_time": self.settings["seconds"], "min_rounds": 3}
                item.add_marker(pytest.mark.benchmark(**options), append=False)

    def pytest_runtest_logreport(self, report):
        if report.failed:
            crash = getattr(report.longrepr, "reprcrash", None)
            text = crash.message if crash else str(report.longrepr)
            self.failures[report.nodeid] = f"{report.when}: {text.strip().splitlines()[0] if text.strip() else '?'}"

    def pytest_collectreport(self, report):
        if report.failed:
            lines = [line for line in str(report.longrepr).splitlines() if line.strip()]
            errors = [line[1:].strip() for line in lines if line.startswith("E ")]
            self.failures[report.nodeid] = f"not collected: {(errors or lines or ['?'])[-1]}"

    def pytest_benchmark_generate_machine_info(self):  # asked for once, in the first round: it takes a second
        return None if self.settings["machine"] else {}

    def pytest_benchmark_generate_commit_info(self):
        return {"id": None}

    def pytest_benchmark_update_json(self, output_json):
        self.machine = output_json["machine_info"]
        for bench in output_json["benchmarks"]:
            bench["stats"].pop("data", None)
            self.tests[bench["fullname"]] = bench["stats"]

    def pytest_sessionfinish(self, session):
        if self.settings["count"]:
            self.machine = session.config.hook.pytest_benchmark_generate_machine_info(config=session.config)
            pytest_benchmark_update_machine_info(session.config, self.machine)
        result = {name: getattr(self, name) for name in ("tests", "limits", "failures", "machine")}
        Path(self.settings["result"]).write_text(json.dumps(result), encoding="utf-8")


class Callgrind:
    """Instructions between two points, from inside a process that runs under valgrind --tool=callgrind.

    A client request is a sequence of instructions that does nothing outside of valgrind (valgrind.h, amd64); it takes
    the address of six words. Each dump is a file, `prefix`.1, .2, ...
    """

    REQUEST = bytes.fromhex("4889f8 31d2 48c1c703 48c1c70d 48c1c73d 48c1c733 4887db 4889d0 c3")
    DUMP, ZERO, _, _, START, STOP = range(0x43540000, 0x43540006)
    AIM, MOST = 50_000_000, 1000  # instructions and calls of the longer point

    def __init__(self, prefix):
        self.prefix, self.dumps = prefix, 0
        self.memory = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
        self.memory.write(self.REQUEST)
        address = ctypes.addressof(ctypes.c_char.from_buffer(self.memory))
        self.function = ctypes.CFUNCTYPE(ctypes.c_size_t, ctypes.c_void_p)(address)
        self.words = (ctypes.c_size_t * 6)()

    def request(self, number):
        self.words[0] = number
        self.function(ctypes.addressof(self.words))

    def between(self, target, arguments):
        """Instructions of a loop of calls, one for each (args, kwargs)."""
        self.request(self.ZERO)
        for args, kwargs in arguments:
            target(*args, **kwargs)
        self.request(self.DUMP)
        self.dumps += 1
        path = Path(f"{self.prefix}.{self.dumps}")
        line = next(line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("summary:"))
        path.unlink()
        return int(line.split()[1])

    def per_call(self, target, make_arguments):
        """By the difference of two loops, so that what is around them does not count."""
        target(*(first := make_arguments())[0], **first[1])
        gc.collect()
        gc.disable()
        self.request(self.START)
        try:
            one = self.between(target, [make_arguments()])
            n = min(self.MOST, max(2, self.AIM // one))
            short, long = ([make_arguments() for _ in range(count)] for count in (2, 2 + n))
            return (-self.between(target, short) + self.between(target, long)) / n
        finally:
            self.request(self.STOP)
            gc.enable()


def _count_instead(callgrind, counts):
    """Make the fixture `benchmark` count instructions, and call its target once more for the result."""
    from pytest_benchmark.fixture import BenchmarkFixture

    def pedantic(self, target, args=(), kwargs=None, setup=None, teardown=None, **rounds):
        def make_arguments():
            return (setup and setup()) or (args, kwargs or {})

        self._mode = "counted"
        counts[self.fullname] = {"median": callgrind.per_call(target, make_arguments)}
        last = make_arguments()
        result = target(*last[0], **last[1])
        if teardown:
            teardown(*last[0], **last[1])
        return result

    BenchmarkFixture.__call__ = lambda self, target, *args, **kwargs: pedantic(self, target, args, kwargs)
    BenchmarkFixture.pedantic = pedantic


if __name__ == "__main__":
    if os.environ.get("FASTNN_BENCH_PROCESSORS") and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, map(int, os.environ["FASTNN_BENCH_PROCESSORS"].split(",")))
    sys.path.append(os.getcwd())  # last, so that what is installed wins: a project may be importable from its root only
    # An older fastnn in the environment has this module as an entry point of this name.
    sys.exit(pytest.main(["-p", "no:fastnn-bench", *sys.argv[1:]], plugins=[sys.modules[__name__]]))
