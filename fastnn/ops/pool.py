"""Maximum and average over windows of images (N, C, H, W); with kernel (H, W) over whole images.

kernel, stride and padding are (height, width), or one number for both.
"""

import numpy as np

from .. import backends
from ._check import Call
from ._images import MOST, check_image, image_shape, pair, shape_of


def max_pool2d_forward(x, kernel, stride, padding, ceil_mode=False, out=None, arg=None):
    """The largest element of each window: x (N, C, H, W) -> (out, arg), both (N, C, OH, OW).

    OH = (H + 2 * padding - kh) // stride + 1, rounded up with ceil_mode where the last window still starts in the image
    or its upper padding (PyTorch's rule); OW alike. NaN wins; padding counts as -inf.

    arg: place ki * kw + kj of that element in its window, the first on ties; uint8, int32 for windows of more than 256.
    N may be 0. Raises ValueError if no window fits, for padding over half of the kernel (PyTorch's rule), a stride
    below 1, C, H or W of 0, or an array of 2**31 elements or more. Book 1 ch. 7.
    """
    result = backends.active.max_pool2d_forward(x, kernel, stride, padding, ceil_mode, out, arg)
    return _max_pool2d_forward(x, kernel, stride, padding, ceil_mode, out, arg) if result is None else result


def _max_pool2d_forward(x, kernel, stride, padding, ceil_mode, out, arg):
    call = Call("max_pool2d_forward")
    image = shape_of(call, "x", x)
    check_image(call, "x", image)
    windows = _windows(call, kernel, stride, padding)
    shape = _pooled(call, f"x is {image}", image, *windows, bool(ceil_mode))
    (x,) = call.floats(x=x)
    call.check_out("out", out, shape)
    call.check_out("arg", arg, shape, _arg_dtype(windows[0]))
    return call.deliver(backends.checked.max_pool2d_forward(x, *windows, bool(ceil_mode)), out, arg)


def max_pool2d_backward(dout, arg, input_shape, kernel, stride, padding, dx=None):
    """dout (N, C, OH, OW) added where arg of max_pool2d_forward points -> dx of input_shape (N, C, H, W).

    Raises ValueError if the shapes do not fit, IndexError if arg points outside a window. Book 1 ch. 7.
    """
    result = backends.active.max_pool2d_backward(dout, arg, input_shape, kernel, stride, padding, dx)
    return _max_pool2d_backward(dout, arg, input_shape, kernel, stride, padding, dx) if result is None else result


def _max_pool2d_backward(dout, arg, input_shape, kernel, stride, padding, dx):
    call = Call("max_pool2d_backward")
    image = image_shape(call, "input_shape", input_shape)
    windows = _windows(call, kernel, stride, padding)
    shape = shape_of(call, "dout", dout)
    upper = _pooled(call, f"input_shape is {image}", image, *windows, ceil_mode=True)
    lower = *image[:2], *(_pooled_size(*each) for each in zip(image[2:], *windows, strict=True))
    call.require(
        len(shape) == 4 and all(n in sizes for n, *sizes in zip(shape, lower, upper, strict=True)),
        f"dout is {shape} but input_shape is {image}: the result of pooling it is {lower}"
        + f" or, with ceil_mode, {upper}" * (lower != upper),
    )
    (dout,) = call.floats(dout=dout)
    arg = np.asarray(arg)
    dtype = _arg_dtype(windows[0])
    if arg.dtype != dtype:
        raise call.error(TypeError, f"arg has dtype {arg.dtype}; for kernel {windows[0]} it must be {dtype}")
    call.same_shape(dout=dout, arg=arg)
    places = windows[0][0] * windows[0][1]
    if arg.size and (arg.min() < 0 or arg.max() >= places):
        raise call.error(IndexError, f"arg holds values from {arg.min()} to {arg.max()}; places lie in [0, {places})")
    arg = np.require(arg, dtype, ["C_CONTIGUOUS", "ALIGNED"])
    call.check_out("dx", dx, image)
    return call.deliver(backends.checked.max_pool2d_backward(dout, arg, image, *windows), dx)


def avg_pool2d_forward(x, kernel, stride, padding, ceil_mode=False, count_include_pad=True, out=None):
    """The mean of each window: x (N, C, H, W) -> (N, C, OH, OW), sizes as max_pool2d_forward.

    count_include_pad: the zeros of the padding count as elements; what lies beyond them (ceil_mode) never does. Raises
    as max_pool2d_forward. PyTorch's avg_pool2d.
    """
    result = backends.active.avg_pool2d_forward(x, kernel, stride, padding, ceil_mode, count_include_pad, out)
    if result is None:
        return _avg_pool2d_forward(x, kernel, stride, padding, ceil_mode, count_include_pad, out)
    return result


def _avg_pool2d_forward(x, kernel, stride, padding, ceil_mode, count_include_pad, out):
    call = Call("avg_pool2d_forward")
    image = shape_of(call, "x", x)
    check_image(call, "x", image)
    settings = *_windows(call, kernel, stride, padding), bool(ceil_mode)
    shape = _pooled(call, f"x is {image}", image, *settings)
    (x,) = call.floats(x=x)
    call.check_out("out", out, shape)
    return call.deliver(backends.checked.avg_pool2d_forward(x, *settings, bool(count_include_pad)), out)


def avg_pool2d_backward(dout, input_shape, kernel, stride, padding, ceil_mode, count_include_pad, dx=None):
    """Each element of dout (N, C, OH, OW), divided by its window's count, added to the window -> dx of input_shape.

    Raises as max_pool2d_forward.
    """
    args = dout, input_shape, kernel, stride, padding, ceil_mode, count_include_pad, dx
    result = backends.active.avg_pool2d_backward(*args)
    return _avg_pool2d_backward(*args) if result is None else result


def _avg_pool2d_backward(dout, input_shape, kernel, stride, padding, ceil_mode, count_include_pad, dx):
    call = Call("avg_pool2d_backward")
    image = image_shape(call, "input_shape", input_shape)
    settings = *_windows(call, kernel, stride, padding), bool(ceil_mode)
    shape, needed = shape_of(call, "dout", dout), _pooled(call, f"input_shape is {image}", image, *settings)
    call.require(shape == needed, f"dout is {shape} but input_shape is {image}: the result of pooling it is {needed}")
    (dout,) = call.floats(dout=dout)
    call.check_out("dx", dx, image)
    return call.deliver(backends.checked.avg_pool2d_backward(dout, image, *settings, bool(count_include_pad)), dx)


def _windows(call, kernel, stride, padding):
    """(kernel, stride, padding), each a pair."""
    kernel, stride = pair(call, "kernel", kernel, 1), pair(call, "stride", stride, 1)
    padding = pair(call, "padding", padding, 0)
    call.require(
        all(2 * p <= k for p, k in zip(padding, kernel, strict=True)),
        f"padding is {padding}; it must be at most half of kernel {kernel}",
    )
    call.require(kernel[0] * kernel[1] <= MOST, f"kernel {kernel} has more than {MOST:,} elements")
    return kernel, stride, padding


def _pooled(call, text, image, kernel, stride, padding, ceil_mode):
    """Shape of the result; `text` tells whose."""
    each = zip(image[2:], kernel, stride, padding, strict=True)
    size = tuple(_pooled_size(n, k, s, p, ceil_mode) for n, k, s, p in each)
    call.require(
        min(size) > 0,
        f"{text}: no window of kernel {kernel} fits into the image with padding {padding}, "
        f"{tuple(n + 2 * p for n, p in zip(image[2:], padding, strict=True))}",
    )
    return *image[:2], *size


def _pooled_size(*axis):
    from ..backends.numpy_backend.pool import _pooled_size  # where it is needed: importing fastnn loads no reference

    return _pooled_size(*axis)


def _arg_dtype(kernel):
    return np.dtype(np.uint8 if kernel[0] * kernel[1] <= 256 else np.int32)
