"""Random calls of all operations on all backends (crosscheck.py); .ci/run checks for a minute more."""

import os
import time

import crosscheck
import pytest


def test_a_few_calls():
    found, calls = crosscheck.check(range(150))
    assert calls > 75 and not found, "\n".join(found)


@pytest.mark.nightly
def test_an_hour():
    found, calls = crosscheck.check(
        iter(lambda: time.time_ns(), None), float(os.environ.get("CROSSCHECK_SECONDS", 3600))
    )
    assert calls and not found, "\n".join(found)


def test_a_wrong_result_is_found(monkeypatch):
    """Wrong by 1e-3, NaN instead of a number, a shape, an error: each is seen."""
    right = crosscheck.Call.on

    def wrong(self, target):
        results = right(self, target)
        if target == "numpy" or isinstance(results, Exception):
            return results
        return {name: value * 1.001 + 0.01 for name, value in results.items()}

    monkeypatch.setattr(crosscheck.Call, "on", wrong)
    found, calls = crosscheck.check(range(60))
    assert len(found) > calls / 2
