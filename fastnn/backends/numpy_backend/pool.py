"""Pooling: maximum and average over windows of images."""

import numpy as np

from ._common import _result


def _pooled_size(size, kernel, stride, padding, ceil_mode=False):
    """Windows along one axis. With ceil_mode the last may reach over the end but starts inside, as PyTorch's."""
    reach = size + 2 * padding - kernel
    n = (-(-reach // stride) if ceil_mode else reach // stride) + 1
    return n - 1 if ceil_mode and (n - 1) * stride >= size + padding else n


def _padded_size(pooled, kernel, stride):
    """Padded rows (or columns) that the windows cover, and a slice of these for tap i: i ... step stride."""
    return (pooled - 1) * stride + kernel, lambda i: slice(i, i + (pooled - 1) * stride + 1, stride)


def _window_counts(size, pooled, kernel, stride, padding, count_include_pad):
    """Elements that each window's sum is divided by, along one axis: those within the padding, or only the image's."""
    start = np.arange(pooled) * stride - padding
    low, high = (-padding, size + padding) if count_include_pad else (0, size)
    return np.minimum(start + kernel, high) - np.maximum(start, low)


def _padded(x, rows, columns, padding, value):
    """x (N, C, H, W) in the middle of an array (N, C, rows, columns) of `value`, or the part of it that fits."""
    p = np.full((*x.shape[:2], rows, columns), value, x.dtype)
    part = x[:, :, : rows - padding[0], : columns - padding[1]]
    p[:, :, padding[0] : padding[0] + part.shape[2], padding[1] : padding[1] + part.shape[3]] = part
    return p


def _cropped(p, input_shape, padding, dx):
    """The inverse of _padded: what of p (N, C, rows, columns) lies in the image, zeros elsewhere."""
    if dx is None:
        dx = np.zeros(input_shape, p.dtype)
    else:
        dx[...] = 0
    part = p[:, :, padding[0] : padding[0] + input_shape[2], padding[1] : padding[1] + input_shape[3]]
    dx[:, :, : part.shape[2], : part.shape[3]] = part
    return dx


def max_pool2d_forward(x, kernel, stride, padding, ceil_mode=False, out=None, arg=None):
    """out = the largest of each window of x (N, C, H, W) -> (out, arg), both (N, C, OH, OW).

    arg: its place ki * kw + kj in the window, uint8 (int32 for windows of more than 256): the first NaN, else the
    first of the largest in the image. Padding counts as -inf and is never chosen.
    """
    (_, _, H, W), (kh, kw), (sh, sw), (ph, pw) = x.shape, kernel, stride, padding
    OH, OW = _pooled_size(H, kh, sh, ph, ceil_mode), _pooled_size(W, kw, sw, pw, ceil_mode)
    rows, columns = _padded_size(OH, kh, sh)[0], _padded_size(OW, kw, sw)[0]

    def windows(a):
        return np.lib.stride_tricks.sliding_window_view(a, kernel, (2, 3))[:, :, ::sh, ::sw].reshape(
            *a.shape[:2], OH, OW, kh * kw
        )

    values = windows(_padded(x, rows, columns, padding, -np.inf))
    place = values.argmax(-1)
    largest = np.take_along_axis(values, place[..., None], -1)[..., 0]
    first_inside = windows(_padded(np.ones((1, 1, H, W), bool), rows, columns, padding, False)).argmax(-1)
    place = np.where(largest == -np.inf, first_inside, place)
    return _result(largest, out), _result(place.astype(np.uint8 if kh * kw <= 256 else np.int32), arg)


def max_pool2d_backward(dout, arg, input_shape, kernel, stride, padding, dx=None):
    """dx = dout added where arg, as max_pool2d_forward made it, points; windows in order -> (N, C, H, W)."""
    (N, C, OH, OW), (kh, kw), (sh, sw) = dout.shape, kernel, stride
    rows, columns = _padded_size(OH, kh, sh)[0], _padded_size(OW, kw, sw)[0]
    ki, kj = np.divmod(arg.reshape(N * C, OH, OW).astype(np.intp), kw)
    row, column = np.arange(OH)[:, None] * sh + ki, np.arange(OW) * sw + kj
    p = np.zeros((N * C, rows, columns), dout.dtype)
    np.add.at(p, (np.arange(N * C)[:, None, None], row, column), dout.reshape(N * C, OH, OW))
    return _cropped(p.reshape(N, C, rows, columns), input_shape, padding, dx)


def avg_pool2d_forward(x, kernel, stride, padding, ceil_mode=False, count_include_pad=True, out=None):
    """out = the mean of each window of x (N, C, H, W) -> (N, C, OH, OW).

    count_include_pad: zeros of the padding count as elements; what lies beyond them (ceil_mode) never does.
    """
    (_, _, H, W), (kh, kw), (sh, sw), (ph, pw) = x.shape, kernel, stride, padding
    OH, OW = _pooled_size(H, kh, sh, ph, ceil_mode), _pooled_size(W, kw, sw, pw, ceil_mode)
    (rows, row_taps), (columns, column_taps) = _padded_size(OH, kh, sh), _padded_size(OW, kw, sw)
    p = _padded(x, rows, columns, padding, 0)
    with np.errstate(invalid="ignore"):  # inf - inf
        p = sum(p[:, :, row_taps(i)].astype(np.float64) for i in range(kh))
        total = sum(p[:, :, :, column_taps(j)] for j in range(kw))
    counts = np.outer(
        _window_counts(H, OH, kh, sh, ph, count_include_pad), _window_counts(W, OW, kw, sw, pw, count_include_pad)
    )
    return _result((total / counts).astype(x.dtype), out)


def avg_pool2d_backward(dout, input_shape, kernel, stride, padding, ceil_mode, count_include_pad, dx=None):
    """dx = dout / count added to every element of the window -> (N, C, H, W)."""
    (N, C, H, W), (kh, kw), (sh, sw), (ph, pw) = input_shape, kernel, stride, padding
    OH, OW = dout.shape[2:]
    (rows, row_taps), (columns, column_taps) = _padded_size(OH, kh, sh), _padded_size(OW, kw, sw)
    counts = np.outer(
        _window_counts(H, OH, kh, sh, ph, count_include_pad), _window_counts(W, OW, kw, sw, pw, count_include_pad)
    )
    d = dout / counts.astype(dout.dtype)
    wide = np.zeros((N, C, OH, columns), dout.dtype)
    for j in range(kw):
        wide[:, :, :, column_taps(j)] += d
    p = np.zeros((N, C, rows, columns), dout.dtype)
    for i in range(kh):
        p[:, :, row_taps(i)] += wide
    return _cropped(p, input_shape, padding, dx)
