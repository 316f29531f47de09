"""The books' functions over arrays: activations, softmax, losses. New arrays; lists and numbers are taken too.

A number gives a NumPy number. float32 stays float32, integers give float64.
"""

import math

import numpy as np

from . import ops
from .targets import check_labels, labels_or_targets, rows, targets

BOOK_EPSILON = 1e-7  # the books' losses are -log(p + 1e-7)


def _shaped(out, shape):
    """out in that shape; a NumPy number for ()."""
    return out.reshape(shape) if shape else out.reshape(())[()]


def _activation(x, kind, alpha=0.0):
    out = ops.activation_forward(x, kind, alpha)
    return out if out.ndim else out[()]


# ---- activations ---------------------------------------------------------------------------------------------------


def identity_function(x):
    """x itself, no copy. Book 1 ch. 3."""
    return x


def step_function(x):
    """1 where x > 0, else 0, as integers. Book 1 ch. 3."""
    return np.asarray(np.asarray(x) > 0, dtype=np.int_)


def sigmoid(x):
    """1 / (1 + exp(-x)). Book 1 ch. 3; no overflow warning for large negative x."""
    return _activation(x, "sigmoid")


def sigmoid_grad(x):
    """Derivative of sigmoid at x (the input, not the output). Book 1 ch. 4."""
    y = sigmoid(x)
    return (1 - y) * y


def tanh(x):
    """tanh(x)."""
    return _activation(x, "tanh")


def relu(x):
    """max(x, 0), the dtype kept (integers too); NaN stays. Book 1 ch. 3."""
    return np.maximum(x, 0) if np.asarray(x).dtype.kind in "biu" else _activation(x, "relu")


def relu_grad(x):
    """1 where x >= 0, else 0, in x's dtype. At 0 it is 1, unlike the layer Relu: so are the books."""
    x = np.asarray(x)
    return (x >= 0).astype(x.dtype)


def leaky_relu(x, alpha=0.01):
    """x where x > 0, else alpha * x."""
    return _activation(x, "leaky_relu", alpha)


def elu(x, alpha=1.0):
    """x where x > 0, else alpha * (exp(x) - 1)."""
    return _activation(x, "elu", alpha)


def selu(x):
    """Self-normalising ELU (Klambauer et al. 2017)."""
    return _activation(x, "selu")


def softplus(x):
    """log(1 + exp(x))."""
    return _activation(x, "softplus")


def softsign(x):
    """x / (1 + |x|)."""
    return _activation(x, "softsign")


def hard_sigmoid(x):
    """clip(x / 6 + 1 / 2, 0, 1), as PyTorch."""
    return _activation(x, "hard_sigmoid")


def swish(x):
    """x * sigmoid(x), also called SiLU."""
    return _activation(x, "swish")


silu = swish


def gelu(x, approximate=False):
    """x * Phi(x); `approximate` takes the tanh form (Hendrycks and Gimpel 2016)."""
    return _activation(x, "gelu_tanh" if approximate else "gelu")


def mish(x):
    """x * tanh(softplus(x)) (Misra 2019)."""
    return _activation(x, "mish")


def softmax(x):
    """exp(x) / sum(exp(x)) over the last axis, any number of dimensions. Book 1 ch. 3."""
    return _shaped(ops.softmax_forward(rows(x)), np.shape(x))


def log_softmax(x):
    """log(softmax(x)) over the last axis, without overflow or underflow."""
    return _shaped(ops.log_softmax_forward(rows(x)), np.shape(x))


# ---- losses --------------------------------------------------------------------------------------------------------


def sum_squared_error(y, t):
    """Half the sum of (y - t)^2 over all elements -> float. Book 1 ch. 4 (in old printings `mean_squared_error`)."""
    return 0.5 * ops.squared_error_forward(y, t)


def mean_squared_error(y, t):
    """Mean of (y - t)^2 over all elements -> float; nan if there are none."""
    total, size = ops.squared_error_forward(y, t), np.size(y)
    return total / size if size else math.nan


def cross_entropy_error(y, t):
    """Mean of -log(y[i, t_i] + 1e-7) -> NumPy float; y probabilities (N, V) or (V,). Book 1 ch. 4.

    t is one-hot if it has y's shape (and there are two classes or more), else labels: (N,), (N, 1), or one number for a
    1-D y. Raises ValueError for another shape, TypeError for labels that are not integers, IndexError for a label
    outside [0, V).
    """
    y = np.asarray(y)
    shape = y.shape or (1,)
    t = labels_or_targets(t, shape, "cross_entropy_error")
    y = rows(y)
    N, V = y.shape
    if t.ndim == 2:
        t = t.argmax(axis=1) if V > 1 else labels_or_targets(t[:, 0], shape, "cross_entropy_error")
    if N == 0:
        return y.dtype.type(math.nan)
    check_labels(t, V, "cross_entropy_error")
    return -np.log(y[np.arange(N), t.astype(np.int64)] + BOOK_EPSILON).mean()


def softmax_loss(X, t):
    """cross_entropy_error(softmax(X), t). Book 1 ch. 4."""
    return cross_entropy_error(softmax(X), t)


def softmax_cross_entropy(x, t, weight=None, ignore_index=None, label_smoothing=0.0):
    """Exact cross entropy of softmax(x), by log-sum-exp -> float. As PyTorch's `cross_entropy`.

    Parameters: x scores (N, V) or (V,); t labels (N,) of any integer dtype, or targets (N, V), one-hot or soft;
    weight (V,) per class; ignore_index, the label that does not count; label_smoothing in [0, 1).
    Returns the mean over the weights that count; nan if nothing does.
    Raises ValueError for shapes that do not fit, IndexError for a label outside the V classes.
    """
    x, t = targets(x, t)
    return ops.softmax_cross_entropy_forward(x, t, weight, ignore_index, label_smoothing)[0]


# ---- patches of images ---------------------------------------------------------------------------------------------


def im2col(input_data, filter_h, filter_w, stride=1, pad=0):
    """Patches of images (N, C, H, W) as rows: (N * OH * OW, C * filter_h * filter_w). Book 1 ch. 7.

    Rows in the order (n, oy, ox), columns (c, fy, fx); zeros around the images. stride and pad: numbers or pairs
    (vertical, horizontal). OH = (H + 2 * pad - filter_h) // stride + 1. Integers give float64.
    """
    return ops.im2col(input_data, (filter_h, filter_w), stride, pad)


def col2im(col, input_shape, filter_h, filter_w, stride=1, pad=0):
    """Images of that shape (N, C, H, W) from the patches of im2col, added up where they overlap. Book 1 ch. 7."""
    return ops.col2im(col, input_shape, (filter_h, filter_w), stride, pad)
