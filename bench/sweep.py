"""What the drop-in replaces, beside plain NumPy (tests/dropin), one thread: layers at batches from 1 to 1000, then
functions, layers and optimizers on 1 to a million elements; or products of 1 to 8192 rows, columns and terms.

taskset -c 1 python bench/sweep.py [NAME ...]               # ratios of times, forward and backward; * below 0.98
taskset -c 1 python bench/sweep.py --products [f d] [N ...]  # x @ W + b, its gradients, a predictor; by default all

Runs of both take turns, and the quickest of each are compared, because another process can only slow a run. What is
below 0.98 is measured again at the end, for longer; the last table has what stays below, the slowest first.
"""

import contextlib
import importlib
import io
import math
import sys
import time
from pathlib import Path

import numpy as np

import fastnn
from fastnn import ops

sys.path.insert(1, str(Path(__file__).parent / "peers"))
import environment

from fastnn.dropin import recognise

READERS = Path(__file__).resolve().parents[1] / "tests" / "dropin"
BATCHES = 1, 2, 3, 5, 8, 10, 15, 16, 17, 30, 32, 50, 64, 100, 128, 200, 300, 500, 700, 1000
SIZES = 1, 10, 100, 1000, 10_000, 100_000, 1_000_000
REPEATS, SECONDS = 5, 0.002
LEAST = 0.98
# (D, M) of W, square and skinny, for products, and rows of x; what takes more work or memory than this is left out
WEIGHTS = (
    *((n, n) for n in (1, 8, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192)),
    *((16, 4096), (4096, 16), (64, 4096), (4096, 64), (64, 8192), (8192, 64), (512, 8192), (8192, 512)),
    *((10, 784), (50, 100), (100, 10), (1000, 10), (784, 50), (100, 400), (784, 625), (650, 10000)),
)
ROWS = 1, 2, 3, 4, 8, 15, 16, 32, 100, 512, 1024, 8192
MOST_WORK, MOST_BYTES = 2e10, 7e8


def layers(book):
    """What a package `common`, imported anew, has; it is forgotten again, so that `patch` does not find it."""
    sys.path.insert(0, str(READERS / book))
    names = ["layers"] if book == "book1" else ["layers", "time_layers", "trainer"]
    modules = [importlib.import_module(f"common.{name}") for name in [*names, "functions", "util", "optimizer"]]
    sys.path.pop(0)
    for name in [name for name in sys.modules if name.split(".")[0] == "common"]:
        del sys.modules[name]
    return {name: value for module in modules for name, value in vars(module).items()}


def layer(book, name, args, x, dout=None, more=()):
    """(book, make(classes) -> (forward, backward)) of a layer."""

    def make(classes):
        one = classes[name](*args)
        if name.endswith("Dropout"):
            one.forward(x)  # evaluation leaves the mask of the last training pass
        out = one.forward(x, *more)
        d = dout if dout is not None else np.array(out) if np.ndim(out) else 1
        return (lambda: one.forward(x, *more)), (lambda: one.backward(d))

    return book, make


def step(name, args, *states):
    """A layer of book 2 that takes a step of one or two states."""

    def make(classes):
        one = classes[name](*args)
        out = one.forward(*states)
        d = [np.array(a) for a in (out if isinstance(out, tuple) else (out,))]
        return (lambda: one.forward(*states)), (lambda: one.backward(*d))

    return "book2", make


def function(book, name, *args):
    def make(classes):
        f = classes[name]
        return (lambda: f(*args)), None

    return book, make


def printing(book, name, *args):
    """A function that prints."""

    def make(classes):
        f = classes[name]

        def quiet():
            with contextlib.redirect_stdout(io.StringIO()):
                f(*args)

        return quiet, None

    return book, make


def update(book, name, *shapes):
    rng = np.random.RandomState(0)
    params, grads = ([rng.randn(*shape) for shape in shapes] for _ in range(2))
    if book == "book1":
        params, grads = ({f"p{i}": a for i, a in enumerate(arrays)} for arrays in (params, grads))
    else:
        params, grads = ([a.astype("f") for a in arrays] for arrays in (params, grads))

    def make(classes):
        one = classes[name](lr=1e-6)
        return (lambda: one.update(params, grads)), None

    return book, make


def cases(N):
    """name -> (book, make(classes) -> (forward, backward)) for a batch of N."""
    rng = np.random.RandomState(0)
    f64, f32 = rng.randn, lambda *shape: rng.randn(*shape).astype("f")
    labels = rng.randint(0, 10, N)

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
            found[f"{book[-1]} {name}"] = update(book, name, (N, 10), (10,))
    return found


def sized(n):
    """As `cases`, for about n elements: of the input, or of the weights where a row of inputs meets a matrix."""
    rng = np.random.RandomState(0)
    f64, f32 = rng.randn, lambda *shape: rng.randn(*shape).astype("f")
    rows, hundreds, root = max(1, n // 10), max(1, n // 100), max(1, math.isqrt(n))
    found = {}
    for book, draw in (("book1", f64), ("book2", f32)):
        b = book[-1]
        for name in ("sigmoid", "relu", "softmax"):
            found[f"{b} {name} 1-D"] = function(book, name, draw(n))
            if n >= 10:
                found[f"{b} {name} by 10"] = function(book, name, draw(rows, 10))
                found[f"{b} {name} of 10 rows"] = function(book, name, draw(10, rows))
        for name in ("SGD", "Momentum", "Nesterov", "AdaGrad", "RMSprop", "Adam"):
            found[f"{b} {name} one array"] = update(book, name, (n,))
            if n >= 10:
                found[f"{b} {name} ten arrays"] = update(book, name, *[(rows,)] * 10)
        found[f"{b} Sigmoid"] = layer(book, "Sigmoid", (), draw(n), draw(n))
        found[f"{b} Dropout"] = layer(book, "Dropout", (), draw(1, n), draw(1, n))
        found[f"{b} SoftmaxWithLoss"] = layer(
            book, "SoftmaxWithLoss", (), draw(rows, 10), more=(rng.randint(0, 10, rows),)
        )
        for N in (1, 10):
            x, dout = draw(N, root), draw(N, root)
            found[f"{b} Affine {N} rows"] = layer(book, "Affine", (draw(root, root), draw(root)), x, dout)
            if book == "book2":
                found[f"2 MatMul {N} rows"] = layer(book, "MatMul", (draw(root, root),), x, dout)
    found["1 Relu"] = layer("book1", "Relu", (), f64(n), f64(n))
    for D in (10, 100):
        if n >= D:
            x = f64(n // D, D)
            found[f"1 BatchNormalization by {D}"] = layer("book1", "BatchNormalization", (f64(D), f64(D)), x, x.copy())
    found["2 Softmax"] = layer("book2", "Softmax", (), f32(rows, 10), f32(rows, 10))
    found["2 SigmoidWithLoss"] = layer("book2", "SigmoidWithLoss", (), f32(n), more=(rng.randint(0, 2, n),))
    tokens = rng.randint(0, 1000, (hundreds, 1))
    found["2 Embedding"] = layer("book2", "Embedding", (f32(1000, 100),), tokens[:, 0], f32(hundreds, 100))
    found["2 TimeEmbedding"] = layer("book2", "TimeEmbedding", (f32(1000, 100),), tokens, f32(hundreds, 1, 100))
    x = f32(1, rows, 10)
    found["2 TimeAffine"] = layer("book2", "TimeAffine", (f32(10, 10), f32(10)), x, x.copy())
    found["2 TimeDropout"] = layer("book2", "TimeDropout", (), x, x.copy())
    found["2 TimeSoftmaxWithLoss"] = layer("book2", "TimeSoftmaxWithLoss", (), x, more=(rng.randint(0, 10, (1, rows)),))
    if n <= 100_000:  # the loop over time is in Python
        for name, gates, states in (("RNN", 1, 1), ("LSTM", 4, 2), ("GRU", 3, 1)):
            weights = f32(10, gates * 10), f32(10, gates * 10), f32(gates * 10)
            found[f"2 {name}"] = step(name, weights, f32(rows, 10), *[f32(rows, 10) for _ in range(states)])
            found[f"2 Time{name} one sequence"] = layer("book2", f"Time{name}", weights, x, x.copy())
    if n >= 100:
        image, weights = f64(1, 1, root, root), (f64(4, 1, 3, 3), f64(4))
        found["1 Convolution"] = layer("book1", "Convolution", weights, image)
        found["1 Pooling"] = layer("book1", "Pooling", (2, 2, 2), image)
        found["1 im2col"] = function("book1", "im2col", image, 3, 3)
        cols = f64((root - 2) ** 2, 9)
        found["1 col2im"] = function("book1", "col2im", cols, image.shape, 3, 3)
    for limit in (1e-3, 1e9):
        found[f"2 clip_grads to {limit:g}"] = function("book2", "clip_grads", [f32(n)], limit)
    words = rng.randint(0, 100, n)
    found["2 convert_one_hot"] = function("book2", "convert_one_hot", words, 100)
    if n > 2:
        found["2 create_contexts_target"] = function("book2", "create_contexts_target", words)
    found["2 create_co_matrix"] = function("book2", "create_co_matrix", words, 100)
    if 100 <= n <= 10_000:
        found["2 ppmi"] = function("book2", "ppmi", rng.randint(1, 10, (root, root)))
    names = dict(enumerate(map(str, range(hundreds))))
    found["2 most_similar"] = printing(
        "book2", "most_similar", "0", {word: i for i, word in names.items()}, names, f32(hundreds, 100)
    )
    params = [f32(1) for _ in range(min(n, 30))]
    found["2 remove_duplicate"] = function("book2", "remove_duplicate", params, [a.copy() for a in params])
    return found


def ratio(f, g, repeats=REPEATS):
    """How many times as fast g is: the quickest runs of some ms, f and g in turn."""

    def seconds(call, count):
        start = time.thread_time()  # not what other processes take
        for _ in range(count):
            call()
        return time.thread_time() - start

    counts = []
    for call in (f, g):
        call()
        counts.append(max(1, int(SECONDS / (seconds(call, 1) + 1e-7))))
    best, done, spent = [math.inf, math.inf], 0, 0.0
    while done < repeats and (spent < 4 * repeats * SECONDS or done < 3):
        for i, (call, count) in enumerate(zip((f, g), counts, strict=True)):
            took = seconds(call, count)
            best[i] = min(best[i], took / count)
            spent += took
        done += 1
    return best[0] / best[1]


def pairs(of, n, chosen, originals, ours):
    """(row, call of plain NumPy, call of ours) of every chosen row for n; a row's backward has an apostrophe."""
    for name, (book, make) in of(n).items():
        if chosen(name):
            for what, f, g in zip(("", "'"), make(originals[book]), make(ours[book]), strict=True):
                if f is not None:
                    yield name + what, f, g


def sweep(title, numbers, of, chosen, *classes):
    """Prints a table with a column for each number; -> [(ratio, row, number)] of what is slower than NumPy."""
    table: dict[str, dict[int, float]] = {}
    for n in numbers:
        for row, f, g in pairs(of, n, chosen, *classes):
            table.setdefault(row, {})[n] = ratio(f, g)
    print(title, *numbers, "; ' backward")
    for row, ratios in table.items():
        cells = [f"{ratios[n]:.2f}{'*' if ratios[n] < LEAST else ''}" if n in ratios else "" for n in numbers]
        print(f"{row:28}", " ".join(f"{cell:>7}" for cell in cells))
    slower = []
    for n in numbers:
        low = {row for row, ratios in table.items() if ratios.get(n, LEAST) < LEAST}
        for row, f, g in pairs(of, n, lambda name, low=low: low & {name, name + "'"}, *classes):
            if row in low and (again := ratio(f, g, 8 * REPEATS)) < LEAST:
                slower.append((again, row, n))
    return slower


def products(dtype, N):
    """(what, D, M, call of NumPy, call of ours) for x (N, D), W (D, M)."""
    rng = np.random.RandomState(0)
    for D, M in WEIGHTS:
        if 2.0 * N * D * M > MOST_WORK or 8 * (D * M + N * D + N * M) > MOST_BYTES:
            continue
        x, W, dout = (rng.standard_normal(shape).astype(dtype) for shape in ((N, D), (D, M), (N, M)))
        b = dout[0].copy()
        predictor = fastnn.compile(fastnn.Network([fastnn.layers.Affine(W, b)]))
        yield "x @ W + b", D, M, lambda x=x, W=W, b=b: x @ W + b, lambda x=x, W=W, b=b: ops.affine_forward(x, W, b)
        yield "predictor", D, M, lambda x=x, W=W, b=b: x @ W + b, lambda x=x, predictor=predictor: predictor(x)
        yield (
            "gradients",
            D,
            M,
            lambda x=x, W=W, dout=dout: (np.dot(dout, W.T), np.dot(x.T, dout), np.sum(dout, axis=0)),
            lambda x=x, W=W, dout=dout: ops.affine_backward(dout, x, W),
        )


def sweep_products(dtypes, rows):
    """Prints a table for each dtype and kind of product: a line for each N, a column for each W."""
    every, slower = [], []
    for dtype in dtypes:
        table: dict[str, dict[int, dict[tuple[int, int], float]]] = {}
        for N in rows:
            for what, D, M, f, g in products(dtype, N):
                found = ratio(f, g)
                if found < LEAST:
                    found = ratio(f, g, 4 * REPEATS)
                table.setdefault(what, {}).setdefault(N, {})[D, M] = found
                every.append(found)
                if found < LEAST:
                    slower.append((found, dtype, what, N, D, M))
        for what, lines in table.items():
            print(f"\n{np.dtype(dtype).name}, {what}: NumPy / fastnn\n\n| N |", *(f"{D}x{M} |" for D, M in WEIGHTS))
            print("|---:|" + "---:|" * len(WEIGHTS))
            for N, ratios in lines.items():
                print(f"| {N} |", *(f"{ratios[W]:.2f} |" if W in ratios else "|" for W in WEIGHTS), flush=True)
    mean = math.exp(sum(map(math.log, every)) / len(every))
    print(f"\n{len(every)} rows, geometric mean {mean:.2f}, least {min(every):.2f}, {len(slower)} below {LEAST}")
    for found, dtype, what, N, D, M in sorted(slower):
        print(f"{found:.2f} {np.dtype(dtype).name} {what}, {N} rows, W {D}x{M}")


# What only calls layers, or is a batch of labels: these have no row. bench/dropin.py times them in their scripts.
WITHOUT_ROW = {"MultiLayerNet", "MultiLayerNetExtend", "RnnlmTrainer"}


def names_without_row():
    """What the drop-in replaces and no row of `sized` is about."""
    rows = {row.split()[1] for row in sized(100)}
    return {*recognise.BOOK} - rows - WITHOUT_ROW


def main():
    if missing := names_without_row():
        raise SystemExit(f"no row for {', '.join(sorted(missing))}")
    environment.enter(threads=1)
    if sys.argv[1:2] == ["--products"]:
        words = sys.argv[2:]
        sweep_products(
            [word for word in words if word in "fd"] or ["f", "d"], [int(w) for w in words if w.isdigit()] or ROWS
        )
        return
    classes = [{book: layers(book) for book in ("book1", "book2")}]
    fastnn.patch()
    classes.append({book: layers(book) for book in ("book1", "book2")})

    def chosen(name):
        return not sys.argv[1:] or any(part in name for part in sys.argv[1:])

    slower = sweep("ratio NumPy / fastnn at batches", BATCHES, cases, chosen, *classes)
    slower += sweep("ratio NumPy / fastnn at elements", SIZES, sized, chosen, *classes)
    print(f"{len(slower)} below {LEAST}")
    for found, row, n in sorted(slower):
        print(f"{found:.2f} {row} {n}")


if __name__ == "__main__":
    main()
