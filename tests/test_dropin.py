"""The drop-in on packages `common` in plain NumPy, written for it (tests/dropin), and on variations of them."""

import contextlib
import copy
import functools
import importlib
import inspect
import io
import json
import os
import random
import re
import subprocess
import sys
import textwrap
import types

import numpy as np
import pytest
from readers import READERS
from readers import clean as clean

import fastnn
from fastnn import dropin
from fastnn.dropin import session

MULTI_LAYER = "multi_layer_net", "multi_layer_net_extend"
LOADED = {
    "book1": [
        "functions",
        "util",
        "layers",
        "optimizer",
        "trainer",
        "multi_layer_net",
        "multi_layer_net_extend",
        "gradient",
    ],
    "book2": ["functions", "util", "layers", "time_layers", "optimizer", "trainer", "base_model"],
}


def load(book, *names):
    """Modules of one of the packages `common`, imported as a script does."""
    sys.path.insert(0, str(READERS / book))
    return [importlib.import_module(f"common.{name}") for name in names or LOADED[book]]


def variation(tmp_path, book, module, change):
    """The module of a copy of the package in which `change` (old text -> new) was made."""
    folder = tmp_path / "common"
    folder.mkdir()
    for path in (READERS / book / "common").glob("*.py"):
        text = path.read_text()
        if path.stem == module:
            for old, new in change.items():
                assert old in text
                text = text.replace(old, new, 1)
        (folder / path.name).write_text(text)
    sys.path.insert(0, str(tmp_path))
    importlib.invalidate_caches()
    return importlib.import_module(f"common.{module}")


def snapshot(modules):
    """Every name of the modules, and of their classes, as objects."""
    found = {}
    for module in modules:
        for name, value in vars(module).items():
            found[module.__name__, name] = value
            found[module.__name__, name, "code"] = getattr(value, "__code__", None)
            if isinstance(value, type):
                found |= {(module.__name__, name, key): member for key, member in vars(value).items()}
    return {k: v for k, v in found.items() if k[-1] not in ("__builtins__", "__dict__", "__weakref__")}


def same(a, b):
    return a.keys() == b.keys() and all(a[k] is b[k] for k in a)


def replaced(cls):
    return cls in session.active.replacements.methods


# ---- what is replaced, and the way back ----------------------------------------------------------------------------


@pytest.mark.parametrize("book", LOADED)
def test_everything_with_a_books_name_is_replaced_at_import(book):
    fastnn.patch()
    load(book)
    names = {cls.__name__ for cls in session.active.replacements.methods}
    names |= {function.__name__ for function in session.active.replacements.functions}
    assert session.active.replacements.kept == {}
    wanted = {
        "book1": "Relu Sigmoid Affine SoftmaxWithLoss Dropout BatchNormalization Convolution Pooling im2col col2im "
        "MultiLayerNet MultiLayerNetExtend",
        "book2": "MatMul Affine Softmax SoftmaxWithLoss Sigmoid SigmoidWithLoss Dropout Embedding RNN LSTM GRU "
        "TimeRNN TimeLSTM TimeGRU TimeEmbedding TimeAffine TimeSoftmaxWithLoss TimeDropout clip_grads remove_duplicate "
        "ppmi create_co_matrix convert_one_hot create_contexts_target most_similar RnnlmTrainer",
    }[book]
    both = "sigmoid relu softmax SGD Momentum Nesterov AdaGrad RMSprop Adam"
    assert names == set(wanted.split()) | set(both.split())


@pytest.mark.parametrize("book", LOADED)
def test_unpatch_restores_exactly(book):
    modules = load(book)
    before = snapshot(modules)
    with fastnn.patched():
        assert not same(snapshot(modules), before)
    assert same(snapshot(modules), before)
    fastnn.patch()
    fastnn.patch()
    assert len([hook for hook in sys.meta_path if type(hook).__name__ == "Hook"]) == 1
    with fastnn.patched():
        pass
    assert not same(snapshot(modules), before)  # it was on before the block
    fastnn.unpatch()
    fastnn.unpatch()
    assert same(snapshot(modules), before)
    assert not [hook for hook in sys.meta_path if type(hook).__name__ == "Hook"]


@pytest.mark.parametrize("book", LOADED)
def test_what_was_imported_while_patched_is_the_readers_own_afterwards(book):
    with fastnn.patched():
        modules = load(book)
    for module in modules:
        for name, value in vars(module).items():
            if isinstance(value, types.FunctionType):
                assert value.__code__.co_filename.startswith(str(READERS)), name
            if isinstance(value, type) and value.__module__.startswith("common"):
                for member in vars(value).values():
                    if isinstance(member, types.FunctionType):
                        assert member.__code__.co_filename.startswith(str(READERS)), (name, member)


def test_star_imports_and_instances_from_before(rng):
    (layers,) = load("book1", "layers")
    script = types.ModuleType("script")
    sys.modules["script"] = script
    try:
        exec("from common.layers import *\nrelu_of_script = softmax", vars(script))
        W, b, x = rng.standard_normal((4, 3)), rng.standard_normal(3), rng.standard_normal((5, 4))
        affine, softmax, Affine = script.Affine(W, b), script.softmax, layers.Affine
        code = softmax.__code__
        out = affine.forward(x)
        with fastnn.patched():
            assert script.Affine is Affine and type(affine) is Affine
            assert softmax.__code__ is not code and script.relu_of_script is script.softmax is layers.softmax is softmax
            assert script.softmax.__name__ == "softmax" and script.softmax.__module__ == "common.functions"
            assert affine.forward.__func__.__module__ == "fastnn.compat.book1"
            np.testing.assert_allclose(affine.forward(x), out, rtol=1e-12)
            dx = affine.backward(out)
            assert affine.W is W
        assert softmax.__code__ is code
        np.testing.assert_allclose(affine.backward(out), dx, rtol=1e-12)  # forward by ours, backward by the original
    finally:
        del sys.modules["script"]


@pytest.fixture
def rng():
    return np.random.default_rng(3)


def test_patch_and_unpatch_between_forward_and_backward(rng):
    """The attributes of the book carry the state from one to the other."""
    (layers,) = load("book1", "layers")
    x, image = rng.standard_normal((5, 4)), rng.standard_normal((2, 2, 6, 6))
    made = [
        (layers.Relu(), x),
        (layers.Sigmoid(), x),
        (layers.Dropout(0.4), x),
        (layers.BatchNormalization(np.ones(4), np.zeros(4)), x),
        (layers.Convolution(rng.standard_normal((3, 2, 3, 3)), np.zeros(3)), image),
        (layers.Pooling(2, 2), image),
    ]
    for layer, x in made:
        np.random.seed(0)
        dout = rng.standard_normal(layer.forward(x).shape)
        expected = np.array(layer.backward(dout.copy()))
        with fastnn.patched():
            np.testing.assert_allclose(layer.backward(dout.copy()), expected, rtol=1e-9, atol=1e-12)
            np.random.seed(0)
            layer.forward(x)
        np.testing.assert_allclose(layer.backward(dout.copy()), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name, gates", [("RNN", 1), ("LSTM", 4), ("GRU", 3)])
def test_steps_of_a_sequence_of_the_readers_own(name, gates, rng):
    """A loop over the book's single steps, float64 weights and float32 state at first; patched half way."""
    (layers,) = load("book2", "time_layers")
    shapes = (3, 4 * gates), (4, 4 * gates), (4 * gates,)
    layer = getattr(layers, name)(*(rng.standard_normal(shape) for shape in shapes))
    xs, dh = rng.standard_normal((2, 5, 3)), rng.standard_normal((2, 4))
    states = [np.zeros((2, 4), "f")] * (2 if name == "LSTM" else 1)

    def forward():
        out = layer.forward(xs[:, 1], *states)
        return list(out) if name == "LSTM" else [out]

    def backward():
        return [*layer.backward(dh, *[0] * (name == "LSTM")), *(g.copy() for g in layer.grads)]

    expected, before, cache = forward(), backward(), layer.cache
    with fastnn.patched():
        after = backward()  # of the original's forward
        made, kept = forward(), layer.cache
        again = backward()
    for a, b in zip([*expected, *cache, *before, *before], [*made, *kept, *after, *again], strict=True):
        assert b.dtype == a.dtype
        np.testing.assert_allclose(b, a, rtol=1e-6, atol=1e-9)


def test_subclasses_of_the_reader(rng):
    fastnn.patch()
    (layers,) = load("book1", "layers")

    class Doubled(layers.Affine):
        def __init__(self, W, b):
            self.W, self.b = W, b  # without the parent's constructor

        def forward(self, x):
            return 2 * super().forward(x)

    W, x = rng.standard_normal((4, 3)), rng.standard_normal((5, 4))
    layer = Doubled(W, np.ones(3))
    np.testing.assert_allclose(layer.forward(x), 2 * (x @ W + 1), rtol=1e-12)
    layer.backward(np.ones((5, 3)))
    np.testing.assert_allclose(layer.dW, x.T @ np.ones((5, 3)), rtol=1e-12)
    assert replaced(layers.Affine) and not replaced(Doubled) and isinstance(layer, layers.Affine)


# ---- what stays the reader's ---------------------------------------------------------------------------------------


def test_other_names_of_arguments_and_abstract_bases(tmp_path):
    fastnn.patch()
    base = "class Layer(abc.ABC):\n    @abc.abstractmethod\n    def forward(self, X):\n        pass\n\n\n"
    text = {
        "from common.functions import *": "import abc\n\nfrom common.functions import *",
        "class Relu:": base + "class Relu(Layer):",
        "def forward(self, x):\n        self.mask = x <= 0": "def forward(self, X: np.ndarray) -> np.ndarray:\n"
        "        x = X\n        self.mask = x <= 0",
        "def backward(self, dout):\n        dout[self.mask] = 0\n        return dout": "def backward(self, d_out):\n"
        "        d_out[self.mask] = 0\n        return d_out",
    }
    layers = variation(tmp_path, "book1", "layers", text)
    assert session.active.replacements.kept == {} and replaced(layers.Relu)
    layer, x = layers.Relu(), np.array([[-1.0, 2.0]])
    assert (layer.forward(X=x) == [[0, 2]]).all() and (layer.backward(d_out=x) == [[0, 2]]).all()
    with pytest.raises(TypeError):
        layer.forward(x=x)


OLD_DROPOUT = """    def __init__(self, dropout_ratio=0.5):
        self.dropout_ratio = dropout_ratio
        self.mask = None

    def forward(self, x, train_flg=True):
"""
VARIATIONS = {
    "other formula": ("Sigmoid", "self.out = sigmoid(x)", "self.out = sigmoid(2 * x)", "forward uses 2, which"),
    "prints": ("Relu", "self.mask = x <= 0", "self.mask = x <= 0; print(x.shape)", "forward uses print"),
    "counts": ("Relu", "self.mask = x <= 0", "self.mask = x <= 0; self.calls = 1", "forward uses self.calls, which"),
    "flag of the module": ("Relu", "out[self.mask] = 0", "out[self.mask] = FLOOR", "forward uses FLOOR"),
    "another argument": (
        "Affine",
        "def forward(self, x):\n        self.original",
        "def forward(self, x, scale=1):\n        self.original",
        "forward takes (self, x, scale=1), the book's (self, x)",
    ),
    "option of the constructor": (
        "Dropout",
        OLD_DROPOUT,
        OLD_DROPOUT.replace("0.5", "0.5, more=0").replace("= None\n", "= None\n        self.more = more\n")
        + "        x = x + self.more\n",
        "forward uses the operator +, which the book's does not",
    ),
    "inverted dropout": ("Dropout", "return x * self.mask", "return x * self.mask / 0.7", "the operator /"),
    "per channel": (
        "BatchNormalization",
        "x = x.reshape(N, C * H * W)",
        "x = x.transpose(0, 2, 3, 1).reshape(-1, C)",
        "it could not be tried",
    ),
    "constructor with an effect": (
        "Convolution",
        "        self.col = None\n",
        '        self.col = None\n        open("made.txt", "w").close()\n',
        "__init__ uses open",
    ),
    "prints in a private method": ("BatchNormalization", "mean = x.mean", "print(x); mean = x.mean", "uses print"),
    "float32 results": (
        "Affine",
        "np.dot(self.x, self.W) + self.b",
        "(np.dot(self.x, self.W) + self.b).astype('f')",
        "forward uses .astype",
    ),
}


@pytest.mark.parametrize("what", VARIATIONS)
def test_what_a_reader_has_changed_is_kept(what, tmp_path, monkeypatch):
    name, old, new, why = VARIATIONS[what]
    monkeypatch.chdir(tmp_path)
    text = {"import im2col, col2im\n": "import im2col, col2im\n\nFLOOR = 0\n", old: new}
    np.random.seed(5)
    random.seed(5)
    states = np.random.get_state()[1].copy(), random.getstate()
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        fastnn.patch()
        layers = variation(tmp_path, "book1", "layers", text)
    kept = session.active.replacements.kept
    assert list(kept) == [f"common.layers.{name}"] and why in kept[f"common.layers.{name}"], kept
    assert not replaced(getattr(layers, name)) and replaced(layers.SoftmaxWithLoss)
    assert out.getvalue() == "" and not (tmp_path / "made.txt").exists()
    assert (np.random.get_state()[1] == states[0]).all() and random.getstate() == states[1]


def test_strict(tmp_path):
    fastnn.patch(strict=True)
    with pytest.raises(dropin.StrictError, match=r"common.layers.Relu is not replaced: forward uses print"):
        variation(tmp_path, "book1", "layers", {"self.mask = x <= 0": "self.mask = x <= 0; print(x)"})


STRICT = {
    "x as float16": ("affine.forward(x.astype('e'))", "Affine.forward", "x float16 to float64", "x.astype(np.float64)"),
    "x transposed": ("affine.forward(np.ones((4, 5)).T)", "Affine.forward", "x not contiguous", "np.ascontiguousarray"),
    "a list": ("functions.sigmoid([1.0, 2.0])", "sigmoid", "x is a list", "np.asarray(x, np.float64)"),
    "integers": (
        "affine.forward(x.astype(int))",
        "Affine.forward",
        "x is converted to float64 (int64 (5, 4))",
        "astype",
    ),
    "one-hot targets": ("loss.backward()", "SoftmaxWithLoss.backward", "NumPy subtracts targets", "--float32"),
}


@pytest.mark.parametrize("what", STRICT)
def test_strict_ends_at_a_call_that_converts_or_falls_back(what, tmp_path):
    call, layer, reason, advice = STRICT[what]
    script = f"""
import numpy as np
from common import functions
from common.layers import Affine, SoftmaxWithLoss
x, affine, loss = np.ones((5, 4)), Affine(np.ones((4, 3)), np.ones(3)), SoftmaxWithLoss()
y = loss.forward(affine.forward(x), np.eye(3, dtype=int)[[0, 1, 2, 0, 1]])
try:
    print("before")
    {call}
except {{}}:
    pass
print("after")
"""
    sys.path.insert(0, str(READERS / "book1"))
    path = tmp_path / "script.py"
    for caught, after in (("KeyError", ""), ("Exception", "after\n")):
        path.write_text(script.format(caught))
        done = subprocess.run(
            [sys.executable, "-m", "fastnn", "run", "--strict", str(path)], capture_output=True, text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(READERS / "book1"), *sys.path])}, cwd=tmp_path,
        )  # fmt: skip
        assert done.stdout == "before\n" + after and done.returncode == 1
        assert done.stderr.count("\n") == 1 and done.stderr.startswith(f"fastnn run: --strict: {layer} at {path}:9: ")
        assert reason in done.stderr and advice in done.stderr, done.stderr


def test_functions_that_are_held_elsewhere(tmp_path):
    """In dicts, default arguments, closures, partial functions and class attributes, before and after."""
    (functions,) = load("book1", "functions")

    def closure(f):
        return lambda x: f(x)

    class Layer:
        activation = staticmethod(functions.relu)

        def __init__(self, f=functions.sigmoid):
            self.f = f

    table, inner = {"softmax": functions.softmax}, closure(functions.relu)
    partial = functools.partial(functions.softmax)
    x = np.linspace(-1, 1, 12).reshape(3, 4)
    held = [table["softmax"], inner, partial, Layer.activation, Layer().f]
    before = [f(x) for f in held]
    fastnn.patch(report=True)
    for f, out in zip(held, before, strict=True):
        np.testing.assert_allclose(f(x), out, rtol=1e-12)
    calls = dict.fromkeys(("softmax", "relu", "sigmoid"), 0)
    for (label, site), entry in session.active.replacements.recorder.entries.items():
        assert site.startswith("test_dropin.py")
        calls[label] += entry.calls
    assert calls == {"softmax": 2, "relu": 2, "sigmoid": 1}
    assert inspect.signature(functions.softmax) == inspect.signature(lambda x: x)
    assert copy.deepcopy(table) == table


def test_a_translation_keeps_its_texts(tmp_path, capsys):
    fastnn.patch()
    util = variation(tmp_path, "book2", "util", {"% done": "% gemacht", "%s is not found": "%s fehlt"})
    assert session.active.replacements.kept == {}
    util.ppmi(np.ones((4, 4), int), verbose=True)
    util.most_similar("x", {}, {}, np.ones((1, 1)))
    assert capsys.readouterr().out.splitlines()[-2:] == ["100.0% gemacht", "x fehlt"]


def test_older_printings(tmp_path):
    """Pooling with a default stride of 1, GRU without a bias: the constructor stays the reader's."""
    fastnn.patch()
    layers = variation(tmp_path, "book1", "layers", {"pool_w, stride=2": "pool_w, stride=1"})
    assert replaced(layers.Pooling)
    assert layers.Pooling(2, 2).forward(np.ones((1, 1, 4, 4))).shape == (1, 1, 3, 3)


def test_gru_without_a_bias(tmp_path):
    fastnn.patch()
    text = (READERS / "book2" / "common" / "time_layers.py").read_text()
    old = text[text.index("class GRU:") : text.index("class TimeRNN:")]
    new = old.replace(", b):", "):").replace("Wh, b]", "Wh]").replace("Wx, Wh, b = ", "Wx, Wh = ")
    new = new.replace("Wx, Wh, _ = ", "Wx, Wh = ").replace(" + b[:H]", "").replace(" + b[H : 2 * H]", "")
    new = new.replace(" + b[2 * H :]", "")
    new = new.replace("        self.db = dA.sum(axis=0)\n        self.grads[2][...] = self.db\n", "")
    time_old = text[text.index("class TimeGRU:") : text.index("class TimeBiLSTM:")]
    time_new = time_old.replace("Wx, Wh, b, stateful", "Wx, Wh, stateful").replace("[Wx, Wh, b]", "[Wx, Wh]")
    time_new = time_new.replace("[0, 0, 0]", "[0, 0]").replace("Wx, Wh, b = self", "Wx, Wh = self")
    layers = variation(tmp_path, "book2", "time_layers", {old: new, time_old: time_new})
    assert replaced(layers.TimeGRU), session.active.replacements.kept


def test_packages_of_other_names(tmp_path):
    """A fork that has moved `common` into a package of its own."""
    folder = tmp_path / "my_deep_learning" / "common"
    folder.mkdir(parents=True)
    text = (READERS / "book1" / "common" / "functions.py").read_text()
    (folder / "functions.py").write_text(text)
    (folder / "anything.py").write_text("def softmax(a, b):\n    return a\n\nclass Other:\n    pass\n")
    sys.path.insert(0, str(tmp_path))
    importlib.invalidate_caches()
    fastnn.patch()
    functions = importlib.import_module("my_deep_learning.common.functions")
    importlib.import_module("my_deep_learning.common.anything")
    assert [f.__name__ for f in session.active.replacements.functions] == ["sigmoid", "relu", "softmax"]
    assert functions.softmax in session.active.replacements.functions
    assert list(session.active.replacements.kept) == ["my_deep_learning.common.anything.softmax"]


# ---- fastnn run ----------------------------------------------------------------------------------------------------


@pytest.fixture
def run(tmp_path):
    """Runs a script, by `fastnn run` or by plain Python, in a folder beside a copy of a package `common`."""

    def run(text, *options, book="book1", args=(), plain=False, script="script.py"):
        folder = tmp_path / "ch99"
        folder.mkdir(exist_ok=True)
        if book and not (tmp_path / "common").exists():
            (tmp_path / "common").symlink_to(READERS / book / "common")
        (folder / script).write_text(textwrap.dedent(text))
        command = [sys.executable, *([] if plain else ["-m", "fastnn", "run", *options]), script, *args]
        return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)

    return run


TRAINING = """
    import sys, os
    sys.path.append(os.pardir)
    import numpy as np
    from common.multi_layer_net_extend import MultiLayerNetExtend
    from common.optimizer import *
    from common.trainer import Trainer

    np.random.seed(1)
    x, t = np.random.rand(60, 20), np.random.randint(0, 4, 60)
    if __name__ == "__main__":
        for rule in ("SGD", "Momentum", "Nesterov", "AdaGrad", "RMSprop", "Adam"):
            net = MultiLayerNetExtend(20, [8, 8], 4, use_dropout=True, dropout_ration=0.2, use_batchnorm=True,
                                      weight_decay_lambda=0.01)
            kept = net.gradient(x[:5], t[:5])
            copies = {key: value.copy() for key, value in kept.items()}
            trainer = Trainer(net, x, t, x, t, epochs=3, mini_batch_size=20, optimizer=rule)
            trainer.train()
            assert all((kept[key] == copies[key]).all() for key in kept)  # gradients from before are still those
        print(type(trainer.train_loss_list[0]).__name__, net.params["W1"].dtype, sys.argv)
"""


def numbers(text):
    """(what is not a number, the numbers) of what a script prints."""
    words, found = [], []
    for word in text.replace(":", " ").replace(",", " ").split():
        try:
            found.append(float(word))
        except ValueError:
            words.append(word)
    return words, found


def test_a_script_prints_what_it_prints_without_us(run):
    plain, ours = run(TRAINING, args=("a", "--b"), plain=True), run(TRAINING, args=("a", "--b"))
    assert plain.returncode == ours.returncode == 0, ours.stderr
    (words, expected), (our_words, got) = numbers(plain.stdout), numbers(ours.stdout)
    assert words == our_words and ours.stderr == plain.stderr == ""
    np.testing.assert_allclose(got, expected, rtol=1e-8)


def test_numpy_is_not_imported_for_a_script_that_does_not(run):
    result = run("import sys\nprint('numpy' in sys.modules, 'fastnn.ops' in sys.modules, __name__, __file__)")
    assert result.stdout.startswith("False False __main__ /") and result.stdout.endswith("script.py\n"), result.stderr


def test_exit_status_and_tracebacks(run):
    assert run("import sys\nsys.exit(7)").returncode == 7
    result = run("import sys\nsys.exit('a message')")
    assert (result.returncode, result.stderr) == (1, "a message\n")
    text = """
        import sys, os
        sys.path.append(os.pardir)
        import numpy as np
        from common.layers import Affine

        def forward():
            return Affine(np.ones((3, 2)), np.ones(2)).forward(np.ones((4, 5)))

        try:
            forward()
        except ValueError as error:
            raise KeyError("own")
    """
    result = run(text)
    assert result.returncode == 1 and "fastnn/" not in result.stderr and "importlib" not in result.stderr
    assert result.stderr.startswith("Traceback (most recent call last):\n") and result.stderr.endswith(
        "KeyError: 'own'\n"
    )
    assert "in forward\n" in result.stderr and "(4, 5)" in result.stderr and "(3, 2)" in result.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_signals(run):
    assert run("import os, signal\nos.kill(os.getpid(), signal.SIGTERM)").returncode == -15
    result = run("raise KeyboardInterrupt")
    assert result.returncode == run("raise KeyboardInterrupt", plain=True).returncode
    assert "KeyboardInterrupt" in result.stderr and "fastnn/" not in result.stderr


def test_syntax_errors_and_a_broken_common(run, tmp_path):
    result = run("x = (", book=None)
    assert result.returncode == 1 and result.stderr.splitlines()[0].strip().startswith("File ")
    (tmp_path / "common").mkdir()
    (tmp_path / "common" / "layers.py").write_text("class Affine\n")
    result = run("import sys\nsys.path.append('..')\nfrom common.layers import *", book=None)
    *_, error, last = result.stderr.splitlines()
    assert error.startswith("SyntaxError") and "common/layers.py cannot be imported" in last
    assert result.returncode == 1 and "fastnn/" not in result.stderr


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["missing.py"], "there is no script missing.py"),
        (["--fast", "script.py"], "there is no option --fast"),
        (["-m", "no_such_module"], "there is no module no_such_module"),
        ([], "which script?"),
        (["--threads", "none", "script.py"], "--threads takes a number from 1 on, not 'none'"),
    ],
)
def test_bad_arguments_give_one_sentence(arguments, message, tmp_path):
    command = [sys.executable, "-m", "fastnn", "run", *arguments]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert result.returncode in (1, 2) and message in result.stderr and result.stdout == ""
    assert len(result.stderr.splitlines()) == 1


def test_modules_and_folders(run, tmp_path):
    folder = tmp_path / "ch99"
    run("")
    (folder / "tool").mkdir()
    (folder / "tool" / "__init__.py").write_text("")
    (folder / "tool" / "__main__.py").write_text(
        "import sys\nprint(__name__, __package__, __spec__.name, sys.argv[1:])"
    )
    command = [sys.executable, "-m", "fastnn", "run", "-m", "tool", "--x"]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60)
    assert result.stdout == "__main__ tool tool.__main__ ['--x']\n", result.stderr
    (folder / "app").mkdir()
    (folder / "app" / "__main__.py").write_text("import other\nprint(__name__, other.x)")
    (folder / "app" / "other.py").write_text("x = 3")
    command = [sys.executable, "-m", "fastnn", "run", "app"]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60)
    assert result.stdout == "__main__ 3\n", result.stderr


# ---- options -------------------------------------------------------------------------------------------------------


def test_report_verify_and_time_go_to_stderr(run, tmp_path):
    plain = run(TRAINING)
    ours = run(TRAINING, "--report", "--verify", "--time", "--report-json", "report.json")
    assert ours.stdout == plain.stdout and plain.stderr == ""
    for part in (
        "Affine.forward",
        "multi_layer_net_extend.py:",
        "native",
        "largest error",
        "Adam.update",
        " s in all, ",
    ):
        assert part in ours.stderr, part
    report = json.loads((tmp_path / "ch99" / "report.json").read_text())
    assert report["kept"] == {} and 0 < report["kernel_seconds"] < report["seconds"]
    verified = report["verified"]
    assert {"Affine.backward", "BatchNormalization.backward", "Dropout.forward", "Nesterov.update"} <= set(verified)
    assert all(v["error"] < 1e-9 and not v["failure"] for v in verified.values()), verified
    assert verified["Adam.update"]["checked"] >= 3 and verified["BatchNormalization.backward"]["checked"] >= 3


def test_the_report_says_what_was_not_replaced_and_what_was_copied(tmp_path, capsys):
    fastnn.patch(report=True)
    layers = variation(tmp_path, "book1", "layers", {"self.mask = x <= 0": "self.mask = x <= 0; print(x.shape)"})
    affine = layers.Affine(np.ones((4, 3)), np.zeros(3))
    affine.forward(np.ones((8, 4))[::2])
    dropin.finish(1.0)
    text = capsys.readouterr().err
    assert "common.layers.Relu is the reader's own: forward uses print, unlike the book's" in text
    assert re.search(r"Affine.forward at test_dropin.py:\d+, 1 times: affine_forward: x not contiguous", text)
    assert "test_dropin.py:" in text


def test_float32_of_operations_whose_results_are_in_another_order(rng):
    from fastnn import layers, ops
    from fastnn.network import Network

    W, x, t = rng.normal(size=(4, 2500)), rng.normal(size=(6, 4)), rng.integers(2500, size=6)
    q = rng.normal(size=(2, 3, 4))

    def results():
        net = Network([layers.Affine(W, np.zeros(2500))], layers.SoftmaxWithLoss())
        net.gradient(x, t)
        loss, dx, dW, db = ops.affine_softmax_cross_entropy(
            x, W, np.zeros(2500), t, dW=np.empty_like(W), db=np.empty(2500), dx=np.empty_like(x)
        )
        y = np.empty_like(x)
        ops.softmax_cross_entropy_forward(x, t % 4, y=y)
        halves = ops.split(x, 1, np.empty((6, 1)), np.empty((6, 3)))
        attended = ops.scaled_dot_product_attention_forward(q, q, q, causal=True)
        return [*net.grads, np.array(loss), dx, dW, db, y, *halves, attended]

    with fastnn.use_backend("numpy"):
        expected = results()
        with fastnn.patched(float32=True):
            got = results()
    for a, b in zip(expected, got, strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-4, atol=1e-6)


def test_unpatch_restores_the_number_of_threads(tmp_path):
    before = fastnn.get_num_threads()
    fastnn.set_num_threads(2)
    try:
        with fastnn.patched(threads=1):
            variation(tmp_path, "book1", "layers", {})
            assert fastnn.get_num_threads() == 1
        assert fastnn.get_num_threads() == 2
    finally:
        fastnn.set_num_threads(before)


def test_arrays_with_a_dtype_object_of_their_own_are_not_converted(rng):
    """As unpickled arrays have it: equal to NumPy's, but another object."""
    from fastnn.compat import book1, book2, notice

    def own(*shape):
        return rng.normal(size=shape).astype("f").view(copy.deepcopy(np.dtype("f")))

    notices = []
    notice.listener = lambda *reason: notices.append(reason)
    try:
        for layer in book1.Affine(own(3, 2), own(2)), book2.MatMul(own(3, 2)), book2.Affine(own(3, 2), own(2)):
            assert layer.forward(np.ones((4, 3), "f")).dtype == np.float32
            assert layer.backward(np.ones((4, 2), "f")).dtype == np.float32
        embedding = book2.Embedding(own(5, 2))
        embedding.forward(np.array([1, 1, 4]))
        embedding.backward(np.ones((3, 2), "f"))
    finally:
        notice.listener = None
    assert not notices and embedding.grads[0][1, 0] == 2


def test_float32(run):
    plain, ours = run(TRAINING), run(TRAINING, "--float32")
    assert ours.returncode == 0 and ours.stderr == "", ours.stderr
    (words, expected), (our_words, got) = numbers(plain.stdout), numbers(ours.stdout)
    assert len(got) == len(expected)
    np.testing.assert_allclose(got[:20], expected[:20], rtol=1e-4)
    assert our_words[:-2] == words[:-2]


def test_compat_gives_back_what_numpy_has_dropped(run):
    text = """
        import sys
        sys.path.append("..")
        import numpy as np
        from helper import pick

        print(np.array([1, 2], dtype=np.int), np.float(3), pick(np.array([7])), int(np.array([[4]])), int("5", 10))
        print(isinstance(3, int), float(np.array([2.5])), int(3.9), np.NaN)
    """
    run("")
    helper = "def pick(x):\n    return int(x) + 1\n"
    run(helper, script="helper.py", plain=True)
    result = run(text, "--compat")
    assert result.stdout == "[1 2] 3.0 8 4 5\nTrue 2.5 3 nan\n", result.stderr


def test_threads_and_backend(run):
    text = """
        import sys
        sys.path.append("..")
        import common.layers
        import fastnn
        print(fastnn.get_num_threads(), fastnn.show_config()["backend"])
    """
    assert run(text, "--threads", "1", "--backend", "numpy").stdout == "1 numpy\n"


# ---- where a checkout has no `common` ------------------------------------------------------------------------------


def test_common_and_dataset_are_provided(run):
    text = """
        import os, sys
        sys.path.append(os.pardir)
        from common.multi_layer_net import MultiLayerNet
        from common.optimizer import *
        from common.layers import *
        from common.util import smooth_curve, shuffle_dataset
        from dataset.mnist import load_mnist

        np.random.seed(0)
        x, t = np.random.rand(50, 12), np.random.randint(0, 3, 50)
        net = MultiLayerNet(12, [6], 3)
        adam = Adam()
        for _ in range(3):
            adam.update(net.params, net.gradient(x, t))
        print(net.loss(x, t), relu_grad(np.zeros(1)), im2col(np.ones((1, 1, 3, 3)), 2, 2).shape)
    """
    result = run(text, book=None)
    assert result.returncode == 0 and result.stdout.endswith("[1.] (4, 4)\n"), result.stderr
    second = """
        import sys
        sys.path.append("..")
        from common import config
        from common.time_layers import *
        from common.base_model import BaseModel
        from common.util import preprocess
        from common.trainer import RnnlmTrainer
        from common.optimizer import SGD
        from dataset import spiral

        x, t = spiral.load_data()
        affine = Affine(np.ones((2, 2)), np.ones(2))
        print(GPU, TimeLSTM.__name__, affine.params[0].shape, x.shape, preprocess("a b.")[0])
    """
    result = run(second, book=None)
    assert result.stdout == "False TimeLSTM (2, 2) (300, 2) [0 1 2]\n", result.stderr
    assert "No module named 'common.other'" in run("import common.other", book=None).stderr


def test_the_report_counts_provided_layers_once(tmp_path, capsys):
    dropin.patch(provide=True, report=True, time=True)
    layer = importlib.import_module("common.layers").Affine(np.ones((3, 2)), np.zeros(2))
    for _ in range(5):
        layer.forward(np.ones((4, 3)))
    session.finish(0.0)
    row = next(line.split() for line in capsys.readouterr().err.splitlines() if line.startswith("Affine.forward"))
    assert row[2] == "5"
    assert row[4] == fastnn.backends.active_name
    before = fastnn.backends.active
    dropin.unpatch()
    assert fastnn.backends.active is not before  # no clocks are left in the backend
    assert type(layer).forward.__qualname__ == "Affine.forward"


def test_a_package_of_the_readers_own_is_not_completed(run, tmp_path):
    (tmp_path / "ch99").mkdir()
    (tmp_path / "ch99" / "common").mkdir()
    (tmp_path / "ch99" / "common" / "mine.py").write_text("x = 1")
    result = run("import common.mine\nimport common.layers", book=None)
    assert "No module named 'common.layers'" in result.stderr


@pytest.mark.parametrize("book", [1, 2])
def test_provided_modules_bring_the_names_of_the_books(book):
    from fastnn.dropin import provide

    provide._decided[:] = [book]
    try:
        for stem, names in provide._NAMES[book].items():
            if stem != "trainer" or book == 1:  # its plt is optional
                with contextlib.suppress(ModuleNotFoundError):
                    assert set(provide._contents(stem)) == set(names.split()), stem
    finally:
        provide._decided.clear()
