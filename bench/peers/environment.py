"""The environment variables that a measured process starts with."""

import os
import sys

# They pick a library's kernels for another processor than the one there is: NumPy's OpenBLAS, told that an AVX-512
# processor is a Haswell, multiplies at half its speed.
_FOREIGN_KERNELS = {
    "ATEN_CPU_CAPABILITY",
    "DNNL_MAX_CPU_ISA",
    "MKL_CBWR",
    "MKL_DEBUG_CPU_TYPE",
    "MKL_ENABLE_INSTRUCTIONS",
    "ONEDNN_MAX_CPU_ISA",
    "OPENBLAS_CORETYPE",
    "OPENBLAS_L2_SIZE",
}
_LIBRARIES = "OMP", "OPENBLAS", "MKL", "NUMBA", "VECLIB", "BLIS"


def variables(threads: int) -> dict[str, str]:
    """Those of this process, so many threads for every library, and kernels of the library's own choice."""
    kept = {name: value for name, value in os.environ.items() if name not in _FOREIGN_KERNELS}
    return kept | {f"{name}_NUM_THREADS": str(threads) for name in _LIBRARIES}


def enter(threads: int) -> None:
    """Start this process anew with them, where they are not those it has: libraries read them once."""
    wanted = variables(threads)
    if wanted != dict(os.environ):
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], wanted)
