"""Convolution: patches of one sample at a time, in a buffer that stays in the caches, and NumPy's matrix product."""

import math

import numpy as np

from ._compile import _deliver, _kernel, _plain, _spread
from .activation import activation_forward


@_kernel
def _gather(x, cols, sh, sw, ph, pw, dh, dw):
    """cols (C, kh, kw, OH, OW) = the patches of x (C, H, W)."""
    C, kh, kw, OH, OW = cols.shape
    H, W = x.shape[1:]
    for c in range(C):
        for i in range(kh):
            for j in range(kw):
                left = j * dw - pw
                first = min(max((-left + sw - 1) // sw, 0), OW)
                last = max(min((W - 1 - left) // sw + 1, OW), first)
                for y in range(OH):
                    row, to = y * sh + i * dh - ph, cols[c, i, j, y]
                    if row < 0 or row >= H:
                        to[:] = 0
                        continue
                    source = x[c, row]
                    to[:first] = 0
                    to[last:] = 0
                    if sw == 1:
                        to[first:last] = source[first + left : last + left]
                    else:
                        for z in range(first, last):
                            to[z] = source[z * sw + left]


@_kernel
def _scatter(cols, x, sh, sw, ph, pw, dh, dw):
    """x (C, H, W) = the sum of the patches cols (C, kh, kw, OH, OW)."""
    C, kh, kw, OH, OW = cols.shape
    H, W = x.shape[1:]
    x[:] = 0
    for c in range(C):
        for i in range(kh):
            for j in range(kw):
                left = j * dw - pw
                first = min(max((-left + sw - 1) // sw, 0), OW)
                last = max(min((W - 1 - left) // sw + 1, OW), first)
                for y in range(OH):
                    row, source = y * sh + i * dh - ph, cols[c, i, j, y]
                    if row < 0 or row >= H:
                        continue
                    to = x[c, row]
                    if sw == 1:
                        for z in range(first, last):
                            to[z + left] += source[z]
                    else:
                        for z in range(first, last):
                            to[z * sw + left] += source[z]


@_kernel
def _rows(col, x, kh, kw, sh, sw, ph, pw):
    """col (N, OH, OW, C * kh * kw) = the patches of x (N, C, H, W)."""
    N, OH, OW = col.shape[:3]
    C, H, W = x.shape[1:]
    for n in range(N):
        for y in range(OH):
            top = y * sh - ph
            for z in range(OW):
                left, row = z * sw - pw, col[n, y, z]
                inside = top >= 0 and left >= 0 and top + kh <= H and left + kw <= W
                k = 0
                for c in range(C):
                    for i in range(kh):
                        for j in range(kw):
                            if inside or (0 <= top + i < H and 0 <= left + j < W):
                                row[k] = x[n, c, top + i, left + j]
                            else:
                                row[k] = 0
                            k += 1


@_kernel
def _add_rows(x, col, kh, kw, sh, sw, ph, pw):
    """x (N, C, H, W) = the sum of the patches col (N, OH, OW, C * kh * kw)."""
    N, OH, OW = col.shape[:3]
    C, H, W = x.shape[1:]
    for n in range(N):
        image = x[n]
        image[:] = 0
        for y in range(OH):
            top = y * sh - ph
            for z in range(OW):
                left, row = z * sw - pw, col[n, y, z]
                k = 0
                for c in range(C):
                    for i in range(kh):
                        for j in range(kw):
                            if 0 <= top + i < H and 0 <= left + j < W:
                                image[c, top + i, left + j] += row[k]
                            k += 1


def conv2d_forward(
    x, W, b, stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1, activation="identity", alpha=0.0,
    algorithm="auto", out=None,
):  # fmt: skip
    each = zip(x.shape[2:], W.shape[2:], stride, padding, dilation, strict=True)
    positions = [(n + 2 * p - (k - 1) * d - 1) // s + 1 for n, k, s, p, d in each]
    result = _convolve(_plain(x), W, b, positions, (*stride, *padding, *dilation), groups)
    if activation == "identity":
        return _deliver(result, out)
    return activation_forward(result, activation, alpha, out)


def _convolve(x, W, b, positions, settings, groups):
    out = np.empty((len(x), len(W), *positions), x.dtype)
    cols = np.empty((x.shape[1], *W.shape[2:], *positions), x.dtype)
    filters, patches = W.reshape(groups, len(W) // groups, -1), cols.reshape(groups, W[0].size, -1)
    for sample, y in zip(x, out, strict=True):
        _gather(sample, cols, *settings)
        np.matmul(filters, patches, out=y.reshape(groups, len(W) // groups, -1))
        if b is not None:
            y += b[:, None, None]
    return out


def _filter_gradient(dout, x, W, settings, groups):
    dW = np.zeros((groups, len(W) // groups, W[0].size), dout.dtype)
    cols = np.empty((x.shape[1], *W.shape[2:], *dout.shape[2:]), x.dtype)
    patches = cols.reshape(groups, W[0].size, -1).transpose(0, 2, 1)
    for sample, d in zip(x, dout, strict=True):
        _gather(sample, cols, *settings)
        dW += d.reshape(groups, len(W) // groups, -1) @ patches
    return dW.reshape(W.shape)


def _input_gradient(dout, W, b, shape, settings, groups):
    x = np.empty(shape, dout.dtype)
    cols = np.empty((shape[1], *W.shape[2:], *dout.shape[2:]), dout.dtype)
    filters = W.reshape(groups, len(W) // groups, -1).transpose(0, 2, 1)
    for sample, d in zip(x, dout, strict=True):
        np.matmul(filters, d.reshape(groups, len(W) // groups, -1), out=cols.reshape(groups, W[0].size, -1))
        _scatter(cols, sample, *settings)
        if b is not None:
            sample += b[:, None, None]
    return x


def conv2d_backward(
    dout, x, W, stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1, algorithm="auto", dx=None, dW=None, db=None,
):  # fmt: skip
    dout, x, settings = _plain(dout), _plain(x), (*stride, *padding, *dilation)
    dW = _deliver(_filter_gradient(dout, x, W, settings, groups), dW)
    db = _channel_sums(dout, db)
    return None if dx is False else _deliver(_input_gradient(dout, W, None, x.shape, settings, groups), dx), dW, db


def conv_transpose2d_forward(
    x, W, b, stride=(1, 1), padding=(0, 0), output_padding=(0, 0), dilation=(1, 1), groups=1, out=None
):
    each = zip(x.shape[2:], W.shape[2:], stride, padding, output_padding, dilation, strict=True)
    size = ((n - 1) * s - 2 * p + d * (k - 1) + o + 1 for n, k, s, p, o, d in each)
    shape, settings = (len(x), W.shape[1] * groups, *size), (*stride, *padding, *dilation)
    return _deliver(_input_gradient(_plain(x), W, b, shape, settings, groups), out)


def conv_transpose2d_backward(
    dout, x, W, stride=(1, 1), padding=(0, 0), output_padding=(0, 0), dilation=(1, 1), groups=1, dx=None, dW=None,
    db=None,
):  # fmt: skip
    dout, x, settings = _plain(dout), _plain(x), (*stride, *padding, *dilation)
    dW = _deliver(_filter_gradient(x, dout, W, settings, groups), dW)
    db = _channel_sums(dout, db)
    return None if dx is False else _deliver(_convolve(dout, W, None, x.shape[2:], settings, groups), dx), dW, db


def _channel_sums(dout, out):
    sums = dout.sum(axis=(2, 3)).sum(axis=0, dtype=np.float64)
    return _deliver(sums.astype(dout.dtype), out)


def im2col(x, kernel, stride=(1, 1), padding=(0, 0), out=None):
    N, C, *size = x.shape
    OH, OW = ((n + 2 * p - k) // s + 1 for n, k, s, p in zip(size, kernel, stride, padding, strict=True))
    col = np.empty((N, OH, OW, C * math.prod(kernel)), x.dtype)
    _spread(_rows, [col, _plain(x)], *kernel, *stride, *padding)
    return _deliver(col.reshape(N * OH * OW, C * math.prod(kernel)), out)


def col2im(col, input_shape, kernel, stride=(1, 1), padding=(0, 0), out=None):
    N, _, *size = input_shape
    OH, OW = ((n + 2 * p - k) // s + 1 for n, k, s, p in zip(size, kernel, stride, padding, strict=True))
    x = np.empty(tuple(input_shape), col.dtype)
    _spread(_add_rows, [x, _plain(col).reshape(N, OH, OW, col.shape[1])], *kernel, *stride, *padding)
    return _deliver(x, out)
