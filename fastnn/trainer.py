"""The training loop of book 1."""

from typing import ClassVar

import numpy as np

from . import optimizer as optimizers

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
