"""Book 2: the classes of its `common` package and ch. 1, with its draws, dtypes and kept labels."""

import importlib
import types

import numpy as np

from .. import backends, functions, layers, ops, text, time_layers, trainer
from ..functions import BOOK_EPSILON, relu, sigmoid
from ..layers.base import unpack_mask
from ..optimizer import SGD, AdaGrad, Adam, Momentum, Nesterov, RMSprop
from ..targets import like, rows, targets
from ..text import (
    analogy,
    convert_one_hot,
    cos_similarity,
    create_co_matrix,
    create_contexts_target,
    eval_perplexity,
    normalize,
    ppmi,
    preprocess,
)
from ..time_layers import (
    Attention,
    AttentionWeight,
    TimeAttention,
    WeightSum,
)
from ..trainer import remove_duplicate
from ..util import clip_grads
from . import book1
from . import notice as notices
from .book1 import cross_entropy_error, of_labels
from .kept import Kept
from .notice import casts, notice

# Imported when they are asked for, as in book 1: name -> where it is.
_MODELS = {"BaseModel": "fastnn.models.BaseModel", "TwoLayerNet": "fastnn.compat.networks.SpiralNet"}

__all__ = [
    *_MODELS,
    "GRU",
    "LSTM",
    "RNN",
    "SGD",
    "AdaGrad",
    "Adam",
    "Affine",
    "Attention",
    "AttentionWeight",
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

_FLOAT32 = np.dtype(np.float32)


def softmax(x):
    # Three dimensions and more come back as they are.
    return functions.softmax(x) if x.ndim <= 2 else x


# ---- layers: attributes as in the book, so that their methods also work on the reader's classes ----------------------


class MatMul(layers.MatMul):
    # One-hot integers are multiplied by NumPy: float64, and quicker than converting them first.
    def forward(self, x):
        W = self.params[0]
        self.x = x
        if (x.dtype == W.dtype or casts(x, W)) and x.ndim == 2:
            return ops.matmul(x, W)
        if notices.listener is not None:
            notice("NumPy multiplies x and W", (x, W))
        return x.dot(W)

    def backward(self, dout):
        x, W, dW = self.x, self.params[0], self.grads[0]
        if ((dout.dtype == dW.dtype and x.dtype == dW.dtype) or casts(dout, x, dW)) and dout.ndim == 2:
            return ops.affine_backward(dout, x, W, dW)[0]
        notice("NumPy multiplies dout and x", (dout, x))
        dW[...] = x.T.dot(dout)
        return dout.dot(W.T)


class Affine(layers.Affine):
    # x (..., D) -> (..., M): a product over the last axis, not over all axes but the first.
    x = None

    def forward(self, x):
        W, b = self.params
        self.x = x
        flat = x if getattr(x, "ndim", 0) == 2 else rows(x)
        if flat.dtype.kind != "f":
            flat = book1.floats(flat)
        try:
            out = ops.affine_forward(flat, W, b)
        except ValueError:
            if np.ndim(b) == 1:
                raise
            notice("NumPy adds b", (np.asarray(b),))
            out = ops.matmul(flat, W) + b
        return out if np.ndim(x) == 2 else out.reshape(*np.shape(x)[:-1], -1)

    def backward(self, dout):
        x = self.x if getattr(self.x, "ndim", 0) == 2 else rows(self.x)
        if x.dtype.kind != "f":
            x = book1.floats(x)
        flat = dout if getattr(dout, "ndim", 0) == 2 else rows(dout)
        W, (dW, db) = self.params[0], self.grads
        if ((flat.dtype == dW.dtype and x.dtype == dW.dtype) or casts(flat, x, dW)) and db.ndim == 1:
            dx = ops.affine_backward(flat, x, W, dW, db)[0]
        else:  # a wider operand: the promoted dtype, then cast
            notice("gradients are computed in the wider dtype, then cast", (flat, x, dW))
            dx, dW[...], db[...] = ops.affine_backward(flat, x, W)
        return dx if flat is dout else dx.reshape(*np.shape(dout)[:-1], -1)


class Softmax(layers.Softmax):
    # out is what forward returned, not a copy.
    out = None

    def forward(self, x):
        self.out = out = ops.softmax_forward(x if x.ndim == 2 else rows(x)).reshape(x.shape)
        return out

    def backward(self, dout):
        out = self.out
        return ops.softmax_backward(rows(dout), rows(out)).reshape(out.shape)


class Sigmoid(layers.Sigmoid):
    # out is what forward returned, not a copy.
    forward, backward = book1.Sigmoid.forward, book1.Sigmoid.backward


class SoftmaxWithLoss(layers.SoftmaxWithLoss):
    # One-hot targets are turned into labels and kept so; the loss is a NumPy number of the scores' dtype.
    def forward(self, x, t):
        if t.size == x.size and x.shape[-1] > 1:
            t = t.argmax(axis=1)
        self.t = t
        x_rows, t = targets(x, t)
        loss, y = of_labels(ops.softmax_cross_entropy_forward, x_rows, t, None, None, 0.0, BOOK_EPSILON)
        self.y = y if x_rows is x else y.reshape(x.shape)
        return y.dtype.type(loss)

    def backward(self, dout=1):
        y = self.y
        return of_labels(ops.softmax_cross_entropy_backward, *targets(y, self.t), dout).reshape(y.shape)


class SoftmaxWithLossOf2016(SoftmaxWithLoss):
    # The loss without 1e-7: infinite where the probability of a label is 0.
    def forward(self, x, t):
        if t.size == x.size and x.shape[-1] > 1:
            t = t.argmax(axis=1)
        self.t = t
        rows, t = targets(x, t)
        y = ops.softmax_forward(rows)
        self.y = y if rows is x else y.reshape(x.shape)
        return book1.log_loss(y, t)


class SigmoidWithLoss(layers.SigmoidWithLoss):
    # The loss is a NumPy number of the scores' dtype; targets of a wider dtype (int64) widen the gradient.
    def forward(self, x, t):
        self.t = t
        loss, self.y = ops.sigmoid_cross_entropy_forward(x, like(x, t), BOOK_EPSILON)
        self.loss = loss = self.y.dtype.type(loss)
        return loss

    def backward(self, dout=1):
        y, t = self.y, self.t
        y = y.astype(np.result_type(y, t), copy=False)
        return ops.sigmoid_cross_entropy_backward(y, like(y, t), dout)


class Dropout(layers.Dropout):
    # As in book 1.
    mask = book1.Dropout.mask
    _saved = None
    forward, backward = book1.Dropout.forward, book1.Dropout.backward
    __init__ = book1.Dropout.__init__


def _whole(a):
    # Columns of contexts, reversed questions, the last state of an encoder: small views, quicker copied here.
    return a if type(a) is not np.ndarray or a.flags.c_contiguous else a.copy()


def _by_rows(operation, index, V):
    # operation(index); where that refuses it, negative indices count from the end, as NumPy has them.
    try:
        return operation(index)
    except IndexError:
        index = np.asarray(index)
        if index.dtype.kind != "i" or not (index < 0).any():
            raise
        return operation(np.where((index < 0) & (index >= -V), index.astype(np.int64) + V, index))


class Embedding(layers.Embedding):
    # An int as index gives a view of the row.
    def forward(self, idx):
        self.idx = idx
        W = self.params[0]
        return W[idx] if isinstance(idx, int) else _by_rows(lambda i: ops.embedding_forward(W, i), _whole(idx), len(W))

    def backward(self, dout):
        dW, V = self.grads[0], len(self.params[0])
        if dout.dtype != dW.dtype and not casts(dout, dW):
            notice("the gradient is cast", (dout, dW))
            dout = dout.astype(dW.dtype)
        _by_rows(lambda i: ops.embedding_backward(dout, i, V, dW), _whole(self.idx), V)


# ---- layers for sequences: results are float32 whatever the weights are ----------------------------------------------


def _float32(x):
    if x is None or x.dtype is _FLOAT32:
        return x
    made = x.astype(_FLOAT32)
    notice("the result is cast to float32, as in the book", (x,), made)
    return made


def _beside(layer, attribute, name):
    # The class `name` that the book's module has beside the layer's: in the reader's module if the layer is his.
    owner = next(kind for kind in type(layer).__mro__ if attribute in vars(kind))
    return (globals() if owner.__module__ == __name__ else owner.__init__.__globals__)[name]


class _Recurrent(time_layers.TimeRNN):
    # _saved: xs, the initial states, their sequences, gates. Not stateful: every forward starts from zeros.
    # layers: one for each step, as the book's backward needs them; made when they are read.
    layers = Kept(lambda layer: layer._step_layers())
    _saved = None
    c = None
    _step, _states = "", 1  # the name of a step's class, and how many states it has

    def _step_layers(self):
        (xs, *initial), sequences = self._saved[: 1 + self._states], self._saved[1 + self._states :]
        kind, made = _beside(self, "layers", self._step), []
        weights = [a for a in self._weights() if a is not None]
        for t in range(xs.shape[1]):
            if t:
                before = [a[:, t - 1] for a in sequences[: self._states]]
            else:
                before = [np.zeros((len(xs), len(weights[1])), "f") if a is None else a for a in initial]
            step = kind(*weights)
            if isinstance(vars(kind).get("cache"), Kept):
                step._saved = xs[:, t : t + 1], *before, *(a[:, t : t + 1] for a in sequences)
            else:
                step.forward(xs[:, t], *before)
            made.append(step)
        return made

    def _by_steps(self, dhs):
        # backward after a forward that left the book's layers and nothing else.
        dxs = np.empty((*dhs.shape[:2], len(self._weights()[0])), "f")
        states, sums = [0] * self._states, [0, 0, 0]
        for t, step in reversed([*enumerate(self.layers)]):
            dxs[:, t], *states = step.backward(dhs[:, t] + states[0], *states[1:])
            grads = step.grads if hasattr(step, "grads") else (step.dWx, step.dWh)
            sums = [a + g for a, g in zip(sums, grads, strict=False)]
        if hasattr(self, "grads"):
            for g, a in zip(self.grads, sums, strict=False):
                g[...] = a
        else:
            self.dWx, self.dWh = sums[:2]
        self.dh = states[0]
        return dxs

    def _weights(self):
        Wx, Wh, *b = self.params
        return Wx, Wh, b[0] if b else None

    def _initial(self, state, xs):
        if state is None or not self.stateful:
            return None
        return np.repeat(state, len(xs), axis=0) if len(state) == 1 != len(xs) else _whole(state)

    def _gradients(self, backward, args, dhs, hs):
        # backward(*args), its gradients written into grads -> (dxs, dh)
        grads = self.grads
        if (dhs.dtype == hs.dtype and all(g.dtype == hs.dtype for g in grads)) or casts(dhs, hs, *grads):
            dxs, *_, self.dh = backward(*args, None, *grads)[:5]
        else:
            notice("gradients are cast", (dhs, hs, *grads))
            dxs, *arrays, self.dh = backward(*args)[:5]
            for g, array in zip(grads, arrays, strict=False):
                g[...] = array
        return _float32(dxs)


class _Step:
    # One step of a sequence, by the same operations with T = 1. cache is made when it is read.
    _saved = None

    def __init__(self, Wx, Wh, b):
        self.params = [Wx, Wh, b]
        self.grads = [np.zeros_like(p) for p in self.params]
        self.cache = None

    def _gradients(self, backward, args):
        # backward(*args), its gradients written into grads -> (dx (N, D), dh_prev, and dc_prev of LSTM)
        if all(g.dtype == args[0].dtype for g in self.grads) or casts(args[0], *self.grads):
            dx, _, _, _, *states = backward(*args, None, *self.grads)
        else:
            notice("gradients are cast", (args[0], *self.grads))
            dx, *arrays = backward(*args)
            states = arrays[3:]
            for g, array in zip(self.grads, arrays, strict=False):
                g[...] = array
        return dx[:, 0], *states[:2]


def _steps(*arrays):
    # (N, K) as (N, 1, K).
    return [_whole(a)[:, np.newaxis] for a in arrays]


class RNN(_Step):
    cache = Kept(lambda layer: (layer._saved[0][:, 0], layer._saved[1], layer._saved[2][:, 0]))

    def forward(self, x, h_prev):
        Wx, Wh, b = self.params
        (x,) = _steps(x)
        h_prev = _whole(h_prev)
        hs = ops.rnn_forward(x, Wx, Wh, b, h_prev)
        self._saved = x, h_prev, hs
        return hs[:, 0]

    def backward(self, dh_next):
        Wx, Wh, _ = self.params
        if self._saved is None:
            x, h_prev, h_next = self.cache
            self._saved = *_steps(x), h_prev, *_steps(h_next)
        x, h_prev, hs = self._saved
        args = *_steps(dh_next), x, Wx, Wh, h_prev, hs, "tanh", None, False, False
        return self._gradients(ops.rnn_backward, args)


class LSTM(_Step):
    cache = Kept(lambda layer: layer._kept())

    def _kept(self):
        x, h_prev, c_prev, _, cs, gates = self._saved
        f, g, i, o = np.split(gates[:, 0], 4, axis=1)
        return x[:, 0], h_prev, c_prev, i, f, g, o, cs[:, 0]

    def forward(self, x, h_prev, c_prev):
        Wx, Wh, b = self.params
        (x,) = _steps(x)
        h_prev, c_prev = _whole(h_prev), _whole(c_prev)
        hs, cs, gates = ops.lstm_forward(x, Wx, Wh, b, h_prev, c_prev)
        self._saved = x, h_prev, c_prev, hs, cs, gates
        return hs[:, 0], cs[:, 0]

    def backward(self, dh_next, dc_next):
        Wx, Wh, _ = self.params
        if self._saved is None:
            x, h_prev, c_prev, i, f, g, o, c_next = self.cache
            gates = np.concatenate((f, g, i, o), axis=1)
            self._saved = *_steps(x), h_prev, c_prev, *_steps(o * np.tanh(c_next), c_next, gates)
        x, h_prev, c_prev, hs, cs, gates = self._saved
        if type(dc_next) is not np.ndarray:  # 0 at the last step
            dc_next = np.full_like(cs[:, 0], dc_next) if dc_next else None
        args = *_steps(dh_next), dc_next, x, Wx, Wh, h_prev, c_prev, hs, cs, gates, None, None, False, False
        return self._gradients(ops.lstm_backward, args)


class GRU(_Step):
    cache = Kept(lambda layer: layer._kept())

    def _kept(self):
        x, h_prev, _, gates = self._saved
        return x[:, 0], h_prev, *np.split(gates[:, 0], 3, axis=1)

    def forward(self, x, h_prev):
        Wx, Wh, b = self.params
        (x,) = _steps(x)
        h_prev = _whole(h_prev)
        hs, gates = ops.gru_forward(x, Wx, Wh, b, h_prev)
        self._saved = x, h_prev, hs, gates
        return hs[:, 0]

    def backward(self, dh_next):
        Wx, Wh, _ = self.params
        if self._saved is None:
            x, h_prev, z, r, h = self.cache
            gates = np.concatenate((z, r, h), axis=1)
            self._saved = *_steps(x), h_prev, *_steps((1 - z) * h_prev + z * h, gates)
        x, h_prev, hs, gates = self._saved
        args = *_steps(dh_next), x, Wx, Wh, h_prev, hs, gates, False, None, False, False
        dx, dh_prev, _ = self._gradients(ops.gru_backward, args)
        self.dWx, self.dWh, self.db = (g.copy() for g in self.grads)
        return dx, dh_prev


class GRUWithoutBias(GRU):
    # params are Wx and Wh.
    def forward(self, x, h_prev):
        Wx, Wh = self.params
        (x,) = _steps(x)
        h_prev = _whole(h_prev)
        hs, gates = ops.gru_forward(x, Wx, Wh, None, h_prev)
        self._saved = x, h_prev, hs, gates
        return hs[:, 0]

    def backward(self, dh_next):
        Wx, Wh = self.params
        dx, self.dWx, self.dWh, dh_prev = self._backward(dh_next, Wx, Wh)
        for g, array in zip(self.grads, (self.dWx, self.dWh), strict=True):
            g[...] = array
        return dx, dh_prev

    def _backward(self, dh_next, Wx, Wh):
        # -> dx, dWx, dWh, dh_prev
        if self._saved is None:
            x, h_prev, z, r, h = self.cache
            gates = np.concatenate((z, r, h), axis=1)
            self._saved = *_steps(x), h_prev, *_steps((1 - z) * h_prev + z * h, gates)
        x, h_prev, hs, gates = self._saved
        args = *_steps(dh_next), x, Wx, Wh, h_prev, hs, gates, False, None, False, False
        dx, dWx, dWh, _, dh_prev = ops.gru_backward(*args)[:5]
        return dx[:, 0], dWx, dWh, dh_prev


class GRUOf2018(GRUWithoutBias):
    # The parameters are attributes, the gradients new arrays.
    def forward(self, x, h_prev):
        (x,) = _steps(x)
        h_prev = _whole(h_prev)
        hs, gates = ops.gru_forward(x, self.Wx, self.Wh, None, h_prev)
        self._saved = x, h_prev, hs, gates
        return hs[:, 0]

    def backward(self, dh_next):
        dx, self.dWx, self.dWh, dh_prev = self._backward(dh_next, self.Wx, self.Wh)
        return dx, dh_prev


class TimeRNN(_Recurrent):
    _step = "RNN"

    def forward(self, xs):
        Wx, Wh, b = self._weights()
        h0 = self._initial(self.h, xs)
        hs = ops.rnn_forward(xs, Wx, Wh, b, h0)
        self._saved = xs, h0, hs
        self.h = hs[:, -1].copy()
        return hs.astype(_FLOAT32)

    def backward(self, dhs):
        if self._saved is None:
            return self._by_steps(dhs)
        xs, h0, hs = self._saved
        Wx, Wh, _ = self._weights()
        return self._gradients(ops.rnn_backward, (dhs, xs, Wx, Wh, h0, hs, "tanh", None, False, False), dhs, hs)


class TimeLSTM(_Recurrent, time_layers.TimeLSTM):
    _step, _states = "LSTM", 2

    def forward(self, xs):
        Wx, Wh, b = self._weights()
        h0, c0 = self._initial(self.h, xs), self._initial(self.c, xs)
        hs, cs, gates = ops.lstm_forward(xs, Wx, Wh, b, h0, c0)
        self._saved = xs, h0, c0, hs, cs, gates
        self.h, self.c = hs[:, -1].copy(), cs[:, -1].copy()
        return hs.astype(_FLOAT32)

    def backward(self, dhs):
        if self._saved is None:
            return self._by_steps(dhs)
        xs, h0, c0, hs, cs, gates = self._saved
        Wx, Wh, _ = self._weights()
        args = dhs, None, xs, Wx, Wh, h0, c0, hs, cs, gates, None, None, False, False
        return self._gradients(ops.lstm_backward, args, dhs, hs)


class TimeGRU(_Recurrent, time_layers.TimeGRU):
    # TimeGRU(Wx, Wh, stateful): without a bias in older printings.
    _step = "GRU"

    def __init__(self, Wx, Wh, b=None, stateful=False):
        super().__init__(Wx, Wh, *((None, b) if isinstance(b, bool) else (b, stateful)))

    def forward(self, xs):
        Wx, Wh, b = self._weights()
        h0 = self._initial(self.h, xs)
        hs, gates = ops.gru_forward(xs, Wx, Wh, b, h0)
        self._saved = xs, h0, hs, gates
        self.h = hs[:, -1].copy()
        return hs.astype(_FLOAT32)

    def backward(self, dhs):
        if self._saved is None:
            return self._by_steps(dhs)
        xs, h0, hs, gates = self._saved
        Wx, Wh, _ = self._weights()
        args = dhs, xs, Wx, Wh, h0, hs, gates, False, None, False, False
        return self._gradients(ops.gru_backward, args, dhs, hs)


class TimeGRUOf2018(TimeGRU):
    # Without a bias; the parameters are attributes, the gradients new arrays.
    def _weights(self):
        return self.Wx, self.Wh, None

    def _gradients(self, backward, args, dhs, hs):
        dxs, self.dWx, self.dWh, _, self.dh = backward(*args)[:5]
        return _float32(dxs)


class TimeBiLSTM(time_layers.TimeBiLSTM):
    def forward(self, xs):
        return _float32(super().forward(xs))

    def backward(self, dhs):
        return _float32(super().backward(dhs))


class TimeEmbedding(layers.Embedding):
    layers = Kept(lambda layer: layer._step_layers())
    _saved = None

    def _step_layers(self):
        kind, made = _beside(self, "layers", "Embedding"), []
        for idx in self._saved.T:
            made.append(kind(self.W))
            made[-1].forward(idx)
        return made

    def forward(self, xs):
        self._saved, W = xs, self.W
        return _float32(_by_rows(lambda i: ops.embedding_forward(W, i), _whole(xs), len(W)))

    def backward(self, dout):
        xs = np.stack([step.idx for step in self.layers], axis=1) if self._saved is None else _whole(self._saved)
        dW, V = self.grads[0], len(self.params[0])
        if dout.dtype != dW.dtype and not casts(dout, dW):
            notice("the gradient is cast", (dout, dW))
            dout = dout.astype(dW.dtype)
        _by_rows(lambda i: ops.embedding_backward(dout, i, V, dW), xs, V)


class TimeAffine(time_layers.TimeAffine):
    forward, backward = time_layers.TimeAffine.forward, time_layers.TimeAffine.backward


class TimeDropout(time_layers.TimeDropout):
    # Draws from NumPy's global generator; evaluation returns its input.
    mask = Kept(lambda layer: layer._float_mask())
    _saved = None

    def __init__(self, dropout_ratio=0.5):
        super().__init__(dropout_ratio)
        self.mask = None

    def _float_mask(self):
        mask, shape, scale = self._saved
        return unpack_mask(mask, shape) * np.float32(scale)

    def forward(self, xs):
        if not self.train_flg:
            return xs
        scale = 1 / (1.0 - self.dropout_ratio)
        if xs.dtype != _FLOAT32:
            scale = float(np.float32(scale))  # the book's mask is float32
        out, mask = book1.dropout(xs, self.dropout_ratio, scale)
        self._saved = mask, xs.shape, scale
        return out

    def backward(self, dout):
        if self._saved is None:
            return dout * self.mask
        mask, _, scale = self._saved
        # not by way of ops: 500 elements 0.94x NumPy's time -> 1.0x
        dx = backends.active.dropout_backward(dout, mask, scale)
        return ops.dropout_backward(dout, mask, scale) if dx is None else dx


class TimeSoftmaxWithLoss(time_layers.TimeSoftmaxWithLoss):
    # The loss is a NumPy number. cache is made when it is read; backward writes over its probabilities.
    cache = Kept(lambda layer: (*layer._saved[:2], layer._saved[0] != layer.ignore_label, layer._saved[2]))
    _saved = None

    def forward(self, xs, ts):
        N, T, V = xs.shape
        labels = (ts.argmax(axis=2) if ts.ndim == 3 else ts).reshape(N * T)
        xs, ignored = xs.reshape(N * T, V), self.ignore_label
        loss, y = of_labels(ops.softmax_cross_entropy_forward, xs, labels, None, ignored, ignored=ignored)
        self._saved = labels, y, (N, T, V)
        return np.float64(loss)

    def backward(self, dout=1):
        labels, y, shape = self._saved or (*self.cache[:2], self.cache[3])
        options, ignored = (dout, None, self.ignore_label, 0.0, y), self.ignore_label
        dx = of_labels(ops.softmax_cross_entropy_backward, y, labels, *options, ignored=ignored)
        return dx.reshape(shape)


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


def most_similar(query, word_to_id, id_to_word, word_matrix, top=5):
    # Only prints.
    text.most_similar(query, word_to_id, id_to_word, word_matrix, top)


def most_similar_like(original):
    # For an unknown word the text of the reader's, which may be a translation's.
    theirs = types.FunctionType(original.__code__, original.__globals__, "most_similar")

    def ours(query, word_to_id, id_to_word, word_matrix, top=5):
        if query not in word_to_id:
            return theirs(query, word_to_id, id_to_word, word_matrix, top)
        return most_similar(query, word_to_id, id_to_word, word_matrix, top)

    return ours


def ppmi_like(original, mark=None):
    # The progress in the words of the reader's.
    texts = [value for value in original.__code__.co_consts if isinstance(value, str) and "%.1f%%" in value]

    def ours(C, verbose=False, eps=1e-8):
        return text.ppmi_with_progress(C, verbose and (texts[0] if len(texts) == 1 else text.PROGRESS), eps, mark)

    return ours


def ppmi_like_of_2018(original):
    # Tells its progress after each hundredth; the book's cannot divide fewer than a hundred cells so.
    return ppmi_like(original, lambda cells: max(1, cells // 100))


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


class RnnlmTrainer(trainer.RnnlmTrainer):
    get_batch = trainer.RnnlmTrainer.get_batch


class Trainer(trainer.ModelTrainer):
    # Draws from NumPy's global generator.
    def __init__(self, model, optimizer):
        super().__init__(model, optimizer)

    def _order(self, n):
        return np.random.permutation(np.arange(n))


# ---- models --------------------------------------------------------------------------------------------------------


def __getattr__(name):
    if name in _MODELS:
        module, _, attribute = _MODELS[name].rpartition(".")
        return getattr(importlib.import_module(module), attribute)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
