"""Trainer: what it draws, records and prints."""

import numpy as np
import pytest

from fastnn import models, optimizer
from fastnn.trainer import Trainer


class Network:
    """Records its calls; the loss is a count."""

    def __init__(self):
        self.params = {"p": np.zeros(2)}
        self.batches, self.evaluated = [], []

    def gradient(self, x, t):
        self.batches.append((x, t))
        return {"p": np.ones(2)}

    def loss(self, x, t):
        assert x is self.batches[-1][0]
        return float(len(self.batches)) + self.params["p"][0]  # after the update

    def accuracy(self, x, t):
        self.evaluated.append(len(x))
        return 0.5


def data(n):
    return np.arange(n), np.arange(n) * 10, np.arange(7), np.arange(7)


def test_steps_and_text(capsys):
    net = Network()
    trainer = Trainer(net, *data(20), epochs=2, mini_batch_size=10, optimizer_param={"lr": 1.0}, rng=0)
    assert (trainer.train_size, trainer.iter_per_epoch, trainer.max_iter) == (20, 2.0, 4)
    assert isinstance(trainer.iter_per_epoch, float) and isinstance(trainer.optimizer, optimizer.SGD)
    trainer.train()
    assert capsys.readouterr().out.splitlines() == [
        "train loss:0.0",
        "=== epoch:1, train acc:0.5, test acc:0.5 ===",
        "train loss:0.0",
        "train loss:0.0",
        "=== epoch:2, train acc:0.5, test acc:0.5 ===",
        "train loss:0.0",
        "=============== Final Test Accuracy ===============",
        "test acc:0.5",
    ]
    assert trainer.train_loss_list == [0.0] * 4
    assert trainer.train_acc_list == trainer.test_acc_list == [0.5, 0.5]
    assert (trainer.current_iter, trainer.current_epoch, trainer.batch_size) == (4, 2, 10)
    assert net.evaluated == [20, 7, 20, 7, 7]
    for x, t in net.batches:
        assert x.shape == (10,) and (t == 10 * x).all()


def test_quiet_with_few_samples_evaluated(capsys):
    net = Network()
    Trainer(net, *data(20), epochs=1, mini_batch_size=10, evaluate_sample_num_per_epoch=5, verbose=False).train()
    assert capsys.readouterr().out == ""
    assert net.evaluated == [5, 5, 7]


def test_epochs_count_if_the_batch_size_does_not_divide_the_data():
    for n, size in ((25, 10), (10, 3), (1000, 7), (5, 10)):
        trainer = Trainer(Network(), *data(n), epochs=4, mini_batch_size=size, verbose=False)
        trainer.train()
        assert trainer.current_epoch == len(trainer.test_acc_list) == 4, (n, size)


@pytest.mark.parametrize("name", ["SGD", "momentum", "Nesterov", "adagrad", "RMSprop", "ADAM", "AdamW"])
def test_optimizers_by_name(name):
    trainer = Trainer(Network(), *data(20), optimizer=name, optimizer_param={"lr": 0.25})
    assert type(trainer.optimizer).__name__.lower() == name.lower() and trainer.optimizer.lr == 0.25


def test_unknown_optimizer():
    with pytest.raises(KeyError):
        Trainer(Network(), *data(20), optimizer="sdg")


def test_training_is_reproducible():
    rng = np.random.default_rng(0)
    x, t = rng.random((60, 5), np.float32), rng.integers(0, 3, 60)
    losses = []
    for _ in range(2):
        net = models.MultiLayerNetExtend(5, [8], 3, use_dropout=True, rng=1)
        trainer = Trainer(net, x, t, x, t, epochs=3, mini_batch_size=20, optimizer="adam", verbose=False, rng=2)
        trainer.train()
        losses.append(trainer.train_loss_list)
    assert losses[0] == losses[1] and len(losses[0]) == 9
