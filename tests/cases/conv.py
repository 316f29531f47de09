"""Cases of the family conv."""

import numpy as np

from ._common import SIZES, normal, sprinkle


def _conv2d_forward(
    rng, dtype, N, C, H, W, F, kernel, stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1, bias=True,
    activation="identity", alpha=0.0, algorithm="auto", special=False,
):  # fmt: skip
    x = normal(rng, dtype, N, C, H, W)
    if special:
        sprinkle(rng, x, np.array([np.nan, np.inf, -np.inf, 0.0]))
    filters = normal(rng, dtype, F, C // groups, *kernel, scale=max(C // groups * kernel[0] * kernel[1], 1) ** -0.5)
    b = normal(rng, dtype, F) if bias else None
    return {
        "x": x, "W": filters, "b": b, "stride": stride, "padding": padding, "dilation": dilation, "groups": groups,
        "activation": activation, "alpha": alpha, "algorithm": algorithm,
    }  # fmt: skip


def _positions(size, kernel, stride, padding, dilation):
    each = zip(size, kernel, stride, padding, dilation, strict=True)
    return tuple(max((n + 2 * p - (k - 1) * d - 1) // s + 1, 0) for n, k, s, p, d in each)


def _conv2d_backward(
    rng, dtype, N, C, H, W, F, kernel, stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1, algorithm="auto"
):
    args = _conv2d_forward(rng, dtype, N, C, H, W, F, kernel, stride, padding, dilation, groups, algorithm=algorithm)
    shape = (N, F, *_positions((H, W), kernel, stride, padding, dilation))
    dout = normal(rng, dtype, *shape, scale=max(N * shape[2] * shape[3], 1) ** -0.5)
    return {"dout": dout} | {name: args[name] for name in args if name not in ("b", "activation", "alpha")}


def _conv_transpose2d_forward(
    rng, dtype, N, C, H, W, F, kernel, stride=(1, 1), padding=(0, 0), output_padding=(0, 0), dilation=(1, 1), groups=1,
    bias=True,
):  # fmt: skip
    filters = normal(rng, dtype, C, F // groups, *kernel, scale=max(C // groups * kernel[0] * kernel[1], 1) ** -0.5)
    return {
        "x": normal(rng, dtype, N, C, H, W), "W": filters, "b": normal(rng, dtype, F) if bias else None,
        "stride": stride, "padding": padding, "output_padding": output_padding, "dilation": dilation, "groups": groups,
    }  # fmt: skip


def _conv_transpose2d_backward(
    rng, dtype, N, C, H, W, F, kernel, stride=(1, 1), padding=(0, 0), output_padding=(0, 0), dilation=(1, 1), groups=1
):
    args = _conv_transpose2d_forward(
        rng, dtype, N, C, H, W, F, kernel, stride, padding, output_padding, dilation, groups
    )
    each = zip((H, W), kernel, stride, padding, output_padding, dilation, strict=True)
    size = (max((n - 1) * s - 2 * p + (k - 1) * d + o + 1, 0) for n, k, s, p, o, d in each)
    args.pop("b")
    return {"dout": normal(rng, dtype, N, F, *size, scale=max(N * H * W, 1) ** -0.5)} | args


def _im2col(rng, dtype, N, C, H, W, kernel, stride=(1, 1), padding=(0, 0)):
    return {"x": normal(rng, dtype, N, C, H, W), "kernel": kernel, "stride": stride, "padding": padding}


def _col2im(rng, dtype, N, C, H, W, kernel, stride=(1, 1), padding=(0, 0)):
    OH, OW = _positions((H, W), kernel, stride, padding, (1, 1))
    col = normal(rng, dtype, N * OH * OW, C * kernel[0] * kernel[1], scale=max(kernel[0] * kernel[1], 1) ** -0.5)
    return {"col": col, "input_shape": (N, C, H, W), "kernel": kernel, "stride": stride, "padding": padding}


def _cases(*sizes):
    """Each case is ((N, C, H, W, F, kernel), {options}); F is left out for patch matrices."""
    cases = {size: {} for size in SIZES}
    for size, rows in zip(SIZES, sizes, strict=True):
        for numbers, *more in rows:
            letters = ("N", "C", "H", "W", "F", "kernel") if len(numbers) == 6 else ("N", "C", "H", "W", "kernel")
            options = more[0] if more else {}
            name = ",".join(["x".join(map(str, numbers)), *(f"{k}={v}" for k, v in options.items())])
            cases[size][name.replace(" ", "")] = dict(zip(letters, numbers, strict=True)) | options
    return cases


_SAME = {"padding": (1, 1)}
_SHAPES = [  # the sizes of registers, rows and blocks, from below and above
    ((1, 1, 1, 1, 1, (1, 1)),),
    ((2, 3, 5, 4, 2, (5, 4)),),
    ((1, 2, 9, 40, 3, (1, 3)),),
    ((3, 5, 7, 6, 5, (3, 3)), _SAME),
    ((2, 1, 28, 28, 30, (5, 5)),),
    ((1, 1, 12, 33, 7, (7, 7)), {"padding": (3, 3)}),
    ((2, 17, 8, 8, 19, (3, 3)), _SAME),
    ((3, 16, 14, 14, 33, (3, 3)), _SAME),
    ((17, 2, 4, 4, 9, (2, 2)),),
    ((2, 20, 6, 7, 25, (1, 1)),),
    ((3, 33, 13, 9, 8, (1, 1)), {"stride": (2, 2)}),
    ((2, 3, 11, 12, 6, (3, 3)), {"stride": (2, 3), "padding": (1, 2)}),
    ((2, 2, 5, 5, 3, (2, 2)), {"stride": (4, 3)}),
    ((2, 3, 12, 11, 4, (3, 2)), {"dilation": (2, 3), "padding": (2, 1)}),
    ((1, 4, 9, 9, 6, (3, 3)), {"stride": (2, 2), "dilation": (3, 2), "padding": (3, 3)}),
    ((2, 6, 7, 9, 9, (3, 3)), {"groups": 3, "padding": (1, 1)}),
    ((2, 7, 10, 19, 7, (3, 3)), {"groups": 7, "padding": (1, 1)}),
    ((2, 5, 9, 8, 10, (3, 3)), {"groups": 5, "stride": (2, 2)}),
    ((1, 48, 6, 6, 64, (3, 3)), {"groups": 2, "padding": (1, 1)}),
    ((2, 2, 3, 3, 2, (2, 2)), {"padding": (4, 5)}),
    ((1, 130, 5, 5, 40, (3, 3)),),
]
_LAST = ((2, 3, 6, 7, 4, (3, 3)), {"padding": (1, 1)})
_BENCH = [
    ((100, 1, 28, 28, 30, (5, 5)),),
    ((1, 1, 28, 28, 30, (5, 5)),),
    ((100, 16, 28, 28, 16, (3, 3)), _SAME),
    ((1, 16, 28, 28, 16, (3, 3)), _SAME),
    ((100, 32, 14, 14, 64, (3, 3)), _SAME),
]
_FORWARD = [
    ((3, 4, 9, 9, 5, (3, 3)), option)
    for option in [
        {"bias": False},
        {"activation": "relu"},
        {"activation": "tanh", "padding": (1, 0)},
        {"activation": "leaky_relu", "alpha": 0.3, "bias": False},
        {"special": True},
        {"special": True, "activation": "relu"},
        {"algorithm": "direct"},
        {"algorithm": "winograd", "padding": (1, 1)},
    ]
]
_TRANSPOSE = [
    *_SHAPES[:13],
    ((2, 4, 5, 6, 6, (3, 3)), {"stride": (2, 2), "padding": (1, 1), "output_padding": (1, 0)}),
    ((2, 4, 5, 6, 6, (2, 3)), {"stride": (1, 2), "dilation": (3, 1), "output_padding": (2, 1), "groups": 2}),
    ((1, 6, 4, 4, 6, (4, 4)), {"stride": (2, 2), "padding": (1, 1), "groups": 6}),
]
_TRANSPOSE_BENCH = [((16, 32, 14, 14, 16, (4, 4)), {"stride": (2, 2), "padding": (1, 1)})]
_PATCHES = [
    ((1, 1, 1, 1, (1, 1)),),
    ((2, 3, 5, 4, (5, 4)),),
    ((2, 3, 9, 40, (1, 3)),),
    ((2, 3, 11, 12, (3, 3)), {"stride": (2, 3), "padding": (1, 2)}),
    ((3, 2, 5, 5, (2, 2)), {"stride": (4, 3)}),
    ((2, 2, 3, 3, (2, 2)), {"padding": (4, 5)}),
    ((1, 20, 6, 7, (3, 3)), {"padding": (1, 1)}),
]
_PATCHES_BENCH = [((100, 16, 28, 28, (3, 3)), _SAME), ((100, 1, 28, 28, (5, 5)),)]
_TINY = ((2, 2, 4, 4, 3, (3, 3)),)

CASES = {
    "conv2d_forward": _cases([_TINY], [*_SHAPES, *_FORWARD, _LAST], _BENCH),
    "conv2d_backward": _cases(
        [_TINY], [*_SHAPES, (_LAST[0], {"algorithm": "winograd", "padding": (1, 1)}), _LAST], _BENCH
    ),
    "conv_transpose2d_forward": _cases([_TINY], [*_TRANSPOSE, (*_LAST[:1], {"bias": False}), _LAST], _TRANSPOSE_BENCH),
    "conv_transpose2d_backward": _cases([_TINY], [*_TRANSPOSE, _LAST], _TRANSPOSE_BENCH),
    "im2col": _cases([((2, 2, 4, 4, (3, 3)),)], _PATCHES, _PATCHES_BENCH),
    "col2im": _cases([((2, 2, 4, 4, (3, 3)),)], _PATCHES, _PATCHES_BENCH),
}

BUILD = {
    "conv2d_forward": _conv2d_forward,
    "conv2d_backward": _conv2d_backward,
    "conv_transpose2d_forward": _conv_transpose2d_forward,
    "conv_transpose2d_backward": _conv_transpose2d_backward,
    "im2col": _im2col,
    "col2im": _col2im,
}

_GRADIENTS = "dx", "dW", "db"
RETURNS = {"conv2d_backward": _GRADIENTS, "conv_transpose2d_backward": _GRADIENTS}

# sums of up to 78,400 products; Winograd's error is stated in winograd.h
ULPS = {"conv2d": 256, "conv": 256, "col2im": 32}
