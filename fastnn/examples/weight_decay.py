"""300 digits are learnt by heart: 100 % of them, far fewer of new ones; weight decay narrows the gap."""

import numpy as np

from fastnn.examples import Run, start, subplots
from fastnn.models import MultiLayerNet
from fastnn.trainer import Trainer


def train(run, x_train, t_train, x_test, t_test, weight_decay_lambda, max_epochs):
    network = MultiLayerNet(784, [100] * 6, 10, weight_decay_lambda=weight_decay_lambda, rng=0)
    trainer = Trainer(
        network, x_train, t_train, x_test, t_test, epochs=max_epochs, mini_batch_size=100, optimizer="SGD",
        optimizer_param={"lr": 0.01}, evaluate_sample_num_per_epoch=1000, verbose=False, rng=1,
    )  # fmt: skip
    for _ in run.progress(trainer.max_iter, f"weight decay {weight_decay_lambda}"):
        trainer.train_step()
    return trainer


def draw(trained):
    figure, axes = subplots(1, len(trained), size=(3.8, 3.2), sharey=True)
    for ax, (name, trainer) in zip(axes, trained.items(), strict=True):
        ax.plot(trainer.train_acc_list, label="training data")
        ax.plot(trainer.test_acc_list, "--", label="test data")
        ax.set(title=name, xlabel="epochs", ylim=(0, 1.02))
    axes[0].set_ylabel("accuracy")
    axes[0].legend(loc="lower right")
    return figure


def main(run: Run) -> None:
    (x_train, t_train), (x_test, t_test) = run.mnist(normalize=True)
    x_train, t_train = x_train[:300], t_train[:300]  # so few that they can be learnt by heart
    max_epochs = 60 if run.quick else 201
    trained = {}
    for weight_decay_lambda in (0, 0.1):
        name = f"weight decay {weight_decay_lambda}"
        with run.clock() as clock:
            trainer = train(run, x_train, t_train, x_test, t_test, weight_decay_lambda, max_epochs)
        trained[name] = trainer
        train_acc, test_acc = (trainer.network.accuracy(x, t) for x, t in ((x_train, t_train), (x_test, t_test)))
        both = f"{name}: training, test accuracy, {max_epochs} epochs"
        run.row(both, None, [train_acc, test_acc], None, clock.seconds)
        run.row(f"{name}: gap between them", None, train_acc - test_acc)
        size = float(np.sqrt(sum((trainer.network.params[f"W{i}"] ** 2).sum() for i in range(1, 8))))
        run.row(f"{name}: norm of all weights", None, size)
    run.picture("accuracy", draw, trained)


if __name__ == "__main__":
    start(main)
