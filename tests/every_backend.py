"""Fixtures: `backend` runs a test once on each backend (pytestmark = on_every_backend); `one_thread` limits pools."""

import pytest
import threadpoolctl

import fastnn

on_every_backend = pytest.mark.usefixtures("backend")


@pytest.fixture(params=fastnn.backends.available())
def backend(request):
    with fastnn.use_backend(request.param):
        yield request.param


@pytest.fixture
def one_thread():
    """Many small products: threads that wait for each other are slow where tests share the processors."""
    with threadpoolctl.threadpool_limits(1):
        yield
