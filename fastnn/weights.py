"""Files of weights: a dict of arrays as .npz, .safetensors, or the books' .pkl; the suffix decides."""

import importlib.util
import io
import os
import secrets
import zipfile
from pathlib import Path

import numpy as np

from .pickles import load_pickle, to_pickle

SUFFIXES = ".npz", ".safetensors", ".pkl"


def save_weights(path, arrays):
    """Write {name: array} of numbers to `path`: whole or not at all (write, fsync, replace).

    .pkl is for the books' own scripts. Raises ValueError for another suffix, TypeError for what is not an array of real
    numbers, ImportError where .safetensors needs its package.
    """
    suffix = _suffix("save_weights", path)
    plain = {}
    for name, value in arrays.items():
        array = np.asarray(value, order="C")
        if array.dtype.kind not in "biuf":
            raise TypeError(f"save_weights: {name} has dtype {array.dtype}; arrays of real numbers are saved")
        plain[str(name)] = array.astype(array.dtype.newbyteorder("="), copy=False)
    write_atomically(Path(path), {".npz": _npz, ".safetensors": _safetensors, ".pkl": to_pickle}[suffix](plain))


def load_weights(path):
    """{name: array} from a .npz, .safetensors or .pkl file; nothing in it is run (see `load_pickle`).

    Raises ValueError, naming the file, for another suffix, damaged contents, or contents of another kind.
    """
    suffix = _suffix("load_weights", path)
    if suffix == ".pkl":
        arrays = load_pickle(path)
    elif suffix == ".npz":
        arrays = _from_npz(path)
    else:
        arrays = _from_safetensors(path)
    if not isinstance(arrays, dict) or not all(isinstance(a, np.ndarray) for a in arrays.values()):
        raise ValueError(f"load_weights: {os.fspath(path)}: does not hold arrays by name")
    return arrays


def write_atomically(path: Path, content: bytes) -> None:
    """Write, fsync, replace: `path` has its old or its new contents, never something between."""
    path = Path(os.path.realpath(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with open(temporary, "xb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _suffix(operation, path):
    suffix = Path(path).suffix.lower()
    if suffix not in SUFFIXES:
        raise ValueError(f"{operation}: {os.fspath(path)}: the suffix must be one of {', '.join(SUFFIXES)}")
    return suffix


def _npz(arrays):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, array in arrays.items():
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)
    return buffer.getvalue()


def _from_npz(path):
    content = Path(path).read_bytes()
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return {name.removesuffix(".npy"): _member(archive, name) for name in archive.namelist()}
    except MemoryError:
        raise
    except Exception as error:  # a damaged archive can raise nearly anything
        raise ValueError(f"load_weights: {os.fspath(path)}: is not a whole, valid .npz file ({error})") from None


def _member(archive, name):
    with archive.open(name) as member:
        return np.lib.format.read_array(member, allow_pickle=False)


def _safetensors(arrays):
    return _package().save(arrays)


def _from_safetensors(path):
    package = _package()
    content = Path(path).read_bytes()
    try:
        return package.load(content)
    except Exception as error:  # SafetensorError, KeyError for a dtype that NumPy lacks
        message = f"load_weights: {os.fspath(path)}: is not a whole, valid .safetensors file ({error})"
        raise ValueError(message) from None


def _package():
    if not importlib.util.find_spec("safetensors"):
        raise ImportError(".safetensors files need a package: pip install 'fastnn-kernels[io]'")
    import safetensors.numpy

    return safetensors.numpy
