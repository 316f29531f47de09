"""MNIST from the folder FASTNN_DATA, else random images of its shape: (x_train, t_train), (x_test, t_test)."""

import functools
import gzip
import os
from pathlib import Path

import numpy as np

FILES = ["train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"]


@functools.cache
def load_mnist(normalize=True, flatten=True, one_hot_label=False):
    folder = Path(os.environ.get("FASTNN_DATA", "")) / "mnist"
    if folder.is_dir():
        raw = [np.frombuffer(gzip.decompress((folder / f"{name}.gz").read_bytes()), np.uint8) for name in FILES]
        images, labels = [raw[0][16:], raw[2][16:]], [raw[1][8:], raw[3][8:]]
    else:
        draw = np.random.RandomState(0)
        images = [draw.randint(0, 256, n * 784).astype(np.uint8) for n in (2000, 500)]
        labels = [draw.randint(0, 10, n).astype(np.uint8) for n in (2000, 500)]
    parts = []
    for x, t in zip(images, labels):
        x = x.reshape(-1, 784) if flatten else x.reshape(-1, 1, 28, 28)
        if normalize:
            x = x.astype(np.float32) / 255.0
        parts.append((x, np.eye(10)[t] if one_hot_label else t.copy()))
    return tuple(parts)
