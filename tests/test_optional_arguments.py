"""Whatever an operation may be given or not, in plans as in its own call; and networks without each optional array."""

import inspect
import re
from pathlib import Path

import cases
import numpy as np
import pytest
from every_backend import backend as backend
from every_backend import one_thread as one_thread

import fastnn
from fastnn import layers, ops, optimizer, time_layers

SOURCE = Path(__file__).resolve().parents[1] / "src" / "bindings" / "plan_operations.cpp"


def optional_arguments():
    """{operation: [(argument, type)]} of native plans: words "name:t?AXES" of the table of operations."""
    found = {}
    text = SOURCE.read_text() if SOURCE.exists() else ""
    for op, words in re.findall(r'\{"(\w+)",\s*((?:"[^"]*"\s*)+),\s*FASTNN_BOTH', text):
        optional = re.findall(r"(\w+):(\w)\?", words)
        if optional:
            found[op] = optional
    return found


OPTIONAL = optional_arguments()
# What makes an argument possible: options of the cases that have all of them.
CASE = {"lstm": {"peephole": True}, "gru": {"linear": True}, "rnn": {}}
# What is left out with another argument.
TOGETHER = {
    ("lstm_backward", "peephole"): ["peephole", "dpeephole"],
    ("affine_softmax_cross_entropy", "dW"): ["dW", "db", "dx"],
}


def arguments(op, dtype):
    """All arguments of a small call, none of them None but for lengths."""
    if (cell := op.split("_")[0]) in CASE:
        return cases.build(op, dtype, N=3, T=4, D=5, H=6, **CASE[cell])
    args = cases.make(op, "tiny", dtype)
    rng = np.random.default_rng(5)
    normal = lambda *shape: rng.standard_normal(shape).astype(dtype)  # noqa: E731
    if op.startswith(("softmax_cross", "affine_softmax")):
        V = (args["W"] if "W" in args else args.get("x", args.get("y"))).shape[1]
        args |= {"weight": np.abs(normal(V)) + 1, "ignore_index": 0, "t": np.arange(len(args["t"])) % V}
    for name, _ in OPTIONAL[op]:
        if name in args and args[name] is None:
            args[name] = normal(args["W"].shape[{"conv2d_forward": 0, "conv_transpose2d_forward": 1}.get(op, 1)])
    return args


@pytest.mark.skipif("native" not in fastnn.backends.available() or not OPTIONAL, reason="no native plans here")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("op, missing", [(op, name) for op in OPTIONAL for name, _ in OPTIONAL[op]])
def test_each_optional_argument_of_an_instruction_may_be_left_out(op, missing, dtype):
    from test_plan import Program

    args = arguments(op, dtype)
    gone = TOGETHER.get((op, missing), [missing])
    outputs = inspect.signature(getattr(ops, op)).parameters
    outputs = [n for n in cases.OUTPUTS[op] if n in outputs]
    given = {name: None if name in gone else value for name, value in args.items()}
    with fastnn.use_backend("native"):
        expected = cases.run(getattr(ops, op), op, given)
    p, inputs = Program(dtype, 1), []

    def buffer(name, value):
        if not isinstance(value, np.ndarray):
            return value
        if name == "t":
            inputs.append(value)
            return p.input(0, value.shape, "labels", 0)
        return p.array(value)

    emitted, results = [buffer(name, value) for name, value in cases.copied(given).items()], {}
    for name in outputs:
        if name in gone or name not in expected:
            emitted.append(None)
        else:
            results[name] = np.full_like(expected[name], np.nan)
            emitted.append(p.array(results[name]))
    p.emit(op, *emitted)
    loss = p.plan().run(1, tuple(inputs))
    assert "loss" not in expected or loss == expected["loss"]
    assert results or "loss" in expected
    for name, got in results.items():
        assert got.tobytes() == expected[name].tobytes(), name


# ---- networks --------------------------------------------------------------------------------------------------------


def normal(*shape, seed=0, dtype="float64"):
    return (0.4 * np.random.default_rng([seed, *shape]).standard_normal(shape)).astype(dtype)


N, T, D, H = 4, 5, 3, 6
STEPS, IMAGES, ROWS = normal(N, T, D, seed=1), normal(N, 2, 6, 6, seed=1), normal(N, D, seed=1)
LAST = np.arange(N) % 2


def recurrent(layer, gates, bias, **options):
    """A maker of a recurrent layer between others, so that it has an input gradient, or the first one."""

    def make(D, dtype):
        weights = [normal(*s, dtype=dtype) for s in ((D, gates * H), (H, gates * H))]
        b = normal(gates * H, dtype=dtype) if bias else None
        more = {k: v.astype(dtype) if isinstance(v, np.ndarray) else v for k, v in options.items()}
        return getattr(time_layers, layer)(*weights, b, **more)

    return make


SEQUENCES = {
    f"{layer} {'with' if bias else 'without'} b {sorted(options)}": recurrent(layer, gates, bias, **options)
    for layer, gates, kinds in (
        ("TimeRNN", 1, ({}, {"activation": "relu"}, {"stateful": True})),
        ("TimeLSTM", 4, ({}, {"peephole": normal(3 * H)}, {"stateful": True, "reverse": True})),
        ("TimeGRU", 3, ({}, {"linear_before_reset": True}, {"linear_before_reset": True, "b_h": normal(H)})),
    )
    for options in kinds
    for bias in (True, False)
}


def affine(D, M, dtype):
    return layers.Affine(normal(D, M, dtype=dtype), normal(M, dtype=dtype))


def check(make, loss, x, t, dtype):
    """Gradients and steps of the network are those of the layers one by one."""
    own, other, criterion = make(), make(), loss()
    net, rule, like = fastnn.Network(own, loss()), optimizer.SGD(0.1), optimizer.SGD(0.1)
    x = x.astype(dtype) if x.dtype.kind == "f" else x
    for _ in range(2):
        out = x
        for layer in other:
            out = layer.forward(out)
        expected = criterion.forward(out, t)
        dout = criterion.backward()
        for layer in reversed(other):
            dout = layer.backward(dout)
        near = {"rtol": 1e-5, "atol": 1e-6} if dtype == "float32" else {"rtol": 1e-11, "atol": 1e-13}
        assert net.gradient(x, t) is not None
        pairs = [(a, b) for one, two in zip(own, other, strict=True) for a, b in zip(one.grads, two.grads, strict=True)]
        assert pairs
        for a, b in pairs:
            np.testing.assert_allclose(a, b, **near)
            assert np.isfinite(a).all()
        for layer in own:  # states are those before the pass
            if getattr(layer, "stateful", False):
                layer.reset_state()
        for layer in other:
            if getattr(layer, "stateful", False):
                layer.reset_state()
        np.testing.assert_allclose(net.step(x, t, rule), expected, **near)
        like.update([p for layer in other for p in layer.params], [g for layer in other for g in layer.grads])
        for layer in own:
            if getattr(layer, "stateful", False):
                layer.reset_state()
    for one, two in zip(own, other, strict=True):
        for a, b in zip(one.params, two.params, strict=True):
            np.testing.assert_allclose(a, b, **near)
    return net


@pytest.mark.usefixtures("backend", "one_thread")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("name", SEQUENCES)
def test_recurrent_networks(name, first, dtype):
    def make():
        width = D if first else 4
        between = [] if first else [time_layers.TimeAffine(normal(D, 4, dtype=dtype), normal(4, dtype=dtype))]
        return [*between, SEQUENCES[name](width, dtype), affine(T * H, 2, dtype)]

    net = check(make, layers.SoftmaxCrossEntropy, STEPS, LAST, dtype)
    assert not any(planned.program.in_python for planned in net._plans.values())


@pytest.mark.usefixtures("backend", "one_thread")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("first", [True, False])
def test_networks_of_images(first, bias, dtype):
    def make():
        b = normal(3, dtype=dtype) if bias else None
        filters, back = normal(3, 2, 3, 3, dtype=dtype), normal(3, 3, 2, 2, dtype=dtype)
        net = [layers.Convolution(filters, b, input_gradient=not first), layers.Relu(),
               layers.ConvTranspose2d(back, b, input_gradient=True), affine(75, 2, dtype)]  # fmt: skip
        return net if first else [layers.Convolution(normal(2, 2, 1, 1, dtype=dtype), None), *net]

    check(make, layers.SoftmaxWithLoss, IMAGES, LAST, dtype)


@pytest.mark.usefixtures("backend", "one_thread")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("V", [7, 2003])  # from 2,000 classes on, product and loss are one operation
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("options", ["weight", "ignore_index", "label_smoothing", ""])
def test_losses_over_products(options, bias, V, first, dtype):
    given = {"weight": 1 + np.arange(V).astype(dtype) % 3, "ignore_index": 1, "label_smoothing": 0.1}

    def make():
        W = normal(D if first else 5, V, dtype=dtype)
        last = layers.Affine(W, normal(V, dtype=dtype)) if bias else layers.MatMul(W)
        return [last] if first else [layers.MatMul(normal(D, 5, dtype=dtype)), last]

    loss = lambda: layers.SoftmaxCrossEntropy(**{k: v for k, v in given.items() if k == options})  # noqa: E731
    check(make, loss, ROWS, np.array([3, 1, 6, 0]), dtype)
