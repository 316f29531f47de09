"""Recurrent layers over whole sequences: simple RNN, LSTM, GRU.

x is (N, T, D), with time_major (T, N, D), and every other array of steps alike. Wx (D, G*H) and Wh (H, G*H), b (G*H,)
or None, hold the G gates side by side in the books' order: LSTM f, g, i, o; GRU z, r, candidate. The states h0 and c0
(N, H) may be None: zeros. A single step is T = 1.

lengths: integers (N,) in [0, T] or None: sequence n has the steps t < lengths[n]. The others are padding, which is never
read in any array of steps (x, dhs, and what forward returned): NaN and infinity there reach nothing. Results and
gradients are 0 there, and the state is kept. reverse: from the last step to the first. The final state is the result at
the last step taken (h0, c0 where there is none).

An infinite input or state saturates the gates that read it; their gradients are 0 (PyTorch's are NaN, 0 times
infinity), but for rnn with relu.
"""

import numpy as np

from .. import backends
from ._check import Call

_RNN_ACTIVATIONS = "tanh", "relu", "sigmoid"


def rnn_forward(x, Wx, Wh, b, h0, activation="tanh", lengths=None, reverse=False, time_major=False, hs=None):
    """h[t] = f(x[t] @ Wx + h[t-1] @ Wh + b), f tanh, relu or sigmoid: x (N, T, D), weights (D, H), (H, H) -> hs.

    hs (N, T, H). Raises ValueError if shapes do not fit, for T = 0, a length outside [0, T] or another
    activation; TypeError for a dtype that is not real, lengths that are not integers. Book 2 ch. 5.
    """
    args = x, Wx, Wh, b, h0, activation, lengths, reverse, time_major, hs
    result = backends.active.rnn_forward(*args)
    return _rnn_forward(*args) if result is None else result


def _rnn_forward(x, Wx, Wh, b, h0, activation, lengths, reverse, time_major, hs):
    call = Call("rnn_forward")
    x, Wx, Wh, b, h0 = call.floats(("b", "h0"), x=x, Wx=Wx, Wh=Wh, b=b, h0=h0)
    N, T, H = _check_sequence(call, 1, time_major, x, Wx, Wh, b=b, h0=h0)
    _check_activation(call, activation)
    lengths = _lengths(call, lengths, N, T)
    call.check_out("hs", hs, (*x.shape[:2], H))
    result = backends.checked.rnn_forward(x, Wx, Wh, b, h0, activation, lengths, bool(reverse), bool(time_major))
    return call.deliver(result, hs)


def rnn_backward(
    dhs, x, Wx, Wh, h0, hs, activation="tanh", lengths=None, reverse=False, time_major=False,
    dx=None, dWx=None, dWh=None, db=None, dh0=None,
):  # fmt: skip
    """Gradients of rnn_forward, back through time: dhs and hs (N, T, H) -> (dx, dWx, dWh, db, dh0).

    hs is what rnn_forward returned for the same arguments. Raises as rnn_forward.
    """
    args = dhs, x, Wx, Wh, h0, hs, activation, lengths, reverse, time_major, dx, dWx, dWh, db, dh0
    result = backends.active.rnn_backward(*args)
    return _rnn_backward(*args) if result is None else result


def _rnn_backward(dhs, x, Wx, Wh, h0, hs, activation, lengths, reverse, time_major, *outs):
    call = Call("rnn_backward")
    dhs, x, Wx, Wh, h0, hs = call.floats(("h0",), dhs=dhs, x=x, Wx=Wx, Wh=Wh, h0=h0, hs=hs)
    N, T, H = _check_sequence(call, 1, time_major, x, Wx, Wh, h0=h0)
    _check_steps(call, x, Wh, dhs=(dhs, H), hs=(hs, H))
    _check_activation(call, activation)
    lengths = _lengths(call, lengths, N, T)
    _check_gradients(call, x, Wx, Wh, (N, H), outs)
    options = activation, lengths, bool(reverse), bool(time_major)
    return call.deliver(backends.checked.rnn_backward(dhs, x, Wx, Wh, h0, hs, *options), *outs)


def lstm_forward(
    x, Wx, Wh, b, h0, c0, peephole=None, lengths=None, reverse=False, time_major=False, hs=None, cs=None, gates=None
):
    """f, i, o = sigmoid, g = tanh of x[t] @ Wx + h @ Wh + b; c = f * c + g * i, h = o * tanh(c) -> (hs, cs, gates).

    x (N, T, D), Wx (D, 4H), Wh (H, 4H) -> hs and cs (N, T, H), gates (N, T, 4H): f, g, i, o after their functions.
    peephole (3H,) or None, for f, i, o: products with c (f and i the old one, o the new one) that are added before the
    sigmoid. Raises as rnn_forward. Book 2 ch. 6; Gers and Schmidhuber 2000; ONNX LSTM.
    """
    args = x, Wx, Wh, b, h0, c0, peephole, lengths, reverse, time_major, hs, cs, gates
    result = backends.active.lstm_forward(*args)
    return _lstm_forward(*args) if result is None else result


def _lstm_forward(x, Wx, Wh, b, h0, c0, peephole, lengths, reverse, time_major, hs, cs, gates):
    call = Call("lstm_forward")
    x, Wx, Wh, b, h0, c0, peephole = call.floats(
        ("b", "h0", "c0", "peephole"), x=x, Wx=Wx, Wh=Wh, b=b, h0=h0, c0=c0, peephole=peephole
    )
    N, T, H = _check_sequence(call, 4, time_major, x, Wx, Wh, b=b, h0=h0, c0=c0, peephole=peephole)
    lengths = _lengths(call, lengths, N, T)
    call.check_out("hs", hs, (*x.shape[:2], H))
    call.check_out("cs", cs, (*x.shape[:2], H))
    call.check_out("gates", gates, (*x.shape[:2], 4 * H))
    options = peephole, lengths, bool(reverse), bool(time_major)
    return call.deliver(backends.checked.lstm_forward(x, Wx, Wh, b, h0, c0, *options), hs, cs, gates)


def lstm_backward(
    dhs, dcT, x, Wx, Wh, h0, c0, hs, cs, gates, peephole=None, lengths=None, reverse=False, time_major=False,
    dx=None, dWx=None, dWh=None, db=None, dh0=None, dc0=None, dpeephole=None,
):  # fmt: skip
    """Gradients of lstm_forward, back through time -> (dx, dWx, dWh, db, dh0, dc0, dpeephole).

    hs, cs and gates are what lstm_forward returned for the same arguments, dhs (N, T, H) the gradient of hs, dcT (N, H)
    or None that of the final c. dpeephole is None without a peephole. Raises as rnn_forward.
    """
    args = dhs, dcT, x, Wx, Wh, h0, c0, hs, cs, gates, peephole, lengths, reverse, time_major
    outs = dx, dWx, dWh, db, dh0, dc0, dpeephole
    result = backends.active.lstm_backward(*args, *outs)
    return _lstm_backward(*args, *outs) if result is None else result


def _lstm_backward(
    dhs, dcT, x, Wx, Wh, h0, c0, hs, cs, gates, peephole, lengths, reverse, time_major, *outs
):  # fmt: skip
    call = Call("lstm_backward")
    dhs, dcT, x, Wx, Wh, h0, c0, hs, cs, gates, peephole = call.floats(
        ("dcT", "h0", "c0", "peephole"),
        dhs=dhs, dcT=dcT, x=x, Wx=Wx, Wh=Wh, h0=h0, c0=c0, hs=hs, cs=cs, gates=gates, peephole=peephole,
    )  # fmt: skip
    N, T, H = _check_sequence(call, 4, time_major, x, Wx, Wh, dcT=dcT, h0=h0, c0=c0, peephole=peephole)
    _check_steps(call, x, Wh, dhs=(dhs, H), hs=(hs, H), cs=(cs, H), gates=(gates, 4 * H))
    lengths = _lengths(call, lengths, N, T)
    *common, dc0, dpeephole = outs
    _check_gradients(call, x, Wx, Wh, (N, H), common)
    call.check_out("dc0", dc0, (N, H))
    call.require(peephole is not None or dpeephole is None, "dpeephole is given but peephole is None")
    call.check_out("dpeephole", dpeephole, (3 * H,))
    options = peephole, lengths, bool(reverse), bool(time_major)
    result = backends.checked.lstm_backward(dhs, dcT, x, Wx, Wh, h0, c0, hs, cs, gates, *options)
    return call.deliver(result, *outs)


def gru_forward(
    x, Wx, Wh, b, h0, linear_before_reset=False, b_h=None, lengths=None, reverse=False, time_major=False,
    hs=None, gates=None,
):  # fmt: skip
    """z, r = sigmoid(x[t] @ Wx + h @ Wh + b), h = (1 - z) * h + z * candidate -> (hs (N, T, H), gates).

    x (N, T, D), Wx (D, 3H), Wh (H, 3H). candidate = tanh(x[t] @ Wxh + (r * h) @ Whh + bh), the books' rule; with
    linear_before_reset cuDNN's, tanh(x[t] @ Wxh + bh + r * u), u = h @ Whh + b_h, b_h (H,) or None. gates (N, T, 3H):
    z, r, candidate; (N, T, 4H) with linear_before_reset: also u. PyTorch's and ONNX's z is 1 - z: their weights fit
    after a change of sign in the columns of z. Raises as rnn_forward. Book 2, appendix C; Cho et al. 2014.
    """
    args = x, Wx, Wh, b, h0, linear_before_reset, b_h, lengths, reverse, time_major, hs, gates
    result = backends.active.gru_forward(*args)
    return _gru_forward(*args) if result is None else result


def _gru_forward(x, Wx, Wh, b, h0, linear_before_reset, b_h, lengths, reverse, time_major, hs, gates):
    call = Call("gru_forward")
    x, Wx, Wh, b, h0, b_h = call.floats(("b", "h0", "b_h"), x=x, Wx=Wx, Wh=Wh, b=b, h0=h0, b_h=b_h)
    N, T, H = _check_sequence(call, 3, time_major, x, Wx, Wh, b=b, h0=h0, b_h=b_h)
    call.require(linear_before_reset or b_h is None, "b_h is given; it belongs to linear_before_reset=True")
    lengths = _lengths(call, lengths, N, T)
    call.check_out("hs", hs, (*x.shape[:2], H))
    call.check_out("gates", gates, (*x.shape[:2], (4 if linear_before_reset else 3) * H))
    options = bool(linear_before_reset), b_h, lengths, bool(reverse), bool(time_major)
    return call.deliver(backends.checked.gru_forward(x, Wx, Wh, b, h0, *options), hs, gates)


def gru_backward(
    dhs, x, Wx, Wh, h0, hs, gates, linear_before_reset=False, lengths=None, reverse=False, time_major=False,
    dx=None, dWx=None, dWh=None, db=None, dh0=None, db_h=None,
):  # fmt: skip
    """Gradients of gru_forward, back through time: dhs (N, T, H) -> (dx, dWx, dWh, db, dh0, db_h).

    hs and gates are what gru_forward returned for the same arguments. db_h is None unless linear_before_reset. Raises
    as rnn_forward.
    """
    args = dhs, x, Wx, Wh, h0, hs, gates, linear_before_reset, lengths, reverse, time_major
    outs = dx, dWx, dWh, db, dh0, db_h
    result = backends.active.gru_backward(*args, *outs)
    return _gru_backward(*args, *outs) if result is None else result


def _gru_backward(dhs, x, Wx, Wh, h0, hs, gates, linear_before_reset, lengths, reverse, time_major, *outs):
    call = Call("gru_backward")
    dhs, x, Wx, Wh, h0, hs, gates = call.floats(("h0",), dhs=dhs, x=x, Wx=Wx, Wh=Wh, h0=h0, hs=hs, gates=gates)
    N, T, H = _check_sequence(call, 3, time_major, x, Wx, Wh, h0=h0)
    _check_steps(call, x, Wh, dhs=(dhs, H), hs=(hs, H), gates=(gates, (4 if linear_before_reset else 3) * H))
    lengths = _lengths(call, lengths, N, T)
    *common, db_h = outs
    _check_gradients(call, x, Wx, Wh, (N, H), common)
    call.require(linear_before_reset or db_h is None, "db_h is given; it belongs to linear_before_reset=True")
    call.check_out("db_h", db_h, (H,))
    options = bool(linear_before_reset), lengths, bool(reverse), bool(time_major)
    return call.deliver(backends.checked.gru_backward(dhs, x, Wx, Wh, h0, hs, gates, *options), *outs)


def _check_sequence(call, gates, time_major, x, Wx, Wh, **more):
    """Shapes of x and the weights, and of those in `more` that are not None -> N, T, H."""
    call.ndim(3, x=x)
    call.ndim(2, Wx=Wx, Wh=Wh)
    T, N = x.shape[:2] if time_major else x.shape[1::-1]
    call.require(T > 0, f"x is {x.shape}: there is no time step")
    D, H = x.shape[2], len(Wh)
    call.require(
        Wh.shape[1] == gates * H, f"Wh is {Wh.shape}; it must be (H, {gates} * H)" if gates > 1 else
        f"Wh is {Wh.shape}; it must be (H, H)",
    )  # fmt: skip
    call.require(len(Wx) == D, f"x is {x.shape} but Wx is {Wx.shape}; x.shape[2] must equal Wx.shape[0]")
    call.require(Wx.shape[1] == gates * H, f"Wx is {Wx.shape} but Wh is {Wh.shape}; Wx.shape[1] must equal Wh.shape[1]")
    sizes = {"b": (gates * H,), "b_h": (H,), "peephole": (3 * H,)}
    for name, a in more.items():
        if a is None:
            continue
        if name in sizes:
            call.require(a.shape == sizes[name], f"{name} is {a.shape} but Wh is {Wh.shape}; it must be {sizes[name]}")
        else:
            call.require(
                a.shape == (N, H), f"{name} is {a.shape} but x is {x.shape} and Wh is {Wh.shape}; it must be {(N, H)}"
            )
    return N, T, H


def _check_steps(call, x, Wh, **arrays):
    for name, (a, width) in arrays.items():
        needed = *x.shape[:2], width
        call.require(
            a.shape == needed, f"{name} is {a.shape} but x is {x.shape} and Wh is {Wh.shape}; it must be {needed}"
        )


def _check_activation(call, activation):
    call.require(
        isinstance(activation, str) and activation in _RNN_ACTIVATIONS,
        f"activation {activation!r} is not one of {', '.join(_RNN_ACTIVATIONS)}",
    )


def _check_gradients(call, x, Wx, Wh, state, outs):
    shapes = x.shape, Wx.shape, Wh.shape, Wh.shape[1:], state
    for name, out, shape in zip(("dx", "dWx", "dWh", "db", "dh0"), outs, shapes, strict=True):
        call.check_out(name, out, shape)


def _lengths(call, lengths, N, T):
    """As int64 (N,), checked."""
    if lengths is None:
        return None
    given = call.array("lengths", lengths)
    if given.dtype.kind not in "iu" and given.size:
        raise call.error(TypeError, f"lengths has dtype {given.dtype}; it must hold integers")
    call.require(given.shape == (N,), f"lengths is {given.shape} but there are {N} sequences; it must be ({N},)")
    bad = (given < 0) | (given > T)
    if bad.any():
        n = int(bad.argmax())
        raise call.error(ValueError, f"lengths[{n}] is {given[n]}; lengths must lie in [0, {T}]")
    return np.require(given, np.int64, ["C_CONTIGUOUS", "ALIGNED"])
