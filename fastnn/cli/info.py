"""`fastnn info`: what fastnn runs on here, to paste into a bug report."""

import argparse
import json
import os
from importlib import metadata
from pathlib import Path

_OPTIONAL = ("numba", "scipy", "safetensors", "matplotlib", "tqdm", "pooch", "platformdirs")
_OPENMP_LIBRARIES = ("libgomp", "libomp", "libiomp")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> None:
    report = collect()
    if args.json:
        print(json.dumps(report))
        return
    width = max(map(len, report))
    for key, value in report.items():
        print(f"{key:{width}}  {_text(value)}")


def collect() -> dict:
    """`fastnn.show_config()`, and processor, OpenMP libraries, optional packages, environment and data."""
    import fastnn

    report = fastnn.show_config()
    report |= {
        "cpu": _cpu(),
        "openmp_runtime": _openmp_runtime(),
        "packages": {name: _version(name) for name in _OPTIONAL},
        "environment": {k: v for k, v in sorted(os.environ.items()) if k.startswith(("FASTNN_", "OMP_"))},
        "data": _data(),
    }
    if other := _other_fastnn():
        report["warning"] = other
    return report


def _other_fastnn() -> str | None:
    """PyPI's `fastnn` is another project with a package of the same name: two installations share one folder."""
    try:
        version = metadata.version("fastnn")
    except metadata.PackageNotFoundError:
        return None
    return (
        f"the distribution fastnn {version} is installed here too and has files in the same folder: "
        "pip uninstall fastnn fastnn-kernels, then pip install fastnn-kernels"
    )


def _text(value) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{k} {v}" for k, v in value.items()) or "none"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return str(value)


def _cpu() -> str:
    """The processor's name as Linux gives it, and how many this process may use."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{names[0] if names else 'unknown'}, {count} usable"


def _openmp_runtime() -> list[str]:
    """Paths of the OpenMP libraries that are loaded in this process (Linux)."""
    try:
        lines = Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    paths = {line.split(maxsplit=5)[5] for line in lines if "/" in line}
    return sorted(path for path in paths if Path(path).name.startswith(_OPENMP_LIBRARIES))


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"


def _data() -> str:
    from fastnn.dataset.mnist import find_mnist

    found = find_mnist()
    return f"full MNIST in {found[1]} ({found[0]})" if found else "shipped sample of MNIST; the full set was not found"
