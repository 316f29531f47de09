"""`--float32` on the books' float64 data: every layer computes in float32, numerical gradients do not."""

import importlib
import sys

import numpy as np
import pytest
import test_dropin_pickles as layers_of_books
from readers import READERS
from readers import clean as clean

import fastnn
from fastnn import gradient
from fastnn.dropin import session


@pytest.mark.parametrize("book", ["book1", "book2"])
def test_every_layer_computes_in_float32_and_converts_nothing_itself(book):
    original = layers_of_books.made(book)
    given = layers_of_books.douts(book, layers_of_books.forward(original))
    expected = layers_of_books.backward({name: layer for name, (layer, _) in original.items()}, given)
    fastnn.patch(float32=True, report=True)
    of_book = layers_of_books.made(book)
    layers_of_books.forward(of_book)
    got = layers_of_books.backward({name: layer for name, (layer, _) in of_book.items()}, given)
    if fastnn.backends.active_name == "native":  # the others copy masks and the state of Dropout's generator
        assert [reason for entry in session.active.recorder.entries.values() for reason in entry.reasons] == []
    for name, value in expected.items():
        error = np.abs(value - got[name]).max() / np.abs(value).max()
        assert error < 2e-6, (name, error)
        if not name.startswith("TimeDropout"):  # has nothing to round: a mask
            assert error > 1e-12, (name, "is float64's")


def test_one_hot_targets_of_float64():
    fastnn.patch(float32=True, report=True)
    sys.path.insert(0, str(READERS / "book1"))
    loss = importlib.import_module("common.layers").SoftmaxWithLoss()
    loss.forward(np.linspace(-1, 1, 12).reshape(3, 4), np.eye(4)[:3])
    assert loss.backward().dtype == np.float32
    assert [reason for entry in session.active.recorder.entries.values() for reason in entry.reasons] == []


def test_numerical_gradients_are_float64s(capsys):
    """Central differences with steps of 1e-4 would be noise in float32. The reader is told once."""
    sys.path.insert(0, str(READERS / "book1"))
    module = importlib.import_module("common.multi_layer_net")
    codes = [f.__code__ for f in (gradient.numerical_gradient, gradient._network_gradient, module.numerical_gradient)]
    rng = np.random.default_rng(0)
    x, t = rng.random((5, 6)).astype("f"), rng.integers(0, 3, 5)

    def differences():
        np.random.seed(0)
        net = module.MultiLayerNet(6, [4], 3, activation="sigmoid")
        backward, numerical = net.gradient(x, t), net.numerical_gradient(x, t)
        return max(np.abs(backward[k] - numerical[k]).max() / np.abs(backward[k]).max() for k in backward)

    plain = differences()
    assert capsys.readouterr().err == ""
    with fastnn.patched(float32=True):
        first, second = differences(), differences()
        f = fastnn.functions.sigmoid
        ours = gradient.numerical_gradient(lambda v: f(v).sum(), np.linspace(-1, 1, 5))
        assert f(np.ones(2)).dtype == np.float32  # casts are on again
    assert plain < 1e-6 and first == second < 1e-5, (plain, first)
    y = 1 / (1 + np.exp(-np.linspace(-1, 1, 5)))
    np.testing.assert_allclose(ours, y * (1 - y), rtol=1e-7)
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and err.startswith("fastnn: --float32: numerical gradients are computed in float64")
    after = [f.__code__ for f in (gradient.numerical_gradient, gradient._network_gradient, module.numerical_gradient)]
    assert codes == after


def test_verifying_float32_allows_its_rounding():
    fastnn.patch(float32=True, verify=True)
    of_book = layers_of_books.made("book2")
    outs = layers_of_books.forward(of_book)
    layers_of_books.backward(
        {name: layer for name, (layer, _) in of_book.items()}, layers_of_books.douts("book2", outs)
    )
    found = session.active.recorder.verifier.results
    assert {label: v.failure or v.skipped for label, v in found.items() if v.failure or v.skipped} == {}
    assert found["Softmax.backward"].checked == 1 and found["Softmax.backward"].tolerance == 1e-5
    assert session.verified()
