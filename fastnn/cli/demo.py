"""`fastnn demo`: train on real handwritten digits, then classify them one by one and in batches on every backend."""

import argparse
import functools
import importlib.util
import json
import statistics
import sys
import time
from pathlib import Path

import numpy as np

BATCH = 100
HIDDEN = [50, 100]  # the network of book 1 ch. 3: 784-50-100-10
MODELS = {
    "dense": "784-50-100-10 network",
    "simple_convnet": "SimpleConvNet (5x5 convolution of 30 filters, pooling, 4320-100-10)",
}
EPOCHS = {  # with test accuracies of about 0.974, 0.935, 0.978, 0.949
    ("dense", "full MNIST"): 10,
    ("dense", "shipped sample of MNIST"): 30,
    ("simple_convnet", "full MNIST"): 2,
    ("simple_convnet", "shipped sample of MNIST"): 12,
}
TIMED_IMAGES = 2000
TIMED_SECONDS = 0.4  # for each row and column of the table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", choices=list(MODELS), default="dense", help="network (default: %(default)s)")
    parser.add_argument("--data", metavar="DIR", help="folder with MNIST's four files (default: searched for)")
    parser.add_argument("--epochs", metavar="N", type=_at_least_one, help="default: 2 to 30, by model and data")
    parser.add_argument(
        "--out", metavar="DIR", default="fastnn-demo", help="folder for the plots (default: %(default)s)"
    )
    parser.add_argument("--backend", metavar="B", help="train with native, numba or numpy (default: the best there is)")
    parser.add_argument("--json", action="store_true", help="print one JSON object on stdout, all else on stderr")


def run(args: argparse.Namespace) -> None:
    import fastnn
    from fastnn.models import MultiLayerNet, SimpleConvNet

    start = time.perf_counter()
    say = functools.partial(print, file=sys.stderr if args.json else sys.stdout, flush=True)
    if args.backend:
        fastnn.use_backend(args.backend)
    config = fastnn.show_config()

    dense = args.model == "dense"
    data, where, train, test = _digits(args.data, flatten=dense)
    description = f"{data}: {len(train[0]):,} digits to train on, {len(test[0]):,} to test"
    say(f"{description} ({where})")
    model = MODELS[args.model]
    say(f"training a {model} (ReLU, Adam, batches of {BATCH}) on the {_backend(config)} backend")
    net = MultiLayerNet(784, HIDDEN, 10, rng=1) if dense else SimpleConvNet(rng=1)
    history = _train(net, train, test, args.epochs or EPOCHS[args.model, data], say)
    accuracy = history[-1][1]
    say(f"test accuracy: {accuracy:.4f}")

    per_sample, per_batch = {}, {}
    for name in fastnn.backends.available():
        with fastnn.use_backend(name):
            per_sample[name], per_batch[name] = _images_per_second(net.predict, test[0])
    predict = _books_predict if dense else _books_convnet_predict
    plain = _images_per_second(functools.partial(predict, net.params), test[0])
    rows = {name: (per_sample[name], per_batch[name]) for name in per_sample}
    rows |= {"compiled": _images_per_second(fastnn.compile(net.network).predict, test[0]), "books' way": plain}
    say(_table(rows))
    if dense:
        say("The books' scripts took 2.220 s one by one, 0.991 s in batches (10,000 images, loading included).")
    _plot(Path(args.out), history, model, description, rows, say)
    if not dense:
        _plot_images(Path(args.out), net, test, say)

    seconds = time.perf_counter() - start
    if args.json:
        result = {
            "model": args.model,
            "data": description,
            "accuracy": accuracy,
            "per_sample": per_sample,
            "per_batch": per_batch,
            "isa": config.get("isa"),
            "seconds": seconds,
        }
        print(json.dumps(result))
    else:
        say(f"{seconds:.1f} s in all")


def _at_least_one(text: str) -> int:
    if int(text) < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return int(text)


def _backend(config: dict) -> str:
    return f"{config['backend']} ({config['isa']})" if config["backend"] == "native" else config["backend"]


def _digits(data_dir: str | None, flatten: bool):
    """(part of a key of EPOCHS, where from, (x, t) to train on, (x, t) to test on); never goes to the network."""
    from fastnn.dataset.mnist import FILES, find_mnist, load_mnist, load_mnist_sample

    found = find_mnist(data_dir)
    if data_dir and (found is None or found[0] != "argument"):
        names = ", ".join(file.name for file in FILES.values())
        raise FileNotFoundError(f"--data {data_dir}: MNIST's files are not there ({names}; plain or .gz)")
    if found:
        return "full MNIST", found[1], *load_mnist(flatten=flatten, data_dir=data_dir)
    return "shipped sample of MNIST", "part of fastnn; full MNIST was not found", *load_mnist_sample(flatten=flatten)


def _train(net, train, test, epochs: int, say) -> list[tuple[float, float]]:
    """Train `net` -> accuracy after each epoch on (at most 10,000 of) the training digits and on the test digits."""
    from fastnn.optimizer import Adam

    x, t = train
    history, bar, start = [], _progress_bar(epochs), time.perf_counter()

    def after_epoch(fit) -> None:
        nonlocal start
        seconds = time.perf_counter() - start
        history.append((net.accuracy(x[:10000], t[:10000]), net.accuracy(*test)))
        if bar is None:
            say(f"epoch {len(history)}/{epochs}: test accuracy {history[-1][1]:.4f}, {seconds:.2f} s")
        else:
            bar.set_postfix_str(f"test accuracy {history[-1][1]:.4f}", refresh=False)
            bar.update()
        start = time.perf_counter()

    net.network.fit(x, t, epochs, BATCH, Adam(lr=0.001), callbacks=[after_epoch], rng=1, progress=False)
    if bar is not None:
        bar.close()
    return history


def _progress_bar(epochs: int):
    """A tqdm bar on stderr; None if tqdm is not installed."""
    if not importlib.util.find_spec("tqdm"):
        return None
    from tqdm import tqdm

    return tqdm(total=epochs, unit="epoch", desc="training")


def _books_predict(params: dict, x: np.ndarray) -> np.ndarray:
    """The scores as book 1 ch. 3 computes them, in plain NumPy without fastnn: the table's yardstick."""
    z1 = np.maximum(0, np.dot(x, params["W1"]) + params["b1"])
    z2 = np.maximum(0, np.dot(z1, params["W2"]) + params["b2"])
    return np.dot(z2, params["W3"]) + params["b3"]


def _books_convnet_predict(params: dict, x: np.ndarray) -> np.ndarray:
    """The scores as book 1 ch. 7 computes them, in plain NumPy: a patch matrix for the convolution and the pooling."""
    N = len(x)
    col = np.empty((N, 5, 5, 24, 24), x.dtype)
    for i in range(5):
        for j in range(5):
            col[:, i, j] = x[:, 0, i : i + 24, j : j + 24]
    col = col.transpose(0, 3, 4, 1, 2).reshape(N * 24 * 24, 25)
    h = np.maximum(0, np.dot(col, params["W1"].reshape(30, 25).T) + params["b1"])
    h = h.reshape(N, 24, 24, 30).transpose(0, 3, 1, 2)
    windows = np.stack([h[:, :, i::2, j::2] for i in (0, 1) for j in (0, 1)], axis=-1).reshape(-1, 4)
    h = windows.max(axis=1).reshape(N, -1)
    h = np.maximum(0, np.dot(h, params["W2"]) + params["b2"])
    return np.dot(h, params["W3"]) + params["b3"]


def _images_per_second(predict, x: np.ndarray) -> tuple[float, float]:
    """Speed of classifying test images one by one, and in batches."""
    return _speed(predict, x[:TIMED_IMAGES], 1), _speed(predict, x[:TIMED_IMAGES], BATCH)


def _speed(predict, x: np.ndarray, size: int) -> float:
    """Median images/s of classifying `size` at a time, over passes that take TIMED_SECONDS in all."""
    batches = [x[i : i + size] for i in range(0, len(x), size)]
    for batch in batches[:20]:  # warm up; Numba compiles here
        predict(batch).argmax(axis=1)
    speeds: list[float] = []
    start = now = time.perf_counter()
    while not speeds or now - start < TIMED_SECONDS:
        before = now
        for batch in batches:
            predict(batch).argmax(axis=1)
        now = time.perf_counter()
        speeds.append(len(x) / (now - before))
    return statistics.median(speeds)


def _table(rows: dict[str, tuple[float, float]]) -> str:
    lines = [f"{'images/s':12}{'one by one':>12}{f'batches of {BATCH}':>18}{'ratio':>9}"]
    for name, (one, batch) in rows.items():
        lines.append(f"{name:12}{one:12,.0f}{batch:18,.0f}{batch / one:8.1f}x")
    lines.append("compiled: what fastnn.compile makes of the network; above it the network itself on each backend;")
    lines.append("books' way: the same float32 network in plain NumPy.")
    return "\n".join(lines)


def _plot(folder: Path, history, model: str, description: str, rows, say) -> None:
    if not importlib.util.find_spec("matplotlib"):
        say("no plots: matplotlib is not installed (pip install 'fastnn-kernels[plot]')")
        return
    from . import _plots

    folder.mkdir(parents=True, exist_ok=True)
    _plots.accuracy(folder / "accuracy.png", history, model, description)
    _plots.per_sample_vs_per_batch(folder / "per_sample_vs_per_batch.png", rows, BATCH, model)
    say(f"plots: {folder / 'accuracy.png'}, {folder / 'per_sample_vs_per_batch.png'}")


def _plot_images(folder: Path, net, test, say) -> None:
    if not importlib.util.find_spec("matplotlib"):
        return
    from fastnn import plots

    x, t = test
    predicted = np.concatenate([net.predict(x[i : i + BATCH]).argmax(axis=1) for i in range(0, len(x), BATCH)])
    plots.visualize_filter(net.params["W1"], folder / "filters.png")
    plots.misclassified(x, t, predicted, folder / "misclassified.png")
    say(f"plots: {folder / 'filters.png'}, {folder / 'misclassified.png'}")
