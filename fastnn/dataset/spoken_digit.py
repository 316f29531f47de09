"""Free Spoken Digit Dataset: 3,000 recordings of English digits by six speakers, 8 kHz; CC BY-SA 4.0."""

import hashlib
import io
import re
import zipfile

import numpy as np

from . import _search

_SHA256 = "45a9b976ba3397a2fd5c70a9f2e43c34f442a3a6be47392ecfc41174b678f37e"  # of names and contents in order
_TEST = 5  # of 50 recordings of a digit by a speaker, those with index 0 ... 4: the data set's own split


def load_data(points=1000, *, data_dir=None):
    """(x_train, t_train), (x_test, t_test): 2,700 and 300 waves x (n, points) float32 in [-1, 1), digits t (n,) uint8.

    Waves are cut after `points` samples or filled up with zeros; the order is by name (digit, speaker, index).
    data_dir: a folder that has recordings.zip, or the folder recordings of .wav files; looked at first.

    Raises FileNotFoundError, with the places looked at, if they are nowhere; ValueError if they are not the 3,000.
    """
    x, t, test = np.zeros((3000, points), np.float32), np.empty(3000, np.uint8), np.empty(3000, bool)
    for i, (name, wave) in enumerate(load_waves(data_dir=data_dir)):
        wave = wave[:points]
        x[i, : len(wave)] = wave / np.float32(1 << 15)
        digit, _, index = name.split("_")
        t[i], test[i] = int(digit), int(index) < _TEST
    return (x[~test], t[~test]), (x[test], t[test])


def load_waves(*, data_dir=None):
    """[(name "digit_speaker_index", wave (n,) int16), ...], 3,000 of them in order of the name."""
    files = _files(data_dir)
    digest = hashlib.sha256()
    for name, content in files:
        digest.update(name.encode() + content)
    if digest.hexdigest() != _SHA256:
        raise ValueError(f"spoken_digit: the {len(files)} recordings are not those of the data set (sha256 differs)")
    return [(name.removesuffix(".wav"), _wave(content)) for name, content in files]


def _files(data_dir):
    """(name, content) of the .wav files in the first place that has them, in order of the name."""
    places = _search.places("spoken_digit", data_dir)
    for _, folder in places:
        if (folder / "recordings.zip").is_file():
            with zipfile.ZipFile(folder / "recordings.zip") as archive:
                found = [(n.rpartition("/")[2], archive.read(n)) for n in archive.namelist() if _is_recording(n)]
        else:
            found = [(p.name, p.read_bytes()) for p in (folder / "recordings").glob("*.wav") if _is_recording(p.name)]
        if found:
            return sorted(found)
    looked = "\n".join(f"  {folder} ({reason})" for reason, folder in places)
    raise FileNotFoundError(
        "spoken_digit: neither recordings.zip nor a folder recordings was found; looked at:\n"
        f"{looked}\nThey are at https://github.com/Jakobovski/free-spoken-digit-dataset (recordings/)."
    )


def _is_recording(name):
    return re.search(r"(^|/)\d_[a-z]+_\d+\.wav$", name)


def _wave(content):
    """Samples of a .wav file: one channel, 16 bits."""
    import wave

    with wave.open(io.BytesIO(content)) as file:
        return np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.int16)
