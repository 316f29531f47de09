"""Facts about the books' weights and data of text that must come out, on every backend."""

import os
from pathlib import Path

import numpy as np
import pytest
from every_backend import backend as backend
from every_backend import on_every_backend

from fastnn import models, text
from fastnn.dataset import ptb, sequence
from fastnn.pickles import load_pickle

DATA = os.environ.get("FASTNN_DATA", "")
pytestmark = [
    on_every_backend,
    pytest.mark.skipif(not DATA, reason="FASTNN_DATA is not set: it names the folder with ptb/ and book2/"),
]


def perplexity(words=None):
    model = models.Rnnlm()
    model.load_params(Path(DATA) / "book2" / "Rnnlm.pkl")
    return text.eval_perplexity(model, ptb.load_data("test")[0][:words])


def test_perplexity_of_the_books_language_model(capsys, backend):
    """Book 2 ch. 6: Rnnlm.pkl on PTB's test part; the slower backends read a tenth of it by day."""
    if backend == "native":
        assert perplexity() == pytest.approx(136.078, abs=0.01)
    assert perplexity(8000) == pytest.approx(135.78275, abs=1e-4)


@pytest.mark.nightly
def test_perplexity_on_all_words(capsys):
    assert perplexity() == pytest.approx(136.078, abs=0.01)


def test_dates_are_all_answered(capsys, backend):
    """Book 2 ch. 8: AttentionSeq2seq.pkl on the first 1,000 test questions, reversed, the best character each time."""
    _, (questions, answers) = sequence.load_data("date.txt")
    questions = questions[:, ::-1]
    _, id_to_char = sequence.get_vocab()
    model = models.AttentionSeq2seq(len(id_to_char), 16, 256)
    model.load_params(Path(DATA) / "book2" / "AttentionSeq2seq.pkl")
    n = 1000 if backend == "native" else 300  # the others take seconds
    got = model.generate(questions[:n], answers[0, 0], answers.shape[1] - 1)
    np.testing.assert_array_equal(got, answers[:n, 1:])
    pairs = zip(questions[:20, np.newaxis], answers[:20, np.newaxis], strict=True)
    assert sum(text.eval_seq2seq(model, question, correct, id_to_char) for question, correct in pairs) == 20


def test_analogies_of_the_books_word_vectors(capsys):
    """Book 2 ch. 4: cbow_params.pkl."""
    params = load_pickle(Path(DATA) / "book2" / "cbow_params.pkl")
    tables = params["word_to_id"], params["id_to_word"], params["word_vecs"]
    best = [word for word, _ in text.most_similar("year", *tables)]
    assert best == ["month", "week", "spring", "summer", "decade"]
    answers = {
        "king man queen": "woman",
        "take took go": "went",
        "car cars child": "children",
        "good better bad": "more",
    }
    for question, answer in answers.items():
        assert text.analogy(*question.split(), *tables)[0][0] == answer
