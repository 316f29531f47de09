import sys

sys.path.append("..")
import numpy as np
from common.optimizer import SGD
from dataset import ptb
from simple_rnnlm import SimpleRnnlm


def train(steps=300):
    corpus = ptb.load_data("train")[0][:1000]
    vocab_size = int(max(corpus) + 1)
    xs, ts = corpus[:-1], corpus[1:]
    np.random.seed(0)
    model, optimizer = SimpleRnnlm(vocab_size, 100, 100), SGD(0.1)
    losses, time_idx = [], 0
    offsets = [i * (len(xs) // 10) for i in range(10)]
    for _ in range(steps):
        batch_x, batch_t = np.empty((10, 5), dtype="i"), np.empty((10, 5), dtype="i")
        for t in range(5):
            for i, offset in enumerate(offsets):
                batch_x[i, t] = xs[(offset + time_idx) % len(xs)]
                batch_t[i, t] = ts[(offset + time_idx) % len(xs)]
            time_idx += 1
        losses.append(model.forward(batch_x, batch_t))
        model.backward()
        optimizer.update(model.params, model.grads)
    return losses


if __name__ == "__main__":
    for loss in train():
        print(loss)
