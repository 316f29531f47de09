"""Word vectors by prediction: book 2 ch. 3 (small vocabularies) and ch. 4 (negative sampling)."""

import numpy as np

from .. import layers as fastnn_layers
from .base_model import BaseModel


class _Word2vec(BaseModel):
    """Not on a `Network`, whose plan would be in pieces: none of these is a chain of layers with one loss.

    SimpleCBOW adds two products of two inputs, SimpleSkipGram two losses of the same scores. CBOW and SkipGram draw
    words in Python between two look-ups, a quarter of a step (100 targets with 10 neighbours, 10,000 words, by rows: 72
    of 284 us; 43 the update, 28 the mean of the neighbours), and the products of gathered rows are NumPy's.
    """

    layer_types = fastnn_layers

    @property
    def word_vecs(self):
        """A vector (H,) for each word: (V, H), the parameter itself."""
        return self.params[0]


class SimpleCBOW(_Word2vec):
    """A word from its two neighbours, one-hot through matrix products: contexts (N, 2, V), target (N, V). Book 2 ch. 3.

    The two input layers share one W: `params` names it twice, and a trainer merges the gradients.
    """

    def __init__(self, vocab_size, hidden_size, dtype="float32", rng=None):
        super().__init__(dtype, rng)
        W_in, W_out = self._table(vocab_size, hidden_size), self._table(hidden_size, vocab_size)
        types = self.layer_types
        self.in_layer0, self.in_layer1 = types.MatMul(W_in), types.MatMul(W_in)
        self.out_layer = types.MatMul(W_out)
        self.loss_layer = types.SoftmaxWithLoss()
        self._collect(self.in_layer0, self.in_layer1, self.out_layer)

    def forward(self, contexts, target):
        contexts = np.asarray(contexts, self.dtype)
        h = self.in_layer0.forward(contexts[:, 0]) + self.in_layer1.forward(contexts[:, 1])
        return self.loss_layer.forward(self.out_layer.forward(h * self.dtype.type(0.5)), target)

    def backward(self, dout=1):
        dh = self.out_layer.backward(self.loss_layer.backward(dout)) * self.dtype.type(0.5)
        self.in_layer1.backward(dh)
        self.in_layer0.backward(dh)


class SimpleSkipGram(_Word2vec):
    """The two neighbours from a word: contexts (N, 2, V), target (N, V). Book 2 ch. 3."""

    def __init__(self, vocab_size, hidden_size, dtype="float32", rng=None):
        super().__init__(dtype, rng)
        types = self.layer_types
        self.in_layer = types.MatMul(self._table(vocab_size, hidden_size))
        self.out_layer = types.MatMul(self._table(hidden_size, vocab_size))
        self.loss_layer1, self.loss_layer2 = types.SoftmaxWithLoss(), types.SoftmaxWithLoss()
        self._collect(self.in_layer, self.out_layer)

    def forward(self, contexts, target):
        score = self.out_layer.forward(self.in_layer.forward(np.asarray(target, self.dtype)))
        return self.loss_layer1.forward(score, contexts[:, 0]) + self.loss_layer2.forward(score, contexts[:, 1])

    def backward(self, dout=1):
        dscore = self.loss_layer1.backward(dout) + self.loss_layer2.backward(dout)
        self.in_layer.backward(self.out_layer.backward(dscore))


class CBOW(_Word2vec):
    """A word from the mean vector of its neighbours: contexts (N, 2 * window), target (N,), ids. Book 2 ch. 4.

    One input and one output table, (V, H), whose rows are gathered at once; the book has a layer a neighbour. sparse:
    gradients by rows, so that a step does not depend on V (see `ops.RowGradient`).
    """

    def __init__(
        self, vocab_size, hidden_size, window_size, corpus, sample_size=5, sparse=False, dtype="float32", rng=None
    ):  # fmt: skip
        super().__init__(dtype, rng)
        types = self.layer_types
        self.window_size = window_size
        self.in_layer = types.Embedding(self._table(vocab_size, hidden_size), sparse)
        W_out = self._table(vocab_size, hidden_size)
        self.ns_loss = types.NegativeSamplingLoss(W_out, corpus, 0.75, sample_size, sparse, self.rng)
        self._collect(self.in_layer, self.ns_loss)

    def forward(self, contexts, target):
        return self.ns_loss.forward(self.in_layer.forward(contexts).mean(axis=1), target)

    def backward(self, dout=1):
        dh = self.ns_loss.backward(dout) / self.dtype.type(self.in_layer.idx.shape[1])
        self.in_layer.backward(np.repeat(dh[:, np.newaxis], self.in_layer.idx.shape[1], axis=1))


class SkipGram(CBOW):
    """The neighbours from a word: contexts (N, 2 * window), each with words drawn for it, target (N,). Book 2 ch. 4."""

    def forward(self, contexts, target):
        return self.ns_loss.forward(self.in_layer.forward(target), contexts)

    def backward(self, dout=1):
        self.in_layer.backward(self.ns_loss.backward(dout))
