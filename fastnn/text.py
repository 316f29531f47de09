"""The books' helpers for text: corpora, word counts, similarity of words, evaluation of language models. Book 2."""

import math
import os
import sys

import numpy as np

from .targets import check_labels

_BLOCK = 1 << 22  # elements of a matrix that are worked on at once

# ---- corpus --------------------------------------------------------------------------------------------------------


def preprocess(text):
    """(corpus (n,) int64, word_to_id, id_to_word): lower case, full stops apart, split at blanks. Book 2 ch. 2."""
    words = text.lower().replace(".", " .").split(" ")
    word_to_id = {word: i for i, word in enumerate(dict.fromkeys(words))}
    corpus = np.fromiter((word_to_id[word] for word in words), np.int64, len(words))
    return corpus, word_to_id, {i: word for word, i in word_to_id.items()}


def create_contexts_target(corpus, window_size=1):
    """(contexts (n - 2w, 2w), target (n - 2w,)) of every word that has w neighbours on both sides. Book 2 ch. 3."""
    corpus, window_size = np.asarray(corpus), _window("create_contexts_target", window_size)
    n = max(0, len(corpus) - 2 * window_size)
    contexts = np.empty((n, 2 * window_size), corpus.dtype)
    for k in range(2 * window_size if n else 0):
        start = k + (k >= window_size)
        contexts[:, k] = corpus[start : start + n]
    return contexts, corpus[window_size : window_size + n].copy()


def _window(function, window_size):
    """As an int; TypeError for no whole number, ValueError beyond 2^31 - 1 words on each side."""
    if not isinstance(window_size, int | np.integer):
        raise TypeError(f"{function}: window_size is {window_size!r}; it must be a whole number")
    if not 0 <= window_size < 2**31:
        raise ValueError(f"{function}: window_size is {window_size}; it must lie in [0, {2**31 - 1:,}]")
    return int(window_size)


def convert_one_hot(corpus, vocab_size):
    """int32 one-hot of ids: (N,) -> (N, V), (N, C) -> (N, C, V). Book 2 ch. 3."""
    corpus = np.asarray(corpus)
    one_hot = np.zeros((*corpus.shape, vocab_size), np.int32)
    if corpus.dtype.kind in "iu":  # as below; 6 words in a third of the time
        one_hot.reshape(corpus.size, vocab_size)[np.arange(corpus.size), corpus.reshape(-1)] = 1
    else:
        np.put_along_axis(one_hot, corpus[..., np.newaxis], 1, axis=-1)
    return one_hot


# ---- counts and similarity -----------------------------------------------------------------------------------------


def create_co_matrix(corpus, vocab_size, window_size=1):
    """How often each word stands at most window_size words beside each other one: (V, V) int32. Book 2 ch. 2.

    Raises TypeError for ids that are not integers, IndexError for one outside [0, V), ValueError for a negative window.
    """
    corpus = np.asarray(corpus)
    window_size = min(_window("create_co_matrix", window_size), max(len(corpus) - 1, 0))
    if corpus.dtype.kind not in "iu" and corpus.size:
        raise TypeError(f"create_co_matrix: corpus has dtype {corpus.dtype}; it must hold integers")
    check_labels(corpus, vocab_size, "create_co_matrix", name="corpus")
    corpus = corpus.astype(np.int64)
    C = np.zeros((vocab_size, vocab_size), np.int32)
    for distance in range(1, window_size + 1):
        left, right = corpus[:-distance], corpus[distance:]
        if len(left) <= 100:  # sooner than the sort of np.unique
            np.add.at(C, (left, right), 1)
            np.add.at(C, (right, left), 1)
            continue
        pairs, counts = np.unique(left * vocab_size + right, return_counts=True)
        i, j = np.divmod(pairs, vocab_size)
        C[i, j] += counts.astype(np.int32)
        C[j, i] += counts.astype(np.int32)
    return C


def ppmi(C, verbose=False, eps=1e-8):
    """Positive pointwise mutual information max(0, log2(C_ij * N / (S_j * S_i) + eps)), float32 (V, V). Book 2 ch. 2.

    C (V, V) counts, N their sum, S the sums of its columns. verbose prints how much is done: True, or the text to
    print, with a place for the percentage.
    """
    return ppmi_with_progress(C, verbose and (verbose if isinstance(verbose, str) else PROGRESS), eps)


PROGRESS = "%.1f%% done"


def ppmi_with_progress(C, text=None, eps=1e-8, mark=None):
    """`ppmi`; text, if any, is printed after each so many cells, mark(number of cells)."""
    C = np.asarray(C)
    total, column_sums = C.sum(), C.sum(axis=0)
    M = np.full(C.shape, max(0.0, math.log2(eps)) if eps > 0 else 0.0, np.float32)
    step = max(1, _BLOCK // max(C.shape[1], 1))
    mark, told = (C.size // 100 + 1 if mark is None else mark(C.size)), 0
    for start in range(0, len(C), step):
        rows, columns = np.nonzero(C[start : start + step])
        rows += start
        with np.errstate(divide="ignore", invalid="ignore"):
            pmi = np.log2(C[rows, columns] * total / (column_sums[columns] * column_sums[rows]) + eps)
        M[rows, columns] = np.maximum(0, pmi)
        while text and (told + 1) * mark <= (min(start + step, len(C))) * C.shape[1]:
            told += 1
            print(text % (100 * told * mark / C.size))
    return M


def cos_similarity(x, y, eps=1e-8):
    """Cosine of the angle between two vectors; eps is added to their norms. Book 2 ch. 2."""
    return np.dot(x / (np.sqrt(np.sum(x**2)) + eps), y / (np.sqrt(np.sum(y**2)) + eps))


def most_similar(query, word_to_id, id_to_word, word_matrix, top=5, eps=1e-8):
    """Print the `top` words that are most similar to the word `query`, and return [(word, cosine), ...]. Book 2 ch. 2.

    word_matrix: (V, D), a vector for each word.
    """
    if query not in word_to_id:
        print(f"{query} is not found")
        return []
    print(f"\n[query] {query}")
    unit = word_matrix / (np.sqrt(np.sum(word_matrix**2, axis=1, keepdims=True)) + eps)
    own = unit[word_to_id[query]]
    similarity = np.array(
        [np.dot(row, own) for row in unit], np.float64
    )  # one product a row: the bits of cos_similarity
    return _print_best(similarity, id_to_word, (query,), top)


def analogy(a, b, c, word_to_id, id_to_word, word_matrix, top=5, answer=None):
    """Print the words that are to c as b is to a, and return [(word, product), ...]. Book 2 ch. 4.

    The vector b - a + c of length 1, times every row of word_matrix (V, D); a, b and c are left out.
    """
    for word in a, b, c:
        if word not in word_to_id:
            print(f"{word} is not found")
            return []
    print(f"\n[analogy] {a}:{b} = {c}:?")
    a_vec, b_vec, c_vec = (word_matrix[word_to_id[word]] for word in (a, b, c))
    query_vec = normalize(b_vec - a_vec + c_vec)
    similarity = np.dot(word_matrix, query_vec)
    if answer is not None:
        print(f"==>{answer}:{np.dot(word_matrix[word_to_id[answer]], query_vec)!s}")
    return _print_best(similarity, id_to_word, (a, b, c), top)


def _print_best(similarity, id_to_word, left_out, top):
    best = []
    for i in (-1 * similarity).argsort():
        if len(best) >= top:
            break
        word = id_to_word[int(i)]
        if word not in left_out and not np.isnan(similarity[i]):
            print(f" {word}: {similarity[i]}")
            best.append((word, float(similarity[i])))
    return best


def normalize(x):
    """Rows of x (V, D), or the vector x (D,), to length 1, in place -> x. Book 2, `common`."""
    if x.ndim == 2:
        x /= np.sqrt((x * x).sum(axis=1))[:, np.newaxis]
    elif x.ndim == 1:
        x /= np.sqrt((x * x).sum())
    return x


# ---- evaluation ----------------------------------------------------------------------------------------------------


def eval_perplexity(model, corpus, batch_size=10, time_size=35):
    """exp of the mean loss of a language model over a corpus of ids (n,), by time_size words at once. Book 2 ch. 6.

    model.forward(xs, ts, train_flg=False), or without the flag where that is a TypeError, gives the loss of xs and ts
    (batch_size, time_size). Prints progress. Raises ValueError for a corpus shorter than one batch.
    """
    print("evaluating perplexity ...")
    corpus = np.asarray(corpus)
    iterations, jump = (len(corpus) - 1) // (batch_size * time_size), (len(corpus) - 1) // batch_size
    if iterations < 1:
        raise ValueError(
            f"eval_perplexity: the corpus has {len(corpus)} words; {batch_size} x {time_size} and one more are needed"
        )
    places = np.arange(time_size) + jump * np.arange(batch_size)[:, np.newaxis]
    total = 0.0
    for i in range(iterations):
        xs, ts = (corpus[(places + i * time_size + ahead) % len(corpus)].astype(np.int32) for ahead in (0, 1))
        try:
            loss = model.forward(xs, ts, train_flg=False)
        except TypeError:
            loss = model.forward(xs, ts)
        total += loss
        sys.stdout.write(f"\r{i} / {iterations}")
        sys.stdout.flush()
    print("")
    return np.exp(total / iterations)


def eval_seq2seq(model, question, correct, id_to_char, verbose=False, is_reverse=False):
    """1 if model.generate(question (1, T), start id, length) is the answer `correct` (1, T'), else 0. Book 2 ch. 7.

    verbose prints both; is_reverse: the question was reversed and is printed in its old order.
    """
    start_id, *wanted = np.asarray(correct).reshape(-1)
    guess = model.generate(question, start_id, len(wanted))
    question, wanted, guess = ("".join(id_to_char[int(i)] for i in ids) for ids in (question.flatten(), wanted, guess))
    if verbose:
        print("Q", question[::-1] if is_reverse else question)
        print("T", wanted)
        colour, mark, letter = ("92m", "☑", "O") if guess == wanted else ("91m", "☒", "X")
        print(letter if os.name == "nt" else f"\033[{colour}{mark}\033[0m", guess)
        print("---")
    return int(guess == wanted)
