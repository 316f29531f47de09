"""Trainings of book 2 and of the recurrent chapter to their documented ends: minutes each, run with -m nightly."""

import contextlib
import io
import os

import numpy as np
import pytest

from fastnn import models, ops, optimizer, text, trainer
from fastnn.dataset import ptb, sequence, spoken_digit
from fastnn.time_layers import TimeRNN

pytestmark = pytest.mark.nightly
needs_data = pytest.mark.skipif(not os.environ.get("FASTNN_DATA"), reason="FASTNN_DATA is not set")


@needs_data
def test_one_epoch_of_the_language_model():
    """Book 2 ch. 6: SGD at 20, clip 0.25; validation perplexity below 300 after one epoch."""
    corpus, valid = ptb.load_data("train")[0], ptb.load_data("valid")[0]
    model = models.Rnnlm(rng=0)
    fit = trainer.RnnlmTrainer(model, optimizer.SGD(20.0))
    fit.fit(corpus[:-1], corpus[1:], max_epoch=1, batch_size=20, time_size=35, max_grad=0.25, eval_interval=100)
    model.reset_state()
    assert text.eval_perplexity(model, valid) < 300


@needs_data
def test_addition_by_a_peeky_decoder():
    """Book 2 ch. 7: questions reversed, Adam, clip 5; over 95 % of the test questions within 25 epochs."""
    (x, t), (x_test, t_test) = sequence.load_data("addition.txt")
    x, x_test = x[:, ::-1], x_test[:, ::-1]
    model = models.PeekySeq2seq(len(sequence.get_vocab()[0]), 16, 128, rng=0)
    fit, best = trainer.ModelTrainer(model, optimizer.Adam(), rng=0), 0.0
    for _ in range(25):
        fit.fit(x, t, max_epoch=1, batch_size=128, max_grad=5.0, eval_interval=None)
        answers = model.generate(x_test, t_test[0, 0], t_test.shape[1] - 1)
        best = max(best, np.mean((answers == t_test[:, 1:]).all(axis=1)))
        print(f"epoch {fit.current_epoch}: {best:.3f}")
        if best > 0.95:
            return
    raise AssertionError(f"the best accuracy in 25 epochs is {best}")


def add_binary_numbers(activation, steps=10_000, rate=0.1, hidden=16):
    """Sums of two numbers below 128, bit by bit from the lowest, by a simple RNN without biases -> errors by step."""
    rng = np.random.default_rng(0)
    Wx, Wh = rng.standard_normal((2, hidden)), rng.standard_normal((hidden, hidden)) / np.sqrt(2)
    W = rng.standard_normal((hidden, 1)) / np.sqrt(hidden)
    layer, errors = TimeRNN(Wx, Wh, activation=activation), np.empty(steps)
    bits = np.unpackbits(np.arange(256, dtype=np.uint8)[:, np.newaxis], axis=1)[:, ::-1].astype(np.float64)
    with np.errstate(all="ignore"):
        for step in range(steps):
            a, b = rng.integers(0, 128, 2)
            hs = layer.forward(np.stack([bits[a], bits[b]], axis=1)[np.newaxis])
            y = ops.activation_forward(ops.matmul(hs[0], W), "sigmoid")
            difference = y[:, 0] - bits[a + b]
            errors[step] = 0.5 * (difference**2).sum()
            dout = ops.activation_backward(difference[:, np.newaxis], y, "sigmoid")
            layer.backward(ops.matmul(dout, W.T)[np.newaxis])
            gradient = ops.matmul(hs[0].T, dout)
            for p, g in zip([Wx, Wh, W], [*layer.grads, gradient], strict=True):
                p -= rate * g
    return errors


def test_binary_addition_converges():
    """8 bits, sigmoid: the error of the last steps is near 0."""
    errors = add_binary_numbers("sigmoid")
    assert errors[:100].mean() > 0.8 and errors[-100:].mean() < 0.05


def test_binary_addition_with_other_activations():
    """As the chapter reports: with tanh it learns but does not settle, with ReLU it does not learn."""
    tanh, relu = add_binary_numbers("tanh", rate=0.2), add_binary_numbers("relu", rate=0.2)
    assert 0.1 < tanh[-4000:].mean() < 0.8 < tanh[:100].mean()
    assert relu[-4000:].mean() > 0.4


@needs_data
def test_spoken_digits_by_both_directions():
    """Bidirectional LSTM(64) on waves of 1,000 samples, batch 8, Adam, values cut at 0.5: above chance in one epoch."""
    (x, t), (x_test, t_test) = spoken_digit.load_data(1000)
    model, t = models.BiLSTMClassifier(1, 64, 10, rng=0), t.astype(np.int64)
    fit = trainer.ModelTrainer(model, optimizer.Adam(clip_value=0.5), rng=0)
    with contextlib.redirect_stdout(io.StringIO()):
        fit.fit(x[:, :, np.newaxis], t, max_epoch=1, batch_size=8)
    assert model.accuracy(x_test[:, :, np.newaxis], t_test) > 0.13
