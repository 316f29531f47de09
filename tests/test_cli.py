"""The command line, as a user calls it: in another folder, in a process of its own."""

import importlib.util
import json
import os
import subprocess
import sys
from argparse import Namespace

import pytest

import fastnn
from fastnn import models
from fastnn.cli import demo, info, main

PLOTS = ["accuracy.png", "per_sample_vs_per_batch.png"]


@pytest.fixture
def run(tmp_path):
    """Runs `python -m fastnn ARGS` in an empty folder, offline, without data; returns the finished process."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FASTNN_")}
    environment |= {"PYTHONSAFEPATH": "1", "FASTNN_OFFLINE": "1", "XDG_CACHE_HOME": str(tmp_path / "cache")}

    def run(*args, program=("-m", "fastnn"), **env):
        command = [sys.executable, *program, *args]
        environ = {**environment, **env}
        return subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=120)

    return run


@pytest.fixture
def run_demo(run):
    """The same for `demo`, with 2 ms instead of 0.4 s for each number of its table, which no test looks at."""
    program = "import sys; from fastnn.cli import demo, main; demo.TIMED_SECONDS, demo.TIMED_IMAGES = 0.002, 200"

    def run_demo(*args):
        return run("demo", *args, program=["-c", f"{program}; sys.exit(main())"])

    return run_demo


def test_demo_json(run_demo, tmp_path):
    result = run_demo("--json", "--out", "plots")
    assert result.returncode == 0, result.stderr
    report = json.loads(result.stdout)  # one object and nothing else
    assert list(report) == ["model", "data", "accuracy", "per_sample", "per_batch", "isa", "seconds"]
    assert "sample" in report["data"]
    assert 0.92 < report["accuracy"] < 0.96
    assert list(report["per_sample"]) == list(report["per_batch"]) == fastnn.backends.available()
    assert min(report["per_sample"].values()) > 0 and min(report["per_batch"].values()) > 0
    assert report["isa"] == fastnn.show_config().get("isa")
    assert report["seconds"] > 0
    if importlib.util.find_spec("matplotlib"):
        for name in PLOTS:
            assert (tmp_path / "plots" / name).read_bytes().startswith(b"\x89PNG")


def test_demo_with_a_convolutional_network(run_demo, tmp_path):
    result = run_demo("--model", "simple_convnet", "--epochs", "2", "--json")
    assert result.returncode == 0, result.stderr
    report = json.loads(result.stdout)
    assert report["model"] == "simple_convnet" and report["accuracy"] > 0.85
    assert "SimpleConvNet" in result.stderr and min(report["per_batch"].values()) > 0
    if importlib.util.find_spec("matplotlib"):
        names = sorted(path.name for path in (tmp_path / "fastnn-demo").iterdir())
        assert names == sorted([*PLOTS, "filters.png", "misclassified.png"])


def test_the_books_way_is_the_same_network():
    """The table's yardstick computes what the layers compute."""
    rng = demo.np.random.default_rng(0)
    dense, convnet = models.MultiLayerNet(784, demo.HIDDEN, 10, rng=0), models.SimpleConvNet(rng=0)
    for net, predict, shape in (
        (dense, demo._books_predict, (784,)),
        (convnet, demo._books_convnet_predict, (1, 28, 28)),
    ):
        x = rng.random((3, *shape), "f4")
        demo.np.testing.assert_allclose(predict(net.params, x), net.predict(x), rtol=1e-4, atol=1e-6)


def test_demo_text(run_demo, tmp_path):
    result = run_demo("--epochs", "1", "--backend", "numpy")
    assert result.returncode == 0, result.stderr
    for part in (
        "shipped sample",
        "numpy backend",
        "test accuracy",
        "one by one",
        "batches of 100",
        "ratio",
        "compiled",
        "books' way",
        "2.220 s",
    ):
        assert part in result.stdout
    if importlib.util.find_spec("matplotlib"):
        assert sorted(path.name for path in (tmp_path / "fastnn-demo").iterdir()) == PLOTS
    else:
        assert "pip install 'fastnn-kernels[plot]'" in result.stdout and not (tmp_path / "fastnn-demo").exists()


@pytest.mark.parametrize(
    "args, message",
    [
        (["demo", "--data", "nowhere"], "--data nowhere: MNIST's files are not there"),
        (["demo", "--backend", "fast"], "backend 'fast' is not one of"),
        (["demo", "--epochs", "0"], "at least 1"),
        (["demo", "--epochs", "many"], "invalid"),
        (["dance"], "invalid choice"),
        ([], "required"),
    ],
)
def test_mistakes_get_one_sentence(run, args, message):
    result = run(*args)
    assert result.returncode in (1, 2) and message in result.stderr and result.stdout == ""
    assert "Traceback" not in result.stderr


def test_demo_refuses_damaged_data(run, tmp_path):
    for name in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"):
        (tmp_path / f"{name}-ubyte.gz").write_bytes(b"\x1f\x8b")
    for result in (run("demo", "--data", str(tmp_path)), run("demo", FASTNN_DATA=str(tmp_path))):
        assert result.returncode == 1 and "train-images-idx3-ubyte.gz" in result.stderr
        assert "Traceback" not in result.stderr


def test_info(run):
    result = run("info", OMP_NUM_THREADS="2")
    assert result.returncode == 0, result.stderr
    lines = dict(line.split(maxsplit=1) for line in result.stdout.splitlines())
    for key in (
        "fastnn",
        "python",
        "numpy",
        "backend",
        "why",
        "isa",
        "isas",
        "openmp_runtime",
        "threads",
        "cpu",
        "pool",
    ):
        assert lines[key]
    assert lines["fastnn"] == fastnn.__version__
    assert lines["environment"] == "FASTNN_OFFLINE 1, OMP_NUM_THREADS 2"
    assert "sample" in lines["data"]


def test_info_warns_of_the_other_fastnn(monkeypatch):
    assert "warning" not in info.collect()
    monkeypatch.setattr(info.metadata, "version", lambda name: "0.4.0")
    assert "pip uninstall fastnn fastnn-kernels" in info.collect()["warning"]


def test_info_json_and_backend(run):
    result = run("info", "--json", FASTNN_BACKEND="numpy")
    report = json.loads(result.stdout)
    assert report["backend"] == "numpy" and "FASTNN_BACKEND" in report["why"]


def test_version_and_help(run):
    assert run("--version").stdout.strip() == f"fastnn {fastnn.__version__}"
    assert all(command in run("--help").stdout for command in ("demo", "info"))


def test_without_tqdm_a_line_an_epoch(monkeypatch, capsys):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    network = models.TwoLayerNet(784, 5, 10, rng=0).network
    net = Namespace(network=network, accuracy=lambda x, t: 0.5)
    digits = demo.np.zeros((200, 784), "f4"), demo.np.zeros(200, "u1")
    assert demo._train(net, digits, digits, 2, print) == [(0.5, 0.5)] * 2
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 and lines[1].startswith("epoch 2/2: test accuracy 0.5000, ")


def test_without_matplotlib_one_sentence(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    demo._plot(tmp_path / "plots", [], "", "", {}, print)
    demo._plot_images(tmp_path / "plots", None, None, print)
    assert "pip install 'fastnn-kernels[plot]'" in capsys.readouterr().out and not (tmp_path / "plots").exists()


def test_an_interrupt_ends_quietly(monkeypatch, capsys):
    def interrupted(args):
        raise KeyboardInterrupt

    monkeypatch.setattr(info, "run", interrupted)
    assert main(["info"]) == 130
    assert capsys.readouterr().err == "fastnn info: interrupted\n"
