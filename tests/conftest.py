"""Numba's kernels are compiled by a process of its own while the first tests run, and lie in the cache on disk then."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import fastnn

_MANY = 2000  # tests: fewer compile what they need themselves


@pytest.fixture(scope="session", autouse=True)
def kernels_compiled_ahead(request):
    many = len(request.session.items) >= _MANY and (os.cpu_count() or 1) > 1
    if not many or "numba" not in fastnn.backends.available():
        yield
        return
    nice = "import os; hasattr(os, 'nice') and os.nice(10)"
    command = [sys.executable, "-c", f"{nice}; import cases; cases.compile_all()"]
    with subprocess.Popen(command, cwd=Path(__file__).parent, stdout=subprocess.DEVNULL) as process:
        yield
        process.kill()
