"""Results on disk: runs in pytest-benchmark's own storage, and comparisons, counts and noise beside them."""

import errno
import hashlib
import json
import os
from datetime import UTC, datetime
from pathlib import Path

from . import BenchError


class Nothing(BenchError):
    """There is no result yet."""


FOLDER = ".benchmarks"  # pytest-benchmark's


def write(path: Path, text: str) -> None:
    """The whole file or nothing; BenchError if the disk is full or the place cannot be written."""
    part = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(text, encoding="utf-8")
        os.replace(part, path)
    except OSError as error:
        part.unlink(missing_ok=True)
        why = "the disk is full" if error.errno == errno.ENOSPC else error.strerror or str(error)
        raise BenchError(f"{path} was not written: {why}") from None


def read(path: Path, *keys: str) -> dict:
    """One JSON object that has `keys`; BenchError for anything else."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BenchError(f"{path}: {error.strerror}") from None
    except ValueError:
        raise BenchError(f"{path} is damaged or not JSON") from None
    if not isinstance(found, dict) or not set(keys) <= found.keys():
        raise BenchError(f"{path} is not a file of `fastnn bench` or pytest-benchmark")
    return found


def save_result(project: Path, kind: str, result: dict) -> Path:
    """Keep a comparison or count: FOLDER/fastnn/<time>-<kind>.json."""
    time = datetime.now(UTC)
    result |= {"kind": kind, "datetime": time.isoformat()}
    path = project / FOLDER / "fastnn" / f"{time:%Y%m%dT%H%M%S.%f}-{kind}.json"
    write(path, json.dumps(result, indent=1))
    return path


def latest_result(project: Path) -> Path:
    found = sorted((project / FOLDER / "fastnn").glob("[0-9]*-*.json"))
    if not found:
        raise Nothing(f"no comparison in {project / FOLDER}: run `fastnn bench compare A B` first")
    return found[-1]


def read_result(path: Path) -> dict:
    result = read(path, "tests", "failures", "message", "a", "b", "rounds")
    for test in result["tests"].values():
        if not isinstance(test, dict) or not {"seconds", "ratio", "low", "high", "limit", "verdict"} <= test.keys():
            raise BenchError(f"{path} is not a comparison of `fastnn bench`")
    return result


def runs(project: Path) -> tuple[list[dict], list[str]]:
    """(pytest-benchmark's stored runs by date, what was wrong with the files that are left out)."""
    good, bad = [], []
    for path in sorted((project / FOLDER).glob("*/*.json")):
        if path.parent.name in ("fastnn", "noise"):
            continue
        try:
            run = read(path, "benchmarks", "datetime", "machine_info", "commit_info")
            for bench in run["benchmarks"]:
                float(bench["stats"]["median"]), str(bench["fullname"])
            datetime.fromisoformat(run["datetime"])
        except BenchError as error:
            bad.append(str(error))
        except (TypeError, KeyError, ValueError):
            bad.append(f"{path} is not a file of pytest-benchmark")
        else:
            good.append(run | {"file": path.name})
    return sorted(good, key=lambda run: run["datetime"]), bad


def machine(info: dict) -> str:
    """What must be equal for two timings to be comparable, as text: from pytest-benchmark's machine_info."""
    ours = info.get("fastnn") or {}
    cpu = info.get("cpu") or {}
    parts = (
        ours.get("machine") or info.get("node"),
        cpu.get("brand_raw") or info.get("processor") or info.get("machine"),
        f"{cpu.get('count', '?')} cpus",
        f"{info.get('system')} {info.get('machine')}",
        f"{info.get('python_implementation')} {'.'.join(str(info.get('python_version')).split('.')[:2])}",
        f"{ours['threads']} threads" if ours.get("threads") else None,
        ours.get("isa"),
    )
    return ", ".join(str(part) for part in parts if part)


def noise_path(project: Path, machine: str) -> Path:
    return project / FOLDER / "noise" / f"{hashlib.sha256(machine.encode()).hexdigest()[:16]}.json"


def floors(project: Path, machine: str) -> dict[str, float]:
    """{test: ratio that is noise on this machine} as `fastnn bench noise` last measured it; key "" for other tests."""
    path = noise_path(project, machine)
    return read(path, "floors")["floors"] if path.exists() else {}
