"""The networks of book 1 ch. 6: any number of hidden layers, with weight decay, batch normalisation and dropout."""

import itertools

import numpy as np

from .. import init
from .classifier import Classifier

ACTIVATIONS = {"relu": "Relu", "sigmoid": "Sigmoid", "tanh": "Tanh"}  # name -> class in `layers`
_RULES = {"relu": "he", "he": "he", "sigmoid": "xavier", "xavier": "xavier"}  # name -> rule of `init`


class MultiLayerNetExtend(Classifier):
    """Affine, [BatchNorm], activation, [Dropout] for each hidden layer, then Affine and the softmax loss. Book 1 ch. 6.

    activation: "relu", "sigmoid" or "tanh" (KeyError otherwise). weight_init_std: a number, or in upper or lower case
    "relu" or "he" (sqrt(2 / fan-in)), "sigmoid" or "xavier" (sqrt(1 / fan-in)). weight_decay_lambda adds half of it
    times the sum of squares of all weights W to the loss. Dropout by the books' rule. Attributes: `params` {"W1", "b1",
    ..., "gamma1", "beta1", ...}, `layers` (OrderedDict), `last_layer`. dtype is that of the parameters; rng: None, a
    seed or a numpy.random.Generator.
    """

    def __init__(
        self, input_size, hidden_size_list, output_size, activation="relu", weight_init_std="relu",
        weight_decay_lambda=0, use_dropout=False, dropout_ration=0.5, use_batchnorm=False, dtype="float32", rng=None,
    ):  # fmt: skip
        super().__init__(dtype, rng)
        self.input_size = input_size
        self.output_size = output_size
        self.hidden_size_list = hidden_size_list
        self.hidden_layer_num = len(hidden_size_list)
        self.weight_decay_lambda = weight_decay_lambda
        self.use_dropout = use_dropout
        self.use_batchnorm = use_batchnorm
        Activation = getattr(self.layer_types, ACTIVATIONS[activation])

        sizes = [input_size, *hidden_size_list, output_size]
        for i, (D, M) in enumerate(itertools.pairwise(sizes), start=1):
            self._add_affine_params(i, D, M, _scale(weight_init_std, D))
        for i, M in enumerate(hidden_size_list, start=1):
            self._add_affine(i)
            if use_batchnorm:
                self._add_batch_norm(i, M)
            self._add_layer(f"Activation_function{i}", Activation())
            if use_dropout:
                self._add_layer(f"Dropout{i}", self._dropout(dropout_ration))
        self._add_affine(self.hidden_layer_num + 1)

    def _add_batch_norm(self, i, D):
        gamma, beta = np.ones(D, self.dtype), np.zeros(D, self.dtype)
        self.params[f"gamma{i}"], self.params[f"beta{i}"] = gamma, beta
        layer = self.layer_types.BatchNormalization(gamma, beta)
        self._add_layer(f"BatchNorm{i}", layer, gamma=f"gamma{i}", beta=f"beta{i}")

    def _by_layers(self, x, train_flg):
        for name, layer in self.layers.items():
            x = layer.forward(x, train_flg) if name.startswith(("BatchNorm", "Dropout")) else layer.forward(x)
        return x

    def loss(self, x, t, train_flg=False):
        """Mean cross entropy plus weight decay (which `network` leaves out)."""
        loss = super().loss(x, t, train_flg)
        if self.weight_decay_lambda == 0:
            return loss
        return loss + 0.5 * self.weight_decay_lambda * sum(float(np.vdot(W, W)) for W in self._weights())

    def gradient(self, x, t):
        """Backpropagation in training mode -> {name: gradient}, like `params`, weight decay included."""
        gradients = super().gradient(x, t)
        if self.weight_decay_lambda:
            for i, W in enumerate(self._weights(), start=1):
                gradients[f"W{i}"] += self.weight_decay_lambda * W
        return gradients

    def _training_loss(self, x, t):
        return self.loss(x, t, train_flg=True)

    def _weights(self):
        return [self.params[f"W{i}"] for i in range(1, self.hidden_layer_num + 2)]


class MultiLayerNet(MultiLayerNetExtend):
    """`MultiLayerNetExtend` without batch normalisation and dropout. Book 1 ch. 6."""

    def __init__(
        self, input_size, hidden_size_list, output_size, activation="relu", weight_init_std="relu",
        weight_decay_lambda=0, dtype="float32", rng=None,
    ):  # fmt: skip
        super().__init__(
            input_size, hidden_size_list, output_size, activation, weight_init_std, weight_decay_lambda,
            dtype=dtype, rng=rng,
        )  # fmt: skip


def _scale(weight_init_std, fan_in):
    if isinstance(weight_init_std, str):
        if weight_init_std.lower() not in _RULES:
            raise ValueError(f"weight_init_std {weight_init_std!r} is not a number or one of {', '.join(_RULES)}")
        return init.deviation(_RULES[weight_init_std.lower()], fan_in)
    return weight_init_std
