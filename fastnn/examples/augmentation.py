"""Eight ways of varying an image, so that a network sees more than there is, and a sheet that mixes most of them."""

from collections.abc import Callable
from functools import partial

import numpy as np

from fastnn.dataset import augment
from fastnn.examples import Run, start, subplots

SIZE = 64
one_hot = np.eye(2, dtype=np.float32)


def landscape(rng):
    """A picture (3, SIZE, SIZE) in [0, 1]: sky, sun, hills and a house, painted from what `rng` says."""
    v, u = np.mgrid[0:SIZE, 0:SIZE] / SIZE
    image = np.stack([0.45 + 0.4 * v, 0.65 + 0.2 * v, 0.95 - 0.1 * v])
    image[:, (u - rng.uniform(0.2, 0.8)) ** 2 + (v - 0.22) ** 2 < 0.012] = [[1.0], [0.85], [0.2]]
    for height, color in ((0.55, (0.35, 0.6, 0.3)), (0.68, (0.25, 0.5, 0.2))):
        hill = height + 0.08 * np.sin(2 * np.pi * (u * rng.uniform(0.8, 2) + rng.uniform()))
        image[:, v > hill] = np.array(color)[:, None]
    left = rng.uniform(0.15, 0.6)
    image[:, (u > left) & (u < left + 0.25) & (v > 0.62) & (v < 0.85)] = [[0.85], [0.3], [0.25]]
    roof = (v > 0.62 - 0.14 + np.abs(u - left - 0.125)) & (v < 0.62)
    image[:, roof & (u > left - 0.04) & (u < left + 0.29)] = [[0.4], [0.2], [0.15]]
    return image.astype(np.float32)


WAYS: dict[str, Callable] = {
    "horizontal flip": partial(augment.horizontal_flip, probability=1.0),
    "vertical flip": partial(augment.vertical_flip, probability=1.0),
    "rotate": partial(augment.rotate, degrees=40),
    "erase": partial(augment.erase, probability=1.0),
    "mixup": lambda x, rng: augment.mixup(x, one_hot[np.arange(len(x)) % 2], alpha=1.0, rng=rng)[0],
    "crop": partial(augment.crop, size=SIZE, padding=16),
    "contrast": partial(augment.contrast, amount=0.8),
    "brightness": partial(augment.brightness, amount=0.8),
    "hue": partial(augment.hue, amount=0.5),
}


def draw_ways(original, varied):
    figure, axes = subplots(len(varied) + 1, len(original), size=(1.25, 1.2))
    for row, (name, images) in zip(axes, {"as it is": original, **varied}.items(), strict=True):
        for ax, image in zip(row, images, strict=True):
            ax.imshow(np.moveaxis(image, 0, -1).clip(0, 1))
            ax.set(xticks=[], yticks=[])
        row[0].set_ylabel(name, rotation=0, ha="right", va="center")
    return figure


def draw_sheet(images):
    figure, axes = subplots(6, 6, size=(1.1, 1.1))
    for ax, image in zip(axes.flat, images, strict=True):
        ax.imshow(np.moveaxis(image, 0, -1).clip(0, 1))
        ax.set_axis_off()
    return figure


def main(run: Run) -> None:
    rng = np.random.default_rng(4)
    images = np.stack([landscape(rng) for _ in range(6)])
    varied = {name: way(images, rng=rng) for name, way in WAYS.items()}
    mixed = [name for name in WAYS if name not in ("mixup", "erase", "crop")]
    every = augment.compose(*(WAYS[name] for name in mixed))
    sheet = every(np.repeat(images[:1], 36, axis=0), rng=rng)
    run.row("ways of varying, both flips as one", 8, len(WAYS) - 1)
    run.row("images on the sheet, from one", 36, len(sheet))
    run.row("different images among them", None, len(np.unique(sheet.reshape(36, -1), axis=0)))
    digits = np.repeat(images, 100, axis=0)
    with run.clock() as clock:
        every(digits, rng=rng)
    run.row(f"us for an image by the {len(mixed)} that the sheet mixes", None, 1e6 * clock.seconds / len(digits))
    run.picture("ways", draw_ways, images, varied)
    run.picture("sheet", draw_sheet, sheet)


if __name__ == "__main__":
    start(main)
