"""Tied weights: W, and its gradient, as transposed views of C-contiguous matrices; by the native operations."""

import cases
import numpy as np
import pytest
from cases._common import turned
from every_backend import one_thread  # noqa: F401

from fastnn import layers, models, ops, optimizer
from fastnn.network import Network
from fastnn.trainer import remove_duplicate, training_step

_core = pytest.importorskip("fastnn._core")
pytestmark = pytest.mark.usefixtures("one_thread")
dtypes = pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=lambda d: d.__name__)
SHAPES = [(0, 3, 4), (1, 650, 1000), (2, 3, 4), (5, 100, 517), (9, 20, 1), (64, 1, 9), (33, 17, 18), (65, 64, 1003)]


@pytest.fixture(params=_core.available_isas())
def isa(request):
    with cases.target(f"native-{request.param}"):
        yield request.param


def arguments(dtype, N, D, M):
    rng = np.random.default_rng([N, D, M])
    return [rng.standard_normal(shape).astype(dtype) for shape in ((N, D), (D, M), (M,), (N, M))]


def same(results, expected):
    for a, b in zip(results, expected, strict=True):
        np.testing.assert_array_equal(a, b)


@dtypes
@pytest.mark.parametrize("shape", [*SHAPES, (600, 130, 70), (300, 500, 2056), (1500, 130, 7000)])
def test_the_bits_are_those_of_a_copy(isa, dtype, shape):
    x, W, b, dout = arguments(dtype, *shape)
    own = turned(W)
    same([_core.affine_forward(x, own, b, "relu")], [_core.affine_forward(x, W, b, "relu")])
    expected = _core.affine_backward(dout, x, W)
    dW = turned(np.full_like(W, np.nan))
    results = _core.affine_backward(dout, x, own, dW)
    assert results[1] is dW
    same(results, expected)
    same(_core.affine_backward(dout, x, own), expected)
    dW = turned(np.full_like(W, np.nan))
    same(_core.affine_backward(dout, x, W, dW), expected)


@dtypes
@pytest.mark.parametrize("shape", [*SHAPES[1:], (197, 30, 22001)])
def test_the_bits_of_many_classes(isa, dtype, shape):
    x, W, b, _ = arguments(dtype, *shape)
    t, dW = np.arange(len(x)) % W.shape[1], turned(np.full_like(W, np.nan))
    expected = _core.affine_softmax_cross_entropy(x, W, b, t)
    results = _core.affine_softmax_cross_entropy(x, turned(W), b, t, None, None, 0.0, 0.0, True, dW)
    assert results[2] is dW
    same(results, expected)


def test_float32_images_and_float64_weights():
    x, W, b, dout = arguments(np.float64, 9, 20, 30)
    x = x.astype(np.float32)
    same([_core.affine_forward(x, turned(W), b)], [_core.affine_forward(x, W, b)])
    same(_core.affine_backward(dout, x, turned(W)), _core.affine_backward(dout, x, W))
    x, W, b, dout = arguments(np.float32, 9, 20, 30)
    x, dout = x.astype(np.float64), dout.astype(np.float64)
    same([ops.affine_forward(x, turned(W), b)], [ops.affine_forward(x, W, b)])
    same(ops.affine_backward(dout, x, turned(W)), ops.affine_backward(dout, x, W))


def strided(W):
    wide = np.zeros((W.shape[1], 2 * W.shape[0]), W.dtype)
    wide[:, ::2] = W.T
    return wide[:, ::2].T


def part(W):
    """Of rows that are longer than they need be."""
    wide = np.zeros((W.shape[1], W.shape[0] + 3), W.dtype)
    wide[:, : W.shape[0]] = W.T
    return wide[:, : W.shape[0]].T


def shifted(W):
    memory = np.zeros(W.nbytes + 1, np.uint8)[1:].view(W.dtype).reshape(W.shape[::-1]).T
    memory[...] = W
    return memory


OTHER = [
    strided, part, shifted, lambda W: turned(W[::-1])[::-1], lambda W: turned(W[:, ::-1])[:, ::-1],
    lambda W: turned(W).astype(W.dtype.newbyteorder()), lambda W: turned(W).view(type("Own", (np.ndarray,), {})),
]  # fmt: skip


@pytest.mark.parametrize("view", OTHER)
def test_other_strides_are_converted(view):
    """The native operation declines them; the public one gives the same numbers, also into such a dW."""
    x, W, b, dout = arguments(np.float32, 5, 6, 7)
    given, t = view(W), np.arange(5)
    np.testing.assert_array_equal(given, W)
    assert _core.affine_forward(x, given, b) is None
    assert _core.affine_backward(dout, x, given) is None
    assert _core.affine_softmax_cross_entropy(x, given, b, t) is None
    same([ops.affine_forward(x, given, b)], [ops.affine_forward(x, W, b)])
    same(ops.affine_backward(dout, x, given), ops.affine_backward(dout, x, W))
    dW = view(np.full_like(W, np.nan))
    assert _core.affine_backward(dout, x, W, dW) is None
    assert np.isnan(dW).all()
    if dW.dtype == np.float32:
        results = ops.affine_backward(dout, x, W, dW)
        assert results[1] is dW
        same(results, ops.affine_backward(dout, x, W))


def test_shapes_that_do_not_fit():
    x, W, _, dout = arguments(np.float32, 5, 6, 7)
    with pytest.raises(ValueError, match=r"affine_forward: x is \(5, 6\) but W is \(7, 6\)"):
        ops.affine_forward(x, W.T, None)
    with pytest.raises(ValueError, match=r"affine_backward: dW is \(7, 6\) but the result is \(6, 7\)"):
        ops.affine_backward(dout, x, turned(W), W.T)
    dW = turned(W)
    dW.flags.writeable = False
    with pytest.raises(ValueError, match="affine_backward: dW is read-only"):
        ops.affine_backward(dout, x, W, dW)
    t = np.arange(5)
    with pytest.raises(ValueError, match=r"x is \(5, 6\) but W is \(7, 6\)"):
        ops.affine_softmax_cross_entropy(x, W.T, None, t)


def test_outputs_in_the_memory_of_inputs():
    """Computed beside it and then copied."""
    x, W, _, dout = arguments(np.float32, 5, 6, 7)
    expected = ops.affine_backward(dout, x, W)
    tied = turned(W)
    assert _core.affine_backward(dout, x, tied, tied) is None
    results = ops.affine_backward(dout, x, tied, tied)
    assert results[1] is tied
    same(results, expected)


@pytest.mark.parametrize("V", [11, 2003])  # a product and a loss, and both as one operation
@pytest.mark.parametrize("rule", [
    lambda: optimizer.SGD(0.1), lambda: optimizer.Momentum(0.1), lambda: optimizer.Adam(0.1),
    lambda: optimizer.SGD(0.1, clip_norm=0.25),
])  # fmt: skip
def test_one_native_plan(V, rule):
    """The whole step of a BetterRnnlm, with the losses and parameters of the layers one by one."""
    one, other = (models.BetterRnnlm(V, 6, 6, dtype="float64", rng=0) for _ in range(2))
    net, mine, like = Network(one.layers, one.loss_layer), rule(), rule()
    words = np.random.default_rng(1).integers(0, V, (4, 7))
    for _ in range(3):
        assert net.step(words[:, :-1], words[:, 1:], mine) == training_step(other, like, words[:, :-1], words[:, 1:])
    for p, q in zip(one.params, other.params, strict=True):
        np.testing.assert_array_equal(p, q)
    assert np.shares_memory(one.params[0], one.params[-2])
    (lowered,) = net._plans.values()
    assert lowered.plan.name == "native"
    assert "runs in Python" not in str(net.summary(words[:, :-1], repeats=1))


def test_a_transposed_parameter_of_its_own():
    """Without another layer that has it: its products are native, its update is Python's."""
    x, W, b, _ = arguments(np.float64, 9, 6, 7)
    nets = [Network([layers.Affine(V, b.copy())], layers.SoftmaxWithLoss()) for V in (turned(W), W.copy())]
    for _ in range(3):
        losses = [
            net.step(x, np.arange(9) % 7, rule) for net, rule in zip(nets, map(optimizer.SGD, (0.1, 0.1)), strict=True)
        ]
        assert losses[0] == losses[1]
    same(nets[0].params, nets[1].params)


def test_one_first_and_its_base_later():
    """The transposed view comes first in the chain."""

    def net():
        W = np.random.default_rng(0).standard_normal((8, 6))
        chain = [layers.Affine(W.T, np.zeros(8)), layers.Tanh(), layers.Affine(W, np.zeros(6))]
        return chain, Network(chain, layers.SoftmaxWithLoss())

    x, t = np.random.default_rng(1).standard_normal((9, 6)), np.arange(9) % 6
    (own, one), (_, two) = net(), net()
    mine, like = optimizer.Adam(0.1), optimizer.Adam(0.1)
    for _ in range(3):
        grads = two.gradient(x, t)
        like.update(*remove_duplicate(two.params, grads))
        one.step(x, t, mine)
    same(one.params, two.params)
    assert np.shares_memory(own[0].W, own[2].W)
