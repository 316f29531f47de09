"""Winograd's algorithm for 3x3 convolutions: its error bound, odd shapes, NaN and inf, where `auto` takes it."""

import cases
import numpy as np
import pytest

import fastnn
from fastnn import ops
from fastnn.backends import numpy_backend

BOUND = 1e-4  # of the largest output: the documented error in float32
NATIVE = [name for name in cases.TARGETS if name.startswith("native")]


@pytest.fixture(params=NATIVE)
def isa(request):
    reason = cases.why_not(request.param)
    if reason:
        pytest.skip(reason)
    with cases.target(request.param):
        yield request.param


def run(x, W, b, dout, padding, algorithm="winograd", dtype=np.float32):
    """out, dx and dW of ops in `dtype`, and the reference's in float64."""
    shape = {"padding": (padding, padding), "algorithm": algorithm}
    x, W, b, dout = (a.astype(dtype) for a in (x, W, b, dout))
    out = ops.conv2d_forward(x, W, b, **shape)
    dx, dW, _ = ops.conv2d_backward(dout, x, W, **shape)
    x, W, b, dout = (a.astype(np.float64) for a in (x, W, b, dout))
    expected = numpy_backend.conv2d_forward(x, W, b, **shape)
    gradients = numpy_backend.conv2d_backward(dout, x, W, **shape)
    return (out, expected), (dx, gradients[0]), (dW, gradients[1])


def images(rng, kind, N, C, H, W):
    x = rng.standard_normal((N, C, H, W))
    if kind == "constant":
        return np.ones_like(x)
    if kind == "positive":
        return np.abs(x) + 1
    if kind == "large":
        return x * 1e15
    if kind == "small":
        return x * 1e-15
    if kind == "channels of all sizes":
        return x * 10.0 ** rng.integers(-6, 7, (1, C, 1, 1))
    if kind == "outliers":
        return x + 1e6 * (rng.random(x.shape) < 0.01)
    if kind == "checkerboard":
        return x * 0.01 + np.indices((H, W)).sum(0) % 2 * 2 - 1
    return x


KINDS = "normal", "constant", "positive", "large", "small", "channels of all sizes", "outliers", "checkerboard"


@pytest.mark.parametrize("shape", [(2, 16, 28, 28, 16), (3, 32, 14, 14, 64), (1, 512, 9, 9, 40), (1, 40, 9, 9, 512)])
@pytest.mark.parametrize("kind", KINDS)
def test_error_bound(kind, shape, isa):
    """max |y - y64| <= 1e-4 max |y64|, for the output and both gradients."""
    rng = np.random.default_rng(1)
    N, C, H, W, F = shape
    x = images(rng, kind, N, C, H, W)
    filters, b = rng.standard_normal((F, C, 3, 3)), rng.standard_normal(F)
    dout = images(rng, kind, N, F, H, W)
    for got, expected in run(x, filters, b, dout, 1):
        assert np.abs(got - expected).max() <= BOUND * np.abs(expected).max()


def test_error_bound_of_filters_of_one_sign_and_of_all_sizes(isa):
    rng = np.random.default_rng(2)
    x, dout = rng.standard_normal((2, 24, 17, 17)), rng.standard_normal((2, 40, 17, 17))
    b = np.zeros(40)
    for W in (
        np.ones((40, 24, 3, 3)),
        np.abs(rng.standard_normal((40, 24, 3, 3))),
        rng.standard_normal((40, 24, 3, 3)) * 10.0 ** rng.integers(-6, 7, (40, 24, 3, 3)),
    ):
        for got, expected in run(x, W, b, dout, 1):
            assert np.abs(got - expected).max() <= BOUND * np.abs(expected).max()


@pytest.mark.parametrize("padding", [0, 1, 2, 3])
def test_odd_shapes(padding, isa):
    """Every cut of an image into tiles, every number of lanes in use. The scale is that of |x| * |W|: a sum of few
    products may be much smaller than they are."""
    rng = np.random.default_rng(3)
    sizes = [(1, 1), (2, 3), (3, 2), (4, 5), (5, 4), (6, 9), (7, 7), (8, 8), (9, 17), (1, 40), (33, 1), (13, 210)]
    channels = [(1, 1), (3, 5), (17, 2), (2, 33), (16, 16), (5, 70)]
    for i, (H, W) in enumerate(sizes):
        if min(H, W) + 2 * padding < 3:
            continue
        for N, (C, F) in ((1, channels[i % 6]), (3, channels[(i + 2) % 6])):
            x, filters = rng.standard_normal((N, C, H, W)), rng.standard_normal((F, C, 3, 3))
            dout = rng.standard_normal((N, F, H + 2 * padding - 2, W + 2 * padding - 2))
            scales = run(np.abs(x), np.abs(filters), np.zeros(F), np.abs(dout), padding, "direct", np.float64)
            for (got, expected), (_, scale) in zip(
                run(x, filters, rng.standard_normal(F), dout, padding), scales, strict=True
            ):
                assert got.shape == expected.shape
                assert np.abs(got - expected).max() <= BOUND * scale.max(), (N, C, H, W, F)


def test_activation_and_given_output(isa):
    rng = np.random.default_rng(4)
    x, W, b = (rng.standard_normal(s).astype(np.float32) for s in ((2, 5, 11, 10), (35, 5, 3, 3), (35,)))
    plain = ops.conv2d_forward(x, W, b, padding=1, algorithm="winograd")
    for kind, alpha in ("relu", 0.0), ("tanh", 0.0), ("leaky_relu", 0.2):
        out = np.full_like(plain, 7)
        result = ops.conv2d_forward(x, W, b, 1, 1, 1, 1, kind, alpha, "winograd", out)
        assert result is out
        np.testing.assert_allclose(result, ops.activation_forward(plain, kind, alpha), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_reach_their_tiles_and_no_further(value, isa):
    rng = np.random.default_rng(5)
    x, W = (rng.standard_normal(s).astype(np.float32) for s in ((2, 18, 30, 30), (20, 18, 3, 3)))
    clean = ops.conv2d_forward(x, W, None, padding=1, algorithm="winograd")
    x[1, 3, 13, 14] = value
    out = ops.conv2d_forward(x, W, None, padding=1, algorithm="winograd")
    assert not np.isfinite(out[1, :, 12:15, 13:16]).any()
    rows, columns = np.abs(np.arange(30) - 13) > 5, np.abs(np.arange(30) - 14) > 5
    far = rows[:, None] | columns
    assert out[1][:, far].tobytes() == clean[1][:, far].tobytes()
    assert out[0].tobytes() == clean[0].tobytes()


def test_same_bits_for_any_number_of_threads(isa):
    rng = np.random.default_rng(6)
    before = fastnn.get_num_threads()
    try:
        for N, C, H, F in ((40, 16, 28, 16), (30, 20, 9, 70), (2, 64, 56, 64)):
            x, W, b, dout = (
                rng.standard_normal(s).astype(np.float32) for s in ((N, C, H, H), (F, C, 3, 3), (F,), (N, F, H, H))
            )
            results = []
            for threads in 1, 2, 3:
                fastnn.set_num_threads(threads)
                out = ops.conv2d_forward(x, W, b, padding=1, algorithm="winograd")
                results.append([out, *ops.conv2d_backward(dout, x, W, padding=1, algorithm="winograd")])
            for other in results[1:]:
                assert [a.tobytes() for a in other] == [a.tobytes() for a in results[0]]
    finally:
        fastnn.set_num_threads(before)


def test_auto(isa):
    """Winograd's bits where it is faster, and only in float32; float64 is always computed directly."""
    rng = np.random.default_rng(7)
    for dtype in cases.DTYPES:
        x, W = rng.standard_normal((20, 32, 14, 14)).astype(dtype), rng.standard_normal((64, 32, 3, 3)).astype(dtype)
        auto, direct, winograd = (
            ops.conv2d_forward(x, W, None, padding=1, algorithm=a).tobytes() for a in ("auto", "direct", "winograd")
        )
        assert auto == winograd
        assert (direct == winograd) == (dtype == np.float64)
    for options in {"stride": 2}, {"dilation": 2}:
        with pytest.raises(ValueError, match=r"conv2d_forward.*winograd"):
            ops.conv2d_forward(x, W, None, algorithm="winograd", **options)
