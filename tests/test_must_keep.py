"""The twenty things that scripts of the books rely on, in the readers' own `common` with its methods replaced."""

import io
import sys
from contextlib import redirect_stdout

import numpy as np
import pytest
from readers import clean as clean
from test_dropin import load

import fastnn
from fastnn.compat import book1 as compat1
from fastnn.compat import book2 as compat2


def names(book):
    """What the modules of a package `common` have, imported anew while the drop-in is on."""
    fastnn.patch()
    for name in [name for name in sys.modules if name.split(".")[0] == "common"]:
        del sys.modules[name]
    return {name: value for module in load(book) for name, value in vars(module).items()}


@pytest.fixture
def b1():
    return names("book1")


@pytest.fixture
def b2():
    return names("book2")


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_01_optimizers_take_python_floats(b1):
    for name in ("SGD", "Momentum", "AdaGrad", "Adam"):
        params = {"x": -7.0, "y": 2.0}
        b1[name](lr=0.1).update(params, {"x": -0.7, "y": 4.0})
        assert params["x"] > -7 and params["y"] < 2 and np.ndim(params["x"]) == 0


def test_02_nesterov_differs():
    one, two = {"p": np.ones(1)}, [np.ones(1)]
    first, second = compat1.Nesterov(0.1), compat2.Nesterov(0.1)
    for _ in range(2):
        first.update(one, {"p": np.ones(1)})
        second.update(two, [np.ones(1)])
    assert one["p"][0] != two[0][0]


def test_03_parameters_change_in_place(b1, rng):
    W, b = rng.standard_normal((4, 3)), np.zeros(3)
    layer, params = b1["Affine"](W, b), {"W": W, "b": b}
    x = rng.standard_normal((2, 4))
    before = layer.forward(x)
    layer.backward(before)
    b1["SGD"](0.1).update(params, {"W": layer.dW, "b": layer.db})
    assert params["W"] is W and layer.W is W
    np.testing.assert_allclose(layer.forward(x), x @ W + b, rtol=1e-12)
    layer.W = np.ones((4, 3))
    np.testing.assert_allclose(layer.forward(x), x @ np.ones((4, 3)) + b, rtol=1e-12)


def test_03_gradient_arrays_of_book_2_stay(b2, rng):
    layer = b2["Affine"](rng.standard_normal((4, 3)), np.zeros(3))
    grads = list(layer.grads)
    for _ in range(2):
        layer.forward(rng.standard_normal((2, 4)))
        layer.backward(rng.standard_normal((2, 3)))
        assert all(g is h for g, h in zip(grads, layer.grads, strict=True)) and grads[0].any()


def test_04_batch_normalization_is_per_position(b1, rng):
    x = rng.standard_normal((5, 2, 3, 3))
    layer = b1["BatchNormalization"](np.ones(18), np.zeros(18))
    out = layer.forward(x)
    np.testing.assert_allclose(out, (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-6), rtol=1e-9)
    np.testing.assert_allclose(layer.running_mean, 0.1 * x.reshape(5, 18).mean(0), rtol=1e-9)
    out += 1  # a caller may write into the result
    np.testing.assert_allclose(layer.xn.reshape(x.shape), out - 1, rtol=1e-9, atol=1e-12)


def test_05_dropout_is_not_inverted_but_time_dropout_is(b1, b2):
    x = np.ones((200, 200))
    assert set(np.unique(b1["Dropout"](0.25).forward(x))) == {0.0, 1.0}
    assert (b1["Dropout"](0.25).forward(x, False) == 0.75).all()
    layer = b2["TimeDropout"](0.5)
    assert set(np.unique(layer.forward(x.astype("f").reshape(200, 20, 10)))) == {0.0, 2.0}
    layer.train_flg = False
    assert layer.forward(x) is x


def test_06_gate_order(b2, rng):
    Wx, Wh, b = (rng.standard_normal(s).astype("f") for s in ((2, 12), (3, 12), (12,)))
    x = rng.standard_normal((1, 1, 2)).astype("f")
    layer = b2["TimeLSTM"](Wx, Wh, b)
    f, g, i, o = np.split(x[0] @ Wx + b, 4, axis=1)
    s = lambda a: 1 / (1 + np.exp(-a))  # noqa: E731
    np.testing.assert_allclose(layer.forward(x)[:, 0], s(o) * np.tanh(np.tanh(g) * s(i)), rtol=1e-5)
    assert f.shape == (1, 3)


def test_07_set_state(b2, rng):
    weights = [rng.standard_normal(s).astype("f") for s in ((2, 12), (3, 12), (12,))]
    x, h = rng.standard_normal((1, 2, 2)).astype("f"), rng.standard_normal((1, 3)).astype("f")
    stateful, other = b2["TimeLSTM"](*weights, stateful=True), b2["TimeLSTM"](*weights)
    stateful.forward(x)
    stateful.set_state(h)
    assert stateful.c is None
    plain = other.forward(x)
    other.set_state(h)
    np.testing.assert_array_equal(other.forward(x), plain)
    stateful.forward(x)
    stateful.backward(np.ones((1, 2, 3), "f"))
    assert stateful.dh.shape == (1, 3)


def test_08_losses(b1, b2):
    xs, ts = np.zeros((1, 3, 4), "f"), np.array([[1, -1, 2]])
    assert b2["TimeSoftmaxWithLoss"]().forward(xs, ts) == pytest.approx(np.log(4), rel=1e-6)
    p = np.array([[1e-9, 1 - 1e-9]])
    assert b1["cross_entropy_error"](p, np.array([0])) == pytest.approx(-np.log(1e-9 + 1e-7))


def test_09_remove_duplicate_merges_by_value(b2, rng):
    A = rng.standard_normal((4, 3))
    grads = [np.ones((4, 3)), np.ones((3, 4))]
    params, merged = b2["remove_duplicate"]([A, A.T.copy()], grads)
    assert len(params) == 1 and merged[0] is grads[0] and (grads[0] == 2).all()


def test_10_dout_of_softmax_with_loss(b1, b2, rng):
    x, t = rng.standard_normal((3, 4)), np.eye(4, dtype=int)[[0, 1, 2]]
    for classes, times, shape in ((b1, 1, (3, 4)), (b2, 5, (3,))):
        layer = classes["SoftmaxWithLoss"]()
        layer.forward(x, t)
        np.testing.assert_allclose(layer.backward(5), times * (layer.y - t) / 3, rtol=1e-9)
        assert layer.t.shape == shape


def test_11_labels_of_shape_1_1(b1, rng):
    x = rng.standard_normal((1, 4))
    layer = b1["SoftmaxWithLoss"]()
    assert np.isfinite(layer.forward(x, np.array([[2]]))) and layer.backward().shape == (1, 4)


def test_12_bias_of_a_convolution_may_be_a_number(b1):
    assert b1["Convolution"](np.ones((1, 1, 2, 2)), 0).forward(np.ones((1, 1, 3, 3))).shape == (1, 1, 2, 2)
    assert b1["im2col"](np.arange(9).reshape(1, 1, 3, 3), 2, 2).dtype == np.float64


def test_13_embedding(b2):
    layer = b2["Embedding"](np.arange(6.0).reshape(3, 2))
    assert (layer.forward(np.array([-1, 0, -1])) == [[4, 5], [0, 1], [4, 5]]).all()
    assert layer.backward(np.ones((3, 2))) is None and (layer.grads[0] == [[1, 1], [0, 0], [2, 2]]).all()
    with pytest.raises(IndexError):
        layer.forward(np.array([3]))
    assert b2["TimeEmbedding"](np.ones((3, 2))).forward(np.array([[0, 1]])).dtype == np.float32


def test_14_output_size_and_softmax(b1, rng):
    assert b1["conv_output_size"](28, 5) == 24.0 and isinstance(b1["conv_output_size"](28, 5), float)
    x = rng.standard_normal((2, 3, 4))
    np.testing.assert_allclose(b1["softmax"](x).sum(axis=-1), 1, rtol=1e-12)


def test_15_draws(b1):
    for shape in ((4, 5), (300, 100)):  # NumPy's path, and ours
        np.random.seed(2)
        mask = np.random.rand(*shape) > 0.5
        following = np.random.rand()
        np.random.seed(2)
        out = b1["Dropout"](0.5).forward(np.ones(shape))
        assert (out == mask).all() and np.random.rand() == following


def test_16_texts(b2, rng):
    words = {"a": 0, "b": 1}
    out = io.StringIO()
    with redirect_stdout(out):
        b2["most_similar"]("a", words, {0: "a", 1: "b"}, np.eye(2))
        b2["most_similar"]("c", words, {0: "a", 1: "b"}, np.eye(2))
    assert out.getvalue() == "\n[query] a\n b: 0.0\nc is not found\n"


def test_17_star_imports(b1):
    found: dict = {}
    exec("from common.layers import *", found)
    assert {"np", "im2col", "col2im", "softmax", "Affine"} <= found.keys() and found["np"] is np


def test_18_weights(b2, tmp_path):
    model = sys.modules["common.base_model"].BaseModel()
    model.params = [np.ones((2, 2), "f")]
    kept = model.params[0]
    model.save_params(str(tmp_path / "w.pkl"))
    kept[...] = 0
    model.load_params(str(tmp_path / "w.pkl"))
    assert model.params[0] is kept and (kept == 1).all()


def test_19_float64_results(b1, rng):
    x = rng.random((2, 1, 6, 6), np.float32)
    layer = b1["Convolution"](rng.standard_normal((2, 1, 3, 3)), np.zeros(2))
    out = layer.forward(x)
    assert out.dtype == layer.backward(out).dtype == layer.dW.dtype == np.float64


def test_20_eval_perplexity_finds_out_by_type_error():
    class Model:
        def forward(self, xs, ts):
            return 1.0

    with redirect_stdout(io.StringIO()):
        assert compat2.eval_perplexity(Model(), np.arange(400), 2, 5) == pytest.approx(np.e)
