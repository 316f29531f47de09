"""One peer in one process: prepares workloads and times blocks of calls when `run.py` asks, asleep in between.

Requests and answers are JSON, a line each, on the standard input and output. Run by `run.py` only.
"""

import gc
import json
import os
import sys
import time
import traceback
import zlib
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import numpy as np
import peers
import workload as workloads

SHORTEST = 5e-5  # s; a sample is as many calls as take this long, so that the clock's own cost does not show
SAMPLES = 200  # at most, of one block


class Worker:
    def __init__(self, name, threads):
        self.peer = peers.PEERS[name](threads)
        self.workloads = workloads.load()
        self.workload = self.call = None

    def hello(self):
        return {"version": self.peer.version, "sizes": _installed_sizes(self.peer.distributions)}

    def prepare(self, workload, dtype, sizes):
        """Build one case and compare its first result with the reference."""
        self.call = None
        self.workload = self.workloads[workload](dtype, **sizes)
        seed = zlib.crc32(f"{workload} {self.workload.case}".encode())
        inputs = self.workload.inputs(np.random.default_rng(seed))
        expected = _arrays(self.workload.reference(*(_map(_float64, value) for value in inputs.values())))
        nbytes = sum(a.nbytes for value in inputs.values() for a in _arrays(value)) if expected else 0
        nbytes += sum(a.size for a in expected) * self.workload.dtype.itemsize
        call = self.peer.prepare(self.workload, inputs)
        if call is None:
            return {"absent": True}
        error = _error(_arrays(call()), expected) if expected else 0.0
        limit = self.workload.tolerance[self.workload.dtype.name]
        if error <= limit:
            self.call = call
        return {"error": error, "limit": limit, "bytes": nbytes, "flops": self.workload.flops()}

    def block(self, seconds):
        """Seconds per unit of work, several samples."""
        call, clock, loops = self.call, time.perf_counter, self.workload.loops
        gc.disable()
        try:
            if self.workload.calls:
                return {"samples": [_time(call, 1, clock) / loops for _ in range(self.workload.calls)]}
            inner, took = 1, _time(call, 1, clock)  # the first call after a pause: not counted
            while took < SHORTEST:
                inner = max(2 * inner, int(inner * 1.2 * SHORTEST / max(took, 1e-9)))
                took = _time(call, inner, clock)
            samples, end = [], clock() + seconds
            while len(samples) < 3 or (clock() < end and len(samples) < SAMPLES):
                samples.append(_time(call, inner, clock) / inner / loops)
            return {"samples": samples}
        finally:
            gc.enable()

    def finish(self):
        return self.workload.finish(self.call)


def _time(call, times, clock):
    start = clock()
    for _ in range(times):
        call()
    return clock() - start


def _map(f, value):
    return [f(a) for a in value] if isinstance(value, list) else f(value)


def _float64(a):
    return a.astype(np.float64) if a.dtype.kind == "f" else a.copy()


def _arrays(value):
    """A result, or nested lists of them, as a flat list of NumPy arrays."""
    if value is None:
        return []
    if isinstance(value, (list, tuple)):
        return [a for v in value for a in _arrays(v)]
    return [np.asarray(value.detach() if hasattr(value, "detach") else value)]


def _error(got, expected):
    """The largest difference of any result, relative to its largest element; inf if it is not comparable."""
    if [a.shape for a in got] != [a.shape for a in expected]:
        raise ValueError(f"shapes are {[a.shape for a in got]}, not {[a.shape for a in expected]}")
    worst = 0.0
    for a, b in zip(got, expected, strict=True):
        difference = np.abs(a - b).max(initial=0.0)
        worst = max(worst, float(difference / max(np.abs(b).max(initial=0.0), 1e-30))) if difference else worst
        if not np.isfinite(difference):
            return float("inf")
    return worst


def _installed_sizes(distributions):
    """Bytes of the files of each installed distribution, by its name."""
    from importlib import metadata

    sizes = {}
    for name in distributions:
        try:
            files = metadata.files(name) or []
        except metadata.PackageNotFoundError:
            continue
        sizes[name] = sum(p.stat().st_size for f in files if (p := Path(f.locate())).is_file() and p.suffix != ".pyc")
    return sizes


def main(name, threads):
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a library prints must not mix with the answers
    worker = None
    for line in sys.stdin:
        request = json.loads(line)
        try:
            worker = worker or Worker(name, threads)
            answer = getattr(worker, request.pop("do"))(**request)
        except Exception as e:
            answer = {"failed": traceback.format_exception_only(e)[-1].strip(), "missing": isinstance(e, ImportError)}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
