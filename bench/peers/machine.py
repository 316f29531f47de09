"""The machine that a measurement ran on: what it is, and what it can do at most, measured."""

import ctypes
import os
import platform
import shutil
import subprocess
import tempfile
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np


def describe() -> dict:
    """Processor, its vector instructions, cores, system and load now."""
    return {
        "cpu": _cpuinfo("model name") or platform.processor() or platform.machine(),
        "family": f"{_cpuinfo('cpu family')}/{_cpuinfo('model')}",
        "vector": [flag for flag in ("avx2", "fma", "avx512f", "avx512vl", "asimd") if flag in _flags()],
        "cores": len(cpus()),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "load": os.getloadavg()[0],
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def cpus() -> list[int]:
    """The processors that this process may use."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))


def pin(wanted) -> None:
    """Keep the calling thread on these processors, where the system can."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, wanted)


def _cpuinfo(key):
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith((f"{key}\t", f"{key} :"))), "")


def _flags():
    return (_cpuinfo("flags") or _cpuinfo("Features")).split()


class Limits:
    """Multiply-add rate (GFLOP/s of each dtype) and memory read rate (GB/s) of some processors.

    Measured by a few lines of C++, compiled for this very machine; without a compiler there are none (`available`).
    """

    BUFFER = 256 * 2**20  # bytes, beyond any cache

    def __init__(self, processors):
        self.processors = processors
        self._lib = _compile()
        self.available = self._lib is not None
        if self.available:
            self._buffer = np.ones(self.BUFFER // 4, np.float32)

    def measure(self) -> dict:
        """One short measurement (about 40 ms): {"float32": GFLOP/s, "float64": GFLOP/s, "memory": GB/s}."""
        if not self.available:
            return {}
        result, rounds = {}, 500_000
        for dtype in ("float32", "float64"):
            flops = rounds * getattr(self._lib, f"flops_per_round_{dtype}")() * len(self.processors)
            fma = getattr(self._lib, f"fma_{dtype}")
            result[dtype] = flops / self._quickest(lambda _, fma=fma: fma(rounds)) / 1e9
        parts = np.array_split(self._buffer, len(self.processors))
        read, pointer = self._lib.read_memory, ctypes.POINTER(ctypes.c_float)
        took = self._quickest(lambda i: read(parts[i].ctypes.data_as(pointer), parts[i].size))
        return result | {"memory": self.BUFFER / took / 1e9}

    def _quickest(self, work) -> float:
        """The least seconds, of three times, of work(i) on all processors at once (ctypes lets go of Python's lock)."""
        barrier = threading.Barrier(len(self.processors))
        times = [[], [], []]

        def run(i):
            pin({self.processors[i]})
            for spans in times:
                barrier.wait()
                start = time.perf_counter()
                work(i)
                spans.append((start, time.perf_counter()))

        threads = [threading.Thread(target=run, args=(i,)) for i in range(len(self.processors))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return min(max(end for _, end in spans) - min(start for start, _ in spans) for spans in times)


def _compile():
    compiler = next((path for name in ("c++", "g++", "clang++") if (path := shutil.which(name))), None)
    if compiler is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "limits.so"
        source = Path(__file__).with_name("limits.cpp")
        flags = ["-O3", "-march=native", "-ffp-contract=fast", "-shared", "-fPIC"]
        done = subprocess.run([compiler, *flags, "-o", library, source], capture_output=True, check=False)
        if done.returncode:
            return None
        lib = ctypes.CDLL(str(library))
    for dtype in ("float32", "float64"):
        function = getattr(lib, f"fma_{dtype}")
        function.argtypes, function.restype = [ctypes.c_long], ctypes.c_double
    lib.read_memory.argtypes, lib.read_memory.restype = [ctypes.POINTER(ctypes.c_float), ctypes.c_long], ctypes.c_float
    return lib
