"""Files of weights: what is written is read again, damage is named, nothing is left half-written."""

import builtins
import importlib.util
import os

import numpy as np
import pytest

from fastnn.weights import load_weights, save_weights

SUFFIXES = [".npz", ".pkl", pytest.param(".safetensors", marks=pytest.mark.skipif(
    not importlib.util.find_spec("safetensors"), reason="safetensors is not installed"))]  # fmt: skip


def arrays():
    rng = np.random.default_rng(0)
    return {
        "W1": rng.standard_normal((3, 4)),
        "b1": rng.standard_normal(4).astype(np.float32),
        "half": rng.standard_normal(5).astype(np.float16),
        "count": np.arange(6, dtype=np.int64).reshape(2, 3),
        "transposed": np.arange(6.0).reshape(2, 3).T,
        "big": np.arange(3, dtype=">f4"),
        "empty": np.zeros((0, 3)),
        "number": np.array(2.5),
        "file": np.ones(2),
        "a/b.c": np.ones(1),
    }


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_there_and_back(tmp_path, suffix):
    path, expected = tmp_path / f"weights{suffix}", arrays()
    save_weights(path, expected)
    loaded = load_weights(str(path))
    assert set(loaded) == set(expected)
    for name, a in expected.items():
        assert (
            loaded[name].dtype == a.dtype.newbyteorder("=")
            and loaded[name].shape == a.shape
            and loaded[name].flags.writeable
        )
        np.testing.assert_array_equal(loaded[name], a)
    assert list(tmp_path.iterdir()) == [path]


def test_numpy_reads_our_npz_and_we_read_numpys(tmp_path):
    save_weights(tmp_path / "a.npz", {"W": np.eye(3)})
    with np.load(tmp_path / "a.npz") as file:
        np.testing.assert_array_equal(file["W"], np.eye(3))
    np.savez_compressed(tmp_path / "b.npz", W=np.eye(2))
    np.testing.assert_array_equal(load_weights(tmp_path / "b.npz")["W"], np.eye(2))


def test_the_same_weights_give_the_same_bytes(tmp_path):
    for name in ("a.npz", "b.npz"):
        save_weights(tmp_path / name, arrays())
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("damage", [lambda c: b"", lambda c: c[: len(c) // 2], lambda c: c[100:], lambda c: c[::-1]])
def test_damaged_files_are_named(tmp_path, suffix, damage):
    path = tmp_path / f"weights{suffix}"
    save_weights(path, {"W": np.arange(1000.0)})
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError, match=rf"load_\w+: .*weights\{suffix}: is not|weights\{suffix}: is damaged"):
        load_weights(path)


def test_objects_are_refused(tmp_path):
    np.savez(tmp_path / "objects.npz", W=np.array([{}]))
    with pytest.raises(ValueError, match="Object arrays cannot be loaded"):
        load_weights(tmp_path / "objects.npz")
    with pytest.raises(TypeError, match="W has dtype object"):
        save_weights(tmp_path / "a.npz", {"W": np.array([{}])})
    assert not (tmp_path / "a.npz").exists()


def test_other_contents_and_suffixes(tmp_path):
    from fastnn.pickles import to_pickle

    (tmp_path / "list.pkl").write_bytes(to_pickle([np.ones(2)]))
    (tmp_path / "text.pkl").write_bytes(to_pickle({"W": "text"}))
    for name in ("list.pkl", "text.pkl"):
        with pytest.raises(ValueError, match=f"{name}: does not hold arrays by name"):
            load_weights(tmp_path / name)
    with pytest.raises(ValueError, match=r"weights.txt: the suffix must be one of .npz, .safetensors, .pkl"):
        save_weights("weights.txt", {})
    with pytest.raises(FileNotFoundError):
        load_weights(tmp_path / "missing.npz")


def test_a_missing_package_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"pip install 'fastnn-kernels\[io\]'"):
        save_weights(tmp_path / "a.safetensors", {"W": np.ones(2)})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("failing", ["fsync", "replace", "open"])
def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch, failing):
    path = tmp_path / "weights.npz"
    save_weights(path, {"W": np.ones(2)})
    before = path.read_bytes()

    def fail(*args, **kwargs):
        raise OSError("disk full")

    monkeypatch.setattr(builtins if failing == "open" else os, failing, fail)
    with pytest.raises(OSError, match="disk full"):
        save_weights(path, {"W": np.zeros(2)})
    monkeypatch.undo()
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(os.name != "posix", reason="links and permissions of POSIX")
def test_links_are_followed_and_permissions_are_the_users(tmp_path):
    (tmp_path / "link.npz").symlink_to(tmp_path / "real.npz")
    save_weights(tmp_path / "link.npz", {"W": np.ones(2)})
    assert (tmp_path / "link.npz").is_symlink() and (tmp_path / "real.npz").is_file()
    (tmp_path / "plain").write_text("")
    assert (tmp_path / "real.npz").stat().st_mode == (tmp_path / "plain").stat().st_mode
