"""Infinities and NaN stay where they are: nothing that does not exist is multiplied with them."""

import warnings

import cases
import numpy as np
import pytest
from cases import CASES
from every_target import dtypes, targets
from every_target import table as table

from fastnn import ops
from fastnn.backends import numpy_backend

pytestmark = pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning")  # of the reference's inf - inf


values = pytest.mark.parametrize("value", [np.inf, np.nan], ids=str)


def by_winograd(args, dtype):
    return (
        dtype is np.float32 and args["W"].shape[2:] == (3, 3) and args["groups"] == 1
        and tuple(args["stride"]) == tuple(args["dilation"]) == (1, 1)
    )  # fmt: skip


@targets
@dtypes
@pytest.mark.parametrize("op", [op for op in CASES if op.startswith("conv")])
def test_convolution(op, dtype, target, table):
    """As the reference, whose gradients of the input have products with outputs that exist alone."""
    for case in CASES[op]["odd"]:
        for name in "W", "x", "dout":
            args = cases.make(op, "odd", dtype, case)
            if name not in args:
                continue
            if "algorithm" in args:
                args["algorithm"] = "direct"
            elif by_winograd(args, dtype):  # spreads them, as its docstring says
                continue
            flat = args[name].reshape(-1)
            flat[np.random.default_rng(3).integers(0, flat.size, 1 + flat.size // 200)] = np.inf
            wanted = cases.expected(op, args)
            for key, got in cases.run(getattr(ops, op), op, args).items():
                cases.assert_close(got, wanted[key], op, dtype, f"{case} {name} {key}")


@targets
@dtypes
def test_gradients_of_inputs_that_no_infinite_weight_reaches(dtype, target, table):
    """The corner tap of an infinite filter lies beyond the last row and column of dout: as PyTorch."""
    W = np.ones((1, 1, 3, 3), dtype)
    W[0, 0, 0, 0] = np.inf
    x = np.ones((1, 1, 6, 6), dtype)
    dx = ops.conv2d_backward(x, x, W, 1, 1, algorithm="direct")[0]
    assert np.isinf(dx[0, 0, :5, :5]).all()
    assert np.isfinite(dx[0, 0, 5]).all() and np.isfinite(dx[0, 0, :, 5]).all()
    W = np.ones((2, 2, 3, 2), dtype)  # a stride: not every input has every tap
    W[1, 0, 2, 1] = np.inf
    y = ops.conv_transpose2d_forward(np.ones((1, 2, 4, 5), dtype), W, np.zeros(2, dtype), 2, 0)
    assert not np.isnan(y).any() and np.isfinite(y[:, 1]).all()
    assert np.isinf(y[:, 0]).sum() == 4 * 5


@targets
@dtypes
@values
@pytest.mark.parametrize("place", [0, 3], ids=["first", "later"])
def test_statistics_of_what_is_not_finite(place, value, dtype, target, table):
    """The mean of numbers with one infinity is that infinity, of two signs NaN; the others keep theirs."""
    rng = np.random.default_rng(0)
    for shape in (64, 33), (2500, 5), (5, 4, 70, 75), (6, 6, 5):
        x = np.asarray(rng.standard_normal(shape), dtype)
        x[place, 1] = value
        x[place, 2], x[place + 1, 2] = np.inf, -np.inf
        ones, zeros = np.ones(shape[1], dtype), np.zeros(shape[1], dtype)
        _, mean, var = ops.batch_norm_forward(x, ones, zeros)
        np.testing.assert_array_equal(mean[1], dtype(value))
        assert np.isnan(mean[2]) and np.isnan(var[1:3]).all()
        others = np.arange(shape[1]) % shape[1] > 2
        assert np.isfinite(mean[others]).all() and np.isfinite(var[others]).all()
        wanted = numpy_backend.batch_norm_forward(x[:, others], ones[others], zeros[others])
        np.testing.assert_allclose(mean[others], wanted[1], 1e-4, 1e-5)
    for columns in 40, 9001:
        x = np.asarray(rng.standard_normal((5, columns)), dtype)
        x[1, place] = value
        x[2, place], x[2, -1] = np.inf, -np.inf
        out, mean, rstd = ops.layer_norm_forward(x, np.ones(columns, dtype), np.zeros(columns, dtype))
        np.testing.assert_array_equal(mean[1], dtype(value))
        assert np.isnan(mean[2]) and np.isnan(rstd[1:3]).all() and np.isnan(out[1:3]).all()
        assert np.isfinite(out[[0, 3, 4]]).all()
        grouped = x[:, :36].reshape(5, 6, 6)
        out, mean, _ = ops.group_norm_forward(grouped, np.ones(6, dtype), np.zeros(6, dtype), 3)
        np.testing.assert_array_equal(mean[1, 0], dtype(value))
        assert np.isfinite(mean[1, 1:]).all() and np.isfinite(out[1, 2:]).all()


@targets
@dtypes
def test_padding_of_pooling_is_never_chosen_nor_read(dtype, target, table):
    x = np.full((1, 2, 5, 7), -np.inf, dtype)
    x[0, 1] = np.finfo(dtype).min
    for kernel, stride, padding in ((3, 2, 1), (2, 2, 1), (5, 3, 2), (2, 2, 0)):
        out, arg = ops.max_pool2d_forward(x, kernel, stride, padding)
        assert (out[0, 0] == -np.inf).all() and (out[0, 1] == np.finfo(dtype).min).all()
        dx = ops.max_pool2d_backward(np.ones_like(out), arg, x.shape, kernel, stride, padding)
        assert dx.sum() == out.size  # every window's place is in the image
        dout = np.full_like(out, np.inf)
        dx = ops.max_pool2d_backward(dout, arg, x.shape, kernel, stride, padding)
        assert not np.isnan(dx).any()
    x = np.zeros((1, 1, 6, 6), dtype)
    x[0, 0, 2, 3] = np.inf
    for kernel, stride, padding in ((3, 2, 1), (3, 1, 1), (2, 2, 0), (2, 3, 1), (6, 1, 0)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            out = ops.avg_pool2d_forward(x, kernel, stride, padding, False, False)
        assert not np.isnan(out).any() and np.isinf(out).any()
        dout = np.zeros_like(out)
        dout[0, 0, 0, 0] = np.inf
        dx = ops.avg_pool2d_backward(dout, x.shape, kernel, stride, padding, False, False)
        assert not np.isnan(dx).any() and np.isinf(dx[0, 0, 0, 0])


@targets
def test_means_of_windows_whose_sum_overflows(target, table):
    """The mean of numbers of float32 is one, even where their sum is not."""
    x = np.asarray(np.random.default_rng(0).choice([-1.0, 1.0, 1.0, 1.0], (2, 3, 12, 40)) * 3e38, np.float32)
    for kernel, stride, padding in (((2, 2), 2, 0), ((3, 3), 2, 1), ((3, 2), 1, 1), ((2, 5), 3, 0), ((12, 40), 1, 0)):
        for count_padding in True, False:
            out = ops.avg_pool2d_forward(x, kernel, stride, padding, False, count_padding)
            wanted = ops.avg_pool2d_forward(x.astype(np.float64), kernel, stride, padding, False, count_padding)
            assert np.isfinite(out).all()
            np.testing.assert_allclose(out, wanted, 1e-6, 1e33)


@targets
@dtypes
def test_patches_copy_and_add(dtype, target, table):
    x = np.full((2, 3, 5, 6), np.inf, dtype)
    col = ops.im2col(x, 3, 2, 1)
    assert np.isinf(col).sum() + (col == 0).sum() == col.size
    assert np.isinf(ops.col2im(col, x.shape, 3, 2, 1)).all()


@targets
@dtypes
def test_an_infinite_cell_without_a_peephole(dtype, target, table):
    """dc0 is dcT * f: a peephole that is not there adds nothing, not 0 times the infinite gradient of its gate."""
    x, zeros = np.zeros((1, 1, 2), dtype), np.zeros((1, 3), dtype)
    Wx, Wh, c0 = np.zeros((2, 12), dtype), np.zeros((3, 12), dtype), np.full((1, 3), -np.inf, dtype)
    hs, cs, gates = ops.lstm_forward(x, Wx, Wh, None, zeros, c0)
    assert (cs == -np.inf).all() and (hs == dtype(-0.5)).all()
    dc0 = ops.lstm_backward(zeros[None], zeros + 1, x, Wx, Wh, zeros, c0, hs, cs, gates)[5]
    np.testing.assert_array_equal(dc0, zeros + dtype(0.5))
