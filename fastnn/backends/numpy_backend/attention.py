"""Attention, a block of queries at a time: memory is linear in the lengths of the sequences."""

import math

import numpy as np

from ._common import _result

_BLOCK = 128  # queries of a block


def scaled_dot_product_attention_forward(q, k, v, mask=None, causal=False, offset=0, out=None):
    """softmax(q @ k.T / sqrt(D)) @ v: q (N, T, D), k (N, S, D), v (N, S, M) -> (N, T, M).

    Or with heads: q (N, T, heads, D), k (N, S, heads, D), v (N, S, heads, M) -> (N, T, heads, M). mask (N, S): bool, or
    None; a key with False is not looked at. causal: query t looks at the keys up to t + offset. What is not looked at
    is never read: a NaN there stays there. A query that looks at no key gives 0.
    """
    result = np.empty((*q.shape[:-1], v.shape[-1]), q.dtype)
    y, q, k, v = (_by_heads(a) for a in (result, q, k, v))
    for block, keys, may in _blocks(q, k, mask, causal, offset):
        y[:, :, block] = _product(_weights(q[:, :, block], k[:, :, keys], may), v[:, :, keys], may)
    return _result(result, out)


def scaled_dot_product_attention_backward(dout, q, k, v, mask=None, causal=False, offset=0, dq=None, dk=None, dv=None):
    """dout as the result of scaled_dot_product_attention_forward -> (dq, dk, dv)"""
    results = np.empty_like(q), np.zeros_like(k), np.zeros_like(v)
    gq, gk, gv, dout, q, k, v = (_by_heads(a) for a in (*results, dout, q, k, v))
    for block, keys, may in _blocks(q, k, mask, causal, offset):
        rows, d = q[:, :, block], dout[:, :, block]
        p, dp = _weights(rows, k[:, :, keys], may), _only(_matmul(d, v[:, :, keys].swapaxes(2, 3)), may)
        ds = _only(p * (dp - (p * dp).sum(axis=3, keepdims=True)) * _scale(q), may)
        back = None if may is None else may.swapaxes(2, 3)
        gq[:, :, block] = _product(ds, k[:, :, keys], may)
        gk[:, :, keys] += _product(ds.swapaxes(2, 3), rows, back)
        gv[:, :, keys] += _product(p.swapaxes(2, 3), d, back)
    return tuple(_result(a, given) for a, given in zip(results, (dq, dk, dv), strict=True))


def _by_heads(a):
    """(N, T, D) or (N, T, heads, D) as (N, heads, T, D)"""
    return a[:, np.newaxis] if a.ndim == 3 else a.swapaxes(1, 2)


def _scale(q):
    return q.dtype.type(1 / math.sqrt(max(q.shape[-1], 1)))


def _blocks(q, k, mask, causal, offset):
    """(queries, keys, may) of each block: slices, and what may be looked at, (N or 1, 1, rows, keys) or None: all."""
    T, S = q.shape[2], k.shape[2]
    for t in range(0, T, _BLOCK):
        end = min(t + _BLOCK, T)
        seen = max(0, min(S, end + offset)) if causal else S
        may = None if mask is None else np.repeat(mask[:, np.newaxis, np.newaxis, :seen], end - t, axis=2)
        if causal:
            later = np.arange(seen) > np.arange(t + offset, end + offset)[:, np.newaxis]
            may = ~later[np.newaxis, np.newaxis] if may is None else may & ~later
        yield slice(t, end), slice(0, seen), may


def _matmul(a, b):
    with np.errstate(invalid="ignore", over="ignore"):  # of what is not looked at
        return a @ b


def _only(a, may):
    """a, 0 where may is False."""
    return a if may is None else np.where(may, a, a.dtype.type(0))


def _product(p, x, may):
    """p @ x without the terms for which may is False: 0 times NaN or infinity would count."""
    finite = np.isfinite(x)
    if may is None or finite.all():
        return p @ x
    zero = x.dtype.type(0)
    y = p @ np.where(finite, x, zero)
    with np.errstate(invalid="ignore"):
        for j in np.flatnonzero(~finite.all(axis=(0, 1, 3))):
            rest = np.where(finite[:, :, j], zero, x[:, :, j])[:, :, np.newaxis]
            y += _only(p[..., j, np.newaxis] * rest, may[..., j, np.newaxis])
    return y


def _weights(q, k, may):
    """The softmax over the keys, without those that may not be looked at."""
    score = _matmul(q, k.swapaxes(2, 3)) * _scale(q)
    if may is not None:
        score = np.where(may, score, -np.inf)
    top = score.max(axis=3, keepdims=True, initial=-np.inf)
    with np.errstate(invalid="ignore"):
        e = np.exp(score - np.where(np.isneginf(top), q.dtype.type(0), top))
        p = e / e.sum(axis=3, keepdims=True)
    return _only(p, may)
