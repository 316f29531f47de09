"""Language models of book 2 ch. 5 to 7: the next word, given those before it."""

import numpy as np

from ..functions import softmax
from ..network.program import turned
from .base_model import Layered


class SimpleRnnlm(Layered):
    """TimeEmbedding, TimeRNN (stateful), TimeAffine, softmax loss. Book 2 ch. 5.

    `predict(xs)`: scores (N, T, V) of the words after xs (N, T); `forward(xs, ts)`: the mean loss; `reset_state()`.
    sparse: the embedding's gradient by rows.
    """

    gates = 1

    def __init__(self, vocab_size, wordvec_size, hidden_size, dtype="float32", rng=None, sparse=False):
        super().__init__(dtype, rng)
        V, D, H = vocab_size, wordvec_size, hidden_size
        types = self.layer_types
        embedding = types.TimeEmbedding(self._table(V, D), sparse)
        self.rnn_layer = self._recurrent_layer(*self._recurrent(self.gates, D, H))
        self.layers = [embedding, self.rnn_layer, types.TimeAffine(self._weights(H, V), self._zeros(V))]
        self.loss_layer = types.TimeSoftmaxWithLoss()
        self._collect(*self.layers)

    def _recurrent_layer(self, Wx, Wh, b):
        return self.layer_types.TimeRNN(Wx, Wh, b, stateful=True)


class Rnnlm(SimpleRnnlm):
    """The same with a TimeLSTM, `lstm_layer`. Book 2 ch. 6."""

    gates = 4

    def __init__(
        self, vocab_size=10000, wordvec_size=100, hidden_size=100, dtype="float32", rng=None, sparse=False
    ):  # fmt: skip
        super().__init__(vocab_size, wordvec_size, hidden_size, dtype, rng, sparse)
        self.lstm_layer = self.rnn_layer

    def _recurrent_layer(self, Wx, Wh, b):
        return self.layer_types.TimeLSTM(Wx, Wh, b, stateful=True)


class BetterRnnlm(Layered):
    """Two TimeLSTMs with dropout before, between and after; the output layer's W is the embedding's. Book 2 ch. 6.

    wordvec_size must equal hidden_size. `predict(xs, train_flg=False)`, `forward(xs, ts, train_flg=True)`. The tied
    gradient has two parts, `grads[0]` and the last but one: a trainer adds them up (`trainer.remove_duplicate`).
    """

    def __init__(
        self, vocab_size=10000, wordvec_size=650, hidden_size=650, dropout_ratio=0.5, dtype="float32", rng=None
    ):  # fmt: skip
        super().__init__(dtype, rng)
        V, D, H = vocab_size, wordvec_size, hidden_size
        if D != H:
            raise ValueError(f"BetterRnnlm: wordvec_size is {D} but hidden_size is {H}; tied weights need equal ones")
        types = self.layer_types
        embed_W = self._table(V, D)
        self.lstm_layers = [types.TimeLSTM(*self._recurrent(4, D, H), stateful=True) for _ in range(2)]
        self.drop_layers = [types.TimeDropout(dropout_ratio, self.rng) for _ in range(3)]
        first, second, third = self.drop_layers
        self.layers = [
            types.TimeEmbedding(embed_W), first, self.lstm_layers[0], second, self.lstm_layers[1], third,
            types.TimeAffine(embed_W.T, self._zeros(V)),
        ]  # fmt: skip
        self.loss_layer = types.TimeSoftmaxWithLoss()
        self._collect(*self.layers)

    def __getstate__(self):
        """For copies and pickles, which are of arrays, not of views: with what is to be tied again."""
        lists = [self.params, *(layer.params for layer in self.layers if getattr(layer, "params", None))]
        places = [(params, i, p) for params in lists for i, p in enumerate(params)]
        matrices = {_place(p): p for *_, p in places if type(p) is np.ndarray}
        tied = [(params, i, matrices.get(_place(p.T))) for params, i, p in places if turned(p)]
        return vars(self) | {"_tied": [each for each in tied if each[2] is not None]}

    def __setstate__(self, state):
        views: dict = {}
        for params, i, matrix in state.pop("_tied", ()):
            if not np.may_share_memory(params[i], matrix):
                params[i] = views.setdefault(id(matrix), matrix.T)
        vars(self).update(state)


def _place(a):
    """Where in memory an array is, and how."""
    return a.__array_interface__["data"], a.shape, a.strides


class RnnlmGen(Rnnlm):
    """An Rnnlm that writes. Book 2 ch. 7."""

    def generate(self, start_id, skip_ids=None, sample_size=100):
        """A list of sample_size words: start_id and words drawn from the model one by one, never one of skip_ids."""
        return _generate(self, start_id, skip_ids, sample_size)

    def get_state(self):
        """(h, c)"""
        return self.lstm_layer.h, self.lstm_layer.c

    def set_state(self, state):
        """state: (h, c)"""
        self.lstm_layer.set_state(*state)


class BetterRnnlmGen(BetterRnnlm):
    """A BetterRnnlm that writes. Book 2 ch. 7."""

    def generate(self, start_id, skip_ids=None, sample_size=100):
        """A list of sample_size words: start_id and words drawn from the model one by one, never one of skip_ids."""
        return _generate(self, start_id, skip_ids, sample_size)

    def get_state(self):
        """[(h, c) of each LSTM]"""
        return [(layer.h, layer.c) for layer in self.lstm_layers]

    def set_state(self, states):
        """states: [(h, c) of each LSTM]"""
        for layer, state in zip(self.lstm_layers, states, strict=True):
            layer.set_state(*state)


def _generate(model, start_id, skip_ids, sample_size):
    words = [int(start_id)]
    while len(words) < sample_size:
        p = softmax(model.predict(np.array([[words[-1]]])).reshape(-1).astype(np.float64))
        if skip_ids is not None and len(skip_ids):
            p[list(skip_ids)] = 0  # what skipping and drawing anew from the same scores comes to
        below = p.cumsum()
        if not below[-1] > 0:
            raise ValueError(f"generate: no word can follow {words[-1]}: the scores are not finite or all are skipped")
        below /= below[-1]  # as numpy.random.Generator.choice, whose checks take half of its time
        words.append(int(below.searchsorted(model.rng.random(), side="right")))
    return words
