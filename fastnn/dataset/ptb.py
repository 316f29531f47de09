"""Penn Treebank as book 2 loads it (ch. 2 and on): Mikolov's split, 10,000 words, `<eos>` at the end of each line."""

import functools
from pathlib import Path

import numpy as np

from . import _search
from ._search import DataFile

FILES = {
    "train": DataFile(
        "ptb.train.txt",
        5101618,
        "f26c4b92c5fdc7b3f8c7cdcb991d8420",
        "fcea919f6cf83f35d4d00c6cbf08040d13d4155226340912e2fef9c9c4102cbf",
        packed="",
    ),
    "valid": DataFile(
        "ptb.valid.txt",
        399782,
        "aa0affc06ff7c36e977d7cd49e3839bf",
        "c9fe6985fe0d4ccb578183407d7668fc6066c20700cb4cf87d8ff1cc34df1bf2",
        packed="",
    ),
    "test": DataFile(
        "ptb.test.txt",
        449945,
        "8b80168b89c18661a38ef683c0dc3721",
        "dd65dff31e70846b2a6030a87482edcd5d199130cdcfa1f3dccbb033728deee0",
        packed="",
    ),
}
MIRRORS = ("https://raw.githubusercontent.com/tomsercu/lstm/master/data/",)


def load_vocab(*, data_dir=None):
    """(word_to_id, id_to_word) of the training part, ids by first appearance."""
    word_to_id = _vocabulary(*_located("train", data_dir))
    return dict(word_to_id), {i: word for word, i in word_to_id.items()}


def load_data(data_type="train", *, data_dir=None):
    """(corpus (n,) int64, word_to_id, id_to_word) of "train", "valid" (or "val") or "test": 929,589, 73,760 and 82,430.

    data_dir: a folder that has the three files, or ptb/ with them; looked at first. Raises ValueError for another
    data_type or a damaged file, FileNotFoundError, with the places looked at, for missing ones. Unlike the book's, no
    files are written.
    """
    kind = {"val": "valid"}.get(data_type, data_type)
    if kind not in FILES:
        raise ValueError(f"load_data: data_type {data_type!r} is not one of train, valid, test")
    word_to_id, id_to_word = load_vocab(data_dir=data_dir)
    words = _words(*_located(kind, data_dir))
    return np.fromiter((word_to_id[word] for word in words), np.int64, len(words)), word_to_id, id_to_word


def _located(kind, data_dir):
    (path,) = _search.locate("ptb", [FILES[kind]], MIRRORS, data_dir)
    return path, path.stat().st_mtime_ns, kind


@functools.lru_cache(maxsize=3)
def _words(path: Path, mtime_ns: int, kind: str) -> list[str]:
    """The words of one file. Cached until the file changes."""
    return _search.read(path, FILES[kind]).decode("ascii").replace("\n", "<eos>").strip().split()


@functools.lru_cache(maxsize=1)
def _vocabulary(path: Path, mtime_ns: int, kind: str) -> dict[str, int]:
    return {word: i for i, word in enumerate(dict.fromkeys(_words(path, mtime_ns, kind)))}
