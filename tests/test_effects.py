"""What calls do to their arguments is compared, and ours do to them what the book's do."""

import numpy as np
import pytest
from readers import clean as clean
from test_dropin import load, variation

import fastnn
from fastnn.compat import book1, book2
from fastnn.dropin import session


def residual(layers, h, dout):
    """b(r(h)) + h -> (value, its gradient)."""
    r, b = layers.Relu(), layers.Affine(np.array([[1.0, -2.0], [0.5, 1.0]]), np.ones(2))
    out = b.forward(r.forward(h)) + h
    return out, r.backward(b.backward(dout)) + dout


def test_a_residual_block_computes_the_same(tmp_path):
    h, dout = np.array([[1.0, -2.0], [-3.0, 0.5]]), np.array([[0.1, 0.2], [0.3, 0.4]])
    with fastnn.patched():
        (layers,) = load("book1", "layers")
        ours = residual(layers, h.copy(), dout.copy())
    theirs = residual(layers, h.copy(), dout.copy())
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)


def test_a_residual_block_with_a_relu_in_place(tmp_path):
    h = np.array([[1.0, -2.0], [-3.0, 0.5]])
    with fastnn.patched():
        layers = variation(tmp_path, "book1", "layers", {"out = x.copy()": "out = x"})
        assert "its argument afterwards" in session.active.replacements.kept["common.layers.Relu"]
        ours = residual(layers, h.copy(), np.ones((2, 2)))
    theirs = residual(layers, h.copy(), np.ones((2, 2)))
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)


@pytest.mark.parametrize("dtype", ["f8", "f4", "f2", "i8"])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("backend", ["native", "numpy", "numba"])
def test_relu_overwrites_dout_and_returns_it(dtype, order, backend):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(7, 30))
    dout = np.asarray(10 * rng.normal(size=(7, 30)), dtype, order=order)
    expected = np.where(x > 0, dout, 0)
    with fastnn.use_backend(backend):
        layer = book1.Relu()
        layer.forward(x)
        assert layer.backward(dout) is dout
    np.testing.assert_array_equal(dout, expected)
    frozen = np.ones((7, 30))
    frozen.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        layer.backward(frozen)


def test_relu_backward_into_its_argument():
    from fastnn import ops

    x = np.random.default_rng(0).normal(size=1001)
    for backend in ("native", "numpy", "numba"):
        with fastnn.use_backend(backend):
            _, mask = ops.relu_forward(x)
            dout = np.arange(1001.0)
            assert ops.relu_backward(dout, mask, dout) is dout
            np.testing.assert_array_equal(dout, np.where(x > 0, np.arange(1001.0), 0))
            shifted = np.arange(1002.0)  # overlapping, not the same
            ops.relu_backward(shifted[:-1], mask, shifted[1:])
            np.testing.assert_array_equal(shifted[1:], np.where(x > 0, np.arange(1001.0), 0))


def test_indices_of_time_embedding_are_read_again():
    """By backward, as the book's does: also those that are not contiguous."""
    layer, xs = book2.TimeEmbedding(np.ones((5, 2))), np.zeros((3, 2), int)
    layer.forward(xs.T)
    xs[...] = 4
    layer.backward(np.ones((2, 3, 2), "f"))
    assert layer.grads[0][0, 0] == 0 and layer.grads[0][4, 0] == 6


@pytest.mark.parametrize("order", ["C", "F"])
def test_an_input_that_was_changed_after_forward_is_noticed(order):
    """The book keeps a copy made of it; ours the array itself."""
    x = np.asarray(np.random.default_rng(0).normal(size=(4, 2, 9, 9)), order=order)
    conv = book1.Convolution(np.ones((3, 2, 3, 3)), np.zeros(3))
    norm = book1.BatchNormalization(np.ones(162), np.zeros(162))
    for layer in (conv, norm):
        for _ in range(2):
            out = layer.forward(x)
            assert np.isfinite(layer.backward(out)).all()
        out = layer.forward(x)
        x += 1
        if layer is conv or order == "C":  # rows of images in another order are a copy
            with pytest.raises(RuntimeError, match="x was changed in place after forward"):
                layer.backward(out)
        layer.forward(x)
        assert np.isfinite(layer.backward(out)).all()


def test_softmax_with_loss_of_2016():
    x, t = np.array([[0.0, 2000.0], [1.0, 0.0]]), np.array([0, 0])
    for book in (book1, book2):
        layer = book.SoftmaxWithLossOf2016()
        with np.errstate(divide="ignore"):
            assert layer.forward(x, t) == np.inf
        assert layer.forward(x[1:], t[1:]) == pytest.approx(np.log(1 + np.exp(-1)), rel=1e-12)
        np.testing.assert_allclose(layer.backward(1), layer.y - [[1, 0]], rtol=1e-12)


def test_gru_of_2018():
    """Without a bias; parameters and gradients are attributes."""
    rng = np.random.default_rng(1)
    Wx, Wh, xs, dhs = (rng.normal(size=s) for s in ((3, 12), (4, 12), (2, 3, 3), (2, 3, 4)))
    Wx, Wh, xs, dhs = (a.astype("f") for a in (Wx, Wh, xs, dhs))

    class TimeGRU(book2.TimeGRUOf2018):
        def __init__(self, Wx, Wh, stateful=False):
            self.Wx, self.Wh, self.dWx, self.dWh = Wx, Wh, None, None
            self.layers = self.h = self.dh = None
            self.stateful = stateful

    class GRU(book2.GRUOf2018):
        def __init__(self, Wx, Wh):
            self.Wx, self.Wh, self.dWx, self.dWh, self.cache = Wx, Wh, None, None, None

    whole = TimeGRU(Wx, Wh)
    hs, dxs = whole.forward(xs), whole.backward(dhs)
    steps, h = [GRU(Wx, Wh) for _ in range(3)], np.zeros((2, 4), "f")
    for t, step in enumerate(steps):
        h = step.forward(xs[:, t], h)
        np.testing.assert_allclose(h, hs[:, t], rtol=1e-5)
    dh, dWx = 0, 0
    for t in reversed(range(3)):
        dx, dh = steps[t].backward(dhs[:, t] + dh)
        dWx = dWx + steps[t].dWx
        np.testing.assert_allclose(dx, dxs[:, t], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(dWx, whole.dWx, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(dh, whole.dh, rtol=1e-4, atol=1e-6)
