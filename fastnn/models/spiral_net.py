"""The network of book 2 ch. 1, which separates the arms of a spiral."""

from .. import init
from .. import layers as fastnn_layers
from .base_model import Layered


class SpiralNet(Layered):
    """Affine, Sigmoid, Affine, softmax loss: book 2's `TwoLayerNet`, for its `Trainer` and lists of parameters.

    Weights normal with deviation 0.01, biases 0. Attributes: `layers` (list), `loss_layer`, `params`, `grads` (the
    layers' own arrays). dtype is that of the parameters; rng: None, a seed or a numpy.random.Generator.
    """

    layer_types = fastnn_layers

    def __init__(self, input_size, hidden_size, output_size, dtype="float32", rng=None):
        super().__init__(dtype, rng)
        W1 = init.scaled(self._normal(input_size, hidden_size), 0.01, dtype)
        W2 = init.scaled(self._normal(hidden_size, output_size), 0.01, dtype)
        b1, b2 = self._zeros(hidden_size), self._zeros(output_size)
        Affine, Sigmoid = self.layer_types.Affine, self.layer_types.Sigmoid
        self.layers = [Affine(W1, b1), Sigmoid(), Affine(W2, b2)]
        self.loss_layer = self.layer_types.SoftmaxWithLoss()
        self._collect(*self.layers)

    def _normal(self, *shape):
        """Draws from the standard normal distribution."""
        return self.rng.standard_normal(shape)
