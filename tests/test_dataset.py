"""Data sets: what the loaders give, where they look, and what they refuse."""

import functools
import gzip
import hashlib
import http.server
import importlib.util
import os
import sys
import threading
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fastnn.dataset import _search, mnist, spiral


@pytest.fixture
def alone(tmp_path, monkeypatch):
    """No data set anywhere, no network: an empty home, no FASTNN_DATA, an empty script folder. Returns the cache."""
    for name in ("FASTNN_DATA", "FASTNN_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(_search, "user_cache", lambda: tmp_path / "cache" / "fastnn")
    (tmp_path / "book" / "ch04").mkdir(parents=True)
    monkeypatch.setattr(
        sys.modules["__main__"], "__file__", str(tmp_path / "book" / "ch04" / "train.py"), raising=False
    )
    monkeypatch.setattr(_search, "_download", _no_network)
    return tmp_path / "cache" / "fastnn" / "mnist"


def _no_network(url, limit):
    raise ConnectionError("no network in tests")


@pytest.fixture
def small(monkeypatch):
    """A small set in place of MNIST: the contents of its four idx files by name."""
    rng = np.random.default_rng(0)
    contents = {}
    for key, file in mnist.FILES.items():
        n = 30 if key.startswith("train") else 20
        if key.endswith("img"):
            header, data = np.array([0x803, n, 28, 28], ">u4"), rng.integers(0, 256, (n, 784), np.uint8)
        else:
            header, data = np.array([0x801, n], ">u4"), rng.integers(0, 10, n, np.uint8)
        contents[file.name] = content = header.tobytes() + data.tobytes()
        fake = replace(file, size=len(content), sha256=hashlib.sha256(content).hexdigest())
        monkeypatch.setitem(mnist.FILES, key, fake)
    mnist._parsed.cache_clear()
    yield contents
    mnist._parsed.cache_clear()


def write(folder, contents, compress=True):
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        if compress:
            (folder / f"{name}.gz").write_bytes(gzip.compress(content))
        else:
            (folder / name).write_bytes(content)
    return folder


# What the loaders give.


def test_the_forms_of_the_book(alone, small, tmp_path):
    folder = write(tmp_path / "here", small)
    (x, t), (x_test, t_test) = mnist.load_mnist(data_dir=folder)
    assert x.shape == (30, 784) and x_test.shape == (20, 784) and x.dtype == x_test.dtype == np.float32
    assert t.shape == (30,) and t_test.shape == (20,) and t.dtype == t_test.dtype == np.uint8
    raw = np.frombuffer(small["train-images-idx3-ubyte"], np.uint8, offset=16).reshape(30, 784)
    np.testing.assert_array_equal(x, raw.astype(np.float32) / 255.0)
    np.testing.assert_array_equal(t, np.frombuffer(small["train-labels-idx1-ubyte"], np.uint8, offset=8))

    (x, t_one_hot), _ = mnist.load_mnist(normalize=False, flatten=False, one_hot_label=True, data_dir=folder)
    assert x.shape == (30, 1, 28, 28) and x.dtype == np.uint8 and t_one_hot.dtype == np.float64
    np.testing.assert_array_equal(x.reshape(30, 784), raw)
    np.testing.assert_array_equal(t_one_hot, np.eye(10)[t])


def test_callers_get_arrays_of_their_own(alone, small, tmp_path):
    folder = write(tmp_path / "here", small)
    for normalize in (True, False):
        for array in mnist.load_mnist(normalize=normalize, data_dir=folder)[0]:
            array[...] = 7
        for array in mnist.load_mnist(normalize=normalize, data_dir=folder)[0]:
            assert array.flags.writeable and not (array == 7).all()


def test_files_are_parsed_once_until_they_change(alone, small, tmp_path):
    folder = write(tmp_path / "here", small)
    mnist.load_mnist(data_dir=folder)
    mnist.load_mnist(data_dir=folder)
    assert mnist._parsed.cache_info().misses == 4
    (folder / "t10k-labels-idx1-ubyte.gz").write_bytes(b"other")
    with pytest.raises(ValueError, match="t10k-labels"):
        mnist.load_mnist(data_dir=folder)


def test_the_real_files():
    folder = Path(os.environ.get("FASTNN_DATA", "nowhere"), "mnist")
    if not (folder / "train-images-idx3-ubyte.gz").is_file():
        pytest.skip("FASTNN_DATA has no mnist/train-images-idx3-ubyte.gz")
    (x, t), (x_test, t_test) = mnist.load_mnist(normalize=False, data_dir=folder)
    assert x.shape == (60000, 784) and x_test.shape == (10000, 784)
    assert t[:5].tolist() == [5, 0, 4, 1, 9] and np.bincount(t_test).tolist()[:3] == [980, 1135, 1032]
    for key, file in mnist.FILES.items():
        content = _search.read(folder / f"{file.name}.gz", file)
        assert hashlib.md5(content, usedforsecurity=False).hexdigest() == file.md5, key


def test_the_sample_is_balanced_and_real():
    (x, t), (x_test, t_test) = mnist.load_mnist_sample()
    assert x.shape == (4000, 784) and x_test.shape == (1000, 784) and x.dtype == np.float32
    assert t.dtype == np.uint8 and np.bincount(t).tolist() == [400] * 10 and np.bincount(t_test).tolist() == [100] * 10
    for start in range(0, 4000, 10):  # every prefix is balanced
        assert sorted(t[start : start + 10]) == list(range(10))
    assert x.min() == 0 and x.max() == 1 and 0.12 < x.mean() < 0.14  # MNIST's mean: 0.1307
    pixels = np.round(np.concatenate([x, x_test]) * 255).astype(np.uint8)
    assert zlib.crc32(pixels.tobytes()) == 854199217  # the coding is exact
    rows = {row.tobytes() for row in np.concatenate([x, x_test])}
    assert len(rows) == 5000
    x[...] = 0
    (again, one_hot), _ = mnist.load_mnist_sample(flatten=False, one_hot_label=True)
    assert again.shape == (4000, 1, 28, 28) and again.max() == 1 and one_hot.shape == (4000, 10)


def test_the_sample_is_part_of_mnist():
    folder = Path(os.environ.get("FASTNN_DATA", "nowhere"), "mnist")
    if not (folder / "train-images-idx3-ubyte.gz").is_file():
        pytest.skip("FASTNN_DATA has no mnist/train-images-idx3-ubyte.gz")
    (images, labels), _ = mnist.load_mnist(normalize=False, data_dir=folder)
    known = {row.tobytes(): label for row, label in zip(images, labels, strict=True)}
    for x, t in mnist.load_mnist_sample(normalize=False):
        assert [known[row.tobytes()] for row in x] == t.tolist()


def test_a_damaged_sample_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(mnist, "_SAMPLE", tmp_path / "mnist_5k.xz")
    (tmp_path / "mnist_5k.xz").write_bytes(b"\xfd7zXZ\x00")
    mnist._digits.cache_clear()
    with pytest.raises(ValueError, match=r"mnist_5k\.xz: is damaged"):
        mnist.load_mnist_sample()


@pytest.mark.parametrize("seed", [1984, 0])
def test_spiral_has_the_books_numbers(seed):
    x, t = spiral.load_data(seed)
    after = np.random.rand()
    np.random.seed(seed)
    for i in range(300):  # the definition, point by point
        arm, radius = i // 100, i % 100 / 100
        angle = arm * 4.0 + 4.0 * radius + np.random.randn() * 0.2
        assert x[i] == pytest.approx([radius * np.sin(angle), radius * np.cos(angle)], rel=1e-15, abs=1e-16)
    assert np.random.rand() == after  # the generator is left as the book leaves it
    assert x.shape == (300, 2) and x.dtype == np.float64 and t.dtype == np.int32
    np.testing.assert_array_equal(t, np.repeat(np.eye(3), 100, axis=0))
    np.testing.assert_array_equal(spiral.load_data()[0], spiral.load_data(1984)[0])


def test_spiral_of_more_arms():
    x, t = spiral.load_data(3, arms=5, points=40)
    assert x.shape == (200, 2) and t.shape == (200, 5) and t.sum(axis=0).tolist() == [40] * 5
    np.random.seed(3)
    for i in range(200):  # the draws come arm by arm, point by point
        radius, angle = i % 40 / 40, i // 40 * 4.0 + 4.0 * (i % 40 / 40) + np.random.randn() * 0.2
        np.testing.assert_allclose(x[i], [radius * np.sin(angle), radius * np.cos(angle)], atol=1e-12)
    with pytest.raises(ValueError, match=r"spiral.load_data: arms is 0 and points 100"):
        spiral.load_data(arms=0)


# Where they look.


def test_search_order(alone, small, tmp_path, monkeypatch):
    """Each place wins over the next one; a place is left by damaging its labels, which must then be named."""
    book = tmp_path / "book" / "dataset"
    order = [tmp_path / "argument", tmp_path / "environment" / "mnist", book, alone]
    monkeypatch.setenv("FASTNN_DATA", str(tmp_path / "environment"))
    for folder in reversed(order):
        write(folder, small)
        assert mnist.find_mnist(tmp_path / "argument")[1] == folder
        mnist.load_mnist(data_dir=tmp_path / "argument")
        label = folder / "train-labels-idx1-ubyte.gz"
        label.write_bytes(b"")
        with pytest.raises(ValueError, match=label.name) as error:
            mnist.load_mnist(data_dir=tmp_path / "argument")
        assert str(label) in str(error.value)


@pytest.mark.parametrize("sub", ["", "mnist"])
@pytest.mark.parametrize("compress", [True, False])
def test_forms_of_a_folder(alone, small, tmp_path, monkeypatch, sub, compress):
    write(tmp_path / "data" / sub, small, compress)
    monkeypatch.setenv("FASTNN_DATA", str(tmp_path / "data"))
    (x, _), _ = mnist.load_mnist()
    assert len(x) == 30
    assert mnist.find_mnist() == ("FASTNN_DATA", tmp_path / "data" / sub)


def test_plain_contents_under_a_gz_name(alone, small, tmp_path):
    folder = write(tmp_path / "here", {f"{name}.gz": content for name, content in small.items()}, compress=False)
    assert len(mnist.load_mnist(data_dir=folder)[0][0]) == 30


def test_user_cache_follows_xdg(monkeypatch, tmp_path):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert _search.user_cache() == tmp_path / "fastnn"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert _search.user_cache() == tmp_path / ".cache" / "fastnn"


# What is missing, and what is refused.


def test_offline_error_says_what_where_and_how(alone, monkeypatch, tmp_path):
    monkeypatch.setenv("FASTNN_OFFLINE", "1")
    monkeypatch.setenv("FASTNN_DATA", str(tmp_path / "environment"))
    monkeypatch.setattr(_search, "_download", lambda *args: pytest.fail("went to the network"))
    assert mnist.find_mnist() is None
    with pytest.raises(FileNotFoundError) as error:
        mnist.load_mnist(data_dir=tmp_path / "argument")
    text = str(error.value)
    for file in mnist.FILES.values():
        assert file.name in text and file.md5 in text and file.sha256 in text
    for folder in ("argument", "environment", os.path.join("environment", "mnist"), os.path.join("book", "dataset")):
        assert str(tmp_path / folder) in text
    assert str(alone) in text and "FASTNN_OFFLINE" in text


def test_without_pooch_the_error_names_the_extra(alone, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(FileNotFoundError, match=r"pip install 'fastnn-kernels\[data\]'"):
        mnist.load_mnist()


def test_mirrors(alone, small, monkeypatch):
    """The first mirror is down, sends something else, or is fine; what arrives is kept, what is wrong is not."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: True)
    asked = []

    def download(url, limit):
        asked.append(url)
        mirror, name = url.rsplit("/", 1)
        if mirror + "/" == mnist.MIRRORS[0]:
            if "labels" in name:
                raise ConnectionError("down")
            return gzip.compress(b"an apology")
        if fail and name.startswith("t10k-labels"):
            raise TimeoutError("too slow")
        return gzip.compress(small[name.removesuffix(".gz")])

    monkeypatch.setattr(_search, "_download", download)
    fail = True
    with pytest.raises(FileNotFoundError) as error:
        mnist.load_mnist()
    for part in ("t10k-labels-idx1-ubyte", "ConnectionError: down", "TimeoutError: too slow", *mnist.MIRRORS):
        assert part in str(error.value)
    assert "train-images" not in str(error.value)
    assert sorted(path.name for path in alone.iterdir()) == [  # no temporary file is left
        "t10k-images-idx3-ubyte.gz",
        "train-images-idx3-ubyte.gz",
        "train-labels-idx1-ubyte.gz",
    ]
    fail = False
    asked.clear()
    assert len(mnist.load_mnist()[0][0]) == 30
    assert len(asked) == 2  # goes on with the file that was missing
    asked.clear()
    mnist.load_mnist()
    assert not asked


def test_a_download_is_bounded():
    target = _search._Bounded(10)
    target.write(b"12345")
    with pytest.raises(ValueError, match="more than 10 bytes"):
        target.write(b"678901")


def test_an_interrupted_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "file"
    _search.write_atomically(path, b"old")

    def interrupted(handle):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        _search.write_atomically(path, b"new")
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


LABELS = "train-labels-idx1-ubyte"


def _damages():
    """Name, and how to make a bad .gz or plain file from the contents of a good one."""
    return {
        "empty": lambda content: b"",
        "truncated gzip": lambda content: gzip.compress(content)[:-9],
        "gzip without its end": lambda content: gzip.compress(content)[:-1],
        "gzip header alone": lambda content: gzip.compress(content)[:12],
        "wrong crc": lambda content: gzip.compress(content)[:-8] + bytes(8),
        "not deflate": lambda content: gzip.compress(content)[:10] + b"\xff" * 50,
        "trailing garbage": lambda content: gzip.compress(content) + b"garbage",
        "two members": lambda content: gzip.compress(content) * 2,
        "truncated contents": lambda content: gzip.compress(content[:-1]),
        "plain, truncated": lambda content: content[:-1],
        "plain, too long": lambda content: content + b"\0",
        "bad magic": lambda content: gzip.compress(b"\0\0\x08\x02" + content[4:]),
        "wrong sizes": lambda content: gzip.compress(content[:4] + b"\0\0\0\x1f" + content[8:]),
        "one bit": lambda content: gzip.compress(content[:-1] + bytes([content[-1] ^ 1])),
        "not a data file": lambda content: b"<html>404</html>",
        "huge": lambda content: bytes((1 << 20) + 1000),
    }


@pytest.mark.parametrize("damage", _damages())
def test_damaged_files_are_named_and_left_alone(alone, small, damage):
    write(alone, small)
    path = alone / f"{LABELS}.gz"
    path.write_bytes(_damages()[damage](small[LABELS]))
    before = path.read_bytes(), path.stat().st_mtime_ns
    for _ in range(2):
        with pytest.raises(ValueError, match=LABELS) as error:
            mnist.load_mnist()
        assert str(path) in str(error.value)
    assert (path.read_bytes(), path.stat().st_mtime_ns) == before
    assert len(list(alone.iterdir())) == 4


def test_a_bomb_is_not_unpacked(alone, small, monkeypatch):
    """256 MB of zeros in 0.25 MB of gzip: refused after as many bytes as the file may have."""
    import tracemalloc

    write(alone, small)
    with gzip.GzipFile(alone / f"{LABELS}.gz", "wb", compresslevel=9) as stream:
        for _ in range(16):
            stream.write(bytes(1 << 24))
    tracemalloc.start()
    with pytest.raises(ValueError, match=LABELS):
        mnist.load_mnist()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 32 << 20


def test_download_from_a_server(tmp_path):
    """Through pooch from a server on this machine: contents, the limit, a missing file."""
    pytest.importorskip("pooch")
    (tmp_path / "file.gz").write_bytes(b"contents")
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=tmp_path)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/file.gz"
        assert _search._download(url, limit=8) == b"contents"
        with pytest.raises(ValueError, match="more than 7 bytes"):
            _search._download(url, limit=7)
        with pytest.raises(OSError, match="404"):
            _search._download(f"{url}.none", limit=8)
        server.shutdown()
