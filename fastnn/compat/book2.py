"""Book 2: the classes of its `common` package and ch. 1 (dense chapters), with its draws, dtypes and kept labels."""

import sys
import time

import numpy as np

from .. import layers, models
from ..functions import cross_entropy_error, relu, rows, sigmoid, softmax
from ..layers import MatMul, Sigmoid, Softmax
from ..optimizer import SGD, AdaGrad, Adam, Momentum, Nesterov, RMSprop
from ..util import clip_grads
from .book1 import Dropout

__all__ = [
    "SGD",
    "AdaGrad",
    "Adam",
    "Affine",
    "Dropout",
    "MatMul",
    "Momentum",
    "Nesterov",
    "RMSprop",
    "Sigmoid",
    "SigmoidWithLoss",
    "Softmax",
    "SoftmaxWithLoss",
    "Trainer",
    "TwoLayerNet",
    "clip_grads",
    "cross_entropy_error",
    "relu",
    "remove_duplicate",
    "sigmoid",
    "softmax",
]

# ---- layers --------------------------------------------------------------------------------------------------------


class Affine(layers.Affine):
    # x (..., D) -> (..., M): a product over the last axis, not over all axes but the first.
    def forward(self, x):
        if getattr(x, "ndim", 0) == 2:
            return super().forward(x)
        return super().forward(rows(x)).reshape(*np.shape(x)[:-1], -1)

    def backward(self, dout):
        if getattr(dout, "ndim", 0) == 2:
            return super().backward(dout)
        return super().backward(rows(dout)).reshape(*np.shape(dout)[:-1], -1)


class SoftmaxWithLoss(layers.SoftmaxWithLoss):
    # One-hot targets are turned into labels and kept so; the loss is a NumPy number of the scores' dtype.
    def forward(self, x, t):
        if t.size == x.size and x.shape[-1] > 1:
            t = t.argmax(axis=1)
        loss = super().forward(x, t)
        self.loss = self.y.dtype.type(loss)
        return self.loss


class SigmoidWithLoss(layers.SigmoidWithLoss):
    # The loss is a NumPy number of the scores' dtype; targets of a wider dtype (int64) widen the gradient.
    def forward(self, x, t):
        loss = super().forward(x, t)
        self.loss = self.y.dtype.type(loss)
        return self.loss

    def backward(self, dout=1):
        y = self.y
        self.y = y.astype(np.result_type(y, self.t), copy=False)
        dx = super().backward(dout)
        self.y = y
        return dx


# ---- training ------------------------------------------------------------------------------------------------------


def remove_duplicate(params, grads):
    """(params, grads) as new lists without parameters that are the same array, or by value another one's transpose.

    The gradient of what is left out is added, in place, to that of the parameter it equals.
    """
    params, grads = list(params), list(grads)
    for i, p in enumerate(params):  # the lists shrink behind i
        j = i + 1
        while j < len(params):
            same = params[j] is p
            if same or _is_transpose(p, params[j]):
                grads[i] += grads[j] if same else grads[j].T
                del params[j], grads[j]
            else:
                j += 1
    return params, grads


def _is_transpose(p, q):
    if p.ndim != 2 or p.shape != q.shape[::-1]:
        return False
    return np.array_equal(p[:, :1].T, q[:1]) and np.array_equal(p.T, q)  # one row first: it nearly always decides


class Trainer:
    """Trains a model that has `forward(x, t)`, `backward()`, `params` and `grads`, lists of arrays."""

    def __init__(self, model, optimizer):
        self.model = model
        self.optimizer = optimizer
        self.loss_list = []
        self.eval_interval = None
        self.current_epoch = 0

    def fit(self, x, t, max_epoch=10, batch_size=32, max_grad=None, eval_interval=20):
        """max_epoch epochs of len(x) // batch_size shuffled batches; the mean loss is printed every eval_interval."""
        n = len(x)
        iterations = n // batch_size
        self.eval_interval = eval_interval
        losses = []
        start = time.time()
        for _ in range(max_epoch):
            order = np.random.permutation(np.arange(n))
            x, t = x[order], t[order]
            for i in range(iterations):
                batch = slice(i * batch_size, (i + 1) * batch_size)
                losses.append(self._step(x[batch], t[batch], max_grad))
                if eval_interval is not None and i % eval_interval == 0:
                    loss = float(sum(losses) / len(losses))
                    losses = []
                    print(
                        f"| epoch {self.current_epoch + 1} |  iter {i + 1} / {iterations} "
                        f"| time {int(time.time() - start)}[s] | loss {loss:.2f}"
                    )
                    self.loss_list.append(loss)
            self.current_epoch += 1

    def _step(self, x, t, max_grad):
        loss = self.model.forward(x, t)
        self.model.backward()
        params, grads = remove_duplicate(self.model.params, self.model.grads)
        if max_grad is not None:
            clip_grads(grads, max_grad)
        self.optimizer.update(params, grads)
        return loss

    def plot(self, ylim=None):
        """The curve of loss_list, by matplotlib."""
        import matplotlib.pyplot as plt

        if ylim is not None:
            plt.ylim(*ylim)
        plt.plot(np.arange(len(self.loss_list)), self.loss_list, label="train")
        plt.xlabel(f"iterations (x{self.eval_interval})")
        plt.ylabel("loss")
        plt.show()


# ---- ch. 1 ---------------------------------------------------------------------------------------------------------


class TwoLayerNet(models.SpiralNet):
    # float64 parameters drawn from NumPy's global generator.
    layer_types = sys.modules[__name__]

    def __init__(self, input_size, hidden_size, output_size):
        super().__init__(input_size, hidden_size, output_size, "float64")

    def _normal(self, *shape):
        return np.random.randn(*shape)
