"""The books' helpers for training scripts."""

import numpy as np

from . import ops
from .functions import col2im, im2col  # noqa: F401 (names of the book's util)
from .ops._bounds import bounded


def smooth_curve(x):
    """A loss curve smoothed by a normalised Kaiser window (length 11, beta 2), as long as x.

    x (n,), any sequence. The ends are continued by their mirror image, so fewer than 11 values give a shorter result,
    as in the book. Book 1, `common`.
    """
    x = np.asarray(x)
    window = np.kaiser(11, 2)
    mirrored = np.concatenate([x[10:0:-1], x, x[:-11:-1]])
    return np.convolve(window / window.sum(), mirrored, mode="valid")[5:-5]


def shuffle_dataset(x, t, rng=None):
    """(x, t) in one new random order of the first axis; rng: None, a seed or a numpy.random.Generator. Book 1."""
    order = np.random.default_rng(rng).permutation(len(x))
    return x[order], t[order]


def conv_output_size(input_size, filter_size, stride=1, pad=0):
    """(input_size + 2 * pad - filter_size) / stride + 1, as a float: fractional if the stride does not tile. Book 1."""
    return (input_size + 2 * pad - filter_size) / stride + 1


def clip_grads(grads, max_norm):
    """Scale all arrays of `grads` in place so that their norm together is at most max_norm. Book 2 ch. 6.

    Raises ValueError for a negative max_norm and NaN.
    """
    max_norm = bounded("clip_grads", "max_norm", max_norm)
    rate = max_norm / (ops.grad_norm(grads) + 1e-6)
    if rate < 1:
        ops.scale_arrays(grads, rate)
