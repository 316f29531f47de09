"""Scaled dot-product attention and the layers of generative models: formulas, gradients by central differences."""

import numpy as np
import pytest
from every_backend import backend as backend
from every_backend import on_every_backend
from test_time_layers import check, sigmoid

from fastnn import ops
from fastnn.backends.numpy_backend import attention
from fastnn.layers import BernoulliKL, GaussianKL, Reparameterize, VectorQuantizer
from fastnn.time_layers import MultiHeadAttention

pytestmark = on_every_backend

B, T, S, D, M = 2, 5, 7, 4, 3
CASES = [(False, False), (True, False), (False, True), (True, True)]


@pytest.fixture
def rng():
    return np.random.default_rng(13)


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(attention, "_BLOCK", 2)


def problem(rng, masked):
    q, k, v = rng.standard_normal((B, T, D)), rng.standard_normal((B, S, D)), rng.standard_normal((B, S, M))
    mask = None
    if masked:
        mask = np.ones((B, S), np.bool_)
        mask[0, 5:] = mask[1, :3] = False
    return q, k, v, mask


def reference(q, k, v, mask, causal, offset=0):
    score = q @ k.swapaxes(1, 2) / np.sqrt(q.shape[2])
    allowed = np.ones(score.shape, np.bool_) if mask is None else np.repeat(mask[:, np.newaxis], q.shape[1], axis=1)
    if causal:
        allowed = allowed & np.tril(np.ones(score.shape[1:], np.bool_), offset)
    e = np.exp(score) * allowed
    total = e.sum(axis=2, keepdims=True)
    return np.divide(e, total, out=np.zeros_like(e), where=total > 0) @ v


@pytest.mark.parametrize(("masked", "causal"), CASES)
def test_attention_and_its_gradients(rng, small_blocks, masked, causal):
    q, k, v, mask = problem(rng, masked)
    # more keys than queries, as many, fewer; queries at the end of the keys, some of which see nothing
    for keys, offset in ((S, 0), (T, 0), (3, 0), (S, S - T), (3, 3 - T)):
        options = (None if mask is None else mask[:, :keys]), causal, offset if causal else 0
        args = q, k[:, :keys].copy(), v[:, :keys].copy(), *options
        out = ops.scaled_dot_product_attention_forward(*args)
        np.testing.assert_allclose(out, reference(*args), 1e-11, 1e-12)
        dout = rng.standard_normal(out.shape)
        grads = ops.scaled_dot_product_attention_backward(dout, *args)
        f = lambda args=args, dout=dout: np.sum(dout * ops.scaled_dot_product_attention_forward(*args))  # noqa: E731
        check(f, *zip(args[:3], grads, strict=True))


def test_blocks_do_not_change_the_result(rng, monkeypatch):
    q, k, v, mask = (a if a is None or a.dtype == bool else a.astype(np.float32) for a in problem(rng, True))
    whole = ops.scaled_dot_product_attention_forward(q, k, v, mask, True, 1)
    assert whole.dtype == np.float32
    monkeypatch.setattr(attention, "_BLOCK", 2)
    np.testing.assert_allclose(ops.scaled_dot_product_attention_forward(q, k, v, mask, True, 1), whole, 1e-5, 1e-6)
    out = np.empty_like(whole)
    assert ops.scaled_dot_product_attention_forward(q, k, v, mask, True, 1, out) is out


def test_attention_explains_bad_input(rng):
    q, k, v, mask = problem(rng, True)
    forward = ops.scaled_dot_product_attention_forward
    with pytest.raises(ValueError, match=r"q is \(2, 5, 3\) but k is \(2, 7, 4\)"):
        forward(q[:, :, :3], k, v)
    with pytest.raises(ValueError, match=r"k is \(2, 7, 4\) but v is \(2, 6, 3\)"):
        forward(q, k, v[:, :6])
    with pytest.raises(ValueError, match=r"mask is \(2, 6\)"):
        forward(q, k, v, mask[:, :6])
    with pytest.raises(ValueError, match=r"q is \(5, 4\); it must have 3 dimensions, or 4"):
        forward(q[0], k, v)
    for offset, error, text in (
        (1.0, TypeError, "offset is 1.0"), (2**31, ValueError, "offset is 2147483648; it must lie in"),
        (-(2**63), ValueError, "it must lie in"), (-(2**80), ValueError, "it must lie in"),
        (q, TypeError, "it must be a whole number"),
    ):  # fmt: skip
        with pytest.raises(error, match=text):
            forward(q, k, v, None, True, offset)
    with pytest.raises(ValueError, match="offset is 1 but causal is False"):
        forward(q, k, v, offset=1)
    with pytest.raises(ValueError, match="dout is"):
        ops.scaled_dot_product_attention_backward(q, q, k, v)
    assert forward(q[:0], k[:0], v[:0]).shape == (0, T, M)


@pytest.mark.parametrize(("masked", "causal"), CASES)
def test_multi_head_attention(rng, masked, causal):
    params = [0.5 * rng.standard_normal(s) for _ in range(4) for s in ((D, D), (D,))]
    layer, x, context = MultiHeadAttention(*params, heads=2, causal=causal), *rng.standard_normal((2, B, T, D))
    mask = np.array([[True] * 4 + [False], [True] * 5]) if masked else None
    q, k, v = (x @ params[2 * i] + params[2 * i + 1] for i in range(3))
    halves = [reference(*(a[:, :, h : h + 2] for a in (q, k, v)), mask, causal) for h in (0, 2)]
    wanted = np.concatenate(halves, axis=2) @ params[6] + params[7]
    np.testing.assert_allclose(layer.forward(x, mask=mask), wanted, 1e-10)
    dout = rng.standard_normal(x.shape)
    dx = layer.backward(dout)
    check(lambda: np.sum(dout * layer.forward(x, mask=mask)), (x, dx), *zip(params, layer.grads, strict=True))
    layer.forward(x, context, mask)
    dx, dcontext = layer.backward(dout)
    check(lambda: np.sum(dout * layer.forward(x, context, mask)), (x, dx), (context, dcontext))
    with pytest.raises(ValueError, match="heads is 3"):
        MultiHeadAttention(*params, heads=3)


def test_multi_head_attention_explains_bad_input(rng):
    layer = MultiHeadAttention(*(rng.standard_normal(s) for _ in range(4) for s in ((D, D), (D,))), heads=2)
    x, context = rng.standard_normal((B, T, D)), rng.standard_normal((B, S, D))
    fits = np.ones((B, S), np.bool_)
    for bad in fits[:, 1:], fits[:1], fits[..., np.newaxis], np.ones((B, T), np.bool_), np.True_:
        with pytest.raises(ValueError, match=rf"mask is \(.*\) but what is looked at is \({B}, {S}, {D}\)"):
            layer.forward(x, context, bad)
    with pytest.raises(ValueError, match=rf"mask is \({B}, {S}\) but what is looked at is \({B}, {T}, {D}\)"):
        layer.forward(x, mask=fits)
    with pytest.raises(TypeError, match="mask has dtype float64; it must be bool"):
        layer.forward(x, context, fits.astype(float))
    with pytest.raises(ValueError, match=rf"x is \({T}, {D}\); it must be \(N, steps, {D}\)"):
        layer.forward(x[0])
    with pytest.raises(ValueError, match=rf"context is \({B}, {S}, {D - 1}\); it must be"):
        layer.forward(x, context[:, :, 1:])
    np.testing.assert_array_equal(layer.forward(x.tolist(), context.tolist(), fits.tolist()), layer.forward(x, context))


def test_a_mask_is_of_keys_alone(rng):
    """Padded steps of x are no keys, but queries as the others: their results are for the caller to leave out."""
    layer = MultiHeadAttention(*(rng.standard_normal(s) for _ in range(4) for s in ((D, D), (D,))), heads=2)
    x, mask = rng.standard_normal((B, T, D)), np.ones((B, T), np.bool_)
    mask[0, 2:] = False
    alone = layer.forward(x[:1, :2])
    np.testing.assert_allclose(layer.forward(x, mask=mask)[:1, :2], alone, 1e-12)
    x[0, 3] = np.nan
    out = layer.forward(x, mask=mask)
    assert np.isnan(out[0, 3]).all() and np.isnan(out).sum() == D


# ---- generative models ---------------------------------------------------------------------------------------------


def test_gaussian_kl(rng):
    mu, log_var = rng.standard_normal((3, 4)), rng.standard_normal((3, 4))
    layer = GaussianKL()
    wanted = -0.5 * (1 + log_var - mu**2 - np.exp(log_var)).sum() / 3
    assert layer.forward(mu, log_var) == pytest.approx(wanted, rel=1e-12)
    dmu, dlog_var = layer.backward(0.7)
    check(lambda: 0.7 * layer.forward(mu, log_var), (mu, dmu), (log_var, dlog_var))
    with pytest.raises(ValueError, match=r"mu is \(3, 4\) but log_var is \(3, 3\)"):
        layer.forward(mu, log_var[:, :3])


def test_bernoulli_kl(rng):
    x, q = rng.standard_normal((3, 4)), 0.2
    layer, p = BernoulliKL(q), sigmoid(x)
    wanted = (p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))).sum() / 3
    assert layer.forward(x) == pytest.approx(wanted, rel=1e-12)
    dx = layer.backward(0.7)
    check(lambda: 0.7 * layer.forward(x), (x, dx))
    assert np.isfinite(layer.forward(np.array([[-800.0, 800.0]])))
    with pytest.raises(ValueError, match="prior is 1"):
        BernoulliKL(1)


def test_sampling_lets_gradients_through(rng):
    mu, log_var, dz = rng.standard_normal((3, 4)), rng.standard_normal((3, 4)), rng.standard_normal((3, 4))
    layer = Reparameterize(rng=1)
    layer.forward(mu, log_var)
    dmu, dlog_var = layer.backward(dz)
    check(lambda: np.sum(dz * Reparameterize(rng=1).forward(mu, log_var)), (mu, dmu), (log_var, dlog_var))
    many = layer.forward(np.full((20_000, 1), 2.0), np.full((20_000, 1), np.log(9.0)))
    assert abs(many.mean() - 2) < 0.1 and abs(many.std() - 3) < 0.1


def test_codebook(rng):
    W, x, dout = rng.standard_normal((5, 3)), rng.standard_normal((8, 3)), rng.standard_normal((8, 3))
    layer = VectorQuantizer(W, commitment=0.3)
    codes = layer.forward(x)
    index = np.square(x[:, np.newaxis] - W).sum(axis=2).argmin(axis=1)
    np.testing.assert_array_equal(layer.index, index)
    np.testing.assert_array_equal(codes, W[index])
    assert layer.loss == pytest.approx(1.3 * np.square(W[index] - x).mean(), rel=1e-12)
    straight, dW = layer.backward(dout, 0.7), layer.grads[0].copy()

    def codebook_loss():
        return 0.7 * np.square(W[index] - x).mean()

    check(codebook_loss, (W, dW))
    check(lambda: 0.3 * codebook_loss(), (x, straight - dout))
