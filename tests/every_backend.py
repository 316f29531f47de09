"""A fixture that runs a test once on each backend: import `backend` and say pytestmark = on_every_backend."""

import pytest

import fastnn

on_every_backend = pytest.mark.usefixtures("backend")


@pytest.fixture(params=fastnn.backends.available())
def backend(request):
    with fastnn.use_backend(request.param):
        yield request.param
