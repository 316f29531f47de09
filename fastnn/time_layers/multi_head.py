"""Multi-head attention."""

from typing import Any

import numpy as np

from .. import init as start
from .. import ops
from ..layers.base import Layer, from_forward, need_arrays
from .pointwise import TimeAffine


class MultiHeadAttention(Layer):
    """`heads` attentions side by side, between affine layers: x (N, T, D) -> (N, T, D). Vaswani et al. 2017.

    Wq, Wk, Wv, Wo (D, D) and their biases (D,); D is a multiple of heads. `forward(x, context, mask, offset)`: context
    (N, S, D) is what is looked at (None: x itself), mask (N, S) is False at steps of it that are not looked at, which
    are never read as keys and values. As queries all steps of x are read: without a context padded steps get results
    too, which the caller leaves out. causal: step t looks at the steps up to t + offset; offset is S - T where x is the
    end of context. Memory is linear in T and S. Raises ValueError for arrays and masks that do not fit.
    """

    size_names = ("D",)
    param_names = "Wq", "bq", "Wk", "bk", "Wv", "bv", "Wo", "bo"
    _saved: Any = from_forward()

    def __init__(self, Wq, bq, Wk, bk, Wv, bv, Wo, bo, heads, causal=False):
        need_arrays(self, Wq=Wq, bq=bq, Wk=Wk, bk=bk, Wv=Wv, bv=bv, Wo=Wo, bo=bo)
        if not isinstance(heads, int | np.integer):
            raise TypeError(f"MultiHeadAttention: heads is {heads!r}; it must be a whole number")
        if heads < 1 or Wq.shape[1] % heads:
            raise ValueError(f"MultiHeadAttention: Wq is {Wq.shape} but heads is {heads}; it must divide Wq.shape[1]")
        self.heads = int(heads)
        self.causal = causal
        self.projections = [TimeAffine(W, b) for W, b in ((Wq, bq), (Wk, bk), (Wv, bv), (Wo, bo))]
        self.params = [p for layer in self.projections for p in layer.params]
        self.grads = [g for layer in self.projections for g in layer.grads]

    @classmethod
    def create(cls, D, heads, *, init="glorot", rng=None, dtype="float32", **options):
        """A layer that makes its own weights (D, D), and biases of zeros; the rest as for `Affine.create`."""
        (D,), rng = start.sizes(f"{cls.__name__}.create", D=D), np.random.default_rng(rng)
        parts = [TimeAffine.create(D, D, init=init, rng=rng, dtype=dtype) for _ in range(4)]
        return cls(*(p for part in parts for p in part.params), heads, **options)

    def forward(self, x, context=None, mask=None, offset=0):
        itself = context is None
        x = self._steps("x", x)
        context = x if itself else self._steps("context", context)
        if mask is not None:
            mask = np.asarray(mask)
            context = self._looked_at(context, mask)
        q, k, v = (
            self._split(layer.forward(a)) for layer, a in zip(self.projections[:3], (x, context, context), strict=True)
        )
        self._saved = q, k, v, mask, offset, itself
        out = ops.scaled_dot_product_attention_forward(q, k, v, mask, self.causal, offset)
        return self.projections[3].forward(_join(out))

    def backward(self, dout):
        """-> dx, or (dx, dcontext) where a context was given"""
        q, k, v, mask, offset, itself = self._saved
        dout = self._split(self.projections[3].backward(dout))
        grads = ops.scaled_dot_product_attention_backward(dout, q, k, v, mask, self.causal, offset)
        dx, *dcontext = (layer.backward(_join(g)) for layer, g in zip(self.projections[:3], grads, strict=True))
        return dx + dcontext[0] + dcontext[1] if itself else (dx, dcontext[0] + dcontext[1])

    def _steps(self, name, x):
        x, D = np.asarray(x), len(self.params[0])
        if x.ndim != 3 or x.shape[2] != D:
            raise ValueError(f"MultiHeadAttention: {name} is {x.shape}; it must be (N, steps, {D})")
        return x

    def _looked_at(self, context, mask):
        """The context with 0 at the steps that are not looked at: 0 times a NaN there would reach dWk and dWv."""
        if mask.shape != context.shape[:2]:
            raise ValueError(
                f"MultiHeadAttention: mask is {mask.shape} but what is looked at is {context.shape}; the mask of its "
                f"steps must be {context.shape[:2]}"
            )
        if mask.dtype.kind not in "biu":
            raise TypeError(f"MultiHeadAttention: mask has dtype {mask.dtype}; it must be bool, False at padding")
        return np.where(mask.astype(np.bool_)[:, :, np.newaxis], context, context.dtype.type(0))

    def _split(self, x):
        """(N, T, D) as (N, T, heads, D / heads)"""
        N, T, D = x.shape
        return x.reshape(N, T, self.heads, D // self.heads)


def _join(x):
    """The inverse of _split."""
    N, T, heads, width = x.shape
    return x.reshape(N, T, heads * width)
