"""Checks that the operations on images (N, C, H, W) share: of shapes first, so that nothing is converted in vain."""

import math
import operator

import numpy as np

MOST = 2**31 - 1  # elements of an array, and the largest kernel, stride, padding and dilation


def shape_of(call, name, array):
    """Shape of an array argument, as Python integers."""
    if array is None:
        raise call.missing(name)
    return np.shape(call.array(name, array))


def pair(call, name, value, least):
    """(height, width) from a pair or a number of at least `least`."""
    try:
        numbers = (operator.index(value),) * 2
    except TypeError:
        try:
            numbers = tuple(operator.index(n) for n in value)
        except TypeError:
            numbers = ()
        if len(numbers) != 2:
            raise call.error(
                TypeError, f"{name} is {value!r}; it must be an integer or a pair of integers (height, width)"
            ) from None
    call.require(
        all(least <= n <= MOST for n in numbers), f"{name} is {value!r}; its numbers must lie in [{least}, {MOST}]"
    )
    return numbers


def image_shape(call, name, value):
    """(N, C, H, W) from a sequence of integers."""
    try:
        shape = tuple(operator.index(n) for n in value)
    except TypeError:
        raise call.error(TypeError, f"{name} is {value!r}; it must be (N, C, H, W)") from None
    check_image(call, name, shape)
    return shape


def check_image(call, name, shape):
    """Four dimensions; there may be no images, but C, H and W are at least 1."""
    call.require(len(shape) == 4, f"{name} is {shape}; it must have 4 dimensions (N, C, H, W)")
    call.require(shape[0] >= 0, f"{name} is {shape}; N must be at least 0")
    call.require(min(shape[1:]) > 0, f"{name} is {shape}; C, H and W must be at least 1")
    fits(call, f"{name} is", shape)


def fits(call, text, shape):
    """An array of this shape may exist; of no images, one of them might."""
    count = max(shape[0], 1) * math.prod(shape[1:])
    call.require(count <= MOST, f"{text} {shape}: {count:,} elements, but at most {MOST:,} are possible")
