"""Weights of deviation 0.01 hardly learn, because the signals die away in four layers; Xavier's and He's do at once."""

import numpy as np

from fastnn.examples import Run, start, subplots
from fastnn.models import MultiLayerNet
from fastnn.optimizer import SGD
from fastnn.util import smooth_curve

batch_size = 128
MARKERS = {"std=0.01": "o", "Xavier": "s", "He": "D"}


def draw(train_loss):
    figure, ax = subplots(size=(5.4, 3.8))
    for key, losses in train_loss.items():
        every = len(losses) // 20
        ax.plot(smooth_curve(losses), marker=MARKERS[key], markevery=every, markersize=4, linewidth=1, label=key)
    ax.set(xlabel="iterations", ylabel="loss", ylim=(0, 2.5))
    ax.legend()
    return figure


def main(run: Run) -> None:
    (x_train, t_train), _ = run.mnist(normalize=True)
    train_size = x_train.shape[0]
    max_iterations = 200 if run.quick else 2000
    weight_init_types = {"std=0.01": 0.01, "Xavier": "sigmoid", "He": "relu"}
    optimizer = SGD(lr=0.01)
    networks = {}
    for key, weight_type in weight_init_types.items():
        networks[key] = MultiLayerNet(784, [100, 100, 100, 100], 10, weight_init_std=weight_type, rng=0)
    train_loss: dict[str, list[float]] = {key: [] for key in networks}
    rng = np.random.default_rng(1)
    with run.clock() as clock:
        for _ in run.progress(max_iterations):
            batch_mask = rng.choice(train_size, batch_size)
            x_batch = x_train[batch_mask]
            t_batch = t_train[batch_mask]
            for key in weight_init_types:
                grads = networks[key].gradient(x_batch, t_batch)
                optimizer.update(networks[key].params, grads)
                train_loss[key].append(networks[key].loss(x_batch, t_batch))

    last = {key: float(np.mean(losses[-max_iterations // 10 :])) for key, losses in train_loss.items()}
    run.row(f"three networks, {max_iterations:,} steps each", None, "trained", None, clock.seconds)
    for key, loss in last.items():
        run.row(f"{key}: mean loss of the last {max_iterations // 10}", None, loss, digits=3)
    run.row("Xavier and He below std=0.01", True, max(last["Xavier"], last["He"]) < last["std=0.01"])
    run.picture("losses", draw, train_loss)


if __name__ == "__main__":
    start(main)
