"""The readers' packages in tests/dropin, and the fixture `clean` around every test of the drop-in."""

import sys
from pathlib import Path

import pytest

from fastnn import dropin

READERS = Path(__file__).parent / "dropin"
_PACKAGES = "common", "dataset", "my_deep_learning"


@pytest.fixture(autouse=True)
def clean(monkeypatch):
    """No packages of the books from before or after; the drop-in off after each test."""
    for name in [name for name in sys.modules if "common" in name.split(".")]:
        monkeypatch.delitem(sys.modules, name)
    before = set(sys.modules)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    dropin.unpatch()
    for name in set(sys.modules) - before:
        if name.split(".")[0] in _PACKAGES:
            del sys.modules[name]
