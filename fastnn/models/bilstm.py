"""A classifier of sequences by a bidirectional LSTM."""

from typing import Any

import numpy as np

from .. import layers
from .base_model import BaseModel


class BiLSTMClassifier(BaseModel):
    """x (N, T, D) -> the last states of an LSTM in each direction, side by side -> Affine -> softmax loss, V classes.

    `forward(x, t, lengths=None)`: mean loss of labels t (N,); `predict(x, lengths=None)`: scores (N, V); `accuracy`.
    lengths (N,): steps of each sequence. Forget gates start with bias 1 (Jozefowicz et al. 2015).
    """

    def __init__(self, input_size, hidden_size, output_size, dtype="float32", rng=None):
        super().__init__(dtype, rng)
        H = hidden_size
        both = [*self._recurrent(4, input_size, H), *self._recurrent(4, input_size, H)]
        both[2][:H] = both[5][:H] = 1
        self.lstm = self.layer_types.TimeBiLSTM(*both)
        self.affine = layers.Affine(self._weights(2 * H, output_size), self._zeros(output_size))
        self.loss_layer = layers.SoftmaxCrossEntropy()
        self._collect(self.lstm, self.affine)
        self._last: Any = None

    def predict(self, x, lengths=None):
        hs = self.lstm.forward(x, lengths)
        self._last = hs.shape, -1 if lengths is None else np.maximum(np.asarray(lengths), 1) - 1
        return self.affine.forward(np.concatenate([self.lstm.forward_lstm.h, self.lstm.backward_lstm.h], axis=1))

    def forward(self, x, t, lengths=None):
        return self.loss_layer.forward(self.predict(x, lengths), t)

    def backward(self, dout=1):
        dh = self.affine.backward(self.loss_layer.backward(dout))
        shape, last = self._last
        dhs, H = np.zeros(shape, dh.dtype), shape[2] // 2
        dhs[np.arange(len(dh)), last, :H] = dh[:, :H]
        dhs[:, 0, H:] = dh[:, H:]
        return self.lstm.backward(dhs)

    def accuracy(self, x, t, lengths=None):
        """Share of x whose largest score is at the label."""
        return float(np.mean(self.predict(x, lengths).argmax(axis=1) == t))
