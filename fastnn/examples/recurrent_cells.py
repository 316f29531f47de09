"""The report's short functions for LSTM, GRU, a net of both directions and an encoder beside the layers: equal."""

import numpy as np

from fastnn.examples import Run, start
from fastnn.functions import sigmoid
from fastnn.time_layers import TimeAffine, TimeBiLSTM, TimeEmbedding, TimeGRU, TimeLSTM, TimeRNN

N, T, D, H, V = 20, 35, 100, 100, 50


def lstm(x, prev_h, prev_c, W, U, b, peephole=None):
    """The cell's gates in one product; with a peephole they see the cell, too."""
    f, a, i, o = np.hsplit(x @ W + prev_h @ U + b, 4)
    p_f, p_i, p_o = (0, 0, 0) if peephole is None else np.split(peephole, 3)
    c = sigmoid(i + p_i * prev_c) * np.tanh(a) + sigmoid(f + p_f * prev_c) * prev_c
    h = sigmoid(o + p_o * c) * np.tanh(c)
    return c, h


def gru(x, h, W_z, U_z, W_r, U_r, W, U):
    r = sigmoid(x @ W_r + h @ U_r)
    z = sigmoid(x @ W_z + h @ U_z)
    h_bar = np.tanh(x @ W + (r * h) @ U)
    return (1 - z) * h + z * h_bar


def over(step, xs):
    """States of all steps; step(x, h, c) -> (c, h)."""
    h, c, hs = np.zeros((len(xs), H)), np.zeros((len(xs), H)), []
    for t in range(xs.shape[1]):
        c, h = step(xs[:, t], h, c)
        hs.append(h)
    return np.stack(hs, axis=1)


def over_lstm(xs, *params):
    return over(lambda x, h, c: lstm(x, h, c, *params), xs)


def over_gru(xs, W, U):
    gates = [part for pair in zip(np.hsplit(W, 3), np.hsplit(U, 3), strict=True) for part in pair]
    return over(lambda x, h, c: (c, gru(x, h, *gates)), xs)


def bidirectional(xs, forward, backward, W_out, b_out):
    """The backward half reads from the end and is turned round again; the halves stand side by side."""
    hs_f, hs_b = over_lstm(xs, *forward), over_lstm(xs[:, ::-1], *backward)[:, ::-1]
    return np.concatenate([hs_f, hs_b], axis=2) @ W_out + b_out


def encode(words, E, W, U, b):
    h = np.zeros((len(words), H))
    for t in range(words.shape[1]):
        e = words[:, t] @ E  # of one-hot words: their rows of E
        h = np.tanh(e @ W + h @ U + b)
    return h


def main(run: Run) -> None:
    rng = np.random.default_rng(0)
    xs, ids, E = rng.standard_normal((N, T, D)), rng.integers(V, size=(N, T)), rng.standard_normal((V, D))
    shapes = ((D, 4 * H), (H, 4 * H), 4 * H), ((D, 4 * H), (H, 4 * H), 4 * H), ((D, H), (H, H), H), ((2 * H, V), V)
    cell, other, plain, out = ([rng.standard_normal(shape) / 10 for shape in group] for group in shapes)
    (Wx, Wh, b), peephole = cell, rng.standard_normal(3 * H)
    gates = Wx[:, H:], Wh[:, H:]
    without, with_peephole, gated = TimeLSTM(Wx, Wh, b), TimeLSTM(Wx, Wh, b, peephole=peephole), TimeGRU(*gates)
    both, affine, embed, rnn = TimeBiLSTM(*cell, *other), TimeAffine(*out), TimeEmbedding(E), TimeRNN(*plain)
    systems = {
        "LSTM": (lambda: over_lstm(xs, *cell), lambda: without.forward(xs)),
        "LSTM with peephole": (lambda: over_lstm(xs, *cell, peephole), lambda: with_peephole.forward(xs)),
        "GRU": (lambda: over_gru(xs, *gates), lambda: gated.forward(xs)),
        "both directions": (lambda: bidirectional(xs, cell, other, *out), lambda: affine.forward(both.forward(xs))),
        "encoder": (lambda: encode(np.eye(V)[ids], E, *plain), lambda: rnn.forward(embed.forward(ids))[:, -1]),
    }
    for name, (function, layer) in systems.items():
        results, clocks = [], []  # of both
        for f in (function, layer):
            results.append(f())
            with run.clock() as clock:
                for _ in range(20):
                    f()
            clocks.append(clock.seconds / 20)
        difference = float(np.abs(results[0] - results[1]).max())
        run.row(f"{name}: largest difference of function and layer", None, difference, None, clocks[1], digits=2)
        run.row(f"{name}: times faster than the function", None, clocks[0] / clocks[1], digits=2)


if __name__ == "__main__":
    start(main)
