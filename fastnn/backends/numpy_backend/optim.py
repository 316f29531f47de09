"""Update rules: lists of arrays of any shape, updated in place; grads are only read.

What an option switches off (momentum 0, weight decay 0) is not read: 0 times infinity would be NaN.
"""

import math

import numpy as np


def grad_norm(grads):
    """Square root of the sum of squares over all arrays, accumulated in float64 -> float."""
    return math.sqrt(sum(float(np.square(g, dtype=np.float64).sum()) for g in grads))


def scale_arrays(arrays, scale):
    """arrays[i] *= scale, in place -> arrays."""
    for a in arrays:
        a *= float(scale)
    return arrays


def moving_average(arrays, values, momentum, factor=1.0):
    """arrays[i] = momentum * arrays[i] + (1 - momentum) * (values[i] * factor), in place -> arrays."""
    for a, value in zip(arrays, values, strict=True):
        if momentum == 0:
            a[...] = value * factor
        elif momentum != 1:
            a[...] = momentum * a + (1 - momentum) * (value * factor)
    return arrays


def _scale(a, factor):
    """a *= factor, in place; 0 where the factor is 0, whatever a was."""
    if factor == 0:
        a[...] = 0
    else:
        a *= factor
    return a


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
        _scale(v_, momentum)
        v_ -= lr * g
        p += v_
    return params


def nesterov_update(params, grads, v, lr, momentum, lookahead, weight_decay=0.0, clip_norm=0.0, clip_value=0.0):
    """v = momentum * v - lr * g; p += momentum^2 * v - (1 + momentum) * lr * g, v the new (lookahead) or old one.

    Book 2 takes the new v (lookahead True), book 1 the old one.
    """
    for (p, g), v_ in zip(_steps(params, grads, weight_decay, clip_norm, clip_value), v, strict=True):
        if momentum == 0:
            v_[...] = -lr * g
            p += v_
            continue
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
        _scale(h_, decay_rate)
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
        if decoupled and weight_decay != 0:
            p -= lr * weight_decay * p
        m_[...] = m_ + (1 - beta1) * (g - m_) if beta1 != 0 else g
        v_[...] = v_ + (1 - beta2) * (g * g - v_) if beta2 != 0 else g * g
        p -= a * m_ / (np.sqrt(v_) + epsilon)
    return params
