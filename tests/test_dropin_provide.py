"""What fastnn gives where something of the reader's is missing: `common` and `dataset`, and the files of data sets."""

import gzip
import hashlib
import importlib
import json
import subprocess
import sys
import textwrap
import urllib.error
import urllib.request
from dataclasses import replace

import numpy as np
import pytest
from readers import READERS
from readers import clean as clean

import fastnn
from fastnn import dropin
from fastnn.dataset import _search, mnist, ptb, sequence
from fastnn.dropin import provide, session

# ---- packages of the reader's own that are not on the path ---------------------------------------------------------


@pytest.fixture
def run(tmp_path):
    """Runs a script below tmp_path by `fastnn run`, from a folder below it."""

    def run(text, *options, script="book/ch05/script.py", cwd="."):
        path = tmp_path / script
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
        command = [sys.executable, "-m", "fastnn", "run", *options, str(path)]
        return subprocess.run(command, cwd=tmp_path / cwd, capture_output=True, text=True, timeout=120)

    return run


OWN = """
    import sys
    sys.path.append("..")  # the books' line: of the working directory, so that it finds nothing from elsewhere
    import numpy as np
    from common.layers import *
    from common.layers import Affine as Mine
    from dataset import spiral
    book = sys.argv[0].partition("ch05")[0]
    print(hasattr(Mine, "of_the_reader"), spiral.__file__.startswith(book), im2col.__module__)
"""


@pytest.mark.parametrize("with_init", [True, False])
def test_the_readers_own_folder_above_the_script_comes_first(run, tmp_path, with_init):
    book = tmp_path / "book"
    (book / "common").mkdir(parents=True)
    (book / "dataset").mkdir()
    for path in (READERS / "book1" / "common").glob("*.py"):
        text = path.read_text()
        if path.stem == "layers":
            text = text.replace("class Affine:\n", "class Affine:\n    of_the_reader = True\n\n")
        if with_init or path.stem != "__init__":
            (book / "common" / path.name).write_text(text)
    (book / "dataset" / "spiral.py").write_text((READERS / "book2" / "dataset" / "spiral.py").read_text())
    done = run(OWN, "--report")
    assert done.stdout == "True True common.util\n", done.stderr
    assert f"  common is the reader's own, {book / 'common'}; that folder is not on the path" in done.stderr
    assert "  replaced in common.layers: Relu, Sigmoid, Affine" in done.stderr and "is fastnn's" not in done.stderr
    # what the reader's own lacks is not added, and a line says where it was looked for
    done = run("import common.time_layers")
    *_, error, last = done.stderr.splitlines()
    assert error == "ModuleNotFoundError: No module named 'common.time_layers'" and done.returncode == 1
    assert last.startswith(f"fastnn run: common is the reader's own, {book / 'common'}")
    # above the working directory, for a script elsewhere
    done = run("import common.util\nprint(common.util.__file__)", script="other/x.py", cwd="book/ch05")
    assert done.stdout == f"{book / 'common' / 'util.py'}\n", done.stderr


PROVIDED = """
    from common.functions import *
    from common.layers import Affine
    from common.util import im2col
    from dataset import spiral
    x, t = spiral.load_data()
    for _ in range(3):
        y = softmax(Affine(np.ones((2, 3)), np.zeros(3)).forward(x))
    im2col(np.ones((1, 1, 4, 4)), 2, 2)
"""


def test_what_fastnn_provides_is_named_and_counted(run, tmp_path):
    done = run(PROVIDED, "--report", "--verify", "--report-json", "report.json")
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "report.json").read_text())
    names = {"common.functions", "common.layers", "common.util", "dataset.spiral"}
    assert set(report["provided"]) == names and report["replaced"] == report["kept"] == {}
    for name in names:
        assert f"  {name} is fastnn's: the reader has none" in done.stderr
    counted = {(call["layer"], call["calls"]) for call in report["calls"]}
    assert counted == {("softmax", 3), ("Affine.forward", 3), ("im2col", 1), ("load_data", 1)}
    assert "nothing was replaced: fastnn provided the modules of `common`" in done.stderr
    assert done.stderr.splitlines()[-1] == (
        "fastnn: nothing was verified: no call of anything that was replaced could be compared"
    )


def test_names_of_a_course_are_there_and_said_to_be_its_own(run, tmp_path):
    script = """
        from common import functions
        from common.functions import *
        import numpy as np
        d, y = np.array([1.0]), np.array([0.25])
        print(functions.mean_squared_error(d, y), functions.d_mean_squared_error(d, y), sum_squared_error(y, d))
        x = np.array([-2.0, 0.0, 3.0])
        h = 1e-6
        for f, df in ((sigmoid, functions.d_sigmoid), (np.tanh, functions.d_tanh)):
            print(np.abs((f(x + h) - f(x - h)) / (2 * h) - df(x)).max() < 1e-9)
        print(functions.d_relu(x), "d_sigmoid" in globals(), "mean_squared_error" in globals())
    """
    done = run(script, "--report")
    assert done.stdout == "0.28125 [-0.75] 0.28125\nTrue\nTrue\n[0 0 1] False False\n", done.stderr
    assert "are of a course's version" in done.stderr


def test_functions_that_were_provided_are_plain_after_unpatch(monkeypatch):
    monkeypatch.setattr(provide, "_decided", [1])
    fastnn.patch(provide=True, report=True)
    softmax = importlib.import_module("common.functions").softmax
    entries = session.active.recorder.entries
    softmax(np.ones((2, 2)))
    assert [entry.calls for entry in entries.values()] == [1]
    assert softmax.__name__ == "softmax" and softmax.__doc__ == fastnn.functions.softmax.__doc__
    dropin.unpatch()
    softmax(np.ones((2, 2)))
    assert [entry.calls for entry in entries.values()] == [1]


# ---- what was replaced ---------------------------------------------------------------------------------------------


def test_the_report_without_a_module_of_the_book(run, tmp_path):
    done = run("print(1)", "--report", "--report-json", "report.json", "--time")
    first, second = done.stderr.splitlines()
    assert first == "  nothing was replaced: no module of a package `common` was imported"
    assert second.startswith("fastnn: ") and done.stdout == "1\n"
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["replaced"] == report["kept"] == report["provided"] == {} and report["calls"] == []


def test_patch_returns_what_it_replaces():
    replaced = fastnn.patch()
    assert replaced == {} and str(replaced) == "nothing was replaced"
    sys.path.insert(0, str(READERS / "book1"))
    importlib.import_module("common.functions")
    assert list(replaced) == ["common.functions.sigmoid", "common.functions.relu", "common.functions.softmax"]
    importlib.import_module("common.layers")
    assert "Affine" in replaced["common.layers.Affine"] and "common.layers.Affine: " in str(replaced)
    assert fastnn.patch() is replaced
    with fastnn.patched() as again:
        assert again is replaced
    dropin.unpatch()
    with fastnn.patched() as replaced:
        assert "common.layers.Affine" in replaced


def test_trials_are_not_counted_as_kernels():
    fastnn.patch(time=True)
    sys.path.insert(0, str(READERS / "book1"))
    layers = importlib.import_module("common.layers")
    assert session.active.replaced and session.active.recorder.kernel_seconds == 0
    layers.Relu().forward(np.ones((4, 4)))
    assert session.active.recorder.kernel_seconds > 0


# ---- files of data sets --------------------------------------------------------------------------------------------

MNIST = '''
"""A loader as the first book's: files beside it, downloaded where they are missing."""
import gzip
import os
import urllib.request

import numpy as np

url_base = "http://localhost:9/mnist/"
key_file = {
    "train_img": "train-images-idx3-ubyte.gz", "train_label": "train-labels-idx1-ubyte.gz",
    "test_img": "t10k-images-idx3-ubyte.gz", "test_label": "t10k-labels-idx1-ubyte.gz",
}
dataset_dir = os.path.dirname(os.path.abspath(__file__))


def download(name):
    path = os.path.join(dataset_dir, name)
    if not os.path.exists(path):
        FETCH


def load_mnist():
    found = {}
    for key, name in key_file.items():
        download(name)
        with gzip.open(os.path.join(dataset_dir, name), "rb") as file:
            found[key] = np.frombuffer(file.read(), np.uint8)
    return found
'''
FETCHES = {
    "urlopen": """request = urllib.request.Request(url_base + name, headers={"User-Agent": "x"})
        with urllib.request.urlopen(request) as response, open(path, "wb") as file:
            file.write(response.read())""",
    "urlretrieve": "urllib.request.urlretrieve(url_base + name, path)",
    "name": "urlretrieve(url_base + name, path)",
}
PTB = """
import os
import urllib.request

url_base = "http://localhost:9/ptb/"


def load_data(data_type="train"):
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "ptb.%s.txt" % data_type)
    if not os.path.exists(path):
        try:
            urllib.request.urlretrieve(url_base + "ptb.%s.txt" % data_type, path)
        except urllib.error.URLError:
            print("refused")
            raise
    with open(path) as file:
        return file.read().split()
"""
SEQUENCE = """
import os


def load_data(file_name="addition.txt", seed=1984):
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), file_name)
    if not os.path.exists(path):
        print("No file: %s" % file_name)
        return None
    with open(path) as file:
        return file.read().splitlines()
"""


@pytest.fixture
def book(tmp_path, monkeypatch):
    """A book's folder `dataset` without data, and small files in place of fastnn's: returns (dataset, FASTNN_DATA)."""
    monkeypatch.setattr(_search, "user_cache", lambda: tmp_path / "cache")
    monkeypatch.setattr(sys.modules["__main__"], "__file__", str(tmp_path / "ch03" / "x.py"), raising=False)
    monkeypatch.setenv("FASTNN_OFFLINE", "1")
    monkeypatch.setenv("FASTNN_DATA", str(tmp_path / "data"))
    (tmp_path / "data").mkdir()
    (tmp_path / "reader" / "dataset").mkdir(parents=True)
    for source in (mnist, ptb, sequence):
        for key, file in source.FILES.items():
            content = f"{file.name} contents".encode()
            small = replace(file, size=len(content), sha256=hashlib.sha256(content).hexdigest())
            monkeypatch.setitem(source.FILES, key, small)
    sys.path.insert(0, str(tmp_path / "reader"))
    importlib.invalidate_caches()
    return tmp_path / "reader" / "dataset", tmp_path / "data"


@pytest.mark.parametrize("how", FETCHES)
def test_mnist_comes_from_fastnn_where_the_readers_folder_has_no_file(how, book, tmp_path):
    folder, data = book
    text = MNIST.replace("FETCH", FETCHES[how])
    if how == "name":
        text = text.replace("import urllib.request\n", "from urllib.request import urlretrieve\n")
    (folder / "mnist.py").write_text(text)
    for i, file in enumerate(mnist.FILES.values()):
        content = f"{file.name} contents".encode()
        packed = gzip.compress(content)
        (data / file.name if i % 2 else data / f"{file.name}.gz").write_bytes(content if i % 2 else packed)
    (folder / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(b"the reader's"))
    fastnn.patch()
    module = importlib.import_module("dataset.mnist")
    found = {key: value.tobytes() for key, value in module.load_mnist().items()}
    assert found.pop("train_label") == b"the reader's"  # the file that is there wins
    assert found == {key: f"{mnist.FILES[key].name} contents".encode() for key in found} and len(found) == 3
    provided = session.active.provided
    assert list(provided) == [f"dataset.mnist: {mnist.FILES[key].name}.gz" for key in found]
    assert str(data / "train-images-idx3-ubyte.gz") in provided["dataset.mnist: train-images-idx3-ubyte.gz"]
    dropin.unpatch()
    assert vars(module).get("urllib", urllib) is urllib
    assert vars(module).get("urlretrieve", urllib.request.urlretrieve) is urllib.request.urlretrieve
    (folder / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(urllib.error.URLError):  # as without fastnn: nobody answers
        module.load_mnist()


def test_files_that_fastnn_does_not_know_or_have(book, monkeypatch):
    """The reader's own download goes on, unless it is forbidden; damaged files are refused."""
    folder, data = book
    (folder / "mnist.py").write_text(MNIST.replace("FETCH", FETCHES["urlopen"]))
    module = importlib.import_module("dataset.mnist")
    fastnn.patch()  # after the import
    with pytest.raises(FileNotFoundError, match="FASTNN_OFFLINE is set"):
        module.load_mnist()
    monkeypatch.delenv("FASTNN_OFFLINE")
    monkeypatch.setattr(_search, "_fetch", lambda *args: None)
    with pytest.raises(FileNotFoundError, match=r"(?s)looked at.*http://localhost:9/.*URLError"):
        module.load_mnist()
    with pytest.raises(urllib.error.URLError):
        module.urllib.request.urlopen("http://localhost:9/other.gz")
    (data / "train-images-idx3-ubyte").write_bytes(b"x" * len("train-images-idx3-ubyte contents"))
    with pytest.raises(ValueError, match="train-images-idx3-ubyte"):
        module.load_mnist()
    assert list(folder.glob("*.gz")) == []
    assert module.urllib.error.URLError is urllib.error.URLError


def test_fastnns_own_loaders_stay():
    before = [dict(vars(module)) for module in (mnist, ptb, sequence)]
    with fastnn.patched(provide=True):
        assert [dict(vars(module)) for module in (mnist, ptb, sequence)] == before


def test_ptb_and_sequences(book, capsys):
    folder, data = book
    (folder / "ptb.py").write_text(PTB)
    (folder / "sequence.py").write_text(SEQUENCE)
    (data / "ptb.valid.txt").write_text("ptb.valid.txt contents")
    (data / "date.txt").write_text("date.txt contents")
    (folder / "mine.txt").write_text("a_1")
    fastnn.patch()
    loader, sequences = importlib.import_module("dataset.ptb"), importlib.import_module("dataset.sequence")
    assert loader.load_data("valid") == ["ptb.valid.txt", "contents"]
    assert sequences.load_data(file_name="date.txt") == sequences.load_data("date.txt") == ["date.txt contents"]
    assert sequences.load_data("mine.txt", 3) == ["a_1"] and sequences.load_data("other.txt") is None
    assert sequences.load_data() is None  # as the book's where fastnn has none either; and why
    out, err = capsys.readouterr()
    assert out.splitlines() == ["No file: other.txt", "No file: addition.txt"]
    assert "addition.txt" in err and "looked at:" in err
    assert [name.partition(": ")[2] for name in session.active.provided] == ["ptb.valid.txt", "date.txt"]
    dropin.unpatch()
    (folder / "date.txt").unlink()
    assert sequences.load_data("date.txt") is None and "fastnn" not in sequences.load_data.__code__.co_filename
