"""What makes the whole suite quicker.

A process of its own compiles Numba's kernels while the first tests run, which find them in the cache on disk later.
What pytest has collected is frozen, because otherwise each `gc.collect()` in a test walks through it for 0.3 s.
"""

import gc
import os
import subprocess
import sys
from pathlib import Path

import pytest

import fastnn

_MANY = 2000  # tests: fewer compile what they need themselves


@pytest.fixture(scope="session", autouse=True)
def collected_tests_frozen():
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


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
