import sys

sys.path.append("..")
import numpy as np
from common.time_layers import *


class SimpleRnnlm:
    """Embedding, RNN, Affine, softmax loss over time, as chapter 5 of book 2 describes it."""

    def __init__(self, vocab_size, wordvec_size, hidden_size):
        V, D, H = vocab_size, wordvec_size, hidden_size
        rn = np.random.randn
        self.rnn_layer = TimeRNN(
            (rn(D, H) / np.sqrt(D)).astype("f"), (rn(H, H) / np.sqrt(H)).astype("f"), np.zeros(H).astype("f"), stateful=True
        )
        embed = TimeEmbedding((rn(V, D) / 100).astype("f"))
        affine = TimeAffine((rn(H, V) / np.sqrt(H)).astype("f"), np.zeros(V).astype("f"))
        self.layers = [embed, self.rnn_layer, affine]
        self.loss_layer = TimeSoftmaxWithLoss()
        self.params, self.grads = [], []
        for layer in self.layers:
            self.params += layer.params
            self.grads += layer.grads

    def forward(self, xs, ts):
        for layer in self.layers:
            xs = layer.forward(xs)
        return self.loss_layer.forward(xs, ts)

    def backward(self, dout=1):
        dout = self.loss_layer.backward(dout)
        for layer in reversed(self.layers):
            dout = layer.backward(dout)
        return dout
