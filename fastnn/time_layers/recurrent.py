"""Recurrent layers over whole sequences."""

from typing import Any, ClassVar

import numpy as np

from .. import init as start
from .. import ops
from .._threads import side_by_side
from ..layers.base import Layer, from_forward, need_arrays

# Elements of xs @ Wx from which two directions run side by side: about 0.3 ms each. Wh of more elements keeps several
# threads busy in every step anyway.
_LONG, _WIDE = 1 << 18, 1 << 18


class Recurrent(Layer):
    """What TimeRNN, TimeLSTM and TimeGRU share: xs (N, T, D) -> hs (N, T, H).

    b may be None. stateful: the next forward starts from the last state, `h`; else from zeros. A state given by
    `set_state` is kept by reference; one of one row counts for every sequence. After backward, `dh` is the gradient of
    the initial h. Gradients do not cross a forward (truncated BPTT). reverse: from the last step to the first.
    `forward(xs, lengths)`, lengths (N,): sequence n has the first lengths[n] steps, results after them are 0.
    """

    param_names = "Wx", "Wh", "b"
    gates = 1  # blocks of H columns in Wx, Wh and b
    more: ClassVar[dict[str, int]] = {}  # name of the parameter behind these: its blocks of H numbers
    h: Any = None
    dh: Any = None
    _saved: Any = from_forward()

    def __init__(self, Wx, Wh, b=None, stateful=False, *more, reverse=False):
        need_arrays(self, Wx=Wx, Wh=Wh, b=b)
        super().__init__(*(p for p in (Wx, Wh, b, *more) if p is not None))
        self.stateful = stateful
        self.reverse = reverse
        self._has_bias = b is not None

    @classmethod
    def create(
        cls, D, H, *, init="xavier", recurrent_init="orthogonal", bias=True, rng=None, dtype="float32", **options
    ):  # fmt: skip
        """A layer that makes its own Wx (D, gates * H), Wh (H, gates * H) and b (gates * H,), each gate's by itself.

        init is the rule of Wx, recurrent_init that of Wh: see `fastnn.init`. bias: True for zeros, a number, or False
        for none. options: those of the constructor, where peephole=True and b_h=True stand for zeros. rng and dtype as
        for `Affine.create`.
        """
        what, rng = f"{cls.__name__}.create", np.random.default_rng(rng)
        D, H = start.sizes(what, D=D, H=H)
        Wx, Wh = (
            np.concatenate([start.weights((n, H), rule, rng, dtype, what=what) for _ in range(cls.gates)], axis=1)
            for n, rule in ((D, init), (H, recurrent_init))
        )
        for name, blocks in cls.more.items():
            if isinstance(options.get(name), bool):
                options[name] = np.zeros(blocks * H, Wx.dtype) if options[name] else None
        return cls(Wx, Wh, start.bias(cls.gates * H, bias, Wx.dtype, what), **options)

    def _sizes(self):
        *_, b, more = self._weights()
        named = {} if b is not None else {"bias": False}
        return shapes(self) | named | (dict.fromkeys(self.more, True) if more is not None else {})

    def set_state(self, h):
        """h (N, H) or None."""
        self.h = h

    def reset_state(self):
        """The next forward starts from zeros."""
        self.h = None

    def forward(self, xs, lengths=None):
        return self._forward(xs, lengths).copy()  # the caller may change what it gets

    def _forward(self, xs, lengths):
        """forward without the copy."""
        raise NotImplementedError

    def _weights(self):
        """Wx, Wh, b or None, and what else there is or None."""
        Wx, Wh, *more = self.params
        b = more.pop(0) if self._has_bias else None
        return Wx, Wh, b, more[0] if more else None

    def _initial(self, state, xs):
        """The state to start from: (N, H) or None."""
        if not self.stateful or state is None:
            return None
        return np.repeat(state, len(xs), axis=0) if len(state) == 1 != len(xs) else state

    def _final(self, steps, initial, lengths):
        """The state (N, H) after the last step taken, an array of its own."""
        if lengths is None:
            return steps[:, 0 if self.reverse else -1].copy()
        lengths = np.asarray(lengths).astype(np.int64)  # 0 - 1 of an unsigned one is not -1
        last = steps[np.arange(len(steps)), 0 if self.reverse else np.maximum(lengths - 1, 0)]
        last[lengths == 0] = 0 if initial is None else initial[lengths == 0]
        return last

    def _gradients(self, backward, args, dtype):
        """backward(*args), its dWx, dWh, db and what follows the states written into `grads` -> (dxs, *states)."""
        Wx, Wh, *more = self.grads
        b = more.pop(0) if self._has_bias else None
        grads = Wx, Wh, b, *more
        fits = all(g is None or g.dtype == dtype for g in grads)
        outs = (Wx, Wh, b) if fits else (None, None, None)
        dxs, dWx, dWh, db, *rest = backward(*args, None, *outs)
        if not fits:  # a wider operand: computed in the promoted dtype, then cast
            Wx[...], Wh[...] = dWx, dWh
            if b is not None:
                b[...] = db
        if more:
            more[0][...] = rest.pop()
        return dxs, *rest


def shapes(layer):
    """{"D": ..., "H": ...} of a layer whose first parameters are Wx and Wh."""
    return {"D": layer.params[0].shape[0], "H": layer.params[1].shape[0]}


class TimeRNN(Recurrent):
    """h = tanh(x @ Wx + h @ Wh + b); Wx (D, H), Wh (H, H), b (H,). activation: tanh, relu or sigmoid. Book 2 ch. 5."""

    def __init__(self, Wx, Wh, b=None, stateful=False, activation="tanh", reverse=False):
        super().__init__(Wx, Wh, b, stateful, reverse=reverse)
        self.activation = activation

    def _forward(self, xs, lengths):
        Wx, Wh, b, _ = self._weights()
        h0 = self._initial(self.h, xs)
        hs = ops.rnn_forward(xs, Wx, Wh, b, h0, self.activation, lengths, self.reverse)
        self._saved = xs, h0, hs, lengths
        self.h = self._final(hs, h0, lengths)
        return hs

    def backward(self, dhs):
        xs, h0, hs, lengths = self._saved
        Wx, Wh, *_ = self._weights()
        args = dhs, xs, Wx, Wh, h0, hs, self.activation, lengths, self.reverse, False
        dxs, self.dh = self._gradients(ops.rnn_backward, args, np.result_type(dhs, hs))
        return dxs


class TimeLSTM(Recurrent):
    """Long short-term memory, gates f, g, i, o side by side; Wx (D, 4H), Wh (H, 4H), b (4H,). Book 2 ch. 6.

    peephole (3H,) or None, for f, i, o (Gers and Schmidhuber 2000). States `h` and `c`; after backward `dh` and `dc`.
    """

    gates, more = 4, {"peephole": 3}
    c: Any = None
    dc: Any = None

    def __init__(self, Wx, Wh, b=None, stateful=False, peephole=None, reverse=False):
        super().__init__(Wx, Wh, b, stateful, peephole, reverse=reverse)

    @classmethod
    def create(cls, D, H, *, forget_bias=1.0, **options):
        """As `TimeRNN.create`; b of the forget gate starts forget_bias higher (Jozefowicz et al. 2015)."""
        layer = super().create(D, H, **options)
        b = layer._weights()[2]
        if b is not None:
            b[:H] += forget_bias
        return layer

    def set_state(self, h, c=None):
        """h and c (N, H) or None; c left out becomes None."""
        self.h, self.c = h, c

    def reset_state(self):
        self.h = self.c = None

    def _forward(self, xs, lengths):
        Wx, Wh, b, peephole = self._weights()
        h0, c0 = self._initial(self.h, xs), self._initial(self.c, xs)
        hs, cs, gates = ops.lstm_forward(xs, Wx, Wh, b, h0, c0, peephole, lengths, self.reverse)
        self._saved = xs, h0, c0, hs, cs, gates, lengths
        self.h, self.c = self._final(hs, h0, lengths), self._final(cs, c0, lengths)
        return hs

    def backward(self, dhs, dc=None):
        """dc (N, H): the gradient of the last c, if there is one."""
        xs, h0, c0, hs, cs, gates, lengths = self._saved
        Wx, Wh, _, peephole = self._weights()
        args = dhs, dc, xs, Wx, Wh, h0, c0, hs, cs, gates, peephole, lengths, self.reverse, False
        dxs, self.dh, self.dc, *_ = self._gradients(ops.lstm_backward, args, np.result_type(dhs, hs))
        return dxs


class TimeGRU(Recurrent):
    """Gated recurrent unit, z, r, candidate side by side; Wx (D, 3H), Wh (H, 3H), b (3H,). Book 2, appendix C.

    The reset gate comes before the product; linear_before_reset: after it, as in cuDNN, PyTorch and ONNX, with an inner
    bias b_h (H,) or None.
    """

    gates, more = 3, {"b_h": 1}

    def __init__(self, Wx, Wh, b=None, stateful=False, linear_before_reset=False, b_h=None, reverse=False):
        super().__init__(Wx, Wh, b, stateful, b_h, reverse=reverse)
        self.linear_before_reset = linear_before_reset

    def _forward(self, xs, lengths):
        Wx, Wh, b, b_h = self._weights()
        h0 = self._initial(self.h, xs)
        hs, gates = ops.gru_forward(xs, Wx, Wh, b, h0, self.linear_before_reset, b_h, lengths, self.reverse)
        self._saved = xs, h0, hs, gates, lengths
        self.h = self._final(hs, h0, lengths)
        return hs

    def backward(self, dhs):
        xs, h0, hs, gates, lengths = self._saved
        Wx, Wh, *_ = self._weights()
        args = dhs, xs, Wx, Wh, h0, hs, gates, self.linear_before_reset, lengths, self.reverse, False
        dxs, self.dh, *_ = self._gradients(ops.gru_backward, args, np.result_type(dhs, hs))
        return dxs


class TimeBiLSTM(Layer):
    """Two TimeLSTMs, one from the last step to the first: xs (N, T, D) -> (N, T, 2H), or their sum. Book 2, exercise.

    merge: "concat", the forward half first, or "sum" (N, T, H).
    """

    param_names = Recurrent.param_names * 2

    def __init__(self, Wx1, Wh1, b1, Wx2, Wh2, b2, stateful=False, merge="concat"):
        if merge not in ("concat", "sum"):
            raise ValueError(f"TimeBiLSTM: merge {merge!r} is not concat or sum")
        need_arrays(self, Wx1=Wx1, Wh1=Wh1, b1=b1, Wx2=Wx2, Wh2=Wh2, b2=b2)
        self.merge = merge
        self.forward_lstm = TimeLSTM(Wx1, Wh1, b1, stateful)
        self.backward_lstm = TimeLSTM(Wx2, Wh2, b2, stateful, reverse=True)
        self.params = self.forward_lstm.params + self.backward_lstm.params
        self.grads = self.forward_lstm.grads + self.backward_lstm.grads

    @classmethod
    def create(cls, D, H, *, stateful=False, merge="concat", rng=None, **options):
        """Each direction as `TimeLSTM.create`, the forward one's weights drawn first."""
        rng = np.random.default_rng(rng)
        lstms = [TimeLSTM.create(D, H, rng=rng, **options) for _ in range(2)]
        return cls(*(p for lstm in lstms for p in lstm._weights()[:3]), stateful, merge)

    def forward(self, xs, lengths=None):
        one, other = self.forward_lstm, self.backward_lstm
        halves = side_by_side(lambda: one._forward(xs, lengths), lambda: other._forward(xs, lengths), self._pays(xs))
        return np.concatenate(halves, axis=2) if self.merge == "concat" else halves[0] + halves[1]

    def backward(self, dhs):
        H = dhs.shape[2] // 2
        first, second = (dhs[:, :, :H], dhs[:, :, H:]) if self.merge == "concat" else (dhs, dhs)
        one, other = self.forward_lstm, self.backward_lstm
        dxs, more = side_by_side(lambda: one.backward(first), lambda: other.backward(second), self._pays(dhs))
        dxs += more
        return dxs

    def reset_state(self):
        """Both directions start from zeros again."""
        self.forward_lstm.reset_state()
        self.backward_lstm.reset_state()

    def _sizes(self):
        return shapes(self)

    def _pays(self, steps):
        """Whether the directions are long enough, and their steps small enough, for a thread each."""
        Wh = self.params[1]
        return steps.shape[0] * steps.shape[1] * Wh.shape[1] >= _LONG and Wh.size <= _WIDE


class Cell(Layer):
    """One time step of a recurrent layer; params [Wx, Wh, b]."""

    time_layer: Any = None  # the class

    def __init__(self, Wx, Wh, b=None):
        need_arrays(self, Wx=Wx, Wh=Wh, b=b)
        self._sequence = self.time_layer(Wx, Wh, b, True)
        self.params, self.grads = self._sequence.params, self._sequence.grads

    @classmethod
    def create(cls, D, H, **options):
        """A step with weights of its own; the arguments are those of the layer for sequences."""
        return cls(*cls.time_layer.create(D, H, **options).params)

    def _sizes(self):
        return shapes(self)

    def forward(self, x, h_prev):
        """x (N, D), h_prev (N, H) -> h_next (N, H)."""
        self._sequence.set_state(h_prev)
        self._sequence._forward(x[:, np.newaxis], None)
        return self._sequence.h

    def backward(self, dh_next):
        """-> (dx, dh_prev)"""
        dx = self._sequence.backward(dh_next[:, np.newaxis])[:, 0]
        return dx, self._sequence.dh


class RNN(Cell):
    """h = tanh(x @ Wx + h_prev @ Wh + b). Book 2 ch. 5."""

    time_layer = TimeRNN

    @property
    def cache(self):
        """(x, h_prev, h_next) of the last forward."""
        xs, h_prev, hs, _ = self._sequence._saved
        return xs[:, 0], h_prev, hs[:, 0]


class GRU(Cell):
    """One step of `TimeGRU`. Book 2, appendix C."""

    time_layer = TimeGRU

    @property
    def cache(self):
        """(x, h_prev, z, r, candidate) of the last forward."""
        xs, h_prev, _, gates, _ = self._sequence._saved
        return xs[:, 0], h_prev, *np.split(gates[:, 0], 3, axis=1)


class LSTM(Cell):
    """One step of `TimeLSTM`. Book 2 ch. 6."""

    time_layer = TimeLSTM

    @property
    def cache(self):
        """(x, h_prev, c_prev, i, f, g, o, c_next) of the last forward."""
        xs, h_prev, c_prev, _, cs, gates, _ = self._sequence._saved
        f, g, i, o = np.split(gates[:, 0], 4, axis=1)
        return xs[:, 0], h_prev, c_prev, i, f, g, o, cs[:, 0]

    def forward(self, x, h_prev, c_prev):
        """x (N, D), h_prev and c_prev (N, H) -> (h_next, c_next)."""
        self._sequence.set_state(h_prev, c_prev)
        self._sequence._forward(x[:, np.newaxis], None)
        return self._sequence.h, self._sequence.c

    def backward(self, dh_next, dc_next):
        """-> (dx, dh_prev, dc_prev)"""
        dx = self._sequence.backward(dh_next[:, np.newaxis], dc_next)[:, 0]
        return dx, self._sequence.dh, self._sequence.dc
