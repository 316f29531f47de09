"""Numerical gradients by central differences, and the check of a network's backward against them."""

import inspect

import numpy as np

from . import ops
from .functions import rows, targets
from .layers import Affine, BatchNorm2d, BatchNormalization, Dropout, Dropout2d, SoftmaxWithLoss

_MAX_ELEMENTS = 1 << 20  # of one stack of perturbed activations (8 MB in float64)


def numerical_gradient(f, x, h=1e-4):
    """Central differences of f at x, element by element -> array like x. Book 1 ch. 4.

    f is called with x itself, which is changed in place and restored, even if f fails; so f may also read the array
    from elsewhere. f returns a number. Raises TypeError unless x is a floating array (integers cannot hold x + h).
    """
    if not isinstance(x, np.ndarray) or x.dtype.kind != "f":
        what = getattr(x, "dtype", type(x).__name__)
        raise TypeError(f"numerical_gradient: x must be an array of floats, not {what}")
    gradient = np.zeros_like(x)
    for i in np.ndindex(x.shape):
        value = x[i]
        try:
            x[i] = value + h
            above = f(x)
            x[i] = value - h
            gradient[i] = (above - f(x)) / (2 * h)
        finally:
            x[i] = value
    return gradient


def numerical_gradient_2d(f, X, h=1e-4):
    """`numerical_gradient`; a 2-D X goes row by row: f gets one row. Book 1 ch. 4."""
    if X.ndim == 1:
        return numerical_gradient(f, X, h)
    return np.stack([numerical_gradient(f, row, h) for row in X]) if len(X) else np.zeros_like(X)


def gradient_check(net_or_f, x, t, h=1e-4):
    """Mean absolute difference between backward and central differences. Book 1 ch. 5.

    For a network (`params`, `gradient(x, t)`, `loss(x, t)`, `last_layer`) -> {name: difference}; t are its targets. For
    a function f of one array -> the difference from its gradient t at x. Use float64, and no dropout.

    The loss is taken without the books' 1e-7 in the log, which their gradient leaves out too (with it the check gives
    1e-7, not 1e-10, for the last bias). Parameters of Affine layers are perturbed a column at a time, in one product
    and one pass through the layers above instead of 2 * D passes (784-50-10, 3 samples, NumPy backend: 7.2 s ->
    0.14 s), unless the network has BatchNormalization, Dropout or weight decay. Else: `numerical_gradient`.
    """
    if not hasattr(net_or_f, "gradient"):
        return float(np.abs(numerical_gradient(net_or_f, x, h) - t).mean())
    net = net_or_f
    backward = {name: np.array(g) for name, g in net.gradient(x, t).items()}
    loss_layer = getattr(net, "last_layer", None) or net.lastLayer
    epsilon = getattr(loss_layer, "epsilon", 0.0)
    loss_layer.epsilon = 0.0
    try:
        numerical = {name: _network_gradient(net, loss_layer, p, x, t, h) for name, p in net.params.items()}
    finally:
        loss_layer.epsilon = epsilon
    return {name: float(np.abs(g - numerical[name]).mean()) for name, g in backward.items()}


def _network_gradient(net, loss_layer, p, x, t, h):
    layers = list(net.layers.values()) if isinstance(net.layers, dict) else list(net.layers)
    owners = [i for i, layer in enumerate(layers) if isinstance(layer, Affine) and (layer.W is p or layer.b is p)]
    mixing = BatchNormalization | BatchNorm2d | Dropout | Dropout2d  # these do not treat each sample by itself, alike
    independent = not any(isinstance(layer, mixing) for layer in layers)
    if len(owners) == 1 and independent and not getattr(net, "weight_decay_lambda", 0):
        i = owners[0]
        for layer in layers[:i]:
            x = layer.forward(x)
        return _affine_gradient(layers[i], p, layers[i + 1 :], loss_layer, x, t, h)
    training = {"train_flg": True} if "train_flg" in inspect.signature(net.loss).parameters else {}
    return numerical_gradient(lambda _: net.loss(x, t, **training), p, h)


def _affine_gradient(affine, p, following, loss_layer, x, t, h):
    """d loss / d p for p = affine.W or affine.b: forward passes on stacks of copies of the samples, one an element."""
    W, b = affine.W, affine.b
    out = affine.forward(x)  # (N, M)
    M, K = out.shape[1], 1 if p is b else W.shape[0]
    gradient = np.empty((K, M), p.dtype)
    chunk = max(1, _MAX_ELEMENTS // max(out.size, W.shape[0]))
    for j in range(M):
        for start in range(0, K, chunk):
            k = np.arange(start, min(start + chunk, K))
            losses = []
            for step in (h, -h):
                # column j of the layer, with W[k, j] (or b[j]) moved by step, for every k of the chunk: (N, len(k))
                columns, biases = np.repeat(W[:, j : j + 1], len(k), axis=1), np.repeat(b[j : j + 1], len(k))
                if p is b:
                    biases += step
                else:
                    columns[k, np.arange(len(k))] += step
                stack = np.repeat(out[np.newaxis], len(k), axis=0)  # (len(k), N, M)
                stack[:, :, j] = type(affine)(columns, biases).forward(x).T
                y = stack.reshape(-1, M)
                for layer in following:
                    y = layer.forward(y)
                losses.append(_losses(loss_layer, y.reshape(len(k), len(out), -1), t))
            gradient[k, j] = (losses[0] - losses[1]) / (2 * h)
    return gradient.reshape(p.shape)


def _losses(loss_layer, ys, t):
    """The loss of each ys[k] (N, V) with the same t, as an array."""
    if not isinstance(loss_layer, SoftmaxWithLoss):
        return np.array([loss_layer.forward(y, t) for y in ys])
    _, t = targets(ys[0], t)
    onehot = t if t.ndim == 2 else np.eye(ys.shape[2])[t]
    logp = ops.log_softmax_forward(rows(ys)).reshape(ys.shape)
    return -(logp * onehot).sum(axis=(1, 2)) / ys.shape[1]
