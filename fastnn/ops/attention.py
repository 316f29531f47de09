"""Scaled dot-product attention: memory is linear in the lengths of the sequences."""

import numpy as np

from .. import backends
from ._check import Call


def scaled_dot_product_attention_forward(q, k, v, mask=None, causal=False, out=None):
    """softmax(q @ k.T / sqrt(D)) @ v for each of N sequences: q (N, T, D), k (N, S, D), v (N, S, M) -> (N, T, M).

    Or for heads side by side: q (N, T, heads, D), k (N, S, heads, D), v (N, S, heads, M) -> (N, T, heads, M). mask
    (N, S), True where a key may be looked at (padding is False); causal: query t looks at keys 0 ... t + S - T. A query
    that may look at no key gives 0. What is not looked at has the weight 0; a NaN or inf in v may still show through,
    in queries of the same block, whose size depends on the backend. Raises ValueError for shapes that do not fit.
    Vaswani et al. 2017; ONNX Attention.
    """
    result = backends.active.scaled_dot_product_attention_forward(q, k, v, mask, causal, out)
    return _forward(q, k, v, mask, causal, out) if result is None else result


def _forward(q, k, v, mask, causal, out):
    call = Call("scaled_dot_product_attention_forward")
    q, k, v = call.floats(q=q, k=k, v=v)
    mask = _checked(call, q, k, v, mask)
    call.check_out("out", out, (*q.shape[:-1], v.shape[-1]))
    result = backends.checked.scaled_dot_product_attention_forward(q, k, v, mask, bool(causal))
    return call.deliver(result, out)


def scaled_dot_product_attention_backward(dout, q, k, v, mask=None, causal=False, dq=None, dk=None, dv=None):
    """Gradients of scaled_dot_product_attention_forward: dout (N, T, M) -> (dq, dk, dv), the weights computed anew."""
    result = backends.active.scaled_dot_product_attention_backward(dout, q, k, v, mask, causal, dq, dk, dv)
    return _backward(dout, q, k, v, mask, causal, dq, dk, dv) if result is None else result


def _backward(dout, q, k, v, mask, causal, dq, dk, dv):
    call = Call("scaled_dot_product_attention_backward")
    dout, q, k, v = call.floats(dout=dout, q=q, k=k, v=v)
    mask = _checked(call, q, k, v, mask)
    shape = *q.shape[:-1], v.shape[-1]
    call.require(dout.shape == shape, f"dout is {dout.shape} but the result is {shape}")
    for name, given, like in ("dq", dq, q), ("dk", dk, k), ("dv", dv, v):
        call.check_out(name, given, like.shape)
    result = backends.checked.scaled_dot_product_attention_backward(dout, q, k, v, mask, bool(causal))
    return call.deliver(result, dq, dk, dv)


def _checked(call, q, k, v, mask):
    """The mask as an array of bool, or None."""
    for name, a in ("q", q), ("k", k), ("v", v):
        call.require(a.ndim in (3, 4), f"{name} is {a.shape}; it must have 3 dimensions, or 4 with heads")
    call.require(
        q.ndim == k.ndim and q.shape[0] == k.shape[0] and q.shape[2:] == k.shape[2:],
        f"q is {q.shape} but k is {k.shape}; all axes but the second must be equal",
    )
    call.require(
        k.ndim == v.ndim and k.shape[:-1] == v.shape[:-1],
        f"k is {k.shape} but v is {v.shape}; all axes but the last must be equal",
    )
    if mask is None:
        return None
    mask = np.asarray(mask)
    if mask.dtype.kind not in "biu":
        raise call.error(TypeError, f"mask has dtype {mask.dtype}; it must be bool, True where a key may be looked at")
    wanted = k.shape[:2]
    call.require(mask.shape == wanted, f"mask is {mask.shape} but k is {k.shape}; it must be {wanted}")
    return np.require(mask, np.bool_, ["C_CONTIGUOUS", "ALIGNED"])
