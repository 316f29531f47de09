"""Layers for sequences: gradients by central differences, states, ties, and the books' formulas in plain NumPy."""

import os
import subprocess
import sys

import numpy as np
import pytest
from every_backend import backend as backend
from every_backend import on_every_backend

import fastnn
from fastnn import models, ops, optimizer, time_layers, trainer
from fastnn.layers import Embedding, EmbeddingDot, NegativeSamplingLoss, UnigramSampler
from fastnn.time_layers import (
    GRU,
    LSTM,
    RNN,
    Attention,
    TimeAffine,
    TimeAttention,
    TimeBiLSTM,
    TimeDropout,
    TimeEmbedding,
    TimeGRU,
    TimeLSTM,
    TimeRNN,
    TimeSigmoidWithLoss,
    TimeSoftmaxWithLoss,
    WeightSum,
)

pytestmark = on_every_backend

N, T, D, H = 3, 4, 5, 2
GATES = {TimeRNN: 1, TimeLSTM: 4, TimeGRU: 3}


@pytest.fixture
def rng():
    return np.random.default_rng(11)


def weights(rng, gates, bias=True):
    return [0.5 * rng.standard_normal(s) for s in [(D, gates * H), (H, gates * H), (gates * H,)][: 2 + bias]]


def numerical(f, x, step=1e-5):
    gradient = np.zeros_like(x)
    for i in np.ndindex(x.shape):
        value = x[i]
        x[i] = value + step
        above = f()
        x[i] = value - step
        below = f()
        x[i] = value
        gradient[i] = (above - below) / (2 * step)
    return gradient


def check(f, *pairs):
    for x, backward in pairs:
        np.testing.assert_allclose(backward, numerical(f, x), 1e-6, 1e-8)


# ---- recurrent layers ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lengths", [None, [4, 0, 2]])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("layer_type", GATES)
def test_gradients_through_time(rng, layer_type, bias, reverse, lengths):
    params = weights(rng, GATES[layer_type], bias)
    layer = layer_type(*params, reverse=reverse, stateful=True)
    xs, h0, dhs = rng.standard_normal((N, T, D)), rng.standard_normal((N, H)), rng.standard_normal((N, T, H))

    def loss():
        layer.set_state(h0)
        return np.sum(dhs * layer.forward(xs, lengths))

    loss()
    grads = list(layer.grads)
    dxs = layer.backward(dhs)
    assert all(g is kept for g, kept in zip(layer.grads, grads, strict=True)) and layer.params[0] is params[0]
    check(loss, (xs, dxs), (h0, layer.dh), *zip(params, layer.grads, strict=True))


@pytest.mark.parametrize(
    "make",
    [
        lambda w, extra: TimeLSTM(*w(4), peephole=extra(3 * H)),
        lambda w, extra: TimeGRU(*w(3), linear_before_reset=True, b_h=extra(H)),
        lambda w, extra: TimeRNN(*w(1), activation="sigmoid"),
        lambda w, extra: TimeRNN(*w(1, False), activation="relu"),
    ],
    ids=["peephole", "linear_before_reset", "sigmoid", "relu without bias"],
)
def test_gradients_of_the_variants(rng, make):
    layer = make(lambda *a: weights(rng, *a), rng.standard_normal)
    xs, dhs = rng.standard_normal((N, T, D)), rng.standard_normal((N, T, H))

    def loss():
        return np.sum(dhs * layer.forward(xs))

    loss()
    dxs = layer.backward(dhs)
    check(loss, (xs, dxs), *zip(layer.params, layer.grads, strict=True))


@pytest.mark.parametrize("layer_type", GATES)
def test_a_gradient_that_has_faded_is_zero(rng, layer_type):
    """Denormal numbers made backward over 1,000 steps 25 times as slow; NumPy and Numba keep them."""
    if fastnn.show_config()["backend"] != "native":
        pytest.skip("native only")
    params = [0.1 * p.astype(np.float32) for p in weights(rng, GATES[layer_type], True)]
    layer, dhs = layer_type(*params), np.zeros((N, 1000, H), np.float32)
    layer.forward(np.zeros((N, 1000, D), np.float32))
    dhs[:, -1] = 1
    layer.backward(dhs)
    dh = layer.dh
    layer.backward(dhs * np.float32(1e-20))  # fades sooner, where it had not
    assert not dh.any() and not layer.dh.any()
    layer.backward(np.full_like(dhs, np.nan))
    assert np.isnan(layer.dh).all()


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def test_lstm_is_the_books(rng):
    Wx, Wh, b = weights(rng, 4)
    xs, layer = rng.standard_normal((N, T, D)), TimeLSTM(Wx, Wh, b)
    h, c, hs = np.zeros((N, H)), np.zeros((N, H)), []
    for t in range(T):
        f, g, i, o = np.split(xs[:, t] @ Wx + h @ Wh + b, 4, axis=1)
        c = sigmoid(f) * c + np.tanh(g) * sigmoid(i)
        h = sigmoid(o) * np.tanh(c)
        hs.append(h)
    np.testing.assert_allclose(layer.forward(xs), np.stack(hs, axis=1), 1e-12)
    np.testing.assert_allclose(layer.h, h, 1e-12)
    np.testing.assert_allclose(layer.c, c, 1e-12)


def test_gru_is_the_books(rng):
    Wx, Wh, b = weights(rng, 3)
    xs, h, hs = rng.standard_normal((N, T, D)), np.zeros((N, H)), []
    for t in range(T):
        a, u = xs[:, t] @ Wx + b, h @ Wh[:, : 2 * H]
        z, r = sigmoid(a[:, :H] + u[:, :H]), sigmoid(a[:, H : 2 * H] + u[:, H:])
        h = (1 - z) * h + z * np.tanh(a[:, 2 * H :] + (r * h) @ Wh[:, 2 * H :])
        hs.append(h)
    np.testing.assert_allclose(TimeGRU(Wx, Wh, b).forward(xs), np.stack(hs, axis=1), 1e-12)


@pytest.mark.parametrize("layer_type", GATES)
def test_a_sequence_in_two_parts_equals_the_whole(rng, layer_type):
    params, xs = weights(rng, GATES[layer_type]), rng.standard_normal((N, T, D))
    whole, parts = layer_type(*params), layer_type(*params, stateful=True)
    np.testing.assert_allclose(
        np.concatenate([parts.forward(xs[:, :1]), parts.forward(xs[:, 1:])], axis=1), whole.forward(xs), 1e-12
    )
    np.testing.assert_allclose(parts.h, whole.h, 1e-12)
    parts.reset_state()
    assert parts.h is None
    np.testing.assert_allclose(parts.forward(xs), whole.forward(xs), 1e-12)


def test_states_are_the_books(rng):
    lstm = TimeLSTM(*weights(rng, 4), stateful=False)
    xs, h, c = rng.standard_normal((N, T, D)), rng.standard_normal((N, H)), rng.standard_normal((N, H))
    plain = lstm.forward(xs)
    lstm.set_state(h, c)
    assert lstm.h is h and lstm.c is c
    np.testing.assert_array_equal(lstm.forward(xs), plain)  # not stateful: what set_state put there is not used
    lstm.stateful = True
    lstm.set_state(h, c)
    assert not np.allclose(lstm.forward(xs), plain)
    lstm.set_state(h)
    assert lstm.c is None
    lstm.set_state(h[:1], c[:1])  # one row for all sequences
    got = lstm.forward(xs)
    lstm.set_state(np.repeat(h[:1], N, axis=0), np.repeat(c[:1], N, axis=0))
    np.testing.assert_array_equal(got, lstm.forward(xs))
    with pytest.raises(ValueError, match="h0"):
        lstm.set_state(h[:2])
        lstm.forward(xs)


@pytest.mark.parametrize("layer_type", GATES)
def test_what_is_returned_may_be_changed(rng, layer_type):
    params, xs, dhs = weights(rng, GATES[layer_type]), rng.standard_normal((N, T, D)), rng.standard_normal((N, T, H))
    layer, touched = layer_type(*params), layer_type(*params)
    layer.forward(xs)
    touched.forward(xs)[...] = 7
    np.testing.assert_array_equal(layer.backward(dhs), touched.backward(dhs))


@pytest.mark.parametrize("layer_type", GATES)
def test_float32_stays_float32_and_slices_are_taken(rng, layer_type):
    params = [p.astype(np.float32) for p in weights(rng, GATES[layer_type])]
    xs, wide = rng.standard_normal((N, T, D)).astype(np.float32), rng.standard_normal((N, T, 2 * H)).astype(np.float32)
    layer = layer_type(*params)
    assert layer.forward(xs[:, ::-1]).dtype == layer.h.dtype == np.float32
    first = layer.backward(wide[:, :, H:])
    layer.forward(xs[:, ::-1].copy())
    np.testing.assert_array_equal(layer.backward(wide[:, :, H:].copy()), first)
    assert first.dtype == layer.dh.dtype == layer.grads[0].dtype == np.float32
    layer.forward(xs)
    layer.backward(wide[:, :, H:].astype(np.float64))  # a wider gradient: cast into grads
    assert layer.grads[0].dtype == np.float32


@pytest.mark.parametrize("merge", ["concat", "sum"])
@pytest.mark.parametrize("lengths", [None, [4, 1, 2]])
def test_both_directions(rng, merge, lengths):
    params = weights(rng, 4) + weights(rng, 4)
    layer, xs = TimeBiLSTM(*params, merge=merge), rng.standard_normal((N, T, D))
    forward, backward = TimeLSTM(*params[:3]), TimeLSTM(*params[3:])
    hs = layer.forward(xs, lengths)
    if lengths is None:
        halves = forward.forward(xs), backward.forward(xs[:, ::-1])[:, ::-1]
        np.testing.assert_allclose(hs, np.concatenate(halves, axis=2) if merge == "concat" else sum(halves), 1e-12)
    dhs = rng.standard_normal(hs.shape)
    dxs = layer.backward(dhs)
    check(lambda: np.sum(dhs * layer.forward(xs, lengths)), (xs, dxs), *zip(layer.params, layer.grads, strict=True))


def test_single_steps(rng):
    x, h, c = rng.standard_normal((N, D)), rng.standard_normal((N, H)), rng.standard_normal((N, H))
    dh, dc = rng.standard_normal((N, H)), rng.standard_normal((N, H))
    for step_type, gates in (RNN, 1), (GRU, 3):
        step = step_type(*weights(rng, gates))
        step.forward(x, h)
        dx, dh_prev = step.backward(dh)
        f = lambda step=step: np.sum(dh * step.forward(x, h))  # noqa: E731
        check(f, (x, dx), (h, dh_prev), *zip(step.params, step.grads, strict=True))
        assert step.cache[0].shape == x.shape
    step = LSTM(*weights(rng, 4))
    h_next, c_next = step.forward(x, h, c)
    _, _, _, i, f, g, o, kept = step.cache
    np.testing.assert_allclose(c_next, f * c + g * i, 1e-12)
    np.testing.assert_allclose(h_next, o * np.tanh(kept), 1e-12)
    dx, dh_prev, dc_prev = step.backward(dh, dc)

    def loss():
        h_next, c_next = step.forward(x, h, c)
        return np.sum(dh * h_next) + np.sum(dc * c_next)

    check(loss, (x, dx), (h, dh_prev), (c, dc_prev), *zip(step.params, step.grads, strict=True))


def test_bad_input_is_explained(rng):
    layer = TimeLSTM(*weights(rng, 4))
    with pytest.raises(ValueError, match="no time step"):
        layer.forward(np.zeros((N, 0, D)))
    with pytest.raises(ValueError, match="lengths is"):
        layer.forward(np.zeros((N, T, D)), [1, 2])
    with pytest.raises(ValueError, match=r"x.shape\[2\] must equal"):
        layer.forward(np.zeros((N, T, D + 1)))
    assert layer.forward(np.zeros((0, T, D))).shape == (0, T, H)
    x = np.zeros((N, T, D))
    x[1, 2, 0] = np.nan
    places = np.isnan(layer.forward(x)).any(axis=2)
    assert places[1, 2:].all() and places.sum() == T - 2
    carried = TimeLSTM(*weights(rng, 4), stateful=True)
    carried.set_state(np.zeros((N + 1, H)), np.zeros((N + 1, H)))
    with pytest.raises(ValueError, match=r"h0 is \(4, 2\) but x is \(3, 4, 5\)"):
        carried.forward(np.zeros((N, T, D)))
    with pytest.raises(ValueError, match="merge 'mean'"):
        TimeBiLSTM(*weights(rng, 4), *weights(rng, 4), merge="mean")


# ---- layers that treat every step alike ----------------------------------------------------------------------------


def test_time_affine_with_a_tied_table(rng):
    table, b, x = rng.standard_normal((7, D)), rng.standard_normal(7), rng.standard_normal((N, T, D))
    tied, own = TimeAffine(table.T, b), TimeAffine(table.T.copy(), b)
    dout = rng.standard_normal((N, T, 7))
    np.testing.assert_allclose(tied.forward(x), own.forward(x), 1e-12)
    np.testing.assert_allclose(tied.forward(x), x @ table.T + b, 1e-12)
    np.testing.assert_allclose(tied.backward(dout), own.backward(dout), 1e-12)
    assert tied.grads[0].T.flags.c_contiguous
    for g, other in zip(tied.grads, own.grads, strict=True):
        np.testing.assert_allclose(g, other, 1e-12)
    dx = tied.backward(dout)
    check(lambda: np.sum(dout * tied.forward(x)), (x, dx), (table, tied.grads[0].T), (b, tied.grads[1]))


def test_time_softmax_with_loss(rng):
    xs, ts = rng.standard_normal((N, T, 6)), rng.integers(0, 6, (N, T))
    ts[0, 1] = ts[2, 3] = -1
    layer = TimeSoftmaxWithLoss()
    p = np.exp(xs) / np.exp(xs).sum(axis=2, keepdims=True)
    counted = np.take_along_axis(p, ts[..., None], axis=2)[..., 0][ts >= 0]
    assert layer.forward(xs, ts) == pytest.approx(-np.log(counted).mean(), rel=1e-12)
    labels, y, mask, shape = layer.cache
    assert y.shape == (N * T, 6) and mask.sum() == N * T - 2 and shape == xs.shape and len(labels) == N * T
    dx = layer.backward(0.5)
    assert layer.cache is None and not dx[0, 1].any()
    check(lambda: 0.5 * layer.forward(xs, ts), (xs, dx))
    layer.backward()
    with pytest.raises(RuntimeError, match="forward before it"):
        layer.backward()
    onehot = np.eye(6)[rng.integers(0, 6, (N, T))]
    assert layer.forward(xs, onehot) == layer.forward(xs, onehot.argmax(axis=2))
    assert np.isnan(layer.forward(xs, np.full((N, T), -1)))
    assert not layer.backward().any()


def test_other_losses_and_dropout(rng):
    xs, ts = rng.standard_normal((N, T)), rng.integers(0, 2, (N, T))
    layer = TimeSigmoidWithLoss()
    layer.forward(xs, ts)
    dx = layer.backward()
    np.testing.assert_allclose(dx, (sigmoid(xs) - ts) / xs.size, 1e-10)
    dropout = TimeDropout(0.25, rng=1)
    x = np.ones((10, 20, 30), np.float32)
    out = dropout.forward(x)
    assert set(np.unique(out)) == {0, np.float32(1 / 0.75)} and 0.7 < np.mean(out > 0) < 0.8
    np.testing.assert_array_equal(dropout.mask, out)
    np.testing.assert_array_equal(dropout.backward(x), out)
    dropout.train_flg = False
    np.testing.assert_array_equal(dropout.forward(x), x)


def test_time_embedding(rng):
    W, xs, dout = rng.standard_normal((7, D)), rng.integers(0, 7, (N, T)), rng.standard_normal((N, T, D))
    layer = TimeEmbedding(W)
    np.testing.assert_array_equal(layer.forward(xs), W[xs])
    assert layer.backward(dout) is None and layer.W is W
    check(lambda: np.sum(dout * layer.forward(xs)), (W, layer.dW))
    rows = TimeEmbedding(W, sparse=True)
    rows.forward(xs)
    rows.backward(dout)
    np.testing.assert_allclose(np.asarray(rows.grads[0]), layer.grads[0], 1e-12)
    with pytest.raises(IndexError, match="is 7 but W has V = 7 rows"):
        layer.forward(np.array([[7]]))


# ---- attention -----------------------------------------------------------------------------------------------------


def test_attention(rng):
    enc, dec, dout = rng.standard_normal((N, 6, H)), rng.standard_normal((N, T, H)), rng.standard_normal((N, T, H))
    layer, step = TimeAttention(), Attention()
    out = layer.forward(enc, dec)
    for t in range(T):
        np.testing.assert_allclose(step.forward(enc, dec[:, t]), out[:, t], 1e-12)
        np.testing.assert_allclose(step.attention_weight, layer.attention_weights[t], 1e-12)
    assert len(layer.attention_weights) == T and layer.attention_weights[0].shape == (N, 6)
    denc, ddec = layer.backward(dout)
    check(lambda: np.sum(dout * layer.forward(enc, dec)), (enc, denc), (dec, ddec))
    h, dc = rng.standard_normal((N, H)), rng.standard_normal((N, H))
    step.forward(enc, h)
    dhs, dh = step.backward(dc)
    check(lambda: np.sum(dc * step.forward(enc, h)), (enc, dhs), (h, dh))
    a, weight_sum = rng.random((N, 6)), WeightSum()
    np.testing.assert_allclose(weight_sum.forward(enc, a), (enc * a[:, :, None]).sum(axis=1), 1e-12)
    dhs, da = weight_sum.backward(dc)
    check(lambda: np.sum(dc * weight_sum.forward(enc, a)), (enc, dhs), (a, da))


# ---- word vectors --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(4,), (4, 3)])
def test_embedding_dot(rng, shape):
    W, h, idx, dout = rng.standard_normal((6, D)), rng.standard_normal((4, D)), rng.integers(0, 6, shape), None
    layer = EmbeddingDot(W)
    out = layer.forward(h, idx)
    rows = W[idx]
    np.testing.assert_allclose(out, np.einsum("nd,n...d->n...", h, rows), 1e-12)
    dout = rng.standard_normal(shape)
    dh = layer.backward(dout)
    check(lambda: np.sum(dout * layer.forward(h, idx)), (h, dh), (W, layer.grads[0]))


def test_unigram_sampler():
    corpus = np.repeat(np.arange(6), [1, 2, 4, 8, 16, 32])
    sampler, target = UnigramSampler(corpus, 0.75, 1, rng=0), np.zeros(40_000, np.int64)
    p = np.array([0, 2, 4, 8, 16, 32]) ** 0.75
    drawn = np.bincount(sampler.get_negative_sample(target)[:, 0], minlength=6) / len(target)
    np.testing.assert_allclose(drawn, p / p.sum(), atol=0.01)
    sampler = UnigramSampler(corpus, 0.75, 4, rng=0)
    target = np.random.default_rng(1).integers(0, 6, 1000)
    samples = sampler.get_negative_sample(target)
    assert samples.shape == (1000, 4) and samples.dtype == np.int32
    assert not (samples == target[:, None]).any() and all(len(set(row)) == 4 for row in samples.tolist())
    with pytest.raises(ValueError, match="6 words beside the target are wanted of 6"):
        UnigramSampler(corpus, 0.75, 6)


def test_draws_without_replacement_are_numpys_distribution():
    """The second of two draws, where the first took most of the weight."""
    corpus = np.repeat(np.arange(4), [1, 70, 20, 10])
    samples = UnigramSampler(corpus, 1.0, 2, rng=3).get_negative_sample(np.zeros(30_000, np.int64))
    generator = np.random.default_rng(4)
    expected = np.array([generator.choice(4, 2, False, [0, 0.7, 0.2, 0.1]) for _ in range(30_000)])
    for i, j in (1, 2), (1, 3), (2, 1), (2, 3), (3, 1), (3, 2):
        got = np.mean((samples == (i, j)).all(axis=1))
        assert abs(got - np.mean((expected == (i, j)).all(axis=1))) < 0.012


@pytest.mark.parametrize("shape", [(3,), (3, 2)])
def test_negative_sampling_loss(rng, shape):
    corpus, W, h = rng.integers(0, 8, 200), rng.standard_normal((8, D)), rng.standard_normal((3, D))
    target = rng.integers(0, 8, shape)
    layer = NegativeSamplingLoss(W, corpus, sample_size=2)
    drawn = layer.sampler.get_negative_sample(target.reshape(-1))
    layer.sampler.get_negative_sample = lambda target: drawn
    loss = layer.forward(h, target)
    score = np.einsum("nd,ncd->nc", h, W[target.reshape(3, -1)])
    negative = np.einsum("nd,nckd->nck", h, W[drawn.reshape(3, -1, 2)])
    wanted = -np.log(sigmoid(score)).sum() - np.log(1 - sigmoid(negative)).sum()
    assert loss == pytest.approx(wanted / 3, rel=1e-5)
    dh = layer.backward(0.5)
    np.testing.assert_allclose(dh, numerical(lambda: 0.5 * layer.forward(h, target), h), 1e-4, 1e-6)
    np.testing.assert_allclose(layer.grads[0], numerical(lambda: 0.5 * layer.forward(h, target), W), 1e-4, 1e-6)


# ---- tied and shared weights ---------------------------------------------------------------------------------------


def test_tied_weights_after_two_steps_equal_the_reference(rng):
    """BetterRnnlm without dropout against formulas in plain NumPy with one table, two steps of clipped SGD."""
    V, size, lr, max_norm = 9, 4, 0.5, 0.3
    model = models.BetterRnnlm(V, size, size, dropout_ratio=0.0, dtype="float64", rng=5)
    table, b = model.params[0], model.params[-1]
    assert model.params[-2].base is table
    mine = [p.copy() for p in [table, *model.params[1:-2], b]]
    sgd = optimizer.SGD(lr)

    def reference_loss(params, xs, ts, states):
        table, *lstm, b = params
        out = table[xs]
        for k in range(2):
            Wx, Wh, bias = lstm[3 * k : 3 * k + 3]
            h, c = states[k]
            steps = []
            for t in range(xs.shape[1]):
                f, g, i, o = np.split(out[:, t] @ Wx + h @ Wh + bias, 4, axis=1)
                c = sigmoid(f) * c + np.tanh(g) * sigmoid(i)
                h = sigmoid(o) * np.tanh(c)
                steps.append(h)
            out, states[k] = np.stack(steps, axis=1), (h, c)
        score = out @ table.T + b
        logp = score - np.log(np.exp(score).sum(axis=2, keepdims=True))
        return -np.take_along_axis(logp, ts[..., None], axis=2).mean()

    states = [(np.zeros((2, size)), np.zeros((2, size)))] * 2
    for _ in range(2):
        xs, ts = rng.integers(0, V, (2, 3)), rng.integers(0, V, (2, 3))
        loss = trainer.training_step(model, sgd, xs, ts, max_norm)
        f = lambda: reference_loss(mine, xs, ts, list(states))  # noqa: B023, E731
        assert loss == pytest.approx(f(), rel=1e-9)
        grads = [numerical(f, p) for p in mine]
        reference_loss(mine, xs, ts, states)
        rate = min(1, max_norm / (np.sqrt(sum(np.sum(g * g) for g in grads)) + 1e-6))
        for p, g in zip(mine, grads, strict=True):
            p -= lr * rate * g
    for p, q in zip([table, *model.params[1:-2], b], mine, strict=True):
        np.testing.assert_allclose(p, q, 1e-6, 1e-8)


@pytest.mark.parametrize("sparse", [False, True])
def test_shared_embeddings_after_two_steps_equal_the_reference(rng, sparse):
    """Two embeddings of one table, as in the book's CBOW."""
    W = rng.standard_normal((6, D))
    mine, layers, sgd = W.copy(), [Embedding(W, sparse), Embedding(W, sparse)], optimizer.SGD(0.1)
    params, grads = [W, W], [layer.grads[0] for layer in layers]
    for _ in range(2):
        indices, douts = rng.integers(0, 6, (2, 8)), rng.standard_normal((2, 8, D))
        total = np.zeros_like(mine)
        for layer, index, dout in zip(layers, indices, douts, strict=True):
            np.testing.assert_allclose(layer.forward(index), mine[index], 1e-12)
            layer.backward(dout)
            np.add.at(total, index, dout)
        merged = trainer.remove_duplicate(params, grads)
        assert len(merged[0]) == 1
        sgd.update(*merged)
        mine -= 0.1 * total
        np.testing.assert_allclose(W, mine, 1e-12)


def test_every_name_is_there():
    assert all(hasattr(time_layers, name) for name in time_layers.__all__)
    assert ops.RowGradient((3, 2), np.float32).dtype == np.float32


_PEAKS = """
import resource, sys
import numpy as np
import fastnn
from fastnn.time_layers import TimeLSTM

N, H = 2, 256
params = [np.full(shape, 0.01, np.float32) for shape in ((H, 4 * H), (H, 4 * H), (4 * H,))]
with fastnn.use_backend(sys.argv[1]):
    for T in 50, 650:
        layer = TimeLSTM(*params)
        layer.backward(layer.forward(np.ones((N, T, H), np.float32)))
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="counts in KiB")
def test_memory_of_training_grows_by_the_step_without_copies_of_the_weights(backend):
    """600 steps more: x, dx, dhs, hs, cs, gates and their gradients, but not 1 MiB of weights each."""
    command, env = [sys.executable, "-c", _PEAKS, backend], os.environ | {"PYTHONSAFEPATH": "1"}
    result = subprocess.run(command, env=env, capture_output=True, text=True, timeout=300)
    few, many = map(int, result.stdout.split())
    steps = 600 * 2 * 256 * 14 * 4 / 1024
    assert many - few < 4 * steps < 600 * 1024 / 2
