"""The restricted pickle reader: the books' files, everything it may read, and everything it must refuse."""

import io
import os
import pickle
import re
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest

from fastnn.pickles import load_pickle

BOOKS = Path(os.environ.get("FASTNN_DATA", "nowhere"))


@pytest.fixture
def load(tmp_path):
    """Reads bytes as a file."""

    def read(content):
        path = tmp_path / "weights.pkl"
        path.write_bytes(content)
        return load_pickle(path)

    return read


@pytest.mark.parametrize(
    "name, kind, size",
    [
        ("book1/sample_weight.pkl", dict, 6),
        ("book1/simple_convnet_params.pkl", dict, 6),
        ("book1/deep_convnet_params.pkl", dict, 16),
        ("book2/cbow_params.pkl", dict, 3),
        ("book2/Rnnlm.pkl", list, 6),
        ("book2/AttentionSeq2seq.pkl", list, 10),
    ],
)
def test_reads_the_books_weights(name, kind, size):
    if not (BOOKS / name).is_file():
        pytest.skip(f"FASTNN_DATA has no {name}")
    got = load_pickle(BOOKS / name)
    assert type(got) is kind and len(got) == size
    with open(BOOKS / name, "rb") as file:
        expected = pickle.load(file)
    for key in expected if kind is dict else range(size):
        assert type(got[key]) is type(expected[key])
        if isinstance(got[key], np.ndarray):
            assert got[key].dtype == expected[key].dtype and got[key].flags.writeable
        np.testing.assert_equal(got[key], expected[key])


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("dtype", ["?", "i1", "u2", "i4", "i8", "f2", "f4", "f8", ">f4", "c8", "c16"])
def test_reads_arrays_of_every_protocol(load, protocol, dtype):
    x = np.arange(6).reshape(2, 3).astype(dtype)
    for array in (x, x.T, x[:, ::2], x[:0], np.array(x[1, 1]), np.zeros((), dtype)):
        got = load(pickle.dumps({"W": array}, protocol))["W"]
        assert got.dtype == array.dtype and got.shape == array.shape and got.flags.writeable and got.flags.owndata
        np.testing.assert_array_equal(got, array)


@pytest.mark.parametrize("protocol", range(6))
def test_reads_plain_values(load, protocol):
    shared = np.ones(3)
    value = {
        "a": [1, 2.5, True, None, "é", 1j, 2**80],
        ("b", 1): np.float32(1.5),
        3: np.dtype("f4"),
        "c": shared,
        "d": shared,
    }
    got = load(pickle.dumps(value, protocol))
    assert got["c"] is got["d"]
    assert list(got) == list(value) and got["a"] == value["a"]
    assert type(got["b", 1]) is np.float32 and got["b", 1] == 1.5 and got[3] == np.dtype("f4")


@pytest.mark.parametrize("module", [b"numpy.core", b"numpy._core"])  # before NumPy 2, and since
def test_reads_both_names_of_numpy_core(load, module):
    got = load(re.sub(rb"numpy\._?core", module, pickle.dumps([np.arange(3.0), np.float64(2)], 2)))
    np.testing.assert_array_equal(got[0], np.arange(3.0))
    assert got[1] == 2


class _Call:
    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


class _Matrix(np.ndarray):
    pass


@pytest.mark.parametrize("protocol", [2, 4, 5])
@pytest.mark.parametrize(
    "value, named",
    [
        (_Call(os.system, "touch hostile"), f"{os.system.__module__}.system"),
        ([{"W": (_Call(eval, "1 + 1"),)}], "eval"),
        (_Call(np.load, "x.npy"), "numpy.load"),
        (_Call(getattr, np, "load"), "getattr"),
        (_Call(bytes, 10**12), "bytes|valid pickle"),
        (OrderedDict(a=1), "collections.OrderedDict"),
        ({1, 2}, "set"),
        (b"text", "bytes"),
        (np.array([None, 1], dtype=object), "dtype 'O8'"),
        (np.array(["text"]), "dtype 'U4'"),
        (np.zeros(2, "f4, i4"), "dtype 'V8'"),
        (np.array(["2020-01-01"], "M8[D]"), "dtype 'M8'"),
        (np.ones(2).view(_Matrix), "_Matrix"),
        (np.ma.ones(2), "numpy"),
        (np.arange, "arange"),
        (np.ndarray, "object"),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, str) else "",
)
def test_refuses(load, value, named, protocol, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    try:
        content = pickle.dumps(value, protocol)
    except TypeError:  # modules cannot be pickled: write the call by hand
        content = b"\x80\x02cbuiltins\ngetattr\n(U\x01aU\x01btR."
    with pytest.raises(ValueError, match=named) as error:
        load(content)
    assert "weights.pkl" in str(error.value)
    assert not (tmp_path / "hostile").exists()


ARRAY = b"\x80\x02cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85U\x01btR"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not a pickle",
        b"\x80\x02.",
        b"\x80\x02]q\x00h\x00a.",  # a list that contains itself
        b"\x80\x02" + b"]" * 5000 + b"a" * 4999 + b".",  # nested too deeply
        b"\x80\x02Nr\xff\xff\xff\x7f.",  # memo index of 2 billion
        b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\x7f.",  # bytes of 2**63 - 1
        b"\x80\x02\x82\x01.",  # copyreg extension
        b"\x80\x02cnumpy\ndtype\n}U\x01aK\x01sb.",  # state for a function
        ARRAY + b".",  # an array without contents
        ARRAY + b"N}U\x05valueK\x01s\x86b.",  # attributes for an array
        ARRAY + b"(K\x01K\x05\x85cnumpy\ndtype\nU\x02f8\x85R\x89C\x01xtb.",  # 5 float64 in one byte
        ARRAY + b"(K\x01J\xff\xff\xff\xff\x85cnumpy\ndtype\nU\x02f8\x85R\x89C\x00tb.",  # shape (-1,)
        ARRAY + b"(K\x01K\x00\x85cnumpy\ndtype\nU\x02f8\x85R(K\x03U\x01<U\x01xNNtb\x89C\x00tb.",  # subarray
        b"\x80\x02cnumpy\nndarray\n)R.",  # a call of the class
    ],
)
def test_refuses_damaged(load, content):
    with pytest.raises(ValueError, match=r"load_pickle: .*weights\.pkl"):
        load(content)


def test_refuses_every_truncation(load):
    content = pickle.dumps({"W": np.arange(6.0).reshape(2, 3), "b": [1, "x"]}, 4)
    for size in range(len(content)):
        with pytest.raises(ValueError, match=r"weights\.pkl"):
            load(content[:size])


def test_survives_every_changed_byte(load):
    content = bytearray(pickle.dumps({"W": np.arange(4.0), "b": np.float32(1)}, 2))
    for i in range(len(content)):
        for value in (0, 0x52, 0xFF):
            damaged = content.copy()
            damaged[i] = value
            try:
                load(bytes(damaged))
            except ValueError as error:
                assert "weights.pkl" in str(error)


def test_refuses_one_buffer_named_often(load):
    """A small file must not become a large result."""
    array = ARRAY[2:] + b"(K\x01M\x00\x40\x85cnumpy\ndtype\nU\x02u1\x85R\x89h\x00tb"
    content = b"\x80\x02B\x00\x40\x00\x00" + bytes(0x4000) + b"q\x000(" + array * 100 + b"t."
    assert pickle.Unpickler(io.BytesIO(content)).load()[99].shape == (0x4000,)
    with pytest.raises(ValueError, match="larger than the file"):
        load(content)


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        load_pickle(tmp_path / "none.pkl")
