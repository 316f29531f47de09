"""Fingerprints: the same on every Python, whatever variables are called; what was printed is recognised by them."""

import ast
import importlib
import itertools
import os
import sys
import types
from pathlib import Path

import numpy as np
import pytest
from dropin import printed
from readers import clean as clean
from test_dropin import LOADED, load, variation

import fastnn
from fastnn.dropin import printings, recognise, session, sources

SOURCE = '''
def a(x, y=1):
    """Doc."""
    z = x + y  # comment
    return z

def b(values: list[int], *rest, scale: float = 0.5, **more) -> float:
    total = 0
    for i, (j, k) in enumerate(values):
        total += i * j - k
    return total * scale

def c(x):
    import os.path as p, sys
    global COUNT
    COUNT = [v * v1 for v in x if (w := v) and not w]
    try:
        f = lambda q, r=x: q + r + v0
    except (ValueError, TypeError) as error:
        raise error
    finally:
        del x
    with open(p.join(f"{f!r:>{COUNT}}", "b"), "rb") as file:
        return sys, file, {k: u for k, u in f.items()}

class D(object):
    """Doc."""
    size: int
    rate: float = 1e-3
    def __init__(self, W, *, b=None):
        self.W, self.b = W, b
    def run(me, x):
        def inner(y):
            return y @ me.W
        return inner(x)
    @property
    def shape(self): return self.W.shape

class E(D, metaclass=type):
    def __init__(self, lr=0.01):
        self.lr = lr
    def update(self, params, grads):
        for key in params:
            params[key] -= self.lr * grads[key]

def f(x):
    match x:
        case [y, *z]: return y
    return 10e-7

def g(): pass

def h(x):
    def h2(y):
        nonlocal x
        x = y
    h2(y=3)
    return x
'''
FINGERPRINTS = {
    "a": "947077a74caac6d8",
    "b": "f536726f544c7bc5",
    "c": "9782321703d9dd0d",
    "D": "c8e992a288c6f0a8",
    "E": "5dfd78041638d43a",
    "f": "31af9aae4c988c82",
    "g": "92a1ff45370e984d",
    "h": "857b50e4514da130",
}


def fingerprints(text):
    return {node.name: printings.fingerprint(node) for node in ast.parse(text).body}


def one(text):
    (digest,) = fingerprints(text).values()
    return digest


def test_fingerprints_are_the_same_on_every_python():
    assert fingerprints(SOURCE) == FINGERPRINTS


def test_parts_of_a_class():
    nodes = {node.name: node for node in ast.parse(SOURCE).body}

    def parts(name):
        found = printings.Parts(nodes[name])
        return found.skeleton, found.methods()

    assert parts("D") == (
        "8737e406caa8ceff",
        {"__init__": "3ac97f04a420b647", "run": "a9b2e90b33e56bab", "shape": "27fdff0e94d2c3a4"},
    )
    assert parts("E") == (
        "04dd871b11652caa",
        {"__init__": "0ae60da3ccfc604b", "update": "3d5c045867f69a07"},
    )


@pytest.mark.parametrize(
    "a, b, same",
    [
        ("def f(x):\n    return x", "def f(y):  # y\n    'doc'\n    return (y)", True),
        ("def f(x):\n    return x", "def f(x: int) -> int:\n    return x", True),
        ("def f(x):\n    return x", "def g(x):\n    return x", False),
        ("def f(x):\n    return x + 1", "def f(x):\n    return x + 1.0", False),
        ("def f(x, y):\n    return x - y", "def f(x, y):\n    return y - x", False),
        ("def f(x):\n    return np.exp(x)", "def f(x):\n    return np.log(x)", False),
        ("def f(x):\n    return v0", "def f(x):\n    return x", False),
        ("def f(x):\n    y: int\n    return x", "def f(x):\n    return x", True),
        ("def f(x=1):\n    return x", "def f(x=2):\n    return x", False),
        ("class A(object):\n    pass", "class A:\n    'doc'", True),
        ("class A(B):\n    pass", "class A:\n    pass", False),
    ],
)
def test_what_a_fingerprint_tells_apart(a, b, same):
    assert (one(a) == one(b)) == same


def test_dead_branches_are_left_out():
    one, other = (
        ast.parse(text).body[0]
        for text in (
            "def f(x):\n    if GPU:\n        import cupyx\n        x = cupyx.f(x)\n"
            "    else:\n        x = x + 1\n    return x",
            "def f(x):\n    x = x + 1\n    return x",
        )
    )
    assert printings.fingerprint(one) != printings.fingerprint(other)
    assert printings.fingerprint(one, ["GPU"]) == printings.fingerprint(other)


# ---- what the books' repositories ever had ---------------------------------------------------------------------------


def test_every_printing_is_mapped():
    """To what replaces it, or to what stays the reader's."""
    for number, book in ((1, "book 1"), (2, "book 2")):
        kept = set(recognise.KEPT[number].split())
        for name, entry in recognise.facts()[book].items():
            listed = {f for c in recognise.BOOK.get(name, ()) if c.book == number for f in c.printed}
            assert (name in kept) != bool(listed), name
            if name not in kept:
                assert {p[0] for p in entry["printings"]} == listed, name


def test_every_printing_of_the_list_is_shipped():
    path = Path(os.environ.get("FASTNN_DATA", "")) / "book_printings.json"
    if not path.is_file():
        pytest.skip("needs FASTNN_DATA with book_printings.json")
    import json

    for book, versions in json.loads(path.read_text(encoding="utf-8")).items():
        for v in versions:
            entry = recognise.facts()[book.replace("book", "book ")][v["name"]]
            wanted = [v["fingerprint"], *([v["skeleton"], v["methods"]] if v["kind"] == "class" else [])]
            assert wanted in entry["printings"]


FORMULAS = {
    "sigmoid": "return 1 / (1 + np.exp(-x))",
    "relu": "return np.maximum(0, x)",
}


@pytest.fixture
def module(tmp_path, monkeypatch):
    """module(text): a module of a package `common` with that text."""
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    count = itertools.count()

    def make(text):
        (tmp_path / "common").mkdir(exist_ok=True)
        name = f"made{next(count)}"
        (tmp_path / "common" / f"{name}.py").write_text("import numpy as np\n\n\n" + text)
        importlib.invalidate_caches()
        return importlib.import_module(f"common.{name}")

    return make


@pytest.fixture
def no_trials(monkeypatch):
    def trial(original, candidate):
        raise AssertionError(f"{original.__name__} was tried")

    monkeypatch.setattr(recognise, "_unlike_by_trial", trial)


@pytest.mark.parametrize("name", FORMULAS)
def test_formulas_are_recognised_without_a_trial(name, module, no_trials):
    text = FORMULAS[name].replace("x", "values").replace("evaluesp", "exp").replace("mavaluesimum", "maximum")
    made = module(f'def {name}(values):\n    """Doc."""\n    {text}\n')
    found = recognise.match(getattr(made, name))
    assert found.ours is not None and found.description == f"book 1 {name}"


def test_what_makes_a_printed_function_unknown(module, monkeypatch):
    """A global that means something else, code that is not the source's, a file that has changed or is missing."""
    tried = []
    monkeypatch.setattr(recognise, "_unlike_by_trial", lambda original, candidate: tried.append(original.__name__))
    text = "def sigmoid(x):\n    return 1 / (1 + np.exp(-x))\n"

    def judged(made):
        tried.clear()
        found = recognise.match(made.sigmoid)
        return "tried" if tried else found.why or "printed"

    assert judged(module(text)) == "printed"
    other = types.SimpleNamespace(exp=np.exp)
    made = module(text)
    made.np = other
    assert "uses np, unlike the book's" in judged(made)
    made = module(text)
    made.sigmoid.__code__ = module("def sigmoid(x):\n    return 1 / (2 + np.exp(-x))\n").sigmoid.__code__
    assert "is not what its source says" in judged(made)
    made = module(text)
    Path(made.__file__).write_text("import numpy as np\n\n\ndef sigmoid(x):\n    return 1 / (2 + np.exp(-x))\n")
    assert "is not what its source says" in judged(made)
    made = module(text)
    Path(made.__file__).unlink()
    assert "is not what its source says, or that cannot be read" in judged(made)
    made = module("import functools\n\n\n@functools.wraps(len)\n" + text)
    assert not recognise.is_candidate(made, "sigmoid", made.sigmoid) or judged(made) != "printed"


def test_a_class_of_another_kind_does_not_end_the_import(module):
    made = module("class BatchNormalization:\n    forward = 3\n\n\nclass Relu:\n    pass\n")
    for cls in made.BatchNormalization, made.Relu:
        found = recognise.match(cls)
        assert found.ours is None and found.why and "looked at" not in found.why


def test_code_that_has_run_is_still_that_of_its_source(module, no_trials):
    """The interpreter rewrites the code of what runs often."""
    made = module("def sigmoid(x):\n    return 1 / (1 + np.exp(-x))\n")
    for _ in range(5000):
        made.sigmoid(0.5)
    assert recognise.match(made.sigmoid).ours is not None


def test_constants_are_compared_by_kind():
    codes = [compile(f"def f(x):\n    return x * {c}", "", "exec").co_consts[0] for c in ("1", "1.0", "True", "1")]
    same = [sources.same_code(codes[0], code) for code in codes]
    assert same == [True, False, False, True]
    zeros = [compile(f"def f(x):\n    return x * {c}", "", "exec").co_consts[0] for c in ("(0.0, 1)", "(-0.0, 1)")]
    assert not sources.same_code(*zeros)


# ---- packages as if they were printed --------------------------------------------------------------------------------


@pytest.fixture
def as_printed(monkeypatch):
    return lambda book: printed.install(monkeypatch.setattr, book)


@pytest.mark.parametrize("book", LOADED)
def test_whole_packages_are_recognised_without_trials(book, as_printed, no_trials):
    as_printed(int(book[-1]))
    fastnn.patch()
    load(book)
    replacements = session.active.replacements
    assert replacements.kept == {} and len(replacements.replaced) >= 20
    assert replacements.replaced["common.layers.Affine"] == f"book {book[-1]} Affine"


def test_an_added_method_does_not_make_a_class_unknown(as_printed, no_trials, tmp_path):
    as_printed(1)
    fastnn.patch()
    added = "class Relu:\n    def __repr__(self):\n        return 'Relu'\n\n"
    added += "    def __call__(self, x):\n        return self.forward(x)\n"
    layers = variation(tmp_path, "book1", "layers", {"class Relu:\n": added})
    assert session.active.replacements.kept == {}
    assert repr(layers.Relu()) == "Relu" and (layers.Relu()(np.array([-1.0, 2.0])) == [0, 2]).all()


@pytest.mark.parametrize(
    "change, why",
    [
        (("class Relu:\n", "class Relu:\n    def __setattr__(self, name, value):\n        pass\n\n"), "__setattr__"),
        (
            ("class Relu:\n", "class Relu:\n    @property\n    def mask(self):\n        return 1\n\n"),
            "uses mask of its",
        ),
        (
            ("class Convolution:\n", "class Convolution:\n    def _patches(self):\n        return 1\n\n"),
            "_patches itself",
        ),
        (("out[self.mask] = 0", "out[self.mask] = 1"), "uses 1"),
    ],
)
def test_what_makes_a_printed_class_unknown(change, why, as_printed, tmp_path):
    as_printed(1)
    fastnn.patch()
    variation(tmp_path, "book1", "layers", dict([change]))
    (reason,) = session.active.replacements.kept.values()
    assert why in reason


def test_a_method_changed_while_running_makes_a_class_unknown(as_printed):
    as_printed(1)
    (layers,) = load("book1", "layers")
    kept = layers.Relu.forward
    layers.Relu.forward = lambda self, x: x
    try:
        assert "is not what its source says" in recognise.match(layers.Relu).why
    finally:
        layers.Relu.forward = kept


def test_the_key_has_the_functions_that_are_used(as_printed, tmp_path, monkeypatch):
    """SoftmaxWithLoss as printed, beside a cross_entropy_error of the reader's, or of 2016."""
    as_printed(1)
    change = {"t] + 1e-7)": "t] + 1e-8)"}
    functions = variation(tmp_path, "book1", "functions", change)
    layers = importlib.import_module("common.layers")
    found = recognise.match(layers.SoftmaxWithLoss)
    assert found.ours is None and "uses 1e-08" in found.why
    old = recognise.facts()["book 1"]["cross_entropy_error"]["printings"][0][0]
    known = printings.fingerprint
    own = recognise._source(functions.cross_entropy_error).definitions["cross_entropy_error"]
    monkeypatch.setattr(printings, "fingerprint", lambda node, dead=(): old if node is own else known(node, dead))
    found = recognise.match(layers.SoftmaxWithLoss)
    assert found.description == "book 1 SoftmaxWithLoss, without 1e-7"


def test_a_switch_for_the_gpu_that_is_on_makes_a_class_unknown(as_printed, tmp_path):
    branch = (
        "        if GPU:\n            import cupyx\n            cupyx.scatter_add(dW, self.idx, dout)\n"
        "        else:\n            np.add.at(dW, self.idx, dout)\n"
    )
    as_printed(2)
    layers = variation(tmp_path, "book2", "layers", {"        np.add.at(dW, self.idx, dout)\n": branch})
    assert recognise.match(layers.Embedding).description == "book 2 Embedding"
    layers.GPU = True
    assert "imports cupyx" in recognise.match(layers.Embedding).why


def test_the_readers_names_and_defaults_of_arguments_stay(as_printed, tmp_path):
    as_printed(1)
    fastnn.patch()
    change = {
        "def backward(self, dout=1):": "def backward(self, dout):",
        "def forward(self, x):\n        self.out = sigmoid(x)": "def forward(self, values):\n"
        "        self.out = sigmoid(values)",
    }
    layers = variation(tmp_path, "book1", "layers", change)
    assert session.active.replacements.kept == {}
    assert layers.Sigmoid().forward(values=np.zeros(1)) == 0.5
    layer = layers.SoftmaxWithLoss()
    layer.forward(np.zeros((1, 2)), np.array([0]))
    with pytest.raises(TypeError):
        layer.backward()
    assert (layer.backward(1) == [[-0.5, 0.5]]).all()
