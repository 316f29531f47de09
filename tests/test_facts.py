"""Facts about real data that must come out exactly, on every backend and instruction set."""

import os
from pathlib import Path

import cases
import numpy as np
import pytest

from fastnn.layers import Affine, Sigmoid

DATA = os.environ.get("FASTNN_DATA", "")


@pytest.fixture(scope="module")
def digits():
    """MNIST's 10,000 test images and labels, and the layers of book 1 ch. 3 with its trained weights."""
    if not DATA:
        pytest.skip("FASTNN_DATA is not set: it names the folder with mnist/ and book1/sample_weight.pkl")
    from fastnn.dataset.mnist import load_mnist
    from fastnn.pickles import load_pickle

    _, (x, t) = load_mnist()
    weights = load_pickle(Path(DATA) / "book1" / "sample_weight.pkl")
    affine = [Affine(weights[f"W{i}"], weights[f"b{i}"]) for i in (1, 2, 3)]
    return x, t, [affine[0], Sigmoid(), affine[1], Sigmoid(), affine[2]]


@pytest.fixture(params=cases.TARGETS)
def target(request):
    if cases.why_not(request.param):
        pytest.skip(cases.why_not(request.param))
    with cases.target(request.param):
        yield request.param


def correct(layers, x, t):
    for layer in layers:
        x = layer.forward(x)
    return int((x.argmax(axis=1) == t).sum())


@pytest.mark.parametrize("size", [1, 100])
def test_the_books_weights_are_right_on_9352_digits(digits, target, size):
    """Book 1 ch. 3: accuracy 0.9352, image by image and in batches of 100."""
    x, t, layers = digits
    assert sum(correct(layers, x[i : i + size], t[i : i + size]) for i in range(0, len(x), size)) == 9352


def test_in_float64_too(digits, target):
    x, t, layers = digits
    assert correct(layers, x.astype(np.float64), t) == 9352
