"""Text utilities of book 2 against the book's rules written as plain loops; what they print."""

import math

import numpy as np
import pytest

from fastnn import text

SENTENCE = "You say goodbye and I say hello."


@pytest.fixture
def rng():
    return np.random.default_rng(2)


def test_preprocess():
    corpus, word_to_id, id_to_word = text.preprocess(SENTENCE)
    assert corpus.tolist() == [0, 1, 2, 3, 4, 1, 5, 6] and corpus.dtype == np.int64
    assert list(word_to_id) == ["you", "say", "goodbye", "and", "i", "hello", "."]
    assert [id_to_word[i] for i in range(7)] == list(word_to_id)
    assert "" in text.preprocess("a  b")[1]  # a double blank makes an empty word, as in the book


@pytest.mark.parametrize("window", [1, 2])
def test_contexts_and_target(window):
    corpus = np.array([0, 1, 2, 3, 4, 1, 5, 6])
    contexts, target = text.create_contexts_target(corpus, window)
    assert target.tolist() == corpus[window:-window].tolist()
    for i, row in enumerate(contexts.tolist()):
        centre = i + window
        assert row == [corpus[centre + k] for k in range(-window, window + 1) if k]
    contexts, target = text.create_contexts_target(corpus[:2], 1)
    assert contexts.shape == (0, 2) and target.shape == (0,)


def test_convert_one_hot():
    one_hot = text.convert_one_hot(np.array([[0, 2], [1, 1]]), 3)
    assert one_hot.dtype == np.int32
    np.testing.assert_array_equal(one_hot, np.eye(3)[[[0, 2], [1, 1]]])
    np.testing.assert_array_equal(text.convert_one_hot([2, 0], 3), np.eye(3)[[2, 0]])


@pytest.mark.parametrize("window", [1, 3])
def test_co_occurrence(rng, window):
    corpus = rng.integers(0, 7, 60)
    expected = np.zeros((7, 7), np.int32)
    for i, word in enumerate(corpus):
        for k in range(1, window + 1):
            for j in (i - k, i + k):
                if 0 <= j < len(corpus):
                    expected[word, corpus[j]] += 1
    C = text.create_co_matrix(corpus.tolist(), 7, window)
    assert C.dtype == np.int32
    np.testing.assert_array_equal(C, expected)


def test_ppmi(rng, capsys):
    C = text.create_co_matrix(rng.integers(0, 12, 50), 12, 2)
    N, S, eps = C.sum(), C.sum(axis=0), 1e-8
    expected = np.zeros(C.shape, np.float32)
    for i, j in np.ndindex(C.shape):
        if C[i, j]:
            expected[i, j] = max(0, math.log2(C[i, j] * N / (S[j] * S[i]) + eps))
    M = text.ppmi(C, verbose=True)
    assert M.dtype == np.float32
    np.testing.assert_allclose(M, expected, 1e-6)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "1.4% done" and len(lines) == C.size // (C.size // 100 + 1)


def test_similarity(rng, capsys):
    x, y = rng.standard_normal(5), rng.standard_normal(5)
    assert text.cos_similarity(x, y) == pytest.approx(x @ y / np.linalg.norm(x) / np.linalg.norm(y), rel=1e-6)
    assert text.cos_similarity(np.zeros(5), y) == 0
    words = ["a", "b", "c", "d"]
    word_to_id, id_to_word = {w: i for i, w in enumerate(words)}, dict(enumerate(words))
    vectors = np.array([[1, 0], [1, 0.1], [0, 1], [1, 1]], np.float32)
    best = text.most_similar("a", word_to_id, id_to_word, vectors, top=2)
    assert [word for word, _ in best] == ["b", "d"]
    values = [text.cos_similarity(vectors[i], vectors[0]) for i in (1, 3)]
    assert capsys.readouterr().out == f"\n[query] a\n b: {np.float64(values[0])}\n d: {np.float64(values[1])}\n"
    assert text.most_similar("x", word_to_id, id_to_word, vectors) == []
    assert capsys.readouterr().out == "x is not found\n"


def test_analogy(capsys):
    words = ["man", "king", "woman", "queen", "ship"]
    word_to_id, id_to_word = {w: i for i, w in enumerate(words)}, dict(enumerate(words))
    vectors = np.array([[0, 0], [0, 1], [1, 0], [1, 1], [-1, -1]], np.float32)
    best = text.analogy("man", "king", "woman", word_to_id, id_to_word, vectors, top=1, answer="queen")
    assert best[0][0] == "queen"
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["", "[analogy] man:king = woman:?"]
    assert lines[2].startswith("==>queen:1.41421") and lines[3].startswith(" queen: 1.41421")
    assert text.analogy("x", "king", "woman", word_to_id, id_to_word, vectors) == []
    assert capsys.readouterr().out == "x is not found\n"


def test_normalize():
    x = np.array([[3.0, 4.0], [0.0, 2.0]])
    assert text.normalize(x) is x
    np.testing.assert_allclose(x, [[0.6, 0.8], [0, 1]])
    np.testing.assert_allclose(text.normalize(np.array([3.0, 4.0])), [0.6, 0.8])


class Model:
    """Remembers what it was asked."""

    def __init__(self):
        self.batches = []

    def forward(self, xs, ts):
        self.batches.append((xs, ts))
        return float(len(self.batches))

    def generate(self, question, start_id, sample_size):
        self.asked = question, start_id, sample_size
        return [1, 2]


def test_eval_perplexity(capsys):
    model, corpus = Model(), np.arange(30) * 2
    assert text.eval_perplexity(model, corpus, batch_size=2, time_size=3) == pytest.approx(math.exp(2.5))
    assert capsys.readouterr().out == "evaluating perplexity ...\n\r0 / 4\r1 / 4\r2 / 4\r3 / 4\n"
    jump = 29 // 2
    for i, (xs, ts) in enumerate(model.batches):
        assert xs.dtype == ts.dtype == np.int32
        for row in range(2):
            places = [i * 3 + row * jump + t for t in range(3)]
            assert xs[row].tolist() == [corpus[p % 30] for p in places]
            assert ts[row].tolist() == [corpus[(p + 1) % 30] for p in places]
    with pytest.raises(ValueError, match="the corpus has 6 words"):
        text.eval_perplexity(model, corpus[:6], batch_size=2, time_size=3)


def test_eval_seq2seq(capsys):
    model, id_to_char = Model(), dict(enumerate("_ab"))
    question, correct = np.array([[2, 1]]), np.array([[0, 1, 2]])
    assert text.eval_seq2seq(model, question, correct, id_to_char) == 1
    assert model.asked[0] is question and model.asked[1:] == (0, 2) and capsys.readouterr().out == ""
    assert text.eval_seq2seq(model, question, correct[:, ::-1], id_to_char, verbose=True, is_reverse=True) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["Q ab", "T a_"] and lines[2].endswith("ab") and lines[3] == "---"
