"""Options of norms, convolution and pooling out of range: ValueError with operation and argument on every backend, from
operations before anything is written, from layers, networks and predictors."""

import math
import re

import numpy as np
import pytest
from every_backend import backend as backend
from every_backend import on_every_backend

import fastnn
from fastnn import layers, ops, optimizer

pytestmark = on_every_backend

X, ONES = np.ones((3, 4), np.float32), np.ones(4, np.float32)


def f32(*shape):
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


NORMS = {
    "batch_norm_forward": (X, ONES, ONES),
    "batch_norm_inference": (X, ONES, ONES, ONES, ONES),
    "batch_norm_backward": (X, X, ONES, ONES, ONES),
    "layer_norm_forward": (X, ONES, ONES),
    "group_norm_forward": (X, ONES, ONES, 2),
}


@pytest.mark.parametrize("epsilon", [-1.0, -1e-300, math.nan, math.inf, -math.inf, np.float64(-1), 10**400])
@pytest.mark.parametrize("op", NORMS)
def test_epsilon_of_norms(op, epsilon, backend):
    out = np.full_like(X, 7)
    with pytest.raises(ValueError, match=rf"{op}: epsilon is .*; it must lie in \[0, inf\)"):
        getattr(ops, op)(*NORMS[op], epsilon, out)
    assert (out == 7).all()
    with pytest.raises(TypeError, match=f"{op}: epsilon is 'a'"):
        getattr(ops, op)(*NORMS[op], "a", out)


@pytest.mark.parametrize("op", ["group_norm_forward", "group_norm_backward"])
@pytest.mark.parametrize("groups", [0, -1, 3, 5, 2**40, 2**70])
def test_groups_of_norms(groups, op, backend):
    for C in 4, 0:
        x, gamma = np.ones((2, C, 3), np.float32), np.ones(C, np.float32)
        statistics = np.ones((2, 1), np.float32)
        args = (x, gamma, gamma, groups) if op.endswith("forward") else (x, x, gamma, groups, statistics, statistics)
        with pytest.raises(ValueError, match=f"{op}: groups is {groups}; it must divide the {C} channels"):
            getattr(ops, op)(*args)


HUGE = [-1, 2**31, 2**40, 2**63, 2**64, -(2**70), (1, -1), (2**40, 1)]
IMAGES = f32(2, 4, 6, 6)


def vector(n):
    return np.ones(n, np.float32), np.zeros(n, np.float32)


def book_norm(epsilon):
    layer = layers.BatchNormalization(*vector(144))
    layer.epsilon = epsilon
    return layer


def options():
    """(id, the word that the error must have, what makes the layer)."""
    for epsilon in -1.0, math.nan, math.inf:
        for make in (
            book_norm, lambda e: layers.BatchNorm2d(*vector(4), epsilon=e), lambda e: layers.LayerNorm(*vector(6), e),
            lambda e: layers.GroupNorm(2, *vector(4), e),
        ):  # fmt: skip
            yield "epsilon", make, epsilon
    for groups in 0, -1, 3, 2**40, 2**70:
        yield "groups|channels", lambda g: layers.GroupNorm(g, *vector(4)), groups
        yield "groups|channels", lambda g: layers.Convolution(f32(4, 4, 3, 3), f32(4), groups=g), groups
    for value in [0, *HUGE]:
        for name in "stride", "dilation":
            yield name, lambda v, k=name: layers.Convolution(f32(4, 4, 3, 3), f32(4), **{k: v}), value
            yield name, lambda v, k=name: layers.ConvTranspose2d(f32(4, 4, 3, 3), f32(4), **{k: v}), value
        yield "stride", lambda v: layers.Pooling(2, 2, stride=v), value
        yield "stride", lambda v: layers.AveragePooling(2, 2, stride=v), value
        if not isinstance(value, tuple):
            yield "kernel|window", lambda v: layers.Pooling(v, 2), value
            yield "kernel|window", lambda v: layers.AveragePooling(2, v), value
        if value != 0:
            yield "pad", lambda v: layers.Convolution(f32(4, 4, 3, 3), f32(4), pad=v), value
            yield "pad", lambda v: layers.ConvTranspose2d(f32(4, 4, 3, 3), f32(4), pad=v), value
            yield "output_padding", lambda v: layers.ConvTranspose2d(f32(4, 4, 3, 3), f32(4), output_padding=v), value
            yield "pad", lambda v: layers.Pooling(2, 2, pad=v), value
            yield "pad", lambda v: layers.AveragePooling(2, 2, pad=v), value


def use(how, layer, x):
    if how == "layer":
        return layer.forward(x)
    network = fastnn.Network([layer])
    return network.predict(x) if how == "network" else fastnn.compile(network, input_shape=x.shape[1:]).predict(x)


@pytest.mark.parametrize("how", ["layer", "network", "predictor"])
def test_options_of_layers(how, backend):
    for word, make, value in options():
        layer = make(value)
        with pytest.raises(ValueError) as caught:
            use(how, layer, IMAGES)
        assert re.search(word, str(caught.value)), f"{type(layer).__name__} {value}: {caught.value}"


def test_a_step_with_an_option_out_of_range_changes_nothing(backend):
    for layer in layers.GroupNorm(2, *vector(4), -1.0), layers.BatchNorm2d(*vector(4), epsilon=math.nan):
        network = fastnn.Network([layers.Convolution(f32(4, 4, 3, 3), f32(4), 1, 1), layer], layers.MeanSquaredError())
        before = [p.copy() for p in network.params]
        with pytest.raises(ValueError, match="epsilon"):
            network.step(IMAGES, IMAGES, optimizer.SGD())
        for p, old in zip(network.params, before, strict=True):
            np.testing.assert_array_equal(p, old)
