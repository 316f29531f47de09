"""What the classifiers of book 1 share: a dict of parameters, layers in order, a softmax loss at the end."""

from collections import OrderedDict

import numpy as np

from .. import layers as fastnn_layers
from ..gradient import numerical_gradient


class Classifier:
    """A network of layers with scores (N, V) at the end; subclasses fill `params` and `layers`.

    `gradient` returns the layers' own gradient arrays, which the next call overwrites (copy them to keep them).
    """

    layer_types = fastnn_layers

    def __init__(self, dtype, rng):
        self.dtype = np.dtype(dtype)
        self.rng = np.random.default_rng(rng)
        self.params = {}
        self.layers = OrderedDict()
        self.last_layer = self.layer_types.SoftmaxWithLoss()
        self._gradients = {}  # name of a parameter -> (its layer, "dW" or the like)

    def _normal(self, *shape):
        """Draws from the standard normal distribution."""
        return self.rng.standard_normal(shape)

    def _add_affine_params(self, i, D, M, scale):
        self.params[f"W{i}"] = (scale * self._normal(D, M)).astype(self.dtype)
        self.params[f"b{i}"] = np.zeros(M, self.dtype)

    def _add_layer(self, name, layer, **params):
        """A layer whose attributes `params` (W="W1", ...) are parameters of the network by name."""
        self.layers[name] = layer
        for attribute, param in params.items():
            self._gradients[param] = layer, f"d{attribute}"

    def _add_affine(self, i):
        affine = self.layer_types.Affine(self.params[f"W{i}"], self.params[f"b{i}"])
        self._add_layer(f"Affine{i}", affine, W=f"W{i}", b=f"b{i}")

    def predict(self, x):
        """Scores before the softmax: x (N, D) -> (N, V)."""
        for layer in self.layers.values():
            x = layer.forward(x)
        return x

    def loss(self, x, t):
        """Mean cross entropy of x (N, D) and t, labels (N,) or one-hot (N, V)."""
        return self.last_layer.forward(self.predict(x), t)

    def accuracy(self, x, t):
        """Share of x (N, D) whose largest score is at t, labels (N,) or one-hot (N, V)."""
        t = np.asarray(t)
        labels = t if t.ndim == 1 else t.argmax(axis=1)
        return float(np.mean(self.predict(x).argmax(axis=1) == labels))

    def gradient(self, x, t):
        """Backpropagation -> {name: gradient}, like `params`."""
        self._training_loss(x, t)
        dout = self.last_layer.backward(1)
        for layer in reversed(self.layers.values()):
            dout = layer.backward(dout)
        return {name: getattr(*self._gradients[name]) for name in self.params}

    def numerical_gradient(self, x, t):
        """The same by central differences: slow, for checks (`fastnn.gradient.gradient_check` is faster)."""
        return {name: numerical_gradient(lambda _: self._training_loss(x, t), p) for name, p in self.params.items()}

    def _training_loss(self, x, t):
        return self.loss(x, t)
