"""Recurrent layers over whole sequences: simple RNN, LSTM, GRU; forward, and backward through time.

x (N, T, D), with time_major (T, N, D), and every other array of steps alike. Wx (D, G*H), Wh (H, G*H), b (G*H,) or
None, with the books' order of the G gates; h0 and c0 (N, H), None for zeros. lengths (N,): sequence n has the steps
t < lengths[n]; the others are never read, in no array of steps, their results and gradients are 0, and the state is
kept. reverse: from the last step to the first. A final state is the result at the last step taken.

An infinite input or state saturates the gates that read it. The gradients of these are then 0, not 0 times infinity:
`_times` and `_saturating`. (PyTorch's are NaN.) The ReLU of a simple RNN does not saturate: there 0 times infinity is
NaN.
"""

import numpy as np

from ._common import _result
from .activation import ACTIVATIONS, _sigmoid, activation_forward


def _by_time(a, time_major):
    """A view (T, N, ...)."""
    return a if time_major else a.swapaxes(0, 1)


def _state(state, shape, dtype):
    return np.zeros(shape, dtype) if state is None else state


def _taken(lengths, T, N):
    """(T, N, 1): whether sequence n has a step t."""
    return np.ones((T, N, 1), np.bool_) if lengths is None else (np.arange(T)[:, None] < lengths)[:, :, None]


def _read(taken, *arrays):
    """The arrays (T, N, ...) with 0 at the steps that are not taken, whatever is there."""
    return arrays if taken.all() else tuple(np.where(taken, a, a.dtype.type(0)) for a in arrays)


def _times(gradient, state):
    """gradient * state; a gradient of 0 stays 0 where the state is infinite."""
    with np.errstate(invalid="ignore"):
        return np.where((gradient == 0) & np.isinf(state), gradient.dtype.type(0), gradient * state)


def _saturating(a):
    """What saturating gates have read, for the gradient of its weights: without infinities, whose gates give 0."""
    infinite = np.isinf(a)
    return np.where(infinite, a.dtype.type(0), a) if infinite.any() else a


def _order(T, reverse):
    return range(T)[::-1] if reverse else range(T)


def _given(x, lengths, time_major):
    """x as (T, N, D), 0 at the steps that are not taken, and which are."""
    (x,), taken = _given_all((x,), lengths, time_major)
    return x, taken


def _given_all(arrays, lengths, time_major):
    arrays = [_by_time(a, time_major) for a in arrays]
    taken = _taken(lengths, *arrays[0].shape[:2])
    return _read(taken, *arrays), taken


def _input_product(x, Wx, b):
    a = x @ Wx
    return a if b is None else a + b


def _seeing(a, weights, c):
    """a, with a peephole plus its product with c (without one not 0 times a c that may be infinite)."""
    return a if weights is None else a + weights * c


def _before(states, first, taken, lengths, reverse):
    """The state (T, N, H) that each step started from, 0 where it was not taken."""
    before = np.empty_like(states)
    if reverse:
        before[:-1], before[-1] = states[1:], first
        if lengths is not None:
            begins = (np.arange(len(states))[:, None] == lengths - 1)[:, :, None]
            before = np.where(begins, first, before)
    else:
        before[1:], before[0] = states[:-1], first
    return _read(taken, before)[0]


def _rows(a):
    return a.reshape(a.shape[0] * a.shape[1], a.shape[2])


def _product_gradients(da, x, Wx, taken):
    """Through a = x @ Wx + b, all steps at once -> (dx, dWx, db)."""
    db = da.sum(axis=(0, 1), dtype=np.float64).astype(da.dtype)
    return _read(taken, da @ Wx.T)[0], _rows(x).T @ _rows(da), db


def _weight_gradient(before, da):
    return _rows(before).T @ _rows(da)


def _to_caller(steps, out, time_major):
    """A (T, N, ...) array in the caller's layout, or copied to `out`."""
    return _result(np.ascontiguousarray(_by_time(steps, time_major)), out)


def rnn_forward(x, Wx, Wh, b, h0, activation="tanh", lengths=None, reverse=False, time_major=False, hs=None):
    """h[t] = f(x[t] @ Wx + h[t-1] @ Wh + b), f tanh, relu or sigmoid; x (N, T, D) -> hs (N, T, H)."""
    x, taken = _given(x, lengths, time_major)
    a = _input_product(x, Wx, b)
    (_, N, H), out = a.shape, np.empty_like(a)
    h = _state(h0, (N, H), a.dtype)
    for t in _order(len(a), reverse):
        y = activation_forward(a[t] + h @ Wh, activation)
        h, out[t] = np.where(taken[t], y, h), np.where(taken[t], y, 0)
    return _to_caller(out, hs, time_major)


def rnn_backward(
    dhs, x, Wx, Wh, h0, hs, activation="tanh", lengths=None, reverse=False, time_major=False,
    dx=None, dWx=None, dWh=None, db=None, dh0=None,
):  # fmt: skip
    """Gradients of rnn_forward from its results hs and their gradients dhs (N, T, H) -> (dx, dWx, dWh, db, dh0)."""
    (dhs, x, hs), taken = _given_all((dhs, x, hs), lengths, time_major)
    T, N, H = hs.shape
    dh, da = np.zeros((N, H), hs.dtype), np.empty_like(hs)
    gradient = ACTIVATIONS[activation].gradient  # relu: y > 0 where x > 0
    for t in _order(T, not reverse):
        da[t] = np.where(taken[t], gradient(dhs[t] + dh, hs[t], 0.0), 0)
        dh = np.where(taken[t], da[t] @ Wh.T, dh)
    before = _before(hs, _state(h0, (N, H), hs.dtype), taken, lengths, reverse)
    if activation != "relu":
        x, before = _saturating(x), _saturating(before)
    gx, gWx, gb = _product_gradients(da, x, Wx, taken)
    gWh = _weight_gradient(before, da)
    return _to_caller(gx, dx, time_major), _result(gWx, dWx), _result(gWh, dWh), _result(gb, db), _result(dh, dh0)


def lstm_forward(
    x, Wx, Wh, b, h0, c0, peephole=None, lengths=None, reverse=False, time_major=False, hs=None, cs=None, gates=None
):
    """f, i, o = sigmoid, g = tanh of x[t] @ Wx + h @ Wh + b; c = f * c + g * i, h = o * tanh(c) -> (hs, cs, gates).

    Gate order f, g, i, o; x (N, T, D), hs and cs (N, T, H), gates (N, T, 4H), after their functions. peephole (3H,),
    order f, i, o: its products with c (f, i: the old c; o: the new one) are added before the sigmoid.
    """
    x, taken = _given(x, lengths, time_major)
    a = _input_product(x, Wx, b)
    (T, N), H = a.shape[:2], a.shape[2] // 4
    h, c = _state(h0, (N, H), a.dtype), _state(c0, (N, H), a.dtype)
    pf, pi, po = (None, None, None) if peephole is None else peephole.reshape(3, H)
    h_out, c_out, g_out = np.empty((T, N, H), a.dtype), np.empty((T, N, H), a.dtype), np.empty_like(a)
    for t in _order(len(a), reverse):
        af, ag, ai, ao = np.split(a[t] + h @ Wh, 4, axis=1)
        f, g, i = _sigmoid(_seeing(af, pf, c)), np.tanh(ag), _sigmoid(_seeing(ai, pi, c))
        c_next = f * c + g * i
        o = _sigmoid(_seeing(ao, po, c_next))
        h_next = o * np.tanh(c_next)
        h, c = np.where(taken[t], h_next, h), np.where(taken[t], c_next, c)
        h_out[t], c_out[t] = np.where(taken[t], h_next, 0), np.where(taken[t], c_next, 0)
        g_out[t] = np.where(taken[t], np.concatenate([f, g, i, o], axis=1), 0)
    outs = (h_out, hs), (c_out, cs), (g_out, gates)
    return tuple(_to_caller(steps, out, time_major) for steps, out in outs)


def lstm_backward(
    dhs, dcT, x, Wx, Wh, h0, c0, hs, cs, gates, peephole=None, lengths=None, reverse=False, time_major=False,
    dx=None, dWx=None, dWh=None, db=None, dh0=None, dc0=None, dpeephole=None,
):  # fmt: skip
    """Gradients of lstm_forward from its results and the gradients dhs (N, T, H) and dcT (N, H) or None, of the last c.

    -> (dx, dWx, dWh, db, dh0, dc0, dpeephole); the last is None without a peephole.
    """
    (dhs, x, hs, cs, gates), taken = _given_all((dhs, x, hs, cs, gates), lengths, time_major)
    T, N, H = hs.shape
    before = _before(hs, _state(h0, (N, H), hs.dtype), taken, lengths, reverse)
    c_before = _before(cs, _state(c0, (N, H), hs.dtype), taken, lengths, reverse)
    pf, pi, po = (None, None, None) if peephole is None else peephole.reshape(3, H)
    dh, dc, da = np.zeros((N, H), hs.dtype), _state(dcT, (N, H), hs.dtype), np.empty_like(gates)
    for t in _order(T, not reverse):
        f, g, i, o = np.split(gates[t], 4, axis=1)
        tanh_c, dh_t = np.tanh(cs[t]), dhs[t] + dh
        dao = dh_t * tanh_c * o * (1 - o)
        dc_t = _seeing(dc + dh_t * o * (1 - tanh_c * tanh_c), po, dao)
        daf, dag, dai = _times(dc_t * (f * (1 - f)), c_before[t]), dc_t * i * (1 - g * g), dc_t * g * i * (1 - i)
        da[t] = np.where(taken[t], np.concatenate([daf, dag, dai, dao], axis=1), 0)
        dc = np.where(taken[t], _seeing(_seeing(dc_t * f, pf, daf), pi, dai), dc)
        dh = np.where(taken[t], da[t] @ Wh.T, dh)
    gx, gWx, gb = _product_gradients(da, _saturating(x), Wx, taken)
    gWh = _weight_gradient(_saturating(before), da)
    if peephole is not None:
        daf, _, dai, dao = np.split(da, 4, axis=2)
        pairs = (daf, c_before), (dai, c_before), (dao, cs)
        sums = [np.sum(_times(d, c), axis=(0, 1), dtype=np.float64) for d, c in pairs]
        dpeephole = _result(np.concatenate(sums).astype(hs.dtype), dpeephole)
    outs = (gWx, dWx), (gWh, dWh), (gb, db), (dh, dh0), (dc.copy(), dc0)
    return _to_caller(gx, dx, time_major), *(_result(*out) for out in outs), None if peephole is None else dpeephole


def gru_forward(
    x, Wx, Wh, b, h0, linear_before_reset=False, b_h=None, lengths=None, reverse=False, time_major=False,
    hs=None, gates=None,
):  # fmt: skip
    """z, r = sigmoid(x[t] @ Wx + h @ Wh + b), h = (1 - z) * h + z * candidate -> (hs (N, T, H), gates (N, T, 3H)).

    candidate = tanh(x[t] @ Wxh + (r * h) @ Whh + bh), the books' rule; with linear_before_reset cuDNN's:
    tanh(x[t] @ Wxh + bh + r * u), u = h @ Whh + b_h, b_h (H,) or None. Gate order z, r, candidate; then gates is
    (N, T, 4H), u at the end. (The z of PyTorch and ONNX is 1 - z: change the sign of its columns.)
    """
    x, taken = _given(x, lengths, time_major)
    a = _input_product(x, Wx, b)
    (T, N), H = a.shape[:2], a.shape[2] // 3
    h = _state(h0, (N, H), a.dtype)
    h_out, g_out = np.empty((T, N, H), a.dtype), np.empty((T, N, (4 if linear_before_reset else 3) * H), a.dtype)
    for t in _order(len(a), reverse):
        zr = _sigmoid(a[t, :, : 2 * H] + h @ Wh[:, : 2 * H])
        z, r = zr[:, :H], zr[:, H:]
        if linear_before_reset:
            u = h @ Wh[:, 2 * H :]
            u = u if b_h is None else u + b_h
            candidate = np.tanh(a[t, :, 2 * H :] + r * u)
            saved = z, r, candidate, u
        else:
            candidate = np.tanh(a[t, :, 2 * H :] + (r * h) @ Wh[:, 2 * H :])
            saved = z, r, candidate
        h_next = (1 - z) * h + z * candidate
        h, h_out[t] = np.where(taken[t], h_next, h), np.where(taken[t], h_next, 0)
        g_out[t] = np.where(taken[t], np.concatenate(saved, axis=1), 0)
    return _to_caller(h_out, hs, time_major), _to_caller(g_out, gates, time_major)


def gru_backward(
    dhs, x, Wx, Wh, h0, hs, gates, linear_before_reset=False, lengths=None, reverse=False, time_major=False,
    dx=None, dWx=None, dWh=None, db=None, dh0=None, db_h=None,
):  # fmt: skip
    """Gradients of gru_forward from its results and dhs (N, T, H) -> (dx, dWx, dWh, db, dh0, db_h).

    db_h is None unless linear_before_reset.
    """
    (dhs, x, hs, gates), taken = _given_all((dhs, x, hs, gates), lengths, time_major)
    T, N, H = hs.shape
    before = _before(hs, _state(h0, (N, H), hs.dtype), taken, lengths, reverse)
    dh = np.zeros((N, H), hs.dtype)
    da, du = np.empty((T, N, 3 * H), hs.dtype), np.empty_like(hs)  # du: gradient of what Whh's product adds to
    for t in _order(T, not reverse):
        z, r, candidate = (gates[t, :, q * H : (q + 1) * H] for q in range(3))
        dh_t = dhs[t] + dh
        daz = _times(dh_t * (z * (1 - z)), candidate - before[t])
        dac = dh_t * z * (1 - candidate * candidate)
        if linear_before_reset:
            dar = _times(dac * (r * (1 - r)), gates[t, :, 3 * H :])
            du[t] = np.where(taken[t], dac * r, 0)
            direct = du[t] @ Wh[:, 2 * H :].T
        else:
            drh = dac @ Wh[:, 2 * H :].T
            dar = _times(drh * (r * (1 - r)), before[t])
            direct = drh * r
        da[t] = np.where(taken[t], np.concatenate([daz, dar, dac], axis=1), 0)
        dh_before = dh_t * (1 - z) + direct + da[t, :, : 2 * H] @ Wh[:, : 2 * H].T
        dh = np.where(taken[t], dh_before, dh)
    gx, gWx, gb = _product_gradients(da, _saturating(x), Wx, taken)
    before = _saturating(before)
    gzr = _weight_gradient(before, da[:, :, : 2 * H])
    if linear_before_reset:
        gWhh = _weight_gradient(before, du)
        db_h = _result(du.sum(axis=(0, 1), dtype=np.float64).astype(hs.dtype), db_h)
    else:
        gWhh = _weight_gradient(gates[:, :, H : 2 * H] * before, da[:, :, 2 * H :])
    outs = (gWx, dWx), (np.concatenate([gzr, gWhh], axis=1), dWh), (gb, db), (dh, dh0)
    return _to_caller(gx, dx, time_major), *(_result(*out) for out in outs), db_h if linear_before_reset else None
