import sys

sys.path.append("..")
import datetime

import numpy as np
from attention_layer import TimeAttention
from common.base_model import BaseModel
from common.optimizer import Adam
from common.time_layers import *
from common.trainer import Trainer


def lstm(D, H):
    rn = np.random.randn
    weights = (rn(D, 4 * H) / np.sqrt(D)).astype("f"), (rn(H, 4 * H) / np.sqrt(H)).astype("f")
    return TimeLSTM(*weights, np.zeros(4 * H).astype("f"), stateful=True)


class Seq2seq(BaseModel):
    """Encoder, decoder and attention over the encoder's steps."""

    def __init__(self, V, D, H):
        rn = np.random.randn
        self.embed, self.encoder = TimeEmbedding((rn(V, D) / 100).astype("f")), lstm(D, H)
        self.embed2, self.decoder = TimeEmbedding((rn(V, D) / 100).astype("f")), lstm(D, H)
        self.attention, self.loss = TimeAttention(), TimeSoftmaxWithLoss()
        self.affine = TimeAffine((rn(2 * H, V) / np.sqrt(2 * H)).astype("f"), np.zeros(V).astype("f"))
        self.params, self.grads = [], []
        for layer in (self.embed, self.encoder, self.embed2, self.decoder, self.affine):
            self.params += layer.params
            self.grads += layer.grads

    def forward(self, xs, ts):
        self.encoder.reset_state()
        hs = self.encoder.forward(self.embed.forward(xs))
        self.decoder.set_state(hs[:, -1])
        dec = self.decoder.forward(self.embed2.forward(ts[:, :-1]))
        score = self.affine.forward(np.concatenate((self.attention.forward(hs, dec), dec), axis=2))
        return self.loss.forward(score, ts[:, 1:])

    def backward(self, dout=1):
        dout = self.affine.backward(self.loss.backward(dout))
        H = dout.shape[2] // 2
        dhs, ddec = self.attention.backward(dout[:, :, :H])
        self.embed2.backward(self.decoder.backward(dout[:, :, H:] + ddec))
        dhs[:, -1] += self.decoder.dh
        self.embed.backward(self.encoder.backward(dhs))


def dates(n):
    """Dates in words and as numbers, as ids of characters: (n, 29) and (n, 11)."""
    draw, ids, words = np.random.RandomState(0).randint(1, 700_000, n), {}, []
    for day in map(datetime.date.fromordinal, draw.tolist()):
        words.append((day.strftime("%A, %B %d, %Y").ljust(29)[:29], "_" + day.isoformat()))
    return [np.array([[ids.setdefault(c, len(ids)) for c in pair[i]] for pair in words]) for i in (0, 1)], len(ids)


def train(steps=4):
    (x, t), vocab_size = dates(128 * steps)
    np.random.seed(0)
    trainer = Trainer(Seq2seq(max(59, vocab_size), 16, 256), Adam())
    trainer.fit(x[:, ::-1], t, max_epoch=1, batch_size=128, max_grad=5.0, eval_interval=1)
    return trainer.loss_list


if __name__ == "__main__":
    train()
