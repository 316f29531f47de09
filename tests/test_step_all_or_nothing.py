"""A pass that raises has changed nothing: parameters, statistics, states, random numbers, the optimizer."""

import copy
import itertools
import math
import random
import signal
import threading
import time

import numpy as np
import pytest
from every_backend import backend, on_every_backend, one_thread  # noqa: F401

import fastnn
from fastnn import layers, optimizer, time_layers
from fastnn.network import Network

pytestmark = on_every_backend
RNG = np.random.default_rng(0)


def normal(*shape, dtype="float32"):
    return RNG.standard_normal(shape).astype(dtype)


class Boom(Exception):
    pass


class Fails:
    """A layer in Python with a state, statistics and random numbers of its own, which raises where it is told to."""

    def __init__(self, kind=Boom):
        self.when = None
        self.kind = kind
        self.rng = np.random.default_rng(3)
        self.mean = np.zeros(1)
        self.seen = []
        self.count = 0

    def forward(self, x):
        self.mean += x.mean()
        self.seen.append(len(x))
        self.count += 1
        self.noise = self.rng.random() + np.random.random() + random.random()
        if self.when == "forward":
            raise self.kind
        return x * 1.5

    def backward(self, dout):
        self.count += 1
        self.mean *= 0.5
        if self.when == "backward":
            raise self.kind
        return dout * 1.5


class FailingLoss(layers.SoftmaxWithLoss):
    when = None

    def forward(self, x, t):
        if self.when == "loss":
            raise Boom
        return super().forward(x, t)

    def backward(self, dout=1):
        if self.when == "loss backward":
            raise Boom
        return super().backward(dout)


class Mine:
    """An optimizer of the reader's own, which may raise after some of its work."""

    when = None

    def __init__(self):
        self.v = None
        self.steps = 0

    def update(self, params, grads):
        self.steps += 1
        if self.v is None:
            self.v = [np.zeros_like(p) for p in params]
        for i, (p, g, v) in enumerate(zip(params, grads, self.v, strict=True)):
            v += g
            p -= 0.1 * v
            if self.when == "update" and i == 1:
                raise Boom


def dense(*more):
    return [
        layers.Affine(normal(6, 5), normal(5)), layers.BatchNormalization(np.ones(5, "f"), np.zeros(5, "f")),
        layers.Dropout(0.3, 1), *more, layers.Affine(normal(5, 4), normal(4)), layers.Dropout(0.2, 2),
        layers.Affine(normal(4, 3), normal(3)),
    ]  # fmt: skip


def sequence(*more):
    lstm = time_layers.TimeLSTM(normal(6, 20), normal(5, 20), normal(20), stateful=True)
    return [lstm, time_layers.TimeDropout(0.3, 1), *more, time_layers.TimeAffine(normal(5, 3), normal(3))]


def observed(net, rule):
    """All that a pass may change, by value."""
    found = {"params": [p.copy() for p in net.params], "numpy": np.random.get_state(legacy=False)["state"]}
    found["numpy"] = found["numpy"]["key"].copy(), found["numpy"]["pos"]
    found["random"] = random.getstate()
    for i, layer in enumerate(net.layers):
        own = vars(layer)
        for name in "running_mean", "running_var", "h", "c", "mean", "seen", "count", "noise":
            if name in own:
                found[i, name] = copy.deepcopy(own[name])
        if "rng" in own:
            found[i, "rng"] = own["rng"].bit_generator.state
    for name, value in vars(rule).items():
        if name not in ("m", "v", "h") or value is not None:
            found["rule", name] = copy.deepcopy(value)
    return found


def same(a, b):
    if isinstance(a, np.ndarray):
        return isinstance(b, np.ndarray) and a.dtype == b.dtype and np.array_equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


def differences(a, b):
    return [key for key in a.keys() | b.keys() if not (key in a and key in b and same(a[key], b[key]))]


RULES = {"sgd": lambda: optimizer.SGD(0.1), "adam": lambda: optimizer.Adam(clip_norm=1.0), "mine": Mine}


def case(kind, rule, *more):
    loss = time_layers.TimeSoftmaxWithLoss() if kind == "sequence" else layers.SoftmaxWithLoss()
    net = Network((sequence if kind == "sequence" else dense)(*more), loss)
    x, t = (
        (normal(4, 7, 6), RNG.integers(0, 3, (4, 7))) if kind == "sequence" else (normal(4, 6), RNG.integers(0, 3, 4))
    )
    return net, x, t, RULES[rule]()


def check(net, x, t, rule, bad):
    """Passes that raise IndexError, and then a step, which gives what it gives without them."""
    net.step(x, t, rule)
    before, twin = observed(net, rule), copy.deepcopy((net, rule))
    states = np.random.get_state(), random.getstate()
    for call in (
        lambda x, t: net.step(x, t, rule),
        net.gradient,
        lambda x, t: net.loss(x, t, train_flg=True),
        net.forward,
    ):
        with pytest.raises(IndexError):
            call(x, bad)
        assert differences(before, observed(net, rule)) == []
    loss, after = net.step(x, t, rule), observed(net, rule)
    assert not same(before["params"], after["params"])
    np.random.set_state(states[0]), random.setstate(states[1])
    assert twin[0].step(x, t, twin[1]) == loss
    assert differences(after, observed(*twin)) == []


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("kind", ["dense", "sequence"])
@pytest.mark.parametrize("python", [False, True])
def test_labels_outside(kind, rule, python):
    net, x, t, rule = case(kind, rule, *([Fails()] if python else []))
    bad = t.copy()
    bad.flat[-1] = 99
    check(net, x, t, rule, bad)


@pytest.mark.parametrize("rule", ["adam", "mine"])
@pytest.mark.parametrize("kind", ["dense", "sequence"])
@pytest.mark.parametrize("when", ["forward", "backward"])
@pytest.mark.parametrize("error", [Boom, KeyboardInterrupt])
def test_layers_in_python_that_raise(kind, rule, when, error):
    layer = Fails(error)
    net, x, t, rule = case(kind, rule, layer)
    net.step(x, t, rule), net.gradient(x, t), net.forward(x, t)
    before = observed(net, rule)
    passes = [lambda: net.step(x, t, rule), lambda: net.gradient(x, t)]
    for run in passes + ([lambda: net.forward(x, t)] if when == "forward" else []):
        layer.when = when
        with pytest.raises(error):
            run()
        layer.when = None
        assert differences(before, observed(net, rule)) == []
    net.step(x, t, rule)
    assert not same(before["params"], observed(net, rule)["params"])


def test_a_generator_of_the_system_has_no_state():
    loss = FailingLoss()
    loss.system = random.SystemRandom()
    net = Network([layers.Affine(normal(4, 3), normal(3))], loss)
    assert math.isfinite(net.step(normal(2, 4), np.array([0, 1]), optimizer.SGD()))


@pytest.mark.parametrize("rule", ["adam", "mine"])
@pytest.mark.parametrize("when", ["loss", "loss backward"])
def test_losses_in_python_that_raise(rule, when):
    net, x, t, rule = case("dense", rule)
    net = Network(net.layers, FailingLoss())

    net.step(x, t, rule)
    before = observed(net, rule)
    net.loss_layer.when = when
    for run in (lambda: net.step(x, t, rule), lambda: net.gradient(x, t)):
        with pytest.raises(Boom):
            run()
        assert differences(before, observed(net, rule)) == []
    net.loss_layer.when = None
    net.step(x, t, rule)


@pytest.mark.parametrize("python", [False, True])
@pytest.mark.parametrize("kind", ["dense", "sequence"])
def test_optimizers_that_raise(kind, python):
    net, x, t, rule = case(kind, "mine", *([Fails()] if python else []))
    net.step(x, t, rule)
    before = observed(net, rule)
    rule.when = "update"
    before["rule", "when"] = "update"
    with pytest.raises(Boom):
        net.step(x, t, rule)
    assert differences(before, observed(net, rule)) == []
    rule.when = None
    net.step(x, t, rule)
    assert rule.steps == 2


@pytest.mark.parametrize("python", [False, True])
@pytest.mark.parametrize("name", ["sgd", "adam"])
def test_numbers_of_an_optimizer(name, python):
    net, x, t, rule = case("dense", name, *([Fails()] if python else []))
    net.step(x, t, rule)
    before, lr = observed(net, rule), rule.lr
    rule.lr = before["rule", "lr"] = "fast"
    with pytest.raises(TypeError, match="lr"):
        net.step(x, t, rule)
    assert differences(before, observed(net, rule)) == []
    rule.lr = lr
    net.step(x, t, rule)


@pytest.mark.parametrize("python", [False, True])
def test_a_loss_that_is_not_finite(python):
    """Changes nothing but the random numbers drawn."""
    layer = Fails()
    net, x, t, rule = case("dense", "adam", *([layer] if python else []))
    net.step(x, t, rule)
    before = observed(net, rule)
    assert not math.isfinite(net.step(np.full_like(x, np.nan), t, rule))
    changed = {key if isinstance(key, str) else key[1] for key in differences(before, observed(net, rule))}
    assert changed == ({"rng", "numpy", "random"} if python else {"rng"})


def test_fit_that_raises():
    """The parameters are those from before the step that raised."""
    layer = Fails()
    net, x, t, rule = case("dense", "adam", layer)
    x, t = np.tile(x, (4, 1)), np.tile(t, 4)
    net.fit(x, t, 1, 4, rule, progress=False)
    before = observed(net, rule)
    for when in "forward", "backward":
        layer.when = when
        with pytest.raises(Boom):
            net.fit(x, t, 1, 4, rule, progress=False)
        assert differences(before, observed(net, rule)) == []
    layer.when = None
    bad = t.copy()
    bad[:] = 7
    with pytest.raises(IndexError):
        net.fit(x, bad, 1, 4, rule, progress=False)
    assert differences(before, observed(net, rule)) == []


def test_models():
    """Their layers take over where a plan fails, and raise too: no random number is drawn twice."""
    model = fastnn.models.MultiLayerNetExtend(6, [5, 4], 3, use_dropout=True, use_batchnorm=True)
    x, t = normal(8, 6), np.arange(8) % 3
    model.gradient(x, t)
    drops = [layer for layer in model.network.leaves() if hasattr(layer, "rng")]
    assert drops
    net = model.network
    before = observed(net, optimizer.SGD())
    with pytest.raises(IndexError):
        net.gradient(x, np.full(8, 5))
    assert differences(before, observed(net, optimizer.SGD())) == []


@pytest.fixture
def default_sigint():
    """KeyboardInterrupt, also where the tests are a shell's background job, which ignores SIGINT."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="signals to a thread")
@pytest.mark.usefixtures("one_thread")
def test_control_c_in_a_long_step(default_sigint):
    """A step of more than 50 ms looks for Ctrl-C: all of it happens, or nothing."""
    if fastnn.backends.active_name != "native":
        pytest.skip("takes long")
    sizes = [900, 900, 900, 10]
    made = []
    for D, M in itertools.pairwise(sizes):
        made += [
            layers.Affine(normal(D, M) / 30, normal(M)),
            layers.BatchNormalization(np.ones(M, "f"), np.zeros(M, "f")),
        ]
        made += [layers.Dropout(0.1, 0), layers.Relu()]
    net, rule = Network(made, layers.SoftmaxWithLoss()), optimizer.Adam()
    x, t = normal(1000, 900), np.arange(1000) % 10
    net.step(x, t, rule)
    began = time.perf_counter()
    net.step(x, t, rule)
    seconds = time.perf_counter() - began
    stopped = 0
    for i in range(20):  # where other processes take the processor, a signal may come when a step is over
        if i >= 4 and stopped:
            break
        before = observed(net, rule)
        wait = seconds * (i % 4 + 0.5) / 4
        killer = threading.Timer(wait, signal.pthread_kill, (threading.get_ident(), signal.SIGINT))
        killer.start()
        try:
            net.step(x, t, rule)
            finished = True
            killer.join()
            time.sleep(0.01)
        except KeyboardInterrupt:
            finished = False
        killer.join()
        changed = differences(before, observed(net, rule))
        kinds = {"params", "rng", "running_mean", "running_var", "iter", "m", "v"}
        names = {key if isinstance(key, str) else key[1] for key in changed}
        assert names in (set(), kinds), (i, finished, names)
        stopped += not finished
    assert stopped


@pytest.mark.parametrize("kind", ["dense", "sequence"])
def test_updates_at_the_end_are_those_beside_the_gradients(kind):
    """The same bits with a layer in Python that does nothing, which moves all updates to the end."""

    class Same:
        def forward(self, x):
            return x

        def backward(self, dout):
            return dout

    net, x, t, _ = case(kind, "sgd")
    for make in optimizer.Momentum, optimizer.Adam, optimizer.RMSprop:
        one = Network(copy.deepcopy(net.layers), net.loss_layer)
        other = copy.deepcopy(net.layers)
        other = Network([*other[:-1], Same(), other[-1]], net.loss_layer)
        rules = make(), make()
        for _ in range(3):
            losses = [n.step(x, t, rule) for n, rule in zip((one, other), rules, strict=True)]
            assert losses[0] == losses[1]
        for p, q in zip(one.params, other.params, strict=True):
            np.testing.assert_array_equal(p, q)
        assert getattr(rules[0], "iter", 3) == getattr(rules[1], "iter", 3) == 3


class Scale:
    """A layer in Python with a parameter."""

    def __init__(self, width):
        self.params, self.grads = [np.ones(width, "f")], [np.zeros(width, "f")]

    def forward(self, x):
        self.x = x.copy()
        return x * self.params[0]

    def backward(self, dout):
        self.grads[0] = (dout * self.x).sum(axis=0)  # another array each time
        return dout * self.params[0]


@pytest.mark.parametrize("ended", [False, True])
@pytest.mark.parametrize("rule", ["sgd", "adam"])
def test_updates_in_python_and_native_ones(rule, ended, monkeypatch):
    """Layers in Python are updated first. Ctrl-C before the rest undoes that; after it the step is complete."""
    net, x, t, rule = case("dense", rule, Scale(5))
    if hasattr(rule, "clip_norm"):
        rule.clip_norm = 0.0
    net.step(x, t, rule)
    before = observed(net, rule)
    plan = next(v.plan for k, v in net._plans.items() if k[0] == "step")
    parts, count = plan.name == "parts", len(plan.program.instructions)
    assert parts == (fastnn.backends.active_name == "native")
    original = plan._plan if parts else plan._run_steps

    class Interrupted:
        ended = property(lambda self: original.ended)

        def run(self, *args):
            if args[-1] == count and not ended:
                raise KeyboardInterrupt
            result = original.run(*args)
            if args[-1] == count:
                raise KeyboardInterrupt
            return result

    def interrupted(*args):
        original(*args)
        raise KeyboardInterrupt

    twin = copy.deepcopy((net, rule))
    monkeypatch.setattr(plan, "_plan" if parts else "_run_steps", Interrupted() if parts else interrupted)
    with pytest.raises(KeyboardInterrupt):
        net.step(x, t, rule)
    monkeypatch.undo()
    if parts and ended:
        twin[0].step(x, t, twin[1])
        before = observed(*twin)
    assert differences(before, observed(net, rule)) == []
    net.step(x, t, rule)
    assert not same(before["params"][4], net.params[4])  # the scale
