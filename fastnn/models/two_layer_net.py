"""The network of book 1 ch. 5."""

from .classifier import Classifier


class TwoLayerNet(Classifier):
    """Affine, Relu, Affine, softmax loss; weights normal with weight_init_std, biases 0. Book 1 ch. 5.

    Attributes: `params` {"W1", "b1", "W2", "b2"}, `layers` (OrderedDict), `lastLayer` = `last_layer`. dtype is that of
    the parameters; rng: None, a seed or a numpy.random.Generator.
    """

    def __init__(self, input_size, hidden_size, output_size, weight_init_std=0.01, dtype="float32", rng=None):
        super().__init__(dtype, rng)
        self._add_affine_params(1, input_size, hidden_size, weight_init_std)
        self._add_affine_params(2, hidden_size, output_size, weight_init_std)
        self._add_affine(1)
        self._add_layer("Relu1", self.layer_types.Relu())
        self._add_affine(2)

    @property
    def lastLayer(self):
        return self.last_layer
