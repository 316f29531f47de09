"""The models of book 2: gradients, training, files of weights, generation."""

import copy
import re

import numpy as np
import pytest
from every_backend import backend as backend
from every_backend import on_every_backend

import fastnn
from fastnn import backends, models, optimizer, pickles, time_layers, trainer
from fastnn.functions import softmax
from fastnn.text import convert_one_hot, create_contexts_target, eval_perplexity

pytestmark = on_every_backend


@pytest.fixture
def rng():
    return np.random.default_rng(8)


def check_gradients(model, loss, places=6):
    """Some places of every parameter by central differences; float64."""
    loss()
    model.backward()
    params, grads = trainer.remove_duplicate(model.params, model.grads)
    rng = np.random.default_rng(0)
    for p, g in zip(params, [np.array(g) for g in grads], strict=True):
        assert g.shape == p.shape
        for _ in range(places):
            i = tuple(rng.integers(0, n) for n in p.shape)
            value, step = p[i], 1e-5
            p[i] = value + step
            above = loss()
            p[i] = value - step
            below = loss()
            p[i] = value
            assert g[i] == pytest.approx((above - below) / (2 * step), rel=2e-5, abs=1e-8)


@pytest.mark.parametrize("name", ["SimpleRnnlm", "Rnnlm", "BetterRnnlm"])
def test_language_models(rng, name):
    size = {"dropout_ratio": 0.0} if name == "BetterRnnlm" else {}
    model = getattr(models, name)(11, 6, 6, dtype="float64", rng=1, **size)
    xs, ts = rng.integers(0, 11, (2, 5)), rng.integers(0, 11, (2, 5))

    def loss():
        model.reset_state()
        return model.forward(xs, ts)

    check_gradients(model, loss)
    assert model.predict(xs).shape == (2, 5, 11)


LANGUAGE_MODELS = {
    "SimpleRnnlm": lambda **options: models.SimpleRnnlm(2100, 6, 5, rng=1, **options),
    "Rnnlm": lambda **options: models.Rnnlm(90, 6, 5, rng=1, **options),
    "Rnnlm, many words": lambda **options: models.Rnnlm(2100, 6, 5, rng=1, **options),
    "sparse": lambda **options: models.Rnnlm(2100, 6, 5, rng=1, sparse=True, **options),
    "BetterRnnlm": lambda **options: models.BetterRnnlm(2100, 5, 5, rng=1, **options),
}


@pytest.mark.parametrize("name", LANGUAGE_MODELS)
def test_language_models_are_networks(rng, name):
    """The plan of the whole gives what the layers one by one give, bit for bit; so do copies and other batch sizes."""
    model = LANGUAGE_MODELS[name](dtype="float64")
    other = copy.deepcopy(model)
    other._passes_are_ours = False
    for N, dout in (2, 1), (2, 0.5), (3, 1):
        xs, ts = rng.integers(0, 90, (2, N, 5))
        for m in model, other:
            m.reset_state()
        for _ in range(2):
            assert model.forward(xs, ts) == other.forward(xs, ts)
            assert model.network._pending is not None and other._network is None
            for m in model, other:
                assert m.backward(dout) is None
            for g, h in zip(model.grads, other.grads, strict=True):
                np.testing.assert_array_equal(np.asarray(g), np.asarray(h))
            for m in model, other:
                trainer.training_step(m, optimizer.SGD(0.1), xs, ts, 0.25)
            for p, q in zip(model.params, other.params, strict=True):
                np.testing.assert_array_equal(p, q)
        assert model.forward(xs, ts, train_flg=False) == other.forward(xs, ts, train_flg=False)
        for m in model, other:  # the gradient without dropout
            m.backward()
        for g, h in zip(model.grads, other.grads, strict=True):
            np.testing.assert_array_equal(np.asarray(g), np.asarray(h))
    twin = copy.deepcopy(model)
    assert twin.forward(xs, ts) == model.forward(xs, ts)
    for m in model, twin:
        m.backward()
    for g, h in zip(model.grads, twin.grads, strict=True):
        np.testing.assert_array_equal(np.asarray(g), np.asarray(h))
    with pytest.raises(RuntimeError, match="needs a forward before it"):
        model.backward()
    with pytest.raises(IndexError):
        model.forward(xs + 2100, ts)


class Cooled(models.Rnnlm):
    def predict(self, xs, train_flg=False):
        return 0.5 * super().predict(xs, train_flg)


def test_passes_of_a_subclass_count(rng):
    model = Cooled(11, 3, 4, rng=1)
    xs, ts = rng.integers(0, 11, (2, 2, 5))
    loss = model.forward(xs, ts)
    model.reset_state()
    assert loss == model.loss_layer.forward(0.5 * models.Rnnlm.predict(model, xs), ts)


@pytest.mark.parametrize("planned", [False, True])
@pytest.mark.parametrize("name", ["Seq2seq", "PeekySeq2seq", "AttentionSeq2seq"])
def test_sequence_to_sequence(rng, name, planned):
    model = getattr(models, name)(7, 3, 4, dtype="float64", rng=1)
    xs, ts = rng.integers(0, 7, (3, 5)), rng.integers(0, 7, (3, 4))
    if planned:
        model.forward(xs, ts)
    check_gradients(model, lambda: model.forward(xs, ts))
    assert (model._plans[5, 4] is not None) or not planned
    together = model.generate(xs, 2, 6)
    assert together.shape == (3, 6)
    for i in range(3):
        assert model.generate(xs[i : i + 1], 2, 6) == together[i].tolist()


SEQUENCE_MODELS = ["Seq2seq", "PeekySeq2seq", "AttentionSeq2seq"]


def by_layers(model):
    """The model again, which has not seen any lengths."""
    model._kept = None
    return model


@pytest.mark.parametrize("name", SEQUENCE_MODELS)
def test_plans_have_the_bits_of_the_layers(rng, name):
    model = getattr(models, name)(13, 5, 8, dtype="float64", rng=1)
    twin = copy.deepcopy(model)
    optimizers = optimizer.Adam(0.01), optimizer.Adam(0.01)
    for n in 20, 20, 7, 31, 20:
        xs, ts = rng.integers(0, 13, (n, 7)).astype(np.int32), rng.integers(-1, 13, (n, 5))
        losses = model.forward(xs, ts), by_layers(twin).forward(xs, ts)
        assert losses[0] == losses[1] and type(losses[0]) is float
        for each, adam in zip((model, twin), optimizers, strict=True):
            assert each.backward() is None
            adam.update(each.params, each.grads)
        for g, h in zip(model.grads, twin.grads, strict=True):
            np.testing.assert_array_equal(g, h)
        np.testing.assert_array_equal(model.decoder.lstm.h, twin.decoder.lstm.h)
        if name == "AttentionSeq2seq":
            weights = [m.decoder.attention.attention_weights for m in (model, twin)]
            np.testing.assert_array_equal(*weights)
            assert len(weights[0]) == 4 and weights[0][0].shape == (n, 7)
    (lowered,) = model.network._plans.values()
    assert lowered.plan.name == ("native" if backends.active_name == "native" else "operations")
    assert not lowered.program.in_python
    for n in 3, 3, 1, 5:
        xs = rng.integers(0, 13, (n, 7))
        written, expected = model.generate(xs, 2, 6), by_layers(twin).generate(xs, 2, 6)
        assert type(written) is type(expected)
        np.testing.assert_array_equal(written, expected)
        np.testing.assert_array_equal(model.decoder.lstm.c, twin.decoder.lstm.c)
        if name == "AttentionSeq2seq":
            np.testing.assert_array_equal(*(m.decoder.attention.attention_weights for m in (model, twin)))
    assert model._plans[7].fits(5)
    assert model.generate(xs[:1], 2, 0) == [] and model.generate(xs, 2, 0).shape == (5, 0)


@pytest.mark.parametrize("name", SEQUENCE_MODELS)
def test_a_planned_model_is_as_the_layers_in_every_other_way(rng, name):
    model = getattr(models, name)(7, 3, 4, dtype="float64", rng=1)
    xs, ts = rng.integers(0, 7, (3, 5)), rng.integers(0, 7, (3, 4))
    for _ in range(2):
        loss = model.forward(xs, ts)
        model.backward()
        ids = model.generate(xs, 1, 4)
    once = [g.copy() for g in model.grads]
    with pytest.raises(RuntimeError, match="needs a forward before it"):
        model.backward()
    twin = copy.deepcopy(model)
    for _ in range(3):
        assert twin.forward(xs, ts) == loss
        np.testing.assert_array_equal(twin.generate(xs, 1, 4), ids)
    model.forward(xs, ts)
    model.backward(2)
    for g, h in zip(model.grads, once, strict=True):
        np.testing.assert_array_equal(g, 2 * h)
    for p in model.params:  # in place, as by an optimizer
        p *= 0.5
    assert model.forward(xs, ts) == by_layers(copy.deepcopy(model)).forward(xs, ts) != loss
    for bad, error in (np.full((3, 5), 7), IndexError), (np.ones((3, 5)), TypeError), (xs[:2], ValueError):
        errors = []
        for each in by_layers(copy.deepcopy(model)), model:
            with pytest.raises(error) as caught:
                each.forward(bad, ts)
            errors.append(str(caught.value))
        assert errors[0] == errors[1]
    with pytest.raises(IndexError, match="embedding_forward"):
        model.generate(xs, 7, 4)
    with pytest.raises(IndexError, match="embedding_forward"):
        model.generate(np.full((3, 5), 7), 1, 4)
    assert model.forward(xs, ts) == by_layers(model).forward(xs, ts)


def test_layers_that_are_replaced_in_a_sequence_model(rng):
    model = models.Seq2seq(7, 3, 4, dtype="float64", rng=1)
    xs, ts = rng.integers(0, 7, (3, 5)), rng.integers(0, 7, (3, 4))
    before = [model.forward(xs, ts) for _ in range(3)]
    lstm = model.decoder.lstm
    lstm.params[2] = lstm.params[2] + 0.5
    assert model.forward(xs, ts) == by_layers(copy.deepcopy(model)).forward(xs, ts) != before[0]
    W, b = model.decoder.affine.params
    model.decoder.affine = time_layers.TimeAffine(W + 1.0 * rng.standard_normal(W.shape), b)
    assert model.forward(xs, ts) == by_layers(copy.deepcopy(model)).forward(xs, ts)
    assert not next(iter(model.network._plans.values())).program.in_python
    drawn = model.generate(xs, 1, 5)
    np.testing.assert_array_equal(model.generate(xs, 1, 5), drawn)
    model.decoder.lstm.reverse = True
    for _ in range(2):
        assert model.forward(xs, ts) == by_layers(copy.deepcopy(model)).forward(xs, ts)
        np.testing.assert_array_equal(model.generate(xs, 1, 5), by_layers(copy.deepcopy(model)).generate(xs, 1, 5))
    model.decoder.lstm.reverse = False
    calls = []
    forward = model.decoder.forward
    model.decoder.forward = lambda *args: calls.append(1) or forward(*args)
    model.forward(xs, ts)
    model.backward()
    assert calls

    class Backwards(models.seq2seq.Encoder):
        def forward(self, xs):
            return super().forward(xs[:, ::-1])

    class Reversed(models.Seq2seq):
        encoder_type = Backwards

    reversed_, plain = Reversed(7, 3, 4, rng=1), models.Seq2seq(7, 3, 4, rng=1)
    for _ in range(3):
        assert reversed_.forward(xs, ts) == plain.forward(np.ascontiguousarray(xs[:, ::-1]), ts)
        np.testing.assert_array_equal(reversed_.generate(xs, 1, 3), plain.generate(xs[:, ::-1], 1, 3))


@pytest.mark.parametrize("name", SEQUENCE_MODELS)
def test_the_network_of_a_sequence_model(rng, name):
    model = getattr(models, name)(7, 3, 4, dtype="float64", rng=1)
    with pytest.raises(RuntimeError, match="there has been no forward"):
        _ = model.network
    twin = copy.deepcopy(model)
    xs, ts = rng.integers(0, 7, (6, 5)), rng.integers(0, 7, (6, 4))
    model.forward(xs, ts)
    net, x, t = model.network, np.concatenate([xs, ts[:, :-1]], axis=1), ts[:, 1:]
    optimizers = optimizer.Adam(0.01), optimizer.Adam(0.01)
    for _ in range(3):
        assert net.step(x, t, optimizers[0]) == twin.forward(xs, ts)
        twin.backward()
        optimizers[1].update(twin.params, twin.grads)
    for p, q in zip(model.params, twin.params, strict=True):
        np.testing.assert_array_equal(p, q)
    scores = net.predict(x)
    np.testing.assert_array_equal(scores, twin.decoder.forward(ts[:, :-1], twin.encoder.forward(xs)))
    assert net.loss(x, t) == twin.forward(xs, ts)
    np.testing.assert_array_equal(fastnn.compile(net, dtype="float64").predict(x), scores)
    assert [row.name for row in net.summary(x).rows] == ["EncoderDecoder", "TimeSoftmaxWithLoss"]
    assert net.fit(x, t, 2, 4, optimizers[0], progress=False)["loss"]
    model.decoder.__class__ = type("Own", (type(model.decoder),), {})  # a layer in Python
    parts = fastnn.Network(net.layers, net.loss_layer)
    assert parts.loss(x, t) == pytest.approx(net.loss(x, t), rel=1e-12)
    assert "EncoderDecoder) runs in Python: its encoder or decoder is not one" in str(parts.summary(x))


def test_half_precision_runs_layer_by_layer(rng):
    model = models.Seq2seq(7, 3, 4, dtype="float16", rng=1)
    xs, ts = rng.integers(0, 7, (6, 5)), rng.integers(0, 7, (6, 4))
    assert len({model.forward(xs, ts) for _ in range(3)}) == 1 and not model._plans
    assert len({tuple(model.generate(xs[:1], 1, 3)) for _ in range(3)}) == 1


def test_plans_of_many_lengths_take_bounded_memory(rng, monkeypatch):
    model = models.AttentionSeq2seq(7, 3, 4, rng=1)
    monkeypatch.setattr(models.seq2seq, "_MOST_BYTES", 1 << 14)
    for length in 4, 5, 6, 7, 8, 4:
        for _ in range(2):
            model.forward(rng.integers(0, 7, (9, length)), rng.integers(0, 7, (9, 4)))
    kept = [plan for plan in model._plans.values() if plan is not None]
    assert 0 < len(kept) < 5 and len(model._plans) == 5


def test_word_vectors(rng):
    corpus = rng.integers(0, 9, 60)
    contexts, target = create_contexts_target(corpus, 2)
    for name in "CBOW", "SkipGram":
        model = getattr(models, name)(9, 4, 2, corpus, sample_size=3, dtype="float64", rng=1)
        drawn = model.ns_loss.sampler.get_negative_sample(target if name == "CBOW" else contexts.reshape(-1))
        model.ns_loss.sampler.get_negative_sample = lambda target, drawn=drawn: drawn
        model.params[1][...] = rng.standard_normal((9, 4))
        assert model.word_vecs is model.params[0]
        check_gradients(model, lambda model=model: model.forward(contexts, target))
        sparse = getattr(models, name)(9, 4, 2, corpus, sample_size=3, sparse=True, dtype="float64", rng=1)
        sparse.ns_loss.sampler.get_negative_sample = lambda target, drawn=drawn: drawn
        for p, q in zip(sparse.params, model.params, strict=True):
            p[...] = q
        for m in model, sparse:
            m.forward(contexts, target)
            m.backward()
        for g, h in zip(sparse.grads, model.grads, strict=True):
            np.testing.assert_allclose(np.asarray(g), h, 1e-9, 1e-12)
    contexts, target = create_contexts_target(corpus, 1)
    one_hot = convert_one_hot(contexts, 9), convert_one_hot(target, 9)
    for name in "SimpleCBOW", "SimpleSkipGram":
        model = getattr(models, name)(9, 4, dtype="float64", rng=1)
        check_gradients(model, lambda model=model: model.forward(*one_hot))


def test_classifier_by_both_directions(rng):
    model = models.BiLSTMClassifier(3, 4, 5, dtype="float64", rng=1)
    x, t = rng.standard_normal((4, 6, 3)), rng.integers(0, 5, 4)
    for lengths in None, np.array([6, 1, 3, 4]):
        check_gradients(model, lambda lengths=lengths: model.forward(x, t, lengths))
    other = copy.deepcopy(model)
    other._passes_are_ours = False
    for lengths in None, np.array([6, 1, 0, 4]), None:
        assert model.forward(x, t, lengths) == other.forward(x, t, lengths)
        assert (model._running is None) is (lengths is not None)
        np.testing.assert_array_equal(model.backward(), other.backward())
        for g, h in zip(model.grads, other.grads, strict=True):
            np.testing.assert_array_equal(g, h)
    np.testing.assert_array_equal(model.network.predict(x), other.predict(x))
    sgd = optimizer.Adam(0.05)
    for _ in range(60):
        trainer.training_step(model, sgd, x, t)
    assert model.accuracy(x, t) == 1


@pytest.mark.parametrize("sparse", [False, True])
def test_a_language_model_learns(rng, sparse, capsys):
    corpus = np.tile(np.array([0, 3, 1, 4, 2, 5]), 60)
    model = models.RnnlmGen(6, 8, 8, rng=0, sparse=sparse)
    fit = trainer.RnnlmTrainer(model, optimizer.SGD(5.0))
    fit.fit(corpus[:-1], corpus[1:], max_epoch=12, batch_size=5, time_size=6, max_grad=0.5, eval_interval=5)
    lines = capsys.readouterr().out.splitlines()
    assert re.match(r"\| epoch 1 \|  iter 1 / 11 \| time \d+\[s\] \| perplexity ", lines[0]) and len(lines) == 36
    assert fit.current_epoch == 12 and len(fit.ppl_list) == 36 and fit.ppl_list[-1] < 1.5 < fit.ppl_list[0]
    model.reset_state()
    assert eval_perplexity(model, corpus, 5, 6) < 1.5
    model.reset_state()
    words = model.generate(0, sample_size=13)
    assert len(words) == 13 and sum(a == b for a, b in zip(words, np.tile(corpus[:6], 3).tolist(), strict=False)) > 6
    model.reset_state()
    assert 4 not in model.generate(0, skip_ids=[4], sample_size=30)


def test_words_are_drawn_as_numpy_draws_them():
    model, other = (models.RnnlmGen(50, 5, 6, rng=0) for _ in range(2))
    words = model.generate(7, skip_ids=[3, 9], sample_size=20)
    like = [7]
    while len(like) < 20:
        p = softmax(other.predict(np.array([[like[-1]]])).reshape(-1).astype(np.float64))
        p[[3, 9]] = 0
        like.append(int(other.rng.choice(50, p=p / p.sum())))
    assert words == like
    with pytest.raises(ValueError, match="no word can follow 7"):
        model.generate(7, skip_ids=range(50))
    model.params[-1][...] = np.nan
    with pytest.raises(ValueError, match="the scores are not finite"):
        model.generate(7)


def test_batches_of_a_language_model_are_the_books():
    fit = trainer.RnnlmTrainer(None, None)
    fit.time_idx = 0
    xs = np.arange(100, 123)
    for start in 0, 4, 8:
        x, t = fit.get_batch(xs, xs + 1, 3, 4)
        assert x.dtype == t.dtype == np.int32 and fit.time_idx == start + 4
        for row in range(3):
            assert x[row].tolist() == [xs[(row * 7 + start + k) % 23] for k in range(4)]
            assert t[row].tolist() == (x[row] + 1).tolist()


def test_states_of_generators():
    model, better = models.RnnlmGen(5, 3, 3, rng=0), models.BetterRnnlmGen(5, 3, 3, rng=0)
    for m in model, better:
        m.predict(np.array([[1, 2]]))
        state = m.get_state()
        first = m.predict(np.array([[3]]))
        m.set_state(state)
        np.testing.assert_array_equal(m.predict(np.array([[3]])), first)
        m.reset_state()
        assert len(m.generate(1, sample_size=4)) == 4
    assert model.get_state()[0].shape == (1, 3) and len(better.get_state()) == 2


@pytest.mark.parametrize("suffix", [".pkl", ".npz", ".safetensors"])
def test_weights_are_saved_and_loaded(tmp_path, suffix):
    if suffix == ".safetensors":
        pytest.importorskip("safetensors")
    model, other = models.BetterRnnlm(5, 3, 3, rng=0), models.BetterRnnlm(5, 3, 3, rng=1)
    path = tmp_path / f"weights{suffix}"
    model.save_params(path)
    arrays = list(other.params)
    other.load_params(path)
    for p, q, kept in zip(model.params, other.params, arrays, strict=True):
        assert q is kept
        np.testing.assert_array_equal(q, p.astype(np.float16) if suffix == ".pkl" else p)
    assert other.params[-2].base is other.params[0]  # still tied
    before = [p.copy() for p in other.params]
    models.BetterRnnlm(5, 4, 4).save_params(path)
    with pytest.raises(ValueError, match=r"\(5, 4\).* but BetterRnnlm has"):
        other.load_params(path)
    for p, q in zip(other.params, before, strict=True):
        np.testing.assert_array_equal(p, q)


def test_files_of_the_books(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = models.Rnnlm(5, 3, 3, rng=0)
    with pytest.raises(FileNotFoundError, match=r"No file: Rnnlm\.pkl"):
        model.load_params()
    model.save_params()
    arrays = pickles.load_pickle("Rnnlm.pkl")
    assert isinstance(arrays, list) and all(a.dtype == np.float16 for a in arrays)
    model.load_params()


def test_the_base_class_and_bad_sizes():
    base = models.BaseModel()
    for method in base.forward, base.backward:
        with pytest.raises(NotImplementedError):
            method()
    with pytest.raises(ValueError, match="wordvec_size is 3 but hidden_size is 4"):
        models.BetterRnnlm(5, 3, 4)


@pytest.mark.parametrize("name", ["Rnnlm", "BetterRnnlm", "Seq2seq", "AttentionSeq2seq"])
def test_copies_between_forward_and_backward(rng, name):
    model = getattr(models, name)(11, 5, 5, dtype="float64", rng=1)
    xs, ts = rng.integers(0, 11, (2, 3, 4))
    for _ in range(3):
        model.forward(xs, ts)
        twin = copy.deepcopy(model)
        for m in model, twin:
            m.backward()
        for g, h in zip(model.grads, twin.grads, strict=True):
            np.testing.assert_array_equal(np.asarray(g), np.asarray(h))


def test_copies_tie_only_what_was_tied(rng):
    model = models.BetterRnnlm(11, 5, 5, dtype="float64", rng=1)
    twin = copy.deepcopy(model)
    assert twin.layers[-1].params[0].base is twin.layers[0].params[0] is twin.params[0]
    assert twin.params[-2] is twin.layers[-1].params[0]
    model.layers[-1].params[0] = model.params[-2] = W = 2 * model.params[-2]
    model.layers.append(time_layers.TimeDropout(0.0))
    twin = copy.deepcopy(model)
    np.testing.assert_array_equal(twin.layers[-2].params[0], W)
    assert not np.may_share_memory(twin.layers[-2].params[0], twin.layers[0].params[0])


class Doubled:
    def predict(self, xs):
        return 2 * super().predict(xs)


class Mixed(Doubled, models.Rnnlm):
    pass


def test_passes_from_elsewhere_count(rng):
    """Of a class beside the model's, which may take x alone; and assigned to a model."""
    xs, ts = rng.integers(0, 11, (2, 3, 4))
    one, plain = Mixed(11, 3, 4, rng=1), models.Rnnlm(11, 3, 4, rng=1)
    other, predict = models.Rnnlm(11, 3, 4, rng=1), plain.predict
    other.predict = lambda xs: 2 * predict(xs)
    assert one.forward(xs, ts) == other.forward(xs, ts) != models.Rnnlm(11, 3, 4, rng=1).forward(xs, ts)


def test_evaluation_leaves_states_where_they_are(rng):
    xs, ts = rng.integers(0, 11, (2, 3, 4))
    model = models.Rnnlm(11, 3, 4, rng=1)
    model.forward(xs, ts, train_flg=False)
    model.reset_state()
    model.backward()
    assert model.lstm_layer.h is None


class Mine(models.Seq2seq):
    """As the book writes it: without the __init__ of what it is derived from."""

    def __init__(self, seed):
        self.encoder, self.decoder = models.Encoder(11, 3, 4, rng=seed), models.Decoder(11, 3, 4, rng=seed)
        self.softmax = time_layers.TimeSoftmaxWithLoss()
        self.params, self.grads = self.encoder.params + self.decoder.params, self.encoder.grads + self.decoder.grads


def test_parts_of_seq2seq_are_replaced(rng):
    xs, ts = rng.integers(0, 11, (2, 3, 4))
    model, other = Mine(1), Mine(2)
    before, after = ([m.forward(xs, ts) for _ in range(3)][-1] for m in (model, other))
    written = [m.generate(xs, 0, 6).tolist() for m in (model, model, other)]
    assert written[0] == written[1] and before != after
    model.encoder, model.decoder = other.encoder, other.decoder
    assert model.forward(xs, ts) == model.forward(xs, ts) == after
    assert model.generate(xs, 0, 6).tolist() == model.generate(xs, 0, 6).tolist() == written[2]
    ts[:, -1] = 3
    model.softmax = time_layers.TimeSoftmaxWithLoss()
    model.softmax.ignore_label = 3
    assert model.forward(xs, ts) == model.forward(xs, ts) != other.forward(xs, ts)
