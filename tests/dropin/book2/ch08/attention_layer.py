import sys

sys.path.append("..")
from common.layers import Softmax
from common.np import *


class WeightSum:
    def __init__(self):
        self.params, self.grads = [], []
        self.saved = None

    def forward(self, hs, a):
        weights = a.reshape(*a.shape, 1).repeat(hs.shape[2], axis=2)
        self.saved = hs, weights
        return np.sum(hs * weights, axis=1)

    def backward(self, dc):
        hs, weights = self.saved
        dt = dc.reshape(len(dc), 1, -1).repeat(hs.shape[1], axis=1)
        return dt * weights, np.sum(dt * hs, axis=2)


class AttentionWeight:
    def __init__(self):
        self.params, self.grads = [], []
        self.softmax = Softmax()
        self.saved = None

    def forward(self, hs, h):
        hr = h.reshape(len(h), 1, -1).repeat(hs.shape[1], axis=1)
        self.saved = hs, hr
        return self.softmax.forward(np.sum(hs * hr, axis=2))

    def backward(self, da):
        hs, hr = self.saved
        dt = self.softmax.backward(da).reshape(*da.shape, 1).repeat(hs.shape[2], axis=2)
        return dt * hr, np.sum(dt * hs, axis=1)


class TimeAttention:
    """For every step of the decoder a sum of the encoder's, as chapter 8 of book 2 describes it."""

    def __init__(self):
        self.params, self.grads = [], []
        self.layers, self.attention_weights = [], []

    def forward(self, hs_enc, hs_dec):
        out, self.layers, self.attention_weights = np.empty_like(hs_dec), [], []
        for t in range(hs_dec.shape[1]):
            weight, total = AttentionWeight(), WeightSum()
            a = weight.forward(hs_enc, hs_dec[:, t, :])
            out[:, t, :] = total.forward(hs_enc, a)
            self.layers.append((weight, total))
            self.attention_weights.append(a)
        return out

    def backward(self, dout):
        dhs_enc, dhs_dec = 0, np.empty_like(dout)
        for t, (weight, total) in enumerate(self.layers):
            dhs, da = total.backward(dout[:, t, :])
            more, dhs_dec[:, t, :] = weight.backward(da)
            dhs_enc = dhs_enc + dhs + more
        return dhs_enc, dhs_dec
