"""Book 2: the classes of its `common` package and ch. 1, with its draws, dtypes and kept labels."""

import sys

import numpy as np

from .. import layers, models, ops, text, time_layers, trainer
from ..functions import cross_entropy_error, relu, rows, sigmoid, softmax
from ..layers import Embedding, MatMul, Sigmoid, Softmax
from ..models import BaseModel
from ..optimizer import SGD, AdaGrad, Adam, Momentum, Nesterov, RMSprop
from ..text import (
    analogy,
    convert_one_hot,
    cos_similarity,
    create_co_matrix,
    create_contexts_target,
    eval_perplexity,
    most_similar,
    normalize,
    ppmi,
    preprocess,
)
from ..time_layers import (
    GRU,
    LSTM,
    RNN,
    Attention,
    AttentionWeight,
    TimeAffine,
    TimeAttention,
    WeightSum,
)
from ..trainer import RnnlmTrainer, remove_duplicate
from ..util import clip_grads
from .book1 import Dropout, dropout

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "SGD",
    "AdaGrad",
    "Adam",
    "Affine",
    "Attention",
    "AttentionWeight",
    "BaseModel",
    "Dropout",
    "Embedding",
    "MatMul",
    "Momentum",
    "Nesterov",
    "RMSprop",
    "RnnlmTrainer",
    "Sigmoid",
    "SigmoidWithLoss",
    "Simple_TimeAffine",
    "Simple_TimeSoftmaxWithLoss",
    "Softmax",
    "SoftmaxWithLoss",
    "TimeAffine",
    "TimeAttention",
    "TimeBiLSTM",
    "TimeDropout",
    "TimeEmbedding",
    "TimeGRU",
    "TimeLSTM",
    "TimeRNN",
    "TimeSigmoidWithLoss",
    "TimeSoftmaxWithLoss",
    "Trainer",
    "TwoLayerNet",
    "UnigramSampler",
    "WeightSum",
    "analogy",
    "clip_grads",
    "convert_one_hot",
    "cos_similarity",
    "create_co_matrix",
    "create_contexts_target",
    "cross_entropy_error",
    "eval_perplexity",
    "eval_seq2seq",
    "most_similar",
    "normalize",
    "ppmi",
    "preprocess",
    "relu",
    "remove_duplicate",
    "sigmoid",
    "softmax",
    "to_cpu",
    "to_gpu",
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


class _Float32:
    # Results are float32 whatever the weights are.
    def forward(self, *args):
        return super().forward(*args).astype(np.float32, copy=False)

    def backward(self, *douts):
        dx = super().backward(*douts)
        return None if dx is None else dx.astype(np.float32, copy=False)


class TimeRNN(_Float32, time_layers.TimeRNN):
    pass


class TimeLSTM(_Float32, time_layers.TimeLSTM):
    pass


class TimeGRU(_Float32, time_layers.TimeGRU):
    # TimeGRU(Wx, Wh, stateful): without a bias in older printings.
    def __init__(self, Wx, Wh, b=None, stateful=False):
        super().__init__(Wx, Wh, *((None, b) if isinstance(b, bool) else (b, stateful)))


class TimeBiLSTM(_Float32, time_layers.TimeBiLSTM):
    pass


class TimeEmbedding(_Float32, time_layers.TimeEmbedding):
    pass


class TimeDropout(time_layers.TimeDropout):
    # Draws from NumPy's global generator; evaluation returns its input.
    def __init__(self, dropout_ratio=0.5):
        super().__init__(dropout_ratio)

    def forward(self, xs):
        if not self.train_flg:
            return xs
        out, self._mask = dropout(xs, self.dropout_ratio, self._scale())
        self._shape = xs.shape
        return out

    def backward(self, dout):
        return ops.dropout_backward(dout, self._mask, self._scale())


class TimeSoftmaxWithLoss(time_layers.TimeSoftmaxWithLoss):
    # The loss is a NumPy number.
    def forward(self, xs, ts):
        return np.float64(super().forward(xs, ts))


class TimeSigmoidWithLoss(time_layers.TimeSigmoidWithLoss):
    # The loss is a NumPy number of the scores' dtype, the gradient float32.
    def forward(self, xs, ts):
        loss = super().forward(xs, ts)
        return self.y.dtype.type(loss)

    def backward(self, dout=1):
        return super().backward(dout).astype(np.float32, copy=False)


class Simple_TimeSoftmaxWithLoss(layers.SoftmaxWithLoss):
    # 1e-7 inside the log, no ignored label; the mean over time of the steps' losses.
    def forward(self, xs, ts):
        self.cache = np.shape(xs)
        return np.float64(super().forward(rows(xs), np.asarray(ts).reshape(-1)))

    def backward(self, dout=1):
        return super().backward(dout).reshape(self.cache).astype(np.float32, copy=False)


class Simple_TimeAffine(TimeAffine):
    # Results are float32; the book's backward does not run.
    def forward(self, xs):
        return super().forward(xs).astype(np.float32, copy=False)


# ---- text ----------------------------------------------------------------------------------------------------------


def to_cpu(x):
    # There is no GPU.
    if not isinstance(x, np.ndarray):
        raise TypeError(f"to_cpu: x is a {type(x).__name__}; fastnn computes on the CPU, with NumPy's arrays")
    return x


to_gpu = to_cpu


def eval_seq2seq(model, question, correct, id_to_char, verbose=False, is_reverse=False, verbos=False):
    # verbos: older printings.
    return text.eval_seq2seq(model, question, correct, id_to_char, verbose or verbos, is_reverse)


class UnigramSampler(layers.UnigramSampler):
    # Draws from NumPy's global generator, row by row.
    def get_negative_sample(self, target):
        samples = np.empty((len(target), self.sample_size), np.int32)
        for i, word in enumerate(target):
            p = self.word_p.copy()
            p[word] = 0
            samples[i] = np.random.choice(self.vocab_size, size=self.sample_size, replace=False, p=p / p.sum())
        return samples


# ---- training ------------------------------------------------------------------------------------------------------


class Trainer(trainer.ModelTrainer):
    # Draws from NumPy's global generator.
    def __init__(self, model, optimizer):
        super().__init__(model, optimizer)

    def _order(self, n):
        return np.random.permutation(np.arange(n))


# ---- ch. 1 ---------------------------------------------------------------------------------------------------------


class TwoLayerNet(models.SpiralNet):
    # float64 parameters drawn from NumPy's global generator.
    layer_types = sys.modules[__name__]

    def __init__(self, input_size, hidden_size, output_size):
        super().__init__(input_size, hidden_size, output_size, "float64")

    def _normal(self, *shape):
        return np.random.randn(*shape)
