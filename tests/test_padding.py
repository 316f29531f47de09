"""What is masked is never read: padded steps of sequences, masked keys and queries; and zeros beside infinities."""

import warnings

import numpy as np
import pytest
from every_backend import backend as backend
from every_backend import on_every_backend

import fastnn
from fastnn import ops, time_layers

pytestmark = on_every_backend

BAD = np.nan, np.inf, -np.inf
GATES = {"rnn": 1, "lstm": 4, "gru": 3, "gru_linear": 3}
N, T, D, H = 5, 6, 3, 7
LENGTHS = np.array([6, 0, 2, 1, 5])
PADDING = np.arange(T) >= LENGTHS[:, np.newaxis]


@pytest.fixture
def rng():
    return np.random.default_rng(41)


@pytest.fixture(params=["float32", "float64"])
def dtype(request):
    return request.param


def sequence(rng, cell, dtype, D=D):
    """(x, Wx, Wh, b), (h0 and for an LSTM c0), options of forward and of backward."""
    normal = lambda *shape: rng.standard_normal(shape).astype(dtype)  # noqa: E731
    G = GATES[cell]
    arrays = normal(N, T, D), normal(D, G * H), normal(H, G * H), normal(G * H)
    states = (normal(N, H), normal(N, H)) if cell == "lstm" else (normal(N, H),)
    if cell == "lstm":
        return arrays, states, {"peephole": normal(3 * H)}, {}
    linear = {"linear_before_reset": cell == "gru_linear"} if cell != "rnn" else {}
    return arrays, states, linear | ({"b_h": normal(H)} if cell == "gru_linear" else {}), linear


def run(cell, arrays, states, dhs, options, back_options, spoil=None):
    """All that forward and backward give, as a dict. spoil(steps) may change what forward gave."""
    x, Wx, Wh, b = arrays
    name = cell.split("_")[0]
    lengths = {name: options[name] for name in ("lengths", "reverse", "time_major") if name in options}
    saved = getattr(ops, f"{name}_forward")(x, Wx, Wh, b, *states, **options)
    saved = [saved] if isinstance(saved, np.ndarray) else list(saved)
    results = {f"out{i}": a.copy() for i, a in enumerate(saved)}
    if spoil is not None:
        saved = [spoil(a) for a in saved]
    if name == "lstm":
        dcT = np.ones_like(states[0])
        peephole = {"peephole": options["peephole"]} if "peephole" in options else {}
        grads = ops.lstm_backward(dhs, dcT, x, Wx, Wh, *states, *saved, **peephole, **lengths)
    else:
        grads = getattr(ops, f"{name}_backward")(dhs, x, Wx, Wh, *states, *saved, **back_options, **lengths)
    return results | {f"grad{i}": g for i, g in enumerate(grads) if g is not None}


@pytest.mark.parametrize("width", [D, 40])  # few columns of x are multiplied by the steps themselves
@pytest.mark.parametrize("options", [{}, {"reverse": True}, {"time_major": True, "reverse": True}], ids=str)
@pytest.mark.parametrize("cell", GATES)
def test_padding_of_sequences_is_never_read(rng, cell, dtype, options, width):
    arrays, states, more, back = sequence(rng, cell, dtype, width)
    dhs = rng.standard_normal((N, T, H)).astype(dtype)
    major = options.get("time_major", False)
    as_given = lambda a: np.ascontiguousarray(a.swapaxes(0, 1)) if major else a  # noqa: E731
    more = more | options | {"lengths": LENGTHS}

    def results(bad):
        def spoil(a):
            a = a.copy()
            (a.swapaxes(0, 1) if major else a)[PADDING] = bad
            return a

        h0, *c0 = (s.copy() for s in states)
        h0[LENGTHS == 0] = np.nan if bad else 0
        given = as_given(arrays[0])
        return run(cell, (spoil(given), *arrays[1:]), (h0, *c0), spoil(as_given(dhs)), more, back, spoil)

    expected = results(0)
    assert not as_given(expected["out0"])[PADDING].any() and not as_given(expected["grad0"])[PADDING].any()
    for bad in BAD:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            got = results(bad)
        for name, a in expected.items():
            np.testing.assert_array_equal(got[name], a, err_msg=f"{name} with {bad} in the padding")


@pytest.mark.parametrize("kind", ["int8", "uint8", "uint16", "int32", "uint64", ">i8"])
@pytest.mark.parametrize("layer", ["TimeRNN", "TimeLSTM", "TimeGRU"])
def test_lengths_of_every_integer_dtype(rng, layer, kind):
    G = {"TimeRNN": 1, "TimeLSTM": 4, "TimeGRU": 3}[layer]
    weights = rng.standard_normal((D, G * H)), rng.standard_normal((H, G * H)), rng.standard_normal(G * H)
    first, second = (getattr(time_layers, layer)(*weights, stateful=True) for _ in range(2))
    x, state = rng.standard_normal((N, T, D)), rng.standard_normal((N, H))
    for each, lengths in (first, LENGTHS), (second, LENGTHS.astype(kind)):
        each.set_state(state.copy())
        each.forward(x, lengths)
    np.testing.assert_array_equal(first.h, second.h)
    np.testing.assert_array_equal(first.h[1], state[1])
    for wrong in np.array([2**64 - 1] * N, np.uint64), np.full(N, T + 1, kind), np.full(N, 2**62):
        with pytest.raises(ValueError, match=rf"lengths\[0\] is \d+; lengths must lie in \[0, {T}\]"):
            second.forward(x, wrong)


# ---- infinities ------------------------------------------------------------------------------------------------------


def test_infinite_cell_of_an_lstm(rng, dtype):
    """tanh(inf) is 1: h is the output gate, and c stays infinite."""
    (x, Wx, Wh, b), (h0, c0), _, _ = sequence(rng, "lstm", dtype)
    c0[:, 1], c0[:, 2] = np.inf, -np.inf
    hs, cs, gates = ops.lstm_forward(x, Wx, Wh, b, h0, c0)
    assert np.isfinite(hs).all() and np.isfinite(gates).all()
    np.testing.assert_array_equal(cs[:, :, 1:3], np.broadcast_to([np.inf, -np.inf], (N, T, 2)))
    np.testing.assert_array_equal(hs[:, :, 1], gates[:, :, 3 * H + 1])
    np.testing.assert_array_equal(hs[:, :, 2], -gates[:, :, 3 * H + 2])
    grads = ops.lstm_backward(np.ones_like(hs), None, x, Wx, Wh, h0, c0, hs, cs, gates)[:-1]
    assert all(np.isfinite(g).all() for g in grads)
    assert not grads[5][:, 1:3].any()  # dc0
    no_gradient = ops.lstm_backward(np.zeros_like(hs), None, x, Wx, Wh, h0, c0, hs, cs, gates)[:-1]
    assert not any(g.any() for g in no_gradient)


def test_infinite_cell_seen_by_a_peephole(rng, dtype):
    (x, Wx, Wh, b), (h0, c0), options, _ = sequence(rng, "lstm", dtype)
    c0[:] = np.inf
    peephole = np.abs(options["peephole"])
    hs, cs, gates = ops.lstm_forward(x, Wx, Wh, b, h0, c0, peephole)
    assert (gates[:, :, :H] == 1).all() and (gates[:, :, 3 * H :] == 1).all() and (hs == 1).all()
    grads = ops.lstm_backward(np.ones_like(hs), None, x, Wx, Wh, h0, c0, hs, cs, gates, peephole)
    assert all(np.isfinite(g).all() for g in grads)
    assert not grads[-1].any()


@pytest.mark.parametrize("what", ["x", "h0"])
@pytest.mark.parametrize("cell", GATES)
def test_an_infinity_that_saturates_gates_gives_no_gradient(rng, cell, dtype, what):
    (x, Wx, Wh, b), states, options, back = sequence(rng, cell, dtype)
    Wx, Wh = np.abs(Wx), np.abs(Wh)
    if cell.startswith("gru") and what == "h0":
        Wh[:, :H] *= -1  # z is 0: the state is kept
    elif cell.startswith("gru"):
        Wx[0, :H] *= -1
    (x[:, 0] if what == "x" else states[0])[:, 0] = np.inf
    with np.errstate(invalid="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        results = run(cell, (x, Wx, Wh, b), states, np.ones((N, T, H), dtype), options, back)
    assert not any(np.isnan(a).any() for a in results.values()), [k for k, a in results.items() if np.isnan(a).any()]
    assert np.isfinite(results["grad1"]).all() and np.isfinite(results["grad2"]).all()


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("cell", GATES)
def test_infinite_weights_do_not_reach_the_padding(rng, cell, dtype, reverse):
    """Gradients of padded steps are 0, not 0 times the weights, and so is what they hand on."""
    (x, Wx, Wh, b), states, options, back = sequence(rng, cell, dtype)
    x, states = np.abs(x), [np.abs(s) for s in states]
    Wx[0, 0] = Wh[0, 0] = np.inf  # the first gate is 1
    options = options | {"lengths": np.full(N, 1), "reverse": reverse}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        results = run(cell, (x, Wx, Wh, b), states, np.ones((N, T, H), dtype), options, back)
    assert np.isfinite(results["out0"]).all() and not results["grad0"][:, 1:].any()
    assert all(np.isfinite(results[f"grad{i}"]).all() for i in (1, 2, 3))


# ---- attention -------------------------------------------------------------------------------------------------------


def attention(rng, dtype, S, queries, heads=2, width=4):
    return [rng.standard_normal((2, n, heads, width)).astype(dtype) for n in (queries, S, S, queries)]


@pytest.mark.parametrize("S, queries", [(7, 5), (130, 90), (600, 70)])
@pytest.mark.parametrize("causal, offset", [(False, 0), (True, 0), (True, 3), (True, -2)])
@pytest.mark.parametrize("masked", [True, False])
def test_masked_keys_and_queries_are_never_read(rng, dtype, S, queries, causal, offset, masked):
    q, k, v, dout = attention(rng, dtype, S, queries)
    mask = np.ones((2, S), np.bool_)
    if masked:
        mask[0, 2:4] = mask[0, S // 2 :] = mask[1, :3] = False
    allowed = np.repeat(mask[:, np.newaxis], queries, axis=1)
    if causal:
        allowed &= np.tril(np.ones((queries, S), np.bool_), offset)
    unseen, blind = ~allowed.any(axis=1), ~allowed.any(axis=2)  # keys, queries

    def results(bad):
        given = [a.copy() for a in (q, k, v, dout)]
        for a, rows in zip(given, (blind, unseen, unseen, blind), strict=True):
            a[rows] = bad
        *qkv, d = given
        options = mask if masked else None, causal, offset
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            out = ops.scaled_dot_product_attention_forward(*qkv, *options)
            return out, *ops.scaled_dot_product_attention_backward(d, *qkv, *options)

    expected = results(0)
    assert not expected[0][blind].any() and not expected[1][blind].any()
    assert not expected[2][unseen].any() and not expected[3][unseen].any()
    for bad in BAD:
        for got, right in zip(results(bad), expected, strict=True):
            np.testing.assert_array_equal(got, right)


@pytest.mark.parametrize("S", [5, 150])
@pytest.mark.parametrize("what", range(4))
@pytest.mark.parametrize("bad", BAD)
def test_nothing_comes_from_a_later_step(rng, dtype, S, what, bad):
    """One bad row: only what looks at it, or is looked at by it, changes."""
    clean, at = attention(rng, dtype, S, S, heads=1, width=3), S - 2
    given = [a.copy() for a in clean]
    given[what][:, at, :, 1] = bad
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        one, other = (
            [ops.scaled_dot_product_attention_forward(q, k, v, None, True),
             *ops.scaled_dot_product_attention_backward(dout, q, k, v, None, True)]
            for q, k, v, dout in (clean, given)
        )  # fmt: skip
    before, after = slice(0, at), slice(at + 1, None)
    touches_queries_from_here = what in (1, 2)  # a key
    for i, (right, got) in enumerate(zip(one, other, strict=True)):
        if i < 2:  # rows of queries
            same = [before] if touches_queries_from_here else [before, after]
        else:  # rows of keys: those that a spoilt query looks at
            same = [] if touches_queries_from_here else [after]
        for rows in same:
            np.testing.assert_array_equal(got[:, rows], right[:, rows], err_msg=f"{i}, {rows}")
    assert what == 3 or not np.isfinite(other[0][:, at]).all()


def test_multi_head_attention_does_not_read_masked_steps(rng):
    params = [rng.standard_normal(s) for _ in range(4) for s in ((4, 4), (4,))]
    layer = time_layers.MultiHeadAttention(*params, heads=2, causal=True)
    x, context, dout = rng.standard_normal((2, 3, 4)), rng.standard_normal((2, 6, 4)), rng.standard_normal((2, 3, 4))
    mask = np.ones((2, 6), np.bool_)
    mask[0, 1] = mask[1, 4:] = False
    results = []
    for bad in 0.0, *BAD:
        context[~mask] = bad
        out = layer.forward(x, context, mask, offset=3)
        results.append([out, *layer.backward(dout), *(g.copy() for g in layer.grads)])
    for got in results[1:]:
        for a, right in zip(got, results[0], strict=True):
            np.testing.assert_array_equal(a, right)
    assert not results[0][2][~mask].any()


def test_causal_attention_is_that_of_pytorch_and_onnx(rng, dtype):
    """Query i looks at keys j <= i + offset, whatever the lengths."""
    for queries, keys, offset in ((2, 4, 0), (4, 2, 0), (2, 4, 2), (3, 5, -1), (3, 3, 100)):
        q, k, v, _ = attention(rng, "float64", keys, queries, heads=1)
        out = ops.scaled_dot_product_attention_forward(*(a.astype(dtype) for a in (q, k, v)), None, True, offset)
        for i in range(queries):
            n = min(i + offset + 1, keys)
            if n <= 0:
                assert not out[:, i].any()
                continue
            score = np.einsum("nd,nsd->ns", q[:, i, 0], k[:, :n, 0]) / 2
            p = np.exp(score - score.max(axis=1, keepdims=True))
            right = np.einsum("ns,nsd->nd", p / p.sum(axis=1, keepdims=True), v[:, :n, 0])
            np.testing.assert_allclose(out[:, i, 0], right, 0, 50 * np.finfo(dtype).eps)


# ---- sizes of 0 ------------------------------------------------------------------------------------------------------


def poisoned(shapes, dtype):
    return [np.full(shape, np.nan, dtype) for shape in shapes]


@pytest.mark.parametrize("zero", range(4))
@pytest.mark.parametrize("cell", GATES)
def test_recurrent_layers_without_something(cell, zero, dtype):
    sizes = [3, 4, 5, 6]
    sizes[zero] = 0
    n, t, d, h = sizes
    G, name = GATES[cell], cell.split("_")[0]
    x, Wx, Wh, b = (
        np.ones((n, t, d), dtype),
        np.ones((d, G * h), dtype),
        np.ones((h, G * h), dtype),
        np.ones(G * h, dtype),
    )
    states = [np.ones((n, h), dtype)] * (1 + (name == "lstm"))
    forward, backward = getattr(ops, f"{name}_forward"), getattr(ops, f"{name}_backward")
    if t == 0:
        with pytest.raises(ValueError, match=rf"{name}_forward: x is \(3, 0, 5\): there is no time step"):
            forward(x, Wx, Wh, b, *states)
        return
    linear = cell == "gru_linear"
    options = {"rnn": {}, "lstm": {"peephole": np.ones(3 * h, dtype)}, "gru": {"linear_before_reset": linear}}[name]
    widths = {"rnn": [h], "lstm": [h, h, 4 * h], "gru": [h, (4 if linear else 3) * h]}[name]
    outs = dict(zip({"rnn": ["hs"], "lstm": ["hs", "cs", "gates"], "gru": ["hs", "gates"]}[name],
                    poisoned([(n, t, w) for w in widths], dtype), strict=True))  # fmt: skip
    more = {"b_h": np.ones(h, dtype)} if linear else {}
    forward(x, Wx, Wh, b, *states, **options, **more, **outs)
    assert not any(np.isnan(a).any() for a in outs.values())
    shapes = [x.shape, Wx.shape, Wh.shape, b.shape, (n, h)]
    shapes += {"rnn": [], "lstm": [(n, h), (3 * h,)], "gru": [(h,)] * linear}[name]
    names = [
        "dx",
        "dWx",
        "dWh",
        "db",
        "dh0",
        *{"rnn": [], "lstm": ["dc0", "dpeephole"], "gru": ["db_h"] * linear}[name],
    ]
    grads = dict(zip(names, poisoned(shapes, dtype), strict=True))
    first = (np.ones((n, t, h), dtype), *([None] if name == "lstm" else []))
    backward(*first, x, Wx, Wh, *states, *outs.values(), **options, **grads)
    for key, a in grads.items():
        assert not np.isnan(a).any(), key
        assert n or not a.any(), key


@pytest.mark.parametrize("zero", range(6))
@pytest.mark.parametrize("options", [{}, {"mask": True}, {"causal": True}, {"mask": True, "causal": True}], ids=str)
def test_attention_without_something(zero, options, dtype):
    sizes = [2, 3, 4, 2, 5, 6]
    sizes[zero] = 0
    n, t, s, heads, d, m = sizes
    q, k, v = np.ones((n, t, heads, d), dtype), np.ones((n, s, heads, d), dtype), np.ones((n, s, heads, m), dtype)
    given = [np.ones((n, s), np.bool_) if options.get("mask") else None, options.get("causal", False), 0]
    (out,) = poisoned([(n, t, heads, m)], dtype)
    ops.scaled_dot_product_attention_forward(q, k, v, *given, out)
    assert not np.isnan(out).any()
    assert (out == (1 if s else 0)).all()
    grads = poisoned([q.shape, k.shape, v.shape], dtype)
    ops.scaled_dot_product_attention_backward(np.ones_like(out), q, k, v, *given, *grads)
    assert not any(np.isnan(g).any() for g in grads) and not grads[0].any()


def test_tables_without_something(dtype):
    for V, width, count in ((0, 3, 0), (4, 0, 5), (4, 3, 0)):
        W, index = np.ones((V, width), dtype), np.zeros(count, np.int64)
        (out,), (dW,) = poisoned([(count, width)], dtype), poisoned([(V, width)], dtype)
        ops.embedding_forward(W, index, out)
        ops.embedding_backward(np.ones_like(out), index, V, dW)
        assert not np.isnan(out).any() and not np.isnan(dW).any() and (count or not dW.any())
        rows, values = ops.embedding_backward_rows(np.ones_like(out), index, V)
        assert len(rows) == len(values) == min(count, 1)
    with pytest.raises(IndexError, match=r"index\[0\] is 0 but W has V = 0 rows"):
        ops.embedding_forward(np.ones((0, 3), dtype), [0])


# ---- indices ---------------------------------------------------------------------------------------------------------

OUTSIDE = [
    np.array([0, -1]), np.array([0, 4]), np.array([0, 2**64 - 1], np.uint64), np.array([0, 2**63], np.uint64),
    np.array([0, -(2**63)]), np.array([0, -128], np.int8), np.array([0, 255], np.uint8), [0, -4],
]  # fmt: skip


@pytest.mark.parametrize("index", OUTSIDE, ids=str)
def test_indices_outside_of_a_table(index, dtype):
    W, dout, dW = np.ones((4, 3), dtype), np.ones((2, 3), dtype), np.full((4, 3), 7, dtype)
    out = np.full((2, 3), 7, dtype)
    text = rf"index\[1\] is {np.asarray(index)[1]} but W has V = 4 rows; it must lie in \[0, 4\)"
    for call in (
        lambda: ops.embedding_forward(W, index, out), lambda: ops.embedding_backward(dout, index, 4, dW),
        lambda: ops.embedding_backward_rows(dout, index, 4), lambda: fastnn.layers.Embedding(W).forward(index),
        lambda: fastnn.Network([fastnn.layers.Embedding(W)]).predict(np.asarray(index)),
    ):  # fmt: skip
        with pytest.raises(IndexError) as caught:
            call()
        assert "Network" in str(caught.value) or "Plan" in str(caught.value) or caught.match(text)
    assert (dW == 7).all() and (out == 7).all()


def test_sizes_of_tables(dtype):
    dout, index = np.ones((2, 3), dtype), np.array([0, 1])
    for V in 2**31, 2**62, 2**64, -1:
        for call in ops.embedding_backward, ops.embedding_backward_rows:
            with pytest.raises(ValueError, match=rf"embedding_backward\w*: V is {V}; .*lie in"):
                call(dout, index, V)
    with pytest.raises(TypeError, match=r"V is 2\.0; it must be a whole number"):
        ops.embedding_backward(dout, index, 2.0)
    with pytest.raises(ValueError, match="it may have at most 15 dimensions"):
        ops.embedding_forward(np.ones((4, 3), dtype), np.zeros((1,) * 16, int))


def test_the_books_tables_count_from_the_end(rng):
    from fastnn.compat import book2

    W, index, dout = rng.standard_normal((5, 3)), np.array([[1, -1], [-5, 4]]), rng.standard_normal((2, 2, 3))
    dW = np.zeros_like(W)
    np.add.at(dW, index, dout)
    for layer in book2.Embedding(W), book2.TimeEmbedding(W):
        np.testing.assert_allclose(layer.forward(index), W[index], 1e-6)
        layer.backward(dout)
        np.testing.assert_allclose(layer.grads[0], dW, 1e-12)
        for wrong in -6, 5:
            with pytest.raises(IndexError, match=f"is {wrong} but W has V = 5"):
                layer.forward(np.array([[1, wrong]]))
        with pytest.raises(IndexError, match="is 18446744073709551615 but"):
            layer.forward(np.array([[2**64 - 1]], np.uint64))


def test_heads_of_attention(rng):
    params = [rng.standard_normal(s) for _ in range(4) for s in ((4, 4), (4,))]
    for heads, error in ((0, ValueError), (-1, ValueError), (3, ValueError), (2**70, ValueError), (2.0, TypeError)):
        with pytest.raises(error, match=r"MultiHeadAttention: .*heads is"):
            time_layers.MultiHeadAttention(*params, heads=heads)
    assert time_layers.MultiHeadAttention(*params, heads=np.uint8(2)).heads == 2
