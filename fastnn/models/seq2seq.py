"""Sequence to sequence: an encoder reads, a decoder writes. Book 2 ch. 7 and 8."""

import contextlib
import copy
from typing import Any

import numpy as np

from .. import time_layers as fastnn_layers
from ..layers.branch import Branches
from ..network import Network, sequences
from ..network.lowering import LAYERS, OF_INDICES, Misfit
from .base_model import BaseModel
from .planned import Planned

_MOST_BYTES = 256 << 20  # of plans that are kept


class Encoder(BaseModel):
    """TimeEmbedding, TimeLSTM: xs (N, T) ids -> the last state h (N, H). Book 2 ch. 7."""

    def __init__(self, vocab_size, wordvec_size, hidden_size, dtype="float32", rng=None):
        super().__init__(dtype, rng)
        types = self.layer_types
        self.embed = types.TimeEmbedding(self._table(vocab_size, wordvec_size))
        self.lstm = types.TimeLSTM(*self._recurrent(4, wordvec_size, hidden_size), stateful=False)
        self._collect(self.embed, self.lstm)
        self.hs: Any = None

    def forward(self, xs):
        self.hs = self.lstm.forward(self.embed.forward(xs))
        return self.hs[:, -1]

    def backward(self, dh):
        dhs = np.zeros_like(self.hs)
        dhs[:, -1] = dh
        return self.embed.backward(self.lstm.backward(dhs))


class AttentionEncoder(Encoder):
    """The same, all states: xs (N, T) -> hs (N, T, H). Book 2 ch. 8."""

    def forward(self, xs):
        return self.lstm.forward(self.embed.forward(xs))

    def backward(self, dhs):
        return self.embed.backward(self.lstm.backward(dhs))


class Decoder(BaseModel):
    """TimeEmbedding, TimeLSTM from h, TimeAffine: xs (N, T) ids, h (N, H) -> scores (N, T, V). Book 2 ch. 7."""

    def __init__(self, vocab_size, wordvec_size, hidden_size, dtype="float32", rng=None):
        super().__init__(dtype, rng)
        V, D, H = vocab_size, wordvec_size, hidden_size
        types = self.layer_types
        lstm_input, affine_input = self._widths(D, H)
        self.embed = types.TimeEmbedding(self._table(V, D))
        self.lstm = types.TimeLSTM(*self._recurrent(4, lstm_input, H), stateful=True)
        self.affine = types.TimeAffine(self._weights(affine_input, V), self._zeros(V))
        self._collect(self.embed, self.lstm, self.affine)

    def _widths(self, D, H):
        """Of the inputs of the LSTM and of the affine layer."""
        return D, H

    def _start(self, context):
        """The state to start from, of what the encoder gave."""
        return context

    def _scores(self, xs, context):
        return self.affine.forward(self.lstm.forward(self.embed.forward(xs)))

    def forward(self, xs, context):
        self.lstm.set_state(self._start(context))
        return self._scores(xs, context)

    def backward(self, dscore):
        """-> the gradient of what the encoder gave"""
        self.embed.backward(self.lstm.backward(self.affine.backward(dscore)))
        return self.lstm.dh

    def generate(self, context, start_id, sample_size):
        """The best next id, sample_size times: a list for one sequence (context of length 1), else (N, sample_size)."""
        self.lstm.set_state(self._start(context))
        ids = np.empty((len(context), sample_size), np.int64)
        x = np.full((len(context), 1), start_id)
        for i in range(sample_size):
            ids[:, i] = self._scores(x, context)[:, 0].argmax(axis=1)
            x = ids[:, i : i + 1]
        return ids[0].tolist() if len(context) == 1 else ids


class PeekyDecoder(Decoder):
    """A decoder whose LSTM and affine layer see h at every step. Book 2 ch. 7."""

    def _widths(self, D, H):
        return H + D, H + H

    def _scores(self, xs, h):
        hs = np.repeat(h[:, np.newaxis], xs.shape[1], axis=1)
        out = self.lstm.forward(np.concatenate([hs, self.embed.forward(xs)], axis=2))
        return self.affine.forward(np.concatenate([hs, out], axis=2))

    def backward(self, dscore):
        dout = self.affine.backward(dscore)
        H = dout.shape[2] // 2
        dxs = self.lstm.backward(dout[:, :, H:])
        self.embed.backward(dxs[:, :, H:])
        return self.lstm.dh + (dout[:, :, :H] + dxs[:, :, :H]).sum(axis=1)


class AttentionDecoder(Decoder):
    """A decoder that looks at all states of the encoder, hs (N, T, H), at every step. Book 2 ch. 8."""

    def __init__(self, vocab_size, wordvec_size, hidden_size, dtype="float32", rng=None):
        super().__init__(vocab_size, wordvec_size, hidden_size, dtype, rng)
        self.attention = self.layer_types.TimeAttention()

    def _widths(self, D, H):
        return D, 2 * H

    def _start(self, enc_hs):
        return enc_hs[:, -1]

    def _scores(self, xs, enc_hs):
        dec_hs = self.lstm.forward(self.embed.forward(xs))
        return self.affine.forward(np.concatenate([self.attention.forward(enc_hs, dec_hs), dec_hs], axis=2))

    def backward(self, dscore):
        dout = self.affine.backward(dscore)
        H = dout.shape[2] // 2
        denc_hs, ddec_hs = self.attention.backward(dout[:, :, :H])
        ddec_hs += dout[:, :, H:]
        self.embed.backward(self.lstm.backward(ddec_hs))
        denc_hs[:, -1] += self.lstm.dh
        return denc_hs


class EncoderDecoder(Branches):
    """Both as one layer of a network: ids (N, length + T'), of which the encoder reads the first -> (N, T', V)."""

    def __init__(self, encoder, decoder, length):
        super().__init__(*_layers(encoder, decoder))
        self.encoder = encoder
        self.decoder = decoder
        self.length = length

    @property
    def current(self):
        """Whether the encoder and the decoder still have these layers."""
        return self.branches == _layers(self.encoder, self.decoder)

    def rebuilt(self, branches):
        encoder, decoder = copy.copy(self.encoder), copy.copy(self.decoder)
        (encoder.embed, encoder.lstm), (decoder.embed, decoder.lstm, decoder.affine) = branches
        decoder.lstm.stateful = True  # its state is the encoder's
        return EncoderDecoder(encoder, decoder, self.length)

    def forward(self, ids):
        return self.decoder.forward(ids[:, self.length :], self.encoder.forward(ids[:, : self.length]))

    def backward(self, dscore):
        return self.encoder.backward(self.decoder.backward(dscore))


def _layers(encoder, decoder):
    return [[encoder.embed, encoder.lstm], [decoder.embed, decoder.lstm, decoder.affine]]


# How a plan runs them: classes -> (decode, whether the decoder sees all states of the encoder).
_KINDS = {
    (Encoder, Decoder): (sequences.plain, False),
    (Encoder, PeekyDecoder): (sequences.peeky, False),
    (AttentionEncoder, AttentionDecoder): (sequences.attentive, True),
}


def _kind(encoder, decoder):
    """What _KINDS has; None for other classes, and where a method has been replaced."""
    if any(name in vars(part) for part in (encoder, decoder) for name in ("forward", "backward", "generate")):
        return None
    return _KINDS.get((type(encoder), type(decoder)))


def _lowered(program, layer, x):
    kind = _kind(layer.encoder, layer.decoder)
    if kind is None or not layer.current:
        raise Misfit("its encoder or decoder is not one that a plan knows, or has other layers")
    return sequences.encoder_decoder(program, layer, x, *kind)


LAYERS[EncoderDecoder] = _lowered
OF_INDICES.add(_lowered)


class Seq2seq(Planned, BaseModel):
    """Encoder, Decoder, softmax loss. Book 2 ch. 7.

    forward(xs (N, T), ts (N, T')) -> loss: ts[:, :-1] is what the decoder reads, ts[:, 1:] what it should write. The
    loss ignores labels of -1, which pad short answers; the decoder reads id 0 there.

    From the second time that lengths T and T' come, passes are planned as a whole, with the same results.
    """

    encoder_type: Any = Encoder
    decoder_type: Any = Decoder
    _lengths: Any = None  # of the last batch
    _running: Any = None  # the Network that backward continues
    _kept: Any = None  # ((encoder, decoder, loss), their plans)

    def __init__(self, vocab_size, wordvec_size, hidden_size, dtype="float32", rng=None):
        super().__init__(dtype, rng)
        sizes = vocab_size, wordvec_size, hidden_size, dtype, self.rng
        self.encoder = self.encoder_type(*sizes)
        self.decoder = self.decoder_type(*sizes)
        self.softmax = self.layer_types.TimeSoftmaxWithLoss()
        self._collect(self.encoder, self.decoder)

    @property
    def _plans(self):
        """{lengths: a Network or a Writer, None before they come again}, for the parts as they are now."""
        parts = self.encoder, self.decoder, self.softmax
        if self._kept is None or self._kept[0] != parts:
            self._kept = parts, {}
        return self._kept[1]

    @property
    def network(self):
        """The `Network` for the lengths of the last batch: x is xs and ts[:, :-1] side by side, t is ts[:, 1:]."""
        if self._lengths is None:
            raise RuntimeError(f"{type(self).__name__}.network: there has been no forward, whose lengths it is for")
        network = self._plans.get(self._lengths)
        if network is None or not network.layers[0].current:
            both = EncoderDecoder(self.encoder, self.decoder, self._lengths[0])
            network = self._plans[self._lengths] = Network([both], self.softmax)
        return network

    def forward(self, xs, ts):
        self._running = loss = None
        read = self._read(ts)
        if self._kind() is not None and _ids(xs) and _ids(ts) and len(xs) == len(ts):
            self._lengths = xs.shape[1], ts.shape[1]
            if self._seen(self._lengths):
                loss = self._by_plan("forward", np.concatenate([xs, read], axis=1), ts[:, 1:])
        if loss is None:
            score = self.decoder.forward(read, self.encoder.forward(xs))
            return self.softmax.forward(score, ts[:, 1:])
        self._running = self.network
        return loss

    def _read(self, ts):
        """What the decoder reads. (The book's layers look the last row up for a label that is ignored.)"""
        ids, ignored = ts[:, :-1], self.softmax.ignore_label
        if self.layer_types is not fastnn_layers or ignored is None or not (padding := ids == ignored).any():
            return ids
        return np.where(padding, ids.dtype.type(0), ids)

    def backward(self, dout=1):
        """Fill `grads`, times dout, once after each `forward`."""
        if self._running is not None:
            return self._running.backward(dout)
        return self.encoder.backward(self.decoder.backward(self.softmax.backward(dout)))

    def generate(self, xs, start_id, sample_size):
        """The answer to xs (N, T): a list of sample_size ids if N is 1, else (N, sample_size)."""
        kind = self._kind()
        if kind is not None and _ids(xs) and self._seen(xs.shape[1]):
            with contextlib.suppress(Misfit, ValueError, TypeError, IndexError):  # the layers explain
                ids = self._writer(kind, xs).write(np.ascontiguousarray(xs), start_id, sample_size)
                return ids[0].tolist() if len(ids) == 1 else ids
        return self.decoder.generate(self.encoder.forward(xs), start_id, sample_size)

    def _writer(self, kind, xs):
        n, length = xs.shape
        writer = self._plans[length]
        if writer is None or not writer.fits(n):
            writer = self._plans[length] = sequences.Writer(self.encoder, self.decoder, *kind, length, n)
        return writer

    def _kind(self):
        """What _KINDS has; None where the layers run one by one."""
        plain = self.layer_types is fastnn_layers and self.params[0].dtype in (np.float32, np.float64)
        return _kind(self.encoder, self.decoder) if plain else None

    def _seen(self, lengths):
        """Whether they came before, so that a plan pays. Forgets the plans when they take too much memory."""
        plans = self._plans
        if lengths in plans:
            if plans[lengths] is None and sum(p.nbytes for p in plans.values() if p) > _MOST_BYTES:
                plans.update(dict.fromkeys(plans))
            return True
        plans[lengths] = None
        return False

    def __getstate__(self):
        """For copies and pickles: without the plans, which are made anew."""
        return vars(self) | {"_kept": None}


def _ids(a):
    """Whether an array is (N, T) indices."""
    return type(a) is np.ndarray and a.ndim == 2 and a.size > 0 and a.dtype.kind in "iu"


class PeekySeq2seq(Seq2seq):
    """Seq2seq with a PeekyDecoder. Book 2 ch. 7."""

    decoder_type = PeekyDecoder


class AttentionSeq2seq(Seq2seq):
    """Seq2seq with attention. Book 2 ch. 8."""

    encoder_type = AttentionEncoder
    decoder_type = AttentionDecoder
