"""Rewrite fastnn/_core.pyi from the installed extension module: python tools/make_stub.py [--check]."""

import subprocess
import sys
import tempfile
from pathlib import Path

TARGET = Path(__file__).resolve().parents[1] / "fastnn" / "_core.pyi"


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pybind11_stubgen", "fastnn._core", "-o", folder, "--ignore-all-errors"]
        subprocess.run(command, check=True, cwd=folder)
        made = Path(folder) / "fastnn" / "_core.pyi"
        subprocess.run([sys.executable, "-m", "ruff", "format", "-q", "--line-length", "120", made], check=True)
        text = made.read_text(encoding="utf-8")
    if "--check" in sys.argv:
        return int(text != TARGET.read_text(encoding="utf-8"))
    TARGET.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
