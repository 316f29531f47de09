"""Book 1: the classes of its `common` package (dense chapters), with its fresh gradients, its draws and its dtypes."""

import sys
from typing import ClassVar

import numpy as np

from .. import layers, models, ops, optimizer, trainer
from ..functions import (
    col2im,
    cross_entropy_error,
    identity_function,
    im2col,
    relu,
    relu_grad,
    sigmoid,
    sigmoid_grad,
    softmax,
    softmax_loss,
    step_function,
    sum_squared_error,
)
from ..gradient import numerical_gradient, numerical_gradient_2d
from ..layers import AddLayer, MulLayer, Pooling, Relu, Sigmoid
from ..layers.base import pack_mask
from ..optimizer import SGD, AdaGrad, Adam, Momentum, RMSprop
from ..util import conv_output_size, smooth_curve
from ..weights import load_weights

__all__ = [
    "SGD",
    "AdaGrad",
    "Adam",
    "AddLayer",
    "Affine",
    "BatchNormalization",
    "Convolution",
    "DeepConvNet",
    "Dropout",
    "Momentum",
    "MulLayer",
    "MultiLayerNet",
    "MultiLayerNetExtend",
    "Nesterov",
    "Pooling",
    "RMSprop",
    "Relu",
    "Sigmoid",
    "SimpleConvNet",
    "SoftmaxWithLoss",
    "Trainer",
    "TwoLayerNet",
    "col2im",
    "conv_output_size",
    "cross_entropy_error",
    "identity_function",
    "im2col",
    "numerical_gradient",
    "numerical_gradient_2d",
    "relu",
    "relu_grad",
    "shuffle_dataset",
    "sigmoid",
    "sigmoid_grad",
    "smooth_curve",
    "softmax",
    "softmax_loss",
    "step_function",
    "sum_squared_error",
]

# ---- layers --------------------------------------------------------------------------------------------------------


class Affine(layers.Affine):
    # dW and db are None at first and new arrays (of the promoted dtype) after each backward.
    @staticmethod
    def gradient_array(p):
        return None

    def _backward(self, dout, x, W):
        dx, *self.grads = ops.affine_backward(dout, x, W)
        return dx


class BatchNormalization(layers.BatchNormalization):
    # dgamma and dbeta as dW and db of Affine; the running statistics start as float64 zeros.
    @staticmethod
    def gradient_array(p):
        return None

    def _store(self, grads):
        self.grads = grads

    def _statistics_dtype(self):
        return np.float64


class Convolution(layers.Convolution):
    # dW and db as those of Affine.
    @staticmethod
    def gradient_array(p):
        return None

    def _buffers(self, *operands):
        return [None] * len(self.params)

    def _store(self, grads):
        self.grads = grads


class SoftmaxWithLoss(layers.SoftmaxWithLoss):
    # The loss is a NumPy number of the scores' dtype; backward ignores dout, divides by len(t) even for a 1-D t of V
    # targets (so by V), and targets t of a wider dtype widen the gradient.
    def forward(self, x, t):
        loss = super().forward(x, t)
        self.loss = self.y.dtype.type(loss)
        return self.loss

    def backward(self, dout=1):
        y, t = self.y, self.t
        if t.size == y.size:
            self.y = y.astype(np.result_type(y, t), copy=False)
        dx = super().backward(1.0)
        self.y = y
        return dx / t.size if y.ndim == 1 else dx


def dropout(x, ratio, scale=1.0):
    """x * (np.random.rand(*x.shape) > ratio) * scale, the global generator left as that leaves it -> (out, mask)."""
    generator = np.random.get_bit_generator()
    if x.size < 16384 or not isinstance(generator, np.random.MT19937):  # reading and setting the state takes 52 us
        mask = pack_mask(np.random.rand(*x.shape) > ratio)
        return ops.dropout_backward(x, mask, scale), mask
    with generator.lock:
        state = generator.state
        before = np.append(state["state"]["key"], np.uint32(state["state"]["pos"]))
        out, mask, after = ops.legacy_dropout_forward(x, ratio, before, scale)
        state["state"] = {"key": after[:-1], "pos": int(after[-1])}
        generator.state = state
    return out, mask


class Dropout(layers.Dropout):
    # Draws from NumPy's global generator: one uniform number an element, kept where it exceeds the ratio.
    def __init__(self, dropout_ratio=0.5):
        super().__init__(dropout_ratio)

    def forward(self, x, train_flg=True):
        if not train_flg:
            return super().forward(x, False)
        out, self._mask = dropout(x, self.dropout_ratio)
        self._shape = x.shape
        return out


# ---- optimizers and training ---------------------------------------------------------------------------------------


class Nesterov(optimizer.Nesterov):
    # The step takes the velocity from before its update.
    def __init__(self, lr=0.01, momentum=0.9):
        super().__init__(lr, momentum, lookahead=False)


def shuffle_dataset(x, t):
    # Draws from NumPy's global generator.
    order = np.random.permutation(x.shape[0])
    return x[order], t[order]


class Trainer(trainer.Trainer):
    # Draws from NumPy's global generator; accuracies only where the iteration is an exact multiple of iter_per_epoch,
    # which is fractional if the batch size does not divide the data. "rmsprpo": a misprint of older printings.
    optimizers: ClassVar = {**trainer.OPTIMIZERS, "nesterov": Nesterov, "rmsprpo": optimizer.RMSprop}

    def _draw(self):
        return np.random.choice(self.train_size, self.batch_size)

    def _starts_epoch(self):
        return self.current_iter % self.iter_per_epoch == 0


# ---- networks ------------------------------------------------------------------------------------------------------


class _BookNetwork:
    # float64 parameters drawn from NumPy's global generator, and the layers of this module.
    layer_types = sys.modules[__name__]

    def _normal(self, *shape):
        return np.random.randn(*shape)

    def _dropout(self, ratio):
        return Dropout(ratio)


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
