"""Numbers outside of their intervals are refused on every backend, before anything is written; others are taken."""

import copy
import math

import cases
import numpy as np
import pytest
from every_backend import *  # noqa: F403 (fixtures)
from every_backend import on_every_backend

from fastnn import Network, backends, layers, ops, optimizer, time_layers, util
from fastnn.ops._bounds import BOUNDS, Interval, bounded

ROWS = [(op, name) for op in BOUNDS if op in backends.OPS for name in BOUNDS[op]]


WHOLE = "ignore_index", "key", "V"


def around(name, interval):
    """(numbers inside of an interval, numbers outside)."""
    if name in WHOLE:
        numbers = {-(2**70), -1, 0, 1, 2, 2**70}
        for end in int(interval.low), int(interval.high):
            numbers |= {end - 1, end, end + 1}
        return [n for n in numbers if n in interval], [n for n in numbers if n not in interval]
    numbers = {-math.inf, -1e300, -1.0, -1e-300, 0.0, 1e-300, 0.5, 1.0, 2.0, 1e300, math.inf}
    for end in interval.low, interval.high:
        numbers |= {end, math.nextafter(end, -math.inf), math.nextafter(end, math.inf)}
    return [n for n in numbers if n in interval], [n for n in numbers if n not in interval] + [math.nan]


@pytest.mark.parametrize(("op", "name"), ROWS)
@on_every_backend
def test_numbers_of_operations(op, name, backend):
    interval = BOUNDS[op][name]
    good, bad = around(name, interval)
    f, args = getattr(ops, op), cases.make(op, "tiny", np.float32)
    lists = [n for n, value in args.items() if isinstance(value, list)]
    for value in bad:
        for given in args, args | {key: [] for key in lists}:
            now = cases.copied(given | {name: value})
            before = copy.deepcopy(now)
            with pytest.raises(ValueError) as caught:
                f(**now)
            assert str(caught.value) == f"{op}: {name} is {value}; it must lie in {interval.text}"
            for key in given:
                if key != name:
                    np.testing.assert_array_equal(now[key], before[key], key)
    with pytest.raises(TypeError, match=f"{op}: {name} is '0.5'; it must be a (whole )?number"):
        f(**cases.copied(args) | {name: "0.5"})
    for value in good if name != "V" else [args["V"]]:  # an array of so many rows
        with np.errstate(all="ignore"):
            f(**cases.copied(args) | {name: value})


@pytest.mark.skipif("native" not in backends.available(), reason="the native backend is not installed")
@pytest.mark.parametrize(("op", "name"), ROWS)
def test_native_functions_have_the_intervals_of_the_table(op, name):
    """They take what lies inside without asking, so that it costs nothing, and decline the rest."""
    good, bad = around(name, BOUNDS[op][name])
    good = [] if name == "V" else good
    args = cases.make(op, "tiny", np.float32)
    native = getattr(backends.load("native"), op)
    with np.errstate(all="ignore"):
        assert all(native(*(cases.copied(args) | {name: value}).values()) is not None for value in good)
        assert all(native(*(cases.copied(args) | {name: value}).values()) is None for value in bad)


def test_every_number_of_an_update_has_an_interval():
    for op, signature in backends.OPS.items():
        if op.endswith("_update"):
            numbers = list(signature.parameters)
            numbers = numbers[numbers.index("lr") :]
            assert set(numbers) - set(BOUNDS[op]) <= {"lookahead", "decoupled"}
    for op in BOUNDS.keys() & backends.OPS.keys():
        assert BOUNDS[op].keys() <= backends.OPS[op].parameters.keys()


def test_intervals():
    half_open = Interval.read("[0, 1)")
    assert 0 in half_open and 1 not in half_open and math.nan not in half_open and half_open.text == "[0, 1)"
    assert math.inf in Interval.read("[0, inf]") and math.inf not in Interval.read("[0, inf)")
    assert bounded("adam_update", "step", 3) == 3 and bounded("no table", "x", -2) == -2
    for huge in 10**400, -(10**400):
        with pytest.raises(ValueError, match="adam_update: step is"):
            bounded("adam_update", "step", huge)
    for wrong in None, "1", b"1", 1j, [1, 2]:
        with pytest.raises(TypeError, match="sgd_update: lr is"):
            bounded("sgd_update", "lr", wrong)


RULES = [
    (optimizer.SGD, {"weight_decay": -0.1}), (optimizer.SGD, {"lr": math.nan}), (optimizer.SGD, {"clip_norm": -1}),
    (optimizer.Momentum, {"momentum": 1.5}), (optimizer.Nesterov, {"momentum": -0.1}),
    (optimizer.AdaGrad, {"epsilon": 0}), (optimizer.RMSprop, {"decay_rate": 2}), (optimizer.RMSprop, {"epsilon": -1}),
    (optimizer.Adam, {"beta1": 1.0}), (optimizer.Adam, {"beta2": 2.0}), (optimizer.Adam, {"clip_value": -1}),
    (optimizer.AdamW, {"weight_decay": math.inf}), (optimizer.Adam, {"iter": -2}),
]  # fmt: skip


@pytest.mark.parametrize(("cls", "options"), RULES)
@on_every_backend
def test_a_refused_step_changes_nothing(cls, options):
    """By the optimizer, and in a network, whose dropout has drawn nothing then."""
    rule, (name, value) = cls(), next(iter(options.items()))
    setattr(rule, name, value)
    shown = "step is -1" if name == "iter" else f"{name} is {value}"
    p = np.ones(3)
    with pytest.raises(ValueError, match=shown):
        rule.update([p], [np.ones(3)])
    assert np.all(p == 1) and getattr(rule, "iter", 0) in (0, -2)
    W, dropout = np.ones((4, 3)), layers.Dropout(0.5, rng=0)
    net = Network([layers.Affine(W, np.zeros(3)), dropout], layers.SoftmaxWithLoss())
    before = dropout.rng.bit_generator.state
    with pytest.raises(ValueError, match=shown):
        net.step(np.ones((2, 4)), np.array([0, 1]), rule)
    assert np.all(W == 1) and dropout.rng.bit_generator.state == before and getattr(rule, "iter", 0) in (0, -2)
    setattr(rule, name, getattr(cls(), name))
    net.step(np.ones((2, 4)), np.array([0, 1]), rule)
    assert not np.all(W == 1)


def test_clip_grads():
    for bad in -1, math.nan:
        g = [np.ones(3)]
        with pytest.raises(ValueError, match=f"clip_grads: max_norm is {bad}"):
            util.clip_grads(g, bad)
        assert np.all(g[0] == 1)
    util.clip_grads(g, math.inf)
    assert np.all(g[0] == 1)
    util.clip_grads(g, 0)
    assert np.all(g[0] == 0)


# ---- what an option of 0 switches off is not read: 0 * inf would be NaN ---------------------------------------------

INF, NAN = math.inf, math.nan
OFF = [  # (operation, lists, numbers, expected lists)
    ("sgd_update", {"params": INF, "grads": 1}, {"lr": 0.1, "weight_decay": 0, "clip_value": 5}, {"params": INF}),
    ("sgd_update", {"params": INF, "grads": 1}, {"lr": 0.1, "clip_norm": 5}, {"params": INF}),
    ("momentum_update", {"params": 1, "grads": 1, "v": INF}, {"lr": 0.5, "momentum": 0}, {"params": 0.5, "v": -0.5}),
    ("momentum_update", {"params": 1, "grads": 1, "v": NAN}, {"lr": 0.5, "momentum": 0}, {"params": 0.5, "v": -0.5}),
    ("momentum_update", {"params": 1, "grads": 1, "v": -INF}, {"lr": 0.5, "momentum": 0.5}, {"params": -INF}),
    ("nesterov_update", {"params": 1, "grads": 1, "v": INF}, {"lr": 0.5, "momentum": 0, "lookahead": False},
     {"params": 0.5, "v": -0.5}),
    ("nesterov_update", {"params": 1, "grads": 1, "v": INF}, {"lr": 0.5, "momentum": 0, "lookahead": True},
     {"params": 0.5, "v": -0.5}),
    ("nesterov_update", {"params": 1, "grads": INF, "v": 0}, {"lr": 0.5, "momentum": 0, "lookahead": True},
     {"params": -INF, "v": -INF}),
    ("rmsprop_update", {"params": 1, "grads": 1, "h": INF}, {"lr": 0.5, "decay_rate": 0, "epsilon": 1.0},
     {"params": 0.75, "h": 1}),
    ("adam_update", {"params": 1, "grads": 1, "m": INF, "v": 1},
     {"lr": 0.5, "beta1": 0, "beta2": 0, "epsilon": 1.0, "step": 1}, {"params": 0.75, "m": 1, "v": 1}),
    ("adam_update", {"params": 1, "grads": 1, "m": 1, "v": INF},
     {"lr": 0.5, "beta1": 0, "beta2": 0, "epsilon": 1.0, "step": 1}, {"params": 0.75, "m": 1, "v": 1}),
    ("adam_update", {"params": INF, "grads": 1, "m": 0, "v": 0},
     {"lr": 0.5, "beta1": 0.9, "beta2": 0.9, "epsilon": 1.0, "step": 1, "decoupled": True}, {"params": INF}),
    ("adam_update", {"params": INF, "grads": 1, "m": 0, "v": 0},
     {"lr": 0.5, "beta1": 0.9, "beta2": 0.9, "epsilon": 1.0, "step": 1, "clip_value": 3}, {"params": INF}),
    ("moving_average", {"arrays": INF, "values": 3}, {"momentum": 0}, {"arrays": 3}),
    ("moving_average", {"arrays": 3, "values": INF}, {"momentum": 1}, {"arrays": 3}),
]  # fmt: skip


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("op", "lists", "numbers", "expected"), OFF)
@on_every_backend
def test_what_is_switched_off_is_not_read(op, lists, numbers, expected, dtype):
    for n in 1, 3, 37, 30_000:
        arrays = {name: [np.full(n, value, dtype)] for name, value in lists.items()}
        getattr(ops, op)(**arrays, **numbers)
        for name, value in expected.items():
            np.testing.assert_array_equal(arrays[name][0], value, f"{name}, {n}")


def test_nesterov():
    """lookahead False is the accelerated gradient: these are the numbers of PyTorch's SGD(0.1, 0.9, nesterov=True)."""
    for lookahead, wanted in (False, -0.10458168), (True, -0.12973320):
        p, rule = [np.ones(1)], optimizer.Nesterov(0.1, 0.9, lookahead)
        for _ in range(5):
            rule.update(p, [p[0].copy()])
        assert p[0][0] == pytest.approx(wanted, abs=1e-8)
    assert optimizer.Nesterov().lookahead


@on_every_backend
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("cls", [layers.BatchNormalization, layers.BatchNorm2d])
def test_momentum_of_running_statistics(cls, dtype):
    """Alone as in a network: out of range is refused before anything changes; a statistic that counts 0 is not read."""
    x = np.random.default_rng(0).standard_normal((5, 3) if cls is layers.BatchNormalization else (5, 3, 2, 2))
    for momentum in -0.1, 1.1, math.nan, math.inf:
        layer = cls(np.ones(3, dtype), np.zeros(3, dtype), momentum)
        with pytest.raises(ValueError, match=f"moving_average: momentum is {momentum}"):
            layer.forward(x)
        assert layer._saved is None and not np.any(layer.running_mean)
    with pytest.raises(TypeError, match="momentum is '1'"):
        cls(np.ones(3, dtype), np.zeros(3, dtype), "1").forward(x)
    for momentum, running in (0, np.inf), (1, 2.0), (0.25, np.float32([1, 2, 3])), (0.5, 7):
        given = running if np.ndim(running) else np.full(3, running)
        layer = cls(np.ones(3, dtype), np.zeros(3, dtype), momentum, running, given.copy())
        layer.forward(x)
        mean = x.mean(axis=tuple(i for i in range(x.ndim) if i != 1))
        wanted = momentum * given + (1 - momentum) * mean if momentum else mean
        np.testing.assert_allclose(layer.running_mean, wanted, 1e-3 if dtype is np.float16 else 1e-6)
        assert layer.running_mean.dtype == dtype and np.isfinite(layer.running_var).all()
    with pytest.raises(ValueError, match=r"running_mean is \(2,\) but x has 3 of them"):
        cls(np.ones(3, dtype), np.zeros(3, dtype), running_mean=np.zeros(2), running_var=np.ones(3)).forward(x)


def with_ratio(layer, ratio):
    layer.dropout_ratio = ratio
    return layer


@pytest.mark.parametrize(
    ("layer", "shown"),
    [
        (layers.LayerNorm(np.ones(3), np.zeros(3), -1.0), "layer_norm_forward: epsilon is -1.0"),
        (layers.BatchNorm2d(np.ones(3), np.zeros(3), epsilon=math.nan), "batch_norm_forward: epsilon is nan"),
        (layers.BatchNormalization(np.ones(3), np.zeros(3), momentum=1.5), "moving_average: momentum is 1.5"),
        (with_ratio(layers.Dropout(), -0.1), "dropout_forward: ratio is -0.1"),
        (with_ratio(layers.Dropout2d(), math.nan), "dropout2d_forward: ratio is nan"),
    ],
)
@on_every_backend
def test_numbers_of_layers_in_a_network(layer, shown):
    images = "2d" in type(layer).__name__
    x = np.ones((2, 3, 4, 4) if images else (2, 3))
    more = [layers.GlobalAveragePooling()] if images else []
    net = Network([layer, *more, layers.Affine(np.ones((3, 2)), np.zeros(2))], layers.SoftmaxWithLoss())
    with pytest.raises(ValueError, match=shown):
        net.step(x, np.array([0, 1]), optimizer.SGD())
    with pytest.raises(ValueError, match="label_smoothing is 2"):
        Network([layers.Affine(np.ones((3, 2)), np.zeros(2))], layers.SoftmaxCrossEntropy(label_smoothing=2)).loss(
            np.ones((2, 3)), np.array([0, 1])
        )


def test_ratios_of_dropout_layers():
    for cls in layers.Dropout, layers.Dropout2d, time_layers.TimeDropout:
        for bad in -0.1, 1.1, math.nan:
            with pytest.raises(ValueError, match=f"ratio is {bad}"):
                cls(bad)
        for good in 0, 0.5, 1:
            assert cls(good).dropout_ratio == good


def test_what_is_no_number():
    for op, signature in backends.OPS.items():
        args = cases.make(op, "tiny", np.float32)
        for name, parameter in signature.parameters.items():
            value = args.get(name, parameter.default)
            if type(value) not in (int, float) or "_norm_" in op:
                continue
            for bad in None, "1", 1j, [1.0, 2.0], np.ones(3):
                if bad is not None or name != "ignore_index":
                    with pytest.raises(TypeError, match=f"^{op}: {name} is"):
                        getattr(ops, op)(**cases.copied(args) | {name: bad})
