"""Recurrent layers: NumPy's products, and what a step does around them in one compiled pass over its rows.

Arrays of steps are matrices of rows here: step t of sequence n is row n * row_n + t * row_t. On one thread: a step is
too short to share. LSTM in training, float32, one thread, times as fast as NumPy's functions: (20, 35, 100, 100) 2.1,
(20, 35, 650, 650) 1.3, (8, 1000, 1, 64) 3.9.
"""

import numpy as np

from ..numpy_backend.rnn import _saturating, _times
from ._compile import _deliver, _formula, _helper, _kernel, _plain, _target
from ._math import _number, _sigmoid, _tanh

_KINDS = {"tanh": 0, "relu": 1, "sigmoid": 2}


# Loops over one or two arrays each, which LLVM vectorises: in one over all of a step's it would not.
@_helper
def _sigmoid_all(a):
    for j in range(a.size):
        a[j] = _sigmoid(a[j])


@_helper
def _tanh_all(a):
    for j in range(a.size):
        a[j] = _tanh(a[j])


@_helper
def _relu_all(a):
    for j in range(a.size):
        a[j] = _number(a[j], 0.0) if a[j] <= 0 else a[j]


@_helper
def _add(a, b):
    for j in range(a.size):
        a[j] += b[j]


@_helper
def _add_product(a, b, c):
    for j in range(a.size):
        a[j] += b[j] * c[j]


@_helper
def _sum(a, b, c, d):
    for j in range(a.size):
        a[j] = b[j] + c[j] + d[j]


@_helper
def _clear(a):
    for j in range(a.size):
        a[j] = 0


@_helper
def _copy(a, b):
    for j in range(a.size):
        a[j] = b[j]


@_helper
def _mix(h, z, k):
    for j in range(h.size):
        h[j] = (_number(h[j], 1.0) - z[j]) * h[j] + z[j] * k[j]


@_formula
def _product(gradient, state):
    """_times of the reference, for one element."""
    zero = _number(gradient, 0.0)
    return zero if (gradient == zero) & (abs(state) == _number(state, np.inf)) else gradient * state


@_helper
def _state_before(states, first, n, t, length, reverse, row_n, row_t):
    if t == (length - 1 if reverse else 0):
        return first[n]
    return states[n * row_n + (t + 1 if reverse else t - 1) * row_t]


@_kernel
def _rnn_step(hs, y, h, lengths, t, row_n, row_t, kind):
    """hs: x @ Wx + b, then the states; y = h @ Wh."""
    for n in range(h.shape[0]):
        out = hs[n * row_n + t * row_t]
        if t >= lengths[n]:
            _clear(out)
            continue
        _add(out, y[n])
        if kind == 0:
            _tanh_all(out)
        elif kind == 1:
            _relu_all(out)
        else:
            _sigmoid_all(out)
        _copy(h[n], out)


@_kernel
def _lstm_step(gates, y, h, c, hs, cs, peephole, lengths, t, row_n, row_t):
    H = h.shape[1]
    for n in range(h.shape[0]):
        r = n * row_n + t * row_t
        row, cell, out = gates[r], c[n], hs[r]
        if t >= lengths[n]:
            _clear(row)
            _clear(out)
            _clear(cs[r])
            continue
        _add(row, y[n])
        f, g, i, o = row[:H], row[H : 2 * H], row[2 * H : 3 * H], row[3 * H :]
        if peephole.size:
            _add_product(f, peephole[:H], cell)
            _add_product(i, peephole[H : 2 * H], cell)
        _sigmoid_all(f)
        _tanh_all(g)
        _sigmoid_all(i)
        for j in range(H):
            cell[j] = f[j] * cell[j] + g[j] * i[j]
        if peephole.size:
            _add_product(o, peephole[2 * H :], cell)
        _sigmoid_all(o)
        _copy(cs[r], cell)
        _copy(out, cell)
        _tanh_all(out)
        for j in range(H):
            out[j] *= o[j]
        _copy(h[n], out)


@_kernel
def _gru_gates(gates, y, h, reset, t, row_n, row_t):
    """z and r, also where a step is not taken; reset = r * h."""
    H = h.shape[1]
    for n in range(h.shape[0]):
        zr, state, product = gates[n * row_n + t * row_t][: 2 * H], h[n], reset[n]
        _add(zr, y[n][: 2 * H])
        _sigmoid_all(zr)
        r = zr[H:]
        for j in range(H):
            product[j] = r[j] * state[j]


@_kernel
def _gru_step(gates, y, h, hs, b_h, linear, lengths, t, row_n, row_t):
    """y: what the candidate's product with Whh is, in its last H columns."""
    H = h.shape[1]
    for n in range(h.shape[0]):
        row, out = gates[n * row_n + t * row_t], hs[n * row_n + t * row_t]
        if t >= lengths[n]:
            _clear(row)
            _clear(out)
            continue
        z, r, k, product = row[:H], row[H : 2 * H], row[2 * H : 3 * H], y[n][-H:]
        if linear:
            u = row[3 * H :]
            _copy(u, product)
            if b_h.size:
                _add(u, b_h)
            _add_product(k, r, u)
        else:
            _add(k, product)
        _tanh_all(k)
        _mix(h[n], z, k)
        _copy(out, h[n])


@_kernel
def _rnn_back(dhs, hs, h0, y, carry, before, da, to, lengths, t, row_n, row_t, reverse, kind):
    """y: the gradient that arrives through Wh, carry: past the steps that were not taken; da of this step, also in
    `to`."""
    for n in range(carry.shape[0]):
        r = n * row_n + t * row_t
        d, out = da[r], hs[r]
        if t >= lengths[n]:
            _clear(d)
            _clear(to[n])
            _clear(before[r])
            _add(carry[n], y[n])
            continue
        _copy(before[r], _state_before(hs, h0, n, t, lengths[n], reverse, row_n, row_t))
        _sum(d, dhs[r], y[n], carry[n])
        _clear(carry[n])
        for j in range(d.size):
            v, one = out[j], _number(out[j], 1.0)
            if kind == 0:
                d[j] *= one - v * v
            elif kind == 1:
                d[j] = _number(v, 0.0) if v <= 0 else d[j]
            else:
                d[j] *= v * (one - v)
        _copy(to[n], d)


@_kernel
def _lstm_back(
    dhs, hs, cs, gates, h0, c0, peephole, y, carry, dc, before, da, to, lengths, t, row_n, row_t, reverse
):  # fmt: skip
    H = carry.shape[1]
    dh, tc, one = np.empty(H, dhs.dtype), np.empty(H, dhs.dtype), dhs.dtype.type(1)
    for n in range(carry.shape[0]):
        r = n * row_n + t * row_t
        if t >= lengths[n]:
            _clear(da[r])
            _clear(to[n])
            _clear(before[r])
            _add(carry[n], y[n])
            continue
        _copy(before[r], _state_before(hs, h0, n, t, lengths[n], reverse, row_n, row_t))
        c_before = _state_before(cs, c0, n, t, lengths[n], reverse, row_n, row_t)
        _sum(dh, dhs[r], y[n], carry[n])
        _clear(carry[n])
        _copy(tc, cs[r])
        _tanh_all(tc)
        row, d, out = dc[n], da[r], gates[r]
        f, g, i, o = out[:H], out[H : 2 * H], out[2 * H : 3 * H], out[3 * H :]
        df, dg, di, do = d[:H], d[H : 2 * H], d[2 * H : 3 * H], d[3 * H :]
        for j in range(H):
            do[j] = dh[j] * tc[j] * (o[j] * (one - o[j]))
        for j in range(H):
            row[j] += dh[j] * o[j] * (one - tc[j] * tc[j])
        if peephole.size:
            _add_product(row, peephole[2 * H :], do)
        for j in range(H):
            df[j] = _product(row[j] * (f[j] * (one - f[j])), c_before[j])
        for j in range(H):
            dg[j] = row[j] * i[j] * (one - g[j] * g[j])
            di[j] = row[j] * g[j] * (i[j] * (one - i[j]))
        for j in range(H):
            row[j] *= f[j]
        if peephole.size:
            _add_product(row, peephole[:H], df)
            _add_product(row, peephole[H : 2 * H], di)
        _copy(to[n], d)


@_kernel
def _gru_back(dhs, hs, gates, h0, y, carry, before, da, du, to, linear, lengths, t, row_n, row_t, reverse):
    """da of z and the candidate, with `linear` also of r; du: of the candidate's product with Whh. to: what the
    products with Wh read, z, r and du."""
    H = carry.shape[1]
    dh, one = np.empty(H, dhs.dtype), dhs.dtype.type(1)
    for n in range(carry.shape[0]):
        r = n * row_n + t * row_t
        d, u, target = da[r], du[r], to[n]
        if t >= lengths[n]:
            _clear(d)
            _clear(u)
            _clear(target)
            _clear(before[r])
            _add(carry[n], y[n])
            continue
        state = before[r]
        _copy(state, _state_before(hs, h0, n, t, lengths[n], reverse, row_n, row_t))
        _sum(dh, dhs[r], y[n], carry[n])
        out = gates[r]
        z, reset, k = out[:H], out[H : 2 * H], out[2 * H : 3 * H]
        dz, dr, dk, rest = d[:H], d[H : 2 * H], d[2 * H :], carry[n]
        for j in range(H):
            dz[j] = _product(dh[j] * (z[j] * (one - z[j])), k[j] - state[j])
        for j in range(H):
            dk[j] = dh[j] * z[j] * (one - k[j] * k[j])
        for j in range(H):
            rest[j] = dh[j] * (one - z[j])
        if linear:
            product = out[3 * H :]
            for j in range(H):
                u[j] = dk[j] * reset[j]
                dr[j] = _product(dk[j] * (reset[j] * (one - reset[j])), product[j])
            _copy(target[H : 2 * H], dr)
        else:
            _copy(u, dk)
        _copy(target[:H], dz)
        _copy(target[2 * H :], u)


@_kernel
def _gru_back_reset(gates, y, carry, before, da, to, lengths, t, row_n, row_t):
    """The rest by the books' rule: y = du @ Whh.T gives da of r; `before` stays, times r it is what Whh multiplied."""
    H = carry.shape[1]
    for n in range(carry.shape[0]):
        r = n * row_n + t * row_t
        if t >= lengths[n]:
            continue
        reset, dr, state, arriving, rest = gates[r][H : 2 * H], da[r][H : 2 * H], before[r], y[n], carry[n]
        for j in range(H):
            dr[j] = _product(arriving[j] * (reset[j] * (_number(reset[j], 1.0) - reset[j])), state[j])
        for j in range(H):
            rest[j] += arriving[j] * reset[j]
        _copy(to[n][H : 2 * H], dr)


class _Sequence:
    """The sizes of a call, its rows, and the order of its steps."""

    def __init__(self, x, Wh, lengths, reverse, time_major):
        self.shape = x.shape[:2]
        T, N = self.shape if time_major else self.shape[::-1]
        self.N, self.H, self.dtype, self.reverse = N, len(Wh), x.dtype, bool(reverse)
        self.rows = (1, N) if time_major else (T, 1)
        self.lengths = np.full(N, T) if lengths is None else _plain(np.asarray(lengths, np.int64))
        self.order = range(T)[::-1] if reverse else range(T)
        self.taken = None  # of each row, (rows, 1); None: all
        if lengths is not None:
            taken = np.arange(T) < self.lengths[:, np.newaxis]
            self.taken = (taken.T if time_major else taken).reshape(N * T, 1)

    def state(self, given):
        """A new array (N, H)."""
        return np.zeros((self.N, self.H), self.dtype) if given is None else np.array(given, self.dtype)

    def new(self, width):
        return np.empty((*self.shape, width), self.dtype)

    def matrix(self, a):
        return _plain(a).reshape(self.N * len(self.order), a.shape[-1])

    def read(self, a):
        """Its rows, 0 where a step is not taken."""
        rows = self.matrix(a)
        return rows if self.taken is None else np.where(self.taken, rows, rows.dtype.type(0))

    def multiply_back(self, to, W, t, out):
        """out = to @ W.T, 0 for the sequences without a step t, even if W is not finite."""
        np.matmul(to, W.T, out=out)
        if self.taken is not None:
            out[t >= self.lengths] = 0

    def input_product(self, x, Wx, b, out):
        np.matmul(self.read(x), Wx, out=out)
        if b is not None:
            out += b

    def input_gradients(self, da, x, Wx, dx, dWx, db, saturates=True):
        gx, rows = _target(dx, x, da), self.read(x)
        np.matmul(da, Wx.T, out=gx.reshape(rows.shape))
        if self.taken is not None:
            gx.reshape(rows.shape)[~self.taken[:, 0]] = 0
        rows = _saturating(rows) if saturates else rows
        gb = da.sum(axis=0, dtype=np.float64).astype(da.dtype)
        return _deliver(gx, dx), _deliver(rows.T @ da, dWx), _deliver(gb, db)


def rnn_forward(x, Wx, Wh, b, h0, activation="tanh", lengths=None, reverse=False, time_major=False, hs=None):
    s = _Sequence(x, Wh, lengths, reverse, time_major)
    result, h, y = _target(hs, s.new(s.H), x, Wx, Wh), s.state(h0), np.empty((s.N, s.H), x.dtype)
    rows = s.matrix(result)
    s.input_product(x, Wx, b, rows)
    for t in s.order:
        np.matmul(h, Wh, out=y)
        _rnn_step(rows, y, h, s.lengths, t, *s.rows, _KINDS[activation])
    return _deliver(result, hs)


def rnn_backward(
    dhs, x, Wx, Wh, h0, hs, activation="tanh", lengths=None, reverse=False, time_major=False,
    dx=None, dWx=None, dWh=None, db=None, dh0=None,
):  # fmt: skip
    s = _Sequence(x, Wh, lengths, reverse, time_major)
    first, carry, y, to = s.state(h0), s.state(None), s.state(None), s.state(None)
    given, states = s.matrix(dhs), s.matrix(hs)
    before, da = np.empty_like(states), np.empty_like(states)
    for t in reversed(s.order):
        _rnn_back(given, states, first, y, carry, before, da, to, s.lengths, t, *s.rows, s.reverse, _KINDS[activation])
        s.multiply_back(to, Wh, t, y)
    saturates = activation != "relu"
    gradients = s.input_gradients(da, x, Wx, dx, dWx, db, saturates)
    before = _saturating(before) if saturates else before
    return *gradients[:2], _deliver(before.T @ da, dWh), gradients[2], _deliver(y + carry, dh0)


def lstm_forward(
    x, Wx, Wh, b, h0, c0, peephole=None, lengths=None, reverse=False, time_major=False, hs=None, cs=None, gates=None
):
    s = _Sequence(x, Wh, lengths, reverse, time_major)
    states, cells, saved = (
        _target(hs, s.new(s.H), x, Wx, Wh),
        _target(cs, s.new(s.H), x, Wx, Wh),
        _target(gates, s.new(4 * s.H), x, Wx, Wh),
    )
    h, c, y = s.state(h0), s.state(c0), np.empty((s.N, 4 * s.H), x.dtype)
    weights = np.empty(0, x.dtype) if peephole is None else _plain(peephole)
    h_rows, c_rows, rows = s.matrix(states), s.matrix(cells), s.matrix(saved)
    s.input_product(x, Wx, b, rows)
    for t in s.order:
        np.matmul(h, Wh, out=y)
        _lstm_step(rows, y, h, c, h_rows, c_rows, weights, s.lengths, t, *s.rows)
    return _deliver(states, hs), _deliver(cells, cs), _deliver(saved, gates)


def lstm_backward(
    dhs, dcT, x, Wx, Wh, h0, c0, hs, cs, gates, peephole=None, lengths=None, reverse=False, time_major=False,
    dx=None, dWx=None, dWh=None, db=None, dh0=None, dc0=None, dpeephole=None,
):  # fmt: skip
    s = _Sequence(x, Wh, lengths, reverse, time_major)
    first, c_first, dc, carry, y = s.state(h0), s.state(c0), s.state(dcT), s.state(None), s.state(None)
    weights = np.empty(0, x.dtype) if peephole is None else _plain(peephole)
    given, states, cells, saved = s.matrix(dhs), s.matrix(hs), s.matrix(cs), s.matrix(gates)
    before, da, to = np.empty_like(states), np.empty_like(saved), np.empty((s.N, 4 * s.H), x.dtype)
    for t in reversed(s.order):
        _lstm_back(
            given, states, cells, saved, first, c_first, weights, y, carry, dc, before, da, to,
            s.lengths, t, *s.rows, s.reverse,
        )  # fmt: skip
        s.multiply_back(to, Wh, t, y)
    gx, gWx, gb = s.input_gradients(da, x, Wx, dx, dWx, db)
    if peephole is not None:
        cells = s.read(cs)
        c_before = s.matrix(_cells_before(s, cells, c_first))
        df, _, di, do = np.split(da, 4, axis=1)
        pairs = (df, c_before), (di, c_before), (do, cells)
        sums = [np.sum(_times(d, c), axis=0, dtype=np.float64) for d, c in pairs]
        dpeephole = _deliver(np.concatenate(sums).astype(x.dtype), dpeephole)
    gWh = _saturating(before).T @ da
    return gx, gWx, _deliver(gWh, dWh), gb, _deliver(y + carry, dh0), _deliver(dc, dc0), dpeephole


def _cells_before(s, cells, first):
    """The c that each step started from; 0 where it was not taken."""
    before = np.zeros_like(cells)
    row_n, row_t = s.rows
    n = np.arange(s.N)
    for t in s.order:
        begins = t == (s.lengths - 1 if s.reverse else 0)
        other = cells[n * row_n + np.clip(t + 1 if s.reverse else t - 1, 0, len(s.order) - 1) * row_t]
        found = np.where(np.reshape(begins, (-1, 1)), first, other)
        before[n * row_n + t * row_t] = np.where((t < s.lengths)[:, None], found, 0)
    return before


def gru_forward(
    x, Wx, Wh, b, h0, linear_before_reset=False, b_h=None, lengths=None, reverse=False, time_major=False,
    hs=None, gates=None,
):  # fmt: skip
    s, linear = _Sequence(x, Wh, lengths, reverse, time_major), bool(linear_before_reset)
    states, saved = _target(hs, s.new(s.H), x, Wx, Wh), _target(gates, s.new((4 if linear else 3) * s.H), x, Wx, Wh)
    h, reset, y = s.state(h0), s.state(None), np.empty((s.N, (3 if linear else 2) * s.H), x.dtype)
    bias, more = np.empty(0, x.dtype) if b_h is None else _plain(b_h), np.empty((s.N, s.H), x.dtype)
    h_rows, rows = s.matrix(states), s.matrix(saved)
    s.input_product(x, Wx, b, rows[:, : 3 * s.H])
    Wzr, Wk = (Wh, None) if linear else (Wh[:, : 2 * s.H], Wh[:, 2 * s.H :])
    for t in s.order:
        np.matmul(h, Wzr, out=y)
        _gru_gates(rows, y, h, reset, t, *s.rows)
        if not linear:
            np.matmul(reset, Wk, out=more)
        _gru_step(rows, y if linear else more, h, h_rows, bias, linear, s.lengths, t, *s.rows)
    return _deliver(states, hs), _deliver(saved, gates)


def gru_backward(
    dhs, x, Wx, Wh, h0, hs, gates, linear_before_reset=False, lengths=None, reverse=False, time_major=False,
    dx=None, dWx=None, dWh=None, db=None, dh0=None, db_h=None,
):  # fmt: skip
    s, linear, H = _Sequence(x, Wh, lengths, reverse, time_major), bool(linear_before_reset), len(Wh)
    first, carry, y, more = s.state(h0), s.state(None), s.state(None), s.state(None)
    given, states, saved = s.matrix(dhs), s.matrix(hs), s.matrix(gates)
    before, du = np.empty_like(states), np.empty_like(states)
    da, to = np.empty((len(states), 3 * H), x.dtype), np.empty((s.N, 3 * H), x.dtype)
    for t in reversed(s.order):
        _gru_back(given, states, saved, first, y, carry, before, da, du, to, linear, s.lengths, t, *s.rows, s.reverse)
        if linear:
            s.multiply_back(to, Wh, t, y)
        else:
            np.matmul(to[:, 2 * H :], Wh[:, 2 * H :].T, out=more)
            _gru_back_reset(saved, more, carry, before, da, to, s.lengths, t, *s.rows)
            s.multiply_back(to[:, : 2 * H], Wh[:, : 2 * H], t, y)
    gx, gWx, gb = s.input_gradients(da, x, Wx, dx, dWx, db)
    gWh, before = np.empty_like(Wh), _saturating(before)
    gWh[:, : 2 * H] = before.T @ da[:, : 2 * H]
    gWh[:, 2 * H :] = (before if linear else before * s.read(gates)[:, H : 2 * H]).T @ du
    if linear:
        db_h = _deliver(du.sum(axis=0, dtype=np.float64).astype(x.dtype), db_h)
    return gx, gWx, _deliver(gWh, dWh), gb, _deliver(y + carry, dh0), db_h if linear else None
