"""The same network, the same mini-batches, six optimizers: SGD lags behind all that remember earlier gradients."""

import numpy as np

from fastnn.examples import Run, start, subplots
from fastnn.models import MultiLayerNet
from fastnn.optimizer import SGD, AdaGrad, Adam, Momentum, Nesterov, RMSprop
from fastnn.util import smooth_curve

batch_size = 128
MARKERS = {"SGD": "o", "Momentum": "x", "Nesterov": "^", "AdaGrad": "s", "RMSprop": "v", "Adam": "D"}


def draw(train_loss):
    figure, ax = subplots(size=(6.0, 4.2))
    for key, losses in train_loss.items():
        every = len(losses) // 20
        ax.plot(smooth_curve(losses), marker=MARKERS[key], markevery=every, markersize=4, linewidth=1, label=key)
    ax.set(xlabel="iterations", ylabel="loss", ylim=(0, 1))
    ax.legend()
    return figure


def main(run: Run) -> None:
    (x_train, t_train), (x_test, t_test) = run.mnist(normalize=True)
    train_size = x_train.shape[0]
    max_iterations = 150 if run.quick else 2000
    optimizers = {
        "SGD": SGD(), "Momentum": Momentum(), "Nesterov": Nesterov(lookahead=False), "AdaGrad": AdaGrad(),
        "RMSprop": RMSprop(lr=0.001), "Adam": Adam(),
    }  # fmt: skip
    networks = {key: MultiLayerNet(784, [100, 100, 100, 100], 10, rng=0) for key in optimizers}
    train_loss: dict[str, list[float]] = {key: [] for key in optimizers}
    seconds = dict.fromkeys(optimizers, 0.0)
    rng = np.random.default_rng(1)
    for _ in run.progress(max_iterations):
        batch_mask = rng.choice(train_size, batch_size)
        x_batch = x_train[batch_mask]
        t_batch = t_train[batch_mask]
        for key, optimizer in optimizers.items():
            with run.clock() as clock:
                grads = networks[key].gradient(x_batch, t_batch)
                optimizer.update(networks[key].params, grads)
                train_loss[key].append(networks[key].loss(x_batch, t_batch))
            seconds[key] += clock.seconds

    last = {key: float(np.mean(losses[-max_iterations // 10 :])) for key, losses in train_loss.items()}
    steps = f"the last {max_iterations // 10} of {max_iterations:,}"
    for key, loss in last.items():
        run.row(f"{key}: mean loss of {steps}", None, loss, None, seconds[key], digits=3)
    run.row("all of them below SGD", True, all(loss < last["SGD"] for key, loss in last.items() if key != "SGD"))
    for key, network in networks.items():
        run.row(f"{key}: accuracy on test data", None, network.accuracy(x_test, t_test))
    run.picture("losses", draw, train_loss)


if __name__ == "__main__":
    start(main)
