"""Scaled dot-product attention, a block of queries at a time: memory is linear in the lengths of the sequences.

Built of `matmul` and `softmax`, so that it runs on every backend.
"""

import functools
import math

import numpy as np

from ._check import Call
from .affine import matmul
from .softmax import softmax_backward, softmax_forward

_BLOCK = 128  # queries of a block


def scaled_dot_product_attention_forward(q, k, v, mask=None, causal=False, out=None):
    """softmax(q @ k.T / sqrt(D)) @ v for each of B sequences: q (B, T, D), k (B, S, D), v (B, S, M) -> (B, T, M).

    mask (B, S), True where a key may be looked at (padding is False); causal: query t looks at keys 0 ... t + S - T. A
    query that may look at no key gives 0. Raises ValueError for shapes that do not fit. Vaswani et al. 2017; ONNX
    Attention.
    """
    call = Call("scaled_dot_product_attention_forward")
    q, k, v, mask = _arguments(call, q, k, v, mask)
    (B, T, _), S = q.shape, k.shape[1]
    call.check_out("out", out, (B, T, v.shape[2]))
    result = np.empty((B, T, v.shape[2]), q.dtype)
    for b in range(B):
        for t in range(0, T, _BLOCK):
            end, seen = _block(t, T, S, causal)
            if seen:
                p = _weights(q[b, t:end], k[b, :seen], None if mask is None else mask[b, :seen], t, S - T, causal)
                matmul(p, v[b, :seen], result[b, t:end])
            else:
                result[b, t:end] = 0
    return call.deliver(result, out)


def scaled_dot_product_attention_backward(dout, q, k, v, mask=None, causal=False, dq=None, dk=None, dv=None):
    """Gradients of scaled_dot_product_attention_forward: dout (B, T, M) -> (dq, dk, dv), the weights computed anew."""
    call = Call("scaled_dot_product_attention_backward")
    (dout,) = call.floats(dout=dout)
    q, k, v, mask = _arguments(call, q, k, v, mask)
    (B, T, D), S = q.shape, k.shape[1]
    call.require(dout.shape == (B, T, v.shape[2]), f"dout is {dout.shape} but the result is {(B, T, v.shape[2])}")
    dout = dout.astype(q.dtype, copy=False)
    for name, given, like in ("dq", dq, q), ("dk", dk, k), ("dv", dv, v):
        call.check_out(name, given, like.shape)
    gq, gk, gv, scale = np.zeros_like(q), np.zeros_like(k), np.zeros_like(v), q.dtype.type(1 / math.sqrt(max(D, 1)))
    for b in range(B):
        for t in range(0, T, _BLOCK):
            end, seen = _block(t, T, S, causal)
            if not seen:
                continue
            keys, values, d = k[b, :seen], v[b, :seen], dout[b, t:end]
            p = _weights(q[b, t:end], keys, None if mask is None else mask[b, :seen], t, S - T, causal)
            ds = softmax_backward(matmul(d, values.T), p)
            ds *= scale
            matmul(ds, keys, gq[b, t:end])
            gk[b, :seen] += matmul(ds.T, q[b, t:end])
            gv[b, :seen] += matmul(p.T, d)
    return call.deliver((gq, gk, gv), dq, dk, dv)


def _arguments(call, q, k, v, mask):
    q, k, v = call.floats(q=q, k=k, v=v)
    call.ndim(3, q=q, k=k, v=v)
    call.require(
        q.shape[0] == k.shape[0] and q.shape[2] == k.shape[2],
        f"q is {q.shape} but k is {k.shape}; the first and the last axis must be equal",
    )
    call.require(k.shape[:2] == v.shape[:2], f"k is {k.shape} but v is {v.shape}; the first two axes must be equal")
    if mask is not None:
        mask = np.asarray(mask, np.bool_)
        call.require(mask.shape == k.shape[:2], f"mask is {mask.shape} but k is {k.shape}; it must be {k.shape[:2]}")
    return q, k, v, mask


def _block(t, T, S, causal):
    """End of the block of queries that begins at t, and how many keys it may look at."""
    end = min(t + _BLOCK, T)
    return end, max(0, min(S, end + S - T)) if causal else S


def _weights(q, keys, mask, t, ahead, causal):
    """The softmax for the queries t, t + 1, ... (n, D) and keys (s, D): (n, s); 0 where a query may not look."""
    score = matmul(q, keys.T)
    score *= q.dtype.type(1 / math.sqrt(max(q.shape[1], 1)))
    if mask is not None:
        np.copyto(score, -np.inf, where=~mask)
    first = 0 if mask is None else int(mask.argmax()) if mask.any() else len(keys)  # key that may be looked at
    last = t + ahead  # key that the first query may look at
    if causal and last + 1 < len(keys):
        begin = max(last + 1, 0)
        np.copyto(score[:, begin:], -np.inf, where=_later(len(q), len(keys) - begin, last + 1 - begin))
    blind = len(q) if first == len(keys) else max(first - last, 0) if causal else 0  # so many queries see no key
    score[:blind] = 0
    p = softmax_forward(score)
    p[:blind] = 0
    return p


@functools.lru_cache(maxsize=8)
def _later(n, s, shift):
    """(n, s): whether column j >= row i + shift."""
    return np.arange(s) >= np.arange(shift, n + shift)[:, np.newaxis]
