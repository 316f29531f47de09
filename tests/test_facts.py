"""Facts about real data that must come out exactly, on every backend and instruction set."""

import os
from pathlib import Path

import cases
import numpy as np
import pytest

from fastnn import models, optimizer
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


# ---- book 1 ch. 7 and 8: images ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def images():
    """MNIST as images: (x, t) to train on, (x, t) to test on."""
    if not DATA:
        pytest.skip("FASTNN_DATA is not set: it names the folder with mnist/ and book1/*_convnet_params.pkl")
    from fastnn.dataset.mnist import load_mnist

    return load_mnist(flatten=False)


FAST = "native-avx2", "native-avx512"  # the others take 5 s or more for all images: by day they see the first 1,000


def _convnets():
    for name, model, counts in (
        ("simple", models.SimpleConvNet, {10_000: 9600, 1000: 961}), ("deep", models.DeepConvNet, {10_000: 9797}),
    ):  # fmt: skip
        for target in cases.TARGETS:
            for images, count in counts.items():
                day = target in FAST if images == 10_000 else target not in FAST
                marks = () if day else pytest.mark.nightly
                yield pytest.param(name, model, images, count, target, marks=marks, id=f"{name}-{images}-{target}")


@pytest.mark.parametrize("name, model, n, count, target", [*_convnets()], indirect=["target"])
def test_the_books_convolutional_networks(images, name, model, n, count, target):
    """Book 1's trained weights, in float64: the deep network's dropout in test mode, with the books' scaling."""
    _, (x, t) = images
    net = model(dtype="float64")
    net.load_params(Path(DATA) / "book1" / f"{name}_convnet_params.pkl")
    labels = np.concatenate([net.predict(x[i : i + 100]).argmax(axis=1) for i in range(0, n, 100)])
    assert int((labels == t[:n]).sum()) == count


@pytest.mark.nightly
def test_simple_convnet_trained_from_scratch(images):
    """Book 1 ch. 7: Adam, batches of 100, 20 epochs; float32, on the best backend."""
    (x, t), (x_test, t_test) = images
    net, adam, rng = models.SimpleConvNet(rng=0), optimizer.Adam(lr=0.001), np.random.default_rng(0)
    for _ in range(20 * 600):
        batch = rng.integers(len(x), size=100)
        adam.update(net.params, net.gradient(x[batch], t[batch]))
    assert net.accuracy(x_test, t_test) >= 0.985
