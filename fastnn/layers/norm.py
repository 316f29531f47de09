"""Normalisation: by position (the book's), by channel, by sample."""

from typing import Any

import numpy as np

from .. import init as start
from .. import ops
from .base import Layer, from_forward, grad, gradient_dtype, need_arrays, param, samples


class Scaled(Layer):
    """A layer with gamma and beta that begins as the mere normalisation."""

    size_names = ("D",)

    @classmethod
    def create(cls, D, *, dtype="float32", **options):
        """A layer that makes its own gamma, ones, and beta, zeros, (D,). options: those of the constructor."""
        return cls(*ones_and_zeros(cls, (D,), dtype), **options)


def ones_and_zeros(cls, shape, dtype):
    """gamma and beta of that shape for a layer of that class."""
    what = f"{cls.__name__}.create"
    names = ["D"] if len(shape) == 1 else [f"D[{i}]" for i in range(len(shape))]
    shape, dtype = start.sizes(what, **dict(zip(names, shape, strict=True))), start.floating(dtype, what)
    return np.ones(shape, dtype), np.zeros(shape, dtype)


def _moved(layer, name, batch, factor=1.0):
    """The running statistic `name` after a batch: a new array in gamma's dtype, by the operation that plans use."""
    running, dtype = getattr(layer, name), gradient_dtype(layer.params[0])
    if np.shape(running) not in (batch.shape, ()):
        raise ValueError(f"{type(layer).__name__}: {name} is {np.shape(running)} but x has {batch.size} of them")
    now = np.full(batch.shape, running, dtype if dtype.itemsize >= 4 else np.float32)
    ops.moving_average([now], [batch], layer.momentum, factor)
    return now.astype(dtype, copy=False)


class BatchNormalization(Scaled):
    """Batch normalisation of x (N, D), or of (N, ...) flattened to it: per element position, as the book. Book 1 ch. 6.

    gamma, beta: (D,) arrays or numbers. Biased variance, 1e-6 under the root. Running statistics, kept in gamma's
    dtype, are momentum * old + (1 - momentum) * batch; `forward(x, train_flg=False)` uses them and leaves what backward
    needs as it was. They start as zeros, and an empty batch does not change them.
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
            if len(x_rows):
                moved = _moved(self, "running_mean", mean), _moved(self, "running_var", var)
                self.running_mean, self.running_var = moved
            self._saved, self.batch_size = (x_rows, mean, var), len(x_rows)
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


class BatchNorm2d(Scaled):
    """Batch normalisation of x (N, C, H, W) per channel: statistics over N, H and W. As PyTorch's; any (N, C, ...).

    gamma, beta: (C,) arrays. Biased variance, epsilon under the root. Running statistics, in gamma's dtype, start as 0
    and 1 and are momentum * old + (1 - momentum) * batch, of the unbiased variance (PyTorch's momentum of 0.1 is 0.9
    here, as in the books); `forward(x, train_flg=False)` uses them and leaves what backward needs as it was. An empty
    batch does not change them, as in PyTorch.
    """

    gamma, beta, dgamma, dbeta = param(0), param(1), grad(0), grad(1)
    _saved: Any = None

    def __init__(self, gamma, beta, momentum=0.9, running_mean=None, running_var=None, epsilon=1e-5):
        need_arrays(self, gamma=gamma, beta=beta)
        super().__init__(gamma, beta)
        self.momentum = momentum
        self.epsilon = epsilon
        dtype = gradient_dtype(gamma)
        self.running_mean = np.zeros(np.shape(gamma), dtype) if running_mean is None else running_mean
        self.running_var = np.ones(np.shape(gamma), dtype) if running_var is None else running_var

    def forward(self, x, train_flg=True):
        gamma, beta = self.params
        if not train_flg:
            return ops.batch_norm_inference(x, gamma, beta, self.running_mean, self.running_var, self.epsilon)
        out, mean, var = ops.batch_norm_forward(x, gamma, beta, self.epsilon)
        n = out.size // max(mean.size, 1)
        if n:
            moved = _moved(self, "running_mean", mean), _moved(self, "running_var", var, n / max(n - 1, 1))
            self.running_mean, self.running_var = moved
        self._saved = x, mean, var
        return out

    def backward(self, dout):
        if self._saved is None:
            raise AttributeError("BatchNorm2d: no forward in training mode yet")
        x, mean, var = self._saved
        buffers = self._buffers(dout, x)
        dx, *grads = ops.batch_norm_backward(dout, x, self.params[0], mean, var, self.epsilon, None, *buffers)
        self._store(grads)
        return dx


class LayerNorm(Scaled):
    """Normalisation of each sample over its last axes, those of gamma and beta. As PyTorch's; Ba et al. 2016.

    gamma, beta: (D,) for x (..., D), or of any shape that x ends with. Biased variance, epsilon under the root.
    """

    gamma, beta, dgamma, dbeta = param(0), param(1), grad(0), grad(1)
    _saved: Any = from_forward()

    def __init__(self, gamma, beta, epsilon=1e-5):
        need_arrays(self, gamma=gamma, beta=beta)
        super().__init__(gamma, beta)
        self.epsilon = epsilon

    def _sizes(self):
        shape = self.params[0].shape
        return {"D": shape[0] if len(shape) == 1 else shape}

    @classmethod
    def create(cls, D, *, dtype="float32", **options):
        """A layer that makes its own gamma, ones, and beta, zeros: (D,), or of the shape D. options: epsilon."""
        return cls(*ones_and_zeros(cls, tuple(D) if isinstance(D, tuple | list) else (D,), dtype), **options)

    def forward(self, x):
        gamma, beta = self.params
        x = np.asarray(x)
        if x.ndim < gamma.ndim or x.shape[x.ndim - gamma.ndim :] != gamma.shape:
            raise ValueError(f"LayerNorm: x is {x.shape} but gamma is {gamma.shape}; x must end with gamma's shape")
        x_rows = self._rows(x)
        out, mean, rstd = ops.layer_norm_forward(x_rows, gamma.reshape(-1), beta.reshape(-1), self.epsilon)
        self._saved = x, mean, rstd
        return out.reshape(x.shape)

    def backward(self, dout):
        x, mean, rstd = self._saved
        gamma = self.params[0]
        dx, *grads = ops.layer_norm_backward(self._rows(np.asarray(dout)), self._rows(x), gamma.reshape(-1), mean, rstd)
        self._store([g.reshape(gamma.shape) for g in grads])
        return dx.reshape(x.shape)

    def _rows(self, a):
        D = self.params[0].size
        return a if a.ndim == 2 and a.shape[1] == D else a.reshape(a.size // D if D else 0, D)


class GroupNorm(Scaled):
    """Normalisation of each sample over groups of channels: x (N, C, ...). As PyTorch's; Wu and He 2018.

    groups divides C; gamma, beta: (C,) arrays. Biased variance, epsilon under the root. groups = 1 takes all channels
    together, groups = C each by itself (instance normalisation).
    """

    gamma, beta, dgamma, dbeta = param(0), param(1), grad(0), grad(1)
    _saved: Any = from_forward()

    def __init__(self, groups, gamma, beta, epsilon=1e-5):
        need_arrays(self, gamma=gamma, beta=beta)
        super().__init__(gamma, beta)
        self.groups = groups
        self.epsilon = epsilon

    def _sizes(self):
        return {"groups": self.groups, "C": self.params[0].size}

    @classmethod
    def create(cls, groups, C, *, dtype="float32", **options):
        """A layer for C channels that makes its own gamma, ones, and beta, zeros. options: epsilon."""
        (groups,) = start.sizes(f"{cls.__name__}.create", groups=groups)
        return cls(groups, *ones_and_zeros(cls, (C,), dtype), **options)

    def forward(self, x):
        gamma, beta = self.params
        out, mean, rstd = ops.group_norm_forward(x, gamma, beta, self.groups, self.epsilon)
        self._saved = x, mean, rstd
        return out

    def backward(self, dout):
        x, mean, rstd = self._saved
        buffers = self._buffers(dout, x)
        dx, *grads = ops.group_norm_backward(dout, x, self.params[0], self.groups, mean, rstd, None, *buffers)
        self._store(grads)
        return dx
