"""`targets`, `dtypes`: a test once on each backend and instruction set, in each dtype; fixture `table`: operations."""

import cases
import pytest

targets = pytest.mark.parametrize("target", cases.TARGETS)
dtypes = pytest.mark.parametrize("dtype", cases.DTYPES, ids=lambda d: d.__name__)


@pytest.fixture
def table(target):
    """The operations of the target, which is active during the test."""
    reason = cases.why_not(target)
    if reason:
        pytest.skip(reason)
    with cases.target(target) as table:
        yield table
