"""Figures of images: filters, what they make of an image, digits that a network gets wrong.

Every function returns a matplotlib Figure, drawn without a display and without touching pyplot's state, and writes it
to `path` as PNG if one is given. They need matplotlib: pip install 'fastnn-kernels[plot]'.
"""

import importlib.util
import math

import numpy as np

from . import ops


def visualize_filter(W, path=None, channel=0, columns=8, common_scale=True):
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


def apply_filter(image, W, b=None, path=None, columns=6):
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


def misclassified(x, t, predicted, path=None, limit=20, columns=5):
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


def _grid(count, columns, size=1.0):
    """A figure with places for `count` images, without axes' lines -> (figure, axes in order)."""
    if not importlib.util.find_spec("matplotlib"):
        raise ImportError("figures need matplotlib: pip install 'fastnn-kernels[plot]'")
    from matplotlib.figure import Figure

    columns = max(1, min(columns, count))
    rows = max(1, math.ceil(count / columns))
    figure = Figure(figsize=(size * columns * 1.2 + 1, size * rows * 1.2 + 0.8), layout="constrained")
    places = list(figure.subplots(rows, columns, squeeze=False).flat)
    for ax in places:
        ax.set_xticks([])
        ax.set_yticks([])
    for ax in places[count:]:
        ax.set_axis_off()
    return figure, places[:count]


def _saved(figure, path):
    if path is not None:
        figure.savefig(path, format="png", dpi=120)
    return figure
