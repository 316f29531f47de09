"""Book 1: the classes of its `common` package (dense chapters), with its fresh gradients, its draws and its dtypes."""

import ctypes
import importlib
from typing import Any, ClassVar

import numpy as np

from .. import functions, layers, ops, optimizer, trainer
from ..functions import (
    BOOK_EPSILON,
    col2im,
    identity_function,
    im2col,
    relu,
    relu_grad,
    sigmoid,
    sigmoid_grad,
    softmax,
    softmax_loss,
    step_function,
    sum_squared_error,
)
from ..gradient import numerical_gradient, numerical_gradient_2d
from ..layers import AddLayer, MulLayer
from ..layers.base import pack_mask, unpack_mask
from ..optimizer import SGD, AdaGrad, Adam, Momentum, RMSprop
from ..targets import targets
from ..util import conv_output_size, smooth_curve
from .kept import Kept
from .notice import casts, notice

# Imported when they are asked for: what they build on takes as long to import as all the rest.
_NETWORKS = "DeepConvNet", "MultiLayerNet", "MultiLayerNetExtend", "SimpleConvNet", "TwoLayerNet"

__all__ = [
    *_NETWORKS,
    "SGD",
    "AdaGrad",
    "Adam",
    "AddLayer",
    "Affine",
    "BatchNormalization",
    "Convolution",
    "Dropout",
    "Momentum",
    "MulLayer",
    "Nesterov",
    "Pooling",
    "RMSprop",
    "Relu",
    "Sigmoid",
    "SoftmaxWithLoss",
    "Trainer",
    "col2im",
    "conv_output_size",
    "cross_entropy_error",
    "identity_function",
    "im2col",
    "numerical_gradient",
    "numerical_gradient_2d",
    "relu",
    "relu_grad",
    "shuffle_dataset",
    "sigmoid",
    "sigmoid_grad",
    "smooth_curve",
    "softmax",
    "softmax_loss",
    "step_function",
    "sum_squared_error",
]

_BATCH_NORM_EPSILON = 1e-6

# ---- layers: attributes and nothing else, as in the book, so that their methods also work on the reader's classes ----


class Relu(layers.Relu):
    # mask is made when it is read. backward writes over dout and returns it, as the book's does.
    mask = Kept(lambda layer: ~unpack_mask(*layer._saved))
    _saved = None

    def __init__(self):
        self.mask = None

    def forward(self, x):
        out, mask = ops.relu_forward(x)
        self._saved = mask, out.shape
        return out

    def backward(self, dout):
        # As in the book, dout itself becomes the result.
        if type(dout) is not np.ndarray or dout.dtype.char not in "fd" or not dout.flags.c_contiguous:
            dout[self.mask] = 0
            return dout
        mask = pack_mask(~self.mask) if self._saved is None else self._saved[0]
        ops.relu_backward(dout, mask, dout)
        return dout


class Sigmoid(layers.Sigmoid):
    # out is what forward returned, not a copy.
    def __init__(self):
        self.out = None

    def forward(self, x):
        self.out = out = ops.activation_forward(x, "sigmoid")
        return out

    def backward(self, dout):
        return ops.activation_backward(dout, self.out, "sigmoid")


class Affine(layers.Affine):
    # dW and db are None at first and new arrays (of the promoted dtype) after each backward. b may be of any shape that
    # NumPy adds to (N, M).
    def __init__(self, W, b):
        self.W, self.b = W, b

    W = b = x = original_x_shape = dW = db = None

    def forward(self, x):
        self.original_x_shape = x.shape
        self.x = x = x if x.ndim == 2 else x.reshape(x.shape[0], -1)
        if x.dtype.kind != "f":
            x = floats(x)
        try:
            return ops.affine_forward(x, self.W, self.b)
        except ValueError:
            if np.ndim(self.b) == 1:
                raise
            notice("NumPy adds b", (np.asarray(self.b),))
            return ops.matmul(x, self.W) + self.b

    def backward(self, dout):
        x, shape = self.x, self.original_x_shape
        if x.dtype.kind != "f":
            x = floats(x)
        dx, self.dW, self.db = ops.affine_backward(dout, x, self.W)
        return dx if len(shape) == 2 else dx.reshape(shape)


class BatchNormalization(layers.BatchNormalization):
    # dgamma and dbeta as dW and db of Affine; the running statistics start as float64 zeros.
    gamma = beta = dgamma = dbeta = None
    xc = Kept(lambda layer: layer._saved[0] - layer._saved[1])
    std = Kept(lambda layer: np.sqrt(layer._saved[2] + _BATCH_NORM_EPSILON))
    xn = Kept(lambda layer: layer.xc / layer.std)
    _saved = None  # x (N, D), mean, variance of the last training pass, marks of x

    def __init__(self, gamma, beta, momentum=0.9, running_mean=None, running_var=None):
        self.gamma, self.beta, self.momentum = gamma, beta, momentum
        self.running_mean, self.running_var = running_mean, running_var

    def forward(self, x, train_flg=True):
        self.input_shape = shape = x.shape
        if x.ndim != 2:
            N, C, H, W = shape
            x = x.reshape(N, C * H * W)
        D = x.shape[1]
        if self.running_mean is None:
            self.running_mean, self.running_var = np.zeros(D), np.zeros(D)
        gamma, beta = _per_column(self.gamma, D), _per_column(self.beta, D)
        if train_flg:
            out, mean, var = ops.batch_norm_forward(x, gamma, beta, _BATCH_NORM_EPSILON)
            self._saved, self.batch_size = (x, mean, var, _marks(x)), len(x)
            momentum = self.momentum
            self.running_mean = momentum * self.running_mean + (1 - momentum) * mean
            self.running_var = momentum * self.running_var + (1 - momentum) * var
        else:
            out = ops.batch_norm_inference(x, gamma, beta, self.running_mean, self.running_var, _BATCH_NORM_EPSILON)
        return out if len(shape) == 2 else out.reshape(shape)

    def backward(self, dout):
        if self._saved is None:
            x, mean, var = self.xc, np.zeros_like(self.std), self.std**2 - _BATCH_NORM_EPSILON
        else:
            x, mean, var, marks = self._saved
            _unchanged("BatchNormalization", x, marks)
        rows = dout if dout.ndim == 2 else dout.reshape(x.shape)
        gamma = _per_column(self.gamma, x.shape[1])
        dx, self.dgamma, self.dbeta = ops.batch_norm_backward(rows, x, gamma, mean, var, _BATCH_NORM_EPSILON)
        return dx if dout.ndim == 2 else dx.reshape(self.input_shape)


def batch_normalization_of_rows(original):
    # Of the printing of 2016, whose statistics for images are others: ours for rows, the reader's own for images.
    theirs_forward, theirs_backward = getattr(original, "forward", None), getattr(original, "backward", None)

    class BatchNormalizationOf2016(BatchNormalization):
        def forward(self, x, train_flg=True):
            if x.ndim == 2:
                return BatchNormalization.forward(self, x, train_flg)
            return theirs_forward(self, x, train_flg)

        def backward(self, dout):
            if dout.ndim == 2:
                return BatchNormalization.backward(self, dout)
            return theirs_backward(self, dout)

    return BatchNormalizationOf2016


class Convolution(layers.Convolution):
    # dW and db as those of Affine; b may be a number. col and col_W are made when they are read.
    W = b = x = dW = db = None
    col = Kept(lambda layer: layer._patches())
    col_W = Kept(lambda layer: layer.W.reshape(len(layer.W), -1).T)
    _saved = None
    input_gradient = True

    def __init__(self, W, b, stride=1, pad=0):
        self.W, self.b, self.stride, self.pad = W, b, stride, pad
        self.col = self.col_W = None

    def _patches(self):
        FH, FW = self.W.shape[2:]
        return im2col(self._saved[0], FH, FW, self.stride, self.pad)

    def forward(self, x):
        W, b, stride, pad = self.W, self.b, self.stride, self.pad
        self.x, self._saved = x, (x, _marks(x))
        if type(b) is not np.ndarray or b.ndim != 1:
            b = np.full(len(W), b, W.dtype)
        return ops.conv2d_forward(x, W, b, (stride, stride), (pad, pad))

    def backward(self, dout):
        stride, pad = self.stride, self.pad
        if self._saved is not None:
            _unchanged("Convolution", *self._saved)
        dx = None if self.input_gradient else False
        dx, self.dW, self.db = ops.conv2d_backward(
            dout, self.x, self.W, (stride, stride), (pad, pad), (1, 1), 1, "auto", dx
        )
        return dx


class Pooling(layers.Pooling):
    # arg_max is made when it is read.
    arg_max = Kept(lambda layer: layer._saved.transpose(0, 2, 3, 1).reshape(-1).astype(np.int64))
    _saved = None
    x = None

    def __init__(self, pool_h, pool_w, stride=2, pad=0):
        self.pool_h, self.pool_w, self.stride, self.pad = pool_h, pool_w, stride, pad
        self.arg_max = None

    def forward(self, x):
        self.x, stride, pad = x, self.stride, self.pad
        out, self._saved = ops.max_pool2d_forward(x, (self.pool_h, self.pool_w), (stride, stride), (pad, pad))
        return out

    def backward(self, dout):
        stride, pad, window = self.stride, self.pad, (self.pool_h, self.pool_w)
        arg = self._saved
        if arg is None:
            N, C, OH, OW = dout.shape
            arg = self.arg_max.reshape(N, OH, OW, C).transpose(0, 3, 1, 2)
            arg = np.ascontiguousarray(arg, np.uint8 if self.pool_h * self.pool_w <= 256 else np.int32)
        return ops.max_pool2d_backward(dout, arg, self.x.shape, window, (stride, stride), (pad, pad))


def of_labels(operation, y, t, *options, ignored=None):
    # operation(y, t, *options) with labels as NumPy's indexing has them: negative ones count from the end.
    try:
        return operation(y, t, *options)
    except IndexError:
        t, V = np.asarray(t), np.shape(y)[-1]
        if t.dtype.kind != "i" or not (t < 0).any():
            raise
        return operation(y, np.where((t < 0) & (t >= -V) & (t != ignored), t + V, t), *options)


def cross_entropy_error(y, t):
    # Negative labels count from the end.
    return of_labels(functions.cross_entropy_error, y, t)


class SoftmaxWithLoss(layers.SoftmaxWithLoss):
    # The loss is a NumPy number of the scores' dtype, at the largest of one-hot targets; backward ignores dout, divides
    # by len(t) even for a 1-D t of V targets (so by V), and targets t of a wider dtype widen the gradient.
    def __init__(self):
        self.loss = self.y = self.t = None

    def forward(self, x, t):
        self.t = t
        x_rows, t = targets(x, t)
        if t.ndim == 2:
            t = t.argmax(axis=1)
        loss, y = of_labels(ops.softmax_cross_entropy_forward, x_rows, t, None, None, 0.0, BOOK_EPSILON)
        self.y = y if x_rows is x else y.reshape(x.shape)
        self.loss = loss = y.dtype.type(loss)
        return loss

    def backward(self, dout=1):
        y, t = self.y, self.t
        if t.size == y.size:
            if t.dtype == y.dtype or casts(t, y):
                return ops.squared_error_backward(y, t, 1 / len(t))
            notice("NumPy subtracts targets of another dtype than y's", (y, t))
            return (y - t) / len(t)
        return of_labels(ops.softmax_cross_entropy_backward, *targets(y, t)).reshape(y.shape)


class SoftmaxWithLossOf2016(SoftmaxWithLoss):
    # The loss without 1e-7: infinite where the probability of a label is 0.
    def forward(self, x, t):
        self.t = t
        rows, t = targets(x, t)
        y = ops.softmax_forward(rows)
        self.y = y if rows is x else y.reshape(x.shape)
        self.loss = loss = log_loss(y, t.argmax(axis=1) if t.ndim == 2 else t)
        return loss


def log_loss(y, t):
    # The mean of -log(y) at the labels t.
    return -np.sum(np.log(y[np.arange(len(y)), t])) / len(y)


class _Twister:
    """NumPy's global generator as an array over its own memory: the key and the position, uint32 (625,)."""

    generator: Any = None
    state: Any = None
    after = np.empty(625, np.uint32)

    @classmethod
    def words(cls, generator):
        """Those of a generator; None if it is of another kind or lays out its memory in another way."""
        if generator is not cls.generator:
            cls.generator, cls.state = generator, None
            if type(generator) is np.random.MT19937:
                words = np.ctypeslib.as_array((ctypes.c_uint32 * 625).from_address(generator.ctypes.state_address))
                state = generator.state["state"]
                if np.array_equal(words[:-1], state["key"]) and words[-1] == state["pos"]:
                    cls.state = words
        return cls.state


def dropout(x, ratio, scale=1.0):
    """x * (np.random.rand(*x.shape) > ratio) * scale, the global generator left as that leaves it -> (out, mask)."""
    generator = np.random.get_bit_generator()
    state = _Twister.words(generator)
    if state is None:
        mask = pack_mask(np.random.rand(*x.shape) > ratio)
        return ops.dropout_backward(x, mask, scale), mask
    with generator.lock:
        out, mask, after = ops.legacy_dropout_forward(x, ratio, state, scale, None, None, _Twister.after)
        state[:] = after
    return out, mask


class Dropout(layers.Dropout):
    # Draws from NumPy's global generator: one uniform number an element, kept where it exceeds the ratio.
    mask = Kept(lambda layer: unpack_mask(*layer._saved) if type(layer._saved) is tuple else layer._saved)
    _saved = None

    def __init__(self, dropout_ratio=0.5):
        self.dropout_ratio = dropout_ratio
        self.params, self.grads, self.mask = [], [], None

    def forward(self, x, train_flg=True):
        if not train_flg:
            return x * (1.0 - self.dropout_ratio)
        if x.dtype.kind != "f":
            notice("NumPy multiplies x by the mask", (x,))
            self._saved = mask = np.random.rand(*x.shape) > self.dropout_ratio
            return x * mask
        out, mask = dropout(x, self.dropout_ratio)
        self._saved = mask, x.shape
        return out

    def backward(self, dout):
        saved = self._saved
        if type(saved) is tuple:
            return ops.dropout_backward(dout, saved[0])
        return dout * (self.mask if saved is None else saved)


def floats(x):
    # Integers, for a product.
    made = x.astype(np.float64)
    notice("x is converted to float64", (x,), made)
    return made


def _marks(x):
    # A few elements of x. The books compute a copy from x in forward, ours needs x itself in backward.
    if x.flags.c_contiguous:
        return x.reshape(-1)[:: x.size // 32 + 1].tobytes()
    return x[tuple(slice(None, None, n // 3 + 1) for n in x.shape)].tobytes()


def _unchanged(layer, x, marks):
    if _marks(x) != marks:
        raise RuntimeError(
            f"{layer}.backward: x was changed in place after forward, and the gradient needs it as it was; "
            "make a new array, as x = x + y does where x += y changes x"
        )


def _per_column(p, D):
    # A parameter of BatchNormalization as (D,); a number counts for every column.
    if type(p) is np.ndarray and p.ndim == 1 and len(p) == D:
        return p
    return np.full(D, p) if np.size(p) == 1 else np.reshape(p, D)


# ---- optimizers and training ---------------------------------------------------------------------------------------


class Nesterov(optimizer.Nesterov):
    # The step takes the velocity from before its update.
    lookahead = False

    def __init__(self, lr=0.01, momentum=0.9):
        super().__init__(lr, momentum, lookahead=False)


def shuffle_dataset(x, t):
    # Draws from NumPy's global generator.
    order = np.random.permutation(x.shape[0])
    return x[order], t[order]


def softmax_of_older_printings(x):
    # Over everything unless x has two dimensions.
    if x.ndim <= 2:
        return softmax(x)
    notice("NumPy takes the softmax over everything", (np.asarray(x),))
    e = np.exp(x - np.max(x))
    return e / np.sum(e)


class Trainer(trainer.Trainer):
    # Draws from NumPy's global generator; accuracies only where the iteration is an exact multiple of iter_per_epoch,
    # which is fractional if the batch size does not divide the data. "rmsprpo": a misprint of older printings.
    optimizers: ClassVar = {**trainer.OPTIMIZERS, "nesterov": Nesterov, "rmsprpo": optimizer.RMSprop}

    def _draw(self):
        return np.random.choice(self.train_size, self.batch_size)

    def _starts_epoch(self):
        return self.current_iter % self.iter_per_epoch == 0


# ---- networks: of the reader's own, loss and gradient ----------------------------------------------------------------


class DecayingNet:
    # loss and gradient of the reader's own MultiLayerNet: sums of squares without temporary arrays, and 0 * W is not
    # added (unless W has NaN or infinity, which that would show).
    def loss(self, x, t):
        decay = 0.5 * self.weight_decay_lambda * _squares(self.params, self.hidden_layer_num)
        return self.last_layer.forward(self.predict(x), t) + decay

    def gradient(self, x, t):
        self.loss(x, t)
        weights = [self.layers[f"Affine{i}"].W for i in range(1, self.hidden_layer_num + 2)]
        return _backward(self, weights, self.weight_decay_lambda, False)


class DecayingLoss:
    # Of the printing of 2016-07, whose gradient has no weight decay.
    loss = DecayingNet.loss


class DecayingNetExtend:
    # The same of MultiLayerNetExtend.
    def loss(self, x, t, train_flg=False):
        decay = 0.5 * self.weight_decay_lambda * _squares(self.params, self.hidden_layer_num)
        return self.last_layer.forward(self.predict(x, train_flg), t) + decay

    def gradient(self, x, t):
        self.loss(x, t, train_flg=True)
        weights = [self.params[f"W{i}"] for i in range(1, self.hidden_layer_num + 2)]
        return _backward(self, weights, self.weight_decay_lambda, self.use_batchnorm)


def _squares(params, hidden):
    return sum(np.vdot(W, W) for W in (params[f"W{i}"] for i in range(1, hidden + 2)))


def _backward(net, weights, decay, use_batchnorm):
    dout = net.last_layer.backward(1)
    for layer in reversed(list(net.layers.values())):
        dout = layer.backward(dout)
    grads = {}
    for i, W in enumerate(weights, start=1):
        affine = net.layers[f"Affine{i}"]
        plain = decay == 0 and np.isfinite(np.vdot(W, W))
        grads[f"W{i}"] = affine.dW if plain else affine.dW + decay * W
        grads[f"b{i}"] = affine.db
        if use_batchnorm and i < len(weights):
            norm = net.layers[f"BatchNorm{i}"]
            grads[f"gamma{i}"], grads[f"beta{i}"] = norm.dgamma, norm.dbeta
    return grads


def __getattr__(name):
    if name in _NETWORKS:
        return getattr(importlib.import_module("fastnn.compat.networks"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
