"""Helpers with the names and results of book 2's `common.util`."""

import os
import sys

sys.path.append("..")
from common.np import *


def preprocess(text):
    word_to_id, id_to_word = {}, {}
    words = text.lower().replace(".", " .").split(" ")
    for word in words:
        if word not in word_to_id:
            id_to_word[len(word_to_id)] = word
            word_to_id[word] = len(word_to_id)
    return np.array([word_to_id[word] for word in words]), word_to_id, id_to_word


def cos_similarity(x, y, eps=1e-8):
    nx = x / (np.sqrt(np.sum(x**2)) + eps)
    ny = y / (np.sqrt(np.sum(y**2)) + eps)
    return np.dot(nx, ny)


def most_similar(query, word_to_id, id_to_word, word_matrix, top=5):
    if query not in word_to_id:
        print("%s is not found" % query)
        return
    print("\n[query] " + query)
    own = word_matrix[word_to_id[query]]
    similarity = np.zeros(len(id_to_word))
    for i in range(len(id_to_word)):
        similarity[i] = cos_similarity(word_matrix[i], own)
    count = 0
    for i in (-1 * similarity).argsort():
        if id_to_word[i] == query:
            continue
        print(" %s: %s" % (id_to_word[i], similarity[i]))
        count += 1
        if count >= top:
            return


def convert_one_hot(corpus, vocab_size):
    N = corpus.shape[0]
    if corpus.ndim == 1:
        one_hot = np.zeros((N, vocab_size), dtype=np.int32)
        for i, word in enumerate(corpus):
            one_hot[i, word] = 1
    elif corpus.ndim == 2:
        one_hot = np.zeros((N, corpus.shape[1], vocab_size), dtype=np.int32)
        for i, words in enumerate(corpus):
            for j, word in enumerate(words):
                one_hot[i, j, word] = 1
    return one_hot


def create_co_matrix(corpus, vocab_size, window_size=1):
    C = np.zeros((vocab_size, vocab_size), dtype=np.int32)
    for i, word in enumerate(corpus):
        for distance in range(1, window_size + 1):
            if i - distance >= 0:
                C[word, corpus[i - distance]] += 1
            if i + distance < len(corpus):
                C[word, corpus[i + distance]] += 1
    return C


def ppmi(C, verbose=False, eps=1e-8):
    M = np.zeros_like(C, dtype=np.float32)
    N, S = np.sum(C), np.sum(C, axis=0)
    total, done = C.shape[0] * C.shape[1], 0
    for i in range(C.shape[0]):
        for j in range(C.shape[1]):
            M[i, j] = max(0, np.log2(C[i, j] * N / (S[j] * S[i]) + eps))
            if verbose:
                done += 1
                if done % (total // 100 + 1) == 0:
                    print("%.1f%% done" % (100 * done / total))
    return M


def create_contexts_target(corpus, window_size=1):
    contexts = []
    for i in range(window_size, len(corpus) - window_size):
        around = []
        for t in range(-window_size, window_size + 1):
            if t == 0:
                continue
            around.append(corpus[i + t])
        contexts.append(around)
    return np.array(contexts), np.array(corpus[window_size:-window_size])


def to_cpu(x):
    import numpy

    return x if type(x) is numpy.ndarray else np.asnumpy(x)


def to_gpu(x):
    import cupy

    return x if type(x) is cupy.ndarray else cupy.asarray(x)


def clip_grads(grads, max_norm):
    norm = 0
    for grad in grads:
        norm += np.sum(grad**2)
    rate = max_norm / (np.sqrt(norm) + 1e-6)
    if rate < 1:
        for grad in grads:
            grad *= rate


def eval_perplexity(model, corpus, batch_size=10, time_size=35):
    print("evaluating perplexity ...")
    n, total = len(corpus), 0
    iters, jump = (n - 1) // (batch_size * time_size), (n - 1) // batch_size
    for i in range(iters):
        xs = np.zeros((batch_size, time_size), dtype=np.int32)
        ts = np.zeros((batch_size, time_size), dtype=np.int32)
        for t in range(time_size):
            for k in range(batch_size):
                place = jump * k + i * time_size + t
                xs[k, t], ts[k, t] = corpus[place % n], corpus[(place + 1) % n]
        try:
            total += model.forward(xs, ts, train_flg=False)
        except TypeError:
            total += model.forward(xs, ts)
        sys.stdout.write("\r%d / %d" % (i, iters))
        sys.stdout.flush()
    print("")
    return np.exp(total / iters)


def normalize(x):
    if x.ndim == 2:
        x /= np.sqrt((x * x).sum(1)).reshape((x.shape[0], 1))
    elif x.ndim == 1:
        x /= np.sqrt((x * x).sum())
    return x
