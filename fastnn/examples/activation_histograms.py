"""1,000 inputs through five layers: outputs stay spread out only where the weights' deviation suits the activation."""

import numpy as np

from fastnn.examples import Run, start, subplots
from fastnn.functions import relu, sigmoid, tanh

node_num = 100
hidden_layer_size = 5
SETTINGS = {  # what the weights' deviation is
    "sigmoid, std 1": (sigmoid, 1.0),
    "sigmoid, std 0.01": (sigmoid, 0.01),
    "sigmoid, Xavier": (sigmoid, np.sqrt(1.0 / node_num)),
    "tanh, Xavier": (tanh, np.sqrt(1.0 / node_num)),
    "ReLU, std 0.01": (relu, 0.01),
    "ReLU, Xavier": (relu, np.sqrt(1.0 / node_num)),
    "ReLU, He": (relu, np.sqrt(2.0 / node_num)),
}


def forward(x, activation, std, rng):
    activations = []
    for _ in range(hidden_layer_size):
        w = rng.standard_normal((node_num, node_num)) * std
        x = activation(np.dot(x, w))
        activations.append(x)
    return activations


def draw(results):
    figure, axes = subplots(len(results), hidden_layer_size, size=(1.9, 1.25), sharex="row")
    for row, (name, activations) in zip(axes, results.items(), strict=True):
        low = -1 if name.startswith("tanh") else 0
        for i, (ax, a) in enumerate(zip(row, activations, strict=True), 1):
            ax.hist(a.flatten(), 30, range=(low, 1))
            ax.set_yticks([])
            if name.startswith("ReLU"):
                ax.set_ylim(0, 7000)  # the column of zeros is cut: it is 50,000 high
            if name == next(iter(results)):
                ax.set_title(f"layer {i}")
        row[0].set_ylabel(name.replace(", ", "\n"))
    figure.supxlabel("activation (of ReLU, those above 1 and the top of the column at 0 are cut off)", fontsize=9)
    return figure


def main(run: Run) -> None:
    x = np.random.default_rng(0).standard_normal((1000, node_num))
    results = {}
    for name, (activation, std) in SETTINGS.items():
        results[name] = forward(x, activation, std, np.random.default_rng(1))
        deviations = [float(a.std()) for a in results[name]]
        run.row(f"{name}: deviation of layers 1 to 5", None, deviations, digits=2)
    run.picture("histograms", draw, results)


if __name__ == "__main__":
    start(main)
