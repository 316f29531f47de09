"""Pooling: a window at a time, planes (N * C, H, W) cut into pieces for the threads."""

import numpy as np

from ..numpy_backend.pool import _pooled_size
from ._compile import _deliver, _kernel, _plain, _spread, _target


@_kernel
def _largest(x, out, arg, kh, kw, sh, sw, ph, pw):
    H, W = x.shape[1:]
    lowest = x.dtype.type(-np.inf)
    for p in range(x.shape[0]):
        for oy in range(out.shape[1]):
            top = oy * sh - ph
            above, below = max(-top, 0), min(kh, H - top)
            for ox in range(out.shape[2]):
                left = ox * sw - pw
                first, last = max(-left, 0), min(kw, W - left)
                best, place = lowest, above * kw + first
                for i in range(above, below):
                    for j in range(first, last):
                        value = x[p, top + i, left + j]
                        if not value <= best and best == best:  # the first NaN stays
                            best, place = value, i * kw + j
                out[p, oy, ox] = best
                arg[p, oy, ox] = place


@_kernel
def _to_largest(dout, arg, dx, kw, sh, sw, ph, pw):
    dx[:] = 0
    H, W = dx.shape[1:]
    for p in range(dout.shape[0]):
        for oy in range(dout.shape[1]):
            for ox in range(dout.shape[2]):
                i, j = divmod(np.int64(arg[p, oy, ox]), kw)
                row, column = oy * sh - ph + i, ox * sw - pw + j
                if 0 <= row < H and 0 <= column < W:  # else it is in the padding
                    dx[p, row, column] += dout[p, oy, ox]


@_kernel
def _means(x, out, kh, kw, sh, sw, ph, pw, edge):
    """edge: 1 if the padding counts, else 0."""
    H, W = x.shape[1:]
    for p in range(x.shape[0]):
        for oy in range(out.shape[1]):
            top = oy * sh - ph
            rows = min(top + kh, H + edge * ph) - max(top, -edge * ph)
            above, below = max(top, 0), min(top + kh, H)
            for ox in range(out.shape[2]):
                left = ox * sw - pw
                columns = min(left + kw, W + edge * pw) - max(left, -edge * pw)
                first, last = max(left, 0), min(left + kw, W)
                total = 0.0
                for i in range(above, below):
                    for j in range(first, last):
                        total += np.float64(x[p, i, j])
                out[p, oy, ox] = total / np.float64(rows * columns)


@_kernel
def _to_all(dout, dx, kh, kw, sh, sw, ph, pw, edge):
    dx[:] = 0
    H, W = dx.shape[1:]
    for p in range(dout.shape[0]):
        for oy in range(dout.shape[1]):
            top = oy * sh - ph
            rows = min(top + kh, H + edge * ph) - max(top, -edge * ph)
            above, below = max(top, 0), min(top + kh, H)
            for ox in range(dout.shape[2]):
                left = ox * sw - pw
                columns = min(left + kw, W + edge * pw) - max(left, -edge * pw)
                first, last = max(left, 0), min(left + kw, W)
                share = dout[p, oy, ox] / dout.dtype.type(rows * columns)
                for i in range(above, below):
                    for j in range(first, last):
                        dx[p, i, j] += share


def _planes(a):
    return a.reshape(-1, *a.shape[2:])


def _pooled_shape(shape, kernel, stride, padding, ceil_mode):
    each = zip(shape[2:], kernel, stride, padding, strict=True)
    return *shape[:2], *(_pooled_size(*numbers, ceil_mode) for numbers in each)


def max_pool2d_forward(x, kernel, stride, padding, ceil_mode=False, out=None, arg=None):
    x = _plain(x)
    shape = _pooled_shape(x.shape, kernel, stride, padding, ceil_mode)
    y = _target(out, np.empty(shape, x.dtype), x)
    place = _target(arg, np.empty(shape, np.uint8 if kernel[0] * kernel[1] <= 256 else np.int32), x)
    _spread(_largest, [_planes(x), _planes(y), _planes(place)], *kernel, *stride, *padding)
    return _deliver(y, out), _deliver(place, arg)


def max_pool2d_backward(dout, arg, input_shape, kernel, stride, padding, dx=None):
    dout, arg = _plain(dout), _plain(arg)
    d = _target(dx, np.empty(input_shape, dout.dtype), dout)
    _spread(_to_largest, [_planes(dout), _planes(arg), _planes(d)], kernel[1], *stride, *padding)
    return _deliver(d, dx)


def avg_pool2d_forward(x, kernel, stride, padding, ceil_mode=False, count_include_pad=True, out=None):
    x = _plain(x)
    y = _target(out, np.empty(_pooled_shape(x.shape, kernel, stride, padding, ceil_mode), x.dtype), x)
    _spread(_means, [_planes(x), _planes(y)], *kernel, *stride, *padding, int(count_include_pad))
    return _deliver(y, out)


def avg_pool2d_backward(dout, input_shape, kernel, stride, padding, ceil_mode, count_include_pad, dx=None):
    dout = _plain(dout)
    d = _target(dx, np.empty(input_shape, dout.dtype), dout)
    _spread(_to_all, [_planes(dout), _planes(d)], *kernel, *stride, *padding, int(count_include_pad))
    return _deliver(d, dx)
