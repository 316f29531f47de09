"""Laws that hold for any input, on every backend: found by hypothesis."""

import math

import cases
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastnn import backends, ops
from fastnn.backends.numpy_backend import ACTIVATIONS
from fastnn.backends.numpy_backend.random import _philox4x32

settings.register_profile("fastnn", max_examples=15, deadline=None, derandomize=True)
settings.load_profile("fastnn")

sizes = st.integers(1, 40)
seeds = st.integers(0, 2**32 - 1)
float_types = st.sampled_from(cases.DTYPES)
close = np.testing.assert_allclose


@pytest.fixture(scope="module", params=cases.TARGETS, autouse=True)
def target(request):
    reason = cases.why_not(request.param)
    if reason:
        pytest.skip(reason)
    with cases.target(request.param):
        yield request.param


def normal(seed, dtype, *shape):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def eps(dtype):
    return 64 * float(np.finfo(dtype).eps)


@given(N=sizes, cut=sizes, D=sizes, M=sizes, seed=seeds, dtype=float_types)
def test_a_batch_in_two_parts_equals_the_whole(N, cut, D, M, seed, dtype):
    x, W, b = normal(seed, dtype, N, D), normal(seed + 1, dtype, D, M), normal(seed + 2, dtype, M)
    for f in (lambda x: ops.affine_forward(x, W, b, "tanh"), ops.softmax_forward, ops.log_softmax_forward):
        close(np.concatenate([f(x[:cut]), f(x[cut:])]), f(x), eps(dtype), 10 * eps(dtype))


@given(N=sizes, V=sizes, seed=seeds, shift=st.floats(-1000, 1000), dtype=float_types)
def test_softmax_rows_sum_to_one_and_ignore_a_shift(N, V, seed, shift, dtype):
    x = np.round(normal(seed, dtype, N, V) * 8) / 8
    shift = round(shift * 8) / 8  # eighths: the shifted numbers are exact
    y = ops.softmax_forward(x)
    close(y.sum(axis=1), 1, eps(dtype))
    close(ops.softmax_forward(x + dtype(shift)), y, eps(dtype), eps(dtype))
    close(ops.log_softmax_forward(x), np.log(y, dtype=np.float64), 4 * eps(dtype), 4 * eps(dtype))


@given(N=sizes, V=sizes, seed=seeds, dtype=float_types)
def test_labels_equal_their_one_hot_targets(N, V, seed, dtype):
    x, t = normal(seed, dtype, N, V), np.random.default_rng(seed).integers(0, V, N)
    onehot = np.eye(V, dtype=dtype)[t]
    for options in {}, {"label_smoothing": 0.1}, {"epsilon": 1e-7}:
        loss, y = ops.softmax_cross_entropy_forward(x, t, **options)
        close(ops.softmax_cross_entropy_forward(x, onehot, **options)[0], loss, eps(dtype), eps(dtype))
        options.pop("epsilon", None)
        dx = ops.softmax_cross_entropy_backward(y, t, **options)
        close(ops.softmax_cross_entropy_backward(y, onehot, **options), dx, eps(dtype), eps(dtype))
        close(dx.sum(axis=1), 0, atol=eps(dtype))


@given(N=sizes, V=st.integers(2, 40), seed=seeds, dtype=float_types)
def test_ignored_rows_may_as_well_be_missing(N, V, seed, dtype):
    rng = np.random.default_rng(seed)
    x, t, weight = normal(seed, dtype, N, V), rng.integers(0, V, N), rng.uniform(0.5, 2, V).astype(dtype)
    ignored = rng.random(N) < 0.5
    marked = np.where(ignored, -100, t)
    loss, y = ops.softmax_cross_entropy_forward(x, marked, weight, -100)
    dx = ops.softmax_cross_entropy_backward(y, marked, 1.0, weight, -100)
    assert not dx[ignored].any()
    if ignored.all():
        assert math.isnan(loss)
        return
    rest, y = ops.softmax_cross_entropy_forward(x[~ignored], t[~ignored], weight)
    close(loss, rest, eps(dtype))
    close(dx[~ignored], ops.softmax_cross_entropy_backward(y, t[~ignored], 1.0, weight), eps(dtype), eps(dtype))


@given(N=sizes, D=sizes, M=sizes, seed=seeds, factor=st.floats(-4, 4), dtype=float_types)
def test_affine_backward_is_linear_in_dout(N, D, M, seed, factor, dtype):
    x, W = normal(seed, dtype, N, D), normal(seed + 1, dtype, D, M)
    d1, d2 = normal(seed + 2, dtype, N, M), normal(seed + 3, dtype, N, M)
    both = ops.affine_backward(d1 + dtype(factor) * d2, x, W)
    for whole, a, b in zip(both, ops.affine_backward(d1, x, W), ops.affine_backward(d2, x, W), strict=True):
        close(whole, a + dtype(factor) * b, eps(dtype), 40 * eps(dtype))


small = st.integers(1, 6)
pairs = st.tuples(st.integers(1, 4), st.integers(1, 4))
paddings = st.tuples(st.integers(0, 3), st.integers(0, 3))


@given(N=small, C=small, size=pairs, kernel=pairs, stride=pairs, padding=paddings, seed=seeds, dtype=float_types)
def test_col2im_is_the_adjoint_of_im2col(N, C, size, kernel, stride, padding, seed, dtype):
    shape = (N, C, kernel[0] + size[0] - 1, kernel[1] + size[1] - 1)
    x = normal(seed, dtype, *shape)
    col = ops.im2col(x, kernel, stride, padding)
    y = normal(seed + 1, dtype, *col.shape)
    image = ops.col2im(y, shape, kernel, stride, padding)
    assert image.shape == shape and image.dtype == col.dtype == dtype
    close(np.vdot(col, y), np.vdot(x, image), eps(dtype), eps(dtype) * math.sqrt(col.size))


@given(
    N=small, C=small, F=small, size=pairs, kernel=pairs, stride=pairs, padding=paddings, dilation=pairs,
    groups=st.integers(1, 3), seed=seeds, dtype=float_types,
)  # fmt: skip
def test_convolution_is_a_product_with_patches(N, C, F, size, kernel, stride, padding, dilation, groups, seed, dtype):
    H, W = ((k - 1) * d + n for k, d, n in zip(kernel, dilation, size, strict=True))
    x = normal(seed, dtype, N, C * groups, H, W)
    filters = normal(seed + 1, dtype, F * groups, C, *kernel)
    options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    out = ops.conv2d_forward(x, filters, None, **options)
    tol = {"rtol": eps(dtype), "atol": eps(dtype) * (C * kernel[0] * kernel[1]) ** 0.5}
    if groups == 1 and dilation == (1, 1):
        col = ops.im2col(x, kernel, stride, padding)
        close(out, (col @ filters.reshape(F, -1).T).reshape(N, *out.shape[2:], F).transpose(0, 3, 1, 2), **tol)
    close(np.concatenate([ops.conv2d_forward(x[i : i + 1], filters, None, **options) for i in range(N)]), out, **tol)
    # <dout, x * W> is bilinear: its gradients are the adjoints
    dout = normal(seed + 2, dtype, *out.shape)
    dx, dW, db = ops.conv2d_backward(dout, x, filters, **options)
    product, slack = np.vdot(dout, out), eps(dtype) * out.size
    close(np.vdot(dx, x), product, eps(dtype), slack)
    close(np.vdot(dW, filters), product, eps(dtype), slack)
    close(db, dout.sum(axis=(0, 2, 3)), eps(dtype), slack)


@given(shape=st.lists(st.integers(0, 12), max_size=3), seed=seeds, dtype=float_types)
def test_relu_backward_selects_by_the_mask(shape, seed, dtype):
    x, dout = normal(seed, dtype, *shape), normal(seed + 1, dtype, *shape)
    if x.size:
        x.reshape(-1)[:: max(x.size // 2, 1)] = np.nan
    out, mask = ops.relu_forward(x)
    keep = ~(x <= 0)
    np.testing.assert_array_equal(out, np.where(keep, x, 0))
    assert mask.dtype == np.uint8 and mask.shape == (8 * math.ceil(x.size / 64),)
    np.testing.assert_array_equal(np.unpackbits(mask, bitorder="little"), np.pad(keep.ravel(), (0, -x.size % 64)))
    np.testing.assert_array_equal(ops.relu_backward(dout, mask), np.where(keep, dout, 0))


@given(n=st.integers(0, 300), ratio=st.floats(0, 1), key=st.integers(0, 2**64 - 1), dtype=float_types)
def test_dropout_mask_depends_on_the_key_alone(n, ratio, key, dtype):
    x = normal(n, dtype, n)
    out, mask = ops.dropout_forward(x, ratio, key, 2.0)
    keep = np.unpackbits(mask, bitorder="little").astype(bool)
    assert mask.shape == (8 * math.ceil(n / 64),) and not keep[n:].any()
    np.testing.assert_array_equal(out, np.where(keep[:n], 2 * x, 0))
    np.testing.assert_array_equal(ops.dropout_backward(x, mask, 2.0), out)
    with backends.use_backend("numpy"):
        np.testing.assert_array_equal(ops.dropout_forward(x, ratio, key)[1], mask)


@given(ratio=st.sampled_from([0.0, 0.1, 0.5, 0.9, 1.0]), key=st.integers(0, 2**64 - 1))
@settings(max_examples=5)
def test_dropout_keeps_the_stated_share(ratio, key):
    n = 200_000
    kept = np.unpackbits(ops.dropout_forward(np.ones(n, np.float32), ratio, key)[1]).sum() / n
    assert abs(kept - (1 - ratio)) <= 5 * math.sqrt(ratio * (1 - ratio) / n)


def test_philox_known_answers():
    """The vectors that the authors publish with Random123 (kat_vectors, philox4x32 10)."""
    ones = 0xFFFFFFFF
    pi = 0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344, 0xA4093822, 0x299F31D0
    for *words, answer in [
        (0, 0, 0, 0, 0, 0, "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        (ones, ones, ones, ones, ones, ones, "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        (*pi, "d16cfe09 94fdcceb 5001e420 24126ea1"),
    ]:
        counter = np.array(words[:4], np.uint64).reshape(4, 1)
        assert " ".join(f"{int(w):08x}" for w in _philox4x32(counter, words[4:])[:, 0]) == answer


@given(N=st.integers(2, 40), D=sizes, seed=seeds, dtype=float_types)
def test_batch_norm_normalises(N, D, seed, dtype):
    x, one, zero = 3 * normal(seed, dtype, N, D) + 1, np.ones(D, dtype), np.zeros(D, dtype)
    out, mean, var = ops.batch_norm_forward(x, one, zero, 1e-6)
    close(out.mean(axis=0), 0, atol=10 * eps(dtype))
    close((out * out).mean(axis=0), var / (var + 1e-6), 10 * eps(dtype), 10 * eps(dtype))
    close(ops.batch_norm_inference(x, one, zero, mean, var, 1e-6), out, eps(dtype), eps(dtype))
    dx, _, dbeta = ops.batch_norm_backward(out, x, one, mean, var, 1e-6)
    close(dx.sum(axis=0), 0, atol=10 * N * eps(dtype) / math.sqrt(float(var.min()) + 1e-6))
    close(dbeta, out.sum(axis=0), eps(dtype), N * eps(dtype))


# ---- optimizers: one array a is enough, the lists are walked the same way ------------------------------------------


def steps(update, n, seed, dtype, states=0, **options):
    """n updates of one parameter by the gradient of |p|^2 / 2, with so many state lists -> the parameter after each."""
    p, state, path = normal(seed, dtype, 5, 3), [np.zeros((5, 3), dtype) for _ in range(states)], []
    for i in range(n):
        more = {"step": i + 1} if update is ops.adam_update else {}
        update([p], [p.copy()], *([s] for s in state), **options, **more)
        path.append(p.copy())
    return path


@given(seed=seeds, lr=st.floats(1e-3, 0.5), dtype=float_types)
def test_optimizer_laws(seed, lr, dtype):
    tol = {"rtol": eps(dtype), "atol": eps(dtype)}
    p = normal(seed, dtype, 5, 3)
    sgd = steps(ops.sgd_update, 3, seed, dtype, lr=lr)
    close(sgd[0], p * (1 - lr), **tol)
    # without momentum all of them are SGD, and Nesterov's rules differ only in the v they add
    close(steps(ops.momentum_update, 3, seed, dtype, 1, lr=lr, momentum=0.0)[2], sgd[2], **tol)
    for lookahead in False, True:
        close(steps(ops.nesterov_update, 3, seed, dtype, 1, lr=lr, momentum=0.0, lookahead=lookahead)[2], sgd[2], **tol)
    # the first step of AdaGrad and of Adam has length lr whatever the gradient
    far = np.abs(p) > 0.05
    adagrad = steps(ops.adagrad_update, 1, seed, dtype, 1, lr=lr, epsilon=1e-7)[0]
    close(np.abs(adagrad - p)[far], lr, 1e-4)
    adam = {"lr": lr, "beta1": 0.9, "beta2": 0.999, "epsilon": 1e-7}
    close(np.abs(steps(ops.adam_update, 1, seed, dtype, 2, **adam)[0] - p)[far], lr, 1e-3)
    # AdamW is Adam after the parameter has shrunk
    shrunk, m, v = [p * dtype(1 - lr * 0.1)], [np.zeros_like(p)], [np.zeros_like(p)]
    ops.adam_update(shrunk, [p], m, v, **adam, step=1)
    close(steps(ops.adam_update, 1, seed, dtype, 2, **adam, decoupled=True, weight_decay=0.1)[0], shrunk[0], **tol)


@given(seed=seeds, limit=st.floats(0.01, 10), dtype=float_types)
def test_clipping(seed, limit, dtype):
    grads = [normal(seed, dtype, 5, 3), normal(seed + 1, dtype, 70)]
    zeros = [np.zeros_like(g) for g in grads]
    norm = ops.grad_norm(grads)
    close(norm, math.sqrt(sum(np.square(g, dtype=np.float64).sum() for g in grads)), 1e-12)
    moved = ops.sgd_update([z.copy() for z in zeros], grads, -1.0, clip_norm=limit)
    close(ops.grad_norm(moved), min(limit, norm), 1e-5)
    for p, g in zip(moved, ops.scale_arrays([g.copy() for g in grads], min(1.0, limit / norm)), strict=True):
        close(p, g, 1e-3)
    moved = ops.sgd_update([z.copy() for z in zeros], grads, -1.0, clip_value=limit)
    for p, g in zip(moved, grads, strict=True):
        np.testing.assert_array_equal(p, np.clip(g, -dtype(limit), dtype(limit)))


@given(seed=seeds, kind=st.sampled_from(sorted(ACTIVATIONS)))
def test_non_contiguous_input_gives_the_same(seed, kind):
    wide = normal(seed, np.float32, 12, 34)
    for view in wide[::2], wide[:, ::3], wide.T, wide[::-1]:
        plain = np.ascontiguousarray(view)
        np.testing.assert_array_equal(ops.activation_forward(view, kind, 0.1), ops.activation_forward(plain, kind, 0.1))
        np.testing.assert_array_equal(ops.softmax_forward(view), ops.softmax_forward(plain))
        np.testing.assert_array_equal(ops.dropout_forward(view, 0.5, 7)[1], ops.dropout_forward(plain, 0.5, 7)[1])
