"""Data sets of book 2: PTB, addition and date, spoken digits."""

import hashlib
import io
import os
import wave
import zipfile
from dataclasses import replace

import numpy as np
import pytest

from fastnn.dataset import _search, ptb, sequence, spoken_digit

real = pytest.mark.skipif(not os.environ.get("FASTNN_DATA"), reason="FASTNN_DATA is not set")


@pytest.fixture
def alone(tmp_path, monkeypatch):
    """No data set but those in tmp_path, no network."""
    monkeypatch.setenv("FASTNN_DATA", str(tmp_path))
    monkeypatch.setenv("FASTNN_OFFLINE", "1")
    monkeypatch.setattr(_search, "user_cache", lambda: tmp_path / "cache")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(folder, files, name, content, monkeypatch):
    """A file, and its size and hash in place of the real ones."""
    folder.mkdir(exist_ok=True)
    (folder / files[name].name).write_bytes(content)
    fake = replace(files[name], size=len(content), sha256=hashlib.sha256(content).hexdigest())
    monkeypatch.setitem(files, name, fake)


def test_ptb(alone, monkeypatch):
    write(alone / "ptb", ptb.FILES, "train", b" the cat sat \n the dog <unk> \n", monkeypatch)
    write(alone / "ptb", ptb.FILES, "test", b" the dog sat \n", monkeypatch)
    corpus, word_to_id, id_to_word = ptb.load_data("train")
    assert [id_to_word[i] for i in corpus] == ["the", "cat", "sat", "<eos>", "the", "dog", "<unk>", "<eos>"]
    assert corpus.dtype == np.int64 and list(word_to_id.values()) == list(range(6))
    assert ptb.load_data("test")[0].tolist() == [0, 4, 2, 3]
    word_to_id["the"] = 99  # what a caller gets is its own
    assert ptb.load_vocab()[0]["the"] == 0
    with pytest.raises(FileNotFoundError, match=r"ptb\.valid\.txt"):
        ptb.load_data("val")
    with pytest.raises(ValueError, match="data_type 'dev'"):
        ptb.load_data("dev")
    (alone / "ptb" / "ptb.test.txt").write_bytes(b" the dog sit \n")
    with pytest.raises(ValueError, match="not those of"):
        ptb.load_data("test")


LINES = ["1+2 _3 ", "10+2_12", "7+8 _15"] * 7


def test_sequence(alone, monkeypatch):
    write(alone / "book2", sequence.FILES, "addition.txt", ("\n".join(LINES) + "\n").encode(), monkeypatch)
    (x, t), (x_test, t_test) = sequence.load_data()
    assert x.shape == (19, 4) and t.shape == (19, 3) and x_test.shape == (2, 4) and t_test.dtype == np.int64
    char_to_id, id_to_char = sequence.get_vocab()
    assert list(char_to_id) == list(dict.fromkeys("".join(LINES)))
    order = np.arange(21)
    np.random.seed(1984)
    after = np.random.shuffle(order), np.random.rand()
    got = ["".join(id_to_char[i] for i in (*a, *b)) for a, b in zip([*x, *x_test], [*t, *t_test], strict=True)]
    assert got == [LINES[i] for i in order]
    sequence.load_data()
    assert np.random.rand() == after[1]  # the global generator is where the book leaves it
    with pytest.raises(FileNotFoundError, match=r"date\.txt"):
        sequence.load_data("date.txt")


def test_sequences_of_ones_own(alone):
    (alone / "mine.txt").write_text("ab_c\nba_d\n")
    (x, t), (x_test, _) = sequence.load_data(str(alone / "mine.txt"), seed=None)
    assert x.shape == (2, 2) and t.shape == (2, 2) and len(x_test) == 0
    for bad, message in ("ab\nba_d\n", "question_answer"), ("ab_c\nba_dd\n", "equally long"):
        (alone / "mine.txt").write_text(bad)
        with pytest.raises(ValueError, match=message):
            sequence.load_data(str(alone / "mine.txt"))


def recording(samples):
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(np.asarray(samples, "<i2").tobytes())
    return buffer.getvalue()


@pytest.mark.parametrize("packed", [True, False])
def test_spoken_digits(alone, monkeypatch, packed):
    with pytest.raises(FileNotFoundError, match=r"recordings\.zip"):
        spoken_digit.load_data()
    names = [f"{d}_{who}_{i}.wav" for d in range(10) for who in "abcdef" for i in range(50)]
    contents = {name: recording([int(name[0]) * 1000, -(1 << 15), 5]) for name in names}
    digest = hashlib.sha256(b"".join(name.encode() + contents[name] for name in sorted(names))).hexdigest()
    if packed:
        with zipfile.ZipFile(alone / "recordings.zip", "w") as archive:
            for name, content in contents.items():
                archive.writestr(f"recordings/{name}", content)
    else:
        (alone / "recordings").mkdir()
        for name, content in contents.items():
            (alone / "recordings" / name).write_bytes(content)
    with pytest.raises(ValueError, match="the 3000 recordings are not those"):
        spoken_digit.load_data()
    monkeypatch.setattr(spoken_digit, "_SHA256", digest)
    for points in 2, 4:
        (x, t), (x_test, t_test) = spoken_digit.load_data(points)
        assert x.shape == (2700, points) and x_test.shape == (300, points) and x.dtype == np.float32
        assert (np.bincount(t) == 270).all() and (np.bincount(t_test) == 30).all()
        np.testing.assert_allclose(x[:, 0], t * (1000 / 32768), rtol=1e-6)
        assert (x[:, 1] == -1).all()
        if points == 4:
            assert (x[:, 3] == 0).all()


@real
def test_the_real_files():
    sizes = {"train": 929_589, "valid": 73_760, "test": 82_430}
    for kind, size in sizes.items():
        corpus, word_to_id, _ = ptb.load_data(kind)
        assert len(corpus) == size and len(word_to_id) == 10_000
    for name, question, answer, characters in ("addition.txt", 7, 5, 13), ("date.txt", 29, 11, 59):
        (x, t), (x_test, t_test) = sequence.load_data(name)
        assert x.shape == (45_000, question) and t.shape == (45_000, answer)
        assert x_test.shape == (5_000, question) and t_test.shape == (5_000, answer)
        assert len(sequence.get_vocab()[0]) == characters
    (x, t), (x_test, _) = spoken_digit.load_data()
    assert x.shape == (2700, 1000) and x_test.shape == (300, 1000) and (np.bincount(t) == 270).all()
