"""Weights that begin at sixteen scales, from 1 to 0.0001; batch normalisation lets the network learn from most."""

import numpy as np

from fastnn.examples import Run, start, subplots
from fastnn.models import MultiLayerNetExtend
from fastnn.optimizer import SGD

batch_size = 100
learning_rate = 0.01


def train(x_train, t_train, weight_init_std, max_epochs, rng):
    size = {"input_size": 784, "hidden_size_list": [100] * 5, "output_size": 10, "weight_init_std": weight_init_std}
    bn_network = MultiLayerNetExtend(**size, use_batchnorm=True, rng=0)
    network = MultiLayerNetExtend(**size, rng=0)
    optimizer = SGD(lr=learning_rate)
    train_size = x_train.shape[0]
    iter_per_epoch = max(train_size // batch_size, 1)
    train_acc_list, bn_train_acc_list = [], []
    for i in range(max_epochs * iter_per_epoch):
        batch_mask = rng.choice(train_size, batch_size)
        x_batch = x_train[batch_mask]
        t_batch = t_train[batch_mask]
        for _network in (bn_network, network):
            grads = _network.gradient(x_batch, t_batch)
            optimizer.update(_network.params, grads)
        if i % iter_per_epoch == 0:
            train_acc_list.append(network.accuracy(x_train, t_train))
            bn_train_acc_list.append(bn_network.accuracy(x_train, t_train))
    return train_acc_list, bn_train_acc_list


def draw(results):
    figure, axes = subplots(4, 4, size=(2.3, 1.9), sharex=True, sharey=True)
    for ax, (w, (train_acc_list, bn_train_acc_list)) in zip(axes.flat, results.items(), strict=True):
        ax.plot(bn_train_acc_list, label="with batch normalisation")
        ax.plot(train_acc_list, "--", label="without")
        ax.set(title=f"W: {w:.2g}", ylim=(0, 1))
        ax.title.set_size(9)
    figure.supxlabel("epochs")
    figure.supylabel("accuracy on training data")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=2)
    return figure


def main(run: Run) -> None:
    (x_train, t_train), _ = run.mnist(normalize=True)
    x_train, t_train = x_train[:1000], t_train[:1000]
    max_epochs = 4 if run.quick else 20
    results = {}
    rng = np.random.default_rng(1)
    with run.clock() as clock, np.errstate(over="ignore", invalid="ignore"):  # std 1 may overflow without it
        for w in run.progress(np.logspace(0, -4, num=16)):
            results[w] = train(x_train, t_train, w, max_epochs, rng)
    faster = sum(bn[-1] > plain[-1] for plain, bn in results.values())
    run.row("scales of 16 at which batch normalisation is ahead", "many", faster, None, clock.seconds)
    best, bn_best = (max(lists[k][-1] for lists in results.values()) for k in (0, 1))
    run.row(f"best accuracy in epoch {max_epochs} with, without it", None, [bn_best, best])
    learnt = [sum(lists[k][-1] > 0.5 for lists in results.values()) for k in (1, 0)]
    run.row("scales that reach an accuracy of 0.5 with, without it", None, learnt)
    run.picture("grid", draw, results)


if __name__ == "__main__":
    start(main)
