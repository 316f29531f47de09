"""An encoder and a decoder as one program, for training, and step by step, for writing. Book 2 ch. 7 and 8.

A decoder is lowered by a function `decode(program, decoder, ids, context, h, c)` -> (scores, (hs, cs), backward):
context is what it sees of the encoder, h and c are the state it starts from, c None for zeros; backward goes from the
gradient of the scores to those of the context, None where that has none of its own, and of h.
"""

import numpy as np

from .. import backends, time_layers
from .lowering import Misfit, Value, beside, chain, class_of, hold_options, lstm, time_attention
from .plan import make_plan
from .program import Program


def encoder_decoder(program, layer, x, decode, sees_all):
    """`layer.encoder` reads the first `layer.length` ids of x, `layer.decoder` the others -> scores (N, T', V).

    sees_all: the context is all states of the encoder; else it is the last one.
    """
    decoder, T = layer.decoder, layer.length
    if len(x.shape) != 1 or not 0 < T < x.shape[0]:
        raise Misfit("there is nothing to read")
    hs, read = chain(program, layer.branches[0], _ids(program, 0, T), numbered=False)
    h, back = last(program, hs)
    y, _, write = decode(program, decoder, _ids(program, T, x.shape[0]), hs if sees_all else h, h, None)

    def backward(dy):
        dcontext, dh = write(dy)
        if sees_all:
            dlast = back(dh)
            program.emit("add_arrays", dcontext, dlast, dcontext)
            read(dcontext)
        else:
            if dcontext is not None:
                program.emit("add_arrays", dh, dcontext, dh)
            read(back(dh))

    return y, backward


def _ids(program, begin, end):
    """These columns of the input."""
    ids = program.state(lambda x: np.ascontiguousarray(x[:, begin:end]), (end - begin,), "labels")
    return Value(ids, (end - begin,), False, "the input")


# ---- states: the rows of a table, which a look-up copies -------------------------------------------------------------


def last(program, hs):
    """The last step of hs (N, T, H) -> (h (N, H), backward)."""
    T, H = hs.shape
    return _rows(program, hs, T, (H,), lambda n: np.arange(T - 1, n * T, T))


def repeat(program, h, steps):
    """h (N, H) at every step -> ((N, steps, H), backward: the sum over the steps)."""
    return _rows(program, h, 1, (steps, *h.shape), lambda n: np.repeat(np.arange(n), steps).reshape(n, steps))


def _rows(program, x, each, shape, places):
    """Rows of x, `each` a sample, at places(n) -> ((N, *shape), backward)."""
    H, made = x.shape[-1], {}
    count = program.capacity * each

    def index(x):
        found = made.get(len(x))
        if found is None:
            found = places(len(x))
            made.clear()
            made[len(x)] = found
        return found

    at = program.state(index, shape[:-1], "labels")
    y = program.arena(shape)
    program.emit("embedding_forward", program.view(x.buffer, 0, (count, H)), at, y)

    def backward(dy):
        dx = program.arena(x.shape)
        program.emit("embedding_backward", dy, at, count, program.view(dx, 0, (count, H)))
        return dx

    return Value(y, shape, True, ""), backward


# ---- decoders --------------------------------------------------------------------------------------------------------


def _from_state(program, layer, x, h, c):
    """A decoder's TimeLSTM -> (hs, (hs, cs), backward: dhs -> (dx, dh))."""
    if class_of(program, layer) is not time_layers.TimeLSTM or not layer.stateful or layer.reverse:
        raise Misfit("its decoder has another recurrent layer than a TimeLSTM that keeps its state")
    hold_options(program, layer)
    y, cs, back = lstm(program, layer, x, h.buffer, None if c is None else c.buffer)

    def backward(dhs):
        dh = program.arena(h.shape)
        dx = back(dhs, dh)
        if program.ready is not None:
            program.ready(layer)
        return dx, dh

    return y, (y.buffer, cs), backward


def plain(program, decoder, ids, context, h, c):
    """Embedding, LSTM, affine layer."""
    xs, embed = chain(program, [decoder.embed], ids, numbered=False)
    hs, states, recur = _from_state(program, decoder.lstm, xs, h, c)
    y, affine = chain(program, [decoder.affine], hs, numbered=False)

    def backward(dy):
        dxs, dh = recur(affine(dy))
        embed(dxs)
        return None, dh

    return y, states, backward


def peeky(program, decoder, ids, context, h, c):
    """The LSTM and the affine layer see the context at every step."""
    xs, embed = chain(program, [decoder.embed], ids, numbered=False)
    seen, add_up = repeat(program, context, ids.shape[0])
    inputs, part_inputs = beside(program, seen, xs)
    hs, states, recur = _from_state(program, decoder.lstm, inputs, h, c)
    outputs, part_outputs = beside(program, seen, hs)
    y, affine = chain(program, [decoder.affine], outputs, numbered=False)

    def backward(dy):
        dseen, dhs = part_outputs(affine(dy))
        dinputs, dh = recur(dhs)
        more, dxs = part_inputs(dinputs)
        embed(dxs)
        program.emit("add_arrays", dseen, more, dseen)
        return add_up(dseen), dh

    return y, states, backward


def attentive(program, decoder, ids, context, h, c):
    """The affine layer sees the sum of the encoder's states that the attention chooses."""
    xs, embed = chain(program, [decoder.embed], ids, numbered=False)
    hs, states, recur = _from_state(program, decoder.lstm, xs, h, c)
    sums, attend = time_attention(program, program.hold(decoder, "attention"), context, hs)
    outputs, part = beside(program, sums, hs)
    y, affine = chain(program, [decoder.affine], outputs, numbered=False)

    def backward(dy):
        dsums, dhs = part(affine(dy))
        dcontext, more = attend(dsums)
        program.emit("add_arrays", more, dhs, more)
        dxs, dh = recur(more)
        embed(dxs)
        return dcontext, dh

    return y, states, backward


# ---- writing ---------------------------------------------------------------------------------------------------------


class _Pass:
    """A program without gradients, for up to n samples, and its plan. emit(program) -> the buffers of its results."""

    def __init__(self, dtype, n, emit):
        self.program = Program(dtype, n, False, backward=False)
        self._results = [self.program.pin(buffer) for buffer in emit(self.program)]
        self.plan = make_plan(self.program)

    def fits(self, n):
        current = self.plan.backend == backends.active_name and not self.program.stale()
        return current and n <= self.program.capacity

    def inputs(self, x):
        return (x, None, *[function(x) for function in self.program.inputs])

    def results(self, n):
        """What a run of n samples leaves, and each later one again."""
        return [self.plan.view(buffer, n) for buffer in self._results]

    def finish(self, n):
        for function in self.program.after:
            function(self.plan.view, n)


class Writer:
    """The best ids one after the other, for questions of `length` ids: a call for the encoder, then one for each id."""

    def __init__(self, encoder, decoder, decode, sees_all, length, n):
        self.decoder = decoder
        self._context = self._h = self._c = None
        dtype = encoder.lstm.params[1].dtype

        def read(program):
            x = Value(program.input(0, (length,), "labels"), (length,), False, "the input")
            hs, _ = chain(program, [program.hold(encoder, "embed"), program.hold(encoder, "lstm")], x)
            h, _ = last(program, hs)
            return h.buffer, hs.buffer

        def write(program):
            H = encoder.lstm.params[1].shape[0]
            ids = Value(program.input(0, (1,), "labels"), (1,), False, "the input")
            h, c = (
                Value(program.state(lambda x, name=name: getattr(self, name), (H,)), (H,), False, "the state")
                for name in ("_h", "_c")
            )
            shape = (length, H) if sees_all else (H,)
            context = h
            if decode is not plain:
                context = Value(program.state(lambda x: self._context, shape), shape, False, "the encoder")
            for name in "embed", "lstm", "affine":
                program.hold(decoder, name)
            y, states, _ = decode(program, decoder, ids, context, h, c)
            return y.buffer, *states

        self._sees_all = sees_all
        self._read, self._write = _Pass(dtype, n, read), _Pass(dtype, n, write)

    def fits(self, n):
        """Whether it still is what the layers are, and for n questions."""
        return self._read.fits(n) and self._write.fits(n)

    @property
    def nbytes(self):
        """Memory of the plans."""
        return self._read.program.arena_bytes + self._write.program.arena_bytes

    def write(self, xs, start_id, sample_size):
        """xs (N, length) -> ids (N, sample_size)"""
        n = len(xs)
        ids, x = np.empty((n, sample_size), np.int64), np.full((n, 1), start_id)
        self._read.plan.run(n, self._read.inputs(xs))
        self._read.finish(n)
        first, hs = self._read.results(n)
        self._context = hs if self._sees_all else first
        self._h, self._c = h, c = first.copy(), np.zeros_like(first)
        inputs, run = self._write.inputs(x), self._write.plan.run
        scores, h_next, c_next = (result[:, 0] for result in self._write.results(n))
        for i in range(sample_size):
            run(n, inputs)
            h[...], c[...] = h_next, c_next
            x[:, 0] = ids[:, i] = scores.argmax(axis=1)
        self._context = self._h = self._c = None
        if sample_size:
            self._write.finish(n)
        else:
            self.decoder.lstm.set_state(h)
        return ids
