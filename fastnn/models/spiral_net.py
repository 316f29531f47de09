"""The network of book 2 ch. 1, which separates the arms of a spiral."""

import numpy as np

from .. import layers as fastnn_layers


class SpiralNet:
    """Affine, Sigmoid, Affine, softmax loss: book 2's `TwoLayerNet`, for its `Trainer` and lists of parameters.

    Weights normal with deviation 0.01, biases 0. Attributes: `layers` (list), `loss_layer`, `params`, `grads` (the
    layers' own arrays). dtype is that of the parameters; rng: None, a seed or a numpy.random.Generator.
    """

    layer_types = fastnn_layers

    def __init__(self, input_size, hidden_size, output_size, dtype="float32", rng=None):
        self.rng = np.random.default_rng(rng)
        W1 = (0.01 * self._normal(input_size, hidden_size)).astype(dtype)
        W2 = (0.01 * self._normal(hidden_size, output_size)).astype(dtype)
        b1, b2 = np.zeros(hidden_size, dtype), np.zeros(output_size, dtype)
        Affine, Sigmoid = self.layer_types.Affine, self.layer_types.Sigmoid
        self.layers = [Affine(W1, b1), Sigmoid(), Affine(W2, b2)]
        self.loss_layer = self.layer_types.SoftmaxWithLoss()
        self.params = [p for layer in self.layers for p in layer.params]
        self.grads = [g for layer in self.layers for g in layer.grads]

    def _normal(self, *shape):
        """Draws from the standard normal distribution."""
        return self.rng.standard_normal(shape)

    def predict(self, x):
        """Scores before the softmax: x (N, D) -> (N, V)."""
        for layer in self.layers:
            x = layer.forward(x)
        return x

    def forward(self, x, t):
        """Loss of x (N, D) and t, labels (N,) or one-hot (N, V)."""
        return self.loss_layer.forward(self.predict(x), t)

    def backward(self, dout=1):
        """Fill `grads` -> the gradient with respect to x."""
        dout = self.loss_layer.backward(dout)
        for layer in reversed(self.layers):
            dout = layer.backward(dout)
        return dout
