"""The network of book 1 ch. 8."""

import math

from .. import init
from .convnet import ConvNet


def _filters(filter_num, pad=1):
    return {"filter_num": filter_num, "filter_size": 3, "pad": pad, "stride": 1}


_1, _2, _3, _4, _5, _6 = _filters(16), _filters(16), _filters(32), _filters(32, pad=2), _filters(64), _filters(64)


class DeepConvNet(ConvNet):
    """Six convolutions, with Pooling after every second, and two Affine layers, both with Dropout. Book 1 ch. 8.

    (conv, Relu, conv, Relu, Pooling) three times, Affine, Relu, Dropout, Affine, Dropout, softmax loss, for images
    (N, C, H, W). Weights by He's rule, normal with sqrt(2 / fan-in), biases 0. Dropout with ratio 0.5 by the books'
    rule, on the scores too. Attributes: `params` {"W1", "b1", ..., "W8", "b8"}, `layers` (a list of 20), `last_layer`.
    dtype is that of the parameters; rng: None, a seed or a numpy.random.Generator.
    """

    def __init__(
        self, input_dim=(1, 28, 28), conv_param_1=_1, conv_param_2=_2, conv_param_3=_3, conv_param_4=_4,
        conv_param_5=_5, conv_param_6=_6, hidden_size=50, output_size=10, dtype="float32", rng=None,
    ):  # fmt: skip
        super().__init__(input_dim, dtype, rng)
        conv_params = conv_param_1, conv_param_2, conv_param_3, conv_param_4, conv_param_5, conv_param_6
        for i, conv_param in enumerate(conv_params, start=1):
            self._add_convolution_params(i, conv_param)
            if i % 2 == 0:
                self._after_pooling()
        D = math.prod(self._shape)
        self._add_affine_params(7, D, hidden_size, init.deviation("he", D))
        self._add_affine_params(8, hidden_size, output_size, init.deviation("he", hidden_size))

        types = self.layer_types
        for i, conv_param in enumerate(conv_params, start=1):
            self._add_convolution(i, conv_param, f"Conv{i}")
            self._add_layer(f"Relu{i}", types.Relu())
            if i % 2 == 0:
                self._add_layer(f"Pool{i // 2}", types.Pooling(2, 2, stride=2))
        self._add_affine(7)
        self._add_layer("Relu7", types.Relu())
        self._add_layer("Dropout7", self._dropout(0.5))
        self._add_affine(8)
        self._add_layer("Dropout8", self._dropout(0.5))
        self.layers = list(self.layers.values())

    def _in_order(self):
        return self.layers

    def _by_layers(self, x, train_flg):
        for layer in self.layers:
            x = layer.forward(x, train_flg) if isinstance(layer, self.layer_types.Dropout) else layer.forward(x)
        return x

    def loss(self, x, t, train_flg=True):
        """Mean cross entropy, in training mode unless told otherwise, as in the book."""
        return super().loss(x, t, train_flg)
