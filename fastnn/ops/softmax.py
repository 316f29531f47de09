"""Softmax over the rows of a matrix, and the losses."""

import numpy as np

from .. import backends
from ._check import Call
from .affine import _check_affine

_PLAIN = ["C_CONTIGUOUS", "ALIGNED"]


def softmax_forward(x, out=None):
    """Softmax of each row: x (N, V) -> (N, V). Raises ValueError unless x is 2-D. Book 1 ch. 3; ONNX Softmax."""
    result = backends.active.softmax_forward(x, out)
    return _rows_forward("softmax_forward", x, out) if result is None else result


def log_softmax_forward(x, out=None):
    """Logarithm of the softmax of each row: x (N, V) -> (N, V). Raises ValueError unless x is 2-D. ONNX LogSoftmax."""
    result = backends.active.log_softmax_forward(x, out)
    return _rows_forward("log_softmax_forward", x, out) if result is None else result


def _rows_forward(op, x, out):
    call = Call(op)
    (x,) = call.floats(x=x)
    call.ndim(2, x=x)
    call.check_out("out", out, x.shape)
    return call.deliver(getattr(backends.checked, op)(x), out)


def softmax_backward(dout, y, dx=None):
    """Gradient through softmax_forward: dout (N, V), y (N, V) its output -> dx. ValueError if shapes differ."""
    result = backends.active.softmax_backward(dout, y, dx)
    return _rows_backward("softmax_backward", dout, y, dx) if result is None else result


def log_softmax_backward(dout, y, dx=None):
    """Gradient through log_softmax_forward: dout (N, V), y (N, V) its output -> dx. ValueError if shapes differ."""
    result = backends.active.log_softmax_backward(dout, y, dx)
    return _rows_backward("log_softmax_backward", dout, y, dx) if result is None else result


def _rows_backward(op, dout, y, dx):
    call = Call(op)
    dout, y = call.floats(dout=dout, y=y)
    call.ndim(2, dout=dout)
    call.same_shape(dout=dout, y=y)
    call.check_out("dx", dx, dout.shape)
    return call.deliver(getattr(backends.checked, op)(dout, y), dx)


def softmax_cross_entropy_forward(x, t, weight=None, ignore_index=None, label_smoothing=0.0, epsilon=0.0, y=None):
    """Mean cross entropy of softmax(x) against t: x (N, V) -> (loss, y (N, V) = softmax(x)).

    t: labels (N,) of any integer dtype (in [0, V) unless they are ignore_index) or targets
    (N, V), one-hot or soft; weight (V,): weight of each class; rows with label ignore_index do not count. epsilon = 0
    is the exact log-sum-exp loss (PyTorch's cross_entropy; with targets the mean is over N), epsilon > 0 the books'
    -log(p + epsilon). Raises IndexError for a label outside [0, V), ValueError for shapes that do not fit. Book 1
    ch. 5.
    """
    result = backends.active.softmax_cross_entropy_forward(x, t, weight, ignore_index, label_smoothing, epsilon, y)
    if result is None:
        return _softmax_cross_entropy_forward(x, t, weight, ignore_index, label_smoothing, epsilon, y)
    return result


def _softmax_cross_entropy_forward(x, t, weight, ignore_index, label_smoothing, epsilon, y):
    call = Call("softmax_cross_entropy_forward")
    x, t, *options = _cross_entropy_arguments(call, "x", x, t, weight, ignore_index, label_smoothing)
    call.check_out("y", y, x.shape)
    epsilon = call.number("epsilon", epsilon)
    loss, p = call.taken(backends.checked.softmax_cross_entropy_forward(x, t, *options, epsilon))
    return loss, call.deliver(p, y)


def softmax_cross_entropy_backward(y, t, dout=1.0, weight=None, ignore_index=None, label_smoothing=0.0, dx=None):
    """Gradient of the exact loss times dout: y (N, V) the softmax, t as in the forward call -> dx (N, V).

    Independent of epsilon, as in the books. dx may be y: no second array is then needed. Raises as
    softmax_cross_entropy_forward.
    """
    result = backends.active.softmax_cross_entropy_backward(y, t, dout, weight, ignore_index, label_smoothing, dx)
    if result is None:
        return _softmax_cross_entropy_backward(y, t, dout, weight, ignore_index, label_smoothing, dx)
    return result


def _softmax_cross_entropy_backward(y, t, dout, weight, ignore_index, label_smoothing, dx):
    call = Call("softmax_cross_entropy_backward")
    y, t, *options = _cross_entropy_arguments(call, "y", y, t, weight, ignore_index, label_smoothing)
    call.check_out("dx", dx, y.shape)
    dout = call.number("dout", dout)
    return call.deliver(backends.checked.softmax_cross_entropy_backward(y, t, dout, *options), dx)


def affine_softmax_cross_entropy(
    x, W, b, t, weight=None, ignore_index=None, label_smoothing=0.0, epsilon=0.0, gradient=True,
    dW=None, db=None, dx=None,
):  # fmt: skip
    """softmax_cross_entropy_forward of x @ W + b and its gradients at once: -> (loss, dx (N, D), dW (D, V), db (V,)).

    x (N, D), W (D, V), b (V,) or None; t, weight and the options as in softmax_cross_entropy_forward. For many classes:
    native goes through it in blocks of rows, and the scores (N, V) are never stored. Without `gradient` the last three
    are None; dx=False leaves dx out. Raises as affine_forward and softmax_cross_entropy_forward. Book 2 ch. 5 and 6.
    """
    args = x, W, b, t, weight, ignore_index, label_smoothing, epsilon, gradient, dW, db, dx
    result = backends.active.affine_softmax_cross_entropy(*args)
    return _affine_softmax_cross_entropy(*args) if result is None else result


def _affine_softmax_cross_entropy(
    x, W, b, t, weight, ignore_index, label_smoothing, epsilon, gradient, dW, db, dx
):  # fmt: skip
    call = Call("affine_softmax_cross_entropy")
    x, W, b = call.floats(optional=("b",), x=x, W=W, b=b)
    _check_affine(call, x, W, b)
    t, *options = _targets_and_options(
        call, f"x is {x.shape} and W is {W.shape}", (len(x), W.shape[1]), x.dtype, t, weight, ignore_index,
        label_smoothing,
    )  # fmt: skip
    epsilon = call.number("epsilon", epsilon)
    if gradient:
        call.check_out("dW", dW, W.shape)
        call.check_out("db", db, W.shape[1:])
        call.check_out("dx", None if dx is False else dx, x.shape)
    skipped = False if dx is False else None
    args = x, W, b, t, *options, epsilon, bool(gradient), None, None, skipped
    loss, *gradients = call.taken(backends.checked.affine_softmax_cross_entropy(*args))
    if not gradient:
        return loss, None, None, None
    return loss, *call.deliver(tuple(gradients), None if dx is False else dx, dW, db)


def _cross_entropy_arguments(call, name, x, t, weight, ignore_index, label_smoothing):
    (x,) = call.floats(**{name: x})  # t and weight follow x: they do not decide the result's dtype
    call.ndim(2, **{name: x})
    given = f"{name} is {x.shape}"
    return x, *_targets_and_options(call, given, x.shape, x.dtype, t, weight, ignore_index, label_smoothing)


def _targets_and_options(call, given, shape, dtype, t, weight, ignore_index, label_smoothing):
    """t, weight, ignore_index, label_smoothing for scores of this shape; given: what it follows from, in words."""
    label_smoothing = call.number("label_smoothing", label_smoothing)
    ignore_index = None if ignore_index is None else call.whole("ignore_index", ignore_index)
    t = call.array("t", t)
    if t.ndim == 2:
        call.require(t.shape == shape, f"t is {t.shape} but {given}; targets must be {shape}")
        t = np.require(t, dtype, _PLAIN)
    else:
        if t.dtype.kind == "f":
            raise call.error(TypeError, f"t has dtype {t.dtype}; labels are integers, targets must be {shape}")
        t = call.labels(t, *shape, ignore_index)
    if weight is not None:
        weight = np.require(call.array("weight", weight), dtype, _PLAIN)
        call.require(weight.shape == shape[1:], f"weight is {weight.shape} but {given}; weight must be ({shape[1]},)")
    return t, weight, ignore_index, label_smoothing


def sigmoid_cross_entropy_forward(x, t, epsilon=0.0, y=None):
    """Mean binary cross entropy of sigmoid(x) against t in [0, 1]: one shape -> (loss, y = sigmoid(x)).

    epsilon = 0 is exact, epsilon > 0 the books' -log(p + epsilon). Raises ValueError if the shapes differ. Book 2
    ch. 4.
    """
    result = backends.active.sigmoid_cross_entropy_forward(x, t, epsilon, y)
    return _sigmoid_cross_entropy_forward(x, t, epsilon, y) if result is None else result


def _sigmoid_cross_entropy_forward(x, t, epsilon, y):
    call = Call("sigmoid_cross_entropy_forward")
    x, t = _with_targets(call, "x", x, t)
    call.check_out("y", y, x.shape)
    epsilon = call.number("epsilon", epsilon)
    loss, p = call.taken(backends.checked.sigmoid_cross_entropy_forward(x, t, epsilon))
    return loss, call.deliver(p, y)


def sigmoid_cross_entropy_backward(y, t, dout=1.0, dx=None):
    """(y - t) * dout / size: y the sigmoid, t of its shape. Raises ValueError if the shapes differ."""
    result = backends.active.sigmoid_cross_entropy_backward(y, t, dout, dx)
    return _sigmoid_cross_entropy_backward(y, t, dout, dx) if result is None else result


def _sigmoid_cross_entropy_backward(y, t, dout, dx):
    call = Call("sigmoid_cross_entropy_backward")
    y, t = _with_targets(call, "y", y, t)
    call.check_out("dx", dx, y.shape)
    return call.deliver(backends.checked.sigmoid_cross_entropy_backward(y, t, call.number("dout", dout)), dx)


def squared_error_forward(y, t):
    """Sum of (y - t)^2 over everything, a float: arrays of one shape. ValueError if the shapes differ. Book 1 ch. 4."""
    result = backends.active.squared_error_forward(y, t)
    if result is None:
        call = Call("squared_error_forward")
        result = call.taken(backends.checked.squared_error_forward(*_with_targets(call, "y", y, t)))
    return result


def squared_error_backward(y, t, scale, dx=None):
    """scale * (y - t): arrays of one shape. Raises ValueError if the shapes differ."""
    result = backends.active.squared_error_backward(y, t, scale, dx)
    return _squared_error_backward(y, t, scale, dx) if result is None else result


def _squared_error_backward(y, t, scale, dx):
    call = Call("squared_error_backward")
    y, t = _with_targets(call, "y", y, t)
    call.check_out("dx", dx, y.shape)
    return call.deliver(backends.checked.squared_error_backward(y, t, call.number("scale", scale)), dx)


def _with_targets(call, name, x, t):
    (x,) = call.floats(**{name: x})
    t = np.require(call.array("t", t), x.dtype, _PLAIN)
    call.same_shape(**{name: x, "t": t})
    return x, t
