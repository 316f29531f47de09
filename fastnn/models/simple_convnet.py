"""The network of book 1 ch. 7."""

import math
from typing import ClassVar

from .convnet import ConvNet


class SimpleConvNet(ConvNet):
    """Convolution, Relu, Pooling, Affine, Relu, Affine, softmax loss, for images (N, C, H, W). Book 1 ch. 7.

    Weights normal with weight_init_std, biases 0. Attributes: `params` {"W1", "b1", ..., "W3", "b3"}, `layers`
    (OrderedDict: Conv1, Relu1, Pool1, Affine1, Relu2, Affine2), `last_layer`. dtype is that of the parameters; rng:
    None, a seed or a numpy.random.Generator. Raises ValueError if the filters do not fit on the images.
    """

    conv_param: ClassVar = {"filter_num": 30, "filter_size": 5, "pad": 0, "stride": 1}

    def __init__(
        self, input_dim=(1, 28, 28), conv_param=conv_param, hidden_size=100, output_size=10, weight_init_std=0.01,
        dtype="float32", rng=None,
    ):  # fmt: skip
        super().__init__(input_dim, dtype, rng)
        self._add_convolution_params(1, conv_param, weight_init_std)
        self._after_pooling()
        self._add_affine_params(2, math.prod(self._shape), hidden_size, weight_init_std)
        self._add_affine_params(3, hidden_size, output_size, weight_init_std)
        types = self.layer_types
        self._add_convolution(1, conv_param, "Conv1")
        self._add_layer("Relu1", types.Relu())
        self._add_layer("Pool1", types.Pooling(2, 2, stride=2))
        self._add_affine(2, "Affine1")
        self._add_layer("Relu2", types.Relu())
        self._add_affine(3, "Affine2")
