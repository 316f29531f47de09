"""Whole networks: the same numbers as the layers one by one, in every kind of pass; shapes; bad input."""

import inspect
import itertools

import numpy as np
import pytest
from every_backend import backend, on_every_backend, one_thread  # noqa: F401

import fastnn
from fastnn import layers, models, optimizer, time_layers
from fastnn.layers.base import Layer
from fastnn.network import Network, lowering
from fastnn.trainer import remove_duplicate, training_step

pytestmark = [on_every_backend, pytest.mark.usefixtures("one_thread")]

OPTIMIZERS = {
    "SGD": lambda: optimizer.SGD(0.1),
    "Momentum": lambda: optimizer.Momentum(0.1, weight_decay=0.01),
    "Nesterov": lambda: optimizer.Nesterov(0.1),
    "Nesterov, old": lambda: optimizer.Nesterov(0.1, lookahead=False),
    "AdaGrad": lambda: optimizer.AdaGrad(0.1, clip_value=0.1),
    "RMSprop": lambda: optimizer.RMSprop(0.1),
    "Adam": lambda: optimizer.Adam(0.1),
    "AdamW": lambda: optimizer.AdamW(0.1),
    "clipped": lambda: optimizer.Adam(0.1, clip_norm=0.5),
}


def normal(*shape, seed=0, scale=0.4, dtype="float64"):
    return (scale * np.random.default_rng([seed, *shape]).standard_normal(shape)).astype(dtype)


class Doubled:
    """A layer in Python, with nothing but forward and backward."""

    def forward(self, x):
        return 2 * x

    def backward(self, dout):
        return 2 * dout


class Scaled(Layer):
    """A layer in Python with a parameter and new gradient arrays at each call."""

    def forward(self, x):
        self.x = x
        return x * self.params[0]

    def backward(self, dout):
        self.grads = [(dout * self.x).sum(axis=0)]
        return dout * self.params[0]


def dense(*between, sizes=(20, 9, 7, 3), dtype="float64"):
    """Affine layers with what the functions of `between` make of a width after each but the last."""
    net = []
    for i, (D, M) in enumerate(itertools.pairwise(sizes)):
        net.append(layers.Affine(normal(D, M, dtype=dtype), normal(M, dtype=dtype)))
        if i < len(sizes) - 2:
            net += [make(M) for make in between]
    return net


def images(*after, dtype="float64", stride=1, pad=1, bias=True):
    """Convolution and what follows it: images (2, 9, 8) -> 3 scores, by way of (4, ...) and Affine."""
    first = [layers.Convolution(normal(4, 2, 3, 3), normal(4) if bias else None, stride, pad), *after]
    x = normal(2, 2, 9, 8)
    for layer in first:
        x = layer.forward(x)
    D = x[0].size
    return [*first, layers.Affine(normal(D, 5), normal(5)), layers.Tanh(), layers.Affine(normal(5, 3), normal(3))]


def recurrent(*between, V=11, D=4, H=5, classes=None):
    return [
        time_layers.TimeEmbedding(normal(V, D)), *between, time_layers.TimeAffine(normal(H, V), normal(V)),
    ]  # fmt: skip


def lstm(D=4, H=5, **options):
    return time_layers.TimeLSTM(normal(D, 4 * H), normal(H, 4 * H), normal(4 * H), **options)


def gru(D=4, H=5, **options):
    return time_layers.TimeGRU(normal(D, 3 * H), normal(H, 3 * H), normal(3 * H), **options)


def rnn(D=4, H=5, **options):
    return time_layers.TimeRNN(normal(D, H), normal(H, H), normal(H), **options)


def affine(D, M):
    return layers.Affine(normal(D, M), normal(M))


def time_affine(D, M):
    return time_layers.TimeAffine(normal(D, M), normal(M))


def attention(D=4, heads=2, **options):
    weights = [normal(*shape, seed=i) for i in range(4) for shape in ((D, D), (D,))]
    return time_layers.MultiHeadAttention(*weights, heads=heads, **options)


def batch_norm(M):
    return layers.BatchNormalization(1 + normal(M), normal(M))


X, T = normal(8, 20, seed=1), np.arange(8) % 3
PICTURES = normal(8, 2, 9, 8, seed=2)
WORDS = np.random.default_rng(0).integers(0, 11, (6, 7))
NEXT = np.roll(WORDS, -1, axis=1)
MANY_WORDS = np.arange(240).reshape(6, 40) * 37 % 9003  # two blocks

ACTIVATIONS = [
    layers.Identity, layers.Relu, layers.Sigmoid, layers.Tanh, layers.LeakyRelu, layers.ELU, layers.SELU,
    layers.Softplus, layers.Softsign, layers.HardSigmoid, layers.Swish, layers.GELU, layers.Mish, layers.Step,
]  # fmt: skip
softmax_loss = layers.SoftmaxWithLoss

# name: (layers, loss, x, t)
NETWORKS = {
    **{
        cls.__name__: (lambda cls=cls: dense(lambda M: cls()), softmax_loss, X, T) for cls in ACTIVATIONS
    },
    "BatchNormalization": (lambda: dense(batch_norm, lambda M: layers.Relu()), softmax_loss, X, T),
    "Dropout": (lambda: dense(lambda M: layers.Relu(), lambda M: layers.Dropout(0.3, rng=M)), softmax_loss, X, T),
    "LayerNorm": (lambda: dense(lambda M: layers.LayerNorm(1 + normal(M), normal(M))), softmax_loss, X, T),
    "first BatchNormalization": (lambda: [batch_norm(20), *dense(lambda M: layers.Relu())], softmax_loss, X, T),
    "first Relu": (lambda: [layers.Relu(), *dense(lambda M: layers.Relu())], softmax_loss, X, T),
    "first Dropout": (lambda: [layers.Dropout(0.5, rng=0), *dense()], softmax_loss, X, T),
    "Softmax": (lambda: [*dense(), layers.Softmax()], layers.MeanSquaredError, X, normal(8, 3)),
    "one-hot": (dense, softmax_loss, X, np.eye(3)[T]),
    "SoftmaxCrossEntropy": (
        dense, lambda: layers.SoftmaxCrossEntropy(np.array([1.0, 2.0, 0.5]), 2, 0.1), X, T
    ),
    "SigmoidWithLoss": (lambda: dense(lambda M: layers.Relu()), layers.SigmoidWithLoss, X, np.eye(3)[T]),
    "MeanSquaredError": (lambda: dense(lambda M: layers.Tanh()), layers.MeanSquaredError, X, normal(8, 3)),
    "Relu, Pooling": (lambda: images(layers.Relu(), layers.Pooling(2, 2)), softmax_loss, PICTURES, T),
    "ceil_mode": (lambda: images(layers.Pooling(2, 3, 2, 1, True), layers.Relu()), softmax_loss, PICTURES, T),
    "no bias": (lambda: images(layers.Relu(), stride=2, bias=False), softmax_loss, PICTURES, T),
    "two convolutions": (
        lambda: images(layers.Relu(), layers.Convolution(normal(4, 4, 3, 3), normal(4), 1, (0, 1)), layers.Sigmoid()),
        softmax_loss, PICTURES, T,
    ),
    "AveragePooling": (
        lambda: images(layers.Tanh(), layers.AveragePooling(2, 2, 2, 1, False, False)), softmax_loss, PICTURES, T
    ),
    "global pooling": (lambda: images(layers.GELU(), layers.GlobalAveragePooling()), softmax_loss, PICTURES, T),
    "global maximum": (lambda: images(layers.GlobalMaxPooling(keepdims=True)), softmax_loss, PICTURES, T),
    "BatchNorm2d": (
        lambda: images(layers.BatchNorm2d(1 + normal(4), normal(4)), layers.Relu()), softmax_loss, PICTURES, T
    ),
    "GroupNorm, Dropout2d": (
        lambda: images(layers.GroupNorm(2, 1 + normal(4), normal(4)), layers.Dropout2d(0.5, rng=1)),
        softmax_loss, PICTURES, T,
    ),
    "ConvTranspose2d": (
        lambda: images(layers.ConvTranspose2d(normal(4, 3, 2, 2), normal(3), 2, 1, 1)), softmax_loss, PICTURES, T
    ),
    "Flatten": (lambda: images(layers.Relu(), layers.Flatten(), layers.Flatten()), softmax_loss, PICTURES, T),
    "Rnnlm": (lambda: recurrent(lstm(stateful=True)), time_layers.TimeSoftmaxWithLoss, WORDS, NEXT),
    "SimpleRnnlm": (lambda: recurrent(rnn(stateful=True)), time_layers.TimeSoftmaxWithLoss, WORDS, NEXT),
    "relu RNN": (lambda: recurrent(rnn(activation="relu")), time_layers.TimeSoftmaxWithLoss, WORDS, NEXT),
    "GRU": (lambda: recurrent(gru(), gru(5)), time_layers.TimeSoftmaxWithLoss, WORDS, NEXT),
    "GRU, cuDNN": (
        lambda: recurrent(gru(linear_before_reset=True, b_h=normal(5)), time_layers.TimeDropout(0.4, rng=0)),
        time_layers.TimeSoftmaxWithLoss, WORDS, np.where(NEXT > 8, -1, NEXT),
    ),
    "reversed": (
        lambda: recurrent(lstm(reverse=True, peephole=normal(15)), lstm(5, stateful=True)),
        time_layers.TimeSoftmaxWithLoss, WORDS, NEXT,
    ),
    "TimeBiLSTM": (
        lambda: recurrent(
            time_layers.TimeBiLSTM(*lstm().params, *lstm().params, merge="sum"),
            layers.LayerNorm(1 + normal(5), normal(5)),
        ),
        time_layers.TimeSoftmaxWithLoss, WORDS, np.eye(11)[NEXT],
    ),
    "vocabulary": (
        lambda: recurrent(V=9003, D=5), time_layers.TimeSoftmaxWithLoss, MANY_WORDS,
        np.where(MANY_WORDS % 5, MANY_WORDS[::-1], -1),
    ),
    "first vocabulary": (
        lambda: [affine(20, 2004)], lambda: layers.SoftmaxCrossEntropy(label_smoothing=0.1), X, 100 * T
    ),
    "vocabulary, one-hot": (
        lambda: [layers.Tanh(), affine(20, 2001)], softmax_loss, X, np.eye(2001)[700 * T]
    ),
    "TimeBiLSTM, side by side": (
        lambda: [time_layers.TimeBiLSTM(*lstm().params, *lstm().params, stateful=True), affine(70, 3)],
        softmax_loss, normal(6, 7, 4), np.arange(6) % 3,
    ),
    "MatMul": (
        lambda: [
            layers.MatMul(normal(4, 5)), layers.Sigmoid(), layers.MatMul(normal(5, 6)), affine(42, 3),
        ],
        softmax_loss, normal(6, 7, 4), np.arange(6) % 3,
    ),
    "MatMul, many words": (
        lambda: [layers.MatMul(normal(20, 3)), layers.MatMul(normal(3, 2005))], softmax_loss, X, 500 * T
    ),
    "transformer": (
        lambda: recurrent(
            layers.Add([], [layers.LayerNorm(1 + normal(4), normal(4)), attention(causal=True)]),
            layers.Add([], [time_affine(4, 8), layers.GELU(), time_affine(8, 4)]),
            H=4,
        ),
        time_layers.TimeSoftmaxWithLoss, WORDS, NEXT,
    ),
    "first MultiHeadAttention": (
        lambda: [attention(), layers.Affine(normal(28, 3), normal(3))], softmax_loss, normal(6, 7, 4), np.arange(6) % 3
    ),
    "from numbers": (
        lambda: [lstm(), layers.Affine(normal(35, 3), normal(3))], softmax_loss, normal(6, 7, 4), np.arange(6) % 3
    ),
    "Embedding": (
        lambda: [layers.Embedding(normal(11, 4)), layers.Relu(), layers.Affine(normal(28, 3), normal(3))],
        softmax_loss, WORDS, np.arange(6) % 3,
    ),
    "residual": (
        lambda: [*dense(), layers.Add([], [affine(3, 6), layers.Relu(), affine(6, 3)], [batch_norm(3)]), affine(3, 3)],
        softmax_loss, X, T,
    ),
    "first Concatenate": (
        lambda: [layers.Concatenate([affine(20, 4), layers.Tanh()], [], [layers.Dropout(0.5, rng=0)]), affine(44, 3)],
        softmax_loss, X, T,
    ),
    "Inception": (
        lambda: images(
            layers.Concatenate(
                [layers.Convolution(normal(2, 4, 1, 1), normal(2)), layers.Relu()],
                [layers.Pooling(3, 3, 1, 1), layers.Add([layers.Sigmoid()], [])],
            )
        ),
        softmax_loss, PICTURES, T,
    ),
    "in Python": (lambda: [Doubled(), *dense(lambda M: Doubled(), lambda M: Scaled(normal(M)))], softmax_loss, X, T),
}  # fmt: skip


def forward(net, x, train):
    for layer in net:
        if hasattr(layer, "train_flg"):
            layer.train_flg = train
        flag = (train,) if "train_flg" in inspect.signature(layer.forward).parameters else ()
        x = layer.forward(x, *flag)
    return x


def gradient(net, loss, x, t):
    """The layers one by one."""
    value = loss.forward(forward(net, x, True), t)
    dout = loss.backward()
    for layer in reversed(net):
        dout = layer.backward(dout)
    return value


def arrays(net, name):
    return [a for layer in net for a in getattr(layer, name, [])]


def assert_same(net, other, name="params"):
    net, other = (list(lowering.leaves(layers)) for layers in (net, other))
    for a, b in zip(arrays(net, name), arrays(other, name), strict=True):
        np.testing.assert_array_equal(a, b)
    for layer, like in zip(net, other, strict=True):
        for state in "running_mean", "running_var", "h", "c":
            if isinstance(getattr(like, state, None), np.ndarray) and getattr(like, "stateful", True):
                np.testing.assert_array_equal(getattr(layer, state), getattr(like, state))


@pytest.mark.parametrize("name", NETWORKS)
def test_same_numbers_as_the_layers(name):
    """Bit for bit in float64: predictions, losses, gradients, parameters after steps, running statistics, states."""
    make, make_loss, x, t = NETWORKS[name]
    own, other, loss = make(), make(), make_loss()
    net, rule, like = Network(own, make_loss(), None, True), optimizer.Momentum(0.1), optimizer.Momentum(0.1)
    expected = gradient(other, loss, x, t)
    assert net.gradient(x, t) is not None
    assert_same(own, other, "grads")
    for i in range(3):
        expected = gradient(other, loss, x, t)
        like.update(arrays(other, "params"), arrays(other, "grads"))
        assert net.step(x, t, rule) == expected, i
    assert_same(own, other)
    np.testing.assert_array_equal(net.predict(x), forward(other, x, False))
    assert net.loss(x, t) == loss.forward(forward(other, x, False), t)
    assert net.forward(x, t) == loss.forward(forward(other, x, True), t)
    dx, dout = net.backward(), loss.backward()
    for layer in reversed(other):
        dout = layer.backward(dout)
    assert_same(own, other, "grads")
    if x.dtype.kind == "f":
        np.testing.assert_array_equal(dx, dout)
    else:
        assert dx is None is dout


class Noted(Doubled):
    """Writes down the mode it runs in."""

    def __init__(self):
        self.train_flg, self.modes = None, []

    def forward(self, x):
        self.modes.append(self.train_flg)
        return super().forward(x)


def test_the_mode_of_layers_in_python():
    noted = Noted()
    net = Network([*dense(), noted], softmax_loss())
    net.forward(X, T), net.loss(X, T)
    noted.modes.clear()
    for run in net.forward, net.loss, net.gradient:
        run(X, T)
    assert noted.modes == [True, False, True]


@pytest.mark.parametrize("name", NETWORKS)
def test_plans_are_kept(name):
    make, make_loss, x, t = NETWORKS[name]
    net, rule = Network(make(), make_loss()), optimizer.SGD()
    net.step(x, t, rule), net.gradient(x, t)
    first = {key: lowered.plan for key, lowered in net._plans.items()}
    net.step(x, t, rule), net.gradient(x, t)
    assert len(first) == 2 and all(net._plans[key].plan is plan for key, plan in first.items())


def test_options_of_layers_that_change():
    drop, relu, loss = layers.Dropout(0.5, rng=0), layers.LeakyRelu(0.1), layers.SoftmaxWithLoss()
    net = Network([affine(20, 9), relu, drop, affine(9, 3)], loss)
    net.gradient(X, T), net.loss(X, T)
    drop.dropout_ratio, relu.alpha, loss.epsilon = 0.0, 0.3, 0.25
    net.gradient(X, T)
    assert drop.mask.all()
    like = Network([layers.Affine(*net.params[:2]), layers.LeakyRelu(0.3), layers.Affine(*net.params[2:])], loss)
    assert net.loss(X, T) == like.loss(X, T) == like.loss(X, T, train_flg=True)


def test_few_plans_are_kept():
    net = Network([time_layers.TimeEmbedding(normal(11, 4)), time_affine(4, 11)], time_layers.TimeSoftmaxWithLoss())
    for T in range(1, 40):
        assert net.predict(np.ones((2, T), int)).shape == (2, T, 11)
    assert len(net._plans) < 20


@pytest.mark.parametrize("rule", OPTIMIZERS)
def test_optimizers(rule):
    own, other = ([*dense(batch_norm, lambda M: layers.Relu())] for _ in range(2))
    net, loss = Network(own, softmax_loss()), softmax_loss()
    mine, like = OPTIMIZERS[rule](), OPTIMIZERS[rule]()
    for i in range(4):
        mine.lr = like.lr = 0.1 / (i + 1)
        expected = gradient(other, loss, X, T)
        like.update(arrays(other, "params"), arrays(other, "grads"))
        assert net.step(X, T, mine) == expected
        assert_same(own, other)
    for name in mine.state_names:
        for a, b in zip(getattr(mine, name), getattr(like, name), strict=True):
            np.testing.assert_array_equal(a, b)
    assert getattr(mine, "iter", 0) == getattr(like, "iter", 0)


def test_batch_sizes_and_parts():
    """Any size after any other; a part is what the whole would give, large inputs go in blocks."""
    own, other = (dense(lambda M: layers.Relu(), dtype="float32") for _ in range(2))
    net = Network(own, softmax_loss())
    x = normal(5000, 20, dtype="float32")
    for n in (8, 3, 1, 5000, 20, 0):
        np.testing.assert_allclose(net.predict(x[:n]), forward(other, x[:n], False), 1e-5, 1e-6)
    assert net.predict(x[:0]).shape == (0, 3)
    assert net.predict(x[0]).shape == (1, 3)
    labels = net.predict(x).argmax(axis=1)
    assert net.accuracy(x, labels) == 1 == net.accuracy(x, np.eye(3)[labels])
    assert np.isnan(net.accuracy(x[:0], labels[:0]))
    assert net.predict(x.astype(int)).dtype == np.float32 == net.predict(x.astype(np.float64)).dtype


def test_large_inputs_take_little_memory():
    """From the first call, of indices too; sequences whose states are kept go through in one piece."""
    words = np.arange(9000).reshape(1500, 6) * 37 % 4001
    net, other = (recurrent(lstm(), V=4001) for _ in range(2))
    net = Network(net)
    np.testing.assert_allclose(net.predict(words), forward(other, words, False), 1e-12)
    assert max(lowered.program.arena_bytes for lowered in net._plans.values()) < 8 << 20
    net, other = (Network(recurrent(lstm(stateful=True))), recurrent(lstm(stateful=True)))
    for _ in range(2):
        np.testing.assert_allclose(net.predict(words % 11), forward(other, words % 11, False), 1e-12)


@pytest.mark.parametrize("rule", [optimizer.SGD, optimizer.Adam])
def test_tied_weights(rule):
    """The output layer's W is the embedding's: one update by the sum of both gradients."""
    one, other = (models.BetterRnnlm(11, 5, 5, dtype="float64", rng=0) for _ in range(2))
    net, mine, like = Network(one.layers, one.loss_layer), rule(0.1), rule(0.1)
    for _ in range(3):
        assert net.step(WORDS, NEXT, mine) == training_step(other, like, WORDS, NEXT)
    for p, q in zip(one.params, other.params, strict=True):
        np.testing.assert_array_equal(p, q)


@pytest.mark.parametrize("rule", OPTIMIZERS)
def test_layers_with_the_same_array(rule):
    def build():
        W, b = normal(9, 9), normal(9)
        shared = [layers.Affine(W, b), layers.Tanh(), layers.Affine(W, normal(9, seed=1)), layers.Tanh()]
        return [affine(20, 9), *shared, layers.Add([], [layers.Affine(W, b)]), affine(9, 3)]

    own, other = build(), build()
    net, loss, mine, like = Network(own, softmax_loss()), softmax_loss(), OPTIMIZERS[rule](), OPTIMIZERS[rule]()
    for _ in range(3):
        expected = gradient(other, loss, X, T)
        like.update(*remove_duplicate(arrays(other, "params"), arrays(other, "grads")))
        assert net.step(X, T, mine) == expected
    assert_same(own, other)
    (program,) = (lowered.program for lowered in net._plans.values())
    assert all(type(op) is str for op, _ in program.instructions)


def test_names_of_parameters():
    net = Network(dense(batch_norm), softmax_loss())
    assert net.params.keys() == ["W1", "b1", "gamma1", "beta1", "W2", "b2", "gamma2", "beta2", "W3", "b3"]
    assert net.params["W2"] is net.layers[2].W is net.params[4] and len(net.params) == 10
    grads = net.gradient(X, T)
    assert grads["W1"] is net.layers[0].dW and [g.shape for _, g in grads.items()] == [p.shape for p in net.params]
    before = net.params["b1"].copy()
    net.params["b1"] -= 0.5  # as book 1's scripts
    np.testing.assert_array_equal(net.layers[0].b, before - 0.5)
    with pytest.raises(KeyError, match="'W9' is not one of W1, b1"):
        net.params["W9"]
    language = Network(recurrent(lstm()), time_layers.TimeSoftmaxWithLoss())
    assert language.params.keys() == ["W1", "Wx1", "Wh1", "b1", "W2", "b2"]
    net.params[0] -= 0.5  # as book 2's
    net.params[1] = np.ones(len(before))
    assert (net.layers[0].b == 1).all() and "W1" in net.params and net.layers[0].W in net.params
    assert "W9" not in net.params and net.layers[0].dW not in net.params


def test_books_trainers_take_a_network():
    from fastnn.trainer import ModelTrainer, RnnlmTrainer, Trainer

    x, t = normal(60, 20), np.arange(60) % 3
    net = Network(dense(lambda M: layers.Relu()), softmax_loss())
    trainer = Trainer(net, x, t, x, t, epochs=3, mini_batch_size=20, verbose=False, rng=0, optimizer_param={"lr": 0.5})
    trainer.train()
    assert len(trainer.train_acc_list) == 3
    before = net.loss(x, t)
    ModelTrainer(net, optimizer.Adam(0.01), rng=0).fit(x, t, max_epoch=3, batch_size=20, eval_interval=None)
    assert net.loss(x, t) < before
    corpus = np.random.default_rng(0).integers(0, 11, 200)
    language = Network(recurrent(lstm(stateful=True)), time_layers.TimeSoftmaxWithLoss())
    RnnlmTrainer(language, optimizer.SGD(0.5)).fit(corpus[:-1], corpus[1:], 1, 4, 7, max_grad=0.25, eval_interval=None)


def test_arrays_that_are_replaced_count():
    net, rule = Network(dense(), softmax_loss()), optimizer.Momentum(0.1)
    net.step(X, T, rule)
    before = net.predict(X)
    net.layers[0].W = np.zeros_like(net.layers[0].W)
    assert (net.predict(X) != before).any()
    rule.v = None
    net.step(X, T, rule)
    assert len(rule.v) == 6
    with fastnn.use_backend("numpy"):
        np.testing.assert_allclose(net.predict(X), forward(net.layers, X, False), 1e-12)


def test_a_step_whose_loss_is_not_finite_changes_nothing():
    net, rule = Network(dense(batch_norm), softmax_loss()), optimizer.Adam()
    net.step(X, T, rule)
    bad = X.copy()
    bad[3, 4] = np.nan
    before = [a.copy() for a in [*net.params, *rule.m, *rule.v, net.layers[1].running_mean]]
    assert np.isnan(net.step(bad, T, rule)) and rule.iter == 1
    for a, b in zip([*net.params, *rule.m, *rule.v, net.layers[1].running_mean], before, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_step_whose_loss_is_not_finite_keeps_recurrent_states():
    net, x, t = Network([lstm(stateful=True)], time_layers.TimeSoftmaxWithLoss()), normal(3, 6, 4), np.ones((3, 6), int)
    net.step(x, t, optimizer.SGD())
    h, c = net.layers[0].h, net.layers[0].c
    assert np.isnan(net.step(np.where(x > 1, np.nan, x), t, optimizer.SGD()))
    assert net.layers[0].h is h and net.layers[0].c is c


def test_gradients_of_a_loss_that_is_not_finite():
    net = Network(dense(batch_norm), softmax_loss())
    bad = X.copy()
    bad[3, 4] = np.nan
    assert np.isnan(net.gradient(bad, T)["W3"]).all()


@pytest.mark.parametrize("suffix", [".npz", ".pkl"])
def test_files(tmp_path, suffix):
    net, other = (Network(dense(batch_norm), softmax_loss()) for _ in range(2))
    for _ in range(3):
        net.step(X, T, optimizer.SGD(0.1))
    net.save(tmp_path / f"net{suffix}")
    other.load(tmp_path / f"net{suffix}")
    np.testing.assert_array_equal(other.predict(X), net.predict(X))
    deeper = Network(dense(batch_norm, sizes=(20, 9, 3)), softmax_loss())
    with pytest.raises(ValueError, match=r"Network.load: .*net.* has W1, .*; the network has W1, b1"):
        deeper.load(tmp_path / f"net{suffix}")
    wider = Network(dense(batch_norm, sizes=(20, 9, 8, 3)), softmax_loss())
    before = wider.predict(X)
    with pytest.raises(ValueError, match=r"W2 is \(9, 7\) but must be \(9, 8\)"):
        wider.load(tmp_path / f"net{suffix}")
    np.testing.assert_array_equal(wider.predict(X), before)


# ---- bad input -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "net, x, message",
    [
        ([affine(20, 9), affine(8, 3)], X,
         r"layer 2 \(Affine\) takes 8 numbers a sample \(W is \(8, 3\)\) but layer 1 \(Affine\) gives \(N, 9\)"),
        ([affine(19, 9)], X, r"layer 1 \(Affine\) takes 19 numbers .* but the input gives \(N, 20\)"),
        ([affine(20, 9), batch_norm(8)], X, r"layer 2 \(BatchNormalization\) takes 8 numbers"),
        ([layers.Convolution(normal(4, 3, 3, 3), normal(4))], PICTURES,
         r"layer 1 \(Convolution\) takes images of 3 channels but the input gives \(N, 2, 9, 8\)"),
        ([layers.Convolution(normal(4, 2, 11, 3), normal(4))], PICTURES, "images that its window fits on"),
        ([affine(20, 9), layers.Pooling(2, 2)], X, r"layer 2 \(Pooling\) takes images \(N, C, H, W\)"),
        ([lstm(3)], normal(6, 7, 4), r"layer 1 \(TimeLSTM\) takes \(N, T, 3\) but the input gives \(N, 7, 4\)"),
        ([affine(20, 9), layers.Relu(), layers.Embedding(normal(3, 4))], X,
         r"layer 3 \(Embedding\) takes indices but layer 2 \(Relu\)"),
        ([affine(20, 9), time_layers.TimeAffine(normal(8, 4), normal(4))], X, r"2 \(TimeAffine\) takes 8 numbers"),
        ([affine(20, 9), layers.Add([], [affine(9, 8)])], X, r"2 \(Add\) has branches of \(N, 9\), \(N, 8\)"),
        ([affine(20, 9), Scaled(normal(8))], X, r"layer 2 \(Scaled\), run in Python, does not take \(N, 9\)"),
    ],
)  # fmt: skip
def test_shapes_that_do_not_chain(net, x, message):
    with pytest.raises(ValueError, match=message):
        Network(net).predict(x)


@pytest.mark.parametrize(
    "loss, t, message",
    [
        (
            softmax_loss(),
            T[:7],
            r"SoftmaxWithLoss: t is int64 \(7,\) but the scores are \(8, 3\); labels must be \(8,\)",
        ),
        (softmax_loss(), np.eye(4)[T], r"t is float64 \(8, 4\)"),
        (time_layers.TimeSoftmaxWithLoss(), T, r"TimeSoftmaxWithLoss takes \(T, V\) scores a sample but layer"),
        (layers.MeanSquaredError(), T, r"t is \(8,\) but the scores are \(8, 3\); MeanSquaredError takes equal shapes"),
        (None, T, "Network.loss: the network has no loss"),
    ],
)
def test_losses_that_do_not_fit(loss, t, message):
    with pytest.raises(ValueError, match=message):
        Network([affine(20, 3)], loss).loss(X, t)


def test_other_bad_input():
    net = Network([affine(20, 3)], softmax_loss())
    with pytest.raises(IndexError, match=r"t\[2\] is 3"):
        net.loss(X, np.where(np.arange(8) == 2, 3, T))
    with pytest.raises(TypeError, match=r"t is float64 \(8,\); labels are integers"):
        net.loss(X, T * 1.0)
    with pytest.raises(ValueError, match=r"Network.step: x is \(0, 20\); the batch is empty"):
        net.step(X[:0], T[:0], optimizer.SGD())
    with pytest.raises(TypeError, match="complex128"):
        net.predict(X * 1j)
    with pytest.raises(TypeError, match="takes indices"):
        Network(recurrent(lstm())).predict(X)
    with pytest.raises(ValueError, match="layers is empty"):
        Network([])
    with pytest.raises(TypeError, match="layer 2 is a int, which has no forward"):
        Network([affine(20, 3), 3])
    with pytest.raises(TypeError, match=r"layer 2 is the class Relu; Relu\(...\) makes a layer"):
        Network([affine(20, 3), layers.Relu])
    with pytest.raises(TypeError, match="layers is a Affine; it must be a list"):
        Network(affine(20, 3))
    with pytest.raises(TypeError, match="loss is a str, which has no forward"):
        Network([affine(20, 3)], "softmax")
    with pytest.raises(ValueError, match="must be those of several classes"):
        Network([affine(20, 1)], layers.MeanSquaredError()).accuracy(X, T)
    with pytest.raises(ValueError, match="float32 and float64"):
        Network([*dense(), *dense(dtype="float32")])
    with pytest.raises(RuntimeError, match="needs a forward"):
        net.backward()
    rule = optimizer.Momentum()
    net.step(X, T, rule)
    with pytest.raises(ValueError, match="each network needs its own optimizer"):
        Network([affine(20, 4)], softmax_loss()).step(X, T, rule)


def test_python_between_native_parts():
    """Layers, losses and optimizers in Python: the rest runs in native calls around them, with the same numbers."""

    class OwnLoss:
        def forward(self, x, t):
            self.x, self.t = x, t
            return float(((x - t) ** 2).sum())

        def backward(self, dout=1):
            return 2 * dout * (self.x - self.t)

    class Halved(optimizer.SGD):
        def update(self, params, grads):
            for p, g in zip(params, grads, strict=True):
                p -= 0.5 * self.lr * g

    def make():
        return [Doubled(), *dense(batch_norm, lambda M: Scaled(1 + normal(M)))]

    own, other = make(), make()
    net, loss, targets = Network(own, OwnLoss()), OwnLoss(), normal(8, 3, seed=4)
    for rule, like in (
        (optimizer.Adam(0.1), optimizer.Adam(0.1)), (Halved(0.1), Halved(0.1)),
        (optimizer.SGD(0.1), optimizer.SGD(0.1)),
    ):  # fmt: skip
        for _ in range(2):
            expected = gradient(other, loss, X, targets)
            like.update(arrays(other, "params"), arrays(other, "grads"))
            assert net.step(X, targets, rule) == expected
        assert_same(own, other)
    bad, before = targets.copy(), [p.copy() for p in net.params]
    bad[2, 1] = np.nan
    assert np.isnan(net.step(X, bad, optimizer.SGD(0.1)))
    for p, q in zip(net.params, before, strict=True):
        np.testing.assert_array_equal(p, q)
    if fastnn.backends.active_name == "native":
        assert {lowered.plan.name for lowered in net._plans.values()} == {"parts"}


def test_summary_changes_nothing():
    net = Network([*recurrent(lstm(stateful=True)), layers.Dropout(0.5, rng=0)], time_layers.TimeSoftmaxWithLoss())
    net.step(WORDS, NEXT, optimizer.SGD())
    h, drawn = net.layers[1].h, net.layers[-1].rng.bit_generator.state
    net.summary(repeats=1)  # 100 samples; the state is of 6
    assert net.layers[1].h is h and net.layers[-1].rng.bit_generator.state == drawn


def test_python_layers_with_results_of_other_shapes():
    class Odd(Doubled):
        def forward(self, x):
            return x if len(x) == 2 else x[:, :1]

    class Back(Doubled):
        def backward(self, dout):
            return dout[:, :1]

    with pytest.raises(ValueError, match=r"layer 2 \(Odd\): forward gives \(8, 1\) where \(8, 3\) must be"):
        Network([affine(20, 3), Odd()]).predict(X)
    net = Network([affine(20, 3), Back()], softmax_loss())
    with pytest.raises(ValueError, match=r"layer 2 \(Back\): backward gives \(8, 1\) where \(8, 3\) must be"):
        net.step(X, T, optimizer.SGD())


def test_summary_says_why_layers_run_in_python():
    net = Network([Doubled(), *dense(lambda M: Scaled(normal(M)))], softmax_loss())
    net.layers[1].forward = lambda x: layers.Affine.forward(net.layers[1], x)
    text = str(net.summary(X, repeats=1))
    assert "layer 1 (Doubled) runs in Python: its class is not one that a plan knows" in text
    assert "layer 2 (Affine) runs in Python: it has a forward or backward of its own" in text
    if fastnn.backends.active_name == "native":
        assert "native calls with Python between them" in text
        assert "run as one native call" in str(Network(dense(), softmax_loss()).summary(X, repeats=1))
    else:
        assert f"operations one by one (the backend is {fastnn.backends.active_name})" in text
