"""Weights that layers and models start from: the rules, `create` of every layer, and what it refuses."""

import inspect
import math

import numpy as np
import pytest

import fastnn
from fastnn import init, layers, models, time_layers

# Every layer with parameters: (class, sizes, further arguments, shapes of its parameters).
CREATED = [
    (layers.Affine, (7, 5), {}, [(7, 5), (5,)]),
    (layers.MatMul, (7, 5), {}, [(7, 5)]),
    (layers.Convolution, (6, 4, 3, 2), {}, [(6, 4, 3, 2), (6,)]),
    (layers.Convolution, (6, 4, 3), {"groups": 2, "bias": False, "stride": 2}, [(6, 2, 3, 3)]),
    (layers.ConvTranspose2d, (4, 6, 3), {}, [(4, 6, 3, 3), (6,)]),
    (layers.ConvTranspose2d, (4, 6, 3), {"groups": 2}, [(4, 3, 3, 3), (6,)]),
    (layers.Embedding, (9, 3), {"sparse": True}, [(9, 3)]),
    (layers.EmbeddingDot, (9, 3), {}, [(9, 3)]),
    (layers.NegativeSamplingLoss, (3, [0, 1, 2, 3, 4, 5, 6]), {"sample_size": 2}, [(7, 3)]),
    (layers.VectorQuantizer, (9, 3), {}, [(9, 3)]),
    (layers.BatchNormalization, (5,), {"momentum": 0.5}, [(5,), (5,)]),
    (layers.BatchNorm2d, (5,), {}, [(5,), (5,)]),
    (layers.LayerNorm, (5,), {}, [(5,), (5,)]),
    (layers.LayerNorm, ((4, 5),), {}, [(4, 5), (4, 5)]),
    (layers.GroupNorm, (2, 6), {}, [(6,), (6,)]),
    (time_layers.TimeAffine, (7, 5), {}, [(7, 5), (5,)]),
    (time_layers.TimeEmbedding, (9, 3), {}, [(9, 3)]),
    (time_layers.TimeRNN, (7, 5), {"activation": "relu"}, [(7, 5), (5, 5), (5,)]),
    (time_layers.TimeLSTM, (7, 5), {}, [(7, 20), (5, 20), (20,)]),
    (time_layers.TimeLSTM, (7, 5), {"peephole": True, "bias": False}, [(7, 20), (5, 20), (15,)]),
    (time_layers.TimeGRU, (7, 5), {"stateful": True}, [(7, 15), (5, 15), (15,)]),
    (time_layers.TimeBiLSTM, (7, 5), {"merge": "sum"}, [(7, 20), (5, 20), (20,)] * 2),
    (time_layers.RNN, (7, 5), {}, [(7, 5), (5, 5), (5,)]),
    (time_layers.LSTM, (7, 5), {}, [(7, 20), (5, 20), (20,)]),
    (time_layers.GRU, (7, 5), {}, [(7, 15), (5, 15), (15,)]),
    (time_layers.MultiHeadAttention, (8, 2), {"causal": True}, [(8, 8), (8,)] * 4),
]
CLASSES = {case[0] for case in CREATED}


@pytest.mark.parametrize(("cls", "sizes", "options", "shapes"), CREATED, ids=lambda v: getattr(v, "__name__", None))
def test_create(cls, sizes, options, shapes):
    for dtype in (np.float32, np.float64):
        layer = cls.create(*sizes, dtype=dtype, **options)
        assert [p.shape for p in layer.params] == shapes and {p.dtype for p in layer.params} == {np.dtype(dtype)}
        assert len(layer.grads) == len(layer.params) and type(layer) is cls
    assert cls.create(*sizes, **options).params[0].dtype == np.float32
    for name, value in options.items():
        if name in ("stride", "groups", "momentum", "activation", "stateful", "merge", "causal"):
            assert getattr(layer, name) == value
    with pytest.raises(TypeError, match="unexpected keyword argument 'colour'"):
        cls.create(*sizes, colour=3)


@pytest.mark.parametrize(("cls", "sizes", "options", "shapes"), CREATED, ids=lambda v: getattr(v, "__name__", None))
def test_create_is_reproducible(cls, sizes, options, shapes):
    if "rng" not in inspect.signature(cls.create).parameters and not issubclass(cls, time_layers.recurrent.Cell):
        return
    first, same, other = (cls.create(*sizes, rng=seed, **options).params for seed in (3, 3, 4))
    assert all((a == b).all() for a, b in zip(first, same, strict=True))
    assert (first[0] != other[0]).any()
    generator = np.random.default_rng(3)
    assert (cls.create(*sizes, rng=generator, **options).params[0] == first[0]).all()
    assert (cls.create(*sizes, rng=generator, **options).params[0] != first[0]).any()


@pytest.mark.parametrize("cls", sorted(CLASSES, key=lambda cls: cls.__name__), ids=lambda cls: cls.__name__)
def test_bad_sizes(cls):
    sizes = next(case[1] for case in CREATED if case[0] is cls)
    for bad, kind, text in ((0, ValueError, "is 0"), (2.5, TypeError, r"is 2\.5"), ("a", TypeError, "is 'a'")):
        with pytest.raises(kind, match=rf"\.create: \w+ {text}"):
            cls.create(bad, *sizes[1:])
    with pytest.raises(TypeError, match="dtype is int64; it must be float32 or float64"):
        cls.create(*sizes, dtype="int64")


def test_every_layer_with_arrays_creates_them():
    for module in layers, time_layers:
        for name in module.__all__:
            cls = getattr(module, name)
            if isinstance(cls, type) and {"W", "Wx", "Wx1", "Wq", "gamma"} & set(inspect.signature(cls).parameters):
                assert cls in CLASSES, name


@pytest.mark.parametrize(
    ("rule", "fan_in", "fan_out", "expected"),
    [
        ("he", 300, 500, math.sqrt(2 / 300)), ("xavier", 300, 500, math.sqrt(1 / 300)),
        ("lecun", 300, 500, math.sqrt(1 / 300)), ("glorot", 300, 500, math.sqrt(2 / 800)), ("He", 300, 500, 0.0816),
        (0.03, 300, 500, 0.03),
    ],
)  # fmt: skip
def test_deviations(rule, fan_in, fan_out, expected):
    W = layers.Affine.create(fan_in, fan_out, init=rule, rng=0).W
    assert W.std() == pytest.approx(expected, rel=0.02) and abs(W.mean()) < 0.02 * expected
    conv = layers.Convolution.create(50, 30, 10, 10, init=rule, rng=0).W
    wanted = init.deviation(rule, 30 * 100, 50 * 100)
    assert conv.std() == pytest.approx(wanted, rel=0.02)


def test_transposed_filters_count_what_comes_in():
    W = layers.ConvTranspose2d.create(40, 20, 5, init="he", rng=0).W
    assert W.std() == pytest.approx(math.sqrt(2 / (40 * 25)), rel=0.02)


def test_books_numbers():
    """A deviation gives the books' own expression, with the same draws."""
    W = layers.Affine.create(784, 50, init=0.01, rng=5, dtype="float64").W
    np.testing.assert_array_equal(W, 0.01 * np.random.default_rng(5).standard_normal((784, 50)))
    assert (layers.Affine.create(4, 3, init="zeros").W == 0).all()
    assert (layers.Affine.create(4, 3, bias=0.5).b == 0.5).all() and (layers.Affine.create(4, 3).b == 0).all()


def test_orthogonal():
    for cls, gates in ((time_layers.TimeRNN, 1), (time_layers.TimeLSTM, 4), (time_layers.TimeGRU, 3)):
        Wh = cls.create(3, 16, rng=0, dtype="float64").params[1]
        for gate in np.split(Wh, gates, axis=1):
            np.testing.assert_allclose(gate @ gate.T, np.eye(16), atol=1e-12)
    wide, tall = (init.weights(shape, "orthogonal", 0, "float64") for shape in ((3, 8), (8, 3)))
    np.testing.assert_allclose(wide @ wide.T, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(tall.T @ tall, np.eye(3), atol=1e-12)
    signs = {bool(np.linalg.det(init.weights((3, 3), "orthogonal", seed, "float64")) > 0) for seed in range(10)}
    assert signs == {True, False}


def test_forget_gates():
    b = time_layers.TimeLSTM.create(3, 4).params[2]
    assert b.tolist() == [1] * 4 + [0] * 12
    assert not time_layers.TimeLSTM.create(3, 4, forget_bias=0).params[2].any()
    both = time_layers.TimeBiLSTM.create(3, 4, forget_bias=2, bias=0.5).params
    assert both[2].tolist() == both[5].tolist() == [2.5] * 4 + [0.5] * 12
    assert (both[0] != both[3]).any()


def test_norms_begin_as_the_mere_normalisation():
    for cls in (layers.BatchNormalization, layers.BatchNorm2d, layers.LayerNorm):
        gamma, beta = cls.create(3).params
        assert (gamma == 1).all() and (beta == 0).all()


def test_a_network_of_created_layers_learns():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((200, 2)).astype("f")
    t = (x[:, 0] * x[:, 1] > 0).astype(int)
    L = layers
    net = fastnn.Network(
        [L.Affine.create(2, 16, rng=rng), L.Relu(), L.Affine.create(16, 2, rng=rng)], L.SoftmaxWithLoss(), rng=0
    )
    net.fit(x, t, epochs=60, batch_size=20, optimizer=fastnn.optimizer.Adam(0.02), progress=False)
    assert net.accuracy(x, t) > 0.95


@pytest.mark.parametrize(
    ("call", "kind", "text"),
    [
        (lambda: layers.Affine.create(2, 3, init="hee"), ValueError, "Affine.create: init is 'hee'; it must be"),
        (lambda: layers.Affine.create(2, 3, init=None), TypeError, "Affine.create: init is None"),
        (lambda: layers.Affine.create(2, 3, init=True), TypeError, "Affine.create: init is True"),
        (lambda: layers.Affine.create(2, 3, init=-1), ValueError, "Affine.create: init is -1; a deviation must be"),
        (lambda: layers.Affine.create(2, 3, init=math.nan), ValueError, "a deviation must be finite"),
        (lambda: layers.Affine.create(2, 3, bias=False), ValueError, "MatMul.create"),
        (lambda: layers.Affine.create(2, 3, bias="a"), TypeError, "Affine.create: bias is 'a'"),
        (lambda: layers.Convolution.create(4, 3, 3, groups=2), ValueError, "C is 3 and FN 4 but groups is 2"),
        (lambda: layers.Convolution.create(4, 3, 3, groups=0), ValueError, "groups is 0; it must be at least 1"),
        (lambda: time_layers.TimeRNN.create(4, 3, recurrent_init="x"), ValueError, "TimeRNN.create: init is 'x'"),
        (lambda: init.weights((2, 0)), ValueError, r"init.weights: the shape is \(2, 0\)"),
        (lambda: layers.Affine(2, 3), TypeError, "Affine.create makes them from sizes"),
    ],
)  # fmt: skip
def test_bad_input(call, kind, text):
    with pytest.raises(kind, match=text):
        call()


def test_models_draw_what_they_always_drew():
    """The first two draws of each model, of before the rules had one place."""
    drawn = {
        "TwoLayerNet": models.TwoLayerNet(4, 3, 2, rng=1, dtype="float64").params["W1"],
        "MultiLayerNet": models.MultiLayerNet(4, [3], 2, rng=1, dtype="float64").params["W1"],
        "sigmoid": models.MultiLayerNet(4, [3], 2, weight_init_std="Sigmoid", rng=1, dtype="float64").params["W1"],
        "DeepConvNet": models.DeepConvNet(rng=1, dtype="float64").params["W1"],
        "SpiralNet": models.SpiralNet(4, 3, 2, rng=1, dtype="float64").params[0],
        "Rnnlm": models.Rnnlm(4, 3, 2, rng=1, dtype="float64").params[0],
        "RNN": models.SimpleRnnlm(1, 1, 2, rng=1, dtype="float64").params[1],
    }
    normal = np.random.default_rng(1).standard_normal(100)
    scales = {
        "TwoLayerNet": 0.01 * normal, "MultiLayerNet": math.sqrt(2 / 4) * normal, "sigmoid": math.sqrt(1 / 4) * normal,
        "DeepConvNet": math.sqrt(2 / 9) * normal, "SpiralNet": 0.01 * normal, "Rnnlm": normal / 100,
        "RNN": normal[1:] / np.sqrt(1),
    }  # fmt: skip
    for name, W in drawn.items():
        assert W.reshape(-1)[:2].tolist() == scales[name][:2].tolist(), name
