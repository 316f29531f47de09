"""Gradients of tables by rows: the optimizers change what the dense gradient would, on every backend."""

import numpy as np
import pytest
from every_backend import backend as backend
from every_backend import on_every_backend

from fastnn import ops, optimizer
from fastnn.ops import RowGradient

pytestmark = on_every_backend

OPTIMIZERS = {
    "sgd": lambda **o: optimizer.SGD(0.1, **o),
    "momentum": lambda **o: optimizer.Momentum(0.1, **o),
    "nesterov": lambda **o: optimizer.Nesterov(0.1, **o),
    "adagrad": lambda **o: optimizer.AdaGrad(0.1, **o),
    "rmsprop": lambda **o: optimizer.RMSprop(0.1, **o),
    "adam": lambda **o: optimizer.Adam(0.1, **o),
}


def row_gradient(dout, index, W):
    g = RowGradient(W.shape, W.dtype)
    g.rows, g.values = ops.embedding_backward_rows(dout, index, len(W))
    return g


def problem(dtype, index, V=30, D=7):
    rng = np.random.default_rng(3)
    W, b = rng.standard_normal((V, D)).astype(dtype), rng.standard_normal(5).astype(dtype)
    dout, db = rng.standard_normal((*np.shape(index), D)).astype(dtype), rng.standard_normal(5).astype(dtype)
    return W, b, dout, db


@pytest.mark.parametrize("options", [{}, {"clip_norm": 0.5}, {"clip_value": 0.3}, {"weight_decay": 0.1}], ids=str)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_update_by_rows_is_the_dense_one_on_these_rows(name, dtype, options):
    """All rows of the first step occur again in the second, so that lazy state does not differ."""
    first, second = np.array([[3, 4, 3], [29, 0, 4]]), np.array([4, 3, 0, 29, 0])
    W, b, *_ = problem(dtype, first)
    dense, rows = [W.copy(), b.copy()], [W.copy(), b.copy()]
    by_dense, by_rows = OPTIMIZERS[name](**options), OPTIMIZERS[name](**options)
    for index in first, second:
        _, _, dout, db = problem(dtype, index)
        g = row_gradient(dout, index, W)
        by_dense.update(dense, [ops.embedding_backward(dout, index, len(W)), db])
        by_rows.update(rows, [g, db])
        touched = np.unique(index)
        np.testing.assert_allclose(rows[0][touched], dense[0][touched], 1e-5, 1e-6)
        np.testing.assert_allclose(rows[1], dense[1], 1e-5, 1e-6)
        untouched = np.setdiff1d(np.arange(len(W)), touched)
        np.testing.assert_array_equal(rows[0][untouched], W[untouched])


def test_norm_and_scale_see_the_values_of_a_row_gradient():
    index = np.array([2, 5, 2])
    W, _, dout, db = problem(np.float32, index)
    g = row_gradient(dout, index, W)
    dense = np.asarray(g)
    np.testing.assert_array_equal(dense, ops.embedding_backward(dout, index, len(W)))
    assert ops.grad_norm([g, db]) == pytest.approx(ops.grad_norm([dense, db]), rel=1e-6)
    ops.scale_arrays([g], 0.5)
    np.testing.assert_array_equal(np.asarray(g), dense * np.float32(0.5))


@pytest.mark.parametrize("bad", [30, -31])
def test_an_index_outside_the_table_is_named(bad):
    W, _, dout, _ = problem(np.float32, np.zeros((2, 3)))
    index = np.array([[0, 1, 2], [3, bad, 5]])
    for call in (
        lambda: ops.embedding_forward(W, index),
        lambda: ops.embedding_backward(dout, index, 30),
        lambda: ops.embedding_backward_rows(dout, index, 30),
    ):
        with pytest.raises(IndexError, match=rf"index\[1, 1\] is {bad} but W has V = 30 rows"):
            call()


def test_bad_input_is_explained():
    W, _, dout, _ = problem(np.float32, np.zeros(3))
    with pytest.raises(TypeError, match="index has dtype float64"):
        ops.embedding_forward(W, np.array([0.0, 1.0]))
    with pytest.raises(ValueError, match=r"W is \(7,\); it must have 2 dimensions"):
        ops.embedding_forward(W[0], np.array([0]))
    with pytest.raises(ValueError, match="dout must have one row for each index"):
        ops.embedding_backward(dout, np.array([0, 1]), 30)
    with pytest.raises(ValueError, match="V is -1"):
        ops.embedding_backward(dout, np.array([0, 1, 2]), -1)
    with pytest.raises(ValueError, match=r"dW is \(29, 7\) but the result is \(30, 7\)"):
        ops.embedding_backward(dout, np.array([0, 1, 2]), 30, np.zeros((29, 7), np.float32))
    g = row_gradient(dout, np.array([0, 1, 29]), W)
    with pytest.raises(IndexError, match=r"grads\[0\] has rows 0 to 29"):
        ops.sgd_update([W[:20].copy()], [g], 0.1)
    with pytest.raises(ValueError, match=r"params\[0\] is \(30, 6\) but grads\[0\]"):
        ops.sgd_update([W[:, :6].copy()], [g], 0.1)


def test_lists_and_numbers_are_taken():
    W = np.arange(6.0).reshape(3, 2)
    np.testing.assert_array_equal(ops.embedding_forward(W.tolist(), [[2, 0]]), [[[4, 5], [0, 1]]])
    np.testing.assert_array_equal(ops.embedding_forward(W, 2), [4, 5])
    assert ops.embedding_forward(W.astype(np.float16), [1]).dtype == np.float16
    assert ops.embedding_forward(W, []).shape == (0, 2)
