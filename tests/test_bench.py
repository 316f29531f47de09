"""`fastnn bench` on tiny projects whose benchmarks read a clock that says what the test wants."""

import errno
import importlib.util
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import textwrap
import zipfile
from pathlib import Path

import numpy as np
import pytest

from fastnn.bench import decide, rounds, sides, store
from fastnn.cli import main

for module in ("scipy", "ruptures", "jinja2", "matplotlib"):
    pytest.importorskip(module)

CLOCK = """
    import pytest, tiny

    now = [0.0]

    def timer():
        now[0] += tiny.SECONDS
        return now[0]

    @pytest.mark.benchmark(timer=timer)
    @pytest.mark.parametrize("n", [1, 2])
    def test_sum(benchmark, n):
        benchmark.pedantic(tiny.work, args=(n,), rounds=3)
"""
BACKEND = """
    import pathlib, zipfile

    def build_wheel(folder, config_settings=None, metadata_directory=None):
        name = "tiny-1.0-py3-none-any.whl"
        with zipfile.ZipFile(pathlib.Path(folder) / name, "w") as wheel:
            wheel.write("tiny.py")
            info = "tiny-1.0.dist-info/"
            wheel.writestr(info + "METADATA", "Metadata-Version: 2.1\\nName: tiny\\nVersion: 1.0\\n")
            wheel.writestr(info + "WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
            wheel.writestr(info + "RECORD", "")
        return name
"""
PYPROJECT = """
    [build-system]
    requires = []
    build-backend = "backend"
    backend-path = ["."]
    [project]
    name = "tiny"
    version = "1.0"
    [tool.pytest.ini_options]
    python_files = "bench_*.py"
    addopts = "--strict-markers"
"""


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(text))


def tiny(seconds, work="return n"):
    return f"SECONDS = {seconds}\ndef work(n):\n    {work}\n"


def git(folder, *arguments):
    name = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false", "-c", "tag.gpgsign=false"]
    subprocess.run(["git", "-C", folder, *name, *arguments], check=True, capture_output=True)


@pytest.fixture(autouse=True)
def places(tmp_path, monkeypatch):
    """The cache and the environments below tmp_path; afterwards no environment is left."""
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(sides, "user_cache", lambda: tmp_path / "cache")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    yield
    assert list((tmp_path / "tmp").glob("fastnn-bench-*")) == []


@pytest.fixture
def project(tmp_path):
    """A project with benchmarks, and two folders beside it with the package as it was and ten per cent slower."""
    root = tmp_path / "project"
    write(root / "bench" / "bench_tiny.py", CLOCK)
    write(root / "pytest.ini", "[pytest]\npython_files = bench_*.py\naddopts = --strict-markers\n")
    write(tmp_path / "before" / "tiny.py", tiny(1.0))
    write(tmp_path / "after" / "tiny.py", tiny(1.1))
    return root


@pytest.fixture
def repository(tmp_path):
    """The same with a build, in git: tag v1, tag v2 (slower), tag broken (does not build)."""
    root = tmp_path / "repository"
    for name, text in {"pyproject.toml": PYPROJECT, "backend.py": BACKEND, "bench/bench_tiny.py": CLOCK}.items():
        write(root / name, text)
    git(tmp_path, "init", "-q", root)
    for tag, seconds in (("v1", 1.0), ("v2", 1.1)):
        write(root / "tiny.py", tiny(seconds))
        git(root, "add", "-A")
        git(root, "commit", "-qm", tag)
        git(root, "tag", tag)
    write(root / "backend.py", "raise SystemExit('error: no compiler')")
    git(root, "commit", "-qam", "broken")
    git(root, "tag", "broken")
    return root


def bench(project, *arguments):
    return main(["bench", arguments[0], "--project", str(project), *map(str, arguments[1:])])


def compare(project, *arguments):
    return bench(project, "compare", *arguments)


def kept(project):
    return json.loads(store.latest_result(project).read_text())


NAMES = ["bench/bench_tiny.py::test_sum[1]", "bench/bench_tiny.py::test_sum[2]"]


# What is decided


def test_interval_holds_the_median():
    rng = np.random.default_rng(0)
    inside = 0
    for _ in range(100):
        ratio, low, high = decide.interval(np.log(1.1) + 0.01 * rng.standard_normal(12))
        assert low <= ratio <= high
        inside += low <= 1.1 <= high
    assert inside >= 88
    assert decide.interval([0.0, 0.0, 0.0]) == (1, 1, 1)
    assert decide.interval([0.0])[1:] == (0, np.inf)
    assert np.isfinite(decide.interval([0.0, 0.0, 0.0, 0.0, 0.0, 0.1])).all()


@pytest.mark.parametrize(
    "center, spread, rounds, verdict",
    [
        (1.10, 0.01, 12, "regression"),
        (1.00, 0.01, 12, "fine"),
        (0.80, 0.01, 12, "fine"),
        (1.05, 0.01, 12, "undecided"),
        (1.06, 0.10, 12, "undecided"),
        (1.10, 0.01, 5, "undecided"),
        (1.00, 0.01, 5, "undecided"),
    ],
)
def test_rule(center, spread, rounds, verdict):
    test = {"logs": np.log(center) + spread * np.linspace(-1, 1, rounds), "limit": 1.05}
    decide.judge({"t": test})
    assert test["verdict"] == verdict


def test_many_tests_need_stronger_evidence():
    """Six rounds above the limit are an alarm for one test and not among fifty; ten rounds more are."""
    rng = np.random.default_rng(0)

    def verdict(others, rounds):
        tests = {str(i): {"logs": 0.01 * rng.standard_normal(rounds), "limit": 1.05} for i in range(others)}
        tests["slow"] = {"logs": 0.1 + 0.01 * rng.standard_normal(rounds), "limit": 1.05}
        decide.judge(tests)
        assert all(test["verdict"] != "regression" for name, test in tests.items() if name != "slow")
        return tests["slow"]["verdict"]

    assert verdict(0, 6) == "regression"
    assert verdict(50, 6) == "undecided"
    assert verdict(50, 16) == "regression"


def test_fine_needs_a_narrow_interval_to_stop():
    test = {"logs": -0.5 + 0.1 * np.linspace(-1, 1, 8), "limit": 1.05}
    decide.judge({"t": test}, precision=0.02)
    assert test["verdict"] == "fine" and not test["done"]
    decide.judge({"t": test}, precision=0.2)
    assert test["done"]


# Comparisons


def test_folders(project, tmp_path, capsys):
    assert compare(project, tmp_path / "before", tmp_path / "after") == 0
    result = kept(project)
    assert [(t["verdict"], round(t["ratio"], 6), t["limit"]) for t in result["tests"].values()] == [
        ("regression", 1.1, 1.05)
    ] * 2
    assert sorted(result["tests"]) == NAMES
    assert result["rounds"] == decide.LEAST_ROUNDS and result["message"] is None and result["failures"] == {}
    assert result["machine_info"]["fastnn"]["hash_seed"] == "0" and result["machine_info"]["fastnn"]["threads"] == "1"
    out = capsys.readouterr().out
    assert out.count("regression") == 2 and "1.100 to 1.100" in out


def test_commits_are_built_once(repository, monkeypatch):
    calls = []
    pip = sides._pip
    monkeypatch.setattr(sides, "_pip", lambda what, *a: (calls.append(a[0]), pip(what, *a)))
    assert compare(repository, "v2", "v1", "-k", "1") == 0
    result = kept(repository)
    assert [(name, test["verdict"]) for name, test in result["tests"].items()] == [(NAMES[0], "fine")]
    assert result["a"]["commit"] and calls == ["wheel", "install"] * 2
    assert compare(repository, "v1", "v1~0", "--max-rounds", "1") == 0
    assert calls[4:] == ["install", "install"]
    assert {test["verdict"] for test in kept(repository)["tests"].values()} == {"undecided"}
    git(repository, "diff", "--quiet", "HEAD")


def test_wheel_and_limit_by_marker(repository, tmp_path):
    with zipfile.ZipFile(tmp_path / "tiny-2.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("tiny.py", tiny(1.3))
        wheel.writestr("tiny-2.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: 2.0\n")
        wheel.writestr("tiny-2.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr("tiny-2.0.dist-info/RECORD", "")
    marked = CLOCK.replace("@pytest.mark.param", "@pytest.mark.bench_limit(ratio=1.5)\n    @pytest.mark.param")
    write(repository / "bench/bench_tiny.py", marked)
    assert compare(repository, "v1", tmp_path / "tiny-2.0-py3-none-any.whl", "--max-rounds", "6") == 0
    assert {(t["verdict"], t["limit"]) for t in kept(repository)["tests"].values()} == {("fine", 1.5)}


def test_backends(project):
    by_backend = """
        import os, pytest

        now = [0.0]

        def timer():
            now[0] += {"native": 1.0, "numpy": 2.0}[os.environ["FASTNN_BACKEND"]]
            return now[0]

        @pytest.mark.benchmark(timer=timer)
        @pytest.mark.parametrize("backend", ["native", "numpy"])
        def test_sum(benchmark, backend):
            benchmark.pedantic(sum, args=([],), rounds=3)
    """
    write(project / "bench/bench_tiny.py", by_backend)
    assert compare(project, "native", "numpy", "--max-rounds", "6") == 0
    assert [(n, t["ratio"]) for n, t in kept(project)["tests"].items()] == [("bench/bench_tiny.py::test_sum[*]", 2.0)]


@pytest.mark.parametrize(
    "options",
    [
        "--benchmark-disable",
        "--benchmark-skip",
        "--benchmark-autosave --benchmark-save-data --benchmark-compare",
        "--benchmark-autosave --benchmark-save=x",
        "--benchmark-cprofile=tottime --benchmark-histogram=x",
    ],
)
def test_options_of_the_project_do_not_reach_a_comparison(project, tmp_path, options):
    write(project / "pytest.ini", f"[pytest]\npython_files = bench_*.py\naddopts = {options}\n")
    assert compare(project, tmp_path / "before", tmp_path / "after", "--max-rounds", "1") == 0
    assert sorted(kept(project)["tests"]) == NAMES
    assert not list(project.rglob("*.json")) or {p.parent.name for p in project.rglob("*.json")} == {"fastnn"}


def test_packages_below_src_that_cannot_be_installed(project, tmp_path):
    for side in ("before", "after"):
        (tmp_path / side / "src").mkdir()
        (tmp_path / side / "tiny.py").rename(tmp_path / side / "src" / "tiny.py")
    assert compare(project, tmp_path / "before", tmp_path / "after", "--max-rounds", "1") == 0
    assert {round(test["ratio"], 6) for test in kept(project)["tests"].values()} == {1.1}


# Bad input


def test_a_module_that_is_nowhere_gets_a_hint(project, tmp_path, capsys):
    for side in ("before", "after"):
        (tmp_path / side / "lib").mkdir()
        (tmp_path / side / "tiny.py").rename(tmp_path / side / "lib" / "tiny.py")
    assert compare(project, tmp_path / "before", tmp_path / "after", "--max-rounds", "1") == 3
    assert "has neither pyproject.toml nor setup.py, so only its root and src/" in capsys.readouterr().out


def test_a_ref_that_does_not_build(repository, capsys, tmp_path):
    assert compare(repository, "v1", "broken") == 3
    message = capsys.readouterr().err.splitlines()[-1]
    assert "broken (" in message and "does not build" in message and "error: no compiler" in message
    assert "no compiler" in (tmp_path / "cache" / "bench" / "failed.log").read_text()


def test_a_benchmark_that_fails_on_one_side(project, tmp_path, capsys):
    write(tmp_path / "after" / "tiny.py", tiny(1.1, "assert n < 2, 'too large'"))
    assert compare(project, tmp_path / "before", tmp_path / "after") == 3
    result = kept(project)
    assert list(result["failures"]) == NAMES[1:] and "after: call: AssertionError: too large" in str(result["failures"])
    assert result["tests"][NAMES[0]]["verdict"] == "regression" and NAMES[1] not in result["tests"]
    assert capsys.readouterr().out.count("too large") == 1


def test_benchmarks_that_cannot_be_imported(project, tmp_path, capsys):
    write(tmp_path / "after" / "tiny.py", "import nothing_of_this_name")
    assert compare(project, tmp_path / "before", tmp_path / "after", "--max-rounds", "1") == 3
    assert "not collected: ModuleNotFoundError: No module named 'nothing_of_this_name'" in capsys.readouterr().out


def interrupt_after(monkeypatch, calls, error):
    """rounds.run_once raises `error` at its call number `calls`."""
    run_once, count = rounds.run_once, []

    def run(*args, **settings):
        count.append(1)
        if len(count) > calls:
            raise error
        return run_once(*args, **settings)

    monkeypatch.setattr(rounds, "run_once", run)


@pytest.mark.parametrize(
    "error, message",
    [
        (KeyboardInterrupt(), "interrupted in round 2"),
        (OSError(errno.ENOSPC, "No space left on device"), "round 2: the disk is full"),
    ],
)
def test_partial_results_are_kept(project, tmp_path, capsys, monkeypatch, error, message):
    interrupt_after(monkeypatch, 3, error)
    assert compare(project, tmp_path / "before", tmp_path / "after") == 3
    result = kept(project)
    assert result["message"] == message and [len(t["logs"]) for t in result["tests"].values()] == [1, 1]
    printed = capsys.readouterr()
    assert printed.err.endswith(f"fastnn bench compare: {message}\n") and printed.out.count("undecided") == 2


def test_interrupted_before_anything_was_measured(project, tmp_path, capsys, monkeypatch):
    interrupt_after(monkeypatch, 1, KeyboardInterrupt())
    assert compare(project, tmp_path / "before", tmp_path / "after") == 3
    assert capsys.readouterr().err.endswith("fastnn bench compare: interrupted in round 1\n")


def test_a_full_disk_when_the_result_is_written(project, tmp_path, capsys, monkeypatch):
    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(store.os, "replace", full)
    assert compare(project, tmp_path / "before", tmp_path / "after", "--max-rounds", "1") == 3
    printed = capsys.readouterr()
    assert "was not written: the disk is full" in printed.err.splitlines()[-1]
    assert printed.out.count("test_sum") == 2
    assert list((project / ".benchmarks").rglob("*compare*")) == []


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["compare", "nonsense", "numpy"], "'nonsense' is not a git ref"),
        (["compare", "9.9.9", "numpy"], "a version needs a name"),
        (["compare", "."], "required"),
        (["compare", ".", ".", "--limit", "0"], "--limit"),
        (["compare", "native", "numpy", "--path", "nowhere"], "--path nowhere"),
        (["compare", ".", ".", "--project", "nowhere"], "--project nowhere: no such folder"),
        ([], "required"),
    ],
)
def test_mistakes_get_one_sentence_and_exit_3(project, capsys, arguments, message):
    try:
        code = main(["bench", *arguments[:1], *(["--project", str(project)] if arguments else []), *arguments[1:]])
    except SystemExit as exit:
        code = exit.code
    assert code == 3 or not arguments
    assert message in capsys.readouterr().err.splitlines()[-1]


def test_missing_extras_name_the_command(project, capsys, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "ruptures" else find(name))
    assert compare(project, "a", "b") == 3
    assert (
        capsys.readouterr().err == "fastnn bench compare: ruptures not installed: pip install 'fastnn-kernels[bench]'\n"
    )


def test_the_console_does_not_load_what_is_not_needed():
    code = "import sys, fastnn.cli.bench as b; print({'scipy', 'jinja2', 'matplotlib', 'pytest'} & set(sys.modules))"
    env = os.environ | {"PYTHONSAFEPATH": "1"}
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env).stdout == "set()\n"


# Runs


def test_run_keeps_timings_in_the_storage(project, tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "before") + os.pathsep + os.environ.get("PYTHONPATH", ""))
    monkeypatch.setenv("FASTNN_BENCH_MACHINE", "here")
    assert bench(project, "run", "-k", "2", "--save", "first") == 0
    (path,) = (project / ".benchmarks").glob("*/0001_first.json")
    run = store.read(path, "benchmarks")
    assert [test["fullname"] for test in run["benchmarks"]] == NAMES[1:]
    assert run["machine_info"]["fastnn"]["machine"] == "here"
    assert store.machine(run["machine_info"]).startswith("here, ")
    assert bench(project, "run", "-k", "nothing") == 3


def test_the_plugin_imports_nothing_of_fastnn():
    text = Path(rounds.__file__).with_name("plugin.py").read_text()
    assert "from ." not in text and "import fastnn" not in text


def test_other_projects_notice_nothing(tmp_path):
    """Two runs are of the same machine, and a wrong setting of fastnn breaks neither."""
    write(tmp_path / "test_any.py", "def test_any(benchmark):\n    benchmark(sum, [1, 2])\n")
    env = os.environ | {"FASTNN_BACKEND": "oops", "PYTHONSAFEPATH": "1"}
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-W",
        "error",
        "-p",
        "no:cacheprovider",
        "--benchmark-max-time=0.01",
    ]
    for option in ("--benchmark-autosave", "--benchmark-compare"):
        done = subprocess.run([*command, option], cwd=tmp_path, capture_output=True, text=True, env=env)
        assert done.returncode == 0 and "machine_info" not in done.stdout + done.stderr, done.stdout + done.stderr
    (saved,) = (tmp_path / ".benchmarks").glob("*/*.json")
    assert "fastnn" not in json.loads(saved.read_text())["machine_info"]


def test_a_project_may_ask_for_the_marker_and_the_description(tmp_path):
    test = "@pytest.mark.bench_limit(ratio=1.1)\ndef test_any(benchmark):\n    benchmark(sum, [1, 2])\n"
    write(tmp_path / "test_any.py", f"import pytest\n{test}")
    write(tmp_path / "pytest.ini", "[pytest]\naddopts = --strict-markers -p fastnn.bench.plugin -p no:cacheprovider\n")
    command = [sys.executable, "-m", "pytest", "-q", "-W", "error", "--benchmark-max-time=0.01"]
    env = os.environ | {"PYTHONSAFEPATH": "1"}
    for option in ("--benchmark-autosave", "--benchmark-compare"):
        done = subprocess.run([*command, option], cwd=tmp_path, capture_output=True, text=True, env=env)
        assert done.returncode == 0, done.stdout + done.stderr
    (saved,) = (tmp_path / ".benchmarks").glob("*/*.json")
    run = json.loads(saved.read_text())
    assert run["machine_info"]["fastnn"]["machine"] == platform.node() and "load" in run


# What is kept, over time


def stored(project, name, date, seconds, machine="here", benchmarks=None):
    """A file as pytest-benchmark stores it."""
    tests = benchmarks or {"bench/b.py::test_a": seconds}
    run = {
        "machine_info": {"node": machine, "system": "Linux", "machine": "x86_64", "python_version": "3.11.7"},
        "commit_info": {"id": name * 8},
        "datetime": date,
        "benchmarks": [
            {"fullname": key, "params": None, "stats": {"median": s, "iqr": s / 100, "q1": s * 0.99, "q3": s * 1.01}}
            for key, s in tests.items()
        ],
    }
    for bench in run["benchmarks"]:
        if "-native" in bench["fullname"] or "-numpy" in bench["fullname"]:
            bench["params"] = {"backend": "native" if "-native" in bench["fullname"] else "numpy"}
    write(project / ".benchmarks" / "Linux-CPython-3.11-64bit" / f"{name}.json", json.dumps(run))


def levels(project, machine, *values):
    for i, value in enumerate(values):
        jitter = 1 + 0.004 * ((i * 7) % 5 - 2)
        stored(project, f"{machine}{i:04}", f"2026-01-{i + 1:02}T00:00:00+00:00", value * jitter, machine)


def test_history_finds_the_change_and_never_mixes_machines(project, capsys):
    levels(project, "slow", *[2e-3] * 10)
    levels(project, "fast", *[1e-3] * 10)
    assert bench(project, "history") == 0
    assert capsys.readouterr().out == "no change points\n"
    levels(project, "fast", *[1e-3] * 6, *[1.2e-3] * 6)
    assert bench(project, "history") == 0
    lines = capsys.readouterr().out.splitlines()[1:]
    assert len(lines) == 1 and "2026-01-07" in lines[0] and "(fast, " in lines[0]
    assert abs(float(lines[0].split()[0]) - 1.2) < 0.01


def test_a_package_that_lies_in_the_root_uninstalled(project):
    write(project / "tiny.py", tiny(1.0))
    assert bench(project, "run", "--save", "root") == 0
    assert len(list((project / ".benchmarks").rglob("*root.json"))) == 1
    assert bench(project, "noise", "--max-rounds", "2") == 0


def test_noise_of_nothing_that_runs(project, tmp_path, capsys):
    assert bench(project, "noise", "--max-rounds", "2") == 3
    assert capsys.readouterr().err.endswith("no benchmark could be measured; nothing was kept\n")
    write(tmp_path / "before" / "tiny.py", tiny(1.0, "assert n < 2"))
    assert bench(project, "noise", tmp_path / "before", "--max-rounds", "2") == 3
    (path,) = (project / ".benchmarks" / "noise").iterdir()
    assert json.loads(path.read_text())["floors"].keys() == {NAMES[0], ""}


def test_noise_is_a_floor(project, tmp_path, capsys):
    import math

    assert bench(project, "noise", tmp_path / "before", "--max-rounds", "2") == 0
    assert "smallest visible change: 1.000" in capsys.readouterr().out
    (path,) = (project / ".benchmarks" / "noise").iterdir()
    noise = json.loads(path.read_text())
    assert {name: round(floor, 9) for name, floor in noise["floors"].items()} == dict.fromkeys([*NAMES, ""], 1)
    noise["floors"] = {NAMES[0]: 1.2, "": 1.01}
    path.write_text(json.dumps(noise))
    assert compare(project, tmp_path / "before", tmp_path / "after") == 0
    tests = kept(project)["tests"]
    assert [(tests[name]["limit"], tests[name]["verdict"]) for name in NAMES] == [(1.2, "fine"), (1.05, "regression")]
    assert math.isclose(tests[NAMES[0]]["ratio"], 1.1)


def result(*verdicts, message=None, failures=()):
    tests = {
        f"t{i}": {"seconds": ([1e-3], [1.1e-3]), "ratio": 1.1, "low": 1.0, "high": 1.2, "limit": 1.05, "verdict": word}
        for i, word in enumerate(verdicts)
    }
    failures = dict.fromkeys(failures, "b: call: AssertionError: <x>")
    sides = {"a": {"name": "a"}, "b": {"name": "b"}, "machine": "here"}
    return {"tests": tests, "failures": failures, "message": message, "rounds": 7, **sides}


@pytest.mark.parametrize(
    "found, code",
    [
        (result("fine", "fine"), 0),
        (result("fine", "undecided", "regression"), 1),
        (result("fine", "undecided"), 2),
        (result("fine", failures=["t9"]), 3),
        (result("fine", message="interrupted in round 2"), 3),
    ],
)
def test_check(project, capsys, found, code):
    path = store.save_result(project, "compare", found)
    assert bench(project, "check") == bench(project, "check", path) == code
    assert ("t2" in capsys.readouterr().out) == (code == 1)


def test_check_without_or_with_a_damaged_result(project, capsys):
    assert bench(project, "check") == 3
    assert "run `fastnn bench compare A B` first" in capsys.readouterr().err
    path = project / ".benchmarks" / "fastnn" / "2026-compare.json"
    for text in ("{", "[]", '{"tests": {}}', ""):
        write(path, text)
        assert bench(project, "check") == 3
        assert str(path) in capsys.readouterr().err


def fill(project):
    names = [
        f"bench/b.py::test_inference[Net-{b}-{s}]" for b in ("native", "numpy") for s in ("per-sample", "per-batch")
    ]
    levels(project, "here", *[1e-3] * 6, *[1.3e-3] * 6)
    stored(
        project,
        "last",
        "2026-02-01T00:00:00+00:00",
        0,
        benchmarks=dict(zip(names, [4e-3, 1e-3, 9e-3, 3e-3], strict=True)),
    )
    store.save_result(project, "compare", result("fine", "regression", "undecided", failures=["t9"]))


def test_report(project, capsys):
    fill(project)
    assert bench(project, "report") == 0
    markdown = capsys.readouterr().out
    assert "| `t1` | 1 ms | 1.1 ms | 1.100 | 1.000 to 1.200 | 1.050 | regression |" in markdown
    assert "1 regression, 1 failed, 1 undecided, 1 fine" in markdown and "`t9`" in markdown and "| 1.3" in markdown
    assert "| `test_inference[Net-native-per-sample]` | 4 ms | 1 ms | 4.0x as fast |" in markdown
    page = (project / ".benchmarks" / "report.html").read_text()
    assert page.count("<figure>") == 1 and page.count("<svg") == 1
    assert not any(word in page for word in ("<script", "http://localhost", 'src="', "<link", "<x>"))
    assert "4.0x as fast" in page and "<th>native<th>numpy" in page and "<td>4 ms<td>2.25" in page


def test_any_name_of_a_test_is_one_cell_of_one_row(project, capsys):
    names = ["t[a|b]", "t[<b>`c` & \\\\d]", "t[two\nlines]", "t[日本]"]
    found = result(*["fine"] * 2, *["undecided"] * 2)
    found["tests"] = dict(zip(names, found["tests"].values(), strict=True))
    store.save_result(project, "compare", found)
    assert bench(project, "report") == 0
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    assert {line.count("|") for line in rows} == {8} and len(rows) == 8  # two tables with two heads
    assert any("`t[日本]`" in line for line in rows)
    assert any("<code>t&#91;a&#124;b&#93;</code>" in line for line in rows)


def test_exports(project, tmp_path):
    fill(project)
    github, bencher = tmp_path / "github.json", tmp_path / "bencher.json"
    assert bench(project, "report", "--github-action-benchmark", github, "--bencher", bencher) == 0
    first = json.loads(github.read_text())[0]
    assert first["unit"] == "s" and first["value"] == 4e-3 and set(first) == {"name", "unit", "value", "range"}
    metric = json.loads(bencher.read_text())["bench/b.py::test_inference[Net-native-per-sample]"]["latency"]
    assert metric["lower_value"] < metric["value"] == 4e6 < metric["upper_value"]


@pytest.mark.parametrize("text", ["{", "[1]", '{"benchmarks": []}', "\x00", '{"benchmarks": [{}], "datetime": 1}'])
@pytest.mark.parametrize("command", ["history", "report"])
def test_damaged_or_foreign_json_is_named_and_the_rest_shown(project, capsys, command, text):
    fill(project)
    write(project / ".benchmarks" / "Linux-CPython-3.11-64bit" / "0000_bad.json", text)
    assert bench(project, command) == 3
    printed = capsys.readouterr()
    assert "1.3" in printed.out and printed.err.count("\n") == 1 and "0000_bad.json" in printed.err


def test_nothing_is_stored_yet(project, capsys):
    assert bench(project, "history") == 3
    assert "no runs in" in capsys.readouterr().err
    assert bench(project, "report") == 0


# Instructions


def test_missing_valgrind(project, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert bench(project, "count", tmp_path / "before") == 3
    assert capsys.readouterr().err.startswith("fastnn bench count: valgrind is not installed")


@pytest.mark.skipif(not shutil.which("valgrind") or platform.machine() != "x86_64", reason="needs valgrind on x86-64")
def test_count_sees_one_per_cent(project, tmp_path):
    """A loop of 1,000 additions against one of 1,010."""
    plain = "import tiny\ndef test_loop(benchmark):\n    benchmark(tiny.work, 1000)\n"
    write(project / "bench/bench_tiny.py", plain)
    loop = "for i in range(n): i + 1"
    write(tmp_path / "before" / "tiny.py", tiny(1.0, loop))
    write(tmp_path / "after" / "tiny.py", tiny(1.0, loop.replace("(n)", "(n + n // 100)")))
    assert bench(project, "count", tmp_path / "before", tmp_path / "after") == 0
    (test,) = kept(project)["tests"].values()
    assert 1.007 < test["ratio"] < 1.014
    assert bench(project, "count", tmp_path / "before") == 0
    (again,) = kept(project)["tests"].values()
    assert abs(again["seconds"][0][0] / test["seconds"][0][0] - 1) < 0.001
