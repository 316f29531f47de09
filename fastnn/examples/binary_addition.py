"""An RNN adds binary numbers bit by bit, by BPTT: sigmoid learns it, ReLU explodes or stalls, tanh does not settle.

The document changes the derivative at the output along with the hidden layer's activation, but not the hidden layer's;
so each activation is trained twice, with the document's derivatives and with each where it belongs.
"""

import numpy as np

from fastnn.examples import Run, start, subplots
from fastnn.functions import relu, relu_grad, sigmoid, sigmoid_grad
from fastnn.time_layers import TimeRNN

binary_dim, largest_number = 8, 256
binary = np.unpackbits(np.arange(largest_number, dtype=np.uint8)[:, None], axis=1)[:, ::-1]  # lowest bit first
hidden_layer_size, learning_rate = 16, 0.2
FUNCTIONS = {  # f, f', what the document says of it
    "sigmoid": (sigmoid, sigmoid_grad, "learns"),
    "relu": (relu, relu_grad, "explodes, does not learn"),
    "tanh": (np.tanh, lambda x: np.cosh(x) ** -2, "learns, does not settle"),
}


def sums(rng, n):
    """X (n, bits, 2), the bits of two numbers, and d (n, bits), those of their sum."""
    a, b = rng.integers(largest_number // 2, size=(2, n))
    return np.stack([binary[a], binary[b]], axis=2).astype(np.float64), binary[a + b]


def step(params, X, d, f, d_hidden, d_out):
    """The document's loops over the time for one sum -> loss, gradients."""
    W_in, W, W_out = params
    u, z = np.zeros((binary_dim, len(W))), np.zeros((binary_dim + 1, len(W)))
    for t in range(binary_dim):
        u[t] = X[t] @ W_in + z[t] @ W
        z[t + 1] = f(u[t])
    y = sigmoid(z[1:] @ W_out)[:, 0]
    slopes, after = d_hidden(u), 0 * W_out[:, 0]
    delta_out, delta = (y - d) * d_out(y), np.zeros_like(u)
    for t in reversed(range(binary_dim)):
        after = delta[t] = (W @ after + W_out[:, 0] * delta_out[t]) * slopes[t]
    return 0.5 * np.sum((y - d) ** 2), (X.T @ delta, z[:-1].T @ delta, z[1:].T @ delta_out[:, None])


def train(run, what, iters_num, functions, said, curves):
    rng, H = np.random.default_rng(0), hidden_layer_size
    scales = {(2, H): 1, (H, H): np.sqrt(1 / 2), (H, 1): np.sqrt(1 / H)}  # of W_in, W, W_out, as in the document
    params = [scale * rng.standard_normal(shape) for shape, scale in scales.items()]
    losses, largest = np.empty(iters_num), 0.0
    with run.clock() as clock, np.errstate(all="ignore"):
        for i in run.progress(iters_num, what):
            X, d = sums(rng, 1)
            losses[i], grads = step(params, X[0], d[0], *functions)
            largest = max(largest, *(float(np.abs(g).max()) for g in grads))
            for p, g in zip(params, grads, strict=True):
                p -= learning_rate * g
    curves[what] = losses
    run.row(f"{what}: share of 1,000 sums right", said, right(params, what.split(",")[0]), None, clock.seconds)
    run.row(f"{what}: loss at the end, largest gradient", None, [float(losses[-100:].mean()), largest])


def right(params, activation):
    """Share of 1,000 fresh sums whose bits are all right, by fastnn's layer."""
    X, d = sums(np.random.default_rng(1), 1000)
    y = sigmoid(TimeRNN(*params[:2], activation=activation).forward(X) @ params[2])[:, :, 0]
    return float(np.mean((np.round(y) == d).all(axis=1)))


def draw(curves):
    figure, axes = subplots(1, 2)
    for i, (what, losses) in enumerate(curves.items()):
        name, whose = what.split(", ")
        means = losses.reshape(-1, 100).mean(axis=1)
        axes[i // 3].plot(np.arange(0, len(losses), 100), means, ("-", "--", "-.")[i % 3], label=name)
        axes[i // 3].set(title=whose, xlabel="iteration", ylabel="mean loss of 100 sums", ylim=(0, 2.5))
        axes[i // 3].legend()
    return figure


def main(run: Run) -> None:
    iters_num = 500 if run.quick else 10000
    curves: dict[str, np.ndarray] = {}
    for name, (f, df, said) in FUNCTIONS.items():
        train(run, f"{name}, the document's derivatives", iters_num, (f, sigmoid_grad, df), said, curves)
    for name, (f, df, _) in FUNCTIONS.items():
        train(run, f"{name}, right derivatives", iters_num, (f, df, lambda y: y * (1 - y)), None, curves)
    run.picture("losses", draw, curves)


if __name__ == "__main__":
    start(main)
