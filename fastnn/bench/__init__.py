"""`fastnn bench`: pytest-benchmark's timings of two versions in turns, and what they say beyond the machine's noise.

sides.py makes the two environments, rounds.py runs them, decide.py judges, store.py keeps results, count.py counts
instructions, report.py writes pages and exports. plugin.py is the part inside pytest, and needs nothing of the rest.
"""

import importlib.util


class BenchError(Exception):
    """What the user has to be told, in one sentence; the exit code is then 3."""


def require(*modules: str) -> None:
    """BenchError with the pip command if one of the extra's modules is missing."""
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if missing:
        raise BenchError(f"{', '.join(missing)} not installed: pip install 'fastnn-kernels[bench]'")
