"""Convolution of images, its gradients and its transpose; the patch matrix of the books and its adjoint.

Patches are matrices (C / groups * kh * kw, OH * OW) of each sample and group, so that everything is a matrix product.
"""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from ._common import _result
from .activation import activation_forward


def _patches(x, kernel, stride, padding, dilation=(1, 1), positions=(None, None)):
    """View (N, C, kh, kw, OH, OW) of the padded x: [n, c, i, j, y, z] = x[n, c, y * sh + i * dh, z * sw + j * dw].

    `positions`: OH and OW where there may be more.
    """
    (kh, kw), (sh, sw), (ph, pw), (dh, dw) = kernel, stride, padding, dilation
    if ph or pw:
        x = np.pad(x, ((0, 0), (0, 0), (ph, ph), (pw, pw)))
    windows = sliding_window_view(x, ((kh - 1) * dh + 1, (kw - 1) * dw + 1), axis=(2, 3))
    OH, OW = positions
    return windows[:, :, ::sh, ::sw, ::dh, ::dw][:, :, :OH, :OW].transpose(0, 1, 4, 5, 2, 3)


def _add_patches(patches, input_shape, stride, padding, dilation=(1, 1)):
    """Adjoint of _patches: each element is added to the place of the image that it came from -> (N, C, H, W)."""
    kh, kw, OH, OW = patches.shape[2:]
    (N, C, H, W), (sh, sw), (ph, pw), (dh, dw) = input_shape, stride, padding, dilation
    x = np.zeros((N, C, H + 2 * ph, W + 2 * pw), patches.dtype)
    for i, j in np.ndindex(kh, kw):
        x[:, :, i * dh : i * dh + sh * OH : sh, j * dw : j * dw + sw * OW : sw] += patches[:, :, i, j]
    return np.ascontiguousarray(x[:, :, ph : ph + H, pw : pw + W])


def _forward(x, W, stride, padding, dilation, groups, positions=(None, None)):
    patches = _patches(x, W.shape[2:], stride, padding, dilation, positions)
    OH, OW = patches.shape[4:]
    y = W.reshape(groups, -1, W[0].size) @ patches.reshape(len(x), groups, W[0].size, OH * OW)
    return y.reshape(len(x), len(W), OH, OW)


def _backward_input(dout, W, input_shape, stride, padding, dilation, groups):
    """Gradient with respect to the input: dout (N, FN, OH, OW), W (FN, C / groups, kh, kw) -> (N, C, H, W)."""
    N, _, OH, OW = dout.shape
    columns = W.reshape(groups, -1, W[0].size).transpose(0, 2, 1) @ dout.reshape(N, groups, len(W) // groups, OH * OW)
    patches = columns.reshape(N, input_shape[1], *W.shape[2:], OH, OW)
    return _add_patches(patches, input_shape, stride, padding, dilation)


def _backward_filters(dout, x, W, stride, padding, dilation, groups):
    """Gradient with respect to W, a sample at a time."""
    dW = np.zeros((groups, W.shape[0] // groups, W[0].size), dout.dtype)
    for sample, d in zip(x, dout, strict=True):
        patches = _patches(sample[None], W.shape[2:], stride, padding, dilation, d.shape[1:])
        columns = patches.reshape(groups, W[0].size, -1)
        dW += d.reshape(groups, W.shape[0] // groups, -1) @ columns.transpose(0, 2, 1)
    return dW.reshape(W.shape)


def _channel_sums(dout, out):
    return _result(dout.sum(axis=(0, 2, 3), dtype=np.float64).astype(dout.dtype), out)


def conv2d_forward(
    x, W, b, stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1, activation="identity", alpha=0.0,
    algorithm="auto", out=None,
):  # fmt: skip
    """activation(x * W + b); x (N, C, H, W), W (FN, C / groups, kh, kw), b (FN,) or None -> (N, FN, OH, OW).

    OH = (H + 2 * padding - dilation * (kh - 1) - 1) // stride + 1; not flipped (a cross-correlation).
    """
    y = _forward(x, W, stride, padding, dilation, groups)
    if b is not None:
        y += b[:, None, None]
    return _result(y, out) if activation == "identity" else activation_forward(y, activation, alpha, out)


def conv2d_backward(
    dout, x, W, stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1, algorithm="auto", dx=None, dW=None, db=None,
):  # fmt: skip
    """Gradients of x * W + b: dout (N, FN, OH, OW) -> (dx (N, C, H, W), dW, db (FN,)). dx=False: not wanted, None."""
    dx = None if dx is False else _result(_backward_input(dout, W, x.shape, stride, padding, dilation, groups), dx)
    dW = _result(_backward_filters(dout, x, W, stride, padding, dilation, groups), dW)
    return dx, dW, _channel_sums(dout, db)


def conv_transpose2d_forward(
    x, W, b, stride=(1, 1), padding=(0, 0), output_padding=(0, 0), dilation=(1, 1), groups=1, out=None
):
    """The gradient of a convolution as a layer: x (N, C, H, W), W (C, FN / groups, kh, kw) -> (N, FN, OH, OW).

    OH = (H - 1) * stride - 2 * padding + dilation * (kh - 1) + output_padding + 1, as PyTorch and ONNX have it.
    """
    OH, OW = (
        (n - 1) * s - 2 * p + d * (k - 1) + o + 1
        for n, k, s, p, o, d in zip(x.shape[2:], W.shape[2:], stride, padding, output_padding, dilation, strict=True)
    )
    shape = len(x), W.shape[1] * groups, OH, OW
    y = _backward_input(x, W, shape, stride, padding, dilation, groups)
    if b is not None:
        y = y + b[:, None, None]
    return _result(y, out)


def conv_transpose2d_backward(
    dout, x, W, stride=(1, 1), padding=(0, 0), output_padding=(0, 0), dilation=(1, 1), groups=1, dx=None, dW=None,
    db=None,
):  # fmt: skip
    """Gradients of conv_transpose2d_forward: dout (N, FN, OH, OW) -> (dx, dW, db). dx=False: not wanted, None."""
    dx = None if dx is False else _result(_forward(dout, W, stride, padding, dilation, groups, x.shape[2:]), dx)
    dW = _result(_backward_filters(x, dout, W, stride, padding, dilation, groups), dW)
    return dx, dW, _channel_sums(dout, db)


def im2col(x, kernel, stride=(1, 1), padding=(0, 0), out=None):
    """Patches of x (N, C, H, W) as rows (n, y, z) and columns (c, i, j): (N * OH * OW, C * kh * kw). Book 1 ch. 7."""
    patches = _patches(x, kernel, stride, padding)
    N, C, kh, kw, OH, OW = patches.shape
    return _result(patches.transpose(0, 4, 5, 1, 2, 3).reshape(N * OH * OW, C * kh * kw), out)


def col2im(col, input_shape, kernel, stride=(1, 1), padding=(0, 0), out=None):
    """Adjoint of im2col: the elements of col added up where patches overlap -> (N, C, H, W). Book 1 ch. 7."""
    N, C, H, W = input_shape
    OH, OW = ((n + 2 * p - k) // s + 1 for n, k, s, p in zip((H, W), kernel, stride, padding, strict=True))
    patches = col.reshape(N, OH, OW, C, *kernel).transpose(0, 3, 4, 5, 1, 2)
    return _result(_add_patches(patches, input_shape, stride, padding), out)
