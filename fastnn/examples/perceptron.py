"""AND, NAND and OR are one perceptron each, with weights chosen by hand; XOR needs two layers."""

import numpy as np

from fastnn.examples import Run, start, subplots

INPUTS = np.array([[0, 0], [1, 0], [0, 1], [1, 1]])
GATES = {"AND": ([0.5, 0.5], -0.7), "NAND": ([-0.5, -0.5], 0.7), "OR": ([0.5, 0.5], -0.2)}  # w, b
ANSWERS = {"AND": [0, 0, 0, 1], "NAND": [1, 1, 1, 0], "OR": [0, 1, 1, 1], "XOR": [0, 1, 1, 0]}


def gate(name, x1, x2):
    w, b = GATES[name]
    return int(np.sum(np.array(w) * np.array([x1, x2])) + b > 0)


def XOR(x1, x2):
    s1 = gate("NAND", x1, x2)
    s2 = gate("OR", x1, x2)
    return gate("AND", s1, s2)


def draw(values):
    figure, axes = subplots(1, len(values), size=(2.6, 2.8))
    for ax, (name, answers) in zip(axes, values.items(), strict=True):
        ax.scatter(*INPUTS.T, c=answers, cmap="coolwarm", vmin=0, vmax=1, s=120, edgecolors="black")
        if name in GATES:  # the line on which w1 x1 + w2 x2 + b = 0
            (w1, w2), b = GATES[name]
            x1 = np.array([-0.5, 1.5])
            ax.plot(x1, -(w1 * x1 + b) / w2, "k--")
        ax.set(title=name, xlim=(-0.5, 1.5), ylim=(-0.5, 1.5), xlabel="x1", xticks=(0, 1), yticks=(0, 1))
    axes[0].set_ylabel("x2")
    figure.suptitle("red: 1, blue: 0; no single line parts XOR")
    return figure


def main(run: Run) -> None:
    values = {name: [gate(name, x1, x2) for x1, x2 in INPUTS] for name in GATES}
    values["XOR"] = [XOR(x1, x2) for x1, x2 in INPUTS]
    for name, answers in values.items():
        run.row(f"{name} of (0,0) (1,0) (0,1) (1,1)", ANSWERS[name], answers)
    run.picture("gates", draw, values)


if __name__ == "__main__":
    start(main)
