"""The training part of PTB from the folder FASTNN_DATA, else random ids."""

import functools
import os
from pathlib import Path

import numpy as np


@functools.cache
def load_data(data_type="train"):
    path = Path(os.environ.get("FASTNN_DATA", "")) / "ptb" / f"ptb.{data_type}.txt"
    if not path.is_file():
        words = np.random.RandomState(0).zipf(1.3, 50000) % 10000
        return words, {str(i): i for i in range(10000)}, {i: str(i) for i in range(10000)}
    words = path.read_text().replace("\n", "<eos>").strip().split()
    word_to_id = {word: i for i, word in enumerate(dict.fromkeys(words))}
    corpus = np.array([word_to_id[word] for word in words])
    return corpus, word_to_id, {i: word for word, i in word_to_id.items()}
