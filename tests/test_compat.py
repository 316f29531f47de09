"""The books' own behaviour: each quirk that scripts rely on, against the books' formulas in plain NumPy."""

import numpy as np
import pytest
from every_backend import backend, on_every_backend  # noqa: F401

from fastnn.compat import book1, book2

pytestmark = on_every_backend


@pytest.fixture
def rng():
    return np.random.default_rng(7)


def close(got, expected):
    np.testing.assert_allclose(got, expected, rtol=1e-10, atol=1e-13)


# ---- book 1: layers ------------------------------------------------------------------------------------------------


def test_affine_gradients_are_fresh_arrays(rng):
    W, b, x = rng.standard_normal((6, 3)), rng.standard_normal(3), rng.standard_normal((4, 2, 3))
    affine = book1.Affine(W, b)
    assert affine.dW is None and affine.db is None and affine.W is W
    kept = []
    for _ in range(2):
        dout = rng.standard_normal((4, 3))
        affine.forward(x)
        assert affine.backward(dout).shape == x.shape and affine.original_x_shape == x.shape
        kept.append((affine.dW, affine.db, x.reshape(4, 6).T @ dout, dout.sum(axis=0)))
    for dW, db, expected_dW, expected_db in kept:
        close(dW, expected_dW)
        close(db, expected_db)


def test_affine_parameters_may_be_rebound(rng):
    affine = book1.Affine(rng.standard_normal((6, 3)), np.zeros(3))
    affine.W, affine.b = rng.standard_normal((6, 5)), np.ones(5)
    x = rng.standard_normal((2, 6))
    close(affine.forward(x), x @ affine.W + 1)
    affine.backward(np.ones((2, 5)))
    assert affine.dW.shape == (6, 5)


def test_affine_gradients_have_the_promoted_dtype(rng):
    affine = book1.Affine(rng.standard_normal((6, 3)).astype(np.float32), np.zeros(3, np.float32))
    affine.forward(rng.random((4, 6), np.float32))
    assert affine.backward(np.ones((4, 3))).dtype == affine.dW.dtype == affine.db.dtype == np.float64


def test_softmax_with_loss_ignores_dout(rng):
    x, t = rng.standard_normal((4, 3)), np.array([0, 2, 1, 1])
    layer = book1.SoftmaxWithLoss()
    loss = layer.forward(x, t)
    y = book1.softmax(x)
    assert isinstance(loss, np.float64) and layer.loss is loss and layer.t is t
    close(loss, -np.log(y[np.arange(4), t] + 1e-7).mean())
    close(layer.backward(5), (y - np.eye(3)[t]) / 4)
    assert isinstance(layer.forward(x.astype(np.float32), t), np.float32)


@pytest.mark.parametrize("dtype", [np.float64, np.int64, np.float32])
def test_softmax_with_loss_gradient_is_promoted(rng, dtype):
    x, t = rng.standard_normal((4, 3)).astype(np.float32), np.eye(3, dtype=dtype)[[0, 2, 1, 1]]
    layer = book1.SoftmaxWithLoss()
    layer.forward(x, t)
    dx = layer.backward()
    expected = (layer.y - t) / 4
    assert layer.t is t and layer.y.dtype == np.float32
    assert dx.dtype == expected.dtype == np.result_type(np.float32, dtype)
    np.testing.assert_allclose(dx, expected, rtol=1e-6 if dtype == np.float32 else 1e-14)


def test_softmax_with_loss_of_one_sample_divides_by_its_classes(rng):
    x, t = rng.standard_normal(4), np.eye(4)[2]
    layer = book1.SoftmaxWithLoss()
    close(layer.forward(x, t), -np.log(book1.softmax(x)[2] + 1e-7))
    close(layer.backward(), (book1.softmax(x) - t) / 4)


def test_labels_of_shape_1_1(rng):
    x = rng.standard_normal((1, 4))
    layer = book1.SoftmaxWithLoss()
    close(layer.forward(x, np.array([[2]])), -np.log(book1.softmax(x)[0, 2] + 1e-7))


@pytest.mark.parametrize("Dropout", [book1.Dropout, book2.Dropout])
def test_dropout_draws_globally_and_is_not_inverted(rng, Dropout):
    x, dout = rng.standard_normal((3, 4, 5)), rng.standard_normal((3, 4, 5))
    layer = Dropout(0.3)
    np.random.seed(11)
    out = layer.forward(x)
    np.random.seed(11)
    mask = np.random.rand(3, 4, 5) > 0.3
    assert layer.mask.dtype == np.bool_ and (layer.mask == mask).all()
    np.testing.assert_array_equal(out, x * mask)
    np.testing.assert_array_equal(layer.backward(dout), dout * mask)
    close(layer.forward(x, train_flg=False), x * (1 - 0.3))
    assert (layer.mask == mask).all() and layer.params == []


@pytest.mark.parametrize("bit_generator", [np.random.MT19937, np.random.PCG64])
def test_large_dropout_leaves_the_global_generator_as_the_books_do(rng, bit_generator):
    x, before = rng.standard_normal((40, 30, 20)).astype(np.float32), np.random.get_bit_generator()
    np.random.set_bit_generator(bit_generator(5))
    try:
        np.random.randn(3)  # one normal number is left over
        if bit_generator is np.random.MT19937:
            np.random.bytes(4)  # an odd number of words
        state = np.random.get_state(legacy=False)
        masks = [np.random.rand(40, 30, 20) > ratio for ratio in (0.3, 0.25)]
        after = np.random.randn(5)
        np.random.set_state(state)
        layer, time_layer = book1.Dropout(0.3), book2.TimeDropout(0.25)
        np.testing.assert_array_equal(layer.forward(x), x * masks[0])
        np.testing.assert_allclose(time_layer.forward(x), x * masks[1] / np.float32(0.75), 1e-6)
        assert (layer.mask == masks[0]).all()
        np.testing.assert_array_equal(np.random.randn(5), after)
    finally:
        np.random.set_bit_generator(before)


def test_batch_normalization(rng):
    x, gamma, beta = rng.standard_normal((5, 4)).astype(np.float32), np.ones(4, np.float32), np.zeros(4, np.float32)
    layer = book1.BatchNormalization(gamma, beta)
    assert layer.dgamma is None
    layer.forward(x)
    assert layer.running_mean.dtype == np.float64
    before = layer.running_mean
    layer.forward(x)
    assert layer.running_mean is not before
    layer.backward(x)
    first = layer.dgamma
    layer.backward(2 * x)
    assert first is not layer.dgamma
    np.testing.assert_allclose(layer.dgamma, 2 * first, rtol=1e-6)


def test_relu_and_sigmoid_are_the_books(rng):
    x = rng.standard_normal((3, 4))
    relu, sigmoid = book1.Relu(), book1.Sigmoid()
    relu.forward(x)
    np.testing.assert_array_equal(relu.mask, x <= 0)
    y = sigmoid.forward(x)
    close(sigmoid.backward(x), x * (1 - y) * y)
    close(sigmoid.out, y)


# ---- book 1: training ----------------------------------------------------------------------------------------------


def test_nesterov_rules_differ():
    p1, p2, one = {"p": np.zeros(1)}, [np.zeros(1)], np.ones(1)
    first, second = book1.Nesterov(lr=0.1, momentum=0.9), book2.Nesterov(lr=0.1, momentum=0.9)
    for _ in range(2):
        first.update(p1, {"p": one})
        second.update(p2, [one])
    close(p1["p"], -1.9 * 0.1 + 0.81 * -0.1 - 1.9 * 0.1)
    close(p2[0], 0.81 * -0.1 - 1.9 * 0.1 + 0.81 * -0.19 - 1.9 * 0.1)


def test_two_layer_net_trains_as_the_book_does():
    """The book's numbers for the same seed: float64 weights by np.random.randn, batches by np.random.choice."""
    x, t = np.random.default_rng(0).random((50, 12)).astype(np.float32), np.random.default_rng(1).integers(0, 3, 50)
    np.random.seed(3)
    net, losses = book1.TwoLayerNet(12, 6, 3), []
    for _ in range(20):
        batch = np.random.choice(50, 10)
        gradient = net.gradient(x[batch], t[batch])
        for name in net.params:
            net.params[name] -= 0.5 * gradient[name]
        losses.append(net.loss(x[batch], t[batch]))

    np.random.seed(3)
    W1, W2 = 0.01 * np.random.randn(12, 6), 0.01 * np.random.randn(6, 3)
    b1, b2 = np.zeros(6), np.zeros(3)

    def forward(x):
        h = np.maximum(x @ W1 + b1, 0)
        y = np.exp(h @ W2 + b2)
        return h, y / y.sum(axis=1, keepdims=True)

    for loss in losses:
        batch = np.random.choice(50, 10)
        h, y = forward(x[batch])
        d = (y - np.eye(3)[t[batch]]) / 10
        dh = (d @ W2.T) * (h > 0)
        dW1, dW2 = x[batch].T @ dh, h.T @ d
        W1 -= 0.5 * dW1
        b1 -= 0.5 * dh.sum(axis=0)
        W2 -= 0.5 * dW2
        b2 -= 0.5 * d.sum(axis=0)
        close(loss, -np.log(forward(x[batch])[1][np.arange(10), t[batch]] + 1e-7).mean())
    assert net.params["W1"].dtype == np.float64 and isinstance(losses[0], np.float64)


def test_gradient_dicts_stay_valid():
    x, t = np.random.default_rng(0).random((5, 4)), np.array([0, 1, 2, 1, 0])
    net = book1.MultiLayerNetExtend(4, [3], 3, use_batchnorm=True, weight_decay_lambda=0.1)
    first = net.gradient(x, t)
    copies = {name: g.copy() for name, g in first.items()}
    net.gradient(2 * x + 1, t)
    assert all((first[name] == g).all() for name, g in copies.items())


def test_multi_layer_nets_draw_in_order():
    np.random.seed(5)
    net = book1.MultiLayerNetExtend(6, [5, 4], 3, use_batchnorm=True, use_dropout=True, dropout_ration=0.1)
    np.random.seed(5)
    shapes = [(6, 5), (5, 4), (4, 3)]
    for i, shape in enumerate(shapes, start=1):
        close(net.params[f"W{i}"], np.sqrt(2 / shape[0]) * np.random.randn(*shape))
    assert isinstance(net.layers["Dropout1"], book1.Dropout) and net.layers["Dropout2"].dropout_ratio == 0.1
    assert isinstance(book1.MultiLayerNet(6, [5], 3).layers["Affine1"], book1.Affine)


def test_trainer_draws_globally(capsys):
    x, t = np.random.default_rng(0).random((20, 4)), np.random.default_rng(1).integers(0, 3, 20)
    np.random.seed(2)
    trainer = book1.Trainer(book1.TwoLayerNet(4, 3, 3), x, t, x, t, epochs=2, mini_batch_size=5, optimizer="Nesterov")
    assert isinstance(trainer.optimizer, book1.Nesterov)
    state = np.random.get_state()[2]
    trainer.train_step()
    assert np.random.get_state()[2] != state
    loss, epoch = capsys.readouterr().out.splitlines()
    assert loss == f"train loss:{trainer.train_loss_list[0]}" and isinstance(trainer.train_loss_list[0], np.float64)
    assert epoch.startswith("=== epoch:1, train acc:0.")
    fractional = book1.Trainer(book1.TwoLayerNet(4, 3, 3), x, t, x, t, epochs=3, mini_batch_size=8, verbose=False)
    fractional.train()
    assert fractional.current_epoch == 2  # at iterations 0 and 5 of 7, where 2.5 divides


def test_shuffle_dataset_draws_globally():
    x, t = np.arange(20).reshape(10, 2), np.arange(10)
    np.random.seed(4)
    xs, ts = book1.shuffle_dataset(x, t)
    np.random.seed(4)
    order = np.random.permutation(10)
    assert (xs == x[order]).all() and (ts == t[order]).all()


# ---- book 2 --------------------------------------------------------------------------------------------------------


def test_affine_contracts_the_last_axis(rng):
    W, b, x = rng.standard_normal((3, 2)), rng.standard_normal(2), rng.standard_normal((4, 5, 3))
    affine = book2.Affine(W, b)
    dW = affine.grads[0]
    close(affine.forward(x), x @ W + b)
    dout = rng.standard_normal((4, 5, 2))
    close(affine.backward(dout), dout @ W.T)
    close(dW, x.reshape(-1, 3).T @ dout.reshape(-1, 2))
    affine.forward(x[0])
    affine.backward(dout[0])
    assert affine.grads[0] is dW
    close(dW, x[0].T @ dout[0])


def test_softmax_with_loss_keeps_labels_and_multiplies_by_dout(rng):
    x, t = rng.standard_normal((4, 3)), np.array([0, 2, 1, 1])
    onehot = np.eye(3, dtype=np.int32)[t]
    layer = book2.SoftmaxWithLoss()
    loss = layer.forward(x, onehot)
    np.testing.assert_array_equal(layer.t, t)
    assert isinstance(loss, np.float64) and (onehot == np.eye(3)[t]).all()
    close(layer.backward(0.5), 0.5 * (book2.softmax(x) - onehot) / 4)


def test_sigmoid_with_loss_gradient_is_promoted(rng):
    x, t = rng.standard_normal(6).astype(np.float32), np.array([0, 1, 1, 0, 1, 0])
    layer = book2.SigmoidWithLoss()
    assert isinstance(layer.forward(x, t), np.float32)
    dx = layer.backward()
    assert dx.dtype == np.float64 and layer.y.dtype == np.float32
    np.testing.assert_allclose(dx, (layer.y - t) / 6, rtol=1e-12)


def test_remove_duplicate(rng):
    A, B, C = rng.standard_normal((4, 3)), rng.standard_normal((3, 3)), rng.standard_normal(3)
    params = [A, B, A, A.T, C, C.copy(), A.T.copy(), B.T.copy()]
    grads = [np.full(p.shape, 10.0**i) for i, p in enumerate(params)]
    arrays = list(grads)
    p, g = book2.remove_duplicate(params, grads)
    assert len(params) == len(grads) == 8
    assert [id(a) for a in p] == [id(A), id(B), id(C), id(params[5])]  # vectors only by identity
    assert [id(a) for a in g] == [id(arrays[i]) for i in (0, 1, 4, 5)]
    assert (g[0] == 1 + 10**2 + 10**3 + 10**6).all() and (g[1] == 10 + 10**7).all()


class Model:
    def __init__(self):
        self.params, self.grads, self.losses = [np.zeros(1)], [np.ones(1)], iter(range(100))

    def forward(self, x, t):
        assert (t == 2 * x).all() and len(x) == 3
        return np.float64(next(self.losses))

    def backward(self, dout=1):
        self.grads[0][...] = 1


def test_trainer_of_book_2(capsys):
    x = np.arange(13)
    trainer, model = None, Model()
    trainer = book2.Trainer(model, book2.SGD(lr=1.0))
    trainer.fit(x, 2 * x, max_epoch=2, batch_size=3, eval_interval=3)
    assert capsys.readouterr().out.splitlines() == [
        "| epoch 1 |  iter 1 / 4 | time 0[s] | loss 0.00",
        "| epoch 1 |  iter 4 / 4 | time 0[s] | loss 2.00",
        "| epoch 2 |  iter 1 / 4 | time 0[s] | loss 4.00",
        "| epoch 2 |  iter 4 / 4 | time 0[s] | loss 6.00",
    ]
    assert trainer.loss_list == [0.0, 2.0, 4.0, 6.0] and isinstance(trainer.loss_list[0], float)
    assert trainer.current_epoch == 2 and model.params[0] == -8 and (x == np.arange(13)).all()
    trainer.fit(x, 2 * x, max_epoch=1, batch_size=3, max_grad=0.5, eval_interval=None)
    assert capsys.readouterr().out == "" and trainer.current_epoch == 3
    np.testing.assert_allclose(model.params[0], -10, rtol=1e-5)


def test_two_layer_net_of_book_2():
    np.random.seed(6)
    net = book2.TwoLayerNet(2, 10, 3)
    np.random.seed(6)
    close(net.params[0], 0.01 * np.random.randn(2, 10))
    close(net.params[2], 0.01 * np.random.randn(10, 3))
    x, t = np.random.default_rng(0).standard_normal((30, 2)), np.eye(3, dtype=np.int32)[np.arange(30) % 3]
    loss = net.forward(x, t)
    net.backward()
    assert loss == pytest.approx(np.log(3), rel=0.01) and isinstance(loss, np.float64)
    assert all(g is h for g, h in zip(net.grads, [g for layer in net.layers for g in layer.grads], strict=True))
    book2.Trainer(net, book2.SGD(lr=1.0)).fit(x, t, max_epoch=2, batch_size=10, eval_interval=None)
    assert net.params[0].dtype == np.float64


# ---- book 2: sequences and text ------------------------------------------------------------------------------------


def test_recurrent_layers_of_book2_give_float32(rng):
    for name, gates in ("TimeRNN", 1), ("TimeLSTM", 4), ("TimeGRU", 3):
        weights = rng.standard_normal((3, gates * 2)), rng.standard_normal((2, gates * 2)), np.zeros(gates * 2)
        layer = getattr(book2, name)(*weights)
        assert layer.forward(rng.standard_normal((4, 5, 3))).dtype == np.float32 and layer.h.dtype == np.float64
        assert layer.backward(rng.standard_normal((4, 5, 2))).dtype == np.float32
        assert layer.grads[0].dtype == np.float64
    gru = book2.TimeGRU(*weights[:2], True)
    assert gru.stateful and len(gru.params) == 2
    embedding = book2.TimeEmbedding(rng.standard_normal((4, 3)))
    assert embedding.forward(np.array([[1, 2]])).dtype == np.float32
    assert embedding.backward(np.ones((1, 2, 3), np.float32)) is None


def test_time_dropout_of_book2_draws_from_numpys_generator(rng):
    x, layer = rng.standard_normal((2, 3, 4)).astype(np.float32), book2.TimeDropout(0.25)
    np.random.seed(3)
    out = layer.forward(x)
    np.random.seed(3)
    mask = (np.random.rand(2, 3, 4) > 0.25) / np.float32(0.75)
    np.testing.assert_allclose(out, x * mask, 1e-6)
    np.testing.assert_allclose(layer.backward(x), x * mask, 1e-6)
    layer.train_flg = False
    assert layer.forward(x) is x


def test_losses_over_time_of_book2(rng):
    xs, ts = rng.standard_normal((2, 3, 4)).astype(np.float32), rng.integers(0, 4, (2, 3))
    layer, simple = book2.TimeSoftmaxWithLoss(), book2.Simple_TimeSoftmaxWithLoss()
    p = np.take_along_axis(book2.softmax(xs.reshape(6, 4)), ts.reshape(6, 1), 1)
    loss = layer.forward(xs, ts)
    assert type(loss) is np.float64 and loss == pytest.approx(-np.log(p).mean(), rel=1e-6)
    assert simple.forward(xs, ts) == pytest.approx(-np.log(p + 1e-7).mean(), rel=1e-6)
    np.testing.assert_allclose(simple.backward(), layer.backward(), 1e-6, 1e-8)
    sigmoid = book2.TimeSigmoidWithLoss()
    assert type(sigmoid.forward(xs[:, :, 0], ts > 1)) is np.float32 and sigmoid.backward().dtype == np.float32


def test_sampler_of_book2_draws_from_numpys_generator():
    corpus = np.array([0, 1, 2, 3, 4, 1, 2, 3])
    sampler = book2.UnigramSampler(corpus, 0.75, 2)
    p = np.bincount(corpus) ** 0.75
    np.testing.assert_allclose(sampler.word_p, p / p.sum())
    np.random.seed(5)
    got = sampler.get_negative_sample(np.array([1, 3]))
    np.random.seed(5)
    for row, target in zip(got, [1, 3], strict=True):
        q = sampler.word_p.copy()
        q[target] = 0
        assert row.tolist() == np.random.choice(5, size=2, replace=False, p=q / q.sum()).tolist()


def test_small_things_of_book2():
    x = np.ones(2)
    assert book2.to_gpu(x) is book2.to_cpu(x) is x
    with pytest.raises(TypeError, match="to_cpu: x is a list"):
        book2.to_cpu([1])
    assert all(hasattr(book2, name) for name in book2.__all__)


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("N", [63, 64, 200])
def test_a_step_of_many_rows_is_that_of_few(N, dtype):
    rng = np.random.default_rng(0)
    x, h, Wx, Wh, b, dh = (rng.standard_normal(s).astype(dtype) for s in ((N, 5), (N, 7), (5, 7), (7, 7), (7,), (N, 7)))
    layer = book2.RNN(Wx, Wh, b)
    wanted = np.tanh(h @ Wh + x @ Wx + b)
    kept = h.copy()
    np.testing.assert_allclose(layer.forward(x, h), wanted, rtol=1e-4 if dtype == "f4" else 1e-11, atol=1e-6)
    np.testing.assert_array_equal(h, kept)
    dx, dh_prev = layer.backward(dh)
    dt = dh * (1 - wanted**2)
    for mine, theirs in zip(
        (dx, dh_prev, *layer.grads), (dt @ Wx.T, dt @ Wh.T, x.T @ dt, h.T @ dt, dt.sum(0)), strict=True
    ):
        np.testing.assert_allclose(mine, theirs, rtol=1e-3, atol=1e-3 if dtype == "f4" else 1e-9)
    np.testing.assert_array_equal(layer.cache[2], layer.forward(x, h))
