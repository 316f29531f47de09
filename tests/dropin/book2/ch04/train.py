import sys

sys.path.append("..")
import collections

from common.layers import Embedding, SigmoidWithLoss
from common.np import *
from common.optimizer import Adam
from common.trainer import remove_duplicate
from common.util import create_contexts_target
from dataset import ptb


class EmbeddingDot:
    def __init__(self, W):
        self.embed = Embedding(W)
        self.params, self.grads = self.embed.params, self.embed.grads
        self.cache = None

    def forward(self, h, idx):
        target_W = self.embed.forward(idx)
        self.cache = (h, target_W)
        return np.sum(target_W * h, axis=1)

    def backward(self, dout):
        h, target_W = self.cache
        dout = dout.reshape(dout.shape[0], 1)
        self.embed.backward(dout * h)
        return dout * target_W


class UnigramSampler:
    """For every target as many other words, drawn without replacement."""

    def __init__(self, corpus, vocab_size, sample_size):
        counts = collections.Counter(corpus.tolist())
        p = np.array([counts[i] for i in range(vocab_size)], dtype=float) ** 0.75
        self.p, self.sample_size = p / p.sum(), sample_size

    def draw(self, target):
        negative = np.zeros((len(target), self.sample_size), dtype=np.int32)
        for i, word in enumerate(target):
            p = self.p.copy()
            p[word] = 0
            negative[i] = np.random.choice(len(p), size=self.sample_size, replace=False, p=p / p.sum())
        return negative


class CBOW:
    """Continuous bag of words with negative sampling, as chapter 4 of book 2 describes it."""

    def __init__(self, vocab_size, hidden_size, window_size, corpus, sample_size=5):
        W_in = 0.01 * np.random.randn(vocab_size, hidden_size).astype("f")
        W_out = 0.01 * np.random.randn(vocab_size, hidden_size).astype("f")
        self.sampler = UnigramSampler(corpus, vocab_size, sample_size)
        self.in_layers = [Embedding(W_in) for _ in range(2 * window_size)]
        self.dots = [EmbeddingDot(W_out) for _ in range(sample_size + 1)]
        self.losses = [SigmoidWithLoss() for _ in range(sample_size + 1)]
        self.params, self.grads = [], []
        for layer in self.in_layers + self.dots:
            self.params += layer.params
            self.grads += layer.grads

    def forward(self, contexts, target):
        h = 0
        for i, layer in enumerate(self.in_layers):
            h += layer.forward(contexts[:, i])
        h *= 1 / len(self.in_layers)
        negative = self.sampler.draw(target)
        ones, zeros = np.ones(len(target), dtype=np.int32), np.zeros(len(target), dtype=np.int32)
        loss = self.losses[0].forward(self.dots[0].forward(h, target), ones)
        for i in range(len(self.losses) - 1):
            loss += self.losses[1 + i].forward(self.dots[1 + i].forward(h, negative[:, i]), zeros)
        return loss

    def backward(self, dout=1):
        dh = 0
        for loss, dot in zip(self.losses, self.dots):
            dh += dot.backward(loss.backward(dout))
        dh *= 1 / len(self.in_layers)
        for layer in self.in_layers:
            layer.backward(dh)


def train(steps=25):
    corpus, word_to_id, _ = ptb.load_data("train")
    contexts, target = create_contexts_target(corpus[:3000], 5)
    np.random.seed(0)
    model, optimizer = CBOW(len(word_to_id), 100, 5, corpus), Adam()
    losses = []
    for i in range(steps):
        batch = slice(i * 100, (i + 1) * 100)
        losses.append(model.forward(contexts[batch], target[batch]))
        model.backward()
        params, grads = remove_duplicate(model.params, model.grads)
        optimizer.update(params, grads)
    return losses


if __name__ == "__main__":
    for loss in train():
        print(loss)
