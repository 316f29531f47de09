"""100 random pairs of learning rate and weight decay, judged by held-out data: the learning rate decides."""

import numpy as np

from fastnn.examples import Run, start, subplots
from fastnn.models import MultiLayerNet
from fastnn.trainer import Trainer
from fastnn.util import shuffle_dataset


def train(data, lr, weight_decay, epochs):
    network = MultiLayerNet(784, [100] * 6, 10, weight_decay_lambda=weight_decay, rng=0)
    trainer = Trainer(
        network, *data, epochs=epochs, mini_batch_size=100, optimizer="SGD", optimizer_param={"lr": lr},
        verbose=False, rng=1,
    )  # fmt: skip
    trainer.train()
    return trainer.test_acc_list, trainer.train_acc_list


def draw_best(results):
    figure, axes = subplots(4, 5, size=(1.8, 1.6), sharex=True, sharey=True)
    for i, (ax, (_, _, val_acc_list, train_acc_list)) in enumerate(zip(axes.flat, results, strict=False), 1):
        ax.plot(val_acc_list, label="validation data")
        ax.plot(train_acc_list, "--", label="training data")
        ax.set_title(f"best {i}: {val_acc_list[-1]:.2f}", fontsize=8)
        ax.set_ylim(0, 1)
    figure.supxlabel("epochs")
    figure.supylabel("accuracy")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=2)
    return figure


def draw_all(results):
    figure, ax = subplots(size=(5.0, 3.8))
    lr, weight_decay, accuracy = zip(*((lr, decay, val[-1]) for lr, decay, val, _ in results), strict=True)
    points = ax.scatter(lr, weight_decay, c=accuracy, cmap="viridis", vmin=0, vmax=1, edgecolors="#555555")
    ax.set(xscale="log", yscale="log", xlabel="learning rate", ylabel="weight decay", title="all pairs that were tried")
    figure.colorbar(points, label="validation accuracy")
    return figure


def main(run: Run) -> None:
    (x_train, t_train), _ = run.mnist(normalize=True)
    x_train, t_train = shuffle_dataset(x_train[:500], t_train[:500], rng=0)
    validation_num = int(x_train.shape[0] * 0.20)
    x_val, t_val = x_train[:validation_num], t_train[:validation_num]
    data = x_train[validation_num:], t_train[validation_num:], x_val, t_val
    trials, epochs = (20, 12) if run.quick else (100, 50)
    rng = np.random.default_rng(2)
    results = []
    with run.clock() as clock:
        for _ in run.progress(trials):
            weight_decay = 10 ** rng.uniform(-8, -4)
            lr = 10 ** rng.uniform(-6, -2)
            results.append((lr, weight_decay, *train(data, lr, weight_decay, epochs)))
    results.sort(key=lambda result: -result[2][-1])
    run.row(f"{trials} networks of {epochs} epochs", None, "trained", None, clock.seconds)
    for i, (lr, weight_decay, val_acc_list, _) in enumerate(results[:5], 1):
        run.row(f"best {i}: validation accuracy", None, val_acc_list[-1])
        run.row(f"best {i}: learning rate, weight decay", None, [lr, weight_decay], digits=2)
    run.picture("best", draw_best, results)
    run.picture("all", draw_all, results)


if __name__ == "__main__":
    start(main)
