"""A network of ten hidden units learns where the arms of a spiral lie; five arms are harder than three."""

import numpy as np

from fastnn import plots
from fastnn.dataset import spiral
from fastnn.examples import Run, start, subplots
from fastnn.models import SpiralNet
from fastnn.optimizer import SGD

hidden_size = 10
batch_size = 30
learning_rate = 1.0


def train(run, x, t, max_epoch, rng):
    model = SpiralNet(2, hidden_size, t.shape[1], dtype="float64", rng=rng)
    optimizer = SGD(lr=learning_rate)
    data_size = len(x)
    max_iters = data_size // batch_size
    loss_list = []
    for _ in run.progress(max_epoch, f"{t.shape[1]} arms"):
        idx = rng.permutation(data_size)
        x, t = x[idx], t[idx]
        total_loss = 0.0
        for iters in range(max_iters):
            batch_x = x[iters * batch_size : (iters + 1) * batch_size]
            batch_t = t[iters * batch_size : (iters + 1) * batch_size]
            total_loss += model.forward(batch_x, batch_t)
            model.backward()
            optimizer.update(model.params, model.grads)
        loss_list.append(total_loss / max_iters)
    return model, loss_list


def draw(losses):
    figure, ax = subplots()
    for arms, loss_list in losses.items():
        ax.plot(loss_list, label=f"{arms} arms")
    ax.set(xlabel="epoch", ylabel="loss", title="the loss of each epoch")
    ax.legend()
    return figure


def main(run: Run) -> None:
    losses = {}
    for arms, epochs, reported in ((3, 300, 0.1), (5, 600, 0.3)):
        x, t = spiral.load_data(arms=arms)
        epochs = epochs // 3 if run.quick else epochs
        with run.clock() as clock:
            model, losses[arms] = train(run, x, t, epochs, np.random.default_rng(2))
        accuracy = float(np.mean(model.predict(x).argmax(axis=1) == t.argmax(axis=1)))
        run.row(f"{arms} arms: loss after {epochs} epochs", reported, float(losses[arms][-1]), None, clock.seconds)
        run.row(f"{arms} arms: accuracy", None, accuracy)
        seeds = 3 if run.quick else 20
        others = [train(run, x, t, epochs, np.random.default_rng(seed))[1][-1] for seed in range(seeds)]
        run.row(f"{arms} arms: least, median, largest loss of {seeds} seeds", None, np.quantile(others, (0, 0.5, 1)))
        run.picture(f"regions_{arms}", plots.decision_regions, model.predict, x, t)
    run.picture("losses", draw, losses)


if __name__ == "__main__":
    start(main)
