"""The table of a network's layers."""

import contextlib
import math
import time
from typing import Any, NamedTuple

import numpy as np

from ..layers import SigmoidWithLoss
from .program import Buffer


class Row(NamedTuple):
    """One layer. flops: of a sample's forward pass; forward and backward: seconds of a batch; how: what runs it."""

    number: int
    name: str
    shape: Any
    params: int
    flops: int
    forward: float
    backward: float
    how: str


class Summary:
    """`rows`, a `Row` a layer and one for the loss; as text, a table."""

    def __init__(self, rows, title, note):
        self.rows = rows
        self.title = title
        self.note = note

    def __str__(self):
        head = "", "layer", "output", "parameters", "FLOPs", "forward", "backward", ""
        lines = [_cells(row) for row in self.rows]
        total = "", "total", "", *(f"{sum(getattr(r, name) for r in self.rows):,}" for name in ("params", "flops"))
        seconds = (_time(sum(getattr(r, name) for r in self.rows)) for name in ("forward", "backward"))
        lines.append((*total, *seconds, ""))
        widths = [max(len(line[i]) for line in [head, *lines]) for i in range(len(head))]
        texts = [_line(line, widths) for line in [head, *lines]]
        texts.insert(1, "-" * len(texts[0]))
        texts.insert(-1, texts[1])
        return "\n".join([self.title, *texts, self.note])

    __repr__ = __str__


def summary(net, x, batch_size, repeats):
    """See `Network.summary`."""
    shape = net.input_shape if x is None else net._input(x).shape[1:]
    if shape is None:
        rows = [
            Row(i, type(layer).__name__, None, _count(layer), 0, 0.0, 0.0, "") for i, layer in enumerate(net.layers, 1)
        ]
        return Summary(rows, "Network", "shapes and times follow once the network has seen an input")
    if x is None:
        x = np.random.default_rng(0).random((batch_size, *shape)).astype(net.dtype)
        if net.input_dtype is None:
            x = (x * len(net.layers[0].params[0])).astype(np.int64)
    x = net._input(x)
    with _as_it_was(net):
        lowered, rows = _measured(net, x, repeats)
    note = f"a training pass of {len(x)} samples, run as {_how(lowered.plan)}, times of single operations"
    all_layers = [*net.layers, net.loss_layer]
    for number, reason in sorted(lowered.program.reasons.items()):
        note += f"\nlayer {number} ({type(all_layers[number - 1]).__name__}) runs in Python: {reason}"
    memory = lowered.program.arena_bytes / 2**20
    return Summary(rows, f"Network, {net.dtype}, samples {shape}, {memory:.1f} MiB between the layers", note)


@contextlib.contextmanager
def _as_it_was(net):
    """Recurrent states begin as zeros; these, statistics and random numbers are afterwards what they were."""
    leaves = net.leaves()
    states = [(layer, name, getattr(layer, name)) for layer in leaves for name in ("h", "c") if hasattr(layer, name)]
    running = [(a, a.copy()) for layer in leaves for a in _statistics(layer)]
    generators = {id(g): g for layer in leaves if isinstance(g := getattr(layer, "rng", None), np.random.Generator)}
    drawn = [(g.bit_generator, g.bit_generator.state) for g in generators.values()]
    net.reset_state()
    try:
        yield
    finally:
        for layer, name, value in states:
            setattr(layer, name, value)
        for a, before in running:
            a[...] = before
        for bits, state in drawn:
            bits.state = state


def _measured(net, x, repeats):
    """(the pass that was measured, rows)"""
    shape = x.shape[1:]
    lowered = net._plan("predict", True, shape, x.dtype, len(x))
    t = None
    if net.loss_layer is not None:
        try:
            t = _targets(net, lowered.y.shape, len(x))
            lowered = net._plan("gradient", True, shape, x.dtype, len(x))
            lowered.targets(t, len(x))
        except ValueError:  # a loss in Python whose targets are not known
            lowered = net._plan("predict", True, shape, x.dtype, len(x))
    return lowered, _rows(net, lowered, net._inputs(lowered, x, t), len(x), repeats)


def _how(plan):
    if plan.name == "native":
        return "one native call"
    if plan.name == "parts":
        return f"{plan.native_calls} native calls with Python between them"
    if plan.backend != "native":
        return f"operations one by one (the backend is {plan.backend})"
    return "operations one by one"


def _rows(net, lowered, inputs, n, repeats):
    program, plan = lowered.program, lowered.plan
    count = len(program.instructions)
    best = np.full(count, np.inf)
    for _ in range(max(repeats, 1)):
        for i in range(count):
            began = time.perf_counter()
            plan.run(n, inputs, i, i + 1)
            best[i] = min(best[i], time.perf_counter() - began)
    layers = [*net.layers, net.loss_layer] if lowered.loss is not None else net.layers
    rows = []
    for number, layer in enumerate(layers, 1):
        mine = [i for i in range(count) if program.layer_of[i] == number]
        forward = sum(best[i] for i in mine if i < lowered.split)
        backward = sum(best[i] for i in mine if i >= lowered.split)
        flops = sum(_flops(program, *program.instructions[i]) for i in mine if i < lowered.split)
        how = "Python" if number in program.reasons else "" if mine else "in the layer before"
        shape = program.shapes.get(number)
        rows.append(Row(number, type(layer).__name__, shape, _count(layer), flops, forward, backward, how))
    return rows


def _statistics(layer):
    arrays = (getattr(layer, name, None) for name in ("running_mean", "running_var"))
    return [a for a in arrays if isinstance(a, np.ndarray)]


def _targets(net, shape, n):
    """Targets that the loss takes: zeros."""
    if net.classifies and not isinstance(net.loss_layer, SigmoidWithLoss):
        return np.zeros((n, *shape[:-1]), np.int64)
    return np.zeros((n, *shape), net.dtype)


def _count(layer):
    return sum(np.size(p) for p in getattr(layer, "params", None) or [])


def _flops(program, op, args):
    """Of one sample: two for each product that is added up; one an element for the rest."""
    if type(op) is not str:
        return 0
    shapes = [program.records[a].shape if isinstance(a, Buffer) else () for a in args]
    rows = [program.records[a].rows if isinstance(a, Buffer) else 0 for a in args]
    if op in ("affine_forward", "affine_softmax_cross_entropy"):
        return 2 * rows[0] * math.prod(shapes[1])
    if op in ("conv2d_forward", "conv_transpose2d_forward"):
        W, out = shapes[1], shapes[-1] if op == "conv2d_forward" else shapes[0]
        return 2 * math.prod(W[1:]) * math.prod(out)
    if op in ("lstm_forward", "gru_forward", "rnn_forward"):
        return 2 * shapes[0][0] * (math.prod(shapes[1]) + math.prod(shapes[2]))
    if op == "scaled_dot_product_attention_forward":
        (T, heads, D), (S, *_), (*_, M) = shapes[:3]
        return 2 * T * S * heads * (D + M)
    if op in ("embedding_forward", "moving_average"):
        return 0
    return max((r * math.prod(s) for r, s in zip(rows, shapes, strict=True)), default=0)


def _cells(row):
    shape = "" if row.shape is None else "(" + ", ".join(["N", *map(str, row.shape)]) + ("" if row.shape else ",") + ")"
    numbers = f"{row.params:,}", f"{row.flops:,}"
    return str(row.number), row.name, shape, *numbers, _time(row.forward), _time(row.backward), row.how


def _time(seconds):
    if not math.isfinite(seconds) or seconds <= 0:
        return "-"
    return f"{seconds * 1e6:,.0f} us" if seconds < 0.01 else f"{seconds * 1e3:,.0f} ms"


def _line(cells, widths):
    left = (0, 1, 2, 7)
    return "  ".join(
        c.ljust(w) if i in left else c.rjust(w) for i, (c, w) in enumerate(zip(cells, widths, strict=True))
    )
