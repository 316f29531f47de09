"""What a loss is given as t, and which classes scores say. Losses, accuracy, `fit`, predictors and models read it here.

A cross entropy over classes, with scores (..., V), takes

    labels   (...) or (..., 1), integers or booleans: the class of each row
    targets  (..., V), numbers: one-hot, or soft

A single axis of scores (V,) is one sample: its label may be a number. A loss of numbers (sigmoid, squared error) takes
t in the shape of the scores; only axes of length 1 may differ.
"""

import math

import numpy as np


def rows(x):
    """x (..., V) as (M, V); a number as (1, 1)."""
    x = np.asarray(x)
    return x if x.ndim == 2 else x.reshape(math.prod(x.shape[:-1]), x.shape[-1] if x.ndim else 1)


def targets(y, t, what="softmax_cross_entropy"):
    """(y as rows (M, V), t as labels (M,) or targets (M, V)) of scores y (..., V)."""
    if getattr(y, "ndim", 0) == 2 and getattr(t, "ndim", 0) == 1:  # the common case, which the operation checks
        return y, t
    y = np.asarray(y)
    return rows(y), labels_or_targets(t, y.shape or (1,), what)


def labels_or_targets(t, shape, what):
    """t for scores of that shape (..., V) -> labels (M,) of any integer dtype, or targets (M, V).

    ValueError for another shape, TypeError for labels that are not integers and for what is no number.
    """
    if type(t) is np.ndarray and t.shape == shape[:-1] and t.dtype.kind in "iu" and t.ndim:  # as below, sooner
        return t if t.ndim == 1 else t.reshape(-1)
    t, shape = np.asarray(t), tuple(shape)
    leading, M = shape[:-1], math.prod(shape[:-1])
    if t.dtype.kind not in "biuf":
        raise TypeError(f"{what}: t has dtype {t.dtype}; it must be labels (integers) or targets (numbers)")
    if not leading:
        t = t.reshape(-1)
    if t.shape == shape:
        return t.reshape(M, shape[-1])
    if t.shape not in (leading, (*leading, 1), (M,)):
        allowed = f"labels must be {leading}, targets must be {shape}"
        raise ValueError(f"{what}: t is {t.dtype} {t.shape} but the scores are {shape}; {allowed}")
    if t.dtype.kind == "f" and t.size:
        raise TypeError(f"{what}: t is {t.dtype} {t.shape}; labels are integers, targets must be {shape}")
    return t.reshape(M) if t.size else np.zeros(M, np.int64)


def labels_of(t, shape, what, ignored=None):
    """The same as labels (...): targets say the class of their largest number.

    IndexError for a label outside [0, V) that is not the ignored one.
    """
    t = labels_or_targets(t, shape, what)
    if t.ndim == 2:
        return t.argmax(axis=1).reshape(shape[:-1]) if t.size else np.zeros(shape[:-1], np.int64)
    check_labels(t, shape[-1], what, ignored)
    return t.reshape(shape[:-1])


def check_labels(t, V, what, ignored=None, name="t"):
    """IndexError, with the first one, for labels (M,) outside [0, V) that are not the ignored one."""
    bad = (t < 0) | (t >= V)
    if ignored is not None:
        bad &= t != ignored
    if bad.any():
        i = int(bad.argmax())
        raise IndexError(f"{what}: {name}[{i}] is {t[i]}; labels must lie in [0, {V})")


def ignored_label(loss):
    """The label that a loss layer does not count; None where it counts all."""
    return getattr(loss, "ignore_label", None)


def check_targets(t, shape, what, ignored=None):
    """Raise what a cross entropy of scores of that shape would for t."""
    t = labels_or_targets(t, shape, what)
    if t.ndim == 1:
        check_labels(t, shape[-1], what, ignored)


def like(x, t):
    """t in x's floating dtype, and in its shape where that differs in axes of length 1 only (else `ops` refuses it)."""
    t = np.asarray(t)
    if t.dtype.kind in "biu" and x.dtype.kind == "f":
        t = t.astype(x.dtype)
    return t.reshape(x.shape) if [n for n in t.shape if n != 1] == [n for n in x.shape if n != 1] else t


def classes(scores, threshold=None, out=None):
    """The class that scores say -> int64: that of the largest of several, (..., V) -> (...).

    With a threshold one score decides, (..., 1) -> (...): 1 where it is larger, else 0. ValueError for one without.
    """
    if threshold is None:
        if scores.shape[-1:] in ((), (1,)):
            raise ValueError(one_class(scores.shape))
        return scores.argmax(axis=-1, out=out)
    return (scores > threshold).astype(np.int64).reshape(scores.shape[:1] if scores.ndim == 1 else scores.shape[:-1])


def one_class(shape):
    """Why there are no classes."""
    return f"the scores are {shape}; they must be those of several classes, or of a network with a sigmoid's loss"


def right(scores, t, what, threshold=None, ignored=None):
    """How many of the scores say the class of t, of how many that count: those whose label is not the ignored one.

    With a threshold (a sigmoid's loss) every score counts, one of several too.
    """
    if threshold is None:
        if scores.ndim < 2:
            raise ValueError(f"{what}: {one_class(scores.shape)}")
        found = classes(scores)
        wanted = labels_of(t, scores.shape, what, ignored)
        counts = None if ignored is None else wanted != ignored
    else:
        t = like(scores, t)
        if t.shape != scores.shape:
            raise ValueError(f"{what}: t is {t.shape} but the scores are {scores.shape}")
        found, wanted, counts = scores > threshold, t > 0.5, None
    hits = found == wanted
    if counts is None:
        return int(np.count_nonzero(hits)), hits.size
    return int(np.count_nonzero(hits & counts)), int(np.count_nonzero(counts))
