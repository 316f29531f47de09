"""Layers of generative models: divergences to a prior, sampling that lets gradients through, a codebook."""

from typing import Any

import numpy as np

from .. import ops
from .base import Layer, from_forward, grad, need_arrays, param
from .embedding import table
from .random import Drawing


class GaussianKL(Layer):
    """KL(N(mu, exp(log_var)) || N(0, 1)), summed over D, the mean over N: mu, log_var (N, D) -> float.

    Kingma and Welling 2014, appendix B.
    """

    _saved: Any = from_forward()

    def forward(self, mu, log_var):
        mu, log_var = np.asarray(mu), np.asarray(log_var)
        if mu.shape != log_var.shape:
            raise ValueError(f"GaussianKL: mu is {mu.shape} but log_var is {log_var.shape}; they must be equal")
        self._saved = mu, log_var
        terms = mu * mu + np.expm1(log_var) - log_var
        return 0.5 * float(terms.sum(dtype=np.float64)) / max(len(mu), 1)

    def backward(self, dout=1):
        """-> (dmu, dlog_var)"""
        mu, log_var = self._saved
        scale = mu.dtype.type(dout / max(len(mu), 1))
        return mu * scale, np.expm1(log_var) * (scale / 2)


class BernoulliKL(Layer):
    """KL(Bernoulli(sigmoid(x)) || Bernoulli(prior)), summed over D, the mean over N: x (N, D) -> float."""

    _saved: Any = from_forward()

    def __init__(self, prior=0.5):
        super().__init__()
        if not 0 < prior < 1:
            raise ValueError(f"BernoulliKL: prior is {prior}; it must lie between 0 and 1")
        self.prior = prior

    def forward(self, x):
        x = np.asarray(x)
        p = ops.activation_forward(x, "sigmoid")
        odds = x - x.dtype.type(np.log(self.prior / (1 - self.prior)))  # of p against the prior
        self._saved = p, odds
        # p log p / q + (1 - p) log (1 - p) / (1 - q) = p * odds - softplus(x) - log(1 - q)
        terms = p * odds - ops.activation_forward(x, "softplus") - x.dtype.type(np.log1p(-self.prior))
        return float(terms.sum(dtype=np.float64)) / max(len(x), 1)

    def backward(self, dout=1):
        p, odds = self._saved
        return p * (1 - p) * odds * p.dtype.type(dout / max(len(p), 1))


class Reparameterize(Drawing, Layer):
    """A draw mu + exp(log_var / 2) * noise from N(mu, exp(log_var)), noise of N(0, 1): mu, log_var (N, D) -> (N, D).

    rng: None, a seed or a numpy.random.Generator. Kingma and Welling 2014.
    """

    _saved: Any = from_forward()

    def __init__(self, rng=None):
        super().__init__()
        self._set_rng(rng)

    def forward(self, mu, log_var):
        mu, log_var = np.asarray(mu), np.asarray(log_var)
        if mu.shape != log_var.shape:
            raise ValueError(f"Reparameterize: mu is {mu.shape} but log_var is {log_var.shape}; they must be equal")
        self._saved = np.exp(log_var / 2) * self.rng.standard_normal(mu.shape).astype(log_var.dtype)
        return mu + self._saved

    def backward(self, dz):
        """-> (dmu, dlog_var)"""
        return dz.copy(), dz * self._saved / 2


class VectorQuantizer(Layer):
    """The nearest of V codes W (V, D) for each row of x (N, D) -> (N, D); the gradient passes straight through.

    `index` (N,) are the codes taken, `loss` the mean over all elements of (code - x)^2, once for the code and
    `commitment` times for x; backward adds its gradients, to dx and to `grads[0]`. van den Oord et al. 2017.
    """

    size_names = "V", "D"
    always_shown = ("commitment",)
    W, dW = param(0), grad(0)
    index: Any = None
    loss: Any = None
    _difference: Any = None

    def __init__(self, W, commitment=0.25):
        need_arrays(self, W=W)
        super().__init__(W)
        self.commitment = commitment

    @classmethod
    def create(cls, V, D, *, init=1.0, rng=None, dtype="float32", **options):
        """A layer that makes its own codes W (V, D), normal with deviation 1; the rest as for `Embedding.create`."""
        return cls(table(cls, V, D, init, rng, dtype), **options)

    def forward(self, x):
        W = self.params[0]
        distance = np.square(W).sum(axis=1) - 2 * ops.matmul(x, W.T)  # and |x|^2, the same for every code
        self.index = distance.argmin(axis=1)
        codes = ops.embedding_forward(W, self.index)
        self._difference = codes - x
        self.loss = (1 + self.commitment) * float(np.square(self._difference).sum(dtype=np.float64)) / max(x.size, 1)
        return codes

    def backward(self, dout, dloss=1):
        """dout (N, D): the gradient of the codes, dloss that of `loss` -> dx"""
        step = self._difference * self._difference.dtype.type(2 * dloss / max(self._difference.size, 1))
        ops.embedding_backward(step, self.index, len(self.params[0]), self.grads[0])
        return dout - step * step.dtype.type(self.commitment)
