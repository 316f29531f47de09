"""Normalisation: BatchNormalization."""

from typing import Any

import numpy as np

from .. import ops
from .base import Layer, grad, gradient_dtype, param, samples


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
