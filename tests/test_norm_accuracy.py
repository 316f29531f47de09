"""How exact the moments of all normalisations are: constants, large offsets, a first number far from the rest, numbers
whose squares overflow; in every kernel, dtype, backend and instruction set."""

import numpy as np
import pytest
from every_target import dtypes, targets
from every_target import table as table

from fastnn import ops
from fastnn.backends import numpy_backend

# One vector, several, rows in blocks of 1,024; one tile of channels, and tiles of some images; S = 1; rows and groups
# longer than the blocks of 4,096.
BATCHES = [(9, 5), (7, 70), (2500, 35), (1, 3), (3, 4, 5, 5), (9, 3, 65, 70), (2, 70, 3), (5, 4, 1), (1, 2, 1, 1)]
ROWS = [(3, 5), (3, 256), (2, 9001), (5, 1)]
GROUPS = [(2, 6, 5, 7), (2, 6, 1), (1, 6, 61, 70), (2, 6)]


def kernels(dtype):
    """(name, shape, axes of the statistics, f(x, gamma, beta) -> out, mean, var or rstd)."""
    for shape in BATCHES:
        yield "batch_norm", shape, (0, *range(2, len(shape))), ops.batch_norm_forward
    for shape in ROWS:
        yield "layer_norm", shape, (1,), ops.layer_norm_forward
    for shape in GROUPS:
        yield "group_norm", shape, None, lambda x, gamma, beta: ops.group_norm_forward(x, gamma, beta, 3)


def exact(x, axes, epsilon):
    """Normalised in longer numbers, and the means; axes None: by three groups."""
    wide = x.astype(np.longdouble)
    seen = wide.reshape(len(x), 3, -1) if axes is None else wide
    axes = (2,) if axes is None else axes
    means = seen.mean(axes, keepdims=True)
    out = (seen - means) / np.sqrt(np.square(seen - means).mean(axes, keepdims=True) + epsilon)
    return out.reshape(x.shape), means


def reference(name, x):
    groups = (3,) if name == "group_norm" else ()
    ones = np.ones(x.shape[1], x.dtype)
    return getattr(numpy_backend, f"{name}_forward")(x, ones, 0 * ones, *groups)


@targets
@dtypes
@pytest.mark.parametrize("value", [12345.67, -0.1, 3e7, 1e-20, 0.0, 1e30])
def test_constants_normalise_to_beta(value, dtype, target, table):
    for name, shape, _, function in kernels(dtype):
        x, beta = np.full(shape, value, dtype), np.arange(shape[1], dtype=dtype)
        out, mean, spread = function(x, np.ones(shape[1], dtype), beta)
        assert (mean == dtype(value)).all(), f"{name} {shape}: mean"
        assert (out == beta.reshape(1, -1, *[1] * (len(shape) - 2))).all(), f"{name} {shape}: out"
        if name == "batch_norm":
            assert (spread == 0).all(), f"{name} {shape}: var"


@targets
@dtypes
def test_offsets_cost_no_more_than_the_rounding_of_the_mean(dtype, target, table):
    rng = np.random.default_rng(0)
    for offset in 1e3, 1e5:
        for name, shape, axes, function in kernels(dtype):
            x = np.asarray(rng.normal(size=shape) + offset, dtype)
            out, mean, _ = function(x, np.ones(shape[1], dtype), np.zeros(shape[1], dtype))
            wanted, means = exact(x, axes, 1e-6 if name == "batch_norm" else 1e-5)
            assert (np.abs(mean.ravel() - means.ravel()) <= 0.52 * np.spacing(dtype(offset))).all(), f"{name} {shape}"
            error, limit = np.abs(out - wanted).max(), np.abs(reference(name, x)[0] - wanted).max()
            assert error <= 1.3 * limit + 40 * np.finfo(dtype).eps, f"{name} {shape} + {offset:g}: {error:.3g}"


@targets
@dtypes
def test_gradients_at_an_offset_err_as_the_reference(dtype, target, table):
    rng = np.random.default_rng(1)
    for op in "batch_norm_backward", "layer_norm_backward", "group_norm_backward":
        forward = getattr(numpy_backend, op.replace("backward", "forward"))
        for shape in BATCHES[:6] if op.startswith("batch") else ROWS[:3] if op.startswith("layer") else GROUPS:
            x, dout = np.asarray(rng.normal(size=shape) + 1e3, dtype), np.asarray(rng.normal(size=shape), dtype)
            gamma = np.asarray(rng.normal(size=shape[1]), dtype)
            groups = (3,) if op.startswith("group") else ()
            own = forward(x, gamma, gamma, *groups)[1:]
            wide = [a.astype(np.float64) for a in (dout, x, gamma)]
            truth = getattr(numpy_backend, op)(*wide, *groups, *forward(wide[1], wide[2], wide[2], *groups)[1:])
            reference = getattr(numpy_backend, op)(dout, x, gamma, *groups, *own)
            got = getattr(ops, op)(dout, x, gamma, *groups, *own)
            for a, b, c in zip(got, reference, truth, strict=True):
                scale = max(np.abs(c).max(), 1)
                limit = 3 * np.abs(b - c).max() + 100 * np.finfo(dtype).eps * scale
                assert np.abs(a - c).max() <= limit, f"{op} {shape}"


@targets
def test_a_first_number_far_from_the_rest(target, table):
    """The sums are of differences from the first number: where it is an outlier they are taken again."""
    rng = np.random.default_rng(2)
    for name, shape, axes, function in kernels(np.float32):
        x = np.asarray(rng.normal(size=shape) + 1e3, np.float32)
        if x.size // shape[1] < 600 and name == "batch_norm":
            continue
        if axes is None:
            x.reshape(len(x), 3, -1)[:, :, 0] = 0
        else:
            x[tuple(slice(0, 1) if i in axes else slice(None) for i in range(x.ndim))] = 0
        out = function(x, np.ones(shape[1], np.float32), np.zeros(shape[1], np.float32))[0]
        wanted, _ = exact(x, axes, 1e-6 if name == "batch_norm" else 1e-5)
        error = np.abs(out - wanted) / np.maximum(np.abs(wanted), 1)
        assert error.max() <= 1e-5, f"{name} {shape}: {error.max():.3g}"


@targets
def test_sums_and_squares_that_overflow(target, table):
    """The mean of numbers of float32 is one, even where their sum or their difference is not; so is their variance."""
    rng = np.random.default_rng(3)
    for size in 3e38, 1.5e19, 1e-22:
        for name, shape, _, function in kernels(np.float32):
            x = np.asarray(rng.choice([-1.0, 1.0, 0.5], shape) * size, np.float32)
            got = function(x, np.ones(shape[1], np.float32), np.zeros(shape[1], np.float32))
            for a, b in zip(got, reference(name, x), strict=True):
                atol = 1e-5 * max(float(np.abs(b[np.isfinite(b)]).max(initial=0)), 1e-30)
                np.testing.assert_allclose(a, b, 1e-5, atol, err_msg=f"{name} {shape} {size:g}")
