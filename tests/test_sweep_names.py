"""bench/sweep.py times every name that the drop-in replaces."""

import importlib.util
import sys
from pathlib import Path

import pytest

SWEEP = Path(__file__).resolve().parents[1] / "bench" / "sweep.py"


@pytest.mark.skipif(not SWEEP.is_file(), reason="needs bench/sweep.py of a checkout")
def test_every_replaced_name_has_a_row(monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path])
    spec = importlib.util.spec_from_file_location("sweep", SWEEP)
    sweep = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sweep)
    assert sweep.names_without_row() == set()
    monkeypatch.setitem(sweep.recognise.BOOK, "Another", [])
    assert sweep.names_without_row() == {"Another"}
