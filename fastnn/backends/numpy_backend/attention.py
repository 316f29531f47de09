"""Attention, a block of queries at a time: memory is linear in the lengths of the sequences."""

import math

import numpy as np

from ._common import _result

_BLOCK = 128  # queries of a block


def scaled_dot_product_attention_forward(q, k, v, mask=None, causal=False, out=None):
    """softmax(q @ k.T / sqrt(D)) @ v: q (N, T, D), k (N, S, D), v (N, S, M) -> (N, T, M).

    Or with heads: q (N, T, heads, D), k (N, S, heads, D), v (N, S, heads, M) -> (N, T, heads, M). mask (N, S): bool, or
    None; a key with False is not looked at. causal: query t looks at keys 0 ... t + S - T. The weights of what is not
    looked at are 0, all of them where nothing is.
    """
    result = np.empty((*q.shape[:-1], v.shape[-1]), q.dtype)
    y, q, k, v = (_by_heads(a) for a in (result, q, k, v))
    for block, keys, may in _blocks(q, k, mask, causal):
        y[:, :, block] = _weights(q[:, :, block], k[:, :, keys], may) @ v[:, :, keys]
    return _result(result, out)


def scaled_dot_product_attention_backward(dout, q, k, v, mask=None, causal=False, dq=None, dk=None, dv=None):
    """dout as the result of scaled_dot_product_attention_forward -> (dq, dk, dv)"""
    results = np.empty_like(q), np.zeros_like(k), np.zeros_like(v)
    gq, gk, gv, dout, q, k, v = (_by_heads(a) for a in (*results, dout, q, k, v))
    for block, keys, may in _blocks(q, k, mask, causal):
        rows, d = q[:, :, block], dout[:, :, block]
        p, dp = _weights(rows, k[:, :, keys], may), d @ v[:, :, keys].swapaxes(2, 3)
        ds = p * (dp - (p * dp).sum(axis=3, keepdims=True)) * _scale(q)
        gq[:, :, block] = ds @ k[:, :, keys]
        gk[:, :, keys] += ds.swapaxes(2, 3) @ rows
        gv[:, :, keys] += p.swapaxes(2, 3) @ d
    return tuple(_result(a, given) for a, given in zip(results, (dq, dk, dv), strict=True))


def _by_heads(a):
    """(N, T, D) or (N, T, heads, D) as (N, heads, T, D)"""
    return a[:, np.newaxis] if a.ndim == 3 else a.swapaxes(1, 2)


def _scale(q):
    return q.dtype.type(1 / math.sqrt(max(q.shape[-1], 1)))


def _blocks(q, k, mask, causal):
    """(queries, keys, may) of each block: slices, and what may be looked at, (N or 1, 1, rows, keys) or None: all."""
    T, S = q.shape[2], k.shape[2]
    for t in range(0, T, _BLOCK):
        end = min(t + _BLOCK, T)
        seen = max(0, min(S, end + S - T)) if causal else S
        may = None if mask is None else mask[:, np.newaxis, np.newaxis, :seen]
        if causal:
            later = np.arange(seen) > np.arange(t + S - T, end + S - T)[:, np.newaxis]
            may = ~later if may is None else may & ~later
        yield slice(t, end), slice(0, seen), may


def _weights(q, k, may):
    """The softmax over the keys, without those that may not be looked at."""
    score = q @ k.swapaxes(2, 3) * _scale(q)
    if may is not None:
        score = np.where(may, score, -np.inf)
    top = score.max(axis=3, keepdims=True, initial=-np.inf)
    e = np.exp(score - np.where(np.isneginf(top), q.dtype.type(0), top))
    with np.errstate(invalid="ignore"):
        p = e / e.sum(axis=3, keepdims=True)
    return p if may is None else np.where(may, p, q.dtype.type(0))
