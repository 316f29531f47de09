"""Training steps by one thread and by two: python bench/two_threads.py [--busy NICE] [--only WORD] [--seconds S]

Medians; steps by one thread and by two take turns. --busy: half of the time a loop of another process with this nice
value runs on the last of this process's processors. (From the same session: where the kernel groups tasks by session,
that of another one would get half of the processor whatever its nice value.)
"""

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import time

import numpy as np
from per_batch import dense, of

import fastnn
from fastnn import layers, models, optimizer, time_layers

BLOCK, LONG_BLOCK = 0.03, 0.5  # s; the latter beside the loop


def classifier(stack, rule, n, shape=(784,)):
    net, rng = fastnn.Network(stack, layers.SoftmaxWithLoss()), np.random.default_rng(0)
    x, t = rng.random((n, *shape), np.float32), rng.integers(0, 10, n)
    return lambda: net.step(x, t, rule)


def without_dropout(model):
    return [layer for layer in of(model) if not isinstance(layer, layers.Dropout)]


def rnnlm(V):
    net = fastnn.Network(models.Rnnlm(V, 100, 100).layers, time_layers.TimeSoftmaxWithLoss())
    rule, rng = optimizer.SGD(lr=20.0, clip_norm=0.25), np.random.default_rng(0)
    words = np.minimum(V ** rng.random((20, 36)), V - 1).astype(np.int64)
    xs, ts = words[:, :-1].copy(), words[:, 1:].copy()
    return lambda: net.step(xs, ts, rule)


DEEP = 784, 100, 100, 100, 100, 10
STEPS = {
    "784-50-10, SGD": lambda: classifier(dense(784, 50, 10, activation=layers.Relu), optimizer.SGD(0.01), 100),
    "784-100x4-10, SGD": lambda: classifier(dense(*DEEP, activation=layers.Relu), optimizer.SGD(0.01), 128),
    "784-100x4-10, Adam": lambda: classifier(dense(*DEEP, activation=layers.Relu), optimizer.Adam(0.01), 128),
    "784-100x6-10 BatchNorm, SGD": lambda: classifier(
        dense(784, *[100] * 6, 10, activation=layers.Relu, normalised=True), optimizer.SGD(0.01), 100
    ),
    "784-625-10 sigmoid, SGD": lambda: classifier(dense(784, 625, 10), optimizer.SGD(0.01), 100),
    "SimpleConvNet, Adam": lambda: classifier(
        without_dropout(models.SimpleConvNet()), optimizer.Adam(0.001), 100, (1, 28, 28)
    ),
    "Rnnlm, 1,000 words": lambda: rnnlm(1_000),
    "DeepConvNet, Adam": lambda: classifier(
        without_dropout(models.DeepConvNet()), optimizer.Adam(0.001), 100, (1, 28, 28)
    ),
    "Rnnlm, 10,000 words": lambda: rnnlm(10_000),
}


class Loop:
    """A loop of another process on the last processor, with this nice value; it runs inside `with`."""

    def __init__(self, nice):
        processor = max(os.sched_getaffinity(0))
        code = f"import os\nos.nice({nice})\nos.sched_setaffinity(0, [{processor}])\nwhile True: pass"
        self.process = subprocess.Popen([sys.executable, "-c", code])
        time.sleep(0.2)
        self.process.send_signal(signal.SIGSTOP)

    def __enter__(self):
        self.process.send_signal(signal.SIGCONT)

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGSTOP)


def measure(step, seconds, loop):
    """{(threads, beside the loop): times of single steps, s}; all kinds in turn."""
    times = {(n, beside): [] for beside in (False, True)[: 2 if loop else 1] for n in (1, 2)}
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        for (threads, beside), found in times.items():
            with loop if beside else contextlib.nullcontext():
                fastnn.set_num_threads(threads)
                step()
                begin = now = time.perf_counter()
                while now - begin < (LONG_BLOCK if loop else BLOCK):
                    step()
                    before, now = now, time.perf_counter()
                    found.append((now - before) * 1e6)
    return {kind: np.array(found) for kind, found in times.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--busy", type=int, metavar="NICE")
    parser.add_argument("--only", default="", help="steps whose names contain this")
    parser.add_argument("--seconds", type=float, default=2.0, help="for each step")
    options = parser.parse_args()
    loop = None if options.busy is None else Loop(options.busy)
    columns = ["1 thread", "2 threads", "", "99 %"]
    if loop:
        columns += ["1 beside the loop", "2 beside it", "of 2 alone", "of 1 beside it", "mean", "of 2 alone", "99 %"]
    print(f"| us | {' | '.join(columns)} |\n| --- |{' ---: |' * len(columns)}")
    try:
        for name, make in STEPS.items():
            if options.only not in name:
                continue
            times = measure(make(), options.seconds, loop)
            medians, means = ({kind: f(found) for kind, found in times.items()} for f in (np.median, np.mean))
            one, two = medians[1, False], medians[2, False]
            cells = [f"{one:,.0f}", f"{two:,.0f}", f"{one / two:.2f}x", f"{np.quantile(times[2, False], 0.99):,.0f}"]
            if loop:
                beside, mean = medians[2, True], means[2, True]
                cells += [f"{medians[1, True]:,.0f}", f"{beside:,.0f}", f"{beside / two:.2f}"]
                cells += [f"{beside / medians[1, True]:.2f}", f"{mean:,.0f}", f"{mean / means[2, False]:.2f}"]
                cells += [f"{np.quantile(times[2, True], 0.99):,.0f}"]
            print(f"| {name} | {' | '.join(cells)} |", flush=True)
    finally:
        if loop:
            loop.process.kill()


if __name__ == "__main__":
    main()
