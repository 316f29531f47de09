"""Rows of a table by index, and negative sampling over them."""

from typing import Any

import numpy as np

from .. import init as start
from .. import ops
from .base import Layer, grad, gradient_dtype, need_arrays, param
from .loss import SigmoidWithLoss
from .random import Drawing


class Embedding(Layer):
    """Rows of W (V, D) by an index of any shape (...) -> (..., D). Book 2 ch. 4.

    backward adds the rows of equal indices up and returns None. The gradient is dense, all of `grads[0]` is written;
    with `sparse` it is an `ops.RowGradient`, which the optimizers apply without touching the other rows.
    """

    size_names = "V", "D"
    W, dW = param(0), grad(0)
    idx: Any = None

    def __init__(self, W, sparse=False):
        need_arrays(self, W=W)
        super().__init__(W)
        if sparse:
            self.grads[0] = ops.RowGradient(W.shape, gradient_dtype(W))

    @property
    def sparse(self):
        """Whether the gradient is one of rows."""
        return isinstance(self.grads[0], ops.RowGradient)

    @classmethod
    def create(cls, V, D, *, init=0.01, rng=None, dtype="float32", **options):
        """A layer that makes its own W (V, D): normal with deviation 0.01, as book 2, or another rule of `fastnn.init`.

        options: those of the constructor. The rest as for `Affine.create`.
        """
        return cls(table(cls, V, D, init, rng, dtype), **options)

    def forward(self, idx):
        self.idx = idx
        return ops.embedding_forward(self.params[0], idx)

    def backward(self, dout):
        dW, V = self.grads[0], len(self.params[0])
        if isinstance(dW, ops.RowGradient):
            dW.rows, values = ops.embedding_backward_rows(dout, self.idx, V)
            dW.values = values.astype(dW.dtype, copy=False)
        elif dout.dtype == dW.dtype:
            ops.embedding_backward(dout, self.idx, V, dW)
        else:
            dW[...] = ops.embedding_backward(dout, self.idx, V)


def table(cls, V, D, init, rng, dtype):
    """W (V, D) of a layer of that class; fan_in of a rule is D."""
    what = f"{cls.__name__}.create"
    V, D = start.sizes(what, V=V, D=D)
    return start.weights((V, D), init, rng, dtype, (D, V), what)


class EmbeddingDot(Layer):
    """h (N, D) times rows of W (V, D): idx (N,) -> (N,), or K of them for each h, (N, K) -> (N, K). Book 2 ch. 4."""

    size_names = "V", "D"
    cache: Any = None

    def __init__(self, W, sparse=False):
        self.embed = Embedding(W, sparse)
        self.params, self.grads = self.embed.params, self.embed.grads

    @classmethod
    def create(cls, V, D, *, init=0.01, rng=None, dtype="float32", **options):
        """A layer that makes its own W (V, D); the arguments are those of `Embedding.create`."""
        return cls(table(cls, V, D, init, rng, dtype), **options)

    def forward(self, h, idx):
        target_W = self.embed.forward(idx)
        self.cache = h, target_W
        return np.matmul(target_W.reshape(len(h), -1, h.shape[1]), h[:, :, np.newaxis]).reshape(target_W.shape[:-1])

    def backward(self, dout):
        """dout like the result -> dh (N, D)."""
        h, target_W = self.cache
        dout = dout.reshape(len(h), 1, -1)
        self.embed.backward((dout.swapaxes(1, 2) * h[:, np.newaxis]).reshape(target_W.shape))
        return np.matmul(dout, target_W.reshape(len(h), -1, h.shape[1])).reshape(h.shape)


class UnigramSampler(Drawing):
    """Draws words by their frequency in a corpus to the power `power`, never the target, none twice. Book 2 ch. 4.

    corpus: ids (n,), all of 0 ... vocab_size - 1 among them. Draws by the alias method (Walker 1977), O(1) each; what
    may not be drawn is drawn anew. rng: None, a seed or a numpy.random.Generator. Raises ValueError for a vocabulary
    that has no sample_size words beside the target.
    """

    def __init__(self, corpus, power, sample_size, rng=None):
        corpus = np.asarray(corpus)
        if corpus.dtype.kind not in "iu" or not isinstance(sample_size, int | np.integer):
            found = f"corpus has dtype {corpus.dtype} and sample_size is {sample_size!r}"
            raise TypeError(f"UnigramSampler: {found}; both must be integers")
        if sample_size < 0 or not corpus.size or corpus.min() < 0 or corpus.max() >= 2**31:
            raise ValueError(
                f"UnigramSampler: corpus has {corpus.size} ids and sample_size is {sample_size}; there must be ids, in "
                f"[0, 2^31), and sample_size must not be negative"
            )
        counts = np.bincount(corpus.astype(np.int64))
        weights = np.where(counts > 0, counts, 0) ** float(power) * (counts > 0)
        self.sample_size = sample_size
        self.vocab_size = len(counts)
        self.word_p = weights / weights.sum()
        self._set_rng(rng)
        if np.count_nonzero(counts) <= sample_size:
            raise ValueError(
                f"UnigramSampler: {sample_size} words beside the target are wanted of {np.count_nonzero(counts)} in all"
            )
        self._threshold, self._alias = _alias_table(self.word_p)

    def get_negative_sample(self, target):
        """target (N,) -> (N, sample_size) int32."""
        target = np.asarray(target)
        samples = self._draw((len(target), self.sample_size))
        while True:
            bad = samples == target[:, np.newaxis]
            for j in range(1, self.sample_size):
                bad[:, j] |= (samples[:, :j] == samples[:, j : j + 1]).any(axis=1)
            count = np.count_nonzero(bad)
            if not count:
                return samples
            samples[bad] = self._draw(count)

    def _draw(self, shape):
        word = self.rng.integers(self.vocab_size, size=shape)
        return np.where(self.rng.random(shape) < self._threshold[word], word, self._alias[word]).astype(np.int32)


def _alias_table(p):
    """Word i stands for itself with probability threshold[i], else for alias[i] (Vose 1991)."""
    threshold, alias = p * len(p), np.arange(len(p))
    small, large = list(np.flatnonzero(threshold < 1)), list(np.flatnonzero(threshold >= 1))
    while small and large:
        less, more = small.pop(), large[-1]
        alias[less] = more
        threshold[more] -= 1 - threshold[less]
        if threshold[more] < 1:
            small.append(large.pop())
    rest = [i for i in small + large if p[i] > 0]  # 1 up to rounding
    threshold[rest] = 1
    return threshold, alias


class NegativeSamplingLoss(Layer):
    """Logistic loss of the target word against sample_size drawn ones, summed over these -> float. Book 2 ch. 4.

    W (V, D) output table, corpus: ids for the frequencies. forward(h (N, D), target (N,) or several for each, (N, C)).
    """

    size_names = "V", "D"
    always_shown = ("sample_size",)

    def __init__(self, W, corpus, power=0.75, sample_size=5, sparse=False, rng=None):
        self.sample_size = sample_size
        self.sampler = UnigramSampler(corpus, power, sample_size, rng)
        self.embed_dot_layer = EmbeddingDot(W, sparse)
        self.loss_layer = SigmoidWithLoss()
        self.params, self.grads = self.embed_dot_layer.params, self.embed_dot_layer.grads

    @classmethod
    def create(cls, D, corpus, *, init=0.01, rng=None, dtype="float32", **options):
        """A layer that makes its own W (V, D), for the V words of the corpus; the rest as for `Embedding.create`.

        The same generator draws W and the words.
        """
        rng, corpus = np.random.default_rng(rng), np.asarray(corpus)
        V = int(corpus.max(initial=-1)) + 1 if corpus.dtype.kind in "iu" else 1  # the sampler explains another corpus
        return cls(table(cls, max(V, 1), D, init, rng, dtype), corpus, rng=rng, **options)

    def forward(self, h, target):
        target = np.asarray(target)
        flat = target.reshape(-1, 1)
        words = np.concatenate([flat, self.sampler.get_negative_sample(flat[:, 0])], axis=1).reshape(len(target), -1)
        score = self.embed_dot_layer.forward(h, words)
        label = np.zeros(score.shape, score.dtype)
        label[:, :: self.sample_size + 1] = 1
        return self.loss_layer.forward(score, label) * score.shape[1]

    def backward(self, dout=1):
        """-> dh (N, D)"""
        return self.embed_dot_layer.backward(self.loss_layer.backward(dout * self.loss_layer.y.shape[1]))
