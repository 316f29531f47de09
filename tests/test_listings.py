"""The listings of the documents that fastnn grew from run under `fastnn run`, word for word, with their numbers.

FASTNN_SEEDS names the folder of the documents, FASTNN_DATA that of MNIST and the book's weights; neither is part of the
project. Each listing runs alone, where fastnn provides `common`, and beside a `common` of the book's.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

SEEDS, DATA = os.environ.get("FASTNN_SEEDS"), os.environ.get("FASTNN_DATA")
BOOK = Path(__file__).parent / "dropin" / "book1"
pytestmark = pytest.mark.skipif(not (SEEDS and DATA), reason="FASTNN_SEEDS and FASTNN_DATA are not set")


def cut(begin: str, end: str, ends: int = 1) -> str:
    """The lines of the document that has the line `begin`, from the line after it to the `ends`-th line `end`."""
    for path in sorted(Path(SEEDS or "").glob("*.txt")):
        lines = path.read_text(encoding="utf-8").splitlines()
        starts = [i for i, line in enumerate(lines) if line == begin or (line.startswith(begin) and len(begin) > 5)]
        if starts:
            last = [i for i, line in enumerate(lines) if i > starts[0] and line.strip() == end][ends - 1]
            return "\n".join(lines[starts[0] + 1 : last + 1]) + "\n"
    raise AssertionError(f"no document has a line {begin!r}")


def two_layers(begin):
    return cut(begin, "return grads", ends=2)


def my_module():
    """The document's module of functions, to which its text adds one after the other."""
    blocks = [
        ("$ cat my_module.py", "return x"),
        ("# 補正値を導入する必要がある", "return np.exp(x - c) / np.sum(np.exp(x - c))"),
        ("# 二乗和誤差", "return np.sum( (y - t)**2 ) / 2"),
        ("#交差エントロピー誤差", "return - np.sum( t * np.log( y + delta ) )"),
    ]
    return "\n".join(cut(*block) for block in blocks)


def numbers(text):
    return [float(number) for number in re.findall(r"-?\d+\.?\d*(?:e-?\d+)?", text)]


def near(expected, tolerance=1e-8):
    def check(out):
        np.testing.assert_allclose(numbers(out), expected, atol=tolerance)

    return check


def gradients_agree(out):
    differences = dict(line.split(":") for line in out.split())
    assert sorted(differences) == ["W1", "W2", "b1", "b2"]
    # the book's loss has 1e-7 inside its logarithm, which its gradient does not know; a ReLU may lie near its kink
    assert all(float(value) < 1e-5 for value in differences.values())


def trained_to(accuracy):
    def check(out):
        lines = [line for line in out.splitlines() if line.startswith("train acc")]
        assert len(lines) == 17 and numbers(lines[-1])[-1] > accuracy

    return check


def losses_fall(names):
    def check(out):
        for name in names:
            values = [float(line.partition(":")[2]) for line in out.splitlines() if line.startswith(f"{name}:")]
            assert len(values) == 20 and values[-1] < values[0]

    return check


SHOWS = "import numpy as np\nimport matplotlib.pyplot as plt\n"  # earlier cells of that notebook
# name: the listing, what else is in its folder, what its output must be, the picture that it writes
LISTINGS = {
    "batch_norm_test": (
        lambda: cut("# cat batch_norm_test_save.py", "plt.savefig('batch_norm_test_save.png')"),
        {},
        lambda out: numbers(out.splitlines()[-1])[0] == 19,
        "batch_norm_test_save.png",
    ),
    "weight_init_compare": (
        lambda: cut("# cat weight_init_compare_save.py", "plt.savefig('weight_init_compare.png')"),
        {},
        losses_fall(["Xavier", "He"]),
        "weight_init_compare.png",
    ),
    "optimizer_compare_mnist": (
        lambda: cut("続いて、SGD, Momentum, AdaGrad, Adamの比較", "plt.savefig('optimizer_compare_mnist.png')"),
        {},
        losses_fall(["SGD", "Momentum", "AdaGrad", "Adam"]),
        "optimizer_compare_mnist.png",
    ),
    "gradient_check": (
        lambda: cut("# cat deep-learning-from-scratch/ch05/gradient_check.py", 'print(key + ":" + str(diff))'),
        {"two_layer_net.py": lambda: two_layers("# cat two_layer_net.py")},
        gradients_agree,
        None,
    ),
    "train_neuralnet": (
        lambda: cut("# cat train_neuralnet_save.py", "plt.savefig('train_neuralnet.png')"),
        {"two_layer_net.py": lambda: two_layers("2層ニューラルネットワークのクラスプログラムを参照")},
        trained_to(0.94),
        "train_neuralnet.png",
    ),
    "gradient_1d": (
        lambda: cut("# cat gradient_1d_save.py", "plt.savefig('gradient_1d.png')"),
        {},
        near([0.2]),
        "gradient_1d.png",
    ),
    "multivariate_func": (
        lambda: cut("# cat multivariate_func_save.py", "plt.savefig('multivariate_func.png')"),
        {},
        lambda out: out == "",
        "multivariate_func.png",
    ),
    "gradient_2d": (
        lambda: cut("# cat gradient_2d_save.py", "plt.savefig('gradient_2d.png')"),
        {},
        lambda out: out == "",
        "gradient_2d.png",
    ),
    "gradient_method": (
        lambda: cut("# cat gradient_method_save.py", "plt.savefig('gradient_method.png')"),
        {"gradient_2d.py": lambda: cut("# cat gradient_2d_save.py", "plt.savefig('gradient_2d.png')")},
        lambda out: out == "",
        "gradient_method.png",
    ),
    "simple_net": (
        lambda: cut("最後にニューラルネットワークの勾配を求めるサンプルコード", "print(dW)"),
        {},
        lambda out: len(numbers(out)) == 6 and abs(sum(numbers(out))) < 1e-6,  # those of a row add up to 0
        None,
    ),
    "mean_squared_error": (
        lambda: cut("# cat mean_squared_error.py", "print(y) #=> 0.5975"),
        {"my_module.py": my_module},
        near([1.0, 0.0975, 1.0, 0.5975]),
        None,
    ),
    "cross_entropy_error": (
        lambda: cut("# cat cross_entropy_error.py", "print(y) #=> 2.30258409299"),
        {"my_module.py": my_module},
        near([1.0, 0.510825457099, 1.0, 2.30258409299]),
        None,
    ),
    "softmax": (
        lambda: cut("# 例", "print(np.sum(y)) #=> 1.0"),
        {"my_module.py": my_module},
        near([0.01821127, 0.24519181, 0.73659691, 1.0]),
        None,
    ),
    "forward": (
        lambda: cut("# cat forward.py", "print(y)"),
        {"my_module.py": my_module},
        near([0.31682708, 0.69627909]),
        None,
    ),
    "mini_batch": (
        lambda: cut("# cat mini_batch.py", "print(t_batch) #=>ランダム結果"),
        {},
        lambda out: out.startswith("(60000, 784)\n(60000, 10)\n"),
        None,
    ),
    "mnist_check": (
        lambda: cut("# cat mnist_check.py", "print(t_test.shape) # (10000,)"),
        {},
        lambda out: out == "(60000, 784)\n(60000,)\n(10000, 784)\n(10000,)\n",
        None,
    ),
    "mnist_save": (
        lambda: cut("# cat mnist_save.py", "img_save(img)"),
        {},
        lambda out: out == "5\n(784,)\n(28, 28)\n",
        "mnist_save_sample.png",
    ),
    "neuralnet_mnist": (
        lambda: cut("# cat neuralnet_mnist.py", 'print("Accuracy:" + str(float(accuracy_cnt) / len(x)))'),
        {},
        lambda out: out == "Accuracy:0.9352\n",
        None,
    ),
    "neuralnet_mnist_batch": (
        lambda: cut("# cat neuralnet_mnist_batch.py", 'print("Accuracy:" + str(float(accuracy_cnt) / len(x)))'),
        {},
        lambda out: out == "Accuracy:0.9352\n",
        None,
    ),
    "binary_addition": (lambda: cut("1-2 実装", "plt.show()"), {}, lambda out: out == "", None),
    "swish": (lambda: SHOWS + cut("12-2 実装", "plt.show()"), {}, lambda out: out == "", None),
}


@pytest.mark.parametrize("beside", [False, True], ids=["alone", "beside a common of the book's"])
@pytest.mark.parametrize("name", LISTINGS)
def test_listing(name, beside, tmp_path):
    pytest.importorskip("matplotlib")
    if name == "mnist_save":
        pytest.importorskip("PIL")
    if name == "binary_addition":
        if beside:
            pytest.skip("its common is a course's, not the book's")
        if np.lib.NumpyVersion(np.__version__) >= "2.4.0":
            pytest.skip("it puts an array of one element where a number belongs, which NumPy 2.4 refuses")
    listing, others, check, picture = LISTINGS[name]
    folder = tmp_path / "ch"
    folder.mkdir()
    if beside:
        shutil.copytree(BOOK / "common", tmp_path / "common")
    for file, text in {f"{name}.py": listing, **others}.items():
        (folder / file).write_text(text(), encoding="utf-8")
    weights = Path(DATA or "", "book1", "sample_weight.pkl")
    if weights.is_file():
        shutil.copy(weights, folder)
    environment = {**os.environ, "MPLBACKEND": "agg", "FASTNN_OFFLINE": "1"}
    command = [sys.executable, "-m", "fastnn", "run", f"{name}.py"]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert check(done.stdout) in (None, True), done.stdout
    if picture:
        assert (folder / picture).read_bytes().startswith(b"\x89PNG")
