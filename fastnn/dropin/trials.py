"""Small inputs for what has a book's name: each trial yields (what it is, result), the same for original and ours."""

import numpy as np


class Inputs:
    """The same random arrays in every run, from a generator of its own."""

    def __init__(self):
        self.draw = np.random.RandomState(7)

    def __call__(self, *shape):
        return self.draw.randn(*shape)

    def labels(self, n, classes):
        return self.draw.randint(0, classes, n)

    def f32(self, *shape):
        return self.draw.randn(*shape).astype(np.float32)


# ---- layers of both books ------------------------------------------------------------------------------------------


def relu(cls, a):
    layer = cls()
    for shape in ((5, 4), (2, 3, 4, 4)):
        x = a(*shape)
        x[0, 0] = 0
        yield "forward", layer.forward(x)
        yield "after forward", layer
        yield "backward", layer.backward(a(*shape))


def activation(cls, a):
    layer = cls()
    yield "new", layer
    yield "forward", layer.forward(3 * a(5, 4))
    yield "after forward", layer
    yield "backward", layer.backward(a(5, 4))


def dropout(cls, a):
    layer = cls(0.3)
    yield "new", layer
    yield "forward", layer.forward(a(5, 4))
    yield "after forward", layer
    yield "backward", layer.backward(a(5, 4))
    yield "forward without training", layer.forward(a(5, 4), False)
    yield "after forward without training", layer


# ---- book 1 --------------------------------------------------------------------------------------------------------


def affine1(cls, a):
    for shape in ((5, 12), (5, 3, 2, 2)):
        layer = cls(a(12, 6), a(6))
        yield "new", layer
        yield "forward", layer.forward(a(*shape))
        yield "backward", layer.backward(a(5, 6))
        yield "after backward", layer
    layer.W, layer.b = a(12, 4), a(4)
    yield "forward with other weights", layer.forward(a(3, 12))


def batch_normalization(cls, a):
    layer = cls(1 + 0.1 * a(12), a(12))
    yield "new", layer
    for shape in ((6, 12), (6, 3, 2, 2)):
        yield "forward", layer.forward(a(*shape))
        yield "after forward", layer
        yield "backward", layer.backward(a(*shape))
        yield "after backward", layer
        yield "forward without training", layer.forward(a(*shape), False)
    yield "after forward without training", layer
    layer = cls(1.0, 0.0, 0.5, a(4), 1 + a(4) ** 2)
    yield "forward with given statistics", layer.forward(a(5, 4))
    yield "after forward with given statistics", layer


def convolution(cls, a):
    for stride, pad in ((1, 0), (2, 1)):
        layer = cls(a(3, 2, 3, 3), a(3), stride, pad)
        yield "new", layer
        out = layer.forward(a(2, 2, 6, 5))
        yield "forward", out
        yield "backward", layer.backward(a(*out.shape))
        yield "after backward", layer


def pooling(cls, a):
    for stride in (2, 1):
        layer = cls(2, 2, stride)
        yield "new", layer
        out = layer.forward(np.round(a(2, 3, 6, 4)))
        yield "forward", out
        yield "after forward", layer
        yield "backward", layer.backward(a(*out.shape))


def softmax_with_loss1(cls, a):
    layer = cls()
    yield "new", layer
    labels = a.labels(5, 4)
    for t in (labels, np.eye(4)[labels], np.abs(a(5, 4))):
        yield "forward", layer.forward(a(5, 4), t)
        yield "after forward", layer
        yield "backward", layer.backward(3.0)


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


def multi_layer_net_extend(cls, a):
    for on in (False, True):
        options = {"use_dropout": on, "dropout_ration": 0.3, "use_batchnorm": on}
        yield from multi_layer_net(cls, a, ((), (True,)), **options)


# ---- book 2 --------------------------------------------------------------------------------------------------------


def affine2(cls, a):
    layer = cls(a(4, 3), a(3))
    grads = list(layer.grads)
    for shape in ((5, 4), (2, 4)):
        yield "forward", layer.forward(a(*shape))
        yield "backward", layer.backward(a(shape[0], 3))
        yield "after backward", layer
    yield "gradient arrays", [g is h for g, h in zip(grads, layer.grads, strict=True)]


def matmul(cls, a):
    layer = cls(a(4, 3))
    grad = layer.grads[0]
    yield "forward", layer.forward(a(5, 4))
    yield "backward", layer.backward(a(5, 3))
    yield "after backward", layer
    yield "gradient arrays", [layer.grads[0] is grad]


def softmax_with_loss2(cls, a):
    layer = cls()
    labels = a.labels(5, 4)
    for t in (labels, np.eye(4, dtype=np.int32)[labels]):
        yield "forward", layer.forward(a(5, 4), t)
        yield "after forward", layer
        yield "backward", layer.backward(3.0)


def sigmoid_with_loss(cls, a):
    layer = cls()
    yield "forward", layer.forward(a(6), a.labels(6, 2))
    yield "after forward", layer
    yield "backward", layer.backward(2.0)


def embedding(cls, a):
    layer = cls(a(6, 3))
    grad = layer.grads[0]
    yield "forward", layer.forward(np.array([4, 0, 4, -1]))
    yield "after forward", layer
    yield "backward", layer.backward(a(4, 3))
    yield "after backward", layer
    yield "gradient arrays", [layer.grads[0] is grad]


def recurrent(gates, bias=True):
    def trial(cls, a):
        weights = [a(3, gates * 4).astype("f"), a(4, gates * 4).astype("f")] + [a(gates * 4).astype("f")] * bias
        for stateful in (False, True):
            layer = cls(*weights, stateful)
            grads = list(layer.grads)
            yield "new", layer
            for T in (3, 2):
                yield "forward", layer.forward(a.f32(2, T, 3))
                yield "after forward", layer
                yield "backward", layer.backward(a.f32(2, T, 4))
                yield "after backward", layer
            yield "gradient arrays", [g is h for g, h in zip(grads, layer.grads, strict=True)]
            layer.set_state(a.f32(2, 4))
            yield "forward from a given state", layer.forward(a.f32(2, 1, 3))
            layer.reset_state()
            yield "after reset", layer
            yield "forward after reset", layer.forward(a.f32(2, 1, 3))

    return trial


def step(gates):
    def trial(cls, a):
        for dtype in ("f4", "f8"):
            layer = cls(*(a(*shape).astype(dtype) for shape in ((3, gates * 4), (4, gates * 4), (gates * 4,))))
            grads = list(layer.grads)
            yield "new", layer
            for dc in (0, a(2, 4).astype(dtype)):
                states = [a(2, 4).astype(dtype) for _ in range(1 + (gates == 4))]
                yield "forward", layer.forward(a(2, 5, 3).astype(dtype)[:, 1], *states)
                yield "after forward", layer
                yield "backward", layer.backward(a(2, 4).astype(dtype), *[dc] * (gates == 4))
                yield "after backward", layer
            yield "gradient arrays", [g is h for g, h in zip(grads, layer.grads, strict=True)]

    return trial


def time_embedding(cls, a):
    layer = cls(a.f32(6, 3))
    grad = layer.grads[0]
    yield "forward", layer.forward(np.array([[4, 0], [4, 5]]))
    yield "backward", layer.backward(a.f32(2, 2, 3))
    yield "after backward", layer
    yield "gradient arrays", [layer.grads[0] is grad]


def time_affine(cls, a):
    for W in (a(4, 3), a(3, 4).T):
        layer = cls(W, a(3))
        grads = list(layer.grads)
        yield "forward", layer.forward(a(2, 5, 4))
        yield "backward", layer.backward(a(2, 5, 3))
        yield "after backward", layer
        yield "gradient arrays", [g is h for g, h in zip(grads, layer.grads, strict=True)]


def time_dropout(cls, a):
    layer = cls(0.3)
    yield "new", layer
    x = a.f32(2, 3, 4)
    yield "forward", layer.forward(x)
    yield "after forward", layer
    yield "backward", layer.backward(a.f32(2, 3, 4))
    layer.train_flg = False
    out = layer.forward(x)
    yield "forward without training", [out is x]


def time_softmax_with_loss(cls, a):
    layer = cls()
    ts = a.labels(6, 4).reshape(2, 3)
    for ignored in (False, True):
        if ignored:
            ts = ts.copy()
            ts[0, 1] = -1
        yield "forward", layer.forward(a(2, 3, 4), ts)
        yield "after forward", layer
        yield "backward", layer.backward(0.5)
    yield "forward of one-hot", layer.forward(a(2, 3, 4), np.eye(4, dtype=int)[np.abs(ts)])


# ---- optimizers ----------------------------------------------------------------------------------------------------


def optimizer_of_dicts(cls, a):
    one, params = cls(), {"W": a(3, 2), "b": a(2), "number": 1.5}
    yield "new", one
    arrays = params["W"], params["b"]
    for step in range(3):
        one.update(params, {"W": a(3, 2), "b": a(2), "number": float(a(1)[0]), "more": 1.0})
        yield f"update {step + 1}", params
        yield f"after update {step + 1}", one
        one.lr *= 2
    yield "parameter arrays", [params["W"] is arrays[0], params["b"] is arrays[1]]


def optimizer_of_lists(cls, a):
    one, params = cls(), [a(3, 2), a(2)]
    yield "new", one
    arrays = list(params)
    for step in range(3):
        one.update(params, [a(3, 2), a(2)])
        yield f"update {step + 1}", params
        yield f"after update {step + 1}", one
        one.lr *= 2
    yield "parameter arrays", [p is q for p, q in zip(params, arrays, strict=True)]


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
    for x in (a(5, 4), a(3), np.array([0.0, -0.0, 800.0]), a(2, 3, 2), 0.5):
        yield "result", f(x)


def softmax1(f, a):
    for x in (a(4, 3), a(3), 50 * a(2, 3), a(2, 3, 4)):
        yield f"{np.ndim(x)}-dimensional input", f(x)


def softmax2(f, a):
    for x in (a(4, 3), a(3), 50 * a(2, 3)):
        yield f"{np.ndim(x)}-dimensional input", f(x)
    x = a(2, 3, 4)
    yield "3-dimensional input", [f(x) is x]


def im2col(f, a):
    yield "result", f(a(2, 3, 5, 4), 3, 2)
    yield "result with stride and padding", f(a(2, 3, 5, 4), 3, 2, 2, 1)
    yield "result of integers", f(a.labels(32, 9).reshape(1, 2, 4, 4), 2, 2)


def col2im(f, a):
    yield "result", f(a(2 * 3 * 3, 3 * 3 * 2), (2, 3, 5, 4), 3, 2)
    yield "result with stride and padding", f(a(2 * 3 * 3, 3 * 3 * 2), (2, 3, 5, 4), 3, 2, 2, 1)


def clip_grads(f, a):
    for most in (0.5, 1000.0):
        grads = [a(3, 2), a(2)]
        yield "result", f(grads, most)
        yield "gradients", grads


def remove_duplicate(f, a):
    A, b = a(4, 3), a(3)
    params = [A, b, A, A.T, a(3)]
    grads = [a(*p.shape) for p in params]
    yield "result", list(map(list, f(list(params), list(grads))))
    yield "gradients", grads


def ppmi(f, a):
    C = a.labels(25, 4).reshape(5, 5)
    yield "result", f(C + C.T + 1)
    yield "result with progress", f(C + C.T, True)


def create_co_matrix(f, a):
    for window in (1, 2):
        yield f"window {window}", f(a.labels(30, 6), 6, window)


def create_contexts_target(f, a):
    for window in (1, 2):
        yield f"window {window}", f(a.labels(30, 6), window)


def convert_one_hot(f, a):
    yield "result", f(a.labels(6, 5), 5)
    yield "result of contexts", f(a.labels(6, 5).reshape(3, 2), 5)


def most_similar(f, a):
    words = {word: i for i, word in enumerate(("zero", "one", "two", "three", "four", "five"))}
    ids = {i: word for word, i in words.items()}
    matrix = a(6, 4)
    yield "result", f("two", words, ids, matrix)
    yield "top", f("five", words, ids, matrix, 2)
    yield "unknown word", f("six", words, ids, matrix)
