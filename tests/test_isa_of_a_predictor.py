"""A predictor keeps the instruction set that it was made with."""

import numpy as np
import pytest

import fastnn
from fastnn import _core, layers


@pytest.fixture
def restored():
    before = _core.isa()
    yield before
    _core.use_isa(before)


@pytest.mark.skipif(len(_core.available_isas()) < 2, reason="one instruction set is built")
@pytest.mark.parametrize("width", [1, 30, 64])
@pytest.mark.parametrize("activation", [layers.GELU, layers.Swish, layers.Tanh, layers.Mish])
def test_use_isa_does_not_change_a_predictor(activation, width, restored):
    rng = np.random.default_rng(0)
    W, b = rng.standard_normal((50, width)).astype("f"), rng.standard_normal(width).astype("f")
    x = rng.standard_normal((5, 50)).astype("f")
    predict = fastnn.compile(fastnn.Network([layers.Affine(W, b), activation()]), input_shape=(50,)).predict
    want = predict(x).copy()
    for isa in _core.available_isas():
        _core.use_isa(isa)
        assert np.array_equal(predict(x), want), isa


@pytest.mark.skipif(len(_core.available_isas()) < 2, reason="one instruction set is built")
@pytest.mark.parametrize("channels", [2, 16])
@pytest.mark.parametrize("activation", [layers.GELU, layers.Tanh])
def test_use_isa_does_not_change_a_convolution(activation, channels, restored):
    rng = np.random.default_rng(0)
    W = rng.standard_normal((channels, channels, 3, 3)).astype("f")
    x = rng.standard_normal((2, channels, 9, 9)).astype("f")
    network = fastnn.Network([layers.Convolution(W, np.ones(channels, "f"), 1, 1), activation()])
    predict = fastnn.compile(network, input_shape=x.shape[1:]).predict
    want = predict(x).copy()
    for isa in _core.available_isas():
        _core.use_isa(isa)
        assert np.array_equal(predict(x), want), isa
