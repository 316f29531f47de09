"""Questions and answers as strings of characters: addition and dates. Book 2 ch. 7 and 8."""

from pathlib import Path

import numpy as np

from . import _search
from ._search import DataFile

FILES = {
    "addition.txt": DataFile(
        "addition.txt",
        650000,
        "0be232e09ddbc99aa7c7f54b5081dbc0",
        "34e0746f5014c11311c9452ee9050bf14e38eca44ec4aaf4d81eba2b38674009",
        packed="",
    ),
    "date.txt": DataFile(
        "date.txt",
        2050000,
        "831a4a9fd17c969a1419bb4b86253987",
        "62e66a301ce8537868e725512d2a45663fc366526b7e42028cb703bda2b1c79a",
        packed="",
    ),
}
MIRRORS = ("https://raw.githubusercontent.com/oreilly-japan/deep-learning-from-scratch-2/master/dataset/",)

_vocabulary: dict[str, int] = {}  # of the file that was loaded last


def load_data(file_name="addition.txt", seed=1984, *, data_dir=None):
    """(x_train, t_train), (x_test, t_test): ids of the characters of questions and of answers from their `_` on, int64.

    Nine tenths of the lines are for training, in an order that is the book's for the same seed (None: not seeded).
    file_name: "addition.txt" (7 and 5 characters, 13 different ones) or "date.txt" (29, 11, 59), searched for in
    data_dir and the other places, or the path of another file of lines `question_answer`.

    Raises FileNotFoundError (with the places looked at), ValueError for a damaged file or lines of different lengths.

    Notes
    -----
    Seeds NumPy's global generator, as the book's does. The vocabulary is that of the file loaded last; the book's goes
    on from the files loaded before.
    """
    lines = _lines(file_name, data_dir)
    pairs = [(line[: line.find("_")], line[line.find("_") :]) for line in lines]
    _vocabulary.clear()
    for pair in pairs:
        for text in pair:
            for character in text:
                _vocabulary.setdefault(character, len(_vocabulary))
    x, t = (_ids(file_name, texts) for texts in zip(*pairs, strict=True))
    order = np.arange(len(x))
    if seed is not None:
        np.random.seed(seed)
    np.random.shuffle(order)
    x, t = x[order], t[order]
    split_at = len(x) - len(x) // 10
    return (x[:split_at], t[:split_at]), (x[split_at:], t[split_at:])


def get_vocab():
    """(char_to_id, id_to_char) of the file loaded last; ids by first appearance."""
    return dict(_vocabulary), {i: character for character, i in _vocabulary.items()}


def _lines(file_name, data_dir):
    if file_name in FILES:
        (path,) = _search.locate("book2", [FILES[file_name]], MIRRORS, data_dir)
        text = _search.read(path, FILES[file_name]).decode("ascii")
    else:
        text = Path(file_name).read_text(encoding="utf-8")
    lines = text.splitlines()
    if not lines or not all("_" in line for line in lines):
        raise ValueError(f"load_data: {file_name}: every line must be question_answer")
    return lines


def _ids(file_name, texts):
    length = len(texts[0])
    if any(len(text) != length for text in texts):
        raise ValueError(f"load_data: {file_name}: questions, and answers, must be equally long: pad them with blanks")
    ids = np.fromiter((_vocabulary[c] for text in texts for c in text), np.int64, length * len(texts))
    return ids.reshape(len(texts), length)
