"""The networks of book 1 and of ch. 1 of book 2, with their draws and dtypes; `book1` and `book2` have them, too."""

import numpy as np

from .. import models
from ..targets import labels_or_targets
from ..weights import load_weights
from . import book1, book2


class _BookNetwork:
    # float64 parameters drawn from NumPy's global generator, and the layers of `book1`.
    layer_types = book1

    def _normal(self, *shape):
        return np.random.randn(*shape)

    def _dropout(self, ratio):
        return book1.Dropout(ratio)

    def _right(self, x, t):
        # A label that is none of the classes is not refused.
        scores = self.predict(x)
        t = labels_or_targets(t, scores.shape, type(self).__name__)
        return int(np.sum(scores.argmax(axis=1) == (t if t.ndim == 1 else t.argmax(axis=1)))), len(scores)


class TwoLayerNet(_BookNetwork, models.TwoLayerNet):
    def __init__(self, input_size, hidden_size, output_size, weight_init_std=0.01):
        super().__init__(input_size, hidden_size, output_size, weight_init_std, "float64")


class MultiLayerNet(_BookNetwork, models.MultiLayerNet):
    def __init__(
        self, input_size, hidden_size_list, output_size, activation="relu", weight_init_std="relu",
        weight_decay_lambda=0,
    ):  # fmt: skip
        super().__init__(
            input_size, hidden_size_list, output_size, activation, weight_init_std, weight_decay_lambda, "float64"
        )


class MultiLayerNetExtend(_BookNetwork, models.MultiLayerNetExtend):
    def __init__(
        self, input_size, hidden_size_list, output_size, activation="relu", weight_init_std="relu",
        weight_decay_lambda=0, use_dropout=False, dropout_ration=0.5, use_batchnorm=False,
    ):  # fmt: skip
        super().__init__(
            input_size, hidden_size_list, output_size, activation, weight_init_std,
            weight_decay_lambda, use_dropout, dropout_ration, use_batchnorm, "float64",
        )  # fmt: skip


class _BookConvNet(_BookNetwork):
    # Accuracy leaves out what does not fill a batch, but divides by all. Weights are pickled; reading them rebinds the
    # parameters of the network and of its layers.
    def accuracy(self, x, t, batch_size=100):
        whole = len(x) - len(x) % batch_size
        return self._correct(x[:whole], t[:whole], batch_size) / len(x)

    def save_params(self, file_name="params.pkl"):
        super().save_params(file_name)

    def load_params(self, file_name="params.pkl"):
        self.params.update(load_weights(file_name))
        for name, (layer, attribute) in self._gradients.items():
            setattr(layer, attribute.removeprefix("d"), self.params[name])


class SimpleConvNet(_BookConvNet, models.SimpleConvNet):
    def __init__(
        self, input_dim=(1, 28, 28), conv_param=models.SimpleConvNet.conv_param, hidden_size=100, output_size=10,
        weight_init_std=0.01,
    ):  # fmt: skip
        super().__init__(input_dim, conv_param, hidden_size, output_size, weight_init_std, "float64")


class DeepConvNet(_BookConvNet, models.DeepConvNet):
    def __init__(self, *args, **named):
        super().__init__(*args, dtype="float64", **named)


# ---- book 2, ch. 1: TwoLayerNet ------------------------------------------------------------------------------------


class SpiralNet(models.SpiralNet):
    # float64 parameters drawn from NumPy's global generator.
    layer_types = book2

    def __init__(self, input_size, hidden_size, output_size):
        super().__init__(input_size, hidden_size, output_size, "float64")

    def _normal(self, *shape):
        return np.random.randn(*shape)
