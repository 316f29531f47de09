"""Training loops as the chapters of both books have them: plain NumPy against `fastnn run`, alternating, one thread.

    taskset -c 1 python bench/dropin.py [--rounds 5] [NAME ...]     # prints the table of docs/benchmarks.md

The scripts and the package `common` that is replaced are those of tests/dropin; with FASTNN_DATA they train on MNIST
and PTB. CPU time of `train()` alone, the median of the rounds; differences: the largest relative one of the results.
share: of the original's time, that in classes and functions that are replaced (outermost calls), and how many times
faster that share is.
"""

import argparse
import importlib
import io
import json
import os
import statistics
import subprocess
import sys
import time
from contextlib import redirect_stdout, suppress
from pathlib import Path

sys.path.insert(1, str(Path(__file__).parent / "peers"))
import environment

READERS = Path(__file__).resolve().parents[1] / "tests" / "dropin"
# script -> goals in float64 and with --float32 (None: book 2 is float32 as it is)
SCRIPTS = {
    "book1/ch03/neuralnet_mnist": (0.95, None),
    "book1/ch03/neuralnet_mnist_batch": (0.95, None),
    "book1/ch05/train_neuralnet": (1.35, 2.3),
    "book1/ch06/batch_norm_test": (2.0, 3.0),
    "book1/ch06/optimizer_compare_mnist": (0.95, 0.95),
    "book1/ch06/overfit_dropout": (0.95, 0.95),
    "book1/ch07/train_convnet": (6.0, 10.0),
    "book1/ch08/train_deepnet": (5.0, 10.0),
    "book2/ch01/train_custom_loop": (0.95, None),
    "book2/ch04/train": (0.95, None),
    "book2/ch05/train": (4.0, None),
    "book2/ch05/train_custom_loop": (0.95, None),
    "book2/ch06/train_rnnlm": (1.7, None),
    "book2/ch06/train_better_rnnlm": (0.95, None),
    "book2/ch07/train_seq2seq": (2.5, None),
    "book2/ch08/train": (0.95, None),
}


def measure(name: str, how: str) -> dict:
    """{"seconds", "values"} of one run in a process of its own; how: plain, float64, float32; more: timed inside."""
    command = [sys.executable, __file__, "--child", name, "--how", how]
    where, variables = READERS / name.rsplit("/", 1)[0], environment.variables(threads=1)
    result = subprocess.run(command, env=variables, capture_output=True, encoding="utf-8", cwd=where)
    if result.returncode:
        raise SystemExit(result.stderr)
    return json.loads(result.stdout)


def child(name: str, how: str) -> None:
    """Run one script here; prints the measurement as JSON."""
    import fastnn

    sys.path[0] = os.getcwd()
    way, _, timed = how.partition("+")
    if way != "plain":
        fastnn.patch(float32=way == "float32")
    inside = replaced_calls() if timed else []
    module = __import__(name.rsplit("/", 1)[1])
    with redirect_stdout(io.StringIO()):
        module.train(1)
        inside[:] = []
        start = time.process_time()
        values = module.train()
        seconds = time.process_time() - start
    print(json.dumps({"seconds": seconds, "inside": sum(inside), "values": [float(v) for v in values]}))


def replaced_calls() -> list[float]:
    """The seconds of every outermost call of what the drop-in replaces, in a list that grows."""
    from fastnn.dropin.recognise import BOOK, CALLED

    sys.path.append("..")
    spent: list[float] = []
    running = [False]

    def timed(f):
        def call(*args, **named):
            if running[0]:
                return f(*args, **named)
            running[0] = True
            start = time.perf_counter()
            try:
                return f(*args, **named)
            finally:
                spent.append(time.perf_counter() - start)
                running[0] = False

        return call

    modules, wrapped = [], {}
    for stem in ("functions", "util", "layers", "time_layers", "optimizer", "trainer"):
        with suppress(ModuleNotFoundError):
            modules.append(importlib.import_module(f"common.{stem}"))
    for module in modules:
        for name, value in list(vars(module).items()):
            if name in BOOK and isinstance(value, type) and value.__module__ == module.__name__:
                for method in vars(value).keys() & {*CALLED} - {"__init__"}:
                    setattr(value, method, timed(getattr(value, method)))
            elif name in BOOK and callable(value) and not isinstance(value, type):
                setattr(module, name, wrapped.setdefault(value, timed(value)))
    return spent


def difference(a: list[float], b: list[float]) -> float:
    return max(abs(x - y) / max(abs(x), 1e-300) for x, y in zip(a, b, strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="parts of scripts' names; default: all")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--how", default="plain", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        child(args.child, args.how)
        return
    head = "script | NumPy, s | fastnn, s | times | goal | --float32, s | times | goal | difference | share | its times"
    print(f"| {head} |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|", flush=True)
    for name, goals in SCRIPTS.items():
        if args.names and not any(part in name for part in args.names):
            continue
        ways = ["plain", "float64"] + ["float32"] * (goals[1] is not None)
        runs: dict[str, list[dict]] = {way: [] for way in ways}
        for _ in range(args.rounds):
            for way in ways:
                runs[way].append(measure(name, way))
        seconds = {way: statistics.median(run["seconds"] for run in runs[way]) for way in ways}
        cells = [name, f"{seconds['plain']:.3f}"]
        for way, goal in zip(("float64", "float32"), goals, strict=True):
            if goal is None:
                cells += ["", "", ""]
            else:
                cells += [f"{seconds[way]:.3f}", f"{seconds['plain'] / seconds[way]:.2f}", str(goal)]
        cells.append(f"{difference(runs['plain'][0]['values'], runs['float64'][0]['values']):.1e}")
        plain, ours = measure(name, "plain+inside"), measure(name, "float64+inside")
        cells += [f"{plain['inside'] / plain['seconds']:.0%}", f"{plain['inside'] / ours['inside']:.1f}"]
        print("|", " | ".join(cells), "|", flush=True)


if __name__ == "__main__":
    main()
