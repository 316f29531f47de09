"""From layers to instructions: one function a layer class, in the table LAYERS, and one a loss, in LOSSES.

`lower(program, layer, x)` emits the forward pass and returns its output and a function that emits the backward pass:
from the gradient of the output (a buffer, which it may overwrite) to that of x, None where nobody needs it. Classes
that are not in the tables, layers of a subclass and layers whose arrays do not fit run in Python, as they are.
"""

import copy
import inspect
import itertools
import math
from typing import Any, NamedTuple

import numpy as np

from .. import layers, time_layers
from ..functions import BOOK_EPSILON
from ..layers.base import pair
from ..layers.branch import Branches
from ..layers.random import draw_key
from ..targets import labels_or_targets
from .program import Buffer, straight
from .saved import Saved


class Value(NamedTuple):
    """What one layer hands to the next: (N, *shape). wanted: whether somebody needs its gradient."""

    buffer: Buffer
    shape: tuple
    wanted: bool
    origin: str  # the layer it comes from, for messages


class Misfit(Exception):
    """This layer does not fit on these operations: it runs in Python."""


# From so many classes on a product and its softmax loss are one operation, which goes through the scores in blocks.
_VOCABULARY = 2000

_ARRAYS = "its parameters or gradients are not C-contiguous arrays of {} that can be written"
_MATRICES = _ARRAYS.replace("arrays", "arrays, or transposed views of such,")

# Attributes of layers that instructions have as constants: where one is assigned, the plan is made anew.
_OPTIONS = (
    "activation", "alpha", "ceil_mode", "count_include_pad", "dilation", "dropout_ratio", "epsilon", "groups",
    "ignore_label", "input_gradient", "keepdims", "kind", "linear_before_reset", "merge", "momentum", "options",
    "output_padding", "pad", "pool_h", "pool_w", "reverse", "stateful", "stride",
)  # fmt: skip

# Activations whose derivative follows from their output, so that they can be part of the operation before them.
_FROM_OUTPUT = "relu", "sigmoid", "tanh"


def chain(program, net, x, numbered=True):
    """Lower the layers one after the other -> (y, backward). numbered: they are the network's own, not a branch's."""
    backs, i = [], 0
    while i < len(net):
        following = net[i + 1] if i + 1 < len(net) else None
        program.layer += numbered
        taken, y, back = _layer(program, net[i], following, x)
        backs.append(back)
        program.layer += (taken - 1) * numbered
        x, i = y, i + taken

    def backward(dy):
        for back in reversed(backs):
            if dy is None:
                return None
            dy = back(dy)
        return dy

    return x, backward


def _layer(program, layer, following, x):
    """One layer, and the activation that follows it where the two make one operation -> (layers taken, y, backward)."""
    number = program.layer
    cls = class_of(program, layer)
    columns = (
        program.instructions, program.records, program.scalars, program.statistics, program.inputs, program.after,
        program.pinned, program.draws, program.planned,
    )  # fmt: skip
    at = [len(column) for column in columns]
    try:
        if cls in FUSING:
            kind, alpha = _fusable(program, following)
            y, back = FUSING[cls](program, layer, x, kind, alpha)
            taken = 1 + (kind != "identity")
        elif cls in LAYERS:
            (y, back), taken = LAYERS[cls](program, layer, x), 1
        else:
            raise Misfit("its class is not one that a plan knows" if cls else "it has a forward or backward of its own")
        for each in (layer, following)[:taken]:
            hold_options(program, each)
        program.planned.append(layer)
    except Misfit as misfit:
        program.reasons[number] = str(misfit) or "its arrays or options are not what the operation takes"
        for column, length in zip(columns, at, strict=True):
            del column[length:]
        del program.layer_of[at[0] :]
        (y, back), taken = _in_python(program, layer, x), 1

    def backward(dy):
        program.layer = number
        dx = back(dy)
        if program.ready is not None and getattr(layer, "params", None) and not isinstance(layer, Branches):
            program.ready(layer)
        return dx

    last = type(following if taken > 1 else layer).__name__
    program.shapes |= dict.fromkeys(range(number, number + taken), y.shape)
    return taken, y._replace(origin=f"layer {number + taken - 1} ({last})"), backward


def hold_options(program, layer):
    """The plan is made anew where one of the layer's options is assigned."""
    for name in _OPTIONS:
        if hasattr(layer, name):
            program.hold(layer, name)


def class_of(program, layer):
    """The layer's class; None where it has a forward or backward of its own, which runs in Python."""
    own = vars(layer) if hasattr(layer, "__dict__") else {}
    replaced = [program.hold(own, method) for method in ("forward", "backward")]
    return type(layer) if replaced == [None, None] else None


def _fusable(program, layer):
    """(kind, alpha) of an activation that can be part of the operation before it; ("identity", 0) of anything else."""
    cls = None if layer is None else class_of(program, layer)
    if cls is layers.Relu:
        return "relu", 0.0
    if cls in ACTIVATION_CLASSES:
        if layer.kind in _FROM_OUTPUT or not program.train:
            return layer.kind, float(layer.alpha)
        if layer.kind == "leaky_relu" and layer.alpha > 0:  # the sign of the output is that of the input
            return layer.kind, float(layer.alpha)
    return "identity", 0.0


def _misfit(program, layer, x, wants, found=None):
    """ValueError: what comes in does not chain with this layer."""
    found = x.shape if found is None else found
    return ValueError(
        f"Network: layer {program.layer} ({type(layer).__name__}) takes {wants} but {x.origin} gives "
        f"{_of_batch(found)}; shapes must chain"
    )


def _of_batch(shape):
    return "(" + ", ".join(["N", *map(str, shape)]) + ")" if shape else "(N,)"


def _arrays(program, layer, any_order=False):
    """Buffers of a layer's parameters and gradients; Misfit where an operation could not use the arrays.

    any_order: matrices may be transposed views.
    """
    arrays = [*layer.params, *layer.grads] if program.backward else layer.params
    if not program.fits(*(map(straight, arrays) if any_order else arrays)):
        raise Misfit((_MATRICES if any_order else _ARRAYS).format(program.dtype))
    params = [program.array(layer.params, i) for i in range(len(layer.params))]
    if not program.backward:
        return params, [None] * len(params)
    return params, [program.array(layer.grads, i) for i in range(len(layer.grads))]


def _floats(program, layer, x):
    if program.records[x.buffer].dtype != "float":
        raise _misfit(program, layer, x, "numbers", x.shape)


# ---- products, with the activation that follows ----------------------------------------------------------------------


class Product:
    """A product that has been emitted, and that a loss after it may take over: with the gradients, if these follow."""

    def __init__(self, program, inputs, grads, y, rows, x):
        self.at = len(program.instructions) - 1
        self.inputs, self.grads, self.y, self.rows, self.x = inputs, grads, y, rows, x
        self.taken = False
        self.dx = None

    def gives(self, program, buffer, rows):
        """Whether this was the last instruction and its result, of so many rows a sample, is in the buffer."""
        last = self.at == len(program.instructions) - 1 and self.rows == rows
        return last and program.records[buffer].where is program.records[self.y].where

    def take(self, program):
        """Remove the instruction -> (inputs, gradients) of the one that replaces it, and the layer's number."""
        self.taken = True
        program.instructions.pop()
        if program.backward and self.x.wanted:
            self.dx = program.arena(program.records[self.inputs[0]].shape, self.rows)
        return self.inputs, (*self.grads, False if self.dx is None else self.dx), program.layer_of.pop()


def _product(program, layer, x, columns, kind, alpha):
    """x @ W + b, or without b, over rows of `columns` numbers -> (y, backward) of the buffer (N * rows, M)."""
    (W, b), (dW, db) = ((*arrays, None)[:2] for arrays in _arrays(program, layer, any_order=True))
    D, M = layer.params[0].shape
    rows = math.prod(x.shape) // D if columns == D else 1
    x2 = program.view(x.buffer, rows, (D,))
    y2 = program.arena((M,), rows)
    program.emit("affine_forward", x2, W, b, kind, alpha, y2)
    product = Product(program, (x2, W, b), (dW, db), y2, rows, x)
    if kind == "identity":
        program.product = product

    def backward(dy):
        if product.taken:
            return None if product.dx is None else program.view(product.dx, 1, x.shape)
        dy2 = program.view(dy, rows, (M,))
        if kind != "identity":
            program.emit("activation_backward", dy2, y2, kind, alpha, dy2)
        dx2 = program.arena((D,), rows) if x.wanted else None
        program.emit("affine_backward", dy2, x2, W, dW, db, dx2)
        return None if dx2 is None else program.view(dx2, 1, x.shape)

    return y2, backward


def _affine(program, layer, x, kind, alpha):
    _floats(program, layer, x)
    D, M = layer.params[0].shape
    if math.prod(x.shape) != D:
        raise _misfit(program, layer, x, f"{D} numbers a sample (W is {layer.params[0].shape})")
    y, backward = _product(program, layer, x._replace(shape=x.shape or (1,)), -1, kind, alpha)
    return Value(y, (M,), True, ""), backward


def _time_affine(program, layer, x, kind, alpha):
    _floats(program, layer, x)
    D, M = layer.params[0].shape
    if not x.shape or x.shape[-1] != D:
        raise _misfit(program, layer, x, f"{D} numbers a step (W is {layer.params[0].shape})")
    y, backward = _product(program, layer, x, D, kind, alpha)
    shape = *x.shape[:-1], M
    return Value(program.view(y, 1, shape), shape, True, ""), backward


def _images(program, layer, x, channels=None):
    _floats(program, layer, x)
    if len(x.shape) != 3 or (channels is not None and x.shape[0] != channels):
        wants = "images (N, C, H, W)" if channels is None else f"images of {channels} channels"
        raise _misfit(program, layer, x, wants)


def _whole(least, *values):
    """Misfit unless all are whole numbers in [least, 2**31): then the layer runs in Python, which explains."""
    for value in values:
        if not (isinstance(value, int | np.integer) and least <= value < 2**31):
            raise Misfit("an option is out of range")


def _window(program, layer, x, H, W):
    """The output's height and width, which must not be empty."""
    if min(H, W) < 1:
        raise _misfit(program, layer, x, "images that its window fits on")
    if H * W >= 2**31:
        raise Misfit("an option is out of range")
    return H, W


def _convolution(program, layer, x, kind, alpha):
    W = layer.params[0]
    stride, pad, dilation = pair(layer.stride), pair(layer.pad), pair(layer.dilation)
    _whole(1, layer.groups, *stride, *dilation)
    _whole(0, *pad)
    _images(program, layer, x, W.shape[1] * layer.groups)
    params, grads = _arrays(program, layer)
    size = (
        (n + 2 * p - d * (k - 1) - 1) // s + 1
        for n, p, d, k, s in zip(x.shape[1:], pad, dilation, W.shape[2:], stride, strict=True)
    )
    shape = len(W), *_window(program, layer, x, *size)
    options = stride, pad, dilation, layer.groups
    y = program.arena(shape)
    b = params[1] if len(params) > 1 else None
    program.emit("conv2d_forward", x.buffer, params[0], b, *options, kind, alpha, "auto", y)

    def backward(dy):
        if kind != "identity":
            program.emit("activation_backward", dy, y, kind, alpha, dy)
        dx = program.arena(x.shape) if x.wanted and layer.input_gradient else None
        dW, db = (*grads, None)[:2]
        program.emit("conv2d_backward", dy, x.buffer, params[0], *options, "auto", False if dx is None else dx, dW, db)
        return dx

    return Value(y, shape, True, ""), backward


def _convolution_transposed(program, layer, x):
    W = layer.params[0]
    _images(program, layer, x, len(W))
    params, grads = _arrays(program, layer)
    options = stride, pad, output_padding, dilation, groups = layer._options()
    _whole(1, groups, *stride, *dilation)
    _whole(0, *pad, *output_padding)
    size = (
        (n - 1) * s - 2 * p + d * (k - 1) + o + 1
        for n, k, s, p, o, d in zip(x.shape[1:], W.shape[2:], *options[:4], strict=True)
    )
    shape = W.shape[1] * layer.groups, *_window(program, layer, x, *size)
    y = program.arena(shape)
    b = params[1] if len(params) > 1 else None
    program.emit("conv_transpose2d_forward", x.buffer, params[0], b, *options, y)

    def backward(dy):
        dx = program.arena(x.shape) if x.wanted and layer.input_gradient else None
        dW, db = (*grads, None)[:2]
        outs = False if dx is None else dx, dW, db
        program.emit("conv_transpose2d_backward", dy, x.buffer, params[0], *options, *outs)
        return dx

    return Value(y, shape, True, ""), backward


# ---- element-wise ----------------------------------------------------------------------------------------------------


def _activation(program, layer, x):
    _floats(program, layer, x)
    kind, alpha = ("relu", 0.0) if type(layer) is layers.Relu else (layer.kind, float(layer.alpha))
    y = program.arena(x.shape)
    program.emit("activation_forward", x.buffer, kind, alpha, y)

    def backward(dy):
        if not x.wanted:
            return None
        saved = y if kind in _FROM_OUTPUT else x.buffer
        program.emit("activation_backward", dy, saved, kind, alpha, dy)
        return dy

    return Value(y, x.shape, x.wanted, ""), backward


def _dropout(program, layer, x, scale=1.0, keep=None):
    """Training: a key for each run. Evaluation: times `keep`, None for nothing to do."""
    _floats(program, layer, x)
    if program.train:
        key, mask = program.key(layer, draw_key), program.arena(x.shape, dtype="mask")
        y = program.arena(x.shape)
        program.emit("dropout_forward", x.buffer, float(layer.dropout_ratio), key, scale, y, mask)
        _keep_mask(program, layer, mask, x.shape)
    elif keep is None:
        return Value(x.buffer, x.shape, x.wanted, ""), lambda dy: dy
    else:  # a ratio of 0 keeps everything
        mask, y = program.arena(x.shape, dtype="mask"), program.arena(x.shape)
        program.emit("dropout_forward", x.buffer, 0.0, 0, keep, y, mask)
        scale = keep

    def backward(dy):
        if not x.wanted:
            return None
        program.emit("dropout_backward", dy, mask, scale, dy)
        return dy

    return Value(y, x.shape, x.wanted, ""), backward


def _keep_mask(program, layer, mask, shape):
    """After the gradients have been computed the layer has its mask, as after its own forward."""
    if program.keeps_masks:
        program.pin(mask)

        def after(view, n):
            layer._mask, layer._shape = view(mask, n).copy(), (n, *shape)

        program.after.append(after)


def _books_dropout(program, layer, x):
    return _dropout(program, layer, x, 1.0, 1.0 - layer.dropout_ratio)


def _inverted_dropout(program, layer, x):
    return _dropout(program, layer, x, float(layer._scale()))


def _dropout2d(program, layer, x):
    if not program.train:
        return _dropout(program, layer, x)
    _images(program, layer, x)
    key, mask = program.key(layer, draw_key), program.arena(x.shape[:1], dtype="mask")
    y, scale = program.arena(x.shape), float(layer._scale())
    program.emit("dropout2d_forward", x.buffer, float(layer.dropout_ratio), key, scale, y, mask)
    _keep_mask(program, layer, mask, x.shape[:1])

    def backward(dy):
        if not x.wanted:
            return None
        dx = program.arena(x.shape)
        program.emit("dropout2d_backward", dy, mask, scale, dx)
        return dx

    return Value(y, x.shape, x.wanted, ""), backward


def _flatten(program, layer, x):
    shape = (math.prod(x.shape),)
    return Value(program.view(x.buffer, 1, shape), shape, x.wanted, ""), lambda dy: program.view(dy, 1, x.shape)


def _softmax(program, layer, x):
    _floats(program, layer, x)
    rows, columns = math.prod(x.shape[:-1]), x.shape[-1:]
    y2 = program.arena(columns, rows)
    program.emit("softmax_forward", program.view(x.buffer, rows, columns), y2)

    def backward(dy):
        if not x.wanted:
            return None
        dx = program.arena(columns, rows)
        program.emit("softmax_backward", program.view(dy, rows, columns), y2, dx)
        return program.view(dx, 1, x.shape)

    return Value(program.view(y2, 1, x.shape), x.shape, x.wanted, ""), backward


# ---- normalisation ---------------------------------------------------------------------------------------------------


def _batch_norm(program, layer, x, shape, factor):
    """Over x seen as (N, *shape); factor(n): of the batch's variance in the running one."""
    (gamma, beta), (dgamma, dbeta) = _arrays(program, layer)
    C = shape[:1]
    if layer.params[0].shape != C:
        raise Misfit
    if layer.running_mean is None:
        layer.running_mean, layer.running_var = (np.zeros(C, layer._statistics_dtype()) for _ in range(2))
    if not program.fits(layer.running_mean, layer.running_var):
        raise Misfit
    x2, y2 = program.view(x.buffer, 1, shape), program.arena(shape)
    y = Value(program.view(y2, 1, x.shape), x.shape, True, "")
    running = program.array(layer, "running_mean"), program.array(layer, "running_var")
    epsilon, momentum = float(layer.epsilon), float(layer.momentum)
    if not program.train:
        program.emit("batch_norm_inference", x2, gamma, beta, *running, epsilon, y2)
        return y, lambda dy: None
    # pinned: a long pass updates the running statistics at its end
    mean, var = (program.pin(program.arena(C, 0)) for _ in range(2))
    program.emit("batch_norm_forward", x2, gamma, beta, epsilon, y2, mean, var)
    if factor is None:
        program.later("moving_average", list(running), [mean, var], momentum, 1.0)
    elif math.prod(shape):  # statistics of nothing are not kept
        program.later("moving_average", [running[0]], [mean], momentum, 1.0)
        program.later("moving_average", [running[1]], [var], momentum, program.scalar(factor))

    def backward(dy):
        dx = program.arena(shape)
        program.emit(
            "batch_norm_backward", program.view(dy, 1, shape), x2, gamma, mean, var, epsilon, dx, dgamma, dbeta
        )
        return program.view(dx, 1, x.shape) if x.wanted else None

    return y, backward


def _batch_normalization(program, layer, x):
    _floats(program, layer, x)
    D = math.prod(x.shape)
    if np.size(layer.params[0]) not in (1, D):
        raise _misfit(program, layer, x, f"{np.size(layer.params[0])} numbers a sample, as gamma has")
    return _batch_norm(program, layer, x, (D,), None)


def _batch_norm_2d(program, layer, x):
    _floats(program, layer, x)
    if len(x.shape) < 1 or x.shape[0] != np.size(layer.params[0]):
        raise _misfit(program, layer, x, f"{np.size(layer.params[0])} channels, as gamma has")
    places = math.prod(x.shape[1:])
    return _batch_norm(program, layer, x, x.shape, lambda n: n * places / max(n * places - 1, 1))


def _normalised(program, x, forward, backward, rows, shape, leading, options):
    """Layer or group normalisation of x seen as (N * rows, *shape), its statistics (N * rows, *leading)."""
    (gamma, beta), (dgamma, dbeta), numbers, epsilon = options
    x2, y2 = program.view(x.buffer, rows, shape), program.arena(shape, rows)
    mean, rstd = program.arena(leading, rows), program.arena(leading, rows)
    program.emit(forward, x2, gamma, beta, *numbers, epsilon, y2, mean, rstd)

    def back(dy):
        dx = program.arena(shape, rows)
        program.emit(backward, program.view(dy, rows, shape), x2, gamma, *numbers, mean, rstd, dx, dgamma, dbeta)
        return program.view(dx, 1, x.shape) if x.wanted else None

    return Value(program.view(y2, 1, x.shape), x.shape, True, ""), back


def _layer_norm(program, layer, x):
    _floats(program, layer, x)
    shape = layer.params[0].shape
    if len(x.shape) < len(shape) or x.shape[len(x.shape) - len(shape) :] != shape:
        raise _misfit(program, layer, x, f"samples that end with gamma's shape {shape}")
    params, grads = _arrays(program, layer)
    flat = (math.prod(shape),)
    params, grads = ([None if a is None else program.view(a, 0, flat) for a in side] for side in (params, grads))
    rows = math.prod(x.shape) // max(flat[0], 1)
    options = params, grads, (), float(layer.epsilon)
    return _normalised(program, x, "layer_norm_forward", "layer_norm_backward", rows, flat, (), options)


def _group_norm(program, layer, x):
    _floats(program, layer, x)
    C = np.size(layer.params[0])
    if not x.shape or x.shape[0] != C:
        raise _misfit(program, layer, x, f"{C} channels, as gamma has")
    _whole(1, layer.groups)
    if C % layer.groups:
        raise Misfit("an option is out of range")
    options = *_arrays(program, layer), (layer.groups,), float(layer.epsilon)
    leading = (layer.groups,)
    return _normalised(program, x, "group_norm_forward", "group_norm_backward", 1, x.shape, leading, options)


# ---- pooling ---------------------------------------------------------------------------------------------------------


def _pooled(n, kernel, stride, pad, ceil_mode):
    reach = n + 2 * pad - kernel
    if reach < 0:
        return 0
    count = (-(-reach // stride) if ceil_mode else reach // stride) + 1
    return count - 1 if ceil_mode and (count - 1) * stride >= n + pad else count


def _max_pool(program, x, kernel, stride, pad, ceil_mode, shape):
    y = program.arena(shape)
    arg = program.arena(shape, dtype="uint8" if math.prod(kernel) <= 256 else "int32")
    program.emit("max_pool2d_forward", x.buffer, kernel, stride, pad, ceil_mode, y, arg)

    def backward(dy):
        if not x.wanted:
            return None
        dx = program.arena(x.shape)
        program.emit("max_pool2d_backward", dy, arg, (None, *x.shape), kernel, stride, pad, dx)
        return dx

    return y, backward


def _avg_pool(program, x, kernel, stride, pad, ceil_mode, count_include_pad, shape):
    y, options = program.arena(shape), (kernel, stride, pad, ceil_mode, count_include_pad)
    program.emit("avg_pool2d_forward", x.buffer, *options, y)

    def backward(dy):
        if not x.wanted:
            return None
        dx = program.arena(x.shape)
        program.emit("avg_pool2d_backward", dy, (None, *x.shape), *options, dx)
        return dx

    return y, backward


def _pooling(program, layer, x):
    _images(program, layer, x)
    kernel, stride, pad = (layer.pool_h, layer.pool_w), pair(layer.stride), pair(layer.pad)
    _whole(1, *kernel, *stride)
    _whole(0, *pad)
    sizes = zip(x.shape[1:], kernel, stride, pad, strict=True)
    size = (_pooled(*numbers, layer.ceil_mode) for numbers in sizes)
    shape = x.shape[0], *_window(program, layer, x, *size)
    if type(layer) is layers.Pooling:
        y, backward = _max_pool(program, x, kernel, stride, pad, layer.ceil_mode, shape)
    else:
        options = layer.ceil_mode, layer.count_include_pad
        y, backward = _avg_pool(program, x, kernel, stride, pad, *options, shape)
    return Value(y, shape, x.wanted, ""), backward


def _global_pooling(program, layer, x):
    _images(program, layer, x)
    C, *size = x.shape
    kernel, whole = tuple(size), (C, 1, 1)
    if type(layer) is layers.GlobalMaxPooling:
        y, back = _max_pool(program, x, kernel, (1, 1), (0, 0), False, whole)
    else:
        y, back = _avg_pool(program, x, kernel, (1, 1), (0, 0), False, True, whole)
    shape = whole if layer.keepdims else (C,)
    return Value(program.view(y, 1, shape), shape, x.wanted, ""), lambda dy: back(program.view(dy, 1, whole))


# ---- sequences -------------------------------------------------------------------------------------------------------


def _embedding(program, layer, x):
    if program.records[x.buffer].dtype != "labels":
        raise _misfit(program, layer, x, "indices")
    (W,), (dW,) = _arrays(program, layer)
    V, D = layer.params[0].shape
    shape = *x.shape, D
    y = program.arena(shape)
    program.emit("embedding_forward", W, x.buffer, y)

    def backward(dy):
        program.emit("embedding_backward", dy, x.buffer, V, dW)

    return Value(y, shape, True, ""), backward


def _steps(program, layer, x):
    """(T, H) of a recurrent layer, its arrays: Wx, Wh, b, more (None where there is none) and their gradients."""
    _floats(program, layer, x)
    D = layer.params[0].shape[0]
    if len(x.shape) != 2 or x.shape[1] != D:
        raise _misfit(program, layer, x, f"(N, T, {D})")
    params, grads = _arrays(program, layer)
    arrays = []
    for values in (params, grads):
        Wx, Wh, *more = values
        b = more.pop(0) if layer._has_bias else None
        arrays.append((Wx, Wh, b, more[0] if more else None))
    return (x.shape[0], layer.params[1].shape[0]), *arrays


def _initial(program, layer, name, H):
    """The state that a stateful layer starts from, an input; None for zeros."""
    if not layer.stateful:
        return None
    dtype = program.dtype

    def state(x):
        h, n = getattr(layer, name), len(x)
        if h is None:
            return np.zeros((n, H), dtype)
        if len(h) == 1 != n:
            h = np.repeat(h, n, axis=0)
        if h.shape != (n, H):
            raise ValueError(
                f"Network: the state {name} of a {type(layer).__name__} is {h.shape}; the batch needs ({n}, {H})"
            )
        return np.require(h, dtype, ["C_CONTIGUOUS", "ALIGNED"])

    return program.state(state, (H,))


def _keep_state(program, layer, **steps):
    """After a run the layer has the last state, as after its own forward."""
    last = 0 if layer.reverse else -1
    for buffer in steps.values():
        program.pin(buffer)

    def after(view, n):
        for name, buffer in steps.items():
            setattr(layer, name, view(buffer, n)[:, last].copy())

    if layer.stateful:
        program.after.append(after)


def _time_rnn(program, layer, x):
    (T, H), (Wx, Wh, b, _), (dWx, dWh, db, _) = _steps(program, layer, x)
    h0, hs = _initial(program, layer, "h", H), program.arena((T, H))
    options = layer.activation, None, layer.reverse, False
    program.emit("rnn_forward", x.buffer, Wx, Wh, b, h0, *options, hs)
    _keep_state(program, layer, h=hs)

    def backward(dhs):
        dx = program.arena(x.shape) if x.wanted else None
        program.emit("rnn_backward", dhs, x.buffer, Wx, Wh, h0, hs, *options, dx, dWx, dWh, db, None)
        return dx

    return Value(hs, (T, H), True, ""), backward


def _time_lstm(program, layer, x):
    H = layer.params[1].shape[0]
    y, _, backward = lstm(program, layer, x, *(_initial(program, layer, name, H) for name in "hc"))
    return y, backward


def lstm(program, layer, x, h0, c0):
    """A TimeLSTM from the states h0 and c0 (N, H), None for zeros -> (hs, cs, backward).

    backward(dhs, dh0): dh0 is None or the buffer for the gradient of h0.
    """
    (T, H), (Wx, Wh, b, peephole), (dWx, dWh, db, dpeephole) = _steps(program, layer, x)
    hs, cs, gates = program.arena((T, H)), program.arena((T, H)), program.arena((T, 4 * H))
    options = peephole, None, layer.reverse, False
    program.emit("lstm_forward", x.buffer, Wx, Wh, b, h0, c0, *options, hs, cs, gates)
    _keep_state(program, layer, h=hs, c=cs)

    def backward(dhs, dh0=None):
        dx = program.arena(x.shape) if x.wanted else None
        inputs = dhs, None, x.buffer, Wx, Wh, h0, c0, hs, cs, gates
        program.emit("lstm_backward", *inputs, *options, dx, dWx, dWh, db, dh0, None, dpeephole)
        return dx

    return Value(hs, (T, H), True, ""), cs, backward


def _time_gru(program, layer, x):
    (T, H), (Wx, Wh, b, b_h), (dWx, dWh, db, db_h) = _steps(program, layer, x)
    h0, hs = _initial(program, layer, "h", H), program.arena((T, H))
    linear = bool(layer.linear_before_reset)
    gates = program.arena((T, (4 if linear else 3) * H))
    program.emit("gru_forward", x.buffer, Wx, Wh, b, h0, linear, b_h, None, layer.reverse, False, hs, gates)
    _keep_state(program, layer, h=hs)

    def backward(dhs):
        dx = program.arena(x.shape) if x.wanted else None
        inputs = dhs, x.buffer, Wx, Wh, h0, hs, gates, linear, None, layer.reverse, False
        program.emit("gru_backward", *inputs, dx, dWx, dWh, db, None, db_h)
        return dx

    return Value(hs, (T, H), True, ""), backward


def _of_parts(layer, parts):
    """Misfit where the layer has other arrays than the layers that it consists of."""
    for name in "params", "grads":
        theirs = [id(a) for part in parts for a in getattr(part, name)]
        if theirs != [id(a) for a in getattr(layer, name)]:
            raise Misfit


def _time_bilstm(program, layer, x):
    directions = layer.forward_lstm, layer.backward_lstm
    _of_parts(layer, directions)
    for key in "forward_lstm", "backward_lstm":
        program.hold(layer, key)
    lowered = [_time_lstm(program, each, x) for each in directions]
    (one, first), (other, second) = lowered
    T, H = one.shape
    if layer.merge == "sum":
        y = program.arena((T, H))
        program.emit("add_arrays", one.buffer, other.buffer, y)
        shape = T, H
    else:
        (y, shape, *_), part = beside(program, one, other)

    def backward(dhs):
        both = part(dhs) if layer.merge == "concat" else (dhs, dhs)
        dx, more = first(both[0]), second(both[1])
        if dx is not None:
            program.emit("add_arrays", dx, more, dx)
        return dx

    return Value(y, shape, True, ""), backward


def beside(program, one, other):
    """Two values side by side along the last axis -> (y, backward: dy -> the gradients of both)."""
    *leading, A = one.shape
    B, rows = other.shape[-1], math.prod(leading)
    shape, y2 = (*leading, A + B), program.arena((A + B,), rows)
    program.emit("concatenate", program.view(one.buffer, rows, (A,)), program.view(other.buffer, rows, (B,)), y2)

    def backward(dy):
        parts = program.arena((A,), rows), program.arena((B,), rows)
        program.emit("split", program.view(dy, rows, (A + B,)), A, *parts)
        return [program.view(part, 1, value.shape) for part, value in zip(parts, (one, other), strict=True)]

    return Value(program.view(y2, 1, shape), shape, True, ""), backward


def time_attention(program, layer, enc, dec):
    """A TimeAttention: sums of enc (N, S, H) for each step of dec (N, T, H) -> (y, backward: dy -> (denc, ddec))."""
    if class_of(program, layer) is not time_layers.TimeAttention:
        raise Misfit
    (S, H), T = enc.shape, dec.shape[0]
    score, y = program.arena((T, S)), program.arena((T, H))
    program.emit("matmul_pairs", dec.buffer, enc.buffer, False, True, score)
    a = program.arena((T, S))
    program.emit("softmax_forward", program.view(score, T, (S,)), program.view(a, T, (S,)))
    program.emit("matmul_pairs", a, enc.buffer, False, False, y)
    program.pin(a)

    def after(view, n):
        layer._saved = None, None, view(a, n)

    program.after.append(after)

    def both(one, other, width):
        """(N, T, width) twice as (N, 2 T, width)."""
        y = program.arena((2 * T * width,))
        program.emit("concatenate", *(program.view(b, 1, (T * width,)) for b in (one, other)), y)
        return program.view(y, 1, (2 * T, width))

    def backward(dy):
        da, ds = program.arena((T, S)), program.arena((T, S))
        program.emit("matmul_pairs", dy, enc.buffer, False, True, da)
        program.emit("softmax_backward", *(program.view(buffer, T, (S,)) for buffer in (da, a, ds)))
        denc, ddec = program.arena((S, H)), program.arena((T, H))
        program.emit("matmul_pairs", both(a, ds, S), both(dy, dec.buffer, H), True, False, denc)
        program.emit("matmul_pairs", ds, enc.buffer, False, False, ddec)
        return denc, ddec

    return Value(y, (T, H), True, ""), backward


def _multi_head_attention(program, layer, x):
    """Attention of x to itself."""
    _floats(program, layer, x)
    params, grads = _arrays(program, layer)
    if len(params) != 8:
        raise Misfit
    D, heads = layer.params[0].shape[1], layer.heads
    if len(x.shape) != 2 or x.shape[1] != layer.params[0].shape[0]:
        raise _misfit(program, layer, x, f"(N, T, {layer.params[0].shape[0]})")
    _of_parts(layer, layer.projections)
    if any(W.shape != (D, D) for W in layer.params[::2]):
        raise Misfit
    program.hold(layer, "projections"), program.hold(layer, "heads"), program.hold(layer, "causal")
    T = x.shape[0]
    by_head, causal = (T, heads, D // heads), bool(layer.causal)

    def project(number, x2):
        """Projection `number` of rows x2 -> (rows, backward)."""
        (W, b), (dW, db) = params[2 * number : 2 * number + 2], grads[2 * number : 2 * number + 2]
        y2 = program.arena((D,), T)
        program.emit("affine_forward", x2, W, b, "identity", 0.0, y2)

        def backward(dy2, wanted=True):
            dx2 = program.arena((D,), T) if wanted else None
            program.emit("affine_backward", dy2, x2, W, dW, db, dx2)
            return dx2

        return y2, backward

    x2 = program.view(x.buffer, T, (D,))
    rows, backs = zip(*(project(i, x2) for i in range(3)), strict=True)
    qkv = [program.view(y2, 1, by_head) for y2 in rows]
    joined = program.arena((D,), T)
    program.emit("scaled_dot_product_attention_forward", *qkv, None, causal, 0, program.view(joined, 1, by_head))
    y2, back = project(3, joined)

    def backward(dy):
        dout = program.view(back(program.view(dy, T, (D,))), 1, by_head)
        gradients = [program.arena((D,), T) for _ in qkv]
        into = [program.view(g, 1, by_head) for g in gradients]
        program.emit("scaled_dot_product_attention_backward", dout, *qkv, None, causal, 0, *into)
        total = None
        for each, gradient in zip(backs, gradients, strict=True):
            dx2 = each(gradient, x.wanted)
            if total is None:
                total = dx2
            elif dx2 is not None:
                program.emit("add_arrays", total, dx2, total)
        return None if total is None else program.view(total, 1, x.shape)

    return Value(program.view(y2, 1, x.shape), x.shape, True, ""), backward


# ---- branches --------------------------------------------------------------------------------------------------------


def leaves(net):
    """The layers, those in branches included."""
    for layer in net:
        if isinstance(layer, Branches):
            for branch in layer.branches:
                yield from leaves(branch)
        else:
            yield layer


def _side_by_side(program, layer, x):
    """(values, backwards) of the branches."""
    number, lowered = program.layer, []
    for branch in layer.branches:
        lowered.append(chain(program, branch, x, numbered=False))
        program.layer = number
    return zip(*lowered, strict=True)


def _add(program, layer, x):
    _floats(program, layer, x)
    values, backs = _side_by_side(program, layer, x)
    first, *more = values
    if any(y.shape != first.shape for y in more):
        shapes = ", ".join(_of_batch(y.shape) for y in values)
        raise ValueError(f"Network: layer {program.layer} (Add) has branches of {shapes}; they must be equal")
    y, term = program.arena(first.shape), first.buffer
    for other in more:
        program.emit("add_arrays", term, other.buffer, y)
        term = y
    if not more:
        _copy(program, term, y)

    def backward(dy):
        copies = []
        for _ in backs[1:]:  # each branch may overwrite what it gets
            copies.append(program.arena(first.shape))
            _copy(program, dy, copies[-1])
        return _sum_of_gradients(program, x, values, backs, [dy, *copies])

    return Value(y, first.shape, any(y.wanted for y in values), ""), backward


def _copy(program, x, y):
    program.emit("activation_forward", x, "identity", 0.0, y)


def _concatenate(program, layer, x):
    _floats(program, layer, x)
    values, backs = _side_by_side(program, layer, x)
    rest = values[0].shape[1:]
    if any(not y.shape or y.shape[1:] != rest for y in values):
        shapes = ", ".join(_of_batch(y.shape) for y in values)
        raise ValueError(f"Network: layer {program.layer} (Concatenate) has branches of {shapes}; they must chain")
    widths = [math.prod(y.shape) for y in values]
    ends = list(itertools.accumulate(widths))
    whole = program.view(values[0].buffer, 1, (widths[0],))
    for value, width, end in zip(values[1:], widths[1:], ends[1:], strict=True):
        before, whole = whole, program.arena((end,))
        program.emit("concatenate", before, program.view(value.buffer, 1, (width,)), whole)
    shape = sum(y.shape[0] for y in values), *rest
    y = program.view(whole, 1, shape)

    def backward(dy):
        douts, dy = [], program.view(dy, 1, ends[-1:])
        for width, end in zip(widths[:0:-1], ends[-2::-1], strict=True):
            first, last = program.arena((end,)), program.arena((width,))
            program.emit("split", dy, end, first, last)
            douts.append(last)
            dy = first
        douts = [program.view(d, 1, v.shape) for d, v in zip([dy, *douts[::-1]], values, strict=True)]
        return _sum_of_gradients(program, x, values, backs, douts)

    return Value(y, shape, any(y.wanted for y in values), ""), backward


def _sum_of_gradients(program, x, values, backs, douts):
    total = None
    for value, back, dout in zip(values, backs, douts, strict=True):
        dx = back(dout) if value.wanted else None
        if total is None:
            total = dx
        elif dx is not None:
            program.emit("add_arrays", total, dx, total)
    return total


# ---- layers in Python ------------------------------------------------------------------------------------------------


def _in_python(program, layer, x):
    """Anything with forward and backward. Its output's shape is found by a trial with a copy of it."""
    name = f"layer {program.layer} ({type(layer).__name__})"
    program.in_python.append((program.layer, layer))
    takes_flag = takes_train_flag(layer)
    options, has_flag = (program.train,) if takes_flag else (), hasattr(layer, "train_flg")
    if has_flag:
        layer.train_flg = program.train
    dtype = program.records[x.buffer].numpy_dtype(program.dtype) if program.records[x.buffer].dtype != "labels" else int
    saved = Saved()
    saved.add_global_generators()
    try:
        trial = np.asarray(copy.deepcopy(layer).forward(np.zeros((2, *x.shape), dtype), *options))
    except Exception as error:
        raise ValueError(
            f"Network: {name}, run in Python, does not take {_of_batch(x.shape)} from {x.origin}: "
            f"{type(error).__name__}: {error}"
        ) from error
    finally:
        saved.restore()
    if trial.ndim < 1 or trial.shape[0] != 2:
        raise ValueError(f"Network: {name} makes {trial.shape} of 2 samples; the first size must be N")
    shape = trial.shape[1:]
    y = program.arena(shape)
    params = list(getattr(layer, "params", None) or [])

    def forward(x, y):
        if has_flag:
            layer.train_flg = program.train
        put(layer.forward(x, *options), y, "forward")

    def put(result, into, method):
        if np.shape(result) != into.shape:
            raise ValueError(f"Network: {name}: {method} gives {np.shape(result)} where {into.shape} must be")
        into[...] = result

    program.emit(forward, x.buffer, y)

    def backward(dy):
        dx = program.arena(x.shape) if x.wanted else None

        def run(dy, x, y, dx):
            result = layer.backward(dy)
            if dx is not None:
                put(result, dx, "backward")

        program.emit(run, dy, x.buffer, y, dx)
        return dx

    return Value(y, shape, x.wanted or bool(params), ""), backward


def takes_train_flag(layer):
    try:
        return "train_flg" in inspect.signature(layer.forward).parameters
    except (TypeError, ValueError):
        return False


# ---- losses ----------------------------------------------------------------------------------------------------------


class Loss(NamedTuple):
    """A lowered loss. targets(t, n): what is given as t, as the instruction takes it."""

    backward: Any  # () -> the gradient of the scores
    targets: Any
    divisor: Any = None  # n -> what the run's number is to be divided by


def _softmax_loss(program, layer, x):
    """Softmax and cross entropy over the last axis."""
    _floats(program, layer, x)
    time = type(layer) is time_layers.TimeSoftmaxWithLoss
    if len(x.shape) != (2 if time else 1):
        wants = "(T, V) scores a sample" if time else "V scores a sample"
        raise ValueError(
            f"Network: the loss {type(layer).__name__} takes {wants} but {x.origin} gives {_of_batch(x.shape)}"
        )
    *leading, V = x.shape
    rows = math.prod(leading)
    if time:
        options, epsilon = (None, int(layer.ignore_label), 0.0), 0.0
    else:
        weight, ignore, smoothing = layer.options
        if weight is not None:
            if not program.fits(weight):
                raise Misfit
            weight = program._add("array", "float", 0, weight.shape, weight)
        options, epsilon = (weight, ignore, float(smoothing)), float(layer.epsilon)
    t = program.input(1, (), "labels", rows)
    product = program.product
    if V >= _VOCABULARY and product is not None and product.gives(program, x.buffer, rows):
        inputs, outputs, number = product.take(program)
        number, program.layer = program.layer, number
        program.loss_at = len(program.instructions)
        gradient = program.backward
        program.emit("affine_softmax_cross_entropy", *inputs, t, *options, epsilon, gradient, *outputs)
        program.layer = number
    else:
        y2 = program.arena((V,), rows)
        program.loss_at = len(program.instructions)
        x2 = program.view(x.buffer, rows, (V,))
        program.emit("softmax_cross_entropy_forward", x2, t, *options, epsilon, y2)
        product = None

    def targets(t, n):
        if type(t) is np.ndarray and t.shape == (n, *leading) and t.dtype.kind in "iu":  # as below, sooner
            t = t.reshape(n * rows)
        else:
            t = labels_or_targets(t, (n, *x.shape), f"Network: {type(layer).__name__}")
        if t.ndim == 2 and not time:
            return np.require(t, program.dtype, ["C_CONTIGUOUS", "ALIGNED"])
        t = t.argmax(axis=-1) if t.ndim == 2 else t
        if t.flags.c_contiguous and t.flags.aligned and t.dtype.isnative and t.dtype.kind != "b":
            return t
        return np.require(t, np.int8 if t.dtype.kind == "b" else t.dtype.newbyteorder("="), ["C_CONTIGUOUS", "ALIGNED"])

    def backward():
        if product is not None:
            return x.buffer
        program.emit("softmax_cross_entropy_backward", y2, t, 1.0, *options, y2)
        return program.view(y2, 1, x.shape)

    return Loss(backward, targets)


def _like(program, layer, x):
    def targets(t, n):
        t, shape = np.asarray(t), (n, *x.shape)
        if t.dtype.kind not in "biuf":
            raise TypeError(f"Network: t has dtype {t.dtype}; {type(layer).__name__} takes numbers")
        if [k for k in t.shape if k != 1] != [k for k in shape if k != 1]:
            raise ValueError(
                f"Network: t is {t.shape} but the scores are {shape}; {type(layer).__name__} takes equal shapes"
            )
        return np.require(t.reshape(shape), program.dtype, ["C_CONTIGUOUS", "ALIGNED"])

    return program.input(1, x.shape), targets


def _sigmoid_loss(program, layer, x):
    _floats(program, layer, x)
    t, targets = _like(program, layer, x)
    y = program.arena(x.shape)
    program.loss_at = len(program.instructions)
    program.emit("sigmoid_cross_entropy_forward", x.buffer, t, BOOK_EPSILON, y)

    def backward():
        dx = program.arena(x.shape)
        program.emit("sigmoid_cross_entropy_backward", y, t, 1.0, dx)
        return dx

    return Loss(backward, targets)


def _squared_error(program, layer, x):
    _floats(program, layer, x)
    t, targets = _like(program, layer, x)
    size = math.prod(x.shape)
    program.loss_at = len(program.instructions)
    program.emit("squared_error_forward", x.buffer, t)

    def backward():
        dx = program.arena(x.shape)
        scale = program.scalar(lambda n: 2.0 / max(n * size, 1))
        program.emit("squared_error_backward", x.buffer, t, scale, dx)
        return dx

    return Loss(backward, targets, lambda n: n * size)


def threshold(loss, last_layer, shape):
    """Above which a score of an output (N, *shape) stands for 1; None where only the largest of several says something.

    For a network with that loss and that last layer; see `targets`.
    """
    if isinstance(loss, layers.SigmoidWithLoss):
        return 0.0
    return 0.5 if isinstance(last_layer, layers.Sigmoid) and shape[-1:] == (1,) else None


def lower_loss(program, layer, x):
    """Emit a loss -> Loss; a class that is not in LOSSES runs in Python: forward(x, t) -> float, backward(1) -> dx."""
    program.layer += 1
    lowered = LOSSES.get(type(layer))
    if lowered is not None:
        try:
            hold_options(program, layer)
            return lowered(program, layer, x)
        except Misfit:
            program.reasons[program.layer] = "its options are not what the operation takes"
    else:
        program.reasons[program.layer] = "its class is not one that a plan knows"
    program.in_python.append((program.layer, layer))
    t = program.input(1, (), "labels")

    def forward(x, t):
        return float(layer.forward(x, t))

    program.loss_at = len(program.instructions)
    program.emit(forward, x.buffer, t)

    def backward():
        dx = program.arena(x.shape)

        def run(x, dx):
            dx[...] = layer.backward(1)

        program.emit(run, x.buffer, dx)
        return dx

    return Loss(backward, lambda t, n: np.asarray(t))


ACTIVATION_CLASSES = (
    layers.Identity, layers.Step, layers.Sigmoid, layers.Tanh, layers.LeakyRelu, layers.ELU, layers.SELU,
    layers.Softplus, layers.Softsign, layers.HardSigmoid, layers.Swish, layers.GELU, layers.Mish,
)  # fmt: skip

FUSING = {
    layers.Affine: _affine,
    layers.MatMul: _time_affine,
    time_layers.TimeAffine: _time_affine,
    layers.Convolution: _convolution,
}

LAYERS = {
    **dict.fromkeys([layers.Relu, *ACTIVATION_CLASSES], _activation),
    layers.Add: _add,
    layers.Concatenate: _concatenate,
    layers.ConvTranspose2d: _convolution_transposed,
    layers.Dropout: _books_dropout,
    layers.Dropout2d: _dropout2d,
    time_layers.TimeDropout: _inverted_dropout,
    layers.Flatten: _flatten,
    layers.Softmax: _softmax,
    layers.BatchNormalization: _batch_normalization,
    layers.BatchNorm2d: _batch_norm_2d,
    layers.LayerNorm: _layer_norm,
    layers.GroupNorm: _group_norm,
    layers.Pooling: _pooling,
    layers.AveragePooling: _pooling,
    layers.GlobalMaxPooling: _global_pooling,
    layers.GlobalAveragePooling: _global_pooling,
    layers.Embedding: _embedding,
    time_layers.TimeEmbedding: _embedding,
    time_layers.TimeRNN: _time_rnn,
    time_layers.TimeLSTM: _time_lstm,
    time_layers.TimeGRU: _time_gru,
    time_layers.TimeBiLSTM: _time_bilstm,
    time_layers.MultiHeadAttention: _multi_head_attention,
}

OF_INDICES = {_embedding}  # what lowers layers that take indices, not numbers

LOSSES = {
    layers.SoftmaxWithLoss: _softmax_loss,
    layers.SoftmaxCrossEntropy: _softmax_loss,
    time_layers.TimeSoftmaxWithLoss: _softmax_loss,
    layers.SigmoidWithLoss: _sigmoid_loss,
    time_layers.TimeSigmoidWithLoss: _sigmoid_loss,
    layers.MeanSquaredError: _squared_error,
}
