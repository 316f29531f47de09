"""Backpropagation and central differences give the same gradient but for rounding: so the former is right."""

import numpy as np

from fastnn.examples import Run, start, subplots
from fastnn.gradient import gradient_check
from fastnn.models import TwoLayerNet

DOCUMENT = {"W1": 2.37797639143e-13, "b1": 7.43019632366e-13, "W2": 9.77654477536e-13, "b2": 1.2012613404e-10}


def draw(differences):
    figure, ax = subplots(size=(4.6, 3.0))
    places = np.arange(len(differences))
    ax.bar(places - 0.2, [DOCUMENT[key] for key in differences], 0.4, label="the document", color="#999999")
    ax.bar(places + 0.2, list(differences.values()), 0.4, label="fastnn", color="#0072B2")
    ax.set(yscale="log", xticks=places, xticklabels=list(differences), ylabel="mean absolute difference")
    ax.legend()
    return figure


def main(run: Run) -> None:
    (x_train, t_train), _ = run.mnist(normalize=True, one_hot_label=True)
    network = TwoLayerNet(input_size=784, hidden_size=50, output_size=10, dtype="float64", rng=0)
    x_batch = x_train[:3].astype(np.float64)
    t_batch = t_train[:3]
    with run.clock() as clock:
        differences = gradient_check(network, x_batch, t_batch)
    for key, diff in differences.items():
        run.row(f"{key}: mean difference", DOCUMENT[key], diff, digits=3)
    run.row("39,760 numbers checked by gradient_check", None, "done", None, clock.seconds)
    if not run.quick:
        with run.clock() as clock:
            network.numerical_gradient(x_batch, t_batch)
        run.row("network.numerical_gradient alone, as in the book", None, "done", None, clock.seconds)
    run.picture("differences", draw, differences)


if __name__ == "__main__":
    start(main)
