"""Scaled dot-product attention: memory is linear in the lengths of the sequences."""

import numpy as np

from .. import backends
from ._check import Call

_MOST = 2**31 - 1  # of an offset, and of the size of an axis


def scaled_dot_product_attention_forward(q, k, v, mask=None, causal=False, offset=0, out=None):
    """softmax(q @ k.T / sqrt(D)) @ v for each of N sequences: q (N, T, D), k (N, S, D), v (N, S, M) -> (N, T, M).

    Or for heads side by side: q (N, T, heads, D), k (N, S, heads, D), v (N, S, heads, M) -> (N, T, heads, M). mask
    (N, S), True where a key may be looked at (padding is False). causal: query t looks at the keys up to t, as in
    PyTorch and ONNX; with `offset` at those up to t + offset. Where the queries are the last T of S steps, as with the
    keys and values of earlier steps (ONNX's past), offset is S - T. A query that looks at no key gives 0. A pair of
    query and key that is masked is never read: a NaN or infinity in one does not reach the other. Raises ValueError for
    shapes that do not fit and for an offset without causal or beyond 2^31 - 1. Vaswani et al. 2017; ONNX Attention.
    """
    result = backends.active.scaled_dot_product_attention_forward(q, k, v, mask, causal, offset, out)
    return _forward(q, k, v, mask, causal, offset, out) if result is None else result


def _forward(q, k, v, mask, causal, offset, out):
    call = Call("scaled_dot_product_attention_forward")
    q, k, v = call.floats(q=q, k=k, v=v)
    options = _checked(call, q, k, v, mask, causal, offset)
    call.check_out("out", out, (*q.shape[:-1], v.shape[-1]))
    result = backends.checked.scaled_dot_product_attention_forward(q, k, v, *options)
    return call.deliver(result, out)


def scaled_dot_product_attention_backward(dout, q, k, v, mask=None, causal=False, offset=0, dq=None, dk=None, dv=None):
    """Gradients of scaled_dot_product_attention_forward: dout (N, T, M) -> (dq, dk, dv), the weights computed anew.

    A query that looks at no key has the gradient 0, and dout is not read there.
    """
    args = dout, q, k, v, mask, causal, offset, dq, dk, dv
    result = backends.active.scaled_dot_product_attention_backward(*args)
    return _backward(*args) if result is None else result


def _backward(dout, q, k, v, mask, causal, offset, dq, dk, dv):
    call = Call("scaled_dot_product_attention_backward")
    dout, q, k, v = call.floats(dout=dout, q=q, k=k, v=v)
    options = _checked(call, q, k, v, mask, causal, offset)
    shape = *q.shape[:-1], v.shape[-1]
    call.require(dout.shape == shape, f"dout is {dout.shape} but the result is {shape}")
    for name, given, like in ("dq", dq, q), ("dk", dk, k), ("dv", dv, v):
        call.check_out(name, given, like.shape)
    result = backends.checked.scaled_dot_product_attention_backward(dout, q, k, v, *options)
    return call.deliver(result, dq, dk, dv)


def _checked(call, q, k, v, mask, causal, offset):
    """(mask as an array of bool or None, causal, offset)"""
    for name, a in ("q", q), ("k", k), ("v", v):
        call.require(a.ndim in (3, 4), f"{name} is {a.shape}; it must have 3 dimensions, or 4 with heads")
        call.require(max(a.shape) <= _MOST, f"{name} is {a.shape}; an axis has at most {_MOST:,} elements")
    call.require(
        q.ndim == k.ndim and q.shape[0] == k.shape[0] and q.shape[2:] == k.shape[2:],
        f"q is {q.shape} but k is {k.shape}; all axes but the second must be equal",
    )
    call.require(
        k.ndim == v.ndim and k.shape[:-1] == v.shape[:-1],
        f"k is {k.shape} but v is {v.shape}; all axes but the last must be equal",
    )
    if not isinstance(offset, int | np.integer):
        raise call.error(TypeError, f"offset is {offset!r}; it must be a whole number")
    call.require(-_MOST <= offset <= _MOST, f"offset is {offset}; it must lie in [{-_MOST:,}, {_MOST:,}]")
    call.require(causal or not offset, f"offset is {offset} but causal is False; it belongs to causal=True")
    options = bool(causal), int(offset)
    if mask is None:
        return None, *options
    mask = np.asarray(mask)
    if mask.dtype.kind not in "biu":
        raise call.error(TypeError, f"mask has dtype {mask.dtype}; it must be bool, True where a key may be looked at")
    wanted = k.shape[:2]
    call.require(mask.shape == wanted, f"mask is {mask.shape} but k is {k.shape}; it must be {wanted}")
    return np.require(mask, np.bool_, ["C_CONTIGUOUS", "ALIGNED"]), *options
