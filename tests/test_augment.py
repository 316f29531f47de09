"""Augmentation: laws that hold for every draw, seeds, dtypes, and what is refused."""

import colorsys
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastnn.dataset import augment

pytest.importorskip("scipy")

FUNCTIONS = {
    "horizontal_flip": augment.horizontal_flip,
    "vertical_flip": augment.vertical_flip,
    "rotate": augment.rotate,
    "shift": augment.shift,
    "crop": partial(augment.crop, size=(4, 5), padding=1),
    "erase": augment.erase,
    "brightness": augment.brightness,
    "contrast": augment.contrast,
    "hue": augment.hue,
    "mixup": lambda x, rng=None: augment.mixup(x, np.zeros(len(x), int), classes=2, rng=rng)[0],
    "compose": augment.compose(augment.vertical_flip, augment.rotate, partial(augment.shift, pixels=(1, 3))),
}
each = pytest.mark.parametrize("name", FUNCTIONS)


def images(dtype=np.float32, shape=(6, 3, 7, 8)):
    x = np.random.default_rng(0).random(shape)
    return (x * 255).astype(dtype) if np.dtype(dtype).kind in "iu" else x.astype(dtype)


@each
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, np.uint8, np.int16, np.int64])
def test_dtype_is_kept_and_the_callers_array_too(name, dtype):
    x = images(dtype)
    before = x.copy()
    out = FUNCTIONS[name](x, rng=1)
    assert out.dtype == x.dtype and out.shape == ((6, 3, 4, 5) if name == "crop" else x.shape)
    assert not np.shares_memory(out, x) and out.flags.writeable and (x == before).all()
    x.flags.writeable = False
    np.testing.assert_array_equal(FUNCTIONS[name](x, rng=1), out)


@each
def test_a_seed_decides_and_a_generator_advances(name):
    f, x = FUNCTIONS[name], images()
    np.testing.assert_array_equal(f(x, rng=5), f(x, rng=np.random.default_rng(5)))
    assert (f(x, rng=5) != f(x, rng=6)).any()
    rng = np.random.default_rng(5)
    first, second = f(x, rng=rng), f(x, rng=rng)
    assert (first != second).any()
    state = np.random.get_state()[1].copy()
    f(x)
    assert (np.random.get_state()[1] == state).all()  # the global generator is nobody's business


@each
def test_an_empty_batch(name):
    assert FUNCTIONS[name](images()[:0], rng=1).shape[0] == 0


@each
@pytest.mark.parametrize(
    "x, error, message",
    [
        (np.zeros((3, 7, 8)), ValueError, r"x is \(3, 7, 8\); it must have 4 dimensions"),
        (np.zeros((2, 3, 7, 8), complex), TypeError, "x has dtype complex128"),
        (np.zeros((2, 3, 7, 8), bool), TypeError, "x has dtype bool"),
        (np.full((2, 3, 7, 8), "a"), TypeError, "x has dtype <U1"),
    ],
)
def test_what_is_not_images_is_refused(name, x, error, message):
    with pytest.raises(error, match=("vertical_flip" if name == "compose" else name) + f": {message}"):
        FUNCTIONS[name](x)


# ---- geometry ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("flip, axis", [(augment.horizontal_flip, 3), (augment.vertical_flip, 2)])
def test_flips(flip, axis):
    x = images()
    np.testing.assert_array_equal(flip(x, 1), np.flip(x, axis))
    np.testing.assert_array_equal(flip(x, 0), x)
    np.testing.assert_array_equal(flip(flip(x, rng=3), rng=3), x)
    flipped = (flip(images(shape=(400, 1, 2, 2)), 0.3, rng=0) != images(shape=(400, 1, 2, 2))).any(axis=(1, 2, 3))
    assert 0.2 < flipped.mean() < 0.4


def test_rotate():
    x = images(np.float64, (4, 2, 9, 9))
    np.testing.assert_array_equal(augment.rotate(x, 0), x)
    for quarter in (1, 2, 3):
        angle = 90 * quarter
        np.testing.assert_allclose(augment.rotate(x, (angle, angle)), np.rot90(x, quarter, (2, 3)), atol=1e-12)
    out = augment.rotate(np.full((50, 1, 9, 9), 0.5), 180, fill=0.25, rng=0)
    assert ((out >= 0.25 - 1e-12) & (out <= 0.5 + 1e-12)).all() and (out[:, 0, 4, 4] == 0.5).all()
    np.testing.assert_allclose(augment.rotate(out, 45, rng=1)[:, 0, 4, 4], 0.5)
    eight = augment.rotate(np.full((9, 1, 9, 9), 255, np.uint8), 45, rng=0)
    assert eight.max() == 255 and eight.min() == 0


def test_rotate_by_another_angle_each():
    x = np.broadcast_to(images(shape=(1, 1, 9, 9)), (5, 1, 9, 9))
    out = augment.rotate(x, 30, rng=0)
    assert len(np.unique(out.reshape(5, -1), axis=0)) == 5


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 4), st.integers(0, 4), st.integers(0, 2**32))
def test_a_shift_is_undone_by_looking_for_it(down, right, seed):
    x = 1 + images(shape=(3, 2, 6, 7))
    out = augment.shift(x, (down, right), fill=0, rng=seed)
    for image, moved in zip(x, out, strict=True):
        candidates = [
            (dy, dx) for dy in range(-down, down + 1) for dx in range(-right, right + 1)
            if (_moved(image, dy, dx) == moved).all()
        ]  # fmt: skip
        assert len(candidates) == 1 or (down, right) >= (6, 7)


def _moved(image, dy, dx):
    out = np.zeros_like(image)
    _, H, W = image.shape
    out[:, max(dy, 0) : H + min(dy, 0), max(dx, 0) : W + min(dx, 0)] = image[
        :, max(-dy, 0) : H + min(-dy, 0), max(-dx, 0) : W + min(-dx, 0)
    ]
    return out


def test_crop():
    x = images()
    np.testing.assert_array_equal(augment.crop(x, (7, 8)), x)
    out = augment.crop(x, 3, rng=0)
    windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), axis=(2, 3))
    for i in range(len(x)):
        assert (windows[i] == out[i][:, None, None]).all(axis=(0, 3, 4)).sum() == 1
    np.testing.assert_array_equal(augment.crop(x, (7, 8), padding=2, rng=4), augment.shift(x, 2, rng=4))
    starts = augment.crop(np.arange(4.0).reshape(1, 1, 1, 4).repeat(400, 0), (1, 3), rng=0)[:, 0, 0, 0]
    assert set(starts) == {0.0, 1.0} and 0.4 < starts.mean() < 0.6


def test_erase():
    x = 1 + images(shape=(300, 2, 20, 30))
    out = augment.erase(x, 0.7, area=(0.1, 0.3), rng=0)
    erased = (out == 0).all(axis=1)
    assert ((out == x) | (out == 0)).all() and ((out == 0).any(axis=1) == erased).all()
    for image in erased:  # a full rectangle, or nothing
        assert image.sum() == image.any(axis=1).sum() * image.any(axis=0).sum()
    hit = erased.any(axis=(1, 2))
    assert 0.6 < hit.mean() < 0.8
    assert erased[hit].mean(axis=(1, 2)).min() > 0.08 and erased.mean(axis=(1, 2)).max() < 0.33
    np.testing.assert_array_equal(augment.erase(x, 0), x)
    assert not augment.erase(x, 1, area=(1, 1), aspect=(2 / 3, 2 / 3)).any()
    assert ((augment.erase(images(np.uint8), 1, fill=7) == 7).all(axis=1).any(axis=(1, 2))).all()


# ---- colour --------------------------------------------------------------------------------------------------------


def test_brightness():
    x = images(np.float64)
    np.testing.assert_array_equal(augment.brightness(x, 0), x)
    out = augment.brightness(x, 0.5, limits=None, rng=0)
    factors = out / x
    assert np.ptp(factors.reshape(6, -1), axis=1).max() < 1e-12 and 0.5 <= factors.min() < factors.max() <= 1.5
    np.testing.assert_array_equal(augment.brightness(x, 0.5, rng=0), np.clip(out, 0, 1))
    assert augment.brightness(np.full((9, 1, 2, 2), 250, np.uint8), 1, rng=0).max() == 255


def test_contrast():
    x = images(np.float64)
    np.testing.assert_allclose(augment.contrast(x, 0), x)
    out = augment.contrast(x, 0.5, limits=None, rng=0)
    np.testing.assert_allclose(out.mean(axis=(1, 2, 3)), x.mean(axis=(1, 2, 3)))
    ratio = out.std(axis=(1, 2, 3)) / x.std(axis=(1, 2, 3))
    assert 0.5 <= ratio.min() < ratio.max() <= 1.5
    flat = np.full((4, 1, 3, 3), 0.25)
    np.testing.assert_array_equal(augment.contrast(flat, 1), flat)
    assert augment.contrast(x, 1, rng=0).min() >= 0


def test_hue():
    x = images(np.float64)
    x[0, :, 0] = 0.5  # grey
    np.testing.assert_allclose(augment.hue(x, 0), x, atol=1e-15)
    out = augment.hue(x, 0.5, rng=0)
    np.testing.assert_allclose(out.max(axis=1), x.max(axis=1))
    np.testing.assert_allclose(out.min(axis=1), x.min(axis=1), atol=1e-15)
    np.testing.assert_array_equal(out[0, :, 0], x[0, :, 0])
    turns = np.random.default_rng(0).uniform(-0.5, 0.5, 6)
    for i, turn in enumerate(turns):
        for y, z in ((0, 0), (3, 4), (6, 7)):
            h, s, v = colorsys.rgb_to_hsv(*x[i, :, y, z])
            np.testing.assert_allclose(out[i, :, y, z], colorsys.hsv_to_rgb((h + turn) % 1, s, v), atol=1e-12)


@each
def test_nan_is_not_hidden(name):
    x = images()
    x[:, :, 2:5, 2:5] = np.nan
    if name not in ("erase",):
        assert np.isnan(FUNCTIONS[name](x, rng=0)).any(axis=(1, 2, 3)).all()


# ---- mixup ---------------------------------------------------------------------------------------------------------


def test_mixup():
    t = np.array([0, 1, 2, 3, 4, 5])
    x = np.eye(6)[t].reshape(6, 1, 2, 3)  # each image says what it is
    mixed, targets = augment.mixup(x, t, alpha=1.0, classes=6, rng=0)
    assert targets.shape == (6, 6) and targets.dtype == np.float64
    np.testing.assert_allclose(mixed.reshape(6, 6), targets)
    np.testing.assert_allclose(targets.sum(axis=1), 1)
    assert ((targets > 0).sum(axis=1) <= 2).all() and (targets.max(axis=1) < 1).any()
    again = augment.mixup(x, np.eye(6, dtype=int), alpha=1.0, rng=0)
    np.testing.assert_array_equal(again[1], targets)
    assert augment.mixup(x.astype(np.float32), t, classes=6)[1].dtype == np.float32


@pytest.mark.parametrize(
    "call, error, message",
    [
        (lambda x: augment.horizontal_flip(x, 1.5), ValueError, "probability is 1.5; it must lie in"),
        (lambda x: augment.rotate(x, -5), ValueError, "degrees is -5"),
        (lambda x: augment.rotate(x, np.inf), ValueError, "degrees is inf"),
        (lambda x: augment.shift(x, -1), ValueError, "pixels is -1"),
        (lambda x: augment.shift(x, 1.5), ValueError, "pixels is 1.5"),
        (lambda x: augment.crop(x, 9), ValueError, r"x is \(6, 3, 7, 8\) but size is \(9, 9\)"),
        (lambda x: augment.crop(x, 0), ValueError, r"size is \(0, 0\)"),
        (lambda x: augment.crop(x, (3, 3, 3)), ValueError, "size is"),
        (lambda x: augment.erase(x, area=(0.5, 0.1)), ValueError, "area is"),
        (lambda x: augment.erase(x, area=(0.5, 1.1)), ValueError, "area is"),
        (lambda x: augment.erase(x, aspect=(0, 1)), ValueError, "aspect is"),
        (lambda x: augment.shift((x * 9).astype(np.uint8), fill=256), ValueError, "fill is 256; for uint8"),
        (lambda x: augment.shift(x, fill="a"), ValueError, "fill is 'a'"),
        (lambda x: augment.brightness(x, 1.5), ValueError, "amount is 1.5"),
        (lambda x: augment.brightness(2 * x), ValueError, "outside limits"),
        (lambda x: augment.contrast(x - 1), ValueError, "outside limits"),
        (lambda x: augment.hue(x[:, :1]), ValueError, "it must have 3 channels"),
        (lambda x: augment.hue(x, 0.6), ValueError, "amount is 0.6"),
        (lambda x: augment.mixup(x, np.zeros(6, int)), ValueError, "classes must be given"),
        (lambda x: augment.mixup(x, np.zeros((5, 2))), ValueError, r"x is \(6, 3, 7, 8\) but t is \(5, 2\)"),
        (lambda x: augment.mixup(x, np.full(6, 2), classes=2), IndexError, r"integers in \[0, 2\)"),
        (lambda x: augment.mixup(x, np.eye(6), alpha=0), ValueError, "alpha is 0"),
        (lambda x: augment.shift(x, rng="seed"), TypeError, "seed|int"),
    ],
)  # fmt: skip
def test_bad_arguments(call, error, message):
    with pytest.raises(error, match=message):
        call(images())
