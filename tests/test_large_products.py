"""Products just over the sizes at which they are cut for the caches: right, and the same bits however they are cut."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import fastnn
from fastnn import layers, ops

# (N, D, M): few rows of a W that exceeds L2; rows far apart; blocks and a tail; many rows; a cut between columns
SHAPES = (8, 700, 1037), (23, 513, 1024), (30, 801, 4001), (49, 1603, 2056), (513, 801, 497), (1030, 130, 1301)
TYPES = "f", "d"


def arrays(N, D, M, dtype):
    rng = np.random.RandomState(0)
    return [rng.randint(-3, 4, shape).astype(dtype) for shape in ((N, D), (D, M), (M,), (N, M))]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", TYPES)
def test_small_integers_are_exact(shape, dtype):
    x, W, b, dout = arrays(*shape, dtype)
    wide = [a.astype("d") for a in (x, W, b, dout)]
    assert_array_equal(ops.affine_forward(x, W, b), wide[0] @ wide[1] + wide[2])
    for ours, right in zip(
        ops.affine_backward(dout, x, W),
        (wide[3] @ wide[1].T, wide[0].T @ wide[3], wide[3].sum(axis=0)),
        strict=True,
    ):
        assert_array_equal(ours, right)


@pytest.mark.parametrize("shape", SHAPES)
def test_layouts_give_the_same_bits(shape):
    x, W, b, _ = (a + np.float32(0.1) for a in arrays(*shape, "f"))
    expected = ops.affine_forward(x, W, b)
    assert_array_equal(ops.matmul(np.asfortranarray(x), np.asfortranarray(W)) + b, ops.matmul(x, W) + b)
    assert_array_equal(ops.affine_forward(x, np.asfortranarray(W), b), expected)


def test_each_element_depends_on_its_row_and_column_alone():
    x, W, b, _ = arrays(49, 1603, 2056, "f")
    x[7, 1602], W[3, 1000] = np.nan, np.inf
    out = ops.affine_forward(x, W, b)
    assert np.isnan(out[7]).all()
    assert not np.isfinite(np.delete(out[:, 1000], np.flatnonzero(x[:, 3] == 0))).any()
    assert np.isfinite(np.delete(np.delete(out, 7, 0), 1000, 1)).all()


@pytest.mark.parametrize("dtype", TYPES)
def test_a_call_that_looks_for_interrupts_sums_as_its_parts(dtype):
    x, W, b, _ = arrays(70, 6000, 5000, dtype)
    out = ops.affine_forward(x, W, b, activation="relu")
    assert_allclose(out[:2, :7], np.maximum(x[:2].astype("d") @ W[:, :7].astype("d") + b[:7], 0))
    assert_array_equal(out[-1], np.maximum(x[-1].astype("d") @ W.astype("d") + b, 0))


@pytest.mark.nightly
def test_a_plan_sums_as_its_layers_where_calls_are_cut():
    x, W, b, _ = (a * np.float32(0.1) + np.float32(0.01) for a in arrays(70, 6000, 5000, "f"))
    t = np.arange(70)
    affine, relu, loss = layers.Affine(W.copy(), b.copy()), layers.Relu(), layers.SoftmaxWithLoss()
    network = fastnn.Network([layers.Affine(W, b), layers.Relu()], layers.SoftmaxWithLoss())
    assert_array_equal(network.predict(x), relu.forward(affine.forward(x)))
    network.gradient(x, t)
    loss.forward(relu.forward(affine.forward(x)), t)
    affine.backward(relu.backward(loss.backward()))
    for ours, alone in zip(network.grads, affine.grads, strict=True):
        assert_array_equal(ours, alone)
