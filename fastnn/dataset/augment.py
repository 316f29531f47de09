"""Random changes of batches of images (N, C, H, W), so that a network sees more than there is. Book 1 ch. 8.

Every function returns a new array of x's dtype, draws for each image by itself, and takes `rng`: None, a seed, or a
numpy.random.Generator, which it advances; the same seed gives the same images. Integer images are rounded and stay in
their dtype's range. ValueError or TypeError, with the function's name, for anything that does not fit.

    train = compose(partial(rotate, degrees=10), partial(shift, pixels=2))
    x_batch = train(x_batch, rng=rng)
"""

import importlib.util
import math

import numpy as np

from ..ops._check import Call


def compose(*functions):
    """One function (x, rng=None) that applies these, of the same form, in turn, all with one generator."""

    def composed(x, rng=None):
        rng = np.random.default_rng(rng)
        for function in functions:
            x = function(x, rng=rng)
        return x

    return composed


# ---- geometry ------------------------------------------------------------------------------------------------------


def horizontal_flip(x, probability=0.5, rng=None):
    """Left and right exchanged in each image with this probability."""
    return _flip("horizontal_flip", x, probability, rng, slice(None), slice(None, None, -1))


def vertical_flip(x, probability=0.5, rng=None):
    """Top and bottom exchanged in each image with this probability."""
    return _flip("vertical_flip", x, probability, rng, slice(None, None, -1), slice(None))


def _flip(name, x, probability, rng, rows, columns):
    call, x = _images(name, x)
    out = x.copy()
    chosen = _chosen(call, probability, len(x), rng)
    out[chosen] = x[chosen][:, :, rows, columns]
    return out


def rotate(x, degrees=15, fill=0, rng=None):
    """Turned about the centre, counterclockwise, by an angle uniform in [-degrees, degrees], or in a pair (low, high).

    Pixels between pixels are bilinear, what comes from outside is `fill`.
    Needs SciPy: pip install 'fastnn-kernels[augment]'.
    """
    call, x = _images("rotate", x)
    low, high = _range(call, "degrees", degrees)
    fill = _fill(call, x, fill)
    angles = np.random.default_rng(rng).uniform(low, high, len(x))
    if not importlib.util.find_spec("scipy"):
        raise ImportError("rotate needs SciPy: pip install 'fastnn-kernels[augment]'")
    from scipy import ndimage

    out = np.empty(x.shape, _computed(x))
    for image, angle, result in zip(x.astype(out.dtype, copy=False), angles, out, strict=True):
        # prefilter is for higher orders; output is written in place
        ndimage.rotate(image, angle, axes=(2, 1), reshape=False, output=result, order=1, cval=fill, prefilter=False)
    return _finished(out, x)


def shift(x, pixels=2, fill=0, rng=None):
    """Moved by whole pixels, up to `pixels` (a number, or a pair: vertically, horizontally) either way."""
    call, x = _images("shift", x)
    down, right = _pair(call, "pixels", pixels)
    padded = _padded(x, down, right, _fill(call, x, fill))
    return _windows(padded, x.shape[2:], np.random.default_rng(rng))


def crop(x, size, padding=0, fill=0, rng=None):
    """A window of `size` (a number, or a pair: height, width) from each image, after padding on all four sides."""
    call, x = _images("crop", x)
    size, (down, right) = _pair(call, "size", size), _pair(call, "padding", padding)
    padded = _padded(x, down, right, _fill(call, x, fill))
    available = padded.shape[2:]
    call.require(
        all(1 <= n <= most for n, most in zip(size, available, strict=True)),
        f"x is {x.shape} but size is {size}; windows of 1 to {available} fit, padding included",
    )
    return _windows(padded, size, np.random.default_rng(rng))


def _padded(x, down, right, fill):
    return np.pad(x, ((0, 0), (0, 0), (down, down), (right, right)), constant_values=fill)


def _windows(x, size, rng):
    """A window of each image, its place uniform among those inside."""
    N, C, *available = x.shape
    rows, columns = (
        rng.integers(most - n + 1, size=(N, 1)) + np.arange(n) for n, most in zip(size, available, strict=True)
    )
    n, c = np.ogrid[:N, :C]
    return x[n[:, :, None, None], c[:, :, None, None], rows[:, None, :, None], columns[:, None, None, :]]


def erase(x, probability=0.5, area=(0.02, 0.33), aspect=(0.3, 3.3), fill=0, rng=None):
    """A rectangle of each image, with this probability, set to `fill` in all channels (Zhong et al. 2020).

    Its share of the image is uniform in `area`; its height / width is log-uniform in `aspect` and cut to the image.
    """
    call, x = _images("erase", x)
    N, _, H, W = x.shape
    least, most = _range(call, "area", area)
    call.require(least >= 0 and most <= 1, f"area is {area!r}; it must lie in [0, 1]")
    flat, tall = _range(call, "aspect", aspect)
    call.require(flat > 0, f"aspect is {aspect!r}; it must be positive")
    fill = _fill(call, x, fill)
    rng = np.random.default_rng(rng)
    chosen = _chosen(call, probability, N, rng)
    pixels = rng.uniform(least, most, N) * H * W
    ratio = np.exp(rng.uniform(math.log(flat), math.log(tall), N))
    rows = _span(np.sqrt(pixels * ratio), H, rng)
    columns = _span(np.sqrt(pixels / ratio), W, rng)
    inside = rows[:, None, :, None] & columns[:, None, None, :] & chosen[:, None, None, None]
    return np.where(inside, fill, x)


def _span(length, n, rng):
    """(N, n), True for a run of about `length` (N,) places, at least one, that starts anywhere it fits."""
    length = np.clip(np.rint(length), min(1, n), n).astype(np.int64)
    start = rng.integers(n - length + 1)[:, None]
    places = np.arange(n)
    return (start <= places) & (places < start + length[:, None])


# ---- colour --------------------------------------------------------------------------------------------------------


def brightness(x, amount=0.2, limits=(0, 1), rng=None):
    """Multiplied by a factor uniform in [1 - amount, 1 + amount], then cut to `limits`.

    limits: the range of floating-point images, which x must keep to; None if there is none. Integers have their own.
    """
    call, x = _images("brightness", x)
    return _limited(call, x, limits, x * _factors(call, x, amount, rng))


def contrast(x, amount=0.2, limits=(0, 1), rng=None):
    """Differences from the image's mean multiplied by a factor as in brightness, then cut to `limits`."""
    call, x = _images("contrast", x)
    mean = x.mean(axis=(1, 2, 3), keepdims=True, dtype=np.float64).astype(_computed(x)) if x.size else 0
    return _limited(call, x, limits, (x - mean) * _factors(call, x, amount, rng) + mean)


def hue(x, amount=0.05, rng=None):
    """Red, green, blue (N, 3, H, W) turned on the colour circle by up to `amount` of it, either way; at most 0.5.

    Value and saturation stay as they are, and so does grey.
    """
    call, x = _images("hue", x)
    call.require(x.shape[1] == 3, f"x is {x.shape}; it must have 3 channels: red, green, blue")
    call.require(0 <= amount <= 0.5, f"amount is {amount!r}; it must lie in [0, 0.5]")
    turn = np.random.default_rng(rng).uniform(-amount, amount, (len(x), 1, 1)).astype(_computed(x))
    red, green, blue = colours = np.moveaxis(x.astype(turn.dtype, copy=False), 1, 0)
    value = colours.max(axis=0)
    chroma = value - colours.min(axis=0)
    divisor = np.where(chroma == 0, 1, chroma)
    sixths = np.where(
        value == red,
        (green - blue) / divisor,
        np.where(value == green, (blue - red) / divisor + 2, (red - green) / divisor + 4),
    )
    out = np.empty_like(x, dtype=turn.dtype)
    for channel, start in enumerate((5, 3, 1)):  # Smith 1978, in the form without branches
        place = (start + sixths + 6 * turn) % 6
        out[:, channel] = value - chroma * np.clip(np.minimum(place, 4 - place), 0, 1)
    return _finished(out, x)


def _factors(call, x, amount, rng):
    """(N, 1, 1, 1) in the dtype that is computed in."""
    call.require(0 <= amount <= 1, f"amount is {amount!r}; it must lie in [0, 1]")
    factors = np.random.default_rng(rng).uniform(1 - amount, 1 + amount, (len(x), 1, 1, 1))
    return factors.astype(_computed(x))


def _limited(call, x, limits, out):
    if x.dtype.kind == "f" and limits is not None:
        low, high = limits
        if x.size and (x.min() < low or x.max() > high):
            found = f"x has values from {x.min()} to {x.max()}"
            raise call.error(ValueError, f"{found}, outside limits = ({low}, {high}); limits=None cuts nothing")
        np.clip(out, low, high, out=out)
    return _finished(out, x)


# ---- two images in one ---------------------------------------------------------------------------------------------


def mixup(x, t, alpha=0.2, classes=None, rng=None):
    """Each image mixed with another of the batch, and their targets alike -> (x, t (N, V)) (Zhang et al. 2018).

    t: targets (N, V), or labels (N,) with the number of `classes`; the mixed targets are for SoftmaxCrossEntropy or
    SoftmaxWithLoss. An image keeps a share of itself that is drawn from Beta(alpha, alpha).
    """
    call, x = _images("mixup", x)
    call.require(alpha > 0, f"alpha is {alpha!r}; it must be positive")
    t = np.asarray(t)
    if t.ndim == 1:
        call.require(classes is not None, "t is labels; classes must be given")
        if t.dtype.kind not in "iu" or (t.size and (t.min() < 0 or t.max() >= classes)):
            raise call.error(IndexError, f"labels must be integers in [0, {classes})")
        t = np.eye(classes, dtype=_computed(x))[t]
    call.require(t.ndim == 2 and len(t) == len(x), f"x is {x.shape} but t is {t.shape}; t must be (N,) or (N, V)")
    rng = np.random.default_rng(rng)
    other = rng.permutation(len(x))
    share = rng.beta(alpha, alpha, (len(x), 1))
    mixed = t * share + t[other] * (1 - share)
    share = share.astype(_computed(x)).reshape(-1, 1, 1, 1)
    return _finished(x * share + x[other] * (1 - share), x), mixed.astype(t.dtype if t.dtype.kind == "f" else float)


# ---- what they share -----------------------------------------------------------------------------------------------


def _images(name, x):
    """(Call, x as an array (N, C, H, W) of numbers)."""
    call = Call(name)
    x = call.array("x", x)
    if x.dtype.kind == "b":
        raise call.error(TypeError, "x has dtype bool; images are numbers")
    call.require(x.ndim == 4, f"x is {x.shape}; it must have 4 dimensions (N, C, H, W)")
    return call, x


def _computed(x):
    """The floating dtype for computing with x: float32 for float16 and 8 or 16 bit integers."""
    return np.result_type(x.dtype, np.float32)


def _finished(out, x):
    """out in x's dtype; rounded and cut to the range for integers."""
    if x.dtype.kind in "iu":
        limits = np.iinfo(x.dtype)
        out = np.clip(np.rint(out), limits.min, limits.max)
    return out.astype(x.dtype, copy=False)


def _chosen(call, probability, N, rng):
    """(N,) bool."""
    call.require(0 <= probability <= 1, f"probability is {probability!r}; it must lie in [0, 1]")
    return np.random.default_rng(rng).random(N) < probability


def _fill(call, x, fill):
    """fill as a number of x's dtype."""
    value = np.asarray(fill)
    call.require(value.ndim == 0 and value.dtype.kind in "iuf", f"fill is {fill!r}; it must be a number")
    if x.dtype.kind in "iu":
        limits = np.iinfo(x.dtype)
        call.require(
            limits.min <= fill <= limits.max and fill == int(fill),
            f"fill is {fill!r}; for {x.dtype} it must be an integer in [{limits.min}, {limits.max}]",
        )
    return value.astype(x.dtype)


def _range(call, name, value):
    """(low, high) from a pair, or (-value, value)."""
    low, high = (-value, value) if np.ndim(value) == 0 else value
    call.require(
        math.isfinite(low) and math.isfinite(high) and low <= high,
        f"{name} is {value!r}; it must be a number of at least 0, or (low, high)",
    )
    return low, high


def _pair(call, name, value):
    """(vertical, horizontal) from a pair or a number."""
    pair = (value, value) if np.ndim(value) == 0 else tuple(value)
    call.require(
        len(pair) == 2 and all(isinstance(n, int | np.integer) and n >= 0 for n in pair),
        f"{name} is {value!r}; it must be an integer of at least 0, or a pair of them",
    )
    return pair
