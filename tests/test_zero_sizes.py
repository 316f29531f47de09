"""Each dimension of each operation set to 0: the reference's numbers, or the same error on every backend; empty batches
through layers, networks and predictors."""

import warnings

import cases
import numpy as np
import pytest
from cases import CASES, OPS, OUTPUTS
from every_backend import backend as backend
from every_backend import on_every_backend

import fastnn
from fastnn import functions, layers, ops, optimizer, util


def variants(what):
    """The arguments of a case with one of its dimensions 0, by the name of that dimension."""
    for name, value in what.items():
        if name.isupper() and isinstance(value, int):
            yield f"{name}=0", what | {name: 0}
        elif name in ("shape", "index", "kernel"):
            for i in range(len(value)):
                yield f"{name}[{i}]=0", what | {name: (*value[:i], 0, *value[i + 1 :])}
        elif name == "shapes":
            for j, shape in enumerate(value):
                for i in range(len(shape)):
                    zero = *shape[:i], 0, *shape[i + 1 :]
                    yield f"shapes[{j}][{i}]=0", what | {name: (*value[:j], zero, *value[j + 1 :])}


def outcome(function, op, args):
    """What an operation gives, or the text of the error that it raises.

    Computed into arrays of 99, so that whatever is not written shows.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # means of nothing
        try:
            plain = cases.run(function, op, args)
            return cases.run(function, op, args, **{n: np.full_like(plain[n], 99) for n in OUTPUTS[op] if n in plain})
        except (ValueError, IndexError) as error:
            return f"{type(error).__name__}: {error}"


def zero_cases(op, size):
    """(case, name, arguments): the cases that exist. No arguments exist for labels of 0 classes and the like."""
    seen = set()
    for case, what in CASES[op][size].items():
        for name, changed in variants(what):
            if str(changed) in seen:
                continue
            seen.add(str(changed))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                try:
                    args = cases.build(op, np.float32, **changed)
                except (ValueError, IndexError, TypeError):
                    continue
            yield case, name, args


@pytest.mark.parametrize("size", ["tiny", "odd"])
@pytest.mark.parametrize("op", OPS)
def test_a_dimension_of_zero(op, size):
    targets = [t for t in cases.TARGETS if t != "numpy" and not cases.why_not(t)]
    count = 0
    for case, name, args in zero_cases(op, size):
        count += 1
        with cases.target("numpy"):
            wanted = outcome(getattr(ops, op), op, args)
        if not isinstance(wanted, str):
            wanted = cases.expected(op, args)
        for target in targets:
            if target == "numba" and (size == "odd" or case != next(iter(CASES[op]["tiny"]))):
                continue  # compiling every kind takes a minute
            with cases.target(target):
                got = outcome(getattr(ops, op), op, args)
            if isinstance(wanted, str) or isinstance(got, str):
                assert got == wanted, f"{op} {case} {name} on {target}"
            else:
                for key, value in wanted.items():
                    cases.assert_close(got[key], value, op, np.float32, f"{op} {case} {name} on {target}: {key}")
    assert count or not any(True for what in CASES[op][size].values() for _ in variants(what))


# ---- convolution and pooling of no images ----------------------------------------------------------------------------


@on_every_backend
@pytest.mark.parametrize("dtype", cases.DTYPES, ids=lambda d: d.__name__)
@pytest.mark.parametrize("channels", [(2, 3), (16, 16)])  # directly, by Winograd's algorithm
def test_images_of_an_empty_batch(channels, dtype, backend):
    C, F = channels
    x, W, b = np.zeros((0, C, 6, 6), dtype), np.ones((F, C, 3, 3), dtype), np.ones(F, dtype)
    gradients = np.full_like(W, 7), np.full_like(b, 7)
    for stride in 1, 2:
        y = ops.conv2d_forward(x, W, b, stride, 1)
        assert y.shape == (0, F, 6 // stride, 6 // stride) and y.dtype == dtype
        dx, dW, db = ops.conv2d_backward(y, x, W, stride, 1, 1, 1, "auto", None, *gradients)
        assert dx.shape == x.shape and not dW.any() and not db.any() and dW is gradients[0]
        gradients[0][...] = 7
    Wt = np.ones((C, F, 3, 3), dtype)
    y = ops.conv_transpose2d_forward(x, Wt, b, 2, 1)
    assert y.shape == (0, F, 11, 11)
    dx, dW, db = ops.conv_transpose2d_backward(y, x, Wt, 2, 1)
    assert dx.shape == x.shape and dW.shape == Wt.shape and not dW.any() and not db.any()
    col = ops.im2col(x, 3, 1, 1)
    assert col.shape == (0, 9 * C) and ops.col2im(col, x.shape, 3, 1, 1).shape == x.shape
    y, arg = ops.max_pool2d_forward(x, 2, 2, 0)
    assert y.shape == arg.shape == (0, C, 3, 3)
    assert ops.max_pool2d_backward(y, arg, x.shape, 2, 2, 0).shape == x.shape
    y = ops.avg_pool2d_forward(x, 2, 2, 0)
    assert y.shape == (0, C, 3, 3) and ops.avg_pool2d_backward(y, x.shape, 2, 2, 0, False, True).shape == x.shape
    with pytest.raises(ValueError, match=r"the padded image is \(0, 2, 131078, 131078\)"):  # impossible for one image
        ops.conv2d_forward(np.zeros((0, 2, 6, 6), dtype), np.ones((3, 2, 3, 3), dtype), None, 1, 2**16)


@on_every_backend
def test_the_books_patches_of_an_empty_batch(backend):
    col = util.im2col(np.zeros((0, 3, 4, 4)), 3, 3)
    assert col.shape == (0, 27) and util.col2im(col, (0, 3, 4, 4), 3, 3).shape == (0, 3, 4, 4)


# ---- layers, networks, predictors ------------------------------------------------------------------------------------


def f32(*shape):
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def scale_and_shift(n):
    return np.ones(n, np.float32), np.zeros(n, np.float32)


LAYERS = {
    "Relu": (lambda: layers.Relu(), (4,)),
    "GELU": (lambda: layers.GELU(), (4,)),
    "Softmax": (lambda: layers.Softmax(), (4,)),
    "Affine": (lambda: layers.Affine(f32(4, 3), f32(3)), (4,)),
    "MatMul": (lambda: layers.MatMul(f32(4, 3)), (4,)),
    "Dropout": (lambda: layers.Dropout(0.5), (4,)),
    "Dropout2d": (lambda: layers.Dropout2d(0.5), (3, 4, 4)),
    "Convolution": (lambda: layers.Convolution(f32(2, 3, 3, 3), f32(2), 1, 1), (3, 4, 4)),
    "ConvTranspose2d": (lambda: layers.ConvTranspose2d(f32(3, 2, 3, 3), f32(2), 2), (3, 4, 4)),
    "Pooling": (lambda: layers.Pooling(2, 2), (3, 4, 4)),
    "AveragePooling": (lambda: layers.AveragePooling(2, 2), (3, 4, 4)),
    "GlobalMaxPooling": (lambda: layers.GlobalMaxPooling(), (3, 4, 4)),
    "GlobalAveragePooling": (lambda: layers.GlobalAveragePooling(), (3, 4, 4)),
    "Flatten": (lambda: layers.Flatten(), (3, 4, 4)),
    "BatchNormalization": (lambda: layers.BatchNormalization(*scale_and_shift(48)), (3, 4, 4)),
    "BatchNorm2d": (lambda: layers.BatchNorm2d(*scale_and_shift(3)), (3, 4, 4)),
    "LayerNorm": (lambda: layers.LayerNorm(*scale_and_shift(4)), (4,)),
    "GroupNorm": (lambda: layers.GroupNorm(1, *scale_and_shift(3)), (3, 4, 4)),
}


@on_every_backend
@pytest.mark.parametrize("name", LAYERS)
def test_layers_take_an_empty_batch(name, backend):
    make, shape = LAYERS[name]
    layer, x = make(), np.zeros((0, *shape), np.float32)
    y = layer.forward(x)
    assert len(y) == 0 and y.shape[1:] == make().forward(np.zeros((2, *shape), np.float32)).shape[1:]
    assert layer.backward(np.zeros_like(y)).shape == x.shape
    assert all(not g.any() for g in layer.grads)
    network = fastnn.Network([make()])
    assert network.predict(x).shape == y.shape
    predictor = fastnn.compile(network, input_shape=shape)
    assert predictor.predict(x).shape == y.shape
    assert predictor.predict(np.zeros((2, *shape), np.float32)).shape == (2, *y.shape[1:])


@on_every_backend
@pytest.mark.parametrize("name", ["BatchNormalization", "BatchNorm2d"])
def test_an_empty_batch_leaves_running_statistics(name, backend):
    layer = LAYERS[name][0]()
    layer.forward(f32(5, 3, 4, 4))
    before = layer.running_mean.copy(), layer.running_var.copy()
    layer.forward(np.zeros((0, 3, 4, 4), np.float32))
    np.testing.assert_array_equal((layer.running_mean, layer.running_var), before)


@on_every_backend
def test_a_whole_network_of_an_empty_batch(backend):
    network = fastnn.Network(
        [
            layers.Convolution(f32(4, 3, 3, 3), f32(4), 1, 1), layers.BatchNorm2d(*scale_and_shift(4)), layers.Relu(),
            layers.Pooling(2, 2), layers.Affine(f32(16, 5), f32(5)),
        ],
        layers.SoftmaxWithLoss(),
    )  # fmt: skip
    x = np.zeros((0, 3, 4, 4), np.float32)
    predictor = fastnn.compile(network, input_shape=(3, 4, 4))
    assert network.predict(x).shape == predictor.predict(x).shape == predictor.predict_proba(x).shape == (0, 5)
    assert predictor.predict_classes(x).shape == (0,)
    before = [p.copy() for p in network.params]
    with pytest.raises(ValueError, match="the batch is empty"):  # the loss would be a mean of nothing
        network.step(x, np.zeros(0, int), optimizer.SGD())
    for p, old in zip(network.params, before, strict=True):
        np.testing.assert_array_equal(p, old)


@on_every_backend
def test_functions_of_an_empty_batch(backend):
    x = np.zeros((0, 3), np.float32)
    for function in functions.softmax, functions.sigmoid, functions.relu:
        assert function(x).shape == (0, 3)


@pytest.mark.parametrize("target", cases.TARGETS)
@pytest.mark.parametrize("dtype", cases.DTYPES, ids=lambda d: d.__name__)
def test_gradients_of_norms_of_nothing_without_epsilon(target, dtype):
    """1 / sqrt(var) of no numbers is infinite: dgamma is a sum of nothing, 0, not 0 times that."""
    if cases.why_not(target):
        pytest.skip(cases.why_not(target))
    gamma, beta = np.ones(4, dtype), np.zeros(4, dtype)
    with cases.target(target):
        for shape in ((0, 4), (0, 4, 3), (2, 4, 0)):
            x = np.zeros(shape, dtype)
            _, mean, var = ops.batch_norm_forward(x, gamma, beta, 0.0)
            for gradient in ops.batch_norm_backward(x, x, gamma, mean, var, 0.0):
                assert not gradient.any()
            if x.ndim == 3:
                _, mean, rstd = ops.group_norm_forward(x, gamma, beta, 2, 0.0)
                for gradient in ops.group_norm_backward(x, x, gamma, 2, mean, rstd):
                    assert not gradient.any()
