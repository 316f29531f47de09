"""The books' layers for the dense chapters: parameters, gradients and what backward needs. The arithmetic is in `ops`.

Every layer has the lists `params` and `grads`, position by position; backward writes into the arrays of `grads`, which
stay the same objects for life. A layer refers to its parameters (changing them in place counts at the next call) and
to the input of its last forward, which the caller therefore leaves alone until backward. What a layer returns is a new
array that it does not need any more; what it is given is never changed. Shapes and dtypes are checked by `fastnn.ops`:
ValueError, TypeError or IndexError with the operation's name. Results have NumPy's promoted dtype.
"""

import math
from typing import Any

import numpy as np

from . import ops
from .functions import BOOK_EPSILON, rows, targets

# ---- what the layers share -----------------------------------------------------------------------------------------


class param:
    """Attribute for `params[i]`. Assigning another array of another shape or dtype also renews `grads[i]`."""

    def __init__(self, i):
        self.i = i

    def __get__(self, layer, owner=None):
        return self if layer is None else layer.params[self.i]

    def __set__(self, layer, value):
        layer.params[self.i] = value
        g = layer.grads[self.i]
        if g is not None and (g.shape, g.dtype) != (np.shape(value), gradient_dtype(value)):
            layer.grads[self.i] = layer.gradient_array(value)


class grad:
    """Attribute for `grads[i]`."""

    def __init__(self, i):
        self.i = i

    def __get__(self, layer, owner=None):
        return self if layer is None else layer.grads[self.i]

    def __set__(self, layer, value):
        layer.grads[self.i] = value


def gradient_dtype(p):
    """The dtype of a parameter's gradient: its own, float64 if it is not a floating one."""
    dtype = np.asarray(p).dtype
    return dtype if dtype.kind == "f" else np.dtype(np.float64)


class Layer:
    """A layer without parameters; layers with parameters give them to `__init__`."""

    def __init__(self, *params):
        self.params = list(params)
        self.grads = [self.gradient_array(p) for p in params]

    @staticmethod
    def gradient_array(p):
        """The array that backward fills for parameter `p`, in the memory order of `p`."""
        return np.zeros_like(p, dtype=gradient_dtype(p))


def pack_mask(keep):
    """Boolean array -> the bit mask of `ops.relu_forward` (uint8, little-endian bits, padded to a multiple of 8)."""
    mask = np.zeros(8 * -(-keep.size // 64), np.uint8)
    bits = np.packbits(keep.reshape(-1), bitorder="little")
    mask[: bits.size] = bits
    return mask


def unpack_mask(mask, shape):
    """The inverse of `pack_mask` -> boolean array of that shape; None stays None."""
    if mask is None:
        return None
    return np.unpackbits(mask, count=math.prod(shape), bitorder="little").reshape(shape).view(np.bool_)


def private_copy(array, buffer):
    """A copy of `array`, in `buffer` where that fits: the caller may change the array that forward returns."""
    if buffer is None or buffer.shape != array.shape or buffer.dtype is not array.dtype:
        return array.copy()
    buffer[...] = array
    return buffer


# ---- nodes of the computational graph ------------------------------------------------------------------------------


class MulLayer:
    """x * y, for numbers or arrays of one shape. Book 1 ch. 5."""

    x: Any = None
    y: Any = None

    def forward(self, x, y):
        self.x, self.y = x, y
        return x * y

    def backward(self, dout):
        """-> (dx, dy)"""
        return dout * self.y, dout * self.x


class AddLayer:
    """x + y, for numbers or arrays of one shape. Book 1 ch. 5."""

    def forward(self, x, y):
        return x + y

    def backward(self, dout):
        """-> (dx, dy)"""
        return dout * 1, dout * 1


class Repeat(Layer):
    """x (D,) or (1, D) -> N equal rows (N, D); backward adds the rows up. Book 2 ch. 1."""

    def __init__(self, N):
        super().__init__()
        self.N = N
        self.input_shape = None

    def forward(self, x):
        x = np.asarray(x)
        self.input_shape = x.shape
        return np.repeat(x.reshape(1, x.shape[-1]), self.N, axis=0)

    def backward(self, dout):
        return dout.sum(axis=0).reshape(self.input_shape)


class Sum(Layer):
    """x (N, D) -> the sum of its rows (1, D); backward repeats. Book 2 ch. 1."""

    N: Any = None

    def forward(self, x):
        x = np.asarray(x)
        self.N = x.shape[0]
        return x.sum(axis=0, keepdims=True)

    def backward(self, dout):
        return np.repeat(dout, self.N, axis=0)


# ---- products ------------------------------------------------------------------------------------------------------


class MatMul(Layer):
    """out = x @ W; x (..., D), W (D, M) -> (..., M). Book 2 ch. 1."""

    W, dW = param(0), grad(0)
    x: Any = None

    def __init__(self, W):
        super().__init__(W)

    def forward(self, x):
        W = self.params[0]
        self.x = x
        if getattr(x, "ndim", 0) == 2:
            return ops.matmul(x, W)
        return ops.matmul(rows(x), W).reshape(*np.shape(x)[:-1], W.shape[-1])

    def backward(self, dout):
        W, dW = self.params[0], self.grads[0]
        x, dy = rows(self.x), rows(dout)
        if dy.dtype is dW.dtype and x.dtype is dW.dtype:
            ops.matmul(x.T, dy, dW)
        else:  # a wider operand: computed in the promoted dtype, then cast
            dW[...] = ops.matmul(x.T, dy)
        dx = ops.matmul(dy, W.T)
        return dx if x is self.x else dx.reshape(np.shape(self.x))


class Affine(Layer):
    """Fully connected layer, out = x @ W + b; W (D, M), b (M,). Book 1 ch. 5, book 2 ch. 1.

    x may be any (N, ...) with N rows of D numbers in all: out is (N, M), dx has x's shape. A 1-D x is one sample: out
    is (1, M).
    """

    W, b, dW, db = param(0), param(1), grad(0), grad(1)  # for users; methods unpack the lists, which is faster
    _input: Any = None

    def __init__(self, W, b):
        super().__init__(W, b)

    @property
    def x(self):
        """The last input as the (N, D) array that was multiplied: a view where that is possible."""
        return None if self._input is None else samples(self._input)

    @property
    def original_x_shape(self):
        return None if self._input is None else np.shape(self._input)

    def forward(self, x):
        W, b = self.params
        self._input = x
        return ops.affine_forward(x if getattr(x, "ndim", 0) == 2 else samples(x), W, b)

    def backward(self, dout):
        x, W = self._input, self.params[0]
        if getattr(x, "ndim", 0) != 2:
            x = samples(x)
        dx = self._backward(dout, x, W)
        return dx if x is self._input else dx.reshape(np.shape(self._input))

    def _backward(self, dout, x, W):
        dW, db = self.grads
        if dout.dtype is dW.dtype and x.dtype is dW.dtype:
            return ops.affine_backward(dout, x, W, dW, db)[0]
        dx, dW[...], db[...] = ops.affine_backward(dout, x, W)  # a wider operand: the promoted dtype, then cast
        return dx


def samples(x):
    """x (N, ...) as (N, D); a 1-D x as (1, D)."""
    x = np.asarray(x)
    if x.ndim == 2:
        return x
    return x.reshape(1, -1) if x.ndim < 2 else x.reshape(x.shape[0], math.prod(x.shape[1:]))


# ---- activations ---------------------------------------------------------------------------------------------------


class Activation(Layer):
    """An element-wise function, any shape: `kind` and its number `alpha` are those of `ops.activation_forward`."""

    kind = "identity"
    alpha = 0.0
    x: Any = None

    def forward(self, x):
        self.x = x
        return ops.activation_forward(x, self.kind, self.alpha)

    def backward(self, dout):
        return ops.activation_backward(dout, self.x, self.kind, self.alpha)


class OutputActivation(Activation):
    """An activation whose derivative is computed from its output, kept as `out`."""

    out: Any = None

    def forward(self, x):
        out = ops.activation_forward(x, self.kind)
        self.out = private_copy(out, self.out)
        return out

    def backward(self, dout):
        return ops.activation_backward(dout, self.out, self.kind)


class Identity(Activation):
    """out = x (a copy)."""


class Step(Activation):
    """1 where x > 0, else 0, in x's dtype; the gradient is 0. Book 1 ch. 3."""

    kind = "step"


class Sigmoid(OutputActivation):
    """1 / (1 + exp(-x)). Book 1 ch. 5."""

    kind = "sigmoid"


class Tanh(OutputActivation):
    """tanh(x)."""

    kind = "tanh"


class Relu(Layer):
    """max(x, 0); NaN stays. The derivative at 0 is 0. Book 1 ch. 5; unlike there, backward does not change dout."""

    _mask: Any = None
    _shape: Any = None

    @property
    def mask(self):
        """True where the last x was <= 0 (bool, x's shape), None before the first forward."""
        keep = unpack_mask(self._mask, self._shape)
        return None if keep is None else ~keep

    def forward(self, x):
        out, self._mask = ops.relu_forward(x)
        self._shape = out.shape
        return out

    def backward(self, dout):
        return ops.relu_backward(dout, self._mask)


class LeakyRelu(Activation):
    """x where x > 0, else alpha * x."""

    kind = "leaky_relu"

    def __init__(self, alpha=0.01):
        super().__init__()
        self.alpha = alpha


class ELU(Activation):
    """x where x > 0, else alpha * (exp(x) - 1)."""

    kind = "elu"

    def __init__(self, alpha=1.0):
        super().__init__()
        self.alpha = alpha


class SELU(Activation):
    """Self-normalising ELU (Klambauer et al. 2017)."""

    kind = "selu"


class Softplus(Activation):
    """log(1 + exp(x))."""

    kind = "softplus"


class Softsign(Activation):
    """x / (1 + |x|)."""

    kind = "softsign"


class HardSigmoid(Activation):
    """clip(x / 6 + 1 / 2, 0, 1), as PyTorch."""

    kind = "hard_sigmoid"


class Swish(Activation):
    """x * sigmoid(x), also called SiLU."""

    kind = "swish"


SiLU = Swish


class GELU(Activation):
    """x * Phi(x), Phi the normal distribution function; `approximate`: its tanh form (Hendrycks and Gimpel 2016)."""

    def __init__(self, approximate=False):
        super().__init__()
        self.kind = "gelu_tanh" if approximate else "gelu"


class Mish(Activation):
    """x * tanh(softplus(x)) (Misra 2019)."""

    kind = "mish"


# ---- softmax and the losses ----------------------------------------------------------------------------------------


class Softmax(Layer):
    """Softmax over the last axis of x (..., V). Book 2 ch. 1."""

    out: Any = None

    def forward(self, x):
        x = np.asarray(x)
        y = ops.softmax_forward(rows(x)).reshape(x.shape)
        self.out = private_copy(y, self.out)
        return y

    def backward(self, dout):
        return ops.softmax_backward(rows(dout), rows(self.out)).reshape(self.out.shape)


class SoftmaxCrossEntropy(Layer):
    """Softmax and its exact cross entropy -log(y[t]); x (N, V) -> float. As PyTorch's CrossEntropyLoss.

    t is labels (N,) or targets (N, V), one-hot or soft. Labels equal to `ignore_index` do not count; `weight` (V,) are
    the classes' weights; the loss is the mean over the weights that count, nan if nothing does. A 1-D x is one sample,
    with its label or its V targets. `backward(dout)` multiplies by dout.
    """

    epsilon = 0.0
    loss: Any = None
    y: Any = None
    t: Any = None

    def __init__(self, weight=None, ignore_index=None, label_smoothing=0.0):
        super().__init__()
        self.options = weight, ignore_index, label_smoothing

    def forward(self, x, t):
        self.t = t
        x_rows, t = targets(x, t)
        self.loss, self.y = ops.softmax_cross_entropy_forward(x_rows, t, *self.options, self.epsilon)
        if x_rows is not x:
            self.y = self.y.reshape(np.shape(x))
        return self.loss

    def backward(self, dout=1.0):
        y, t = targets(self.y, self.t)
        dx = ops.softmax_cross_entropy_backward(y, t, dout, *self.options)
        return dx if y is self.y else dx.reshape(self.y.shape)


class SoftmaxWithLoss(SoftmaxCrossEntropy):
    """The books' softmax and loss -log(y[t] + 1e-7); x (N, V), t labels (N,) or one-hot (N, V) -> float.

    Its gradient is (y - onehot(t)) * dout / N. Book 1 ch. 5, book 2 ch. 1.
    """

    epsilon = BOOK_EPSILON

    def __init__(self):
        super().__init__()


class SigmoidWithLoss(Layer):
    """Sigmoid and the books' cross entropy with 1e-7 in the log, the mean over all elements -> float. Book 2 ch. 4.

    x (N,) or (N, 1) or any shape, t 0 or 1 (any real dtype), (N,) or like x. Gradient: (y - t) * dout / size.
    """

    loss: Any = None
    y: Any = None
    t: Any = None

    def forward(self, x, t):
        x, self.t = np.asarray(x), t
        self.loss, self.y = ops.sigmoid_cross_entropy_forward(x, like(x, t), BOOK_EPSILON)
        return self.loss

    def backward(self, dout=1.0):
        return ops.sigmoid_cross_entropy_backward(self.y, like(self.y, self.t), dout)


def like(x, t):
    """t in x's floating dtype, and in its shape where that differs in axes of length 1 only (else `ops` refuses it)."""
    t = np.asarray(t)
    if t.dtype.kind in "biu" and x.dtype.kind == "f":
        t = t.astype(x.dtype)
    return t.reshape(x.shape) if [n for n in t.shape if n != 1] == [n for n in x.shape if n != 1] else t


class MeanSquaredError(Layer):
    """Mean of (y - t)^2 over all elements -> float; y and t of one shape. The gradient is 2 * (y - t) * dout / size."""

    loss: Any = None
    y: Any = None
    t: Any = None

    def forward(self, y, t):
        self.y, self.t = y, t
        total, size = ops.squared_error_forward(y, t), np.size(y)
        self.loss = total / size if size else math.nan
        return self.loss

    def backward(self, dout=1.0):
        return ops.squared_error_backward(self.y, self.t, 2.0 * dout / max(np.size(self.y), 1))


# ---- normalisation and regularisation ------------------------------------------------------------------------------


class BatchNormalization(Layer):
    """Batch normalisation of x (N, D), or of (N, ...) flattened to it: per element position, as the book. Book 1 ch. 6.

    gamma, beta: (D,) arrays or numbers. Biased variance, 1e-6 under the root. Running statistics, kept in gamma's
    dtype, are momentum * old + (1 - momentum) * batch; `forward(x, train_flg=False)` uses them and leaves what backward
    needs as it was. They start as zeros.
    """

    gamma, beta, dgamma, dbeta = param(0), param(1), grad(0), grad(1)
    epsilon = 1e-6
    _saved: Any = None
    input_shape: Any = None
    batch_size: Any = None

    def __init__(self, gamma, beta, momentum=0.9, running_mean=None, running_var=None):
        super().__init__(gamma, beta)
        self.momentum = momentum
        self.running_mean = running_mean
        self.running_var = running_var

    @property
    def xc(self):
        """x - mean of the last training pass, (N, D)."""
        x, mean, _ = self._training_pass()
        return x - mean

    @property
    def std(self):
        """sqrt(var + 1e-6) of the last training pass, (D,)."""
        return np.sqrt(self._training_pass()[2] + self.epsilon)

    @property
    def xn(self):
        """xc / std of the last training pass, (N, D)."""
        return self.xc / self.std

    def _training_pass(self):
        if self._saved is None:
            raise AttributeError("BatchNormalization: no forward in training mode yet")
        return self._saved

    def _statistics_dtype(self):
        return gradient_dtype(self.params[0])

    def forward(self, x, train_flg=True):
        x_rows = x if getattr(x, "ndim", 0) == 2 else samples(x)
        self.input_shape = np.shape(x)
        gamma, beta = (self._per_column(p, x_rows.shape[1]) for p in self.params)
        if self.running_mean is None:
            self.running_mean = np.zeros(x_rows.shape[1], self._statistics_dtype())
            self.running_var = np.zeros(x_rows.shape[1], self._statistics_dtype())
        if train_flg:
            out, mean, var = ops.batch_norm_forward(x_rows, gamma, beta, self.epsilon)
            self._saved, self.batch_size = (x_rows, mean, var), len(x_rows)
            momentum = self.momentum
            self.running_mean = momentum * self.running_mean + (1 - momentum) * mean
            self.running_var = momentum * self.running_var + (1 - momentum) * var
        else:
            out = ops.batch_norm_inference(x_rows, gamma, beta, self.running_mean, self.running_var, self.epsilon)
        return out if x_rows is x else out.reshape(self.input_shape)

    def backward(self, dout):
        x, mean, var = self._training_pass()
        gamma = self._per_column(self.params[0], x.shape[1])
        dout_rows = dout if getattr(dout, "ndim", 0) == 2 else samples(dout)
        dx, *grads = ops.batch_norm_backward(dout_rows, x, gamma, mean, var, self.epsilon)
        self._store(grads)
        return dx if dout_rows is dout else dx.reshape(np.shape(dout))

    def _store(self, grads):
        for i, g in enumerate(grads):
            if self.grads[i].shape != g.shape:  # gamma is a number: its gradient has D elements, as the book's
                self.grads[i] = np.zeros_like(g)
            self.grads[i][...] = g

    @staticmethod
    def _per_column(p, D):
        """A parameter as (D,); a number counts for every column."""
        return p if np.size(p) != 1 or np.shape(p) == (D,) else np.full(D, p)


class Dropout(Layer):
    """Dropout by the books' rule: training multiplies by the mask, evaluation by 1 - dropout_ratio. Book 1 ch. 6.

    `rng` (None, a seed or a numpy.random.Generator) supplies one 64-bit key per training pass.
    """

    _mask: Any = None
    _shape: Any = None

    def __init__(self, dropout_ratio=0.5, rng=None):
        super().__init__()
        self.dropout_ratio = dropout_ratio
        self.rng = np.random.default_rng(rng)

    @property
    def mask(self):
        """True where the last training pass kept x (bool, x's shape), None before it."""
        return unpack_mask(self._mask, self._shape)

    def forward(self, x, train_flg=True):
        if not train_flg:
            return np.multiply(x, 1.0 - self.dropout_ratio)
        key = int(self.rng.integers(2**64, dtype=np.uint64))
        out, self._mask = ops.dropout_forward(x, self.dropout_ratio, key)
        self._shape = out.shape
        return out

    def backward(self, dout):
        return ops.dropout_backward(dout, self._mask)
