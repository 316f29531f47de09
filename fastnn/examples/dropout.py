"""Dropout switches off a fifth of the units at random in each step: the 300 digits are not learnt by heart so soon."""

from fastnn.examples import Run, start, subplots
from fastnn.models import MultiLayerNetExtend
from fastnn.trainer import Trainer

dropout_ratio = 0.2


def train(run, x_train, t_train, x_test, t_test, use_dropout, epochs):
    network = MultiLayerNetExtend(784, [100] * 6, 10, use_dropout=use_dropout, dropout_ration=dropout_ratio, rng=0)
    trainer = Trainer(
        network, x_train, t_train, x_test, t_test, epochs=epochs, mini_batch_size=100, optimizer="SGD",
        optimizer_param={"lr": 0.01}, evaluate_sample_num_per_epoch=1000, verbose=False, rng=1,
    )  # fmt: skip
    for _ in run.progress(trainer.max_iter, "with dropout" if use_dropout else "without dropout"):
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
    epochs = 60 if run.quick else 301
    trained = {}
    for name, use_dropout in (("without dropout", False), (f"dropout {dropout_ratio}", True)):
        with run.clock() as clock:
            trainer = trained[name] = train(run, x_train, t_train, x_test, t_test, use_dropout, epochs)
        train_acc, test_acc = (trainer.network.accuracy(x, t) for x, t in ((x_train, t_train), (x_test, t_test)))
        run.row(f"{name}: training, test accuracy, {epochs} epochs", None, [train_acc, test_acc], None, clock.seconds)
        run.row(f"{name}: gap between them", None, train_acc - test_acc)
    run.picture("accuracy", draw, trained)


if __name__ == "__main__":
    start(main)
