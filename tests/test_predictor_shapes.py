"""Predictors of samples of any shape, in any order; their methods, kept alone or looked up early."""

import copy
import gc
import weakref

import numpy as np
import pytest
from every_backend import backend, on_every_backend  # noqa: F401

import fastnn
from fastnn import layers, time_layers
from fastnn.network import Network, predictor

pytestmark = on_every_backend
RNG = np.random.default_rng(0)


def normal(*shape, dtype="float32"):
    return RNG.standard_normal(shape).astype(dtype)


class Doubled:
    """A layer in Python."""

    def forward(self, x):
        return 2 * x

    def backward(self, dout):
        return 2 * dout


def lstm(dtype="float32"):
    return time_layers.TimeLSTM(*(normal(*s, dtype=dtype) for s in ((3, 20), (5, 20), (20,))))


def images():
    return [
        layers.Convolution(normal(4, 2, 3, 3), normal(4), 1, 1), layers.Relu(), layers.GlobalAveragePooling(),
        layers.Affine(normal(4, 3), normal(3)),
    ]  # fmt: skip


SHAPES = {
    "lengths": (lambda: [lstm(), time_layers.TimeAffine(normal(5, 4), normal(4))], [(7, 3), (1, 3), (12, 3), (2, 3)]),
    "indices": (lambda: [time_layers.TimeEmbedding(normal(9, 3)), lstm()], [(7,), (1,), (12,)]),
    "images": (images, [(2, 8, 8), (2, 5, 9), (2, 3, 3), (2, 33, 4)]),
    "any of 12": (lambda: [layers.Affine(normal(12, 5), normal(5))], [(12,), (3, 4), (2, 3, 2)]),
    "in Python": (lambda: [Doubled(), lstm()], [(7, 3), (2, 3)]),
    "no parameters": (lambda: [layers.Swish()], [(3,), (2, 2), ()]),
}


def inputs(name, shape, n):
    return RNG.integers(0, 9, (n, *shape)) if name == "indices" else normal(n, *shape)


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("planned", [False, True])
def test_shapes(name, planned):
    """The network's numbers for every shape, in turns."""
    make, shapes = SHAPES[name]
    net = Network(make(), layers.SoftmaxCrossEntropy())
    p = fastnn.compile(net, input_shape=shapes[0]) if planned else fastnn.compile(Network(net.layers, net.loss_layer))
    native = fastnn.backends.active_name == "native"
    for n in 5, 1, 70:
        for shape in [s for s in shapes if s] * 2:
            x = inputs(name, shape, n)
            scores = net.predict(x)
            np.testing.assert_allclose(p(x), scores, *((0, 0) if native else (1e-5, 1e-6)))
            np.testing.assert_array_equal(p.predict_classes(x), p(x).argmax(-1))
            np.testing.assert_allclose(p.predict_proba(x).sum(-1), 1, 1e-5)
            out = np.empty_like(scores)
            assert p.predict(x, out=out) is out and np.array_equal(out, p(x))
    assert p.input_shape == shapes[0]


def test_shapes_that_the_layers_do_not_take():
    p = fastnn.compile(Network(images()), input_shape=(2, 8, 8))
    for x in normal(4, 3, 8, 8), normal(4, 8, 8), normal(2, 8, 8), normal(4, 2):
        with pytest.raises(ValueError, match=r"Predictor: x is .* but the network takes \(N, 2, 8, 8\).*layer 1"):
            p(x)
    assert p(normal(1, 2, 8, 8)).shape == (1, 3)


def test_only_a_few_plans_are_kept(monkeypatch):
    monkeypatch.setattr(predictor, "_KEPT", 3)
    net = Network([lstm()])
    p = fastnn.compile(net, input_shape=(4, 3))
    results = p._results
    for T in (2, 3, 5, 2, 6, 7, 2, 4):
        x = normal(2, T, 3)
        np.testing.assert_allclose(p(x), net.predict(x), 1e-5, 1e-6)
    assert sorted(shape[0] for _, shape, _ in results._others) == [2, 6, 7]
    assert results.first[0].input_shape == (4, 3)
    monkeypatch.setattr(predictor, "_KEPT_BYTES", 1)
    for T in 5, 6:
        p(normal(2, T, 3))
    assert len(results._others) == 1  # the last one, whatever its size


@pytest.mark.parametrize("name", ["affine", "convolution", "recurrent"])
def test_packed_weights_are_shared(name, monkeypatch):
    """A plan for another shape takes no memory for weights."""
    if fastnn.backends.active_name != "native":
        pytest.skip("packed weights")
    net, shapes = {
        "affine": ([layers.Affine(normal(600, 100), normal(100))], [(600,), (20, 30), (2, 300)]),
        "convolution": ([layers.Convolution(normal(64, 64, 3, 3), normal(64), 1, 1)], [(64, 12, 12), (64, 14, 14)]),
        "recurrent": ([time_layers.TimeGRU(normal(9, 300), normal(100, 300), normal(300))], [(5, 9), (7, 9), (8, 9)]),
    }[name]
    size = net[0].params[name == "recurrent"].nbytes

    def memory():
        p = fastnn.compile(Network(net), input_shape=shapes[0])
        before = fastnn._core.pool_stats()["used"]
        results = [p(x) for x in inputs_of]
        return fastnn._core.pool_stats()["used"] - before, results

    inputs_of = [normal(2, *shape) for shape in shapes]
    shared, results = memory()
    native_plan = predictor.native_plan
    monkeypatch.setattr(predictor, "native_plan", lambda program, frozen, share: native_plan(program, frozen))
    separate, expected = memory()
    assert separate - shared >= size * (len(shapes) - 1)
    for x, y in zip(results, expected, strict=True):
        np.testing.assert_array_equal(x, y)


NAMES = "predict", "predict_proba", "predict_classes"


@pytest.mark.parametrize("python", [False, True])
@pytest.mark.parametrize("shape", [None, (4,)])
def test_a_method_kept_alone(shape, python):
    net = Network([layers.Affine(normal(4, 3), normal(3)), *([Doubled()] if python else [])], layers.SoftmaxWithLoss())
    x = normal(5, 4)
    expected = fastnn.compile(net)
    methods = {name: getattr(fastnn.compile(net, input_shape=shape), name) for name in NAMES}
    gc.collect()
    for name, method in methods.items():
        for given in (x, x.astype("f8"), x[:, ::-1][:, ::-1], x.reshape(5, 2, 2)):
            np.testing.assert_allclose(method(given), getattr(expected, name)(x), 1e-6)
        with pytest.raises(ValueError, match="Predictor: x is"):
            method(x[:, :3])


def test_methods_are_native_from_the_first_look_up_on(monkeypatch):
    if fastnn.backends.active_name != "native":
        pytest.skip("native functions")
    net = Network([layers.Affine(normal(4, 3), normal(3))], layers.SoftmaxWithLoss())
    calls, original = [], predictor._Method.__call__

    def spy(self, *args):
        calls.append(args)
        return original(self, *args)

    monkeypatch.setattr(predictor._Method, "__call__", spy)
    for shape in (4,), None:
        p = fastnn.compile(net, input_shape=shape)
        before = [getattr(p, name) for name in NAMES]
        assert {type(method) for method in before} == {type(len)}
        for method in before:
            method(normal(2, 4))
        assert [getattr(p, name) for name in NAMES] == before  # these, and no others, are what is called
        for method in before:  # none of them asks Python for what the first plan can take
            calls.clear()
            method(normal(2, 4))
            assert not calls
            method(normal(2, 2, 2))
            assert calls


def test_a_predictor_is_freed_with_its_last_name():
    """No cycle keeps its weights until the next garbage collection."""
    p = fastnn.compile(Network([layers.Affine(normal(4, 3), normal(3))], layers.SoftmaxWithLoss()))
    for name in NAMES:
        getattr(p, name)(normal(2, 4)), getattr(p, name)(normal(2, 2, 2))
    results, weights = weakref.ref(p._results), weakref.ref(p.layers[0].params[0])
    gc.collect()
    gc.disable()
    try:
        del p
        assert results() is None and weights() is None
    finally:
        gc.enable()


def test_copies():
    net = Network([lstm()])
    p = fastnn.compile(net, input_shape=(4, 3))
    x = normal(2, 6, 3)
    for other in copy.deepcopy(p), copy.copy(p):
        assert other.input_shape == (4, 3) and other.output_shape == (4, 5)
        np.testing.assert_array_equal(other(x), p(x))


DTYPES = {"f2": "f4", "f4": "f4", "f8": "f8", "i4": "f8", "u1": "f8", "?": "f8", ">f8": "f8", ">f4": "f4"}


@pytest.mark.parametrize("dtype", DTYPES)
def test_networks_without_parameters_have_the_dtype_of_their_input(dtype):
    """The bits of the layers, too, whatever came before."""
    make = {
        "swish": lambda: [layers.Swish()],
        "two": lambda: [layers.Tanh(), layers.Softmax()],
        "in Python": lambda: [Doubled(), layers.Sigmoid()],
        "a view": lambda: [layers.Flatten()],
    }
    for layers_of in make.values():
        net, p = Network(layers_of()), fastnn.compile(Network(layers_of()))
        fixed = fastnn.compile(net, "float64", (6,))
        for kind in ("f8", dtype, "f4", dtype):
            x = (3 * normal(4, 6, dtype="f8")).astype(kind)
            expected = x.astype("f4") if np.dtype(kind).str[1:] == "f2" else x
            for layer in layers_of():
                expected = layer.forward(expected)
            for result in net.predict(x), p(x), p.predict(x):
                assert result.dtype == DTYPES[kind]
                if fastnn.backends.active_name == "native":
                    np.testing.assert_array_equal(result, expected)
                else:
                    np.testing.assert_allclose(result, expected, 1e-6, 1e-7)
            assert fixed(x).dtype == "f8"
            assert net.predict(x[:0]).dtype == p(x[:0]).dtype == DTYPES[kind]


def test_integer_parameters_are_computed_in_float64():
    W, b = np.arange(12).reshape(4, 3), np.array([1, 2, 3])
    x = normal(5, 4)
    layer = layers.Affine(W, b)
    net = Network([layer])
    expected = layer.forward(x)
    assert net.predict(x).dtype == expected.dtype == "f8"
    np.testing.assert_allclose(net.predict(x), expected, 1e-12)


def test_parameters_of_another_dtype_in_their_place():
    layer = layers.Affine(normal(4, 3), normal(3))
    net = Network([layer])
    x = normal(5, 4)
    assert net.predict(x).dtype == "f4"
    layer.W, layer.b = layer.W.astype("f8"), layer.b.astype("f8")
    for given in x, x.astype("f8"):
        assert net.predict(given).dtype == "f8"
        np.testing.assert_allclose(net.predict(given), layer.forward(x.astype("f8")), 1e-12)
