"""Figures: curves of training, decision regions, word vectors, attention, filters, images, and networks as graphs.

Every function but `graph` and `computational_graph` returns a matplotlib Figure, drawn without a display and without
touching pyplot's state. `path` writes it (.png, .svg or .pdf, by the suffix; .png where there is none). `ax` draws into
axes that are there, and returns their figure; a function with several panels takes as many axes. The two graphs are a
`Graph` of Graphviz's language.

`Missing` (an ImportError) is raised where matplotlib (pip install 'fastnn-kernels[plot]') or Graphviz's program `dot`
is needed and not installed.
"""

import importlib.util
import math
import os
from typing import TYPE_CHECKING, Any

import numpy as np

from . import ops
from ._dot import Graph, Missing, Path, computational_graph, graph

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "Graph",
    "Missing",
    "apply_filter",
    "attention",
    "computational_graph",
    "decision_regions",
    "embedding",
    "figure",
    "graph",
    "history",
    "images",
    "misclassified",
    "visualize_filter",
]

# Okabe and Ito's colours, which stay apart for every kind of colour vision; markers tell classes apart in grey too.
COLORS = "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#999999", "#000000"
_MARKERS = "o", "^", "s", "D", "v", "P", "X", "*"
_MOST_CLASSES = 1000  # that are drawn
_HELD_OUT = "val_", "test_"  # how the names of a history begin that are not of the training data


def figure(rows: int = 1, columns: int = 1, size: tuple[float, float] = (5.0, 3.6)) -> "tuple[Figure, Any]":
    """(a Figure, its axes): one Axes, or an array (rows, columns) of them; size: inches (width, height) of each.

    For pictures of your own, without a display: draw into the axes, then `figure.savefig(path)`.
    """
    made = _figure(size[0] * columns, size[1] * rows)
    axes = made.subplots(rows, columns, squeeze=False)
    return made, axes[0, 0] if axes.size == 1 else axes


def history(
    history: Any, *, path: Path = None, ax: Any = None, title: str | None = None, xlabel: str = "epoch"
) -> "Figure":
    """Curves of loss, accuracy and whatever else was recorded, a panel each; training solid, validation dashed.

    history: what `Network.fit` returns, {"loss": [...], "val_loss": [...], "accuracy": [...], ...}; a network, or one
    of the books' trainers, that has been trained; or several of these by name, {"SGD": ..., "Adam": ...}, which are
    compared. Names that begin with val_ or test_ are of validation or test data, those with train_ of training data.
    Raises TypeError for anything else, ValueError where there is nothing to draw.
    """
    runs = _runs(history)
    measures = list(dict.fromkeys(_measure(name)[0] for run in runs.values() for name in run))
    made, axes = _panels(ax, len(measures), "history", (5.2, 3.6))
    alone = len(runs) == 1
    for measure, each in zip(measures, axes, strict=True):
        for i, (run, curves) in enumerate(runs.items()):
            for name, values in curves.items():
                what, held_out = _measure(name)
                if what != measure:
                    continue
                color = COLORS[(held_out if alone else i) % len(COLORS)]
                kind = "test" if name.startswith("test_") else "validation" if held_out else "training"
                label = f"{kind} (last: {values[-1]:.4g})" if alone else f"{run}, {kind}" if _both(runs, what) else run
                each.plot(
                    range(1, len(values) + 1), values, label=label, color=color, linestyle="--" if held_out else "-",
                    marker=_MARKERS[(held_out if alone else i) % 8] if len(values) <= 30 else None, markersize=4,
                )  # fmt: skip
        each.set_xlabel(xlabel)
        each.set_ylabel(measure.replace("_", " "))
        each.xaxis.get_major_locator().set_params(integer=True)
        each.grid(alpha=0.3)
        each.legend(fontsize=8)
    return _titled(made, axes, title, path)


def decision_regions(
    predict: Any, x: Any, t: Any, *, path: Path = None, ax: Any = None, title: str | None = None, resolution: int = 300,
    threshold: float | None = None, xlabel: str = "x1", ylabel: str = "x2",
) -> "Figure":  # fmt: skip
    """The plane, coloured by the class that `predict` gives at each place, and the points x (N, 2) with classes t.

    predict: a function of points (M, 2), or a network, predictor or model with `predict`, that gives scores (M, V), one
    score (M, 1), or classes (M,) of an integer dtype. One score is class 1 above `threshold`: 0 for a network with a
    sigmoid's loss, else 0.5. t: labels (N,), or one-hot (N, V). resolution: places along each axis. Raises ValueError
    for x and t of other shapes, for a `predict` that gives something else, and for classes other than 0, 1, 2, ...
    """
    x, t = np.asarray(x), np.asarray(t)
    if x.ndim != 2 or x.shape[1] != 2 or not len(x) or t.shape[:1] != x.shape[:1] or t.ndim > 2:
        raise ValueError(f"decision_regions: x is {x.shape} and t {t.shape}; they must be (N, 2), and (N,) or (N, V)")
    if not np.isfinite(x).all():
        raise ValueError("decision_regions: x has numbers that are not finite")
    labels = t.argmax(axis=1) if t.ndim == 2 and t.shape[1] > 1 else _labels(t.reshape(-1), "t has labels")
    low, high = x.min(axis=0), x.max(axis=0)
    margin = 0.08 * np.where(high > low, high - low, 1)
    sides = [np.linspace(a, b, resolution) for a, b in zip(low - margin, high + margin, strict=True)]
    dtype = x.dtype if x.dtype.kind == "f" else np.float32
    grid = np.stack(np.meshgrid(*sides), axis=-1).reshape(-1, 2).astype(dtype)
    region = _labels(_classes_at(predict, grid, threshold), "predict gives classes").reshape(resolution, resolution)
    found = range(int(max(labels.max(), region.max())) + 1)
    made, (each,) = _panels(ax, 1, "decision_regions", (5.2, 4.6))
    each.imshow(
        region, origin="lower", extent=(*sides[0][[0, -1]], *sides[1][[0, -1]]), aspect="auto", vmin=-0.5,
        vmax=len(found) - 0.5, cmap=_pale(len(found)), interpolation="nearest", zorder=0,
    )  # fmt: skip
    for k in found:
        points = x[labels == k]
        if len(points):
            each.scatter(
                *points.T, s=18, color=COLORS[k % len(COLORS)], marker=_MARKERS[k % 8], edgecolors="white",
                linewidths=0.5, label=f"class {k}",
            )  # fmt: skip
    each.set_xlabel(xlabel)
    each.set_ylabel(ylabel)
    each.legend(fontsize=8, loc="best")
    return _titled(made, [each], title, path)


def embedding(
    words: Any, vectors: Any, *, path: Path = None, ax: Any = None, title: str | None = None, clusters: Any = None
) -> "Figure":
    """Word vectors in two dimensions: the first two principal components, each word beside its point.

    words: a list, or book 2's id_to_word; vectors (V, D), row i of word i; choose the words to be shown beforehand.
    clusters: a number or name for each word, which gives it its colour. Vectors (V, 1) or (V, 2) are drawn as they are.
    Raises ValueError where the lengths differ, or a vector is not finite.
    """
    vectors = np.asarray(vectors, np.float64)
    words = [words[i] for i in range(len(words))]
    if vectors.ndim != 2 or len(words) != len(vectors) or not vectors.size:
        raise ValueError(f"embedding: vectors is {vectors.shape} for {len(words)} words; it must be (V, D), one a word")
    if clusters is not None and len(clusters) != len(words):
        raise ValueError(
            f"embedding: clusters has {len(clusters)} entries for {len(words)} words; it must have as many"
        )
    if not np.isfinite(vectors).all():
        raise ValueError("embedding: vectors has numbers that are not finite")
    points, share = principal_components(vectors)
    made, (each,) = _panels(ax, 1, "embedding", (7.0, 5.6))
    groups = [0] * len(words) if clusters is None else list(clusters)
    for i, group in enumerate(dict.fromkeys(groups)):
        mine = points[[g == group for g in groups]]
        label = None if clusters is None else str(group)
        each.scatter(*mine.T, s=22, color=COLORS[i % len(COLORS)], marker=_MARKERS[i % 8], label=label, zorder=3)
    for place, name in enumerate(("first", "second")):
        of_all = "number" if share is None else f"principal component ({share[place]:.0%} of the variance)"
        (each.set_ylabel if place else each.set_xlabel)(f"{name} {of_all}")
    each.margins(0.12)
    each.grid(alpha=0.3)
    if clusters is not None:
        each.legend(fontsize=8)
    if title is not None:
        each.set_title(title)
    _place_labels(made, each, points, words)
    return _saved(made, path)


def principal_components(vectors):
    """(points (V, 2), the share of the variance of each component); vectors of at most 2 numbers stay (share None)."""
    V, D = vectors.shape
    if D <= 2:
        return np.concatenate([vectors, np.zeros((V, 2 - D))], axis=1), None
    centred = vectors - vectors.mean(axis=0)
    u, s, vt = np.linalg.svd(centred, full_matrices=False)
    u, s, vt = u[:, :2], s[:2], vt[:2]
    signs = np.sign(vt[np.arange(len(vt)), np.abs(vt).argmax(axis=1)])  # the same picture with every LAPACK
    points = np.zeros((V, 2))
    points[:, : len(s)] = u * s * np.where(signs == 0, 1, signs)
    share = np.zeros(2)
    share[: len(s)] = s**2 / max(float(np.square(centred).sum()), np.finfo(np.float64).tiny)
    return points, share


def attention(
    weights: Any, xs: Any, ys: Any, *, path: Path = None, ax: Any = None, title: str | None = None,
    xlabel: str = "read", ylabel: str = "written",
) -> "Figure":  # fmt: skip
    """Attention weights (Ty, Tx) as a map: a row for each step that is written, a column for each that is read.

    xs, ys: the Tx and Ty labels, a text (a character each) or a list. weights may also be what
    `TimeAttention.attention_weights` is for one sample: Ty arrays (1, Tx). Raises ValueError where lengths differ.
    """
    a = np.asarray(weights, np.float64)
    a = a[:, 0] if a.ndim == 3 and a.shape[1] == 1 else a
    xs, ys = list(xs), list(ys)
    if a.shape != (len(ys), len(xs)) or not a.size:
        raise ValueError(
            f"attention: weights is {a.shape} but there are {len(ys)} ys and {len(xs)} xs; it must be (Ty, Tx)"
        )
    size = (min(max(0.32 * len(xs) + 2.0, 4.0), 16.0), min(max(0.32 * len(ys) + 1.4, 3.2), 16.0))
    made, (each,) = _panels(ax, 1, "attention", size)
    shown = each.imshow(a, cmap="cividis", vmin=0, vmax=max(float(np.nanmax(a)), 1e-12), aspect="auto")
    for axis, names in ((each.xaxis, xs), (each.yaxis, ys)):
        every = max(1, math.ceil(len(names) / 48))  # not so many that they lie on each other
        axis.set_ticks(range(0, len(names), every), [str(name) for name in names[::every]], fontsize=8)
    if max(len(str(name)) for name in xs) > 2:
        each.tick_params(axis="x", rotation=60)
    each.set_xlabel(xlabel)
    each.set_ylabel(ylabel)
    made.colorbar(shown, ax=each, label="weight", shrink=0.85)
    return _titled(made, [each], title, path)


def images(
    x: Any, titles: Any = None, *, path: Path = None, columns: int = 10, title: str | None = None,
    scale: tuple[float, float] | None = None,
) -> "Figure":  # fmt: skip
    """A sheet of images x (N, C, H, W) with 1 or 3 channels, (N, H, W), or (N, D) of square ones.

    titles: a text for each; columns: images in a row. scale: (darkest, brightest), by default those of all images.
    Colours must lie in [0, 1], or [0, 255] for integers; what is outside is cut. Raises ValueError for other shapes.
    """
    x = np.asarray(x)
    if x.ndim == 2 and math.isqrt(x.shape[1]) ** 2 == x.shape[1]:
        x = x.reshape(len(x), math.isqrt(x.shape[1]), -1)
    x = x[:, None] if x.ndim == 3 else x
    if x.ndim != 4 or not x.size or x.shape[1] not in (1, 3):
        raise ValueError(f"images: x is {x.shape}; it must be (N, C, H, W) with 1 or 3 channels, or (N, D) of squares")
    if titles is not None and len(titles) != len(x):
        raise ValueError(f"images: x is {x.shape} but there are {len(titles)} titles; there must be {len(x)}")
    made, axes = _grid(len(x), columns, 0.8 if titles is None else 1.1)
    low, high = (x.min(), x.max()) if scale is None else scale
    for i, each in enumerate(axes):
        if x.shape[1] == 3:
            colours = np.moveaxis(x[i], 0, -1)
            each.imshow(colours if x.dtype.kind in "iu" else np.clip(colours, 0, 1), interpolation="nearest")
        else:
            each.imshow(x[i, 0], cmap="gray", vmin=low, vmax=high, interpolation="nearest")
        if titles is not None:
            each.set_title(str(titles[i]), fontsize=8)
    return _titled(made, [], title, path)


def visualize_filter(
    W: Any, path: Path = None, channel: int = 0, columns: int = 8, common_scale: bool = True
) -> "Figure":
    """The filters W (FN, C, FH, FW) of a convolution as grey squares, in one channel. Book 1 ch. 7.

    One scale of grey for all, with 0 in the middle; or, as in the book, one for each by itself, which also shows the
    pattern of small weights.
    """
    W = np.asarray(W)
    if W.ndim != 4 or not W.size:
        raise ValueError(f"visualize_filter: W is {W.shape}; it must be (FN, C, FH, FW) with at least one filter")
    if not -W.shape[1] <= channel < W.shape[1]:
        raise IndexError(f"visualize_filter: channel is {channel} but W is {W.shape}")
    figure, axes = _grid(len(W), columns)
    limit = float(np.abs(W[:, channel]).max()) or 1.0
    scale = {"vmin": -limit, "vmax": limit} if common_scale else {}
    for ax, kernel in zip(axes, W[:, channel], strict=True):
        shown = ax.imshow(kernel, cmap="gray", interpolation="nearest", **scale)
    if common_scale:
        figure.colorbar(shown, ax=figure.axes, shrink=0.7, label="weight")
    FN, C, FH, FW = W.shape
    of_channels = f", channel {channel % C} of {C}" if C > 1 else ""
    figure.suptitle(f"{FN} filters of {FH}x{FW}{of_channels}")
    return _saved(figure, path)


def apply_filter(image: Any, W: Any, b: Any = None, path: Path = None, columns: int = 6) -> "Figure":
    """An image (H, W) or (C, H, W), and what each filter W (FN, C, FH, FW) makes of it. Book 1 ch. 7."""
    image, W = np.asarray(image), np.asarray(W)
    if image.ndim == 2:
        image = image[None]
    if image.ndim != 3:
        raise ValueError(f"apply_filter: image is {image.shape}; it must be (H, W) or (C, H, W)")
    results = ops.conv2d_forward(image[None], W, b)[0]
    figure, axes = _grid(1 + len(results), columns)
    shown = image[0] if len(image) != 3 else np.moveaxis(image, 0, -1)
    axes[0].imshow(shown, cmap="gray", interpolation="nearest")
    axes[0].set_title("image", fontsize=8)
    for i, (ax, result) in enumerate(zip(axes[1:], results, strict=True)):
        ax.imshow(result, cmap="gray", interpolation="nearest")
        ax.set_title(f"filter {i}", fontsize=8)
    return _saved(figure, path)


def misclassified(x: Any, t: Any, predicted: Any, path: Path = None, limit: int = 20, columns: int = 5) -> "Figure":
    """The first `limit` images whose predicted class is not theirs, with both. Book 1 ch. 8.

    x (N, C, H, W), or (N, D) of square images; t labels (N,) or one-hot (N, V); predicted labels (N,) or scores (N, V).
    """
    x, t, predicted = (np.asarray(a) for a in (x, t, predicted))
    labels, classes = (a.reshape(-1) if a.shape[1:] in ((), (1,)) else a.argmax(axis=1) for a in (t, predicted))
    if x.ndim == 2 and math.isqrt(x.shape[1]) ** 2 == x.shape[1]:
        x = x.reshape(len(x), 1, math.isqrt(x.shape[1]), -1)
    if x.ndim != 4 or not len(x) == len(labels) == len(classes):
        shapes = f"x is {x.shape}, t {t.shape}, predicted {predicted.shape}"
        raise ValueError(f"misclassified: {shapes}; x must be (N, C, H, W), the others (N,) or (N, V)")
    wrong = np.flatnonzero(labels != classes)
    figure, axes = _grid(min(len(wrong), limit), columns, size=1.3)
    for ax, i in zip(axes, wrong, strict=False):
        ax.imshow(x[i, 0] if x.shape[1] != 3 else np.moveaxis(x[i], 0, -1), cmap="gray_r", interpolation="nearest")
        ax.set_title(f"no. {i}: is {labels[i]}, seen as {classes[i]}", fontsize=7)
    shown = "" if len(axes) >= len(wrong) else f"; the first {limit}"
    figure.suptitle(f"{len(wrong):,} of {len(x):,} misclassified ({len(wrong) / max(len(x), 1):.2%}){shown}")
    return _saved(figure, path)


def _runs(history):
    """{name: {name of a curve: values}} of one history or of several."""
    one = _recorded(history)
    if one is not None:
        runs = {"": one}
    elif isinstance(history, dict) and history:
        runs = {str(name): _recorded(value) for name, value in history.items()}
    else:
        runs = {"": None}
    if None in runs.values():
        raise TypeError(
            f"history: history is a {type(history).__name__}; it must be lists of numbers by name, something trained, "
            "or several of these by name"
        )
    runs = {name: {k: v for k, v in run.items() if len(v)} for name, run in runs.items() if run is not None}
    runs = {name: run for name, run in runs.items() if run}
    if not runs:
        raise ValueError("history: there is nothing to draw: no epoch has been recorded")
    return runs


def _recorded(history) -> Any:
    """{name: numbers} of one history, None where it is none."""
    if isinstance(getattr(history, "history", None), dict):  # a Network, a Fit
        history = history.history
    elif not isinstance(history, dict):
        lists = {"loss": "train_loss_list", "train_accuracy": "train_acc_list", "test_accuracy": "test_acc_list"}
        if hasattr(history, "ppl_list"):
            lists = {"perplexity": "ppl_list"}
        elif hasattr(history, "loss_list"):
            lists = {"loss": "loss_list"}
        if not all(hasattr(history, name) for name in lists.values()):
            return None
        history = {name: getattr(history, attribute) or [] for name, attribute in lists.items()}
    curves = {}
    for name, values in history.items():
        if isinstance(values, dict) or hasattr(values, "history"):
            return None
        try:
            curves[str(name)] = np.asarray(values, np.float64)
        except (TypeError, ValueError):
            return None
        if curves[str(name)].ndim != 1:
            return None
    return curves


def _measure(name):
    """(what is measured, whether on validation data)"""
    for start in _HELD_OUT:
        if name.startswith(start):
            return name.removeprefix(start), True
    return name.removeprefix("train_"), False


def _both(runs, measure):
    """Whether a measure is there both of training and of validation data."""
    return len({_measure(name) for run in runs.values() for name in run if _measure(name)[0] == measure}) == 2


def _labels(labels, what):
    """As int64; ValueError for those that are not 0, 1, 2, ..., whose points would not be drawn."""
    numbers = labels.dtype.kind in "biuf" and np.isfinite(labels).all()
    found = labels.astype(np.int64) if numbers else None
    if found is None or (found != labels).any() or found.min() < 0 or found.max() >= _MOST_CLASSES:
        raise ValueError(f"decision_regions: {what} that are not whole numbers from 0 to {_MOST_CLASSES - 1}")
    return found


def _classes_at(predict, points, threshold):
    """The class at each of the points (M, 2)."""
    if not callable(predict) or hasattr(predict, "predict"):
        if not hasattr(predict, "predict"):
            raise TypeError(
                f"decision_regions: predict is a {type(predict).__name__}; it must be a function or a network"
            )
        from .layers import SigmoidWithLoss

        loss = getattr(predict, "loss_layer", getattr(predict, "last_layer", None))
        if threshold is None and isinstance(loss, SigmoidWithLoss):
            threshold = 0.0
        predict = predict.predict
    y = np.asarray(predict(points))
    if y.ndim == 2 and y.shape[1] > 1 and len(y) == len(points):
        return y.argmax(axis=1)
    if y.shape not in ((len(points),), (len(points), 1)):
        raise ValueError(
            f"decision_regions: predict gives {y.shape} for points {points.shape}; it must be (M, V), (M, 1) or (M,)"
        )
    y = y.reshape(-1)
    return y.astype(np.int64) if y.dtype.kind in "biu" else (y > (0.5 if threshold is None else threshold)).astype(int)


def _pale(count):
    from matplotlib.colors import ListedColormap, to_rgb

    return ListedColormap([0.65 + 0.35 * np.array(to_rgb(COLORS[k % len(COLORS)])) for k in range(count)])


def _place_labels(made, ax, points, words):
    """Each word beside its point, at the first of some places where it covers no point and no other word."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    renderer = (made.canvas if hasattr(made.canvas, "get_renderer") else FigureCanvasAgg(made)).get_renderer()
    made.draw_without_rendering()  # what `constrained` layout moves is in its place
    inside, dots = ax.get_window_extent(renderer), ax.transData.transform(points)
    scale = made.dpi / 72
    taken = np.concatenate([dots - 3 * scale, dots + 3 * scale], axis=1)  # what is covered: left, bottom, right, top
    for word, (x, y), point in zip(words, dots, points, strict=True):
        text = ax.annotate(
            str(word), point, xytext=(0, 0), textcoords="offset points", fontsize=8, ha="center", va="center", zorder=4
        )
        box = text.get_window_extent(renderer)
        w, h, best = box.width / 2, box.height / 2, None
        for away in (1.0, 1.6, 2.6, 4.0, 6.0):
            for right, up in ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (-1, 1), (1, -1), (-1, -1)):
                dx = right * (w + (4 + 5 * (away - 1)) * scale)
                dy = up * (h + (3 + 6 * (away - 1)) * scale)
                place = x + dx - w, y + dy - h, x + dx + w, y + dy + h
                out = place[0] < inside.x0 or place[1] < inside.y0 or place[2] > inside.x1 or place[3] > inside.y1
                if not out and not _overlaps(place, taken):
                    best = dx, dy, place, away
                    break
            if best:
                break
        dx, dy, place, away = best or (w + 4 * scale, 0, (x, y - h, x + 2 * w, y + h), 1.0)
        taken = np.concatenate([taken, [place]])
        text.set_position((dx / scale, dy / scale))
        if away > 1.6:
            line = {"arrowstyle": "-", "color": "0.6", "lw": 0.6, "shrinkA": 8, "shrinkB": 3}
            ax.annotate("", point, xytext=(dx / scale, dy / scale), textcoords="offset points", arrowprops=line)


def _overlaps(a, others):
    """Whether a rectangle and any of the others have a place in common."""
    left, bottom, right, top = others.T
    return bool(((a[0] < right) & (left < a[2]) & (a[1] < top) & (bottom < a[3])).any())


def _figure(width, height):
    if not importlib.util.find_spec("matplotlib"):
        raise Missing("figures need matplotlib: pip install 'fastnn-kernels[plot]'")
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _panels(ax, count, what, size):
    """(figure, axes): `count` new ones side by side, or those that were given."""
    if ax is None:
        made = _figure(size[0] * count, size[1])
        return made, list(made.subplots(1, count, squeeze=False).flat)
    axes = [ax] if hasattr(ax, "get_figure") else list(np.asarray(ax, object).reshape(-1))
    if len(axes) != count:
        raise ValueError(f"{what}: ax has {len(axes)} axes; there are {count} panels to be drawn")
    return axes[0].get_figure(), axes


def _titled(made, axes, title, path):
    """A title, above the one panel or above all."""
    if title is not None and len(axes) == 1:
        axes[0].set_title(title)
    elif title is not None:
        made.suptitle(title)
    return _saved(made, path)


def _grid(count, columns, size=1.0):
    """A figure with places for `count` images, without axes' lines -> (figure, axes in order)."""
    columns = max(1, min(columns, count))
    rows = max(1, math.ceil(count / columns))
    figure = _figure(size * columns * 1.2 + 1, size * rows * 1.2 + 0.8)
    places = list(figure.subplots(rows, columns, squeeze=False).flat)
    for ax in places:
        ax.set_xticks([])
        ax.set_yticks([])
    for ax in places[count:]:
        ax.set_axis_off()
    return figure, places[:count]


def _saved(figure, path):
    if path is not None:
        figure.savefig(path, format=os.path.splitext(path)[1][1:].lower() or "png", dpi=120)
    return figure
