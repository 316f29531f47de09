"""Every operation, at every size, in both dtypes, on every target, against the reference in float64; and bad input."""

import functools
import inspect
import math
import re

import cases
import numpy as np
import pytest
from cases import CASES, OPS, OUTPUTS, SIZES, TARGETS
from every_target import dtypes, targets
from every_target import table as table

from fastnn import backends, ops
from fastnn.backends import numpy_backend

all_ops = pytest.mark.parametrize("op", OPS)


@functools.lru_cache(maxsize=64)
def expected(op, size, dtype, case):
    return cases.expected(op, cases.make(op, size, dtype, case))


def run(table, op, args, **outputs):
    """The backend's own function; where native declines an unusual shape, the public function."""
    results = cases.run(getattr(table, op), op, args, **outputs)
    return cases.run(getattr(ops, op), op, args, **outputs) if results is None else results


def bits(value):
    return value.tobytes() if isinstance(value, np.ndarray) else value


def snapshot(args):
    return [[bits(a) for a in v] if isinstance(v, list) else bits(v) for v in args.values()]


def _dtypes_sizes_and_targets():
    """All, but at the benchmarks' sizes by day neither the reference, whose expectation is its own float64, nor slow
    targets in float64, whose code is the template that float32 runs.
    """
    for dtype in (np.float32, np.float64):
        for size in SIZES:
            for target in TARGETS:
                marks = [pytest.mark.wheel] if size == "tiny" else []
                slow = ("numpy",) if dtype is np.float32 else ("numpy", "numba", "native-baseline")
                marks += [pytest.mark.nightly] if size == "bench" and target in slow else []
                yield pytest.param(dtype, size, target, marks=marks, id=f"{dtype.__name__}-{size}-{target}")


# The target varies fastest, so that the expected values are computed once.
@pytest.mark.parametrize("dtype, size, target", [*_dtypes_sizes_and_targets()])
@all_ops
def test_matches_reference(op, size, dtype, target, table):
    if target == "numba" and getattr(table, op) is getattr(numpy_backend, op):
        pytest.skip("Numba's table has NumPy's own function")
    for case in CASES[op][size]:
        args = cases.make(op, size, dtype, case)
        results = run(table, op, args)
        assert results is not None, f"{case}: declined"
        for name, value in expected(op, size, dtype, case).items():
            cases.assert_close(results[name], value, op, dtype, f"{op} {case} {name}")


@targets
@dtypes
@all_ops
def test_fills_given_outputs(op, dtype, target, table):
    for size in "tiny", "odd":
        for case in CASES[op][size]:
            args = cases.make(op, size, dtype, case)
            plain = run(table, op, args)
            outputs = {name: np.full_like(plain[name], 99) for name in OUTPUTS[op] if name in plain}
            results = run(table, op, args, **outputs)
            for name, value in plain.items():
                np.testing.assert_array_equal(results[name], value, f"{op} {case} {name}")
            for name in outputs:
                assert results[name] is outputs[name], f"{case}: {name} was not filled but replaced"


@targets
@dtypes
@all_ops
def test_leaves_inputs_alone(op, dtype, target, table):
    for size in "tiny", "odd":
        for case in CASES[op][size]:
            args = cases.make(op, size, dtype, case)
            own = {name: v for name, v in args.items() if name not in cases.IN_PLACE[op]}
            before = snapshot(own)
            if getattr(table, op)(**args) is None:
                getattr(ops, op)(**args)
            assert snapshot(own) == before, case


@targets
@all_ops
def test_output_may_overlap_the_input(op, target, table):
    """Element-wise and row operations may write over an argument of the same shape; the result is the same."""
    if not OUTPUTS[op] or op.startswith(("matmul", "affine", "conv", "im2col", "col2im")):
        pytest.skip("no output of the input's shape")
    args = cases.make(op, "odd", np.float32, list(CASES[op]["odd"])[3])
    plain = run(table, op, args)
    out = OUTPUTS[op][-1 if op.startswith("softmax_cross_entropy_forward") else 0]
    args = cases.copied(args)
    source = next((a for a in args.values() if isinstance(a, np.ndarray) and a.shape == plain[out].shape), None)
    if source is None:
        pytest.skip("no argument of the output's shape")
    function = getattr(ops if target.startswith("native") else table, op)
    result = function(**args, **{out: source})
    results = dict(zip(cases.RETURNS[op], result if isinstance(result, tuple) else (result,), strict=True))
    assert results[out] is source
    for name in plain:
        np.testing.assert_array_equal(results[name], plain[name], f"{op} {name}")


@targets
@all_ops
def test_public_function_takes_any_layout(op, target, table):
    """Strided, reversed, column-major and misaligned arguments, and outputs with strides: the same numbers."""
    args = cases.make(op, "odd", np.float32, list(CASES[op]["odd"])[-1])
    plain = run(table, op, args)

    def strided(a):
        wide = np.zeros((*a.shape[:-1], 2 * a.shape[-1]), a.dtype) if a.ndim else np.zeros((), a.dtype)
        view = wide[..., ::2] if a.ndim else wide
        view[...] = a
        return view

    def reverse(a):
        return a[::-1].copy()[::-1] if a.ndim else a

    def column_major(a):
        return np.asfortranarray(a) if a.ndim else a

    def misaligned(a):
        memory = np.zeros(a.nbytes + 1, np.uint8)
        view = memory[1:].view(a.dtype).reshape(a.shape) if a.size else a
        view[...] = a
        return view

    for layout in strided, reverse, column_major, misaligned:

        def change(value, layout=layout):
            if isinstance(value, np.ndarray):
                return layout(value)
            return [change(v) for v in value] if isinstance(value, list) else value

        changed = {name: change(v) for name, v in cases.copied(args).items()}
        outputs = {name: layout(np.zeros_like(plain[name])) for name in OUTPUTS[op] if name in plain}
        result = getattr(ops, op)(**changed, **outputs)
        results = dict(zip(cases.RETURNS[op], result if isinstance(result, tuple) else (result,), strict=True))
        for name in cases.IN_PLACE[op]:
            results |= {f"{name}[{i}]": a for i, a in enumerate(changed[name])}
        for name, value in plain.items():
            if target.startswith("native"):  # the same bits, whatever the layout
                np.testing.assert_array_equal(results[name], value, f"{op} {layout.__name__} {name}")
            else:
                cases.assert_close(results[name], cases.expected(op, args)[name], op, np.float32, layout.__name__)


@all_ops
def test_names_of_arguments_agree(op):
    """ops, NumPy, Numba and native take the same arguments in the same order."""
    names = list(OPS[op].parameters)
    assert list(inspect.signature(getattr(ops, op)).parameters) == names
    for backend in backends.available():
        function = getattr(backends.load(backend), op)
        if inspect.isfunction(function):
            found = list(inspect.signature(function).parameters)
        else:  # a pybind11 function: its signature is the first line of the docstring
            text = re.match(rf"{op}\((.*)\) ->", function.__doc__).group(1)
            found = re.findall(r"(\w+):", text)
        assert found == names, backend


# ---- bad input: (operation, arguments that replace those of the tiny case, exception, words of the message) ---------


def f32(*shape):
    return np.ones(shape, np.float32)


def read_only(*shape):
    a = f32(*shape)
    a.flags.writeable = False
    return a


BAD = [
    ("matmul", {"b": f32(5, 4)}, ValueError, "matmul: a is (2, 3) but b is (5, 4)"),
    ("matmul", {"a": f32(3, 2, 3)}, ValueError, "matmul: a is (3, 2, 3); it must have 2 dimensions"),
    ("matmul", {"a": f32(3, 2, 3), "b": f32(2, 3, 4)}, ValueError, "a is (3, 2, 3) but b is (2, 3, 4); the first"),
    ("matmul", {"a": f32(2, 2, 3), "b": f32(2, 2, 4)}, ValueError, "a.shape[2] must equal b.shape[1]"),
    ("affine_forward", {"W": f32(5, 4)}, ValueError, "x is (2, 3) but W is (5, 4)"),
    ("affine_forward", {"b": f32(3)}, ValueError, "b is (3,)"),
    ("affine_forward", {"x": f32(3)}, ValueError, "x is (3,)"),
    ("affine_forward", {"out": f32(2, 5)}, ValueError, "out is (2, 5)"),
    ("affine_forward", {"out": np.zeros((2, 4), np.float64)}, TypeError, "out has dtype float64"),
    ("affine_forward", {"out": read_only(2, 4)}, ValueError, "out is read-only"),
    ("affine_forward", {"out": [[0.0]]}, TypeError, "out is a list"),
    ("affine_forward", {"activation": "rleu"}, ValueError, "'rleu'"),
    ("affine_forward", {"x": f32(2, 3).astype(complex)}, TypeError, "complex"),
    ("affine_forward", {"x": np.array([["a", "b", "c"]] * 2)}, TypeError, "x has dtype <U1"),
    ("affine_forward", {"x": np.array([[None] * 3] * 2)}, TypeError, "x has dtype object"),
    ("affine_backward", {"dout": f32(3, 4)}, ValueError, "dout is (3, 4)"),
    ("affine_backward", {"dW": read_only(3, 4)}, ValueError, "dW is read-only"),
    (
        "conv2d_forward",
        {"W": f32(3, 2, 5, 3)},
        ValueError,
        "covers (5, 3) but the image with padding (0, 0) has only (4, 4)",
    ),
    ("conv2d_forward", {"dilation": (1, 2)}, ValueError, "covers (3, 5)"),
    ("conv2d_forward", {"W": f32(3, 1, 3, 3)}, ValueError, "x is (2, 2, 4, 4) but W is (3, 1, 3, 3) with groups = 1"),
    ("conv2d_forward", {"groups": 3}, ValueError, "the 2 channels of x cannot be divided into groups = 3"),
    ("conv2d_forward", {"groups": 2}, ValueError, "the 3 filters of W cannot be divided into groups = 2"),
    ("conv2d_forward", {"groups": 0}, ValueError, "groups is 0"),
    ("conv2d_forward", {"stride": 0}, ValueError, "stride is 0"),
    ("conv2d_forward", {"stride": (1, -1)}, ValueError, "stride is (1, -1)"),
    ("conv2d_forward", {"stride": 2**64}, ValueError, "stride is 18446744073709551616"),
    ("conv2d_forward", {"stride": 1.5}, TypeError, "stride is 1.5"),
    ("conv2d_forward", {"stride": (1, 1, 1)}, TypeError, "stride is (1, 1, 1)"),
    ("conv2d_forward", {"padding": -1}, ValueError, "padding is -1"),
    ("conv2d_forward", {"padding": 2**16}, ValueError, "the padded image is (2, 2, 131076, 131076)"),
    ("conv2d_forward", {"padding": 2**62}, ValueError, "padding is"),
    ("conv2d_forward", {"x": f32(2, 2, 0, 4)}, ValueError, "x is (2, 2, 0, 4); C, H and W must be at least 1"),
    ("conv2d_forward", {"x": f32(2, 4, 4)}, ValueError, "x is (2, 4, 4)"),
    ("conv2d_forward", {"b": f32(2)}, ValueError, "b is (2,)"),
    ("conv2d_forward", {"activation": "rleu"}, ValueError, "'rleu'"),
    ("conv2d_forward", {"algorithm": "fft"}, ValueError, "'fft'"),
    ("conv2d_forward", {"algorithm": "winograd", "stride": (2, 2)}, ValueError, "3x3 filters with stride"),
    ("conv2d_forward", {"out": f32(2, 3, 2, 3)}, ValueError, "out is (2, 3, 2, 3)"),
    ("conv2d_forward", {"x": None}, TypeError, "x is None"),
    ("conv2d_backward", {"dout": f32(2, 3, 4, 4)}, ValueError, "dout must be (2, 3, 2, 2)"),
    ("conv2d_backward", {"x": f32(2, 2, 2, 4)}, ValueError, "covers (3, 3)"),
    ("conv2d_backward", {"dW": read_only(3, 2, 3, 3)}, ValueError, "dW is read-only"),
    ("conv2d_backward", {"dx": f32(2, 2, 4, 5)}, ValueError, "dx is (2, 2, 4, 5)"),
    ("conv_transpose2d_forward", {"W": f32(3, 2, 3, 3)}, ValueError, "W.shape[0] must be the 2 channels of x"),
    ("conv_transpose2d_forward", {"padding": 3}, ValueError, "the result has the size (0, 0)"),
    ("conv_transpose2d_forward", {"output_padding": 1}, ValueError, "output_padding is (1, 1)"),
    ("conv_transpose2d_forward", {"stride": 2**30}, ValueError, "the result with its padding is (2, 3,"),
    ("conv_transpose2d_forward", {"b": f32(2)}, ValueError, "b is (2,)"),
    ("conv_transpose2d_backward", {"dout": f32(2, 3, 4, 4)}, ValueError, "dout must be (2, 3, 6, 6)"),
    ("im2col", {"kernel": 5}, ValueError, "covers (5, 5)"),
    ("im2col", {"kernel": (0, 1)}, ValueError, "kernel is (0, 1)"),
    ("im2col", {"stride": 0}, ValueError, "stride is 0"),
    ("im2col", {"padding": 20000}, ValueError, "at most 2,147,483,647"),
    ("im2col", {"out": f32(8, 17)}, ValueError, "out is (8, 17)"),
    ("col2im", {"col": f32(8, 17)}, ValueError, "col must be (8, 18)"),
    ("col2im", {"input_shape": (2, 2, 4)}, ValueError, "input_shape is (2, 2, 4)"),
    ("col2im", {"input_shape": 4}, TypeError, "input_shape is 4"),
    ("col2im", {"stride": (-2, 1)}, ValueError, "stride is (-2, 1)"),
    ("activation_forward", {"kind": "rleu"}, ValueError, "'rleu'"),
    ("activation_backward", {"saved": f32(3, 2)}, ValueError, "(3, 2)"),
    ("relu_forward", {"out": f32(3, 2)}, ValueError, "out is (3, 2)"),
    ("relu_forward", {"mask": np.zeros(1, np.uint8)}, ValueError, "mask is (1,)"),
    ("relu_backward", {"mask": np.zeros(16, np.uint8)}, ValueError, "mask"),
    ("relu_backward", {"mask": np.zeros(8, np.int8)}, TypeError, "mask"),
    ("softmax_forward", {"x": f32(2, 3, 4)}, ValueError, "x is (2, 3, 4)"),
    ("softmax_backward", {"dout": f32(2, 4)}, ValueError, "(2, 4)"),
    ("softmax_cross_entropy_forward", {"t": np.array([0, 3])}, IndexError, "t[1] is 3"),
    ("softmax_cross_entropy_forward", {"t": np.array([-1, 0])}, IndexError, "t[0] is -1"),
    (
        "softmax_cross_entropy_forward",
        {"t": np.array([0, 2**64 - 1], np.uint64)},
        IndexError,
        "t[1] is 18446744073709551615",
    ),
    ("softmax_cross_entropy_forward", {"t": np.array([0, 1, 2])}, ValueError, "t is (3,)"),
    ("softmax_cross_entropy_forward", {"t": f32(2, 4)}, ValueError, "t is (2, 4)"),
    ("softmax_cross_entropy_forward", {"t": np.array([0.0, 1.0])}, TypeError, "t"),
    ("softmax_cross_entropy_forward", {"weight": f32(2)}, ValueError, "weight is (2,)"),
    ("softmax_cross_entropy_backward", {"t": np.array([0, 3])}, IndexError, "t[1] is 3"),
    ("affine_softmax_cross_entropy", {"t": np.array([0, 3])}, IndexError, "t[1] is 3"),
    ("affine_softmax_cross_entropy", {"W": f32(5, 3)}, ValueError, "x is (2, 4) but W is (5, 3)"),
    ("affine_softmax_cross_entropy", {"weight": f32(4)}, ValueError, "weight is (4,) but x is (2, 4) and W is (4, 3)"),
    ("affine_softmax_cross_entropy", {"dW": f32(4, 4)}, ValueError, "dW is (4, 4)"),
    ("sigmoid_cross_entropy_forward", {"t": f32(3)}, ValueError, "(3,)"),
    ("squared_error_forward", {"t": f32(3)}, ValueError, "(3,)"),
    ("batch_norm_forward", {"gamma": f32(4)}, ValueError, "gamma is (4,)"),
    ("batch_norm_inference", {"var": f32(4)}, ValueError, "var is (4,)"),
    ("batch_norm_backward", {"dout": f32(3, 4)}, ValueError, "(3, 4)"),
    ("batch_norm_forward", {"x": f32(4)}, ValueError, "x is (4,)"),
    ("batch_norm_forward", {"x": f32(2, 4, 3)}, ValueError, "gamma is (3,) but x is (2, 4, 3)"),
    ("layer_norm_forward", {"x": f32(4, 3, 2)}, ValueError, "x is (4, 3, 2)"),
    ("layer_norm_forward", {"beta": f32(4)}, ValueError, "beta is (4,) but x is (4, 3)"),
    ("layer_norm_backward", {"rstd": f32(3)}, ValueError, "rstd is (3,) but x is (4, 3); rstd must be (4,)"),
    ("group_norm_forward", {"groups": 3}, ValueError, "groups is 3; it must divide the 4 channels of x"),
    ("group_norm_forward", {"groups": 0}, ValueError, "groups is 0"),
    ("group_norm_forward", {"groups": 2.5}, TypeError, "groups is 2.5"),
    ("group_norm_backward", {"mean": f32(2, 4)}, ValueError, "mean is (2, 4) but x is (2, 4, 3)"),
    ("max_pool2d_forward", {"x": f32(3, 4, 6)}, ValueError, "x is (3, 4, 6); it must have 4 dimensions"),
    ("max_pool2d_forward", {"x": f32(2, 3, 0, 6)}, ValueError, "x is (2, 3, 0, 6)"),
    ("max_pool2d_forward", {"kernel": (5, 2)}, ValueError, "no window of kernel (5, 2) fits into the image"),
    ("max_pool2d_forward", {"kernel": 0}, ValueError, "kernel is 0"),
    ("max_pool2d_forward", {"kernel": (2, 2, 2)}, TypeError, "kernel is (2, 2, 2)"),
    ("max_pool2d_forward", {"kernel": 2.5}, TypeError, "kernel is 2.5"),
    ("max_pool2d_forward", {"kernel": 2**31 - 1, "padding": 2**30 - 1}, ValueError, "elements"),
    ("max_pool2d_forward", {"stride": 0}, ValueError, "stride is 0"),
    ("max_pool2d_forward", {"stride": (1, -2)}, ValueError, "stride is (1, -2)"),
    ("max_pool2d_forward", {"stride": 2**64}, ValueError, "stride is 18446744073709551616"),
    ("max_pool2d_forward", {"padding": (2, 0)}, ValueError, "padding is (2, 0); it must be at most half of kernel"),
    ("max_pool2d_forward", {"padding": -1}, ValueError, "padding is -1"),
    ("max_pool2d_forward", {"out": f32(2, 3, 2, 2)}, ValueError, "out is (2, 3, 2, 2) but the result is (2, 3, 2, 3)"),
    ("max_pool2d_forward", {"arg": np.zeros((2, 3, 2, 3), int)}, TypeError, "arg has dtype int64"),
    ("max_pool2d_backward", {"dout": f32(2, 3, 2, 2)}, ValueError, "dout is (2, 3, 2, 2)"),
    ("max_pool2d_backward", {"arg": np.zeros((2, 3, 2, 2), np.uint8)}, ValueError, "(2, 3, 2, 2)"),
    ("max_pool2d_backward", {"arg": np.zeros((2, 3, 2, 3), np.int32)}, TypeError, "arg has dtype int32"),
    ("max_pool2d_backward", {"arg": np.full((2, 3, 2, 3), 4, np.uint8)}, IndexError, "from 4 to 4"),
    ("max_pool2d_backward", {"input_shape": (2, 3, 4, 2**62)}, ValueError, "elements"),
    ("max_pool2d_backward", {"input_shape": (2, 3, 4)}, ValueError, "input_shape is (2, 3, 4)"),
    ("max_pool2d_backward", {"input_shape": 4}, TypeError, "input_shape is 4"),
    ("max_pool2d_backward", {"stride": 3}, ValueError, "dout is (2, 3, 2, 3) but input_shape is (2, 3, 4, 6)"),
    ("avg_pool2d_forward", {"kernel": 7}, ValueError, "no window of kernel (7, 7)"),
    ("avg_pool2d_forward", {"out": f32(2)}, ValueError, "out is (2,)"),
    ("avg_pool2d_backward", {"dout": f32(2, 3, 2, 2)}, ValueError, "the result of pooling it is (2, 3, 2, 3)"),
    ("avg_pool2d_backward", {"dx": read_only(2, 3, 4, 6)}, ValueError, "dx is read-only"),
    ("rnn_forward", {"x": f32(2, 0, 4)}, ValueError, "x is (2, 0, 4): there is no time step"),
    ("rnn_forward", {"x": f32(2, 4)}, ValueError, "x is (2, 4); it must have 3 dimensions"),
    ("rnn_forward", {"Wx": f32(5, 5)}, ValueError, "x is (2, 3, 4) but Wx is (5, 5)"),
    ("rnn_forward", {"Wh": f32(5, 4)}, ValueError, "Wh is (5, 4); it must be (H, H)"),
    ("rnn_forward", {"b": f32(4)}, ValueError, "b is (4,) but Wh is (5, 5); it must be (5,)"),
    ("rnn_forward", {"h0": f32(3, 5)}, ValueError, "h0 is (3, 5) but x is (2, 3, 4)"),
    ("rnn_forward", {"activation": "gelu"}, ValueError, "activation 'gelu' is not one of tanh, relu, sigmoid"),
    ("rnn_forward", {"activation": None}, ValueError, "activation None"),
    ("rnn_forward", {"lengths": [3]}, ValueError, "lengths is (1,) but there are 2 sequences"),
    ("rnn_forward", {"lengths": [3, 4]}, ValueError, "lengths[1] is 4; lengths must lie in [0, 3]"),
    ("rnn_forward", {"lengths": np.array([-1, 2])}, ValueError, "lengths[0] is -1"),
    ("rnn_forward", {"lengths": [1.0, 2.0]}, TypeError, "lengths has dtype float64"),
    ("rnn_forward", {"hs": f32(2, 3, 4)}, ValueError, "hs is (2, 3, 4) but the result is (2, 3, 5)"),
    ("rnn_forward", {"Wx": None}, TypeError, "Wx is None"),
    ("rnn_backward", {"hs": f32(2, 3, 4)}, ValueError, "hs is (2, 3, 4)"),
    ("rnn_backward", {"dhs": f32(3, 2, 5)}, ValueError, "dhs is (3, 2, 5)"),
    ("rnn_backward", {"dWh": f32(5, 4)}, ValueError, "dWh is (5, 4) but the result is (5, 5)"),
    ("rnn_backward", {"activation": "step"}, ValueError, "activation 'step'"),
    ("lstm_forward", {"Wx": f32(4, 16)}, ValueError, "Wx is (4, 16) but Wh is (5, 20)"),
    ("lstm_forward", {"Wh": f32(5, 15)}, ValueError, "Wh is (5, 15); it must be (H, 4 * H)"),
    ("lstm_forward", {"c0": f32(2, 4)}, ValueError, "c0 is (2, 4) but x is (2, 3, 4)"),
    ("lstm_forward", {"peephole": f32(5)}, ValueError, "peephole is (5,)"),
    ("lstm_forward", {"time_major": True}, ValueError, "h0 is (2, 5) but x is (2, 3, 4)"),
    ("lstm_forward", {"x": np.ones((2, 3, 4), complex)}, TypeError, "complex"),
    ("lstm_backward", {"dcT": f32(3, 5)}, ValueError, "dcT is (3, 5)"),
    ("lstm_backward", {"gates": f32(2, 3, 15)}, ValueError, "gates is (2, 3, 15)"),
    ("lstm_backward", {"dpeephole": f32(15)}, ValueError, "dpeephole is given but peephole is None"),
    ("lstm_backward", {"dc0": read_only(2, 5)}, ValueError, "dc0 is read-only"),
    ("gru_forward", {"b_h": f32(5)}, ValueError, "b_h is given"),
    ("gru_forward", {"Wh": f32(5, 20)}, ValueError, "Wh is (5, 20)"),
    ("gru_backward", {"linear_before_reset": True}, ValueError, "gates is (2, 3, 15)"),
    ("gru_backward", {"lengths": [1, 2, 3]}, ValueError, "lengths is (3,)"),
    ("scaled_dot_product_attention_forward", {"q": f32(2, 3, 4)}, ValueError, "q is (2, 3, 4) but k is (2, 4, 5)"),
    ("scaled_dot_product_attention_forward", {"q": f32(3, 5)}, ValueError, "q is (3, 5); it must have 3 dimensions"),
    ("scaled_dot_product_attention_forward", {"k": f32(2, 4, 1, 5)}, ValueError, "but k is (2, 4, 1, 5)"),
    ("scaled_dot_product_attention_forward", {"v": f32(2, 3, 6)}, ValueError, "k is (2, 4, 5) but v is (2, 3, 6)"),
    ("scaled_dot_product_attention_forward", {"v": None}, TypeError, "v is None"),
    ("scaled_dot_product_attention_forward", {"mask": np.ones((2, 3), bool)}, ValueError, "mask is (2, 3)"),
    ("scaled_dot_product_attention_forward", {"mask": f32(2, 4)}, TypeError, "mask has dtype float32"),
    ("scaled_dot_product_attention_forward", {"out": f32(2, 3, 5)}, ValueError, "out is (2, 3, 5)"),
    ("scaled_dot_product_attention_backward", {"dout": f32(2, 3, 5)}, ValueError, "dout is (2, 3, 5)"),
    ("scaled_dot_product_attention_backward", {"dk": read_only(2, 4, 5)}, ValueError, "dk is read-only"),
    ("add_arrays", {"b": f32(3, 2)}, ValueError, "add_arrays: a is (2, 3) but b is (3, 2)"),
    ("add_arrays", {"out": read_only(2, 3)}, ValueError, "out is read-only"),
    ("concatenate", {"b": f32(3, 4)}, ValueError, "a is (2, 3) but b is (3, 4); they must have equally many rows"),
    ("concatenate", {"a": f32(3)}, ValueError, "a is (3,); it must have 2 dimensions"),
    ("concatenate", {"out": f32(2, 6)}, ValueError, "out is (2, 6) but the result is (2, 7)"),
    ("split", {"columns": 8}, ValueError, "columns is 8 but x is (2, 7)"),
    ("split", {"columns": -1}, ValueError, "columns is -1"),
    ("split", {"columns": 1.5}, TypeError, "columns is 1.5"),
    ("split", {"a": f32(2, 4)}, ValueError, "a is (2, 4) but the result is (2, 3)"),
    ("dropout2d_forward", {"x": f32(3)}, ValueError, "x is (3,)"),
    ("dropout2d_forward", {"ratio": -0.5}, ValueError, "ratio is -0.5"),
    ("dropout2d_backward", {"mask": np.zeros(16, np.uint8)}, ValueError, "mask"),
    ("dropout_forward", {"ratio": 1.5}, ValueError, "ratio is 1.5"),
    ("dropout_forward", {"ratio": math.nan}, ValueError, "ratio is nan"),
    ("dropout_forward", {"key": 2**64}, ValueError, "key"),
    ("dropout_forward", {"key": -1}, ValueError, "key"),
    ("dropout_backward", {"mask": np.zeros(16, np.uint8)}, ValueError, "mask"),
    ("legacy_dropout_forward", {"state": np.zeros(624, np.uint32)}, ValueError, "state is (624,)"),
    ("legacy_dropout_forward", {"state": np.zeros(625, np.int64)}, TypeError, "state has dtype int64"),
    ("legacy_dropout_forward", {"state": np.full(625, 625, np.uint32)}, ValueError, "position 625"),
    ("sgd_update", {"grads": []}, ValueError, "grads has 0 arrays but params has 1"),
    ("sgd_update", {"grads": [f32(3, 2)]}, ValueError, "grads[0] is (3, 2)"),
    ("sgd_update", {"params": [read_only(2, 3)]}, ValueError, "params[0] is read-only"),
    ("sgd_update", {"params": [np.zeros((2, 3), int)]}, TypeError, "params[0] has dtype int64"),
    ("adam_update", {"v": []}, ValueError, "v has 0 arrays"),
    ("scale_arrays", {"arrays": [read_only(2, 3)]}, ValueError, "arrays[0] is read-only"),
]


@pytest.mark.parametrize("target", ["numpy", "numba", "native-baseline"])
@pytest.mark.parametrize(("op", "change", "error", "words"), BAD, ids=lambda v: v if isinstance(v, str) else "")
def test_bad_input_is_explained(op, change, error, words, target, table):
    args = cases.make(op, "tiny", np.float32) | change
    before = snapshot(args)
    with pytest.raises(error, match=re.escape(words)) as caught:
        getattr(ops, op)(**args)
    assert str(caught.value).startswith(f"{op}: ")
    assert snapshot(args) == before


@pytest.mark.parametrize("target", ["numpy", "numba", "native-baseline"])
@pytest.mark.parametrize("epsilon", [0.0, 1e-7])
def test_one_hot_targets_of_either_dtype_are_labels(epsilon, target, table):
    rng = np.random.default_rng(3)
    x, labels = rng.standard_normal((70, 19)).astype(np.float32), rng.integers(0, 19, 70)
    loss, y = ops.softmax_cross_entropy_forward(x, labels, epsilon=epsilon)
    dx = ops.softmax_cross_entropy_backward(y, labels)
    for dtype in np.float32, np.float64:
        t = np.eye(19, dtype=dtype)[labels]
        assert ops.softmax_cross_entropy_forward(x, t, epsilon=epsilon)[0] == pytest.approx(loss, rel=1e-6)
        np.testing.assert_allclose(ops.softmax_cross_entropy_backward(y, t), dx, rtol=1e-6, atol=1e-9)
        for wrong in 2.0, np.nan, 0.0:  # no longer one-hot: soft targets
            t[69, labels[69]] = wrong
            soft = ops.softmax_cross_entropy_forward(x, t, epsilon=epsilon)[0]
            assert np.isnan(soft) if np.isnan(wrong) else soft != pytest.approx(loss, rel=1e-4)


@pytest.mark.parametrize("target", ["numpy", "numba", "native-baseline"])
def test_sizes_beyond_31_bits_are_refused_before_anything_is_converted(target, table):
    x, W = np.broadcast_to(np.float16(1), (2, 2, 2**15, 2**15)), f32(2, 2, 3, 3)
    for op in ops.conv2d_forward, ops.conv_transpose2d_forward:
        with pytest.raises(ValueError, match="4,294,967,296 elements"):
            op(x, W, None)
    with pytest.raises(ValueError, match="4,294,967,296 elements"):
        ops.im2col(x, 3)


@pytest.mark.parametrize("target", ["numpy", "numba", "native-baseline"])
@pytest.mark.parametrize("op", ["conv2d_backward", "conv_transpose2d_backward"])
def test_dx_that_is_not_wanted_is_left_out(op, target, table):
    args = cases.make(op, "tiny", np.float32)
    _, *wanted = getattr(ops, op)(**args)
    for skipped in getattr(ops, op)(**args, dx=False), getattr(ops, op)(**args | {"x": args["x"].tolist()}, dx=False):
        assert skipped[0] is None
        for a, b in zip(skipped[1:], wanted, strict=True):
            np.testing.assert_allclose(a, b, 1e-5, 1e-5)


@pytest.mark.parametrize("target", ["numpy", "numba", "native-baseline"])
def test_one_number_stands_for_both_axes(target, table):
    x, W = (
        cases.build("conv2d_forward", np.float32, N=2, C=4, H=9, W=9, F=6, kernel=(3, 3), groups=2)["x"],
        f32(6, 2, 3, 3),
    )
    np.testing.assert_array_equal(
        ops.conv2d_forward(x, W, None, 2, 1, np.int64(2), 2),
        ops.conv2d_forward(x, W, None, (2, 2), [1, 1], np.array([2, 2]), 2),
    )
    np.testing.assert_array_equal(ops.im2col(x, 3, 2, 1), ops.im2col(x, (3, 3), (2, 2), (1, 1)))


@pytest.mark.parametrize("target", ["numpy", "numba", "native-baseline"])
def test_result_dtype_is_numpys(target, table):
    x, W = np.arange(6).reshape(2, 3), f32(3, 4)
    assert ops.affine_forward(x.astype(np.float16), W, None).dtype == np.float32
    assert ops.affine_forward(x.astype(np.float16), W.astype(np.float16), None).dtype == np.float16
    assert ops.affine_forward(x, W, None).dtype == (x @ W).dtype == np.float64
    assert ops.affine_forward(x.astype(np.uint8), W, None).dtype == np.float32
    assert ops.activation_forward([1, 2], "tanh").dtype == np.float64
    np.testing.assert_allclose(ops.affine_forward(x.tolist(), W, f32(4)), x @ W + 1)
