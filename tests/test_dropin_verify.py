"""`--verify`: what it compares, what it says, its exit status; and that it changes nothing else."""

import importlib
import json
import os
import subprocess
import sys
import threading

import numpy as np
import pytest
from readers import READERS
from readers import clean as clean

import fastnn
from fastnn import dropin, ops
from fastnn.dropin import session, verify
from fastnn.dropin.report import Recorder


def load(book, name):
    sys.path.insert(0, str(READERS / book))
    return importlib.import_module(f"common.{name}")


def recorder():
    return session.active.recorder


def failures():
    return {label: v.failure for label, v in recorder().verifier.results.items() if v.failure}


def fault_of(ours, original, *args, label="f", **named):
    """What is found when one call is compared."""
    made = Recorder(session.Options(verify=True))
    try:
        made.wrap(label, ours, original)(*args, **named)
    finally:
        made.close()
    (result,) = made.verifier.results.values()
    assert result.calls == 1 and (result.checked or result.skipped)
    return result.failure or result.skipped


# ---- what is compared ----------------------------------------------------------------------------------------------

A = np.linspace(-1, 1, 6).reshape(2, 3)


def negative(x):
    return -x


def in_place(x):
    x *= -1
    return x


def printing(text):
    def f(x):
        print(text)
        return -x

    return f


def drawing(x):
    np.random.rand()
    return -x


def raising(kind):
    def f(x):
        raise kind("no")

    return f


FAULTS = {
    "value": (lambda x: -x * (1 + 1e-9), negative, "result differs by 1.0e-09, 1e-10 is allowed"),
    "shape": (lambda x: -x[:1], negative, "result has shape (1, 3), the original's (2, 3)"),
    "dtype": (lambda x: np.float32(2) * np.round(x).astype("f"), lambda x: 2 * np.round(x), "result is float32"),
    "NaN": (lambda x: np.where(x > 0, np.nan, -x), negative, "result differs in NaN or infinity"),
    "None": (lambda x: None, negative, "result is None"),
    "integers": (lambda x: x > 0, lambda x: x >= A.max(), "result differs in 2 of 6 elements"),
    "fewer values": (lambda x: [x + 1], lambda x: [x + 1, x + 2], "len(result) differs"),
    "argument written": (in_place, negative, "x differs by 2.0e+00"),
    "argument not written": (negative, in_place, "x differs by 1.0e+00"),
    "argument returned": (lambda x: x, lambda x: x.copy(), "result is x, the original's a new array"),
    "argument not returned": (lambda x: x.copy(), lambda x: x, "result is a new array, the original's x"),
    "view returned": (lambda x: x[:1], lambda x: x[:1].copy(), "result and x share memory, not so the original's"),
    "printed": (printing("x 1.5"), printing("x 2.5"), "another text is printed"),
    "random draws": (drawing, negative, "NumPy's random generator is left in another state"),
    "the original raises": (negative, raising(KeyError), "the original raises KeyError: 'no'"),
}


@pytest.mark.parametrize("what", FAULTS)
def test_a_difference_is_found(what, capsys):
    ours, original, text = FAULTS[what]
    assert fault_of(ours, original, A.copy()).startswith(text)
    assert capsys.readouterr().out.count("x") == (what == "printed")  # what the original prints is not shown
    if what != "the original raises":
        assert fault_of(original, original, A.copy()) == ""


def test_an_exception_of_ours_goes_on_and_is_compared():
    for original, text in ((raising(ValueError), ""), (raising(KeyError), "it raises ValueError, not KeyError"),
                           (negative, "it raises ValueError, which the original does not: no")):  # fmt: skip
        made = Recorder(session.Options(verify=True))
        with pytest.raises(ValueError):
            made.wrap("f", raising(ValueError), original)(A)
        made.close()
        assert made.verifier.results["f"].failure.startswith(text) and made.verifier.verdict()[1] == (text == "")


class Layer:
    """A layer as the books have them; forward and backward are given."""

    def __init__(self):
        self.params, self.grads, self.state = [A.copy()], [np.zeros_like(A)], np.zeros(3)


def writes(layer, x):
    layer.grads[0][...] = x
    layer.x = x


def rebinds(layer, x):
    layer.grads[0] = x.copy()
    layer.x = x


def keeps_a_copy(layer, x):
    layer.grads[0][...] = x
    layer.x = x.copy()


def keeps_nothing(layer, x):
    layer.grads[0][...] = x


def other_state(layer, x):
    writes(layer, x)
    layer.state += 2


@pytest.mark.parametrize(
    "ours, original, text",
    [
        (rebinds, writes, "layer.grads[0] is another array afterwards, the original's is the same array afterwards"),
        (writes, rebinds, "layer.grads[0] is the same array afterwards, the original's is another array afterwards"),
        (keeps_a_copy, writes, "layer.x and x do not share memory, the original's do"),
        (keeps_nothing, writes, "layer.x is missing"),
        (other_state, writes, "layer.state differs by "),
    ],
)
def test_attributes_and_gradients(ours, original, text):
    assert fault_of(ours, original, Layer(), A + 1).startswith(text)
    assert fault_of(original, original, Layer(), A + 1) == ""


def test_a_change_in_place_is_judged_by_the_change():
    """As the step of an optimizer beside large parameters."""

    def step(scale):
        def update(params, grads):
            for p, g in zip(params, grads, strict=True):
                p -= scale * g

        return update

    params, grads = [np.full((3, 2), 1000.0)], [np.full((3, 2), 1e-6)]
    assert fault_of(step(0.1001), step(0.1), params, grads).startswith("params[0] differs by 9.9e-04")
    assert fault_of(step(0.1), step(0.1), params, grads) == ""


def test_arrays_that_share_memory_do_so_in_the_copy():
    """A matrix and its transposed view in one list: both are written."""
    W = np.arange(6.0).reshape(2, 3)

    def update(params):
        for p in params:
            p += 1

    assert fault_of(update, update, [W, W.T, W[:, 1:], W]) == ""
    np.testing.assert_array_equal(W, np.arange(6.0).reshape(2, 3) + np.array([3, 4, 4]))
    a, b, c = verify.twin([W, W.T, W[::-1, ::2]])
    assert np.shares_memory(a, b) and np.shares_memory(a, c) and not np.shares_memory(a, W)
    np.testing.assert_array_equal(c, W[::-1, ::2])
    W.flags.writeable = False
    assert not verify.twin([W])[0].flags.writeable


def test_rounding_is_allowed_by_dtype_and_layer():
    assert fault_of(lambda x: x * np.float32(1 + 1e-6), lambda x: x, A.astype("f")) != ""  # not the same array
    assert fault_of(lambda x: x * np.float32(1 + 1e-6), lambda x: x.copy(), A.astype("f")) == ""
    assert fault_of(lambda x: x * (1 + 1e-9), lambda x: x.copy(), A, label="BatchNormalization.forward") == ""
    assert fault_of(lambda x: x.sum() * 0, lambda x: x.sum(), A) == ""  # what is left of a sum that cancels: noise
    assert verify.tolerance("TimeLSTM.backward", "float32") == 100 * verify.tolerance("f", "float32")
    assert fault_of(lambda x: len(list(x)), lambda x: len(list(x)), (i for i in ())).startswith("its arguments")


def test_calls_that_cannot_be_compared_are_not_counted_as_compared():
    made = Recorder(session.Options(verify=True))
    try:
        made.wrap("f", negative, negative)(A)
        made.wrap("g", lambda lines: [*lines], lambda lines: [*lines])(i for i in ())
    finally:
        made.close()
    sentence, agrees = made.verifier.verdict()
    assert agrees and sentence == (
        "fastnn: verified: 1 of 2 calls of 1 methods and functions were compared, and all agree with the originals; "
        "not compared: g"
    )
    assert made.comparisons()[-2].startswith("  g: its arguments cannot be copied: TypeError: ")


# ---- with the readers' packages ------------------------------------------------------------------------------------


def test_the_original_calls_originals(monkeypatch):
    """Were the steps of the original TimeRNN ours, both would be wrong in the same way."""
    fastnn.patch(verify=True)
    layers = load("book2", "time_layers")
    rng = np.random.default_rng(0)
    xs, weights = rng.standard_normal((2, 3, 4)), [rng.standard_normal(s) for s in ((4, 5), (5, 5), (5,))]
    for _ in range(2):
        layer = layers.TimeRNN(*weights)
        layer.backward(layer.forward(xs))
    assert failures() == {} and recorder().verifier.results["TimeRNN.backward"].checked == 2
    assert recorder().verifier.results["RNN.forward"].calls == 0
    right = ops.rnn_forward
    monkeypatch.setattr(ops, "rnn_forward", lambda *args: 1.01 * right(*args))
    layers.TimeRNN(*weights).forward(xs)
    assert failures()["TimeRNN.forward"].startswith("self.h differs by 1.0e-02, ")
    right_softmax = ops.softmax_forward
    monkeypatch.setattr(ops, "softmax_forward", lambda *args: 1.01 * right_softmax(*args))
    layers.softmax(xs[0])
    assert failures()["softmax"].startswith("result differs by 1.0e-02, 1e-10 is allowed (at test_dropin_verify.py:")


def test_threads_do_not_see_the_originals():
    """While one thread runs an original, the others' layers stay ours."""
    fastnn.patch(verify=True)
    layers = load("book1", "layers")
    wrong, entered, done = [], threading.Event(), threading.Event()

    def slow(x):
        entered.set()
        assert done.wait(30)
        return layers.Relu().forward(x)

    def elsewhere():
        assert entered.wait(30)
        for _ in range(100):
            relu = layers.Relu()
            relu.forward(A)
            if "_saved" not in vars(relu) or not np.array_equal(relu.backward(np.ones_like(A)), A > 0):
                wrong.append(relu)
        done.set()

    thread = threading.Thread(target=elsewhere)
    thread.start()
    recorder().wrap("slow", lambda x: layers.Relu().forward(x), slow)(A)
    thread.join()
    assert not wrong and failures() == {}


SCRIPT = """
import json, sys
import numpy as np
from common.time_layers import TimeLSTM, TimeAffine, TimeSoftmaxWithLoss, Affine
from common.util import most_similar
rng = np.random.default_rng(0)
a = lambda *shape: rng.standard_normal(shape)
layers = [TimeLSTM(a(4, 12), a(3, 12), a(12), True), TimeAffine(a(3, 6), a(6))]
loss = TimeSoftmaxWithLoss()
for _ in range(40):
    x = a(2, 5, 4)
    for layer in layers:
        x = layer.forward(x)
    print(loss.forward(x, rng.integers(6, size=(2, 5))))
    dout = loss.backward()
    for layer in reversed(layers):
        dout = layer.backward(dout)
words = ["a", "b", "c"]
most_similar("a", {w: i for i, w in enumerate(words)}, dict(enumerate(words)), a(3, 2))
if "wrong" in sys.argv:
    from fastnn import ops
    right = ops.affine_forward
    ops.affine_forward = lambda *args: 1.0001 * right(*args)
    Affine(a(3, 2), a(2)).forward(a(4, 3))
if "exit" in sys.argv:
    sys.exit(0)
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Runs the script by `fastnn run` with options and arguments."""
    folder = tmp_path_factory.mktemp("script")
    (folder / "script.py").write_text(SCRIPT)

    def run(options, *args):
        command = [sys.executable, "-m", "fastnn", "run", *options, "--report-json", "report.json", "script.py", *args]
        path = os.pathsep.join([str(READERS / "book2"), *sys.path])
        env = {**os.environ, "PYTHONPATH": path}
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=env, timeout=120)
        return done, json.loads((folder / "report.json").read_text())

    return run


def test_a_verdict_and_an_exit_status(run):
    right, report = run(["--verify"])
    assert right.returncode == 0, right.stderr
    last = right.stderr.splitlines()[-1]
    assert last == report["verdict"] and report["agrees"] is True
    assert last.startswith("fastnn: verified: ") and last.endswith("were compared, and all agree with the originals")
    wrong, report = run(["--verify"], "wrong", "exit")
    assert wrong.returncode == 1 and "Traceback" not in wrong.stderr and report["agrees"] is False
    last = wrong.stderr.splitlines()[-1]
    assert last.startswith("fastnn: verification FAILED: Affine.forward differs from the original: result differs by ")
    assert "script.py:" in last and last == report["verdict"]
    assert wrong.stdout == right.stdout


def test_verifying_changes_nothing_in_the_report(run):
    """No fallbacks and no calls but the script's; and what is printed is printed once."""
    plain, report = run(["--report"])
    verified, other = run(["--report", "--verify"])
    assert verified.stdout == plain.stdout and plain.returncode == verified.returncode == 0
    rows = [
        sorted((c["layer"], c["site"], c["calls"], c["paths"], c["fallbacks"], c["copied_bytes"]) for c in r["calls"])
        for r in (report, other)
    ]
    assert rows[0] == rows[1]
    assert any(fallbacks for *_, fallbacks, _ in rows[0])  # so that there is something to compare
    assert other["verified"]["TimeLSTM.backward"]["checked"] == 4


def test_nothing_to_verify(capsys):
    fastnn.patch(verify=True)
    dropin.finish(0.0)
    assert capsys.readouterr().err.splitlines() == [
        "fastnn: nothing was verified: no module of a package `common` was imported"
    ]
    assert session.verified()
    load("book1", "functions")
    dropin.finish(0.0)
    assert capsys.readouterr().err.splitlines()[-1] == (
        "fastnn: nothing was verified: no call of anything that was replaced could be compared"
    )
