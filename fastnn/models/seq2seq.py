"""Sequence to sequence: an encoder reads, a decoder writes. Book 2 ch. 7 and 8."""

from typing import Any

import numpy as np

from .base_model import BaseModel


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


class Seq2seq(BaseModel):
    """Encoder, Decoder, softmax loss. Book 2 ch. 7.

    forward(xs (N, T), ts (N, T')) -> loss: ts[:, :-1] is what the decoder reads, ts[:, 1:] what it should write.
    """

    encoder_type: Any = Encoder
    decoder_type: Any = Decoder

    def __init__(self, vocab_size, wordvec_size, hidden_size, dtype="float32", rng=None):
        super().__init__(dtype, rng)
        sizes = vocab_size, wordvec_size, hidden_size, dtype, self.rng
        self.encoder = self.encoder_type(*sizes)
        self.decoder = self.decoder_type(*sizes)
        self.softmax = self.layer_types.TimeSoftmaxWithLoss()
        self._collect(self.encoder, self.decoder)

    def forward(self, xs, ts):
        score = self.decoder.forward(ts[:, :-1], self.encoder.forward(xs))
        return self.softmax.forward(score, ts[:, 1:])

    def backward(self, dout=1):
        return self.encoder.backward(self.decoder.backward(self.softmax.backward(dout)))

    def generate(self, xs, start_id, sample_size):
        """The answer to xs (N, T): a list of sample_size ids if N is 1, else (N, sample_size)."""
        return self.decoder.generate(self.encoder.forward(xs), start_id, sample_size)


class PeekySeq2seq(Seq2seq):
    """Seq2seq with a PeekyDecoder. Book 2 ch. 7."""

    decoder_type = PeekyDecoder


class AttentionSeq2seq(Seq2seq):
    """Seq2seq with attention. Book 2 ch. 8."""

    encoder_type = AttentionEncoder
    decoder_type = AttentionDecoder
