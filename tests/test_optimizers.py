"""Optimizers against the books' formulas, over dicts, lists, several dtypes and Python numbers."""

import math

import numpy as np
import pytest
from every_backend import backend, on_every_backend  # noqa: F401

from fastnn import optimizer

pytestmark = on_every_backend


def sgd(p, g, s, lr=0.01):
    return p - lr * g


def momentum(p, g, s, lr=0.01, momentum=0.9):
    s["v"] = momentum * s["v"] - lr * g
    return p + s["v"]


def nesterov_old(p, g, s, lr=0.01, momentum=0.9):
    step = momentum**2 * s["v"] - (1 + momentum) * lr * g
    s["v"] = momentum * s["v"] - lr * g
    return p + step


def nesterov_new(p, g, s, lr=0.01, momentum=0.9):
    s["v"] = momentum * s["v"] - lr * g
    return p + momentum**2 * s["v"] - (1 + momentum) * lr * g


def adagrad(p, g, s, lr=0.01):
    s["h"] = s["h"] + g * g
    return p - lr * g / (np.sqrt(s["h"]) + 1e-7)


def rmsprop(p, g, s, lr=0.01, decay_rate=0.99):
    s["h"] = decay_rate * s["h"] + (1 - decay_rate) * g * g
    return p - lr * g / (np.sqrt(s["h"]) + 1e-7)


def adam(p, g, s, lr=0.001, beta1=0.9, beta2=0.999):
    s["iter"] = s.get("iter", 0) + 1
    a = lr * math.sqrt(1 - beta2 ** s["iter"]) / (1 - beta1 ** s["iter"])
    s["m"] = s["m"] + (1 - beta1) * (g - s["m"])
    s["v"] = s["v"] + (1 - beta2) * (g * g - s["v"])
    return p - a * s["m"] / (np.sqrt(s["v"]) + 1e-7)


def adamw(p, g, s, lr=0.001, weight_decay=0.01):
    return adam(p - lr * weight_decay * p, g, s, lr)


RULES = [
    (optimizer.SGD, {}, sgd),
    (optimizer.SGD, {"lr": 0.1}, sgd),
    (optimizer.Momentum, {"lr": 0.05, "momentum": 0.8}, momentum),
    (optimizer.Nesterov, {}, nesterov_new),
    (optimizer.Nesterov, {"lookahead": False}, nesterov_old),
    (optimizer.AdaGrad, {"lr": 0.2}, adagrad),
    (optimizer.RMSprop, {"decay_rate": 0.9}, rmsprop),
    (optimizer.Adam, {"beta1": 0.8}, adam),
    (optimizer.AdamW, {"lr": 0.02}, adamw),
]
rules = pytest.mark.parametrize("cls, options, rule", RULES, ids=lambda v: getattr(v, "__name__", ""))
SHAPES = {"W1": (7, 5), "b1": (5,), "W2": (5, 3), "b2": (3,)}


def arrays(seed, dtype=np.float64):
    rng = np.random.default_rng(seed)
    return {name: rng.standard_normal(shape).astype(dtype) for name, shape in SHAPES.items()}


def expected(rule, options, steps, dtype=np.float64):
    """The rule on each array by itself, in float64."""
    options = {k: v for k, v in options.items() if k != "lookahead"}
    results = {}
    for name, p in arrays(0, dtype).items():
        p, state = p.astype(np.float64), dict.fromkeys("vhm", 0.0)
        for step in range(steps):
            p = rule(p, arrays(1 + step, dtype)[name].astype(np.float64), state, **options)
        results[name] = p
    return results


@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("kind", [dict, list])
@rules
def test_rule(cls, options, rule, kind, dtype):
    params, opt = arrays(0, dtype), cls(**options)
    originals = dict(params)
    for step in range(4):
        grads = arrays(1 + step, dtype)
        before = {k: g.copy() for k, g in grads.items()}
        if kind is dict:
            opt.update(params, {**grads, "extra": None})  # extra keys do not matter
        else:
            entries = list(params.values())
            opt.update(entries, list(grads.values()))
            assert all(a is b for a, b in zip(entries, originals.values(), strict=True))
        assert all((grads[k] == before[k]).all() for k in grads)
    tolerance = 1e-5 if dtype == np.float32 else 1e-12
    for name, p in expected(rule, options, 4, dtype).items():
        assert params[name] is originals[name]
        np.testing.assert_allclose(params[name], p, rtol=tolerance, atol=tolerance)
    for name in cls.state_names:
        state = getattr(opt, name)
        assert type(state) is kind and len(state) == 4
        assert (state["W1"] if kind is dict else state[0]).dtype == dtype


@rules
def test_python_numbers_are_replaced(cls, options, rule):
    """Book 1 ch. 6, optimizer_compare_naive.py: parameters x and y are Python floats."""
    params, opt = {"x": -7.0, "y": 2.0}, cls(**options)
    states = {k: dict.fromkeys("vhm", 0.0) for k in params}
    values = dict(params)
    plain = {k: v for k, v in options.items() if k != "lookahead"}
    for _ in range(30):
        grads = {"x": params["x"] / 10.0, "y": 2.0 * params["y"]}
        values = {
            k: rule(values[k], {"x": values["x"] / 10, "y": 2 * values["y"]}[k], states[k], **plain) for k in values
        }
        opt.update(params, grads)
        assert isinstance(params["x"], float)
    assert params == pytest.approx(values, rel=1e-10)
    for name in cls.state_names:
        assert getattr(opt, name)["x"].shape == ()


@rules
def test_mixed_dtypes(cls, options, rule):
    params, opt = arrays(0, np.float32), cls(**options)
    params["W2"], params["b2"] = arrays(0)["W2"], 0.5
    for step in range(3):
        opt.update(params, {**arrays(1 + step), "b2": 0.25})
    assert params["W1"].dtype == np.float32 and params["W2"].dtype == np.float64
    np.testing.assert_allclose(params["W2"], expected(rule, options, 3)["W2"], rtol=1e-12)
    np.testing.assert_allclose(params["W1"], expected(rule, options, 3)["W1"], rtol=1e-4, atol=1e-5)


@rules
def test_any_memory_layout(cls, options, rule):
    params, opt = arrays(0), cls(**options)
    W1 = params["W1"] = np.asfortranarray(params["W1"])
    for step in range(3):
        grads = arrays(1 + step)
        grads["W2"] = np.asfortranarray(grads["W2"])
        opt.update(params, grads)
    assert params["W1"] is W1
    for name, p in expected(rule, options, 3).items():
        np.testing.assert_allclose(params[name], p, rtol=1e-12)


def test_an_array_at_two_positions_is_updated_twice():
    """Book 2 models that share a weight, without remove_duplicate."""
    W, g = np.zeros(100), [np.ones(100), np.full(100, 2.0)]
    optimizer.SGD(lr=0.1).update([W, W], g)
    np.testing.assert_allclose(W, -0.3)


def test_learning_rate_is_read_at_every_update():
    params, opt = {"p": np.zeros(3)}, optimizer.SGD(lr=1.0)
    opt.update(params, {"p": np.ones(3)})
    opt.lr = 0.5
    opt.update(params, {"p": np.ones(3)})
    np.testing.assert_array_equal(params["p"], -1.5)


def test_sgd_serves_several_networks():
    opt = optimizer.SGD(lr=1.0)
    for n in (3, 5):
        params = {"p": np.zeros(n)}
        opt.update(params, {"p": np.ones(n)})
        np.testing.assert_array_equal(params["p"], -1)


@pytest.mark.parametrize("kind", [dict, list])
def test_clipping_and_weight_decay(kind):
    p = [np.array([1.0, -2.0]), np.array([[3.0]])]
    g = [np.array([3.0, 0.0]), np.array([[4.0]])]
    opt = optimizer.SGD(lr=1.0, clip_norm=1.0, clip_value=0.7, weight_decay=0.1)
    params, grads = (dict(enumerate(p)), dict(enumerate(g))) if kind is dict else (list(p), g)
    opt.update(params, grads)
    np.testing.assert_allclose(p[0], [1.0 - (0.6 + 0.1), -2.0 + 0.2], rtol=1e-6)
    np.testing.assert_allclose(p[1], [[3.0 - (0.7 + 0.3)]], rtol=1e-6)
    np.testing.assert_array_equal(g[0], [3.0, 0.0])


def test_clip_norm_is_over_all_dtypes():
    params = {"a": np.zeros(1, np.float32), "b": np.zeros(1), "c": 0.0}
    optimizer.SGD(lr=1.0, clip_norm=1.0).update(params, {"a": np.array([2.0]), "b": np.array([3.0]), "c": 6.0})
    assert (params["a"][0], params["b"][0], params["c"]) == pytest.approx((-2 / 7, -3 / 7, -6 / 7), rel=1e-5)


def test_adam_counts_its_steps():
    opt = optimizer.Adam()
    assert opt.iter == 0 and opt.m is None and opt.v is None
    opt.update([np.zeros(2)], [np.ones(2)])
    assert opt.iter == 1


def test_errors():
    with pytest.raises(KeyError):
        optimizer.SGD().update({"a": np.zeros(2)}, {"b": np.zeros(2)})
    with pytest.raises(ValueError, match="grads has 1 arrays but params has 2"):
        optimizer.SGD().update([np.zeros(2), np.zeros(3)], [np.zeros(2)])
    with pytest.raises(ValueError, match=r"grads\[0\] is \(3,\) but params\[0\] is \(2,\)"):
        optimizer.SGD().update([np.zeros(2)], [np.zeros(3)])
    with pytest.raises(TypeError, match=r"params\[0\] has dtype int64"):
        optimizer.SGD().update([np.zeros(2, np.int64)], [np.zeros(2)])
    opt = optimizer.Momentum()
    opt.update([np.zeros(2)], [np.zeros(2)])
    with pytest.raises(ValueError, match="v has 1 arrays but params has 2"):
        opt.update([np.zeros(2), np.zeros(3)], [np.zeros(2), np.zeros(3)])
    frozen = np.zeros(2)
    frozen.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        optimizer.SGD().update([frozen], [np.zeros(2)])


@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("large", [1.0, 1e25])
@rules
def test_denormal_states_decay_as_the_rule_says(cls, options, rule, large, dtype):
    """States of parameters without a gradient; `large` numbers beside them in the same vector, and none (zeros)."""
    info = np.finfo(dtype)
    rng = np.random.default_rng(0)
    n = 75  # several vectors of every width, and a part of one
    start = {name: rng.uniform(-1, 1, n) * info.smallest_normal for name in "vhm"}
    start["h"] = np.abs(start["h"])
    if rule in (adam, adamw):
        start["v"] = np.abs(start["v"])
    g, p = np.zeros(n), rng.standard_normal(n)
    g[::7], p[::11], p[::13] = rng.standard_normal(len(g[::7])), 0, large
    start["m"][::5] = 0
    g, p = g.astype(dtype), p.astype(dtype)
    start = {name: s.astype(dtype) for name, s in start.items()}
    opt, params = cls(**options), {"a": p.copy()}
    opt.update(params, {"a": np.zeros(n, dtype)})
    for name in cls.state_names:
        getattr(opt, name)["a"][...] = start[name]
    params["a"][...] = p
    opt.update(params, {"a": g})
    state = {name: s.astype(np.longdouble) for name, s in start.items()} | {"iter": 1}
    true = rule(
        p.astype(np.longdouble),
        g.astype(np.longdouble),
        state,
        **{k: v for k, v in options.items() if k != "lookahead"},
    )
    np.testing.assert_allclose(params["a"], true.astype(dtype), rtol=20 * info.eps, atol=2 * info.eps)
    for name in cls.state_names:
        np.testing.assert_allclose(
            getattr(opt, name)["a"], state[name].astype(dtype), rtol=4 * info.eps, atol=4 * info.smallest_subnormal
        )
        assert (getattr(opt, name)["a"] != 0).sum() > n // 2
