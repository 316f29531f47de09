"""The training loops of book 2's `common.trainer`, without its figures."""

import sys
import time

import numpy

sys.path.append("..")
from common.np import *
from common.util import clip_grads


class Trainer:
    def __init__(self, model, optimizer):
        self.model = model
        self.optimizer = optimizer
        self.loss_list = []
        self.eval_interval = None
        self.current_epoch = 0

    def fit(self, x, t, max_epoch=10, batch_size=32, max_grad=None, eval_interval=20):
        n, self.eval_interval = len(x), eval_interval
        iters, total, count, start = n // batch_size, 0, 0, time.time()
        for _ in range(max_epoch):
            order = numpy.random.permutation(numpy.arange(n))
            x, t = x[order], t[order]
            for i in range(iters):
                batch = slice(i * batch_size, (i + 1) * batch_size)
                total += step(self.model, self.optimizer, x[batch], t[batch], max_grad)
                count += 1
                if eval_interval is not None and i % eval_interval == 0:
                    loss, elapsed = total / count, time.time() - start
                    print("| epoch %d |  iter %d / %d | time %d[s] | loss %.2f"
                          % (self.current_epoch + 1, i + 1, iters, elapsed, loss))
                    self.loss_list.append(float(loss))
                    total, count = 0, 0
            self.current_epoch += 1


class RnnlmTrainer:
    def __init__(self, model, optimizer):
        self.model = model
        self.optimizer = optimizer
        self.time_idx = None
        self.ppl_list = None
        self.eval_interval = None
        self.current_epoch = 0

    def get_batch(self, x, t, batch_size, time_size):
        xs = np.empty((batch_size, time_size), dtype="i")
        ts = np.empty((batch_size, time_size), dtype="i")
        n = len(x)
        starts = [i * (n // batch_size) for i in range(batch_size)]
        for k in range(time_size):
            for i, start in enumerate(starts):
                xs[i, k] = x[(start + self.time_idx) % n]
                ts[i, k] = t[(start + self.time_idx) % n]
            self.time_idx += 1
        return xs, ts

    def fit(self, xs, ts, max_epoch=10, batch_size=20, time_size=35, max_grad=None, eval_interval=20):
        iters = len(xs) // (batch_size * time_size)
        self.time_idx, self.ppl_list, self.eval_interval = 0, [], eval_interval
        total, count, start = 0, 0, time.time()
        for _ in range(max_epoch):
            for i in range(iters):
                x, t = self.get_batch(xs, ts, batch_size, time_size)
                total += step(self.model, self.optimizer, x, t, max_grad)
                count += 1
                if eval_interval is not None and i % eval_interval == 0:
                    ppl, elapsed = np.exp(total / count), time.time() - start
                    print("| epoch %d |  iter %d / %d | time %d[s] | perplexity %.2f"
                          % (self.current_epoch + 1, i + 1, iters, elapsed, ppl))
                    self.ppl_list.append(float(ppl))
                    total, count = 0, 0
            self.current_epoch += 1


def step(model, optimizer, x, t, max_grad):
    loss = model.forward(x, t)
    model.backward()
    params, grads = remove_duplicate(model.params, model.grads)
    if max_grad is not None:
        clip_grads(grads, max_grad)
    optimizer.update(params, grads)
    return loss


def remove_duplicate(params, grads):
    params, grads = params[:], grads[:]
    while True:
        found = False
        for i in range(len(params)):
            for j in range(i + 1, len(params)):
                a, b = params[i], params[j]
                if a is b:
                    grads[i] += grads[j]
                    found = True
                elif a.ndim == 2 and b.ndim == 2 and a.T.shape == b.shape and np.all(a.T == b):
                    grads[i] += grads[j].T
                    found = True
                if found:
                    params.pop(j)
                    grads.pop(j)
                    break
            if found:
                break
        if not found:
            return params, grads
