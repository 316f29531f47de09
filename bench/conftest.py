"""Benchmarks run on one thread: pools of several libraries that wait for each other on the same cores say nothing."""

import pytest
import threadpoolctl

import fastnn


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    before = fastnn.get_num_threads()
    fastnn.set_num_threads(1)
    with threadpoolctl.threadpool_limits(1):
        yield
    fastnn.set_num_threads(before)
