"""What the classifiers of book 1 share: a dict of parameters, layers in order, a softmax loss at the end."""

import math
from collections import OrderedDict

import numpy as np

from .. import init
from .. import layers as fastnn_layers
from ..described import listed
from ..gradient import numerical_gradient
from ..targets import right
from ..weights import load_weights, save_weights
from .planned import Planned

_LONG = 6  # layers, from which on a plan is quicker than they are with one sample (784-50-10: 2.8 us against 4.6)


class Classifier(Planned):
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

    def __repr__(self):
        layers = self.layers if isinstance(self.layers, dict) else dict(enumerate(self.layers, 1))
        return listed(self, dict(layers) | {"loss": self.last_layer}, str(self.dtype))

    def _normal(self, *shape):
        """Draws from the standard normal distribution."""
        return self.rng.standard_normal(shape)

    def _dropout(self, ratio):
        return self.layer_types.Dropout(ratio, self.rng)

    def _add_params(self, i, shape, outputs, scale):
        """Weights W{i}, normal with that deviation, and biases b{i}, 0."""
        self.params[f"W{i}"] = init.scaled(self._normal(*shape), scale, self.dtype)
        self.params[f"b{i}"] = np.zeros(outputs, self.dtype)

    def _add_affine_params(self, i, D, M, scale):
        self._add_params(i, (D, M), M, scale)

    def _add_layer(self, name, layer, **params):
        """A layer whose attributes `params` (W="W1", ...) are parameters of the network by name."""
        self.layers[name] = layer
        for attribute, param in params.items():
            self._gradients[param] = layer, f"d{attribute}"

    def _add_affine(self, i, name=None):
        affine = self.layer_types.Affine(self.params[f"W{i}"], self.params[f"b{i}"])
        self._add_layer(name or f"Affine{i}", affine, W=f"W{i}", b=f"b{i}")

    def _in_order(self):
        return list(self.layers.values())

    def _chain(self):
        return [*self._in_order(), self.last_layer]

    def predict(self, x, train_flg=False):
        """Scores before the softmax: x (N, ...) -> (N, V). train_flg: whether dropout drops, and BatchNorm learns."""
        scores = self._by_plan("predict", x, train_flg) if len(self.layers) >= _LONG else None
        return self._by_layers(x, train_flg) if scores is None else scores

    def _by_layers(self, x, train_flg):
        for layer in self._in_order():
            x = layer.forward(x)
        return x

    def loss(self, x, t, train_flg=False):
        """Mean cross entropy of x (N, ...) and t, labels (N,) or one-hot (N, V)."""
        loss = self._by_plan("loss", x, t, train_flg) if len(self.layers) >= _LONG else None
        if loss is not None:
            return loss
        if self._has_own_pass():
            scores = self.predict(x, True) if train_flg else self.predict(x)  # a predict that may take x alone
        else:
            scores = self._by_layers(x, train_flg)
        return self.last_layer.forward(scores, t)

    def accuracy(self, x, t):
        """Share of x (N, ...) whose largest score is at t, labels (N,) or one-hot (N, V)."""
        hits, count = self._right(x, t)
        return hits / count if count else math.nan

    def _right(self, x, t):
        """How many of x are classified as t says, of how many."""
        return right(self.predict(x), t, f"{type(self).__name__}.accuracy")

    def gradient(self, x, t):
        """Backpropagation -> {name: gradient}, like `params`."""
        if self._by_plan("gradient", x, t) is None:
            self._training_loss(x, t)
            dout = self.last_layer.backward(1)
            for layer in reversed(self._in_order()):
                dout = layer.backward(dout)
        return {name: getattr(*self._gradients[name]) for name in self.params}

    def numerical_gradient(self, x, t):
        """The same by central differences: slow, for checks (`fastnn.gradient.gradient_check` is faster)."""
        return {name: numerical_gradient(lambda _: self._training_loss(x, t), p) for name, p in self.params.items()}

    def save_params(self, file_name="params.npz"):
        """Write `params` to a .npz, .safetensors or .pkl file, whole or not at all."""
        save_weights(file_name, self.params)

    def load_params(self, file_name="params.npz"):
        """Read `params` from a .npz, .safetensors or .pkl file (the books' too) into the arrays that are there.

        Raises ValueError, and changes nothing, unless names and shapes are those of this network.
        """
        loaded = load_weights(file_name)
        if loaded.keys() != self.params.keys():
            raise ValueError(f"load_params: {file_name} has {_names(loaded)}, the network has {_names(self.params)}")
        for name, p in self.params.items():
            if loaded[name].shape != p.shape or loaded[name].dtype.kind not in "biuf":
                found = f"{loaded[name].dtype} {loaded[name].shape}"
                raise ValueError(f"load_params: {file_name}: {name} is {found} but must be {self.dtype} {p.shape}")
        for name, p in self.params.items():
            p[...] = loaded[name]

    def _training_loss(self, x, t):
        return self.loss(x, t)


def _names(params):
    return ", ".join(map(str, params)) or "nothing"
