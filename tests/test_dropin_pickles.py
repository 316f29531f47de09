"""Layers that are pickled or copied while the drop-in is on, between forward and backward: every class of the books."""

import copy
import importlib
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from readers import READERS
from readers import clean as clean

import fastnn
from fastnn import dropin


def made(book):
    """{name: (layer, arguments of forward)} of every class of a book, in float64."""
    sys.path.insert(0, str(READERS / book))
    module = importlib.import_module("common.layers" if book == "book1" else "common.time_layers")
    rng = np.random.default_rng(5)

    def a(*shape):
        return rng.standard_normal(shape)

    x, xs, h = a(6, 5), a(3, 4, 5), a(3, 2)
    ids, labels = np.array([[0, 3], [3, 1], [6, 3]]), np.array([1, 0, 4, 3, 2, 2])
    recurrent = {gates: (a(5, 2 * gates), a(2, 2 * gates), a(2 * gates)) for gates in (1, 3, 4)}  # Wx, Wh, b of H = 2
    of_book = {
        "book1": {
            "Relu": ((), (x,)),
            "Sigmoid": ((), (x,)),
            "Affine": ((a(5, 3), a(3)), (x,)),
            "SoftmaxWithLoss": ((), (x, labels)),
            "Dropout": ((0.4,), (x,)),
            "BatchNormalization": ((a(5), a(5)), (x,)),
            "Convolution": ((a(3, 2, 3, 3), a(3), 1, 1), (a(2, 2, 6, 6),)),
            "Pooling": ((2, 2), (a(2, 2, 6, 6),)),
        },
        "book2": {
            "MatMul": ((a(5, 3),), (x,)),
            "Affine": ((a(5, 3), a(3)), (x,)),
            "Softmax": ((), (x,)),
            "SoftmaxWithLoss": ((), (x, labels)),
            "Sigmoid": ((), (x,)),
            "SigmoidWithLoss": ((), (x[:, 0], labels % 2)),
            "Dropout": ((0.4,), (x,)),
            "Embedding": ((a(7, 3),), (ids,)),
            "RNN": (recurrent[1], (x[:3], h)),
            "LSTM": (recurrent[4], (x[:3], h, a(3, 2))),
            "GRU": (recurrent[3], (x[:3], h)),
            "TimeRNN": (recurrent[1], (xs,)),
            "TimeLSTM": ((*recurrent[4], True), (xs,)),
            "TimeGRU": (recurrent[3], (xs,)),
            "TimeBiLSTM": ((*recurrent[4], *recurrent[4]), (xs,)),
            "TimeEmbedding": ((a(7, 3),), (ids,)),
            "TimeAffine": ((a(5, 3), a(3)), (xs,)),
            "TimeSoftmaxWithLoss": ((), (xs, labels.reshape(3, 2).repeat(2, axis=1))),
            "TimeSigmoidWithLoss": ((), (xs[:, :, 0], (xs[:, :, 1] > 0).astype(int))),
            "TimeDropout": ((0.4,), (xs,)),
        },
    }[book]
    return {name: (getattr(module, name)(*given), args) for name, (given, args) in of_book.items()}


def douts(book, outs):
    """Gradients for the results of forward; None, the default, for a loss."""
    rng = np.random.default_rng(6)
    found = {}
    for name, out in outs.items():
        first, *_ = out if isinstance(out, tuple) else (out,)
        one = () if np.ndim(first) == 0 else (rng.standard_normal(first.shape),)
        found[name] = one if name != "LSTM" else (*one, rng.standard_normal(first.shape))
    return found


def backward(layers, given):
    """What backward returns and leaves, as arrays: {"name number": array}."""
    found = {}
    for name, layer in layers.items():
        result = layer.backward(*(np.copy(a) for a in given[name]))
        more = [getattr(layer, n) for n in ("dW", "db", "dgamma", "dbeta", "dh") if getattr(layer, n, None) is not None]
        values = [*(result if isinstance(result, tuple) else [result]), *more, *getattr(layer, "grads", [])]
        found |= {f"{name} {i}": np.array(value) for i, value in enumerate(values) if value is not None}
    return found


def forward(of_book):
    np.random.seed(3)
    return {name: layer.forward(*copy.deepcopy(args)) for name, (layer, args) in of_book.items()}


READ = """
import pickle, sys
import numpy as np
sys.path[:0] = sys.argv[1:3]
import test_dropin_pickles as test
layers, given = pickle.load(open("layers.pkl", "rb"))
np.savez("grads.npz", **test.backward(layers, given))
assert not [module for module in sys.modules if module.startswith("fastnn.compat")]
"""


@pytest.mark.parametrize("book", ["book1", "book2"])
def test_gradients_of_layers_that_left_between_forward_and_backward(book, tmp_path):
    original = made(book)
    given = douts(book, forward(original))
    expected = backward({name: layer for name, (layer, _) in original.items()}, given)
    fastnn.patch()
    of_book = made(book)
    forward(of_book)
    layers = {name: layer for name, (layer, _) in of_book.items()}
    assert any("_saved" in vars(layer) for layer in layers.values())
    twins = {"copy": copy.copy, "deepcopy": copy.deepcopy}
    copies = {how: {name: twin(layer) for name, layer in layers.items()} for how, twin in twins.items()}
    (tmp_path / "layers.pkl").write_bytes(pickle.dumps((layers, given)))
    # what stays here goes on, by our methods
    got = {how: backward(copies[how], given) for how in ("deepcopy", "copy")}
    assert type(layers["Dropout"]).backward.__module__ == "fastnn.compat.book1"
    again = made(book)
    forward(again)
    dropin.unpatch()
    got["unpatched"] = backward({name: layer for name, (layer, _) in again.items()}, given)
    command = [sys.executable, "-c", READ, str(READERS / book), str(Path(__file__).parent)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env={**os.environ}, timeout=120)
    assert done.returncode == 0, done.stderr
    got["pickle"] = dict(np.load(tmp_path / "grads.npz"))
    for how, values in got.items():
        assert values.keys() == expected.keys(), how
        for name, value in values.items():
            tolerance = 1e-6 if "Time" in name else 1e-9  # these results are float32
            np.testing.assert_allclose(value, expected[name], rtol=tolerance, atol=tolerance, err_msg=f"{how} {name}")


def test_what_a_class_does_when_it_is_pickled_stays_and_comes_back(tmp_path):
    """A reader's own __getstate__ and __deepcopy__ see the book's attributes; unpatch takes ours away again."""
    folder = tmp_path / "common"
    folder.mkdir()
    text = (READERS / "book1" / "common" / "layers.py").read_text()
    method = """
    def __getstate__(self):
        return {"mask": self.__dict__["mask"], "mine": 7}

    def __deepcopy__(self, memo):
        twin = Relu()
        twin.mask = self.__dict__["mask"].copy()
        return twin

    def forward(self, x):
        self.mask = x <= 0
"""
    text = text.replace("    def forward(self, x):\n        self.mask = x <= 0\n", method[1:], 1)
    for path in (READERS / "book1" / "common").glob("*.py"):
        (folder / path.name).write_text(text if path.stem == "layers" else path.read_text())
    sys.path.insert(0, str(tmp_path))
    importlib.invalidate_caches()
    Relu = importlib.import_module("common.layers").Relu
    before = dict(vars(Relu))
    x = np.array([[-1.0, 2.0, 0.0]])
    with fastnn.patched():
        assert vars(Relu)["forward"] is not before["forward"]
        layer = Relu()
        layer.forward(x)
        twin = copy.deepcopy(layer)
        layer.forward(-x)
        read = pickle.loads(pickle.dumps(layer))
    assert dict(vars(Relu)) == before
    assert vars(read)["mine"] == 7
    np.testing.assert_array_equal(twin.backward(np.ones((1, 3))), [[0, 1, 0]])
    np.testing.assert_array_equal(read.backward(np.ones((1, 3))), [[1, 0, 0]])
    np.testing.assert_array_equal(layer.backward(np.ones((1, 3))), [[1, 0, 0]])


def test_forward_by_the_original_and_backward_by_ours():
    """Patched between the two: layers over time take the steps that the original has left."""
    of_book = made("book2")
    given = douts("book2", forward(of_book))
    layers = {name: layer for name, (layer, _) in of_book.items()}
    expected = backward(copy.deepcopy(layers), given)
    with fastnn.patched():
        got = backward(layers, given)
    for name, value in got.items():
        np.testing.assert_allclose(value, expected[name], rtol=1e-6, atol=1e-6, err_msg=name)
