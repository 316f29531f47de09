"""The reference backend: every operation in plain NumPy. What a function here computes is what the operation means.

T is float32 or float64 and is the dtype of every array that is not said to be something else. Outputs come last: None
allocates, an array given is filled and returned. Functions never decline and check nothing; `fastnn.ops` does that.
Sums over a batch (losses, norms, means, bias gradients) are accumulated in float64.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

# ---- helpers -------------------------------------------------------------------------------------------------------


def _result(value, out=None):
    """`value` itself as an array, or `out` filled with it."""
    if out is None:
        return np.asarray(value)
    out[...] = value
    return out


def _pack_bits(keep, mask=None):
    """Boolean array, n elements -> uint8 array of 8*ceil(n/64) bytes: bit i is element i (C order), padding is 0."""
    packed = np.packbits(keep.reshape(-1), bitorder="little")
    bits = np.zeros(8 * (-(-keep.size // 64)), np.uint8)
    bits[: packed.size] = packed
    return _result(bits, mask)


def _unpack_bits(mask, shape):
    return np.unpackbits(mask, count=math.prod(shape), bitorder="little").reshape(shape).view(np.bool_)


# ---- affine --------------------------------------------------------------------------------------------------------


def matmul(a, b, out=None):
    """out = a @ b; a (M, K), b (K, N), out (M, N). Transposed views are welcome."""
    return np.matmul(a, b, out=out)


def affine_forward(x, W, b, activation="identity", alpha=0.0, out=None):
    """out = activation(x @ W + b); x (N, D), W (D, M), b (M,) or None, out (N, M)."""
    out = np.matmul(x, W, out=out)
    if b is not None:
        out += b
    return out if activation == "identity" else activation_forward(out, activation, alpha, out)


def affine_backward(dout, x, W, dW=None, db=None, dx=None):
    """dx = dout @ W.T, dW = x.T @ dout, db = sum of dout over N; dout (N, M), x (N, D), W (D, M) -> (dx, dW, db)."""
    dW = np.matmul(x.T, dout, out=dW)
    db = _result(dout.sum(axis=0, dtype=np.float64).astype(dout.dtype), db)
    return np.matmul(dout, W.T, out=dx), dW, db


# ---- activation ----------------------------------------------------------------------------------------------------

_SELU_SCALE, _SELU_ALPHA = 1.0507009873554805, 1.6732632423543772  # Klambauer et al. 2017, equation 14
_GELU_SCALE, _GELU_CUBE = math.sqrt(2.0 / math.pi), 0.044715  # Hendrycks and Gimpel 2016

_erf_object = np.frompyfunc(math.erf, 1, 1)


def _erf(x):
    return np.asarray(_erf_object(x)).astype(x.dtype)


def _sigmoid(x):
    with np.errstate(over="ignore"):  # exp(-x) = inf gives 0
        return 1 / (1 + np.exp(-x))


def _softplus(x):
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def _elu(x, alpha):
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))


def _elu_derivative(x, alpha):
    return np.where(x > 0, x.dtype.type(1), alpha * np.exp(np.minimum(x, 0)))


def _swish_derivative(x):
    s = _sigmoid(x)
    return s + x * s * (1 - s)


def _gelu_derivative(x):
    return 0.5 * (1 + _erf(x * math.sqrt(0.5))) + x * np.exp(-0.5 * x * x) * (1 / math.sqrt(2 * math.pi))


def _gelu_tanh_sigmoid(x):
    """(1 + tanh(u)) / 2 = sigmoid(2 u), u = sqrt(2 / pi) * (x + 0.044715 x^3)."""
    return _sigmoid(2 * _GELU_SCALE * (x + _GELU_CUBE * x * x * x))


def _gelu_tanh_derivative(x):
    s = _gelu_tanh_sigmoid(x)
    return s + x * s * (1 - s) * (2 * _GELU_SCALE) * (1 + 3 * _GELU_CUBE * x * x)


def _mish_derivative(x):
    t = np.tanh(_softplus(x))
    return t + x * (1 - t * t) * _sigmoid(x)


def _where_positive(x, dout, otherwise):
    """dout where x > 0 or x is NaN, else `otherwise` (a number or an array)."""
    return np.where(x <= 0, np.asarray(otherwise, x.dtype), dout)


class Activation(NamedTuple):
    """One entry of ACTIVATIONS."""

    formula: Callable  # (x, alpha) -> y
    gradient: Callable  # (dout, saved, alpha) -> dx: dout times the derivative; 0 where that is 0 by selection
    saved: str  # what backward needs: "x", the input, or "y", the output


ACTIVATIONS = {
    "identity": Activation(lambda x, a: x, lambda dout, x, a: dout, "x"),
    "step": Activation(lambda x, a: (x > 0).astype(x.dtype), lambda dout, x, a: np.zeros_like(x), "x"),
    "sigmoid": Activation(lambda x, a: _sigmoid(x), lambda dout, y, a: dout * (y * (1 - y)), "y"),
    "tanh": Activation(lambda x, a: np.tanh(x), lambda dout, y, a: dout * (1 - y * y), "y"),
    "relu": Activation(lambda x, a: np.maximum(x, 0), lambda dout, x, a: _where_positive(x, dout, 0.0), "x"),
    "leaky_relu": Activation(
        lambda x, a: _where_positive(x, x, a * x), lambda dout, x, a: _where_positive(x, dout, a * dout), "x"
    ),
    "elu": Activation(_elu, lambda dout, x, a: dout * _elu_derivative(x, a), "x"),
    "selu": Activation(
        lambda x, a: _SELU_SCALE * _elu(x, _SELU_ALPHA),
        lambda dout, x, a: dout * (_SELU_SCALE * _elu_derivative(x, _SELU_ALPHA)),
        "x",
    ),
    "softplus": Activation(lambda x, a: _softplus(x), lambda dout, x, a: dout * _sigmoid(x), "x"),
    "softsign": Activation(lambda x, a: x / (1 + np.abs(x)), lambda dout, x, a: dout / np.square(1 + np.abs(x)), "x"),
    # PyTorch's hard sigmoid (slope 1/6), not ONNX's default (0.2)
    "hard_sigmoid": Activation(
        lambda x, a: np.clip(x * (1 / 6) + 0.5, 0, 1),
        lambda dout, x, a: np.where(np.abs(x) >= 3, x.dtype.type(0), dout * (1 / 6)),
        "x",
    ),
    "swish": Activation(lambda x, a: x * _sigmoid(x), lambda dout, x, a: dout * _swish_derivative(x), "x"),
    "gelu": Activation(
        lambda x, a: 0.5 * x * (1 + _erf(x * math.sqrt(0.5))), lambda dout, x, a: dout * _gelu_derivative(x), "x"
    ),
    "gelu_tanh": Activation(
        lambda x, a: x * _gelu_tanh_sigmoid(x), lambda dout, x, a: dout * _gelu_tanh_derivative(x), "x"
    ),
    "mish": Activation(lambda x, a: x * np.tanh(_softplus(x)), lambda dout, x, a: dout * _mish_derivative(x), "x"),
}


def activation_forward(x, kind, alpha=0.0, out=None):
    """out = ACTIVATIONS[kind].formula(x, alpha); any shape. alpha: slope of leaky_relu, height of elu."""
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):  # inf - inf and 0 * inf are NaN, silently
        y = ACTIVATIONS[kind].formula(x, alpha)
    return _result(y.copy() if y is x and out is None else y, out)


def activation_backward(dout, saved, kind, alpha=0.0, dx=None):
    """dx = dout * derivative; saved is the output y of sigmoid and tanh, the input x of every other kind."""
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        d = ACTIVATIONS[kind].gradient(dout, saved, alpha)
    return _result(d.copy() if d is dout and dx is None else d, dx)


def relu_forward(x, out=None, mask=None):
    """out = max(x, 0), NaN stays; mask: bit i is 1 where element i is kept (x > 0 or NaN) -> (out, mask)."""
    keep = ~(x <= 0)
    return _result(np.where(keep, x, x.dtype.type(0)), out), _pack_bits(keep, mask)


def relu_backward(dout, mask, dx=None):
    """dx = dout where the mask bit is 1, else 0."""
    return _result(np.where(_unpack_bits(mask, dout.shape), dout, dout.dtype.type(0)), dx)


# ---- softmax and the losses ----------------------------------------------------------------------------------------


def _shifted(x):
    """x minus its row maximum, that is with the largest exponent 0. A row of -inf (or with +inf) becomes NaN."""
    with np.errstate(invalid="ignore"):
        return x - x.max(axis=1, keepdims=True, initial=-np.inf)


def softmax_forward(x, out=None):
    """out = exp(x - max) / sum(exp(x - max)) by row; x (N, V)."""
    y = np.exp(_shifted(x))
    y /= y.sum(axis=1, keepdims=True)
    return _result(y, out)


def softmax_backward(dout, y, dx=None):
    """dx = y * (dout - sum(dout * y)) by row; dout (N, V), y (N, V) the softmax."""
    return _result(y * (dout - (dout * y).sum(axis=1, keepdims=True)), dx)


def log_softmax_forward(x, out=None):
    """out = x - max - log(sum(exp(x - max))) by row; x (N, V)."""
    z = _shifted(x)
    with np.errstate(divide="ignore"):  # V = 0
        return _result(z - np.log(np.exp(z).sum(axis=1, keepdims=True)), out)


def log_softmax_backward(dout, y, dx=None):
    """dx = dout - exp(y) * sum(dout) by row; dout (N, V), y (N, V) the log-softmax."""
    return _result(dout - np.exp(y) * dout.sum(axis=1, keepdims=True), dx)


def _counted_labels(t, classes, weight, ignore_index, dtype):
    """Rows that count, their labels in [0, classes), their weights and the divisor of the loss, the sum of these."""
    t = t.astype(np.int64)
    rows = np.arange(len(t)) if ignore_index is None else np.flatnonzero(t != ignore_index)
    labels = t[rows]
    labels[labels < 0] += classes
    if labels.size and not (labels.min() >= 0 and labels.max() < classes):
        raise IndexError(f"labels must lie in [0, {classes})")
    w = np.ones(len(rows), dtype) if weight is None else weight[labels]
    return rows, labels, w, w.sum(dtype=np.float64)


def _cross_entropy_targets(t, shape, dtype, weight, ignore_index, label_smoothing):
    """Weights q (N, V) and their divisor: the loss is -sum(q * log p) / divisor.

    Labels: q = w[t] * ((1 - s) * onehot(t)) + s / V * w, rows with t == ignore_index are 0; divisor = sum of w[t].
    Targets: q = w * ((1 - s) * t + s / V); divisor = N.   (s: label smoothing; as PyTorch's cross_entropy.)
    """
    N, V = shape
    w = np.ones(V, dtype) if weight is None else weight
    if t.ndim == 2:
        q = w * ((1 - label_smoothing) * t + label_smoothing / max(V, 1))
        return q.astype(dtype, copy=False), N
    rows, labels, chosen, divisor = _counted_labels(t, V, weight, ignore_index, dtype)
    q = np.zeros(shape, dtype)
    if label_smoothing:
        q[rows] = label_smoothing / V * w
    q[rows, labels] += (1 - label_smoothing) * chosen
    return q, divisor


def _only_labels(t, label_smoothing):
    """Whether q has one number a row, so that (N, V) work on it can be saved."""
    return t.ndim == 1 and not label_smoothing


def softmax_cross_entropy_forward(x, t, weight=None, ignore_index=None, label_smoothing=0.0, epsilon=0.0, y=None):
    """loss = -sum(q * log p) / divisor, p = softmax(x) (N, V) -> (loss, y = p).

    t: integer labels (N,), or targets (N, V); q and divisor: see _cross_entropy_targets. Where q is 0 nothing is added,
    even if log p is -inf. epsilon > 0 takes log(p + epsilon), the books' loss. Nothing counted: nan.
    """
    z = _shifted(x)
    e = np.exp(z)
    total = e.sum(axis=1, keepdims=True)
    p = e / total
    if _only_labels(t, label_smoothing):
        rows, labels, q, divisor = _counted_labels(t, x.shape[1], weight, ignore_index, x.dtype)
        z, total, chosen = z[rows, labels], total[rows, 0], p[rows, labels]
    else:
        q, divisor = _cross_entropy_targets(t, x.shape, x.dtype, weight, ignore_index, label_smoothing)
        chosen = p
    with np.errstate(divide="ignore", invalid="ignore"):
        logp = np.log(chosen + epsilon) if epsilon > 0 else z - np.log(total)
        summed = np.where(q == 0, 0, q * logp).sum(dtype=np.float64)
    return 0.0 - float(summed / divisor) if divisor else math.nan, _result(p, y)


def softmax_cross_entropy_backward(y, t, dout=1.0, weight=None, ignore_index=None, label_smoothing=0.0, dx=None):
    """dx = (y * sum(q) - q) * dout / divisor by row, the gradient of the exact loss; y (N, V).

    Rows that do not count are 0, whatever y is.
    """
    if _only_labels(t, label_smoothing):
        rows, labels, q, divisor = _counted_labels(t, y.shape[1], weight, ignore_index, y.dtype)
        scale = np.zeros((len(y), 1), y.dtype)
        scale[rows, 0] = q * float(dout / divisor) if divisor else 0
        d = y * scale
        d[rows, labels] -= scale[rows, 0]
        d[scale[:, 0] == 0] = 0
        return _result(d, dx)
    q, divisor = _cross_entropy_targets(t, y.shape, y.dtype, weight, ignore_index, label_smoothing)
    scale = float(dout / divisor) if divisor else 0.0
    total = q.sum(axis=1, keepdims=True)
    return _result(np.where((total == 0) & (q == 0), y.dtype.type(0), (y * total - q) * scale), dx)


def sigmoid_cross_entropy_forward(x, t, epsilon=0.0, y=None):
    """loss = mean of max(x, 0) - x * t + log(1 + exp(-|x|)); t like x -> (loss, y = sigmoid(x)). Empty: nan.

    epsilon > 0: mean of -t * log(y + epsilon) - (1 - t) * log(1 - y + epsilon), the books' loss.
    """
    p = _sigmoid(x)
    terms = -t * np.log(p + epsilon) - (1 - t) * np.log(1 - p + epsilon) if epsilon > 0 else _softplus(x) - x * t
    return float(terms.sum(dtype=np.float64) / x.size) if x.size else math.nan, _result(p, y)


def sigmoid_cross_entropy_backward(y, t, dout=1.0, dx=None):
    """dx = (y - t) * dout / size; any shape."""
    return _result((y - t) * (float(dout) / max(y.size, 1)), dx)


def squared_error_forward(y, t):
    """Sum of (y - t)^2 as a float; any shape."""
    return float(np.square(y - t).sum(dtype=np.float64))


def squared_error_backward(y, t, scale, dx=None):
    """dx = scale * (y - t); any shape."""
    return _result(float(scale) * (y - t), dx)


# ---- norm ----------------------------------------------------------------------------------------------------------


def _mean(x):
    """Mean over the first axis (0 where that is empty), in x's dtype."""
    return (x.sum(axis=0, dtype=np.float64) / max(x.shape[0], 1)).astype(x.dtype)


def batch_norm_forward(x, gamma, beta, epsilon=1e-6, out=None, mean=None, var=None):
    """out = gamma * (x - mean) / sqrt(var + epsilon) + beta; x (N, D), biased var (D,) -> (out, mean, var)."""
    mean = _result(_mean(x), mean)
    var = _result(_mean(np.square(x - mean)), var)
    return batch_norm_inference(x, gamma, beta, mean, var, epsilon, out), mean, var


def batch_norm_inference(x, gamma, beta, mean, var, epsilon=1e-6, out=None):
    """out = gamma * (x - mean) / sqrt(var + epsilon) + beta; x (N, D), the others (D,)."""
    return _result((x - mean) * (gamma / np.sqrt(var + epsilon)) + beta, out)


def batch_norm_backward(dout, x, gamma, mean, var, epsilon=1e-6, dx=None, dgamma=None, dbeta=None):
    """Through mean and var: dx = gamma / std * (dout - mean(dout) - xn * mean(dout * xn)), xn = (x - mean) / std.

    dout, x (N, D), the others (D,) -> (dx, dgamma = sum(dout * xn), dbeta = sum(dout)).
    """
    inverse = 1 / np.sqrt(var + epsilon)
    xn = (x - mean) * inverse
    d = gamma * inverse * (dout - _mean(dout) - xn * _mean(dout * xn))
    dgamma = _result((dout * xn).sum(axis=0, dtype=np.float64).astype(x.dtype), dgamma)
    dbeta = _result(dout.sum(axis=0, dtype=np.float64).astype(x.dtype), dbeta)
    return _result(d, dx), dgamma, dbeta


# ---- random --------------------------------------------------------------------------------------------------------

_PHILOX_MULTIPLIERS = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)  # Salmon et al. 2011, Philox4x32
_PHILOX_WEYL = 0x9E3779B9, 0xBB67AE85
_LOW, _SHIFT = np.uint64(0xFFFFFFFF), np.uint64(32)


def _philox4x32(counter, key, rounds=10):
    """Philox4x32: counter uint64 array (4, n) of 32-bit words, key two ints -> uint64 array (4, n) of 32-bit words."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(rounds):
        p0, p1 = c0 * _PHILOX_MULTIPLIERS[0], c2 * _PHILOX_MULTIPLIERS[1]
        c0, c1, c2, c3 = (p1 >> _SHIFT) ^ c1 ^ np.uint64(k0), p1 & _LOW, (p0 >> _SHIFT) ^ c3 ^ np.uint64(k1), p0 & _LOW
        k0, k1 = (k0 + _PHILOX_WEYL[0]) & 0xFFFFFFFF, (k1 + _PHILOX_WEYL[1]) & 0xFFFFFFFF
    return np.stack([c0, c1, c2, c3])


def _random_words(n, key):
    """n 32-bit words (in uint64): word i is number i % 4 of the block whose counter is i // 4."""
    block = np.arange(-(-n // 4), dtype=np.uint64)
    zero = np.zeros_like(block)
    words = _philox4x32(np.stack([block & _LOW, block >> _SHIFT, zero, zero]), (int(key) & 0xFFFFFFFF, int(key) >> 32))
    return words.T.reshape(-1)[:n]


def dropout_forward(x, ratio, key, scale=1.0, out=None, mask=None):
    """out = x * keep * scale; mask: bit i is keep of element i -> (out, mask). Any shape.

    keep where u >= ratio, u = (word >> 8) * 2^-24, words of Philox4x32-10 keyed by the 64-bit int `key`.
    """
    keep = (_random_words(x.size, key) >> np.uint64(8)).reshape(x.shape) >= ratio * 2.0**24
    mask = _pack_bits(keep, mask)
    return dropout_backward(x, mask, scale, out), mask


def dropout_backward(dout, mask, scale=1.0, dx=None):
    """dx = dout * bit * scale (a product: NaN is not hidden). Any shape."""
    with np.errstate(invalid="ignore"):
        return _result(dout * (_unpack_bits(mask, dout.shape).astype(dout.dtype) * float(scale)), dx)


# ---- optim: lists of arrays of any shape, updated in place; grads are only read ------------------------------------


def grad_norm(grads):
    """Square root of the sum of squares over all arrays, accumulated in float64 -> float."""
    return math.sqrt(sum(float(np.square(g, dtype=np.float64).sum()) for g in grads))


def scale_arrays(arrays, scale):
    """arrays[i] *= scale, in place -> arrays."""
    for a in arrays:
        a *= float(scale)
    return arrays


def _steps(params, grads, weight_decay, clip_norm, clip_value):
    """Pairs (p, g) with g clipped by the global norm, then by value, then with the weight decay added."""
    scale = min(1.0, clip_norm / (grad_norm(grads) + 1e-6)) if clip_norm > 0 else 1.0
    for p, g in zip(params, grads, strict=True):
        if scale != 1.0:
            g = g * scale
        if clip_value > 0:
            g = np.clip(g, -clip_value, clip_value)
        if weight_decay != 0:
            g = g + weight_decay * p
        yield p, g


def sgd_update(params, grads, lr, weight_decay=0.0, clip_norm=0.0, clip_value=0.0):
    """p -= lr * g."""
    for p, g in _steps(params, grads, weight_decay, clip_norm, clip_value):
        p -= lr * g
    return params


def momentum_update(params, grads, v, lr, momentum, weight_decay=0.0, clip_norm=0.0, clip_value=0.0):
    """v = momentum * v - lr * g; p += v."""
    for (p, g), v_ in zip(_steps(params, grads, weight_decay, clip_norm, clip_value), v, strict=True):
        v_ *= momentum
        v_ -= lr * g
        p += v_
    return params


def nesterov_update(params, grads, v, lr, momentum, lookahead, weight_decay=0.0, clip_norm=0.0, clip_value=0.0):
    """v = momentum * v - lr * g; p += momentum^2 * v - (1 + momentum) * lr * g, v the new (lookahead) or old one.

    Book 2 takes the new v (lookahead True), book 1 the old one.
    """
    for (p, g), v_ in zip(_steps(params, grads, weight_decay, clip_norm, clip_value), v, strict=True):
        v_new = momentum * v_ - lr * g
        p += momentum * momentum * (v_new if lookahead else v_) - (1 + momentum) * lr * g
        v_[...] = v_new
    return params


def adagrad_update(params, grads, h, lr, epsilon, weight_decay=0.0, clip_norm=0.0, clip_value=0.0):
    """h += g^2; p -= lr * g / (sqrt(h) + epsilon)."""
    for (p, g), h_ in zip(_steps(params, grads, weight_decay, clip_norm, clip_value), h, strict=True):
        h_ += g * g
        p -= lr * g / (np.sqrt(h_) + epsilon)
    return params


def rmsprop_update(params, grads, h, lr, decay_rate, epsilon, weight_decay=0.0, clip_norm=0.0, clip_value=0.0):
    """h = decay_rate * h + (1 - decay_rate) * g^2; p -= lr * g / (sqrt(h) + epsilon)."""
    for (p, g), h_ in zip(_steps(params, grads, weight_decay, clip_norm, clip_value), h, strict=True):
        h_ *= decay_rate
        h_ += (1 - decay_rate) * g * g
        p -= lr * g / (np.sqrt(h_) + epsilon)
    return params


def adam_update(
    params, grads, m, v, lr, beta1, beta2, epsilon, step, decoupled=False,
    weight_decay=0.0, clip_norm=0.0, clip_value=0.0,
):  # fmt: skip
    """m += (1 - beta1) * (g - m); v += (1 - beta2) * (g^2 - v); p -= a * m / (sqrt(v) + epsilon).

    a = lr * sqrt(1 - beta2^step) / (1 - beta1^step), step counts from 1. decoupled (AdamW): the weight decay is not
    added to g; p -= lr * weight_decay * p comes first instead.
    """
    a = lr * math.sqrt(1 - beta2**step) / (1 - beta1**step)
    pairs = _steps(params, grads, 0.0 if decoupled else weight_decay, clip_norm, clip_value)
    for (p, g), m_, v_ in zip(pairs, m, v, strict=True):
        if decoupled:
            p -= lr * weight_decay * p
        m_ += (1 - beta1) * (g - m_)
        v_ += (1 - beta2) * (g * g - v_)
        p -= a * m_ / (np.sqrt(v_) + epsilon)
    return params
