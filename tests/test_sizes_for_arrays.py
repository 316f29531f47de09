"""Layers take their weights; a size in the place of one is refused by name."""

import inspect

import numpy as np
import pytest

import fastnn
from fastnn import layers, time_layers

NUMBERS = {layers.BatchNormalization}  # whose gamma and beta may be numbers
CALLS = {
    layers.Affine: (4, 2), layers.MatMul: (4,), layers.Convolution: (30, 1, 5), layers.ConvTranspose2d: (30, 16),
    layers.Embedding: (1000, 64), layers.EmbeddingDot: (1000, 64),
    layers.NegativeSamplingLoss: (1000, [0, 1, 2, 3, 4, 5, 6]), layers.VectorQuantizer: (512, 64),
    layers.BatchNorm2d: (16, 16), layers.LayerNorm: (64, 64), layers.GroupNorm: (4, 16, 16),
    time_layers.TimeAffine: (4, 2), time_layers.TimeEmbedding: (1000, 64), time_layers.TimeRNN: (100, 50),
    time_layers.TimeLSTM: (100, 50, 1), time_layers.TimeGRU: (100, 50), time_layers.TimeBiLSTM: (9, 9, 9, 9, 9, 9),
    time_layers.RNN: (9, 9), time_layers.LSTM: (9, 9, 9), time_layers.GRU: (9, 9),
    time_layers.MultiHeadAttention: (*[64] * 8, 4),
}  # fmt: skip


@pytest.mark.parametrize("cls", CALLS, ids=lambda cls: cls.__name__)
def test_sizes(cls):
    for convert in int, np.int64, float:
        args = [convert(a) if isinstance(a, int) else a for a in CALLS[cls]]
        with pytest.raises(TypeError, match=r"\w+: \w+ is .*; it must be an array"):
            fastnn.Network([cls(*args)])


def test_the_message():
    with pytest.raises(
        TypeError, match=r"Affine: W is 4; it must be an array: a layer takes the arrays of its weights"
    ):
        layers.Affine(4, 2)
    with pytest.raises(TypeError, match=r"Affine: b is 2; it must be an array"):
        layers.Affine(np.zeros((4, 2)), 2)
    with pytest.raises(TypeError, match=r"Affine: W is \(4, 2\); it must be an array"):
        layers.Affine((4, 2), (2,))


def test_every_layer_with_arrays_is_among_these():
    names = {"W", "Wx", "Wx1", "Wq", "gamma"}
    for module in layers, time_layers:
        for name in module.__all__:
            cls = getattr(module, name)
            if isinstance(cls, type) and names & set(inspect.signature(cls).parameters):
                assert cls in CALLS or cls in NUMBERS, name
