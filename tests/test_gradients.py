"""Every backward of the reference against central differences of its forward, in float64.

That the other backends agree with the reference is test_ops.py.
"""

import cases
import numpy as np
import pytest

from fastnn.backends import OPS, numpy_backend
from fastnn.backends.numpy_backend import ACTIVATIONS

STEP = 1e-5
rng = np.random.default_rng(20)


def numerical(f, x):
    """Gradient of the scalar f() with respect to the array x, which f reads."""
    gradient = np.zeros_like(x)
    for i in np.ndindex(x.shape):
        value = x[i]
        x[i] = value + STEP
        above = f()
        x[i] = value - STEP
        below = f()
        x[i] = value
        gradient[i] = (above - below) / (2 * STEP)
    return gradient


def check(f, **gradients):
    """`gradients`: name -> (array that f reads, what backward said)."""
    for name, (x, backward) in gradients.items():
        np.testing.assert_allclose(backward, numerical(f, x), 1e-7, 1e-8, err_msg=name)


def normal(*shape):
    return rng.standard_normal(shape)


def test_affine_backward():
    x, W, b, dout = normal(4, 3), normal(3, 5), normal(5), normal(4, 5)
    dx, dW, db = numpy_backend.affine_backward(dout, x, W)
    check(lambda: np.sum(dout * numpy_backend.affine_forward(x, W, b)), x=(x, dx), W=(W, dW), b=(b, db))


_CONVOLUTIONS = [
    {},
    {"stride": (2, 1), "padding": (1, 2)},
    {"stride": (1, 2), "dilation": (2, 1), "padding": (0, 1)},
    {"groups": 2, "padding": (1, 1), "stride": (2, 2)},
]


@pytest.mark.parametrize("options", _CONVOLUTIONS, ids=str)
def test_conv2d_backward(options):
    x, b = normal(2, 4, 5, 6), normal(2)
    W = normal(2, 4 // options.get("groups", 1), 3, 2)
    dout = normal(*numpy_backend.conv2d_forward(x, W, b, **options).shape)
    dx, dW, db = numpy_backend.conv2d_backward(dout, x, W, **options)
    check(lambda: np.sum(dout * numpy_backend.conv2d_forward(x, W, b, **options)), x=(x, dx), W=(W, dW), b=(b, db))


@pytest.mark.parametrize("options", [*_CONVOLUTIONS, {"stride": (3, 2), "output_padding": (2, 1)}], ids=str)
def test_conv_transpose2d_backward(options):
    groups = options.get("groups", 1)
    x, W, b = normal(2, 4, 3, 4), normal(4, 2 // groups, 3, 2), normal(2)
    forward = numpy_backend.conv_transpose2d_forward
    dout = normal(*forward(x, W, b, **options).shape)
    dx, dW, db = numpy_backend.conv_transpose2d_backward(dout, x, W, **options)
    check(lambda: np.sum(dout * forward(x, W, b, **options)), x=(x, dx), W=(W, dW), b=(b, db))


def test_col2im():
    x, dcol = normal(2, 3, 5, 6), normal(2 * 3 * 4, 3 * 3 * 2)
    settings = (3, 2), (2, 2), (1, 1)
    dx = numpy_backend.col2im(dcol, x.shape, *settings)
    check(lambda: np.sum(dcol * numpy_backend.im2col(x, *settings)), x=(x, dx))


@pytest.mark.parametrize("kind", ACTIVATIONS)
def test_activation_backward(kind):
    x = np.concatenate([np.linspace(-6, -0.05, 25), np.linspace(0.05, 6, 25)])  # no kink within STEP
    dout = normal(*x.shape)
    y = numpy_backend.activation_forward(x, kind, 0.3)
    dx = numpy_backend.activation_backward(dout, x if ACTIVATIONS[kind].saved == "x" else y, kind, 0.3)
    check(lambda: np.sum(dout * numpy_backend.activation_forward(x, kind, 0.3)), x=(x, dx))


def test_relu_backward():
    x, dout = normal(5, 7), normal(5, 7)
    mask = numpy_backend.relu_forward(x)[1]
    check(
        lambda: np.sum(dout * numpy_backend.relu_forward(x)[0]),
        x=(x, numpy_backend.relu_backward(dout, mask)),
    )


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_softmax_backward(name):
    forward, backward = getattr(numpy_backend, f"{name}_forward"), getattr(numpy_backend, f"{name}_backward")
    x, dout = normal(4, 6), normal(4, 6)
    check(lambda: np.sum(dout * forward(x)), x=(x, backward(dout, forward(x))))


@pytest.mark.parametrize("options", [{}, {"ignore_index": -1, "label_smoothing": 0.2}], ids=str)
def test_affine_softmax_cross_entropy(options):
    x, W, b = normal(6, 3), normal(3, 5), normal(5)
    t = np.array([0, 4, options.get("ignore_index", 1), 2, 2, 3])
    _, dx, dW, db = numpy_backend.affine_softmax_cross_entropy(x, W, b, t, **options)

    def loss():
        return numpy_backend.affine_softmax_cross_entropy(x, W, b, t, **options, gradient=False)[0]

    check(loss, x=(x, dx), W=(W, dW), b=(b, db))


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("target", ["labels", "ignore", "soft"])
def test_softmax_cross_entropy_backward(target, weighted, smoothing):
    x = normal(6, 5)
    weight = rng.uniform(0.5, 2, 5) if weighted else None
    ignore_index = -1 if target == "ignore" else None
    labels = np.array([0, 4, 1 if ignore_index is None else ignore_index, 2, 2, 3])
    t = rng.random((6, 5)) if target == "soft" else labels

    def loss():
        return numpy_backend.softmax_cross_entropy_forward(x, t, weight, ignore_index, smoothing)[0]

    y = numpy_backend.softmax_forward(x)
    dx = numpy_backend.softmax_cross_entropy_backward(y, t, 0.7, weight, ignore_index, smoothing)
    check(lambda: 0.7 * loss(), x=(x, dx))


def test_sigmoid_cross_entropy_backward():
    x, t = normal(4, 3), rng.random((4, 3))
    dx = numpy_backend.sigmoid_cross_entropy_backward(numpy_backend.activation_forward(x, "sigmoid"), t, 0.7)
    check(lambda: 0.7 * numpy_backend.sigmoid_cross_entropy_forward(x, t)[0], x=(x, dx))


def test_squared_error_backward():
    y, t = normal(4, 3), normal(4, 3)
    dy = numpy_backend.squared_error_backward(y, t, 2 * 0.25)
    check(lambda: 0.25 * numpy_backend.squared_error_forward(y, t), y=(y, dy))


@pytest.mark.parametrize("shape", [(6, 4), (3, 4, 2, 3)])
def test_batch_norm_backward(shape):
    x, gamma, beta, dout = normal(*shape), normal(4), normal(4), normal(*shape)
    _, mean, var = numpy_backend.batch_norm_forward(x, gamma, beta, 1e-3)
    dx, dgamma, dbeta = numpy_backend.batch_norm_backward(dout, x, gamma, mean, var, 1e-3)
    check(
        lambda: np.sum(dout * numpy_backend.batch_norm_forward(x, gamma, beta, 1e-3)[0]),
        x=(x, dx), gamma=(gamma, dgamma), beta=(beta, dbeta),
    )  # fmt: skip


def test_layer_norm_backward():
    x, gamma, beta, dout = normal(3, 5), normal(5), normal(5), normal(3, 5)
    _, mean, rstd = numpy_backend.layer_norm_forward(x, gamma, beta, 1e-3)
    dx, dgamma, dbeta = numpy_backend.layer_norm_backward(dout, x, gamma, mean, rstd)
    check(
        lambda: np.sum(dout * numpy_backend.layer_norm_forward(x, gamma, beta, 1e-3)[0]),
        x=(x, dx), gamma=(gamma, dgamma), beta=(beta, dbeta),
    )  # fmt: skip


@pytest.mark.parametrize("groups", [1, 2, 6])
def test_group_norm_backward(groups):
    x, gamma, beta, dout = normal(2, 6, 2, 3), normal(6), normal(6), normal(2, 6, 2, 3)
    _, mean, rstd = numpy_backend.group_norm_forward(x, gamma, beta, groups, 1e-3)
    dx, dgamma, dbeta = numpy_backend.group_norm_backward(dout, x, gamma, groups, mean, rstd)
    check(
        lambda: np.sum(dout * numpy_backend.group_norm_forward(x, gamma, beta, groups, 1e-3)[0]),
        x=(x, dx), gamma=(gamma, dgamma), beta=(beta, dbeta),
    )  # fmt: skip


_WINDOWS = [
    ((2, 2), (2, 2), (0, 0), False),
    ((3, 3), (2, 2), (1, 1), True),
    ((3, 2), (1, 3), (1, 0), False),
    ((5, 6), (5, 6), (0, 0), False),
]


@pytest.mark.parametrize(("kernel", "stride", "padding", "ceil_mode"), _WINDOWS)
def test_max_pool2d_backward(kernel, stride, padding, ceil_mode):
    x = rng.permutation(2 * 2 * 5 * 6).reshape(2, 2, 5, 6) * 0.1  # no ties within STEP
    y, arg = numpy_backend.max_pool2d_forward(x, kernel, stride, padding, ceil_mode)
    dout = normal(*y.shape)
    dx = numpy_backend.max_pool2d_backward(dout, arg, x.shape, kernel, stride, padding)
    check(lambda: np.sum(dout * numpy_backend.max_pool2d_forward(x, kernel, stride, padding, ceil_mode)[0]), x=(x, dx))


@pytest.mark.parametrize("count_include_pad", [False, True])
@pytest.mark.parametrize(("kernel", "stride", "padding", "ceil_mode"), _WINDOWS)
def test_avg_pool2d_backward(kernel, stride, padding, ceil_mode, count_include_pad):
    x = normal(2, 2, 5, 6)
    settings = kernel, stride, padding, ceil_mode, count_include_pad
    dout = normal(*numpy_backend.avg_pool2d_forward(x, *settings).shape)
    dx = numpy_backend.avg_pool2d_backward(dout, x.shape, *settings)
    check(lambda: np.sum(dout * numpy_backend.avg_pool2d_forward(x, *settings)), x=(x, dx))


def test_embedding_backward():
    W, index = normal(6, 3), np.array([[1, 4, 1], [5, 4, 0]])
    dout = normal(2, 3, 3)
    dW = numpy_backend.embedding_backward(dout, index, 6)
    check(lambda: np.sum(dout * numpy_backend.embedding_forward(W, index)), W=(W, dW))
    rows, values = numpy_backend.embedding_backward_rows(dout, index, 6)
    np.testing.assert_array_equal(rows, [1, 4, 5, 0])
    np.testing.assert_array_equal(values, dW[rows])


def test_dropout_backward():
    x, dout = normal(5, 7), normal(5, 7)
    mask = numpy_backend.dropout_forward(x, 0.4, 5, 1.5)[1]
    check(
        lambda: np.sum(dout * numpy_backend.dropout_forward(x, 0.4, 5, 1.5)[0]),
        x=(x, numpy_backend.dropout_backward(dout, mask, 1.5)),
    )


def test_dropout2d_backward():
    x, dout = normal(3, 4, 2, 3), normal(3, 4, 2, 3)
    mask = numpy_backend.dropout2d_forward(x, 0.4, 5, 1.5)[1]
    check(
        lambda: np.sum(dout * numpy_backend.dropout2d_forward(x, 0.4, 5, 1.5)[0]),
        x=(x, numpy_backend.dropout2d_backward(dout, mask, 1.5)),
    )


_SEQUENCES = [
    {},
    {"bias": False, "state": False},
    {"reverse": True},
    {"time_major": True, "lengths": True},
    {"lengths": True, "reverse": True},
]


def _sequence(op, **what):
    """Arguments of <op>_forward, what it returned, and a function that computes sum(hs * dhs) from them again."""
    args = cases.build(f"{op}_forward", np.float64, N=3, T=4, D=3, H=5, **what)
    forward = getattr(numpy_backend, f"{op}_forward")
    returned = forward(**args)
    returned = returned if isinstance(returned, tuple) else (returned,)
    return args, returned, normal(*returned[0].shape)


def _check_sequence(loss, args, dx, dWx, dWh, db, dh0, **more):
    gradients = {"x": dx, "Wx": dWx, "Wh": dWh, "b": db, "h0": dh0} | more
    check(loss, **{name: (args[name], d) for name, d in gradients.items() if args[name] is not None})


@pytest.mark.parametrize("activation", ["tanh", "relu", "sigmoid"])
@pytest.mark.parametrize("what", _SEQUENCES, ids=str)
def test_rnn_backward(what, activation):
    args, (hs,), dhs = _sequence("rnn", activation=activation, **what)
    b = args.pop("b")
    *arrays, activation, lengths, reverse, time_major = args.values()
    gradients = numpy_backend.rnn_backward(dhs, *arrays, hs, activation, lengths, reverse, time_major)
    args = args | {"b": b}
    _check_sequence(lambda: np.sum(dhs * numpy_backend.rnn_forward(**args)), args, *gradients)


@pytest.mark.parametrize("peephole", [False, True])
@pytest.mark.parametrize("what", _SEQUENCES, ids=str)
def test_lstm_backward(what, peephole):
    args, saved, dhs = _sequence("lstm", peephole=peephole, **what)
    dcT = normal(3, 5)
    options = {name: args[name] for name in ("peephole", "lengths", "reverse", "time_major")}
    weights = [args[name] for name in ("x", "Wx", "Wh", "h0", "c0")]
    *gradients, dc0, dpeephole = numpy_backend.lstm_backward(dhs, dcT, *weights, *saved, **options)

    def loss():
        hs, cs, _ = numpy_backend.lstm_forward(**args)
        cs = cs.swapaxes(0, 1) if args["time_major"] else cs
        T, lengths = cs.shape[1], args["lengths"]
        total = np.sum(dhs * hs)
        for n, steps in enumerate([T] * 3 if lengths is None else lengths):
            if steps:
                total += dcT[n] @ cs[n, 0 if args["reverse"] else steps - 1]
            elif args["c0"] is not None:
                total += dcT[n] @ args["c0"][n]
        return total

    _check_sequence(loss, args, *gradients, c0=dc0, peephole=dpeephole)


@pytest.mark.parametrize("linear", [False, True])
@pytest.mark.parametrize("what", _SEQUENCES, ids=str)
def test_gru_backward(what, linear):
    args, saved, dhs = _sequence("gru", linear=linear, **what)
    options = {name: args[name] for name in ("linear_before_reset", "lengths", "reverse", "time_major")}
    weights = [args[name] for name in ("x", "Wx", "Wh", "h0")]
    *gradients, db_h = numpy_backend.gru_backward(dhs, *weights, *saved, **options)
    _check_sequence(lambda: np.sum(dhs * numpy_backend.gru_forward(**args)[0]), args, *gradients, b_h=db_h)


@pytest.mark.parametrize("heads", [None, 2])
@pytest.mark.parametrize("options", [{}, {"mask": True}, {"causal": True}, {"mask": True, "causal": True}], ids=str)
@pytest.mark.parametrize("keys", [3, 5, 7])
def test_scaled_dot_product_attention_backward(keys, options, heads):
    args = cases.build(
        "scaled_dot_product_attention_forward", np.float64, N=3, T=5, S=keys, D=3, M=2, heads=heads, **options
    )
    forward = numpy_backend.scaled_dot_product_attention_forward
    dout = normal(*forward(**args).shape)
    gradients = numpy_backend.scaled_dot_product_attention_backward(dout, **args)
    check(
        lambda: np.sum(dout * forward(**args)),
        **{name: (args[name], d) for name, d in zip("qkv", gradients, strict=True)},
    )


def test_every_backward_is_checked_here():
    assert all(f"test_{op}" in globals() for op in OPS if op.endswith("_backward") and op != "log_softmax_backward")
