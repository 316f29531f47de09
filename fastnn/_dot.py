"""Pictures of networks and of computational graphs in Graphviz's language. `fastnn.plots` has the names."""

import copy
import html
import itertools
import math
import os
import pathlib
import shutil
import subprocess
from typing import Any

import numpy as np

from .described import count

Path = str | os.PathLike[str] | None  # where a figure is written, if anywhere
_FORMATS = ".png", ".svg", ".pdf"
_FONT = "Helvetica,Arial,sans-serif"
_WIDEST = 12  # neurons of a layer, up to which `graph` draws them by itself
_MANY = 8  # neurons that are drawn of a wider layer, with dots for the others

# What a layer does -> (border, fill); Okabe and Ito's colours.
_PRODUCT, _FUNCTION, _OTHER, _LOSS = (
    ("#0072B2", "#D9EAF5"), ("#B37400", "#FBEFD5"), ("#666666", "#F2F2F2"), ("#00785A", "#D5EFE7"),
)  # fmt: skip
_SIGNS = {"MulLayer": "&times;", "AddLayer": "+", "Add": "+", "MatMul": "MatMul"}


class Missing(ImportError):
    """A figure needs a package or a program that is not installed; the message says which, and how to get it."""


class Graph:
    """A picture in Graphviz's language, `source`; `save(path)` writes it as .dot, or drawn as .png, .svg or .pdf."""

    def __init__(self, source: str) -> None:
        self.source = source

    def __repr__(self):
        return f"Graph({self.source.count(chr(10))} lines; .source, .save(path))"

    def save(self, path: "str | os.PathLike[str]") -> pathlib.Path:
        """Write `path` -> the path. .dot (or .gv) needs nothing; .png, .svg and .pdf need Graphviz.

        Raises ValueError for another suffix; `Missing`, an ImportError, where the program `dot` is not installed.
        """
        path = pathlib.Path(path)
        suffix = path.suffix.lower()
        if suffix in (".dot", ".gv"):
            path.write_text(self.source, encoding="utf-8")
        elif suffix in _FORMATS:
            path.write_bytes(self._drawn(suffix[1:]))
        else:
            raise ValueError(f"Graph.save: {path}: the suffix must be .dot, .gv, {', '.join(_FORMATS)}")
        return path

    def _drawn(self, form):
        program = shutil.which("dot")
        if program is None:
            raise Missing(
                "drawing a graph needs Graphviz, whose program `dot` is not installed: apt install graphviz, brew "
                "install graphviz or https://graphviz.org; .dot files can be written without it"
            )
        options = ["-Gdpi=110"] if form == "png" else []
        run = subprocess.run(
            [program, f"-T{form}", *options], input=self.source.encode(), capture_output=True, check=False, timeout=120
        )
        if run.returncode:
            raise RuntimeError(
                f"Graph.save: dot ended with {run.returncode}: {run.stderr.decode(errors='replace').strip()}"
            )
        return run.stdout

    def _repr_svg_(self):
        """For notebooks; the text where `dot` is not installed."""
        return self._drawn("svg").decode() if shutil.which("dot") else None


# ---- networks --------------------------------------------------------------------------------------------------------


def graph(
    net: Any, *, path: Path = None, style: str = "auto", input_shape: tuple[int, ...] | None = None,
    title: str | None = None,
) -> Graph:  # fmt: skip
    """A picture of a network -> `Graph`; `path` saves it (.dot, or .png, .svg, .pdf with Graphviz).

    net: a `Network`, a model of `fastnn.models`, a list of layers, or the widths of layers, [2, 3, 2, 2]. style:
    "neurons" draws circles and every connection, for chains of fully connected layers (wide ones with dots for most of
    their neurons); "layers" a box a layer, with its sizes, parameters and the shape that it gives; "auto" neurons where
    no layer has more than 12. input_shape: of one sample; by default what the network saw last, or what its first
    layer says. Raises TypeError for what has no layers, ValueError for neurons of other layers and another style.
    """
    if style not in ("auto", "neurons", "layers"):
        raise ValueError(f"graph: style is {style!r}; it must be auto, neurons or layers")
    widths = _given_widths(net)
    layers, loss, seen = ([], None, None) if widths is not None else _parts(net)
    columns = [(n, "") for n in widths] if widths is not None else _columns(layers)
    if style == "auto":
        style = "neurons" if columns is not None and max(n for n, _ in columns) <= _WIDEST else "layers"
    if style == "neurons" and columns is None:
        names = ", ".join(type(layer).__name__ for layer in layers)
        raise ValueError(f"graph: neurons can be drawn of fully connected layers and activations, not of {names}")
    if widths is not None and style == "layers":
        raise ValueError("graph: net is widths, of which neurons can be drawn; layers need a network")
    source = _neurons(columns, title) if style == "neurons" else _boxes(layers, loss, input_shape, seen, title)
    made = Graph(source)
    if path is not None:
        made.save(path)
    return made


def _given_widths(net):
    """Widths that were given in the place of a network; None for anything else."""
    if not isinstance(net, list | tuple) or not all(isinstance(n, int | np.integer) for n in net) or not net:
        return None
    if len(net) < 2 or min(net) < 1:
        raise ValueError(f"graph: net is {list(net)}; widths must be at least two numbers of at least 1")
    return [int(n) for n in net]


def _parts(net):
    """(layers, loss or None, the shape of a sample or None) of anything that has layers."""
    loss = getattr(net, "loss_layer", getattr(net, "last_layer", None))
    layers = net if isinstance(net, list | tuple) else getattr(net, "layers", None)
    layers = list(layers.values()) if isinstance(layers, dict) else layers
    if not isinstance(layers, list | tuple) or not layers or not all(hasattr(layer, "forward") for layer in layers):
        raise TypeError(f"graph: net is a {type(net).__name__}; it must be a Network, a model, or a list of layers")
    return list(layers), loss, getattr(net, "input_shape", None)


def _matrix(layer):
    """W of a fully connected layer, else None."""
    from . import layers, time_layers

    kinds = layers.Affine, layers.MatMul, time_layers.TimeAffine
    return layer.W if isinstance(layer, kinds) else None


def _element_wise(layer):
    from . import layers, time_layers

    kinds = (
        layers.Relu, layers.Activation, layers.Softmax, layers.Dropout, layers.BatchNormalization, layers.LayerNorm,
        layers.Flatten, time_layers.TimeDropout,
    )  # fmt: skip
    return isinstance(layer, kinds)


def _columns(layers):
    """[(neurons, what follows them), ...] of a chain of fully connected layers; None for other networks."""
    columns: list = []
    for layer in layers:
        W = _matrix(layer)
        if W is not None:
            columns = columns or [(len(W), "")]
            columns.append((W.shape[1], ""))
        elif _element_wise(layer) and columns:
            n, names = columns[-1]
            columns[-1] = n, f"{names}\n{type(layer).__name__}"
        elif not _element_wise(layer):
            return None
    return columns or None


def _neurons(columns, title):
    """Circles in columns, as the books draw them: inputs blue, hidden ones red, outputs green.

    Every circle has its place, because `dot` would not keep their order.
    """
    lines = [
        "digraph network {", "  layout=neato;", "  splines=line;", f'  graph [fontname="{_FONT}", fontsize=12];',
        f'  node [shape=circle, fixedsize=true, width=0.42, fontname="{_FONT}", fontsize=11, label=""];',
        '  edge [color="#00000060", arrowsize=0.5];',
    ]  # fmt: skip
    if title is not None:
        lines.append(f"  label={_quoted(title)}; labelloc=t;")
    drawn: list = []
    tallest = max(min(n, _MANY + 1) if n > _WIDEST else n for n, _ in columns)
    for k, (n, functions) in enumerate(columns):
        last = k == len(columns) - 1
        kind, letter, color = ("input", "x", "#0072B2") if k == 0 else (f"layer {k + 1}", "", "#C44E00")
        kind, letter, color = ("output", "y", "#00785A") if last and k else (kind, letter, color)
        shown = [*range(n)] if n <= _WIDEST else [*range(_MANY // 2), None, *range(n - _MANY // 2, n)]
        names, across = [], 1.8 * k
        head = kind + (f" ({n:,})" if None in shown else "") + functions
        top = 0.26 * tallest + 0.1 * head.count("\n") + 0.15
        lines.append(
            f'  h{k} [shape=plaintext, fixedsize=false, label={_quoted(head)}, pos="{across:.2f},{top:.2f}!"];'
        )
        for place, i in enumerate(shown):
            at = f'pos="{across:.2f},{0.52 * ((len(shown) - 1) / 2 - place):.2f}!"'
            if i is None:
                lines.append(f'  more{k} [shape=plaintext, label="\N{VERTICAL ELLIPSIS}", fontsize=18, {at}];')
                continue
            names.append(f"{letter or f'a{k + 1}_'}{i + 1}")
            label = f', label="{letter}{i + 1}"' if letter else ""
            lines.append(f'  {names[-1]} [color="{color}", penwidth=1.6{label}, {at}];')
        drawn.append(names)
    for before, after in itertools.pairwise(drawn):
        lines += [f"  {a} -> {b};" for a in before for b in after]
    return "\n".join([*lines, "}", ""])


def _boxes(layers, loss, input_shape, seen, title):
    """A box a layer, from top to bottom; branches side by side."""
    shapes = _shapes(layers, input_shape, seen)
    lines = [
        "digraph network {", "  rankdir=TB;", "  nodesep=0.3;", "  ranksep=0.28;",
        f'  graph [fontname="{_FONT}", fontsize=13];',
        f'  node [shape=box, style="rounded,filled", fontname="{_FONT}", fontsize=11, margin="0.16,0.07"];',
        '  edge [color="#444444", arrowsize=0.6];',
    ]  # fmt: skip
    total = f"{count(layers):,} parameters"
    lines.append(f"  label={_quoted(total if title is None else f'{title} ({total})')}; labelloc=t;")
    writer = _Boxes(lines)
    x = writer.node("input" if 0 not in shapes else f"input {_of_batch(shapes[0])}", "", _OTHER)
    for i, layer in enumerate(layers, 1):
        x = writer.layer(layer, x, shapes.get(i))
    if loss is not None:
        t = writer.node("t", "", _OTHER)
        end = writer.node(type(loss).__name__, "", _LOSS)
        lines.extend([f"  {x} -> {end};", f"  {t} -> {end};", f"  {{ rank=same; {x}; {t}; }}"])
    return "\n".join([*lines, "}", ""])


class _Boxes:
    """Writes nodes and edges."""

    def __init__(self, lines):
        self.lines = lines
        self.count = 0

    def node(self, name, details, colors):
        self.count += 1
        border, fill = colors
        rows = [f"<B>{html.escape(name)}</B>", *(html.escape(line) for line in details.splitlines())]
        text = "<BR/>".join([rows[0], *(f'<FONT POINT-SIZE="9">{row}</FONT>' for row in rows[1:])])
        self.lines.append(f'  n{self.count} [label=<{text}>, color="{border}", fillcolor="{fill}"];')
        return f"n{self.count}"

    def layer(self, layer, x, shape):
        """The layer's node behind node x -> the node that its output comes from."""
        from .layers.branch import Branches

        if isinstance(layer, Branches):
            ends = []
            for branch in layer.branches:
                end = x
                for each in branch:
                    end = self.layer(each, end, None)
                ends.append(end)
        else:
            ends = [x]
        made = self.node(type(layer).__name__, _details(layer, shape), _colors(layer))
        self.lines += [f"  {end} -> {made};" for end in ends]
        return made


def _details(layer, shape):
    from .layers.branch import Branches

    text = repr(layer)
    inside = text[text.find("(") + 1 : -1] if text.endswith(")") and not isinstance(layer, Branches) else ""
    n = 0 if isinstance(layer, Branches) else count([layer])
    lines = [inside, f"{n:,} parameter{'s' * (n != 1)}" if n else "", _of_batch(shape)]
    return "\n".join(line for line in lines if line)


def _colors(layer):
    from . import layers

    if getattr(layer, "params", None) and not isinstance(layer, layers.Add | layers.Concatenate):
        return _PRODUCT
    return _FUNCTION if isinstance(layer, layers.Relu | layers.Activation | layers.Softmax) else _OTHER


def _shapes(layers, asked, seen):
    """{number of a layer (0: the input): the shape that it gives for one sample}; empty where that is not known.

    asked: the shape of a sample that the caller wants, seen: the one that the network had last.
    """
    from .network import Network

    input_shape = seen if asked is None else asked
    if input_shape is None:
        first = next((layer for layer in layers if getattr(layer, "params", None)), None)
        W = None if first is None else _matrix(first)
        if W is None or not all(_element_wise(layer) for layer in layers[: layers.index(first)]):
            return {}
        input_shape = (len(W),)
    try:  # of copies: planning may begin running statistics
        net = Network(copy.deepcopy(layers))
        dtype = np.dtype(np.int64) if net.input_dtype is None else net.dtype
        lowered = net._plan("predict", False, tuple(input_shape), dtype, 1)
    except (ValueError, TypeError) as error:
        if asked is not None:
            raise ValueError(f"graph: input_shape is {asked!r}: {error}") from error
        return {}
    return {0: tuple(input_shape)} | dict(lowered.program.shapes)


def _of_batch(shape):
    if shape is None:
        return ""
    return "(" + ", ".join(["N", *map(str, shape)]) + ("" if shape else ",") + ")"


def _quoted(text):
    return '"' + str(text).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


# ---- computational graphs --------------------------------------------------------------------------------------------


def computational_graph(nodes: Any, values: Any = None, *, path: Path = None, title: str | None = None) -> Graph:
    """A computational graph: numbers of the forward pass above the edges, gradients below -> `Graph`. Book 1 ch. 5.

    nodes: [(operation, inputs, output), ...]: operation a layer (MulLayer is drawn as x, AddLayer as +) or a text,
    inputs the name or names of what goes in, output the name of what comes out. values: {name: number, ...}, where the
    gradient of `price` is `dprice`; `vars()` gives it the variables of the place where it is called. Names without a
    value get none. Raises ValueError where two operations have the same output, or one is its own input.

        apple_price = mul_apple.forward(apple, apples)
        price = mul_tax.forward(apple_price, tax)
        dapple_price, dtax = mul_tax.backward(1)
        dapple, dapples = mul_apple.backward(dapple_price)
        plots.computational_graph(
            [(mul_apple, ("apple", "apples"), "apple_price"), (mul_tax, ("apple_price", "tax"), "price")], vars()
        )
    """
    values = {} if values is None else values
    nodes = [
        (operation, [inputs] if isinstance(inputs, str) else list(inputs), output)
        for operation, inputs, output in nodes
    ]
    if not nodes:
        raise ValueError("computational_graph: there are no nodes")
    makers: dict = {}
    for i, (_, inputs, output) in enumerate(nodes):
        if output in makers or output in inputs:
            raise ValueError(
                f"computational_graph: {output!r} is the output of node {i + 1}, and of another, or its input"
            )
        makers[output] = i
    lines = [
        "digraph computation {", "  rankdir=LR;", "  nodesep=0.25;", "  ranksep=0.15;",
        f'  graph [fontname="{_FONT}", fontsize=13];', f'  node [fontname="{_FONT}", fontsize=12];',
        '  edge [color="#444444", arrowsize=0.6];',
    ]  # fmt: skip
    if title is not None:
        lines.append(f"  label={_quoted(title)}; labelloc=t;")
    sources = dict.fromkeys(name for _, inputs, _ in nodes for name in inputs if name not in makers)
    for k, name in enumerate(sources):
        lines.append(f"  s{k} [shape=plaintext, label={_quoted(name)}];")
    starts = {name: f"s{k}" for k, name in enumerate(sources)} | {name: f"o{i}" for name, i in makers.items()}
    for i, (operation, _, _) in enumerate(nodes):
        sign = (
            operation if isinstance(operation, str) else _SIGNS.get(type(operation).__name__, type(operation).__name__)
        )
        text = sign if sign.startswith("&") else html.escape(sign)
        shape = "circle, fixedsize=true, width=0.5" if len(html.unescape(text)) == 1 else "box, style=rounded"
        size = 18 if len(html.unescape(text)) == 1 else 12
        lines.append(f'  o{i} [shape={shape}, color="#0072B2", penwidth=1.6, fontsize={size}, label=<{text}>];')
    used = set()
    edges = 0
    for i, (_, inputs, _) in enumerate(nodes):
        for name in inputs:
            used.add(name)
            edges += 1
            lines += _edge(starts[name], f"o{i}", f"e{edges}", name, values, name in makers)
    for name, i in makers.items():
        if name not in used:
            edges += 1
            lines.append(f"  end{i} [shape=plaintext, label={_quoted(name)}];")
            lines += _edge(f"o{i}", f"end{i}", f"e{edges}", name, values, False)
    made = Graph("\n".join([*lines, "}", ""]))
    if path is not None:
        made.save(path)
    return made


def _edge(start, end, middle, name, values, named):
    """An edge through a label: the value on it, the gradient under it. named: the name belongs there too."""
    above, below = _number(values, name), _number(values, f"d{name}")
    above = f"{html.escape(name)} = {above}" if named and above else html.escape(name) if named else above
    if not above and not below:
        return [f"  {start} -> {end};"]
    label = (
        '<TABLE BORDER="0" CELLBORDER="0" CELLSPACING="0" CELLPADDING="2">'
        f"<TR><TD>{above or ' '}</TD></TR><HR/>"
        f'<TR><TD><FONT COLOR="#C44E00">{below or " "}</FONT></TD></TR></TABLE>'
    )
    return [
        f"  {middle} [shape=plain, fontsize=10, label=<{label}>];",
        f"  {start} -> {middle} [arrowhead=none, headport=w];",
        f"  {middle} -> {end} [tailport=e];",
    ]


def _number(values, name):
    """The value of a name as text; nothing for one that has none."""
    value = values.get(name)
    if value is None or isinstance(value, str | dict | type):
        return ""
    try:
        a = np.asarray(value)
    except (TypeError, ValueError):
        return ""
    if a.dtype.kind not in "biufc":
        return ""
    if a.size != 1:
        return f"{a.shape}".replace(",)", ")")
    number = a.reshape(-1)[0].item()
    if isinstance(number, float) and math.isfinite(number):
        return f"{number:.6g}"
    return str(number)
