"""A mini-batch of random samples has about the loss of all of them: the nearer, the more samples it has."""

import numpy as np

from fastnn.examples import Run, start, subplots
from fastnn.functions import cross_entropy_error, softmax
from fastnn.models import TwoLayerNet

BATCH_SIZES = (10, 100, 1000)


def draw(losses, whole):
    figure, ax = subplots(size=(4.8, 3.2))
    ax.boxplot(list(losses.values()), tick_labels=[f"{n:,}" for n in losses])
    ax.axhline(whole, color="#D55E00", linestyle="--", label=f"all training data: {whole:.3f}")
    ax.set(xlabel="size of the mini-batch", ylabel="loss", title="losses of 200 mini-batches")
    ax.legend()
    return figure


def main(run: Run) -> None:
    (x_train, t_train), _ = run.mnist(normalize=True, one_hot_label=True)
    run.row("shape of x_train", (60000, 784), x_train.shape)
    run.row("shape of t_train", (60000, 10), t_train.shape)

    rng = np.random.default_rng(0)
    train_size = x_train.shape[0]
    batch_size = 10
    batch_mask = rng.choice(train_size, batch_size)
    x_batch = x_train[batch_mask]
    t_batch = t_train[batch_mask]
    run.row("10 of them drawn", "random", batch_mask)
    run.row("shapes of x_batch, t_batch", "(10, 784), (10, 10)", f"{x_batch.shape}, {t_batch.shape}")

    network = TwoLayerNet(784, 50, 10, weight_init_std=0.1, rng=0)
    y = softmax(network.predict(x_batch))
    run.row("their loss, t one-hot", None, float(cross_entropy_error(y, t_batch)))
    run.row("their loss, t labels", None, float(cross_entropy_error(y, t_batch.argmax(axis=1))))
    whole = network.loss(x_train, t_train)
    run.row("loss of all training data", None, whole)
    losses = {}
    for n in BATCH_SIZES:
        masks = [rng.choice(train_size, n) for _ in range(200)]
        losses[n] = [network.loss(x_train[mask], t_train[mask]) for mask in masks]
        spread = [float(np.mean(losses[n])), float(np.std(losses[n]))]
        run.row(f"mean and deviation, 200 batches of {n:,}", None, spread)
    run.picture("losses", draw, losses, whole)


if __name__ == "__main__":
    start(main)
