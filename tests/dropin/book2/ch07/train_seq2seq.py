import functools
import sys

sys.path.append("..")
import numpy as np
from common.base_model import BaseModel
from common.optimizer import Adam
from common.time_layers import *
from common.trainer import Trainer


def weights(V, D, H):
    rn = np.random.randn
    embed = (rn(V, D) / 100).astype("f")
    lstm = [(rn(D, 4 * H) / np.sqrt(D)).astype("f"), (rn(H, 4 * H) / np.sqrt(H)).astype("f"), np.zeros(4 * H).astype("f")]
    return embed, lstm, (rn(H, V) / np.sqrt(H)).astype("f"), np.zeros(V).astype("f")


class Encoder:
    def __init__(self, V, D, H):
        embed, lstm, _, _ = weights(V, D, H)
        self.embed, self.lstm = TimeEmbedding(embed), TimeLSTM(*lstm, stateful=False)
        self.params, self.grads = self.embed.params + self.lstm.params, self.embed.grads + self.lstm.grads
        self.hs = None

    def forward(self, xs):
        self.hs = self.lstm.forward(self.embed.forward(xs))
        return self.hs[:, -1, :]

    def backward(self, dh):
        dhs = np.zeros_like(self.hs)
        dhs[:, -1, :] = dh
        return self.embed.backward(self.lstm.backward(dhs))


class Decoder:
    def __init__(self, V, D, H):
        embed, lstm, W, b = weights(V, D, H)
        self.embed, self.lstm, self.affine = TimeEmbedding(embed), TimeLSTM(*lstm, stateful=True), TimeAffine(W, b)
        self.params, self.grads = [], []
        for layer in (self.embed, self.lstm, self.affine):
            self.params += layer.params
            self.grads += layer.grads

    def forward(self, xs, h):
        self.lstm.set_state(h)
        return self.affine.forward(self.lstm.forward(self.embed.forward(xs)))

    def backward(self, dscore):
        self.embed.backward(self.lstm.backward(self.affine.backward(dscore)))
        return self.lstm.dh

    def generate(self, h, start_id, sample_size):
        sampled, sample_id = [], start_id
        self.lstm.set_state(h)
        for _ in range(sample_size):
            score = self.affine.forward(self.lstm.forward(self.embed.forward(np.array(sample_id).reshape((1, 1)))))
            sample_id = np.argmax(score.flatten())
            sampled.append(int(sample_id))
        return sampled


class Seq2seq(BaseModel):
    def __init__(self, V, D, H):
        self.encoder, self.decoder = Encoder(V, D, H), Decoder(V, D, H)
        self.softmax = TimeSoftmaxWithLoss()
        self.params = self.encoder.params + self.decoder.params
        self.grads = self.encoder.grads + self.decoder.grads

    def forward(self, xs, ts):
        score = self.decoder.forward(ts[:, :-1], self.encoder.forward(xs))
        return self.softmax.forward(score, ts[:, 1:])

    def backward(self, dout=1):
        return self.encoder.backward(self.decoder.backward(self.softmax.backward(dout)))

    def generate(self, xs, start_id, sample_size):
        return self.decoder.generate(self.encoder.forward(xs), start_id, sample_size)


@functools.cache
def questions(n):
    """Sums of two numbers below 1000 and their results, as ids of characters."""
    ids = {c: i for i, c in enumerate("0123456789+ _")}
    draw = np.random.RandomState(0).randint(0, 1000, (n, 2))
    x = np.array([[ids[c] for c in f"{a}+{b}".ljust(7)] for a, b in draw])
    return x, np.array([[ids[c] for c in f"_{a + b}".ljust(5)] for a, b in draw])


def train(steps=30):
    x, t = (ids[: 128 * steps] for ids in questions(128 * 30))
    np.random.seed(0)
    model = Seq2seq(13, 16, 128)
    trainer = Trainer(model, Adam())
    trainer.fit(x, t, max_epoch=1, batch_size=128, max_grad=5.0, eval_interval=1)
    right = sum(model.generate(x[i : i + 1], 12, 4) == list(t[i, 1:]) for i in range(14 * steps))  # as in the book
    return [*trainer.loss_list, right]


if __name__ == "__main__":
    train()
