"""A classifier of sequences by a bidirectional LSTM."""

import math
from typing import Any

import numpy as np

from .. import layers
from ..layers.base import Layer
from ..targets import right
from .base_model import Layered


class _Ends(Layer):
    """hs (N, T, 2H) of both directions -> the last state of each, side by side: (N, 2H)."""

    _saved: Any = None

    def forward(self, hs, lengths=None):
        last, H = -1 if lengths is None else np.maximum(np.asarray(lengths), 1) - 1, hs.shape[2] // 2
        self._saved = hs.shape, last
        return np.concatenate([hs[np.arange(len(hs)), last, :H], hs[:, 0, H:]], axis=1)

    def backward(self, dh):
        shape, last = self._saved
        dhs, H = np.zeros(shape, dh.dtype), shape[2] // 2
        dhs[np.arange(len(dh)), last, :H] = dh[:, :H]
        dhs[:, 0, H:] = dh[:, H:]
        return dhs


class BiLSTMClassifier(Layered):
    """x (N, T, D) -> the last states of an LSTM in each direction, side by side -> Affine -> softmax loss, V classes.

    `forward(x, t, lengths=None)`: mean loss of labels t (N,); `predict(x, lengths=None)`: scores (N, V); `accuracy`.
    lengths (N,): steps of each sequence. Forget gates start with bias 1 (Jozefowicz et al. 2015).
    """

    _lengths: Any = None  # of the last forward

    def __init__(self, input_size, hidden_size, output_size, dtype="float32", rng=None):
        super().__init__(dtype, rng)
        H = hidden_size
        both = [*self._recurrent(4, input_size, H), *self._recurrent(4, input_size, H)]
        both[2][:H] = both[5][:H] = 1
        self.lstm = self.layer_types.TimeBiLSTM(*both)
        self.affine = layers.Affine(self._weights(2 * H, output_size), self._zeros(output_size))
        self.layers = [self.lstm, _Ends(), self.affine]
        self.loss_layer = layers.SoftmaxCrossEntropy()
        self._collect(self.lstm, self.affine)

    def predict(self, x, lengths=None):
        """Scores (N, V) of x (N, T, D)."""
        return self.affine.forward(self.layers[1].forward(self.lstm.forward(x, lengths), lengths))

    def forward(self, x, t, lengths=None):
        """The mean loss of x (N, T, D) and labels t (N,); without lengths planned as a whole."""
        self._lengths = lengths
        return super().forward(x, t)

    def _by_plan(self, name, x, *args):
        return super()._by_plan(name, x, *args) if self._lengths is None else None

    def _scores(self, x, train_flg):
        return self.predict(x, self._lengths)

    def accuracy(self, x, t, lengths=None):
        """Share of x whose largest score is at the label."""
        hits, count = right(self.predict(x, lengths), t, "BiLSTMClassifier.accuracy")
        return hits / count if count else math.nan
