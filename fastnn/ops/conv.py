"""Convolution of images and its transpose; patch matrices. Images are (N, C, H, W).

stride, padding, dilation and kernel are (height, width), or one number for both.
"""

import operator

import numpy as np

from .. import backends
from ._check import Call
from ._images import check_image, fits, image_shape, pair, shape_of

ALGORITHMS = "auto", "direct", "winograd"


def conv2d_forward(
    x, W, b, stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1, activation="identity", alpha=0.0,
    algorithm="auto", out=None,
):  # fmt: skip
    """activation(x * W + b): x (N, C, H, W), W (FN, C / groups, kh, kw), b (FN,) or None -> (N, FN, OH, OW).

    A convolution (filters are not flipped) of images padded with zeros on both sides:
    OH = (H + 2 * padding - dilation * (kh - 1) - 1) // stride + 1, and OW alike.

    `activation` is a kind of `activation_forward`, `alpha` its parameter. `algorithm`: "direct", "winograd" (3x3
    filters, stride and dilation 1), or "auto", which takes Winograd's for float32 alone, and where it is faster.

    In float32 Winograd's errs by at most 1e-4 of the largest output (typically 1e-6; 4e-6 with 512 channels), unless
    all outputs are what much larger products leave over, and a NaN or an infinity spreads to outputs up to 5 pixels
    away; "direct" has neither. float64 is always computed directly. The same holds for the gradients. The zeros of the
    padding are numbers: 0 times an infinite weight is NaN, as in PyTorch.

    N may be 0, C, H, W and the filter's sizes not. Raises ValueError if the shapes do not fit or an array would have
    2**31 elements or more, TypeError for a dtype that is not real. Book 1 ch. 7; ONNX Conv.
    """
    args = x, W, b, stride, padding, dilation, groups, activation, alpha, algorithm, out
    result = backends.active.conv2d_forward(*args)
    return _conv2d_forward(*args) if result is None else result


def _conv2d_forward(x, W, b, stride, padding, dilation, groups, activation, alpha, algorithm, out):
    call = Call("conv2d_forward")
    call.kind(activation)
    shape, settings = _check_conv(call, x, W, stride, padding, dilation, groups, algorithm)
    x, W, b = call.floats(optional=("b",), x=x, W=W, b=b)
    _check_bias(call, b, shape[1])
    call.check_out("out", out, shape)
    result = backends.checked.conv2d_forward(x, W, b, *settings, activation, call.number("alpha", alpha), algorithm)
    return call.deliver(result, out)


def conv2d_backward(
    dout, x, W, stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1, algorithm="auto", dx=None, dW=None, db=None,
):  # fmt: skip
    """Gradients of x * W + b: dout (N, FN, OH, OW), x (N, C, H, W), W (FN, C / groups, kh, kw) -> (dx, dW, db (FN,)).

    dx=False: dx is not wanted (a network's first layer) and is None in the result. Outputs that are given are
    overwritten. Raises as conv2d_forward. Book 1 ch. 7.
    """
    args = dout, x, W, stride, padding, dilation, groups, algorithm, dx, dW, db
    result = backends.active.conv2d_backward(*args)
    return _conv2d_backward(*args) if result is None else result


def _conv2d_backward(dout, x, W, stride, padding, dilation, groups, algorithm, dx, dW, db):
    call = Call("conv2d_backward")
    shape, settings = _check_conv(call, x, W, stride, padding, dilation, groups, algorithm)
    _check_dout(call, dout, x, W, shape)
    dout, x, W = call.floats(dout=dout, x=x, W=W)
    return _gradients(call, x, W, shape, dx, dW, db, lambda dx: backends.checked.conv2d_backward(
        dout, x, W, *settings, algorithm, dx
    ))  # fmt: skip


def conv_transpose2d_forward(
    x, W, b, stride=(1, 1), padding=(0, 0), output_padding=(0, 0), dilation=(1, 1), groups=1, out=None
):
    """Transposed convolution: x (N, C, H, W), W (C, FN / groups, kh, kw), b (FN,) or None -> (N, FN, OH, OW).

    OH = (H - 1) * stride - 2 * padding + dilation * (kh - 1) + output_padding + 1, and OW alike. It is the gradient of
    conv2d with the filters W with respect to the input, in float32 by Winograd's algorithm where conv2d_backward takes
    it, which spreads NaN and infinity: see conv2d_forward. Raises as that does. PyTorch and ONNX ConvTranspose.
    """
    args = x, W, b, stride, padding, output_padding, dilation, groups, out
    result = backends.active.conv_transpose2d_forward(*args)
    return _conv_transpose2d_forward(*args) if result is None else result


def _conv_transpose2d_forward(x, W, b, stride, padding, output_padding, dilation, groups, out):
    call = Call("conv_transpose2d_forward")
    shape, settings = _check_transpose(call, x, W, stride, padding, output_padding, dilation, groups)
    x, W, b = call.floats(optional=("b",), x=x, W=W, b=b)
    _check_bias(call, b, shape[1])
    call.check_out("out", out, shape)
    return call.deliver(backends.checked.conv_transpose2d_forward(x, W, b, *settings), out)


def conv_transpose2d_backward(
    dout, x, W, stride=(1, 1), padding=(0, 0), output_padding=(0, 0), dilation=(1, 1), groups=1, dx=None, dW=None,
    db=None,
):  # fmt: skip
    """Gradients of conv_transpose2d_forward: dout (N, FN, OH, OW) -> (dx (N, C, H, W), dW, db (FN,)).

    dx=False: dx is not wanted and is None in the result. Raises as conv2d_forward.
    """
    args = dout, x, W, stride, padding, output_padding, dilation, groups, dx, dW, db
    result = backends.active.conv_transpose2d_backward(*args)
    return _conv_transpose2d_backward(*args) if result is None else result


def _conv_transpose2d_backward(dout, x, W, stride, padding, output_padding, dilation, groups, dx, dW, db):
    call = Call("conv_transpose2d_backward")
    shape, settings = _check_transpose(call, x, W, stride, padding, output_padding, dilation, groups)
    _check_dout(call, dout, x, W, shape)
    dout, x, W = call.floats(dout=dout, x=x, W=W)
    return _gradients(call, x, W, shape, dx, dW, db, lambda dx: backends.checked.conv_transpose2d_backward(
        dout, x, W, *settings, dx
    ))  # fmt: skip


def im2col(x, kernel, stride=(1, 1), padding=(0, 0), out=None):
    """Patches of x (N, C, H, W) as rows: (N * OH * OW, C * kh * kw), rows in order (n, y, z), columns (c, i, j).

    Raises as conv2d_forward, which does not need this matrix. Book 1 ch. 7.
    """
    result = backends.active.im2col(x, kernel, stride, padding, out)
    return _im2col(x, kernel, stride, padding, out) if result is None else result


def _im2col(x, kernel, stride, padding, out):
    call = Call("im2col")
    shape = shape_of(call, "x", x)
    check_image(call, "x", shape)
    settings, rows, columns = _check_patches(call, shape, kernel, stride, padding, f"x is {shape}")
    (x,) = call.floats(x=x)
    call.check_out("out", out, (rows, columns))
    return call.deliver(backends.checked.im2col(x, *settings), out)


def col2im(col, input_shape, kernel, stride=(1, 1), padding=(0, 0), out=None):
    """Adjoint of im2col: elements of col (N * OH * OW, C * kh * kw) added up where patches overlap -> (N, C, H, W).

    Raises as conv2d_forward. Book 1 ch. 7.
    """
    result = backends.active.col2im(col, input_shape, kernel, stride, padding, out)
    return _col2im(col, input_shape, kernel, stride, padding, out) if result is None else result


def _col2im(col, input_shape, kernel, stride, padding, out):
    call = Call("col2im")
    shape = image_shape(call, "input_shape", input_shape)
    settings, rows, columns = _check_patches(call, shape, kernel, stride, padding, f"input_shape is {shape}")
    found = shape_of(call, "col", col)
    call.require(
        found == (rows, columns),
        f"col is {found} but input_shape is {shape} and kernel is {settings[0]}; col must be ({rows}, {columns})",
    )
    (col,) = call.floats(col=col)
    call.check_out("out", out, shape)
    return call.deliver(backends.checked.col2im(col, shape, *settings), out)


# ---- checks ----------------------------------------------------------------------------------------------------------


def _filters(call, W):
    shape = shape_of(call, "W", W)
    call.require(len(shape) == 4, f"W is {shape}; it must have 4 dimensions (filters and channels, kh, kw)")
    call.require(min(shape) > 0, f"W is {shape}; every dimension must be at least 1")
    fits(call, "W is", shape)
    return shape


def _groups(call, groups, **channels):
    try:
        groups = operator.index(groups)
    except TypeError:
        raise call.error(TypeError, f"groups is {groups!r}; it must be an integer") from None
    call.require(groups > 0, f"groups is {groups}; it must be at least 1")
    for what, n in channels.items():
        call.require(n % groups == 0, f"the {n} {what} cannot be divided into groups = {groups}")
    return groups


def _positions(call, text, size, kernel, stride, padding, dilation):
    """(OH, OW) of a convolution; `text` tells whose."""
    padded = tuple(n + 2 * p for n, p in zip(size, padding, strict=True))
    extent = tuple((k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True))
    spread = f" with dilation {dilation}" if dilation != (1, 1) else ""
    call.require(
        extent[0] <= padded[0] and extent[1] <= padded[1],
        f"{text}: a filter of {kernel}{spread} covers {extent} but the image with padding {padding} has only {padded}",
    )
    return tuple((n - e) // s + 1 for n, e, s in zip(padded, extent, stride, strict=True))


def _check_conv(call, x, W, stride, padding, dilation, groups, algorithm):
    """-> the shape of the output, (stride, padding, dilation, groups)."""
    image, filters = shape_of(call, "x", x), _filters(call, W)
    check_image(call, "x", image)
    stride, padding = pair(call, "stride", stride, 1), pair(call, "padding", padding, 0)
    dilation = pair(call, "dilation", dilation, 1)
    groups = _groups(call, groups, **{"channels of x": image[1], "filters of W": filters[0]})
    call.require(
        filters[1] * groups == image[1],
        f"x is {image} but W is {filters} with groups = {groups}; W.shape[1] must be {image[1] // groups}, the "
        "channels of x in a group",
    )
    kernel = filters[2:]
    positions = _positions(call, f"x is {image} and W is {filters}", image[2:], kernel, stride, padding, dilation)
    fits(call, "the padded image is", (*image[:2], *(n + 2 * p for n, p in zip(image[2:], padding, strict=True))))
    shape = (image[0], filters[0], *positions)
    fits(call, "the result is", shape)
    call.require(algorithm in ALGORITHMS, f"algorithm {algorithm!r} is not one of {', '.join(ALGORITHMS)}")
    if algorithm == "winograd":
        call.require(
            kernel == (3, 3) and stride == dilation == (1, 1),
            f"algorithm 'winograd' needs 3x3 filters with stride and dilation 1; W is {filters}, stride {stride}, "
            f"dilation {dilation}",
        )
    return shape, (stride, padding, dilation, groups)


def _check_transpose(call, x, W, stride, padding, output_padding, dilation, groups):
    """-> the shape of the output, (stride, padding, output_padding, dilation, groups)."""
    image, filters = shape_of(call, "x", x), _filters(call, W)
    check_image(call, "x", image)
    stride, padding = pair(call, "stride", stride, 1), pair(call, "padding", padding, 0)
    output_padding, dilation = pair(call, "output_padding", output_padding, 0), pair(call, "dilation", dilation, 1)
    groups = _groups(call, groups, **{"channels of x": image[1]})
    call.require(
        filters[0] == image[1], f"x is {image} but W is {filters}; W.shape[0] must be the {image[1]} channels of x"
    )
    call.require(
        all(o < max(s, d) for o, s, d in zip(output_padding, stride, dilation, strict=True)),
        f"output_padding is {output_padding}; it must be smaller than stride {stride} or dilation {dilation}",
    )
    each = zip(image[2:], filters[2:], stride, padding, output_padding, dilation, strict=True)
    positions = tuple((n - 1) * s - 2 * p + (k - 1) * d + o + 1 for n, k, s, p, o, d in each)
    call.require(
        min(positions) > 0,
        f"x is {image} and W is {filters}: with padding {padding} the result has the size {positions}",
    )
    shape = (image[0], filters[1] * groups, *positions)
    fits(
        call,
        "the result with its padding is",
        (*shape[:2], *(n + 2 * p for n, p in zip(positions, padding, strict=True))),
    )
    return shape, (stride, padding, output_padding, dilation, groups)


def _check_bias(call, b, filters):
    if b is not None:
        call.require(b.shape == (filters,), f"b is {b.shape} but there are {filters} filters; b must be ({filters},)")


def _check_dout(call, dout, x, W, shape):
    found = shape_of(call, "dout", dout)
    call.require(found == shape, f"dout is {found} but x is {np.shape(x)} and W is {np.shape(W)}; dout must be {shape}")


def _gradients(call, x, W, shape, dx, dW, db, backward):
    """backward(None, or False where dx is not wanted), delivered."""
    unwanted = dx is False
    if not unwanted:
        call.check_out("dx", dx, x.shape)
    call.check_out("dW", dW, W.shape)
    call.check_out("db", db, shape[1:2])
    return call.deliver(backward(False if unwanted else None), None if unwanted else dx, dW, db)


def _check_patches(call, image, kernel, stride, padding, text):
    """-> (kernel, stride, padding), rows and columns of the patch matrix."""
    kernel = pair(call, "kernel", kernel, 1)
    stride, padding = pair(call, "stride", stride, 1), pair(call, "padding", padding, 0)
    OH, OW = _positions(call, text, image[2:], kernel, stride, padding, (1, 1))
    rows, columns = image[0] * OH * OW, image[1] * kernel[0] * kernel[1]
    fits(call, "the padded image is", (*image[:2], *(n + 2 * p for n, p in zip(image[2:], padding, strict=True))))
    fits(call, "the patch matrix is", (max(image[0], 1) * OH * OW, columns))
    return (kernel, stride, padding), rows, columns
