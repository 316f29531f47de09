"""The training loops of the books."""

import functools
import time
from typing import ClassVar

import numpy as np

from . import ops
from . import optimizer as optimizers
from .util import clip_grads

OPTIMIZERS = {
    "sgd": optimizers.SGD,
    "momentum": optimizers.Momentum,
    "nesterov": optimizers.Nesterov,
    "adagrad": optimizers.AdaGrad,
    "rmsprop": optimizers.RMSprop,
    "adam": optimizers.Adam,
    "adamw": optimizers.AdamW,
}


class Trainer:
    """Trains a network that has `gradient(x, t)`, `loss(x, t)`, `accuracy(x, t)` and `params`. Book 1, `common`.

    optimizer: a name, case ignored (KeyError if unknown), made with `optimizer_param`. Each step draws a batch with
    replacement. After the first step and then once an epoch the accuracies on the first
    `evaluate_sample_num_per_epoch` (None: all) training and test samples are computed. `rng`: None, a seed or a
    numpy.random.Generator. Unlike the book's, epochs are counted too if the batch size does not divide the data.
    """

    optimizers: ClassVar = OPTIMIZERS

    def __init__(
        self, network, x_train, t_train, x_test, t_test, epochs=20, mini_batch_size=100, optimizer="SGD",
        optimizer_param={"lr": 0.01}, evaluate_sample_num_per_epoch=None, verbose=True, rng=None,  # noqa: B006 (read only)
    ):  # fmt: skip
        self.network = network
        self.verbose = verbose
        self.x_train = x_train
        self.t_train = t_train
        self.x_test = x_test
        self.t_test = t_test
        self.epochs = epochs
        self.batch_size = mini_batch_size
        self.evaluate_sample_num_per_epoch = evaluate_sample_num_per_epoch
        self.rng = np.random.default_rng(rng)
        self.optimizer = self.optimizers[optimizer.lower()](**optimizer_param)
        self.train_size = len(x_train)
        self.iter_per_epoch = max(self.train_size / mini_batch_size, 1)
        self.max_iter = int(epochs * self.iter_per_epoch)
        self.current_iter = 0
        self.current_epoch = 0
        self.train_loss_list = []
        self.train_acc_list = []
        self.test_acc_list = []

    def train_step(self):
        """One batch: gradient, update, the loss after it; at the start of an epoch also the accuracies."""
        batch = self._draw()
        x, t = self.x_train[batch], self.t_train[batch]
        self.optimizer.update(self.network.params, self.network.gradient(x, t))
        loss = self.network.loss(x, t)
        self.train_loss_list.append(loss)
        self._print(f"train loss:{loss!s}")
        if self._starts_epoch():
            self.current_epoch += 1
            n = self.evaluate_sample_num_per_epoch
            train_acc = self.network.accuracy(self.x_train[:n], self.t_train[:n])
            test_acc = self.network.accuracy(self.x_test[:n], self.t_test[:n])
            self.train_acc_list.append(train_acc)
            self.test_acc_list.append(test_acc)
            self._print(f"=== epoch:{self.current_epoch}, train acc:{train_acc!s}, test acc:{test_acc!s} ===")
        self.current_iter += 1

    def train(self):
        """All steps, then the accuracy on the whole test set."""
        for _ in range(self.max_iter):
            self.train_step()
        test_acc = self.network.accuracy(self.x_test, self.t_test)
        self._print("=============== Final Test Accuracy ===============")
        self._print(f"test acc:{test_acc!s}")

    def _draw(self):
        return self.rng.integers(self.train_size, size=self.batch_size)

    def _starts_epoch(self):
        return self.current_iter >= self.current_epoch * self.iter_per_epoch

    def _print(self, text):
        if self.verbose:
            print(text)


# ---- book 2 --------------------------------------------------------------------------------------------------------


class ModelTrainer:
    """Trains a model that has `forward(x, t)`, `backward()`, `params` and `grads`, lists of arrays. Book 2, `common`.

    Parameters that layers share, or that are another one's transpose, are updated once, by the sum of their gradients.
    `loss_list`: mean losses since the last print. rng: None, a seed or a numpy.random.Generator.
    """

    def __init__(self, model, optimizer, rng=None):
        self.model = model
        self.optimizer = optimizer
        self.rng = np.random.default_rng(rng)
        self.loss_list = []
        self.eval_interval = None
        self.current_epoch = 0

    def fit(self, x, t, max_epoch=10, batch_size=32, max_grad=None, eval_interval=20):
        """max_epoch epochs of len(x) // batch_size shuffled batches; the mean loss is printed every eval_interval."""
        n = len(x)
        iterations = n // batch_size
        self.eval_interval = eval_interval
        losses = []
        start = time.time()
        for _ in range(max_epoch):
            order = self._order(n)
            x, t = x[order], t[order]
            for i in range(iterations):
                batch = slice(i * batch_size, (i + 1) * batch_size)
                losses.append(training_step(self.model, self.optimizer, x[batch], t[batch], max_grad))
                if eval_interval is not None and i % eval_interval == 0:
                    loss = float(sum(losses) / len(losses))
                    losses = []
                    _print_progress(self.current_epoch, i, iterations, start, f"loss {loss:.2f}")
                    self.loss_list.append(loss)
            self.current_epoch += 1

    def _order(self, n):
        return self.rng.permutation(n)

    def plot(self, ylim=None):
        """The curve of loss_list, by matplotlib."""
        _plot(self.loss_list, "loss", self.eval_interval, ylim)


class RnnlmTrainer:
    """Trains a language model on a corpus that is read in order, batch_size places at once. Book 2 ch. 5.

    `ppl_list`: perplexity since the last print. The model's state is carried over from batch to batch.
    """

    def __init__(self, model, optimizer):
        self.model = model
        self.optimizer = optimizer
        self.time_idx = None
        self.ppl_list = None
        self.eval_interval = None
        self.current_epoch = 0

    def get_batch(self, x, t, batch_size, time_size):
        """The next time_size words from batch_size places of x and t (n,): two int32 (batch_size, time_size)."""
        places = _first_places(len(x), batch_size, time_size) + self.time_idx
        self.time_idx += time_size
        if places.size and places[-1, -1] >= len(x):
            places %= len(x)
        return np.asarray(x)[places].astype(np.int32), np.asarray(t)[places].astype(np.int32)

    def fit(self, xs, ts, max_epoch=10, batch_size=20, time_size=35, max_grad=None, eval_interval=20):
        """max_epoch epochs of n // (batch_size * time_size) batches of the words xs and those after them ts, (n,)."""
        iterations = len(xs) // (batch_size * time_size)
        self.time_idx = 0
        self.ppl_list = []
        self.eval_interval = eval_interval
        losses = []
        start = time.time()
        for _ in range(max_epoch):
            for i in range(iterations):
                batch = self.get_batch(xs, ts, batch_size, time_size)
                losses.append(training_step(self.model, self.optimizer, *batch, max_grad))
                if eval_interval is not None and i % eval_interval == 0:
                    ppl = float(np.exp(sum(losses) / len(losses)))
                    losses = []
                    _print_progress(self.current_epoch, i, iterations, start, f"perplexity {ppl:.2f}")
                    self.ppl_list.append(ppl)
            self.current_epoch += 1

    def plot(self, ylim=None):
        """The curve of ppl_list, by matplotlib."""
        _plot(self.ppl_list, "perplexity", self.eval_interval, ylim)


def training_step(model, optimizer, x, t, max_grad=None):
    """forward, backward, gradients of shared parameters merged and cut to the norm max_grad, update -> the loss."""
    loss = model.forward(x, t)
    model.backward()
    params, grads = remove_duplicate(model.params, model.grads)
    if max_grad is not None:
        clip_grads(grads, max_grad)
    optimizer.update(params, grads)
    return loss


@functools.lru_cache(8)
def _first_places(n, batch_size, time_size):
    """Where the rows of the first batch of n words are; not to be changed."""
    return np.arange(batch_size)[:, np.newaxis] * (n // batch_size) + np.arange(time_size)


def remove_duplicate(params, grads):
    """(params, grads) as new lists without parameters that are the same array, or by value another one's transpose.

    The gradient of what is left out is added, in place, to that of the parameter it equals (a RowGradient: to a new,
    dense one). Book 2, `common`.
    """
    params, grads = list(params), list(grads)
    shapes = [p.shape for p in params]
    for i, p in enumerate(params):  # the lists shrink behind i
        j = i + 1
        transposed = shapes[i][::-1] if p.ndim == 2 else None
        while j < len(params):
            same = params[j] is p
            if same or (shapes[j] == transposed and _is_transpose(p, params[j])):
                if isinstance(grads[i], ops.RowGradient):
                    grads[i] = np.asarray(grads[i])
                grads[i] += np.asarray(grads[j] if same else np.asarray(grads[j]).T)
                del params[j], grads[j], shapes[j]
            else:
                j += 1
    return params, grads


def _is_transpose(p, q):
    # Of matrices whose shapes fit.
    if p.strides == q.strides[::-1] and p.__array_interface__["data"] == q.__array_interface__["data"]:
        return True
    if p.size and not (p.item(0) == q.item(0) and p[-1, 0] == q[0, -1]):  # nearly always decides
        return False
    return np.array_equal(p.T, q)


def _print_progress(epoch, i, iterations, start, what):
    print(f"| epoch {epoch + 1} |  iter {i + 1} / {iterations} | time {int(time.time() - start)}[s] | {what}")


def _plot(values, what, eval_interval, ylim):
    import matplotlib.pyplot as plt

    if ylim is not None:
        plt.ylim(*ylim)
    plt.plot(np.arange(len(values)), values, label="train")
    plt.xlabel(f"iterations (x{eval_interval})")
    plt.ylabel(what)
    plt.show()
