"""What `repr` says of layers, optimizers, networks, models and predictors."""

import copy
import inspect

import numpy as np
import pytest
from test_init import CREATED

import fastnn
from fastnn import layers, models, optimizer, time_layers
from fastnn.compat import book1, book2

L, T = layers, time_layers
EXPECTED = [
    (L.Affine(np.zeros((784, 100)), np.zeros(100)), "Affine(D=784, M=100)"),
    (L.MatMul.create(3, 4), "MatMul(D=3, M=4)"),
    (L.Convolution.create(30, 1, 5), "Convolution(FN=30, C=1, FH=5, FW=5, stride=1, pad=0)"),
    (
        L.Convolution.create(4, 6, 3, 2, groups=2, bias=False, pad=(1, 2)),
        "Convolution(FN=4, C=6, FH=3, FW=2, bias=False, stride=1, pad=(1, 2), groups=2)",
    ),
    (L.ConvTranspose2d.create(4, 6, 3, stride=2), "ConvTranspose2d(C=4, FN=6, FH=3, FW=3, stride=2, pad=0)"),
    (L.Embedding.create(9, 3, sparse=True), "Embedding(V=9, D=3, sparse=True)"),
    (T.TimeEmbedding.create(9, 3), "TimeEmbedding(V=9, D=3)"),
    (L.NegativeSamplingLoss.create(3, np.arange(9)), "NegativeSamplingLoss(V=9, D=3, sample_size=5)"),
    (L.BatchNormalization.create(3), "BatchNormalization(D=3)"),
    (L.BatchNormalization(1.0, 0.0), "BatchNormalization(gamma=1.0, beta=0.0)"),
    (L.LayerNorm.create((3, 4)), "LayerNorm(D=(3, 4))"),
    (L.GroupNorm.create(2, 4), "GroupNorm(groups=2, C=4)"),
    (T.TimeLSTM.create(3, 4, peephole=True, bias=False), "TimeLSTM(D=3, H=4, bias=False, peephole=True)"),
    (T.TimeRNN.create(3, 4, activation="relu", reverse=True), "TimeRNN(D=3, H=4, activation='relu', reverse=True)"),
    (T.TimeBiLSTM.create(3, 4), "TimeBiLSTM(D=3, H=4)"),
    (T.GRU.create(3, 4), "GRU(D=3, H=4)"),
    (T.MultiHeadAttention.create(8, 2, causal=True), "MultiHeadAttention(D=8, heads=2, causal=True)"),
    (L.Pooling(2, 3), "Pooling(pool_h=2, pool_w=3, stride=2, pad=0)"),
    (L.Dropout(np.float64(0.25), rng=3), "Dropout(dropout_ratio=0.25)"),
    (L.LeakyRelu(), "LeakyRelu(alpha=0.01)"),
    (L.GELU(True), "GELU(approximate=True)"),
    (L.Relu(), "Relu()"),
    (L.SoftmaxWithLoss(), "SoftmaxWithLoss()"),
    (L.SoftmaxCrossEntropy(np.ones(3), -1), "SoftmaxCrossEntropy(weight=array (3,), ignore_index=-1)"),
    (L.MulLayer(), "MulLayer()"),
    (L.Repeat(3), "Repeat(N=3)"),
    (L.Add([], [L.Affine.create(4, 4), L.Relu()]), "Add([], [Affine(D=4, M=4), Relu()])"),
    (optimizer.SGD(), "SGD(lr=0.01)"),
    (optimizer.Adam(clip_norm=5), "Adam(lr=0.001, beta1=0.9, beta2=0.999, epsilon=1e-07, clip_norm=5)"),
    (
        optimizer.AdamW(np.float32(0.5)),
        "AdamW(lr=0.5, beta1=0.9, beta2=0.999, epsilon=1e-07, weight_decay=0.01)",
    ),
    (optimizer.Nesterov(0.1), "Nesterov(lr=0.1, momentum=0.9, lookahead=True)"),
]  # fmt: skip


@pytest.mark.parametrize(("value", "text"), EXPECTED, ids=[type(value).__name__ for value, _ in EXPECTED])
def test_repr(value, text):
    assert repr(value) == text and repr(copy.deepcopy(value)) == text


def test_every_layer_has_one():
    made = [cls.create(*sizes, **options) for cls, sizes, options, _ in CREATED]
    for module in layers, time_layers:
        for name in module.__all__:
            cls = getattr(module, name)
            if isinstance(cls, type) and all(
                p.default is not p.empty or p.kind is p.VAR_POSITIONAL
                for p in list(inspect.signature(cls.__init__).parameters.values())[1:]
            ) and not issubclass(cls, layers.Add | layers.Concatenate):  # fmt: skip
                made.append(cls())
    for layer in made:
        assert repr(layer).startswith(f"{type(layer).__name__}(") and " object at 0x" not in repr(layer)
    assert len(made) > 40


def test_it_is_what_create_takes():
    more = [(time_layers.TimeGRU, (7, 5), {"linear_before_reset": True, "b_h": True}, [(7, 15), (5, 15), (15,), (5,)])]
    for cls, sizes, options, shapes in CREATED + more:
        text = repr(cls.create(*sizes, **options))
        if cls is not layers.NegativeSamplingLoss:
            same = eval(text.replace("(", ".create(", 1), {cls.__name__: cls})
            assert [p.shape for p in same.params] == shapes and repr(same) == text


def network():
    block = layers.Add(
        [], [layers.Convolution.create(8, 8, 3, pad=1), layers.Relu(), layers.Convolution.create(8, 8, 3, pad=1)]
    )
    return fastnn.Network(
        [layers.Convolution.create(8, 1, 3, pad=1), block, layers.Flatten(), layers.Affine.create(8 * 49, 10)],
        layers.SoftmaxWithLoss(),
    )


def test_network():
    expected = """Network(
  1: Convolution(FN=8, C=1, FH=3, FW=3, stride=1, pad=1)
  2: Add(
    []
    [Convolution(FN=8, C=8, FH=3, FW=3, stride=1, pad=1)
     Relu()
     Convolution(FN=8, C=8, FH=3, FW=3, stride=1, pad=1)]
  )
  3: Flatten()
  4: Affine(D=392, M=10)
  loss: SoftmaxWithLoss()
) 5,178 parameters, float32"""
    net = network()
    assert repr(net) == expected == repr(copy.deepcopy(net))
    predictor = fastnn.compile(net, input_shape=(1, 7, 7))
    lines = repr(predictor).splitlines()
    assert lines[0] == "Predictor(" and lines[-1] == ") 5,178 parameters, float32, samples (1, 7, 7)"
    assert lines[1:-1] == expected.splitlines()[1:-2]


def test_models():
    assert repr(models.TwoLayerNet(784, 50, 10)) == (
        "TwoLayerNet(\n  Affine1: Affine(D=784, M=50)\n  Relu1: Relu()\n  Affine2: Affine(D=50, M=10)\n"
        "  loss: SoftmaxWithLoss()\n) 39,760 parameters, float32"
    )
    model = models.BetterRnnlm(100, 20, 20)
    assert repr(model).endswith(") 8,660 parameters, float32")  # the tied table counts once
    assert "  decoder: Decoder(\n    embed: TimeEmbedding(V=10, D=3)\n" in repr(models.Seq2seq(10, 3, 4))
    assert "ns_loss: NegativeSamplingLoss(" in repr(models.CBOW(9, 3, 1, np.arange(9)))


def test_layers_of_others_are_named():
    class Own:
        def forward(self, x):
            return x

        backward = forward

    class Scale(layers.Layer):
        def __init__(self, factor=2):
            self.factor = factor  # without super().__init__()

        def forward(self, x):
            return x * self.factor

        backward = forward

    text = repr(fastnn.Network([Own(), Scale(3)]))
    assert "  1: Own(...)\n  2: Scale(factor=3)\n) 0 parameters" in text


def test_the_books_classes_stay_as_they_are():
    for value in (
        book1.Affine(np.ones((2, 3)), np.ones(3)), book1.Relu(), book1.TwoLayerNet(2, 3, 2), book2.TwoLayerNet(2, 3, 2),
        book2.TimeLSTM(np.ones((2, 12)), np.ones((3, 12)), np.ones(12)), type("Own", (book1.Relu,), {})(),
    ):  # fmt: skip
        assert repr(value) == object.__repr__(value)
