"""Every layer of the books at batches from 1 to 1000: plain NumPy (tests/dropin) against the drop-in, one thread.

taskset -c 1 python bench/sweep.py [NAME ...]       # ratios of median times, forward and backward; * below 1.0
"""

import importlib
import statistics
import sys
import time
from pathlib import Path

import numpy as np

import fastnn

sys.path.insert(1, str(Path(__file__).parent / "peers"))
import environment

READERS = Path(__file__).resolve().parents[1] / "tests" / "dropin"
BATCHES = 1, 2, 3, 5, 8, 10, 15, 16, 17, 30, 32, 50, 64, 100, 128, 200, 300, 500, 700, 1000
REPEATS, SECONDS = 5, 0.002


def layers(book):
    """What a package `common`, imported anew, has; it is forgotten again, so that `patch` does not find it."""
    sys.path.insert(0, str(READERS / book))
    names = ["layers"] if book == "book1" else ["layers", "time_layers"]
    modules = [importlib.import_module(f"common.{name}") for name in [*names, "functions", "util", "optimizer"]]
    sys.path.pop(0)
    for name in [name for name in sys.modules if name.split(".")[0] == "common"]:
        del sys.modules[name]
    return {name: value for module in modules for name, value in vars(module).items()}


def cases(N):
    """name -> (book, make(classes) -> (forward, backward)) for a batch of N."""
    rng = np.random.RandomState(0)
    f64, f32 = rng.randn, lambda *shape: rng.randn(*shape).astype("f")
    labels = rng.randint(0, 10, N)

    def layer(book, name, args, x, dout=None, more=()):
        def make(classes):
            one = classes[name](*args)
            if name == "Dropout":
                one.forward(x)  # evaluation leaves the mask of the last training pass
            out = one.forward(x, *more)
            d = dout if dout is not None else np.array(out) if np.ndim(out) else 1
            return (lambda: one.forward(x, *more)), (lambda: one.backward(d))

        return book, make

    def function(book, name, *args):
        def make(classes):
            f = classes[name]
            return (lambda: f(*args)), None

        return book, make

    def update(book, name):
        params = {"W": f64(N, 10), "b": f64(10)} if book == "book1" else [f32(N, 10), f32(10)]
        grads = {"W": f64(N, 10), "b": f64(10)} if book == "book1" else [f32(N, 10), f32(10)]

        def make(classes):
            one = classes[name](lr=1e-6)
            return (lambda: one.update(params, grads)), None

        return book, make

    found = {}
    for D, M in ((784, 50), (100, 100), (50, 10)):
        found[f"1 Affine {D}x{M}"] = layer("book1", "Affine", (f64(D, M), f64(M)), f64(N, D), f64(N, M))
        found[f"2 Affine {D}x{M} f32"] = layer("book2", "Affine", (f32(D, M), f32(M)), f32(N, D), f32(N, M))
    found["1 Affine 2x3 int"] = layer("book1", "Affine", (f64(2, 3), f64(3)), rng.randint(0, 2, (N, 2)), f64(N, 3))
    found["2 MatMul 7x5 int"] = layer("book2", "MatMul", (f32(7, 5),), rng.randint(0, 2, (N, 7)), f64(N, 5))
    found["1 Affine 784x50 f32 x"] = layer("book1", "Affine", (f64(784, 50), f64(50)), f32(N, 784), f64(N, 50))
    for D in (10, 100):
        found[f"1 Relu {D}"] = layer("book1", "Relu", (), f64(N, D), f64(N, D))
        found[f"1 Sigmoid {D}"] = layer("book1", "Sigmoid", (), f64(N, D), f64(N, D))
        found[f"1 Dropout {D}"] = layer("book1", "Dropout", (), f64(N, D), f64(N, D))
        found[f"1 Dropout {D} eval"] = layer("book1", "Dropout", (), f64(N, D), f64(N, D), (False,))
        found[f"1 BatchNorm {D}"] = layer("book1", "BatchNormalization", (f64(D), f64(D)), f64(N, D), f64(N, D))
    found["1 SoftmaxWithLoss"] = layer("book1", "SoftmaxWithLoss", (), f64(N, 10), more=(labels,))
    found["1 SoftmaxWithLoss one-hot"] = layer("book1", "SoftmaxWithLoss", (), f64(N, 10), more=(np.eye(10)[labels],))
    found["2 SoftmaxWithLoss"] = layer("book2", "SoftmaxWithLoss", (), f32(N, 10), more=(labels,))
    found["2 SigmoidWithLoss"] = layer("book2", "SigmoidWithLoss", (), f32(N), more=(labels % 2,))
    found["2 Softmax"] = layer("book2", "Softmax", (), f32(N, 29), f32(N, 29))
    found["2 Embedding"] = layer("book2", "Embedding", (f32(1000, 100),), rng.randint(0, 1000, N), f32(N, 100))
    found["2 TimeEmbedding"] = layer(
        "book2", "TimeEmbedding", (f32(418, 100),), rng.randint(0, 418, (N, 5)), f32(N, 5, 100)
    )
    found["2 TimeAffine"] = layer("book2", "TimeAffine", (f32(100, 50), f32(50)), f32(N, 5, 100), f32(N, 5, 50))
    found["2 TimeDropout"] = layer("book2", "TimeDropout", (), f32(N, 5, 100), f32(N, 5, 100))
    found["2 TimeSoftmaxWithLoss"] = layer(
        "book2", "TimeSoftmaxWithLoss", (), f32(N, 5, 50), more=(rng.randint(0, 50, (N, 5)),)
    )
    for name, gates in (("TimeRNN", 1), ("TimeLSTM", 4), ("TimeGRU", 3)):
        weights = f32(16, gates * 32), f32(32, gates * 32), f32(gates * 32)
        for T in (1, 5):
            found[f"2 {name} T={T}"] = layer("book2", name, weights, f32(N, T, 16), f32(N, T, 32))
    if N <= 200:
        found["1 Convolution"] = layer("book1", "Convolution", (f64(8, 1, 5, 5), f64(8)), f64(N, 1, 28, 28))
        found["1 Pooling"] = layer("book1", "Pooling", (2, 2), f64(N, 8, 24, 24))
    for D in (10, 100):
        for book, x in (("book1", f64(N, D)), ("book2", f32(N, D))):
            for name in ("sigmoid", "relu", "softmax"):
                found[f"{book[-1]} {name} {D}"] = function(book, name, x)
    found["1 softmax 1-D"] = function("book1", "softmax", f64(10 * N))
    found["1 cross_entropy_error"] = function("book1", "cross_entropy_error", np.abs(f64(N, 10)), labels)
    found["1 im2col"] = function("book1", "im2col", f64(min(N, 200), 1, 12, 12), 3, 3)
    for book in ("book1", "book2"):
        for name in ("SGD", "Momentum", "Nesterov", "AdaGrad", "RMSprop", "Adam"):
            found[f"{book[-1]} {name}"] = update(book, name)
    return found


def seconds(f):
    """The median time of a call, of runs of a few ms."""
    f()
    start = time.perf_counter()
    f()
    count = max(1, int(SECONDS / (time.perf_counter() - start + 1e-7)))
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        for _ in range(count):
            f()
        times.append((time.perf_counter() - start) / count)
        if count == 1 and sum(times) > 20 * SECONDS:
            break
    return statistics.median(times)


def main():
    environment.enter(threads=1)
    wanted = sys.argv[1:]
    originals = {book: layers(book) for book in ("book1", "book2")}
    fastnn.patch()
    ours = {book: layers(book) for book in ("book1", "book2")}
    table: dict[str, list[str]] = {}
    for N in BATCHES:
        for name, (book, make) in cases(N).items():
            if wanted and not any(part in name for part in wanted):
                continue
            for what, f, g in zip(("", "'"), make(originals[book]), make(ours[book]), strict=True):
                if f is not None:
                    ratio = seconds(f) / seconds(g)
                    table.setdefault(name + what, []).append(f"{ratio:.2f}{'*' if ratio < 1 else ''}")
    print("ratio NumPy / fastnn at batches", *BATCHES, "; ' backward")
    for name, ratios in table.items():
        print(f"{name:28}", " ".join(f"{r:>6}" for r in ratios))


if __name__ == "__main__":
    main()
