"""Matrix product and the fully connected layer."""

from .. import backends
from ._check import Call


def matmul(a, b, out=None):
    """Matrix product a @ b of (M, K) and (K, N), each with any strides (a transposed view is not copied).

    With a third axis before them, equal in both, as many products: (B, M, K) and (B, K, N) -> (B, M, N). Raises
    ValueError if the inner sizes differ, TypeError for a dtype that is not real. Book 2 ch. 1.
    """
    result = backends.active.matmul(a, b, out)
    return _matmul(a, b, out) if result is None else result


def _matmul(a, b, out):
    call = Call("matmul")
    a, b = call.floats(a=a, b=b)
    if a.ndim != 3 or b.ndim != 3:
        call.ndim(2, a=a, b=b)
    call.require(
        a.shape[-1] == b.shape[-2],
        f"a is {a.shape} but b is {b.shape}; a.shape[{a.ndim - 1}] must equal b.shape[{b.ndim - 2}]",
    )
    call.require(a.shape[:-2] == b.shape[:-2], f"a is {a.shape} but b is {b.shape}; the first axes must be equal")
    call.check_out("out", out, (*a.shape[:-1], b.shape[-1]))
    return call.deliver(backends.checked.matmul(a, b), out)


def matmul_pairs(a, b, transpose_a=False, transpose_b=False, out=None):
    """`matmul` of (B, M, K) and (B, K, N) -> (B, M, N), where a or b comes with its last two axes exchanged.

    For programs of networks, whose arrays are C-contiguous; everything else passes views to `matmul`.
    """
    return matmul(a.swapaxes(1, 2) if transpose_a else a, b.swapaxes(1, 2) if transpose_b else b, out)


def affine_forward(x, W, b, activation="identity", alpha=0.0, out=None):
    """activation(x @ W + b): x (N, D), W (D, M), b (M,) or None -> (N, M).

    `activation` is a kind of `activation_forward`, `alpha` its parameter. Raises ValueError if the shapes do not fit,
    TypeError for a dtype that is not real. Book 1 ch. 5; ONNX Gemm.
    """
    result = backends.active.affine_forward(x, W, b, activation, alpha, out)
    return _affine_forward(x, W, b, activation, alpha, out) if result is None else result


def _affine_forward(x, W, b, activation, alpha, out):
    call = Call("affine_forward")
    x, W, b = call.floats(optional=("b",), x=x, W=W, b=b)
    call.kind(activation)
    _check_affine(call, x, W, b)
    call.check_out("out", out, (x.shape[0], W.shape[1]))
    return call.deliver(backends.checked.affine_forward(x, W, b, activation, call.number("alpha", alpha)), out)


def affine_backward(dout, x, W, dW=None, db=None, dx=None):
    """Gradients of x @ W + b: dout (N, M), x (N, D), W (D, M) -> (dx (N, D), dW (D, M), db (M,)).

    Outputs that are given are overwritten. Raises ValueError if the shapes do not fit, TypeError for a dtype that is
    not real. Book 1 ch. 5.
    """
    result = backends.active.affine_backward(dout, x, W, dW, db, dx)
    return _affine_backward(dout, x, W, dW, db, dx) if result is None else result


def _affine_backward(dout, x, W, dW, db, dx):
    call = Call("affine_backward")
    dout, x, W = call.floats(dout=dout, x=x, W=W)
    _check_affine(call, x, W, None)
    shape = (x.shape[0], W.shape[1])
    call.require(
        dout.shape == shape, f"dout is {dout.shape} but x is {x.shape} and W is {W.shape}; dout must be {shape}"
    )
    call.check_out("dW", dW, W.shape)
    call.check_out("db", db, W.shape[1:])
    call.check_out("dx", dx, x.shape)
    return call.deliver(backends.checked.affine_backward(dout, x, W), dx, dW, db)


def _check_affine(call, x, W, b):
    call.ndim(2, x=x, W=W)
    call.require(x.shape[1] == W.shape[0], f"x is {x.shape} but W is {W.shape}; x.shape[1] must equal W.shape[0]")
    if b is not None:
        call.require(b.shape == W.shape[1:], f"b is {b.shape} but W is {W.shape}; b must be ({W.shape[1]},)")
