"""Small inputs for what has a book's name: each trial yields (what it is, result), the same for original and ours.

A trial is run for inputs of several sizes (`inputs`), as a clip or an epsilon shows at some of them only. `call` makes
a result that has the arguments as they are after the call, and what of them is the result.
"""

import math
from typing import Any, NamedTuple

import numpy as np

_SCALES = 1.0, 1e-8, 1e-3, 1e3
_ORDER = {1e-8: 0, 1e-3: 1, 1e3: 2, 30.0: 2, 0: 3}
# Beside zeros of both signs: values that repeat, that underflow when squared or exponentiated, that saturate.
_EXTREME = np.array(
    [0.0, -0.0, 1.0, 1.0, -1.0, -1.0, 1e-300, -1e-300, 1e-30, 1e-7, -1e-10, 50, -50, 745, -745, 1e6, -1e6]
)


_draw = np.random.RandomState(7)
_NORMAL, _UNIFORM = _draw.randn(16381), _draw.rand(16381)


class Inputs:
    """The same arrays in every run. scale: of data and gradients; 0: extreme values."""

    def __init__(self, scale=1.0):
        self.scale = scale
        self.at = 0

    def _next(self, values, shape):
        n = math.prod(shape)
        self.at += n + 1
        if self.at + n <= len(values):
            return values[self.at : self.at + n].reshape(shape).copy()
        return np.take(values, np.arange(self.at, self.at + n), mode="wrap").reshape(shape)

    def __call__(self, *shape):
        """Parameters, of order 1."""
        return self._next(_NORMAL, shape)

    def data(self, *shape):
        """Inputs and gradients. Some of them are equal."""
        if self.scale == 0:
            return _EXTREME[self.labels(math.prod(shape), len(_EXTREME))].reshape(shape)
        x = self._next(_NORMAL, shape) * self.scale
        flat = x.reshape(-1)
        flat[::5] = flat[0]
        return x

    def f32(self, *shape):
        return self._next(_NORMAL, shape).astype(np.float32)

    def some(self, *cases):
        """All cases at scale 1; at each other scale one of them, another one each time."""
        return cases if self.scale == 1 else (cases[_ORDER[self.scale] % len(cases)],)

    def labels(self, n, classes):
        return (self._next(_UNIFORM, (n,)) * classes).astype(np.int64)


def inputs(trial):
    """Those that a trial is run for."""
    return [Inputs(scale) for scale in getattr(trial, "scales", (*_SCALES, 0))]


def scales(*values):
    """A trial for inputs of these scales."""

    def mark(trial):
        trial.scales = values
        return trial

    return mark


once = scales(1.0)


class Called(NamedTuple):
    """What a call returned, its arguments afterwards, and how the two hang together."""

    result: Any
    arguments: tuple
    ties: list[str]


_shares = np.may_share_memory


def call(function, *args) -> Called:
    before = [_leaves(a) for a in args]
    result = function(*args)
    ties = [
        "returns its argument itself" if r is a else "returns a view of its argument" if _shares(r, a) else ""
        for r in _leaves(result)
        for leaves in before
        for a in leaves
    ]
    for was, a in zip(before, args, strict=True):
        now = _leaves(a)
        if len(was) != len(now):
            ties.append("changes the length of its argument")
        ties += ["" if x is y else "rebinds" for x, y in zip(was, now, strict=False)]
    return Called(result, args, ties)


def _leaves(value):
    if isinstance(value, np.ndarray):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple):
        return [leaf for v in value for leaf in _leaves(v)]
    return []


# ---- layers of both books ------------------------------------------------------------------------------------------


def relu(cls, a):
    layer = cls()
    for shape in a.some((5, 4), (2, 3, 4, 4), (7,)):
        x = a.data(*shape)
        x[0] = 0
        if a.scale == 1:
            x.reshape(-1)[-3:] = np.nan, np.inf, -np.inf
        yield "forward", call(layer.forward, x)
        yield "after forward", layer
        yield "backward", call(layer.backward, a.data(*shape))


def activation(cls, a):
    layer = cls()
    yield "new", layer
    for shape in a.some((5, 4), (1, 9)):
        yield "forward", call(layer.forward, a.data(*shape))
        yield "after forward", layer
        yield "backward", call(layer.backward, a.data(*shape))


def dropout(cls, a):
    for ratio in a.some(0.3, 0.5, 0.8, 0.0):
        layer = cls(ratio)
        yield "new", layer
        yield "forward", call(layer.forward, a.data(5, 4))
        yield "after forward", layer
        yield "backward", call(layer.backward, a.data(5, 4))
        yield "forward without training", call(layer.forward, a.data(2, 3, 2), False)
        yield "after forward without training", layer


# ---- book 1 --------------------------------------------------------------------------------------------------------


def affine1(cls, a):
    for shape in a.some((5, 12), (3, 3, 2, 2), (1, 12)):
        layer = cls(a(12, 6), a(6))
        yield "new", layer
        yield "forward", call(layer.forward, a.data(*shape))
        yield "backward", call(layer.backward, a.data(shape[0], 6))
        yield "after backward", layer
    layer.W, layer.b = a(12, 4), a(4)
    yield "forward with other weights", call(layer.forward, a.data(3, 12))


@scales(1.0, 1e-8, 1e-3, 1e3)
def batch_normalization(cls, a):
    layer = cls(1 + 0.1 * a(12), a(12))
    yield "new", layer
    for shape in a.some((6, 12), (6, 3, 2, 2), (4, 12)):
        yield "forward", call(layer.forward, a.data(*shape))
        yield "after forward", layer
        yield "backward", call(layer.backward, a.data(*shape))
        yield "after backward", layer
        yield "forward without training", call(layer.forward, a.data(*shape), False)
    yield "after forward without training", layer
    layer = cls(1.0, 0.0, 0.5, a(4), 1 + a(4) ** 2)
    yield "forward with given statistics", call(layer.forward, a.data(5, 4))
    yield "after forward with given statistics", layer


@scales(1.0, 1e-8, 1e-3, 1e3)
def batch_normalization_of_rows(cls, a):
    layer = cls(1 + 0.1 * a(3), a(3))
    yield "new", layer
    for shape in ((6, 3), (5, 3)):
        yield "forward", call(layer.forward, a.data(*shape))
        yield "after forward", layer
        yield "backward", call(layer.backward, a.data(*shape))
        yield "after backward", layer


def convolution(cls, a):
    # Windows that are not square, that overlap and that do not tile the image.
    for window, stride, pad in a.some(((3, 3), 1, 0), ((3, 2), 2, 1), ((1, 1), 1, 0), ((2, 4), 3, 2)):
        layer = cls(a(3, 2, *window), a(3), stride, pad)
        yield "new", layer
        called = call(layer.forward, a.data(2, 2, 6, 5))
        yield "forward", called
        yield "backward", call(layer.backward, a.data(*called.result.shape))
        yield "after backward", layer


def pooling(cls, a):
    cases = ((6, 4), (2, 2), 2), ((6, 4), (2, 2), 1), ((7, 5), (3, 2), 2), ((6, 6), (3, 3), 3)
    for size, window, stride in a.some(*cases):
        layer = cls(*window, stride)
        yield "new", layer
        called = call(layer.forward, np.round(a.data(2, 3, *size), 1) if a.scale == 1 else a.data(2, 3, *size))
        yield "forward", called
        yield "after forward", layer
        yield "backward", call(layer.backward, a.data(*called.result.shape))
    if a.scale == 1:
        yield "with padding", _or_error(cls(2, 2, 2, 1).forward, a.data(1, 1, 4, 4))


REFUSED = "the book's does not take this"


def _or_error(f, *args):
    """The result, or REFUSED: what ours does then does not matter."""
    try:
        return f(*args)
    except ValueError:
        return REFUSED


def softmax_with_loss1(cls, a):
    layer = cls()
    yield "new", layer
    labels = a.labels(5, 4)
    for t in a.some(labels, np.eye(4)[labels], np.abs(a(5, 4))):
        yield "forward", call(layer.forward, a.data(5, 4), t)
        yield "after forward", layer
        yield "backward", layer.backward(3.0)


@once
def multi_layer_net(cls, a, passes=((),), **options):
    x, labels = a(6, 4), a.labels(6, 3)
    for decay in (0, 0.1):
        net = cls(4, [5, 4], 3, weight_decay_lambda=decay, **options)
        yield "new", net
        for t in (labels, np.eye(3)[labels]):
            for more in passes:
                yield "loss", net.loss(x, t, *more)
            yield "gradient", net.gradient(x, t)
    net.params["W1"][0, 0] = np.inf
    yield "gradient with an infinite weight", net.gradient(x, labels)


@once
def multi_layer_net_extend(cls, a):
    for on in (False, True):
        options = {"use_dropout": on, "dropout_ration": 0.3, "use_batchnorm": on}
        yield from multi_layer_net(cls, a, ((), (True,)), **options)


# ---- book 2 --------------------------------------------------------------------------------------------------------


def affine2(cls, a):
    layer = cls(a(4, 3), a(3))
    grads = list(layer.grads)
    for shape in a.some((5, 4), (1, 4)):
        yield "forward", call(layer.forward, a.data(*shape))
        yield "backward", call(layer.backward, a.data(shape[0], 3))
        yield "after backward", layer
    yield "gradient arrays", [g is h for g, h in zip(grads, layer.grads, strict=True)]


def matmul(cls, a):
    layer = cls(a(4, 3))
    grad = layer.grads[0]
    yield "forward", call(layer.forward, a.data(5, 4))
    yield "backward", call(layer.backward, a.data(5, 3))
    yield "after backward", layer
    yield "gradient arrays", [layer.grads[0] is grad]


def softmax_with_loss2(cls, a):
    layer = cls()
    labels = a.labels(5, 4)
    for t in a.some(labels, np.eye(4, dtype=np.int32)[labels]):
        yield "forward", call(layer.forward, a.data(5, 4), t)
        yield "after forward", layer
        yield "backward", layer.backward(3.0)


def sigmoid_with_loss(cls, a):
    layer = cls()
    yield "forward", call(layer.forward, a.data(6), a.labels(6, 2))
    yield "after forward", layer
    yield "backward", layer.backward(2.0)


def embedding(cls, a):
    layer = cls(a(3000, 3))
    grad = layer.grads[0]
    for idx in (np.array([4, 0, 4, -1, 2999]), np.array([[4, 1777], [4, 5]])):
        yield "forward", call(layer.forward, idx)
        yield "after forward", [layer.idx]
        yield "backward", call(layer.backward, a.data(*idx.shape, 3))
        yield "gradient", layer.grads[0][grad.any(axis=1)]
    yield "gradient arrays", [layer.grads[0] is grad]


def recurrent(gates, bias=True):
    @scales(1.0, 1e-8, 1e-3, 1e3)
    def trial(cls, a):
        weights = [a(3, gates * 4).astype("f"), a(4, gates * 4).astype("f")] + [a(gates * 4).astype("f")] * bias
        for stateful in a.some(False, True):
            layer = cls(*weights, stateful)
            grads = list(getattr(layer, "grads", ()))
            yield "new", layer
            for T in (3, 40 if stateful and a.scale == 1 else 2):
                yield "forward", call(layer.forward, a.data(2, T, 3).astype("f"))
                yield "after forward", layer
                if a.scale > 1:  # saturated, it has no gradients but rounding errors
                    layer.forward(a.f32(2, T, 3))
                yield "backward", call(layer.backward, a.data(2, T, 4).astype("f"))
                yield "after backward", layer
            yield "gradient arrays", [g is h for g, h in zip(grads, getattr(layer, "grads", ()), strict=True)]
            layer.set_state(a.f32(2, 4))
            yield "forward from a given state", call(layer.forward, a.data(2, 1, 3).astype("f"))
            layer.reset_state()
            yield "after reset", layer
            yield "forward after reset", call(layer.forward, a.data(2, 1, 3).astype("f"))

    return trial


def step(gates, bias=True):
    @scales(1.0, 1e-8, 1e-3, 1e3)
    def trial(cls, a):
        for dtype in a.some("f4", "f8"):
            shapes = [(3, gates * 4), (4, gates * 4), (gates * 4,)]
            layer = cls(*(a(*shape).astype(dtype) for shape in shapes[: 2 + bias]))
            grads = list(getattr(layer, "grads", ()))
            yield "new", layer
            for dc in a.some(0, a(2, 4).astype(dtype)):
                states = [a.data(2, 4).astype(dtype) for _ in range(1 + (gates == 4))]
                states[0] = np.tanh(states[0])
                yield "forward", call(layer.forward, a.data(2, 5, 3).astype(dtype)[:, 1], *states)
                yield "after forward", layer
                if a.scale > 1:
                    layer.forward(a(2, 3).astype(dtype), *(s / 1e3 for s in states))
                yield "backward", call(layer.backward, a.data(2, 4).astype(dtype), *[dc] * (gates == 4))
                yield "after backward", layer
            yield "gradient arrays", [g is h for g, h in zip(grads, getattr(layer, "grads", ()), strict=True)]

    return trial


step_without_bias = step(3, bias=False)


def time_embedding(cls, a):
    layer = cls(a.f32(3000, 3))
    grad = layer.grads[0]
    yield "forward", call(layer.forward, np.array([[4, 0], [4, 2999]]))
    yield "backward", call(layer.backward, a.data(2, 2, 3).astype("f"))
    yield "gradient", layer.grads[0][grad.any(axis=1)]
    yield "gradient arrays", [layer.grads[0] is grad]


def time_affine(cls, a):
    for W in a.some(a(4, 3), a(3, 4).T):
        layer = cls(W, a(3))
        grads = list(layer.grads)
        yield "forward", call(layer.forward, a.data(2, 5, 4))
        yield "backward", call(layer.backward, a.data(2, 5, 3))
        yield "after backward", layer
        yield "gradient arrays", [g is h for g, h in zip(grads, layer.grads, strict=True)]


def time_dropout(cls, a):
    for ratio in a.some(0.3, 0.5, 0.8):
        layer = cls(ratio)
        yield "new", layer
        x = a.data(2, 3, 4).astype("f")
        yield "forward", call(layer.forward, x)
        yield "after forward", layer
        yield "backward", call(layer.backward, a.data(2, 3, 4).astype("f"))
        layer.train_flg = False
        yield "forward without training", call(layer.forward, x)


@scales(1.0, 1e-8, 1e-3, 30.0)  # beyond, a probability is 0 and the book's loss infinite; ours is exact
def time_softmax_with_loss(cls, a):
    layer = cls()
    ts = a.labels(6, 4).reshape(2, 3)
    for ignored in (False, True):
        if ignored:
            ts = ts.copy()
            ts[0, 1] = -1
        yield "forward", call(layer.forward, a.data(2, 3, 4), ts)
        yield "after forward", layer
        yield "backward", layer.backward(0.5)
    yield "forward of one-hot", call(layer.forward, a.data(2, 3, 4), np.eye(4, dtype=int)[np.abs(ts)])


# ---- optimizers: judged by their steps, which are small beside parameters of order 1 ---------------------------------


def _other_options(one):
    for name, value in list(vars(one).items()):
        if type(value) is float:
            setattr(one, name, 0.7 * value)


def optimizer_of_dicts(cls, a):
    one, params = cls(), {"W": a(3, 2), "zero": np.empty(6), "number": 1.5}
    yield "new", one
    arrays = params["W"], params["zero"]
    for step in range(6 if a.scale == 1 else 2):
        params["zero"][...] = 0
        grads = {"W": a.data(3, 2), "zero": a.data(6), "number": float(a.data(1)[0]), "more": 1.0}
        called = call(one.update, params, grads)
        yield f"the gradients of update {step + 1}", called._replace(arguments=(grads,))
        yield f"the step of update {step + 1}", params["zero"]
        yield f"update {step + 1}", params
        yield f"after update {step + 1}", one
        if step == 2:
            _other_options(one)
    yield "parameter arrays", [params["W"] is arrays[0], params["zero"] is arrays[1]]


def optimizer_of_lists(cls, a):
    one, params = cls(), [a(3, 2), np.empty(6)]
    yield "new", one
    arrays = list(params)
    for step in range(6 if a.scale == 1 else 2):
        params[1][...] = 0
        grads = [a.data(3, 2), a.data(6)]
        called = call(one.update, params, grads)
        yield f"the gradients of update {step + 1}", called._replace(arguments=(grads,))
        yield f"the step of update {step + 1}", params[1]
        yield f"update {step + 1}", params
        yield f"after update {step + 1}", one
        if step == 2:
            _other_options(one)
    yield "parameter arrays", [p is q for p, q in zip(params, arrays, strict=True)]


@once
def get_batch(cls, a):
    one = cls(None, None)
    yield "new", one
    one.time_idx = 0
    xs, ts = a.labels(30, 9), a.labels(30, 9)
    for _ in range(3):
        xb, tb = one.get_batch(xs, ts, 4, 3)
        yield "batch", [xb, tb, str(xb.dtype), str(tb.dtype)]
        yield "after a batch", one


# ---- functions -----------------------------------------------------------------------------------------------------


def elementwise(f, a):
    special = np.array([0.0, -0.0, 800.0, np.nan, np.inf, -np.inf])
    for x in a.some(a.data(5, 4), a.data(3), a.data(2, 3, 2), a.data(1), special, 0.5):
        yield "result", call(f, x)


def softmax1(f, a):
    for x in a.some(a.data(4, 3), a.data(3), a.data(2, 3, 4)):
        yield f"{np.ndim(x)}-dimensional input", call(f, x)


def softmax_of_older_printings(f, a):
    yield from softmax1(f, a)


def softmax2(f, a):
    for x in a.some(a.data(4, 3), a.data(3)):
        yield f"{np.ndim(x)}-dimensional input", call(f, x)
    yield "3-dimensional input", call(f, a.data(2, 3, 4))


def im2col(f, a):
    yield "result", call(f, a.data(2, 3, 5, 4), 3, 2)
    for stride, pad in a.some((2, 1), (1, 2), (3, 0)):
        yield "result with stride and padding", call(f, a.data(2, 3, 5, 4), 3, 2, stride, pad)
    yield "result of integers", call(f, a.labels(32, 9).reshape(1, 2, 4, 4), 2, 2)


def col2im(f, a):
    yield "result", call(f, a.data(2 * 3 * 3, 3 * 3 * 2), (2, 3, 5, 4), 3, 2)
    for stride, pad, places in a.some((2, 1, 3 * 3), (1, 2, 7 * 7), (3, 0, 1)):
        yield "result with stride and padding", call(f, a.data(2 * places, 18), (2, 3, 5, 4), 3, 2, stride, pad)


def clip_grads(f, a):
    for most in (0.5, 1000.0, 1e-9):
        yield "result", call(f, [a.data(3, 2), a.data(2)], most)


def remove_duplicate(f, a):
    A, b, S = a(4, 3), a(3), a(3, 3)
    params = [A, b, A, A.T, b.copy(), S, A.T.copy(), S.copy()]  # copies of vectors stay, those of a transpose do not
    yield "result", call(f, params, [a.data(*p.shape) for p in params])


@once
def ppmi(f, a):
    C = a.labels(144, 4).reshape(12, 12)
    yield "result", call(f, C + C.T + 1)
    yield "result with progress", call(f, C + C.T, True)
    yield "result with another epsilon", call(f, C + C.T, False, 0.5)
    C[3], C[:, 3] = 0, 0
    yield "result of a word that does not occur", call(f, (C + C.T) * 1000)


@once
def create_co_matrix(f, a):
    for window in (1, 2):
        yield f"window {window}", call(f, a.labels(30, 6), 6, window)


@once
def create_contexts_target(f, a):
    for window in (1, 2):
        yield f"window {window}", call(f, a.labels(30, 6), window)


@once
def convert_one_hot(f, a):
    yield "result", call(f, a.labels(6, 5), 5)
    yield "result of contexts", call(f, a.labels(6, 5).reshape(3, 2), 5)


@once
def most_similar(f, a):
    words = {word: i for i, word in enumerate(("zero", "one", "two", "three", "four", "five"))}
    ids = {i: word for word, i in words.items()}
    matrix = a(6, 4)
    yield "result", call(f, "two", words, ids, matrix)
    yield "top", call(f, "five", words, ids, matrix, 2)
    yield "unknown word", call(f, "six", words, ids, matrix)
