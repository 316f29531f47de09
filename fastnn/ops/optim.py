"""Optimizer updates: lists of arrays, updated in place, one call for all parameters of a network.

Every update takes weight_decay (added to the gradient as weight_decay * p), clip_norm (> 0: gradients are scaled by
min(1, clip_norm / (norm + 1e-6)), norm over all of them) and clip_value (> 0: clamped to +-clip_value), applied in the
order norm, value, decay. An option that is 0 is off: what it would multiply is not read. Gradients are only read. A
gradient may be a RowGradient: only its rows of parameter and state change then (for SGD and AdaGrad without weight
decay, that is what the dense gradient does). Raises
ValueError for lists or shapes that do not fit and for numbers outside of their intervals (`ops/_bounds.py`), TypeError
for a dtype that is not float32 or float64. Book 1 ch. 6.
"""

import numpy as np

from .. import backends
from ._check import Call
from .embedding import RowGradient

_PLAIN = ["C_CONTIGUOUS", "ALIGNED", "ENSUREARRAY"]
_FLAGS = "lookahead", "decoupled"


def _update(op, *arguments):
    """The slow path of every update: check, and update contiguous copies that are written back where it has to be.

    Lists up to `lr`: params and grads, then the state; numbers from there on. All lists but grads are changed in place.
    """
    call = Call(op)
    names = list(backends.OPS[op].parameters)
    first = names.index("lr")
    scalars = {
        name: bool(value) if name in _FLAGS else call.number(name, value)
        for name, value in zip(names[first:], arguments[first:], strict=True)
    }
    names, columns = names[:first], [list(column) for column in arguments[:first]]
    for name, column in zip(names, columns, strict=True):
        call.require(
            len(column) == len(columns[0]), f"{name} has {len(column)} arrays but params has {len(columns[0])}"
        )
    for i, row in enumerate(zip(*columns, strict=True)):
        for name, a in zip(names, row, strict=True):
            if name == "grads" and isinstance(a, RowGradient):
                _check_rows(call, i, a, row[0])
                continue
            if not isinstance(a, np.ndarray):
                raise call.error(TypeError, f"{name}[{i}] is a {type(a).__name__}; it must be an ndarray")
            if a.shape != row[0].shape:
                raise call.error(ValueError, f"{name}[{i}] is {a.shape} but params[{i}] is {row[0].shape}")
            if name == "grads":
                call.array(f"grads[{i}]", a)
            elif a.dtype.newbyteorder("=") not in (np.float32, np.float64):
                raise call.error(TypeError, f"{name}[{i}] has dtype {a.dtype}; it must be float32 or float64")
            elif not a.flags.writeable:
                raise call.error(ValueError, f"{name}[{i}] is read-only")
    if not columns[0]:
        return
    update = getattr(backends.checked, op)
    first = columns[0][0].dtype
    states = [a for name, column in zip(names, columns, strict=True) if name != "grads" for a in column]
    uniform = first.isnative and all(a.dtype == first and a.flags.carray for a in states)
    plain = uniform and all(
        isinstance(g, np.ndarray) and g.dtype == first and g.flags.c_contiguous and g.flags.aligned for g in columns[1]
    )
    if plain and update(*columns, *scalars.values()) is not None:
        return
    gradients = _values(columns[1])
    if scalars["clip_norm"] > 0:  # the norm is over all gradients
        scale = min(1.0, scalars["clip_norm"] / (grad_norm(gradients) + 1e-6))
        gradients = [np.multiply(g, scale, dtype=np.result_type(g, np.float32)) for g in gradients]
        scalars = {**scalars, "clip_norm": 0.0}
    if uniform and not plain and not any(isinstance(g, RowGradient) for g in columns[1]):  # only gradients to convert
        converted = [np.array(g, first, order="C") for g in gradients]
        if update(columns[0], converted, *columns[2:], *scalars.values()) is not None:
            return
    # Mixed dtypes, strided or shared memory, rows: one parameter after the other, on copies where needed.
    for (p, by, *state), g in zip(zip(*columns, strict=True), gradients, strict=True):
        rows = by.rows if isinstance(by, RowGradient) else None
        dtype = p.dtype.newbyteorder("=")
        copies = [np.require(a if rows is None else a[rows], dtype, _PLAIN) for a in (p, *state)]
        call.taken(update(*([a] for a in (copies[0], np.require(g, dtype, _PLAIN), *copies[1:])), *scalars.values()))
        for a, updated in zip((p, *state), copies, strict=True):
            if a is not updated:
                a[... if rows is None else rows] = updated


def _values(grads):
    """The arrays of gradients: a RowGradient's values."""
    return [g.values if isinstance(g, RowGradient) else g for g in grads]


def _check_rows(call, i, g, p):
    call.require(
        p.ndim == 2 and g.values.shape == (len(g.rows), p.shape[1]),
        f"params[{i}] is {p.shape} but grads[{i}] has rows {g.rows.shape} and values {g.values.shape}",
    )
    if len(g.rows) and not 0 <= g.rows.min() <= g.rows.max() < len(p):
        raise call.error(
            IndexError, f"grads[{i}] has rows {g.rows.min()} to {g.rows.max()} but params[{i}] is {p.shape}"
        )


def sgd_update(params, grads, lr, weight_decay=0.0, clip_norm=0.0, clip_value=0.0):
    """p -= lr * g -> params."""
    if backends.active.sgd_update(params, grads, lr, weight_decay, clip_norm, clip_value) is None:
        _update("sgd_update", params, grads, lr, weight_decay, clip_norm, clip_value)
    return params


def momentum_update(params, grads, v, lr, momentum, weight_decay=0.0, clip_norm=0.0, clip_value=0.0):
    """v = momentum * v - lr * g; p += v -> params."""
    if backends.active.momentum_update(params, grads, v, lr, momentum, weight_decay, clip_norm, clip_value) is None:
        _update("momentum_update", params, grads, v, lr, momentum, weight_decay, clip_norm, clip_value)
    return params


def nesterov_update(params, grads, v, lr, momentum, lookahead, weight_decay=0.0, clip_norm=0.0, clip_value=0.0):
    """v = momentum * v - lr * g; p += momentum^2 * v - (1 + momentum) * lr * g -> params.

    lookahead: with the new v (book 2's rule), otherwise with the old one (book 1's).
    """
    numbers = lr, momentum, lookahead, weight_decay, clip_norm, clip_value
    if backends.active.nesterov_update(params, grads, v, *numbers) is None:
        _update("nesterov_update", params, grads, v, *numbers)
    return params


def adagrad_update(params, grads, h, lr, epsilon, weight_decay=0.0, clip_norm=0.0, clip_value=0.0):
    """h += g^2; p -= lr * g / (sqrt(h) + epsilon) -> params."""
    if backends.active.adagrad_update(params, grads, h, lr, epsilon, weight_decay, clip_norm, clip_value) is None:
        _update("adagrad_update", params, grads, h, lr, epsilon, weight_decay, clip_norm, clip_value)
    return params


def rmsprop_update(params, grads, h, lr, decay_rate, epsilon, weight_decay=0.0, clip_norm=0.0, clip_value=0.0):
    """h = decay_rate * h + (1 - decay_rate) * g^2; p -= lr * g / (sqrt(h) + epsilon) -> params."""
    numbers = lr, decay_rate, epsilon, weight_decay, clip_norm, clip_value
    if backends.active.rmsprop_update(params, grads, h, *numbers) is None:
        _update("rmsprop_update", params, grads, h, *numbers)
    return params


def adam_update(
    params, grads, m, v, lr, beta1, beta2, epsilon, step, decoupled=False,
    weight_decay=0.0, clip_norm=0.0, clip_value=0.0,
):  # fmt: skip
    """Adam with the step size bias-corrected as in the book, step counting from 1 -> params.

    decoupled: AdamW, p -= lr * weight_decay * p before the step instead of weight_decay * p in the gradient.
    Kingma and Ba 2015; Loshchilov and Hutter 2019.
    """
    numbers = lr, beta1, beta2, epsilon, step, decoupled, weight_decay, clip_norm, clip_value
    if backends.active.adam_update(params, grads, m, v, *numbers) is None:
        _update("adam_update", params, grads, m, v, *numbers)
    return params


def grad_norm(grads):
    """Square root of the sum of squares over all arrays, accumulated in double -> float. Book 2 ch. 6."""
    result = backends.active.grad_norm(grads)
    if result is not None:
        return result
    call, grads = Call("grad_norm"), _values(grads)
    plain = [np.require(call.array(f"grads[{i}]", g), np.float64, _PLAIN) for i, g in enumerate(grads)]
    return call.taken(backends.checked.grad_norm(plain))


def scale_arrays(arrays, scale):
    """arrays[i] *= scale, in place -> arrays."""
    if backends.active.scale_arrays(arrays, scale) is None:
        call, plain = Call("scale_arrays"), _values(arrays)
        scale = call.number("scale", scale)
        for i, a in enumerate(plain):
            if not isinstance(a, np.ndarray) or a.dtype.kind != "f":
                raise call.error(TypeError, f"arrays[{i}] must be an ndarray of floats")
            call.require(a.flags.writeable, f"arrays[{i}] is read-only")
        for a in plain:
            a *= scale
    return arrays


def moving_average(arrays, values, momentum, factor=1.0):
    """arrays[i] = momentum * arrays[i] + (1 - momentum) * (values[i] * factor), in place -> arrays.

    The running statistics of batch normalisation. Raises ValueError for lists or shapes that do not fit and a momentum
    outside [0, 1], TypeError for arrays that are not float32 or float64.
    """
    if backends.active.moving_average(arrays, values, momentum, factor) is None:
        call = Call("moving_average")
        momentum, factor = call.number("momentum", momentum), call.number("factor", factor)
        call.require(len(arrays) == len(values), f"arrays has {len(arrays)} arrays but values has {len(values)}")
        for i, (a, value) in enumerate(zip(arrays, values, strict=True)):
            if not isinstance(a, np.ndarray) or a.dtype.newbyteorder("=") not in (np.float32, np.float64):
                raise call.error(TypeError, f"arrays[{i}] must be an ndarray of float32 or float64")
            value = call.array(f"values[{i}]", value)
            call.require(a.shape == value.shape, f"arrays[{i}] is {a.shape} but values[{i}] is {value.shape}")
            call.require(a.flags.writeable, f"arrays[{i}] is read-only")
        for a, value in zip(arrays, values, strict=True):
            dtype = a.dtype.newbyteorder("=")
            now, new = np.array(a, dtype, order="C"), np.require(value, dtype, _PLAIN)
            [a[...]] = call.taken(backends.checked.moving_average([now], [new], momentum, factor))
    return arrays
