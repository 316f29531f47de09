"""What a workload is, and the list of those in `workloads/`.

A workload is one computation at several sizes. A family adds a file to `workloads/` with subclasses of `Workload`; one
method for each peer that can do it (`numpy`, `torch`, `jax`, `numba`, `onnx`, `fastnn`, ...) is all it has to write.
"""

import importlib
import pkgutil

import numpy as np


class Workload:
    """One computation. An instance is one case of it: a dtype and the sizes of one row of `cases` as attributes.

    A peer's method takes the peer's module and returns a function of the inputs (as that peer's arrays, in the order of
    `inputs`); `onnx` returns (nodes, names of outputs, names of the inputs that are constant). A peer without a method,
    or whose method returns None, is not timed. `numpy` is by default the reference itself.
    """

    name = ""
    cases: tuple[dict, ...] = ()
    dtypes = "float32", "float64"
    # Agreement with the reference in float64, relative to the largest element of each result.
    tolerance = {"float32": 1e-4, "float64": 1e-10}  # noqa: RUF012
    stateful = False  # the function changes its inputs, keeps state or compiles itself: peers call it as it is
    trains = False  # needs PyTorch's automatic differentiation
    without: tuple[str, ...] = ()  # peers left out although they have a method
    calls = 0  # calls in one block, without warm-up; 0: as many as fit
    part = 0  # rows of the first input that an exported model takes, which `loop` goes through; 0: all at once
    loops = 1  # how often the function does its work in one call

    def __init__(self, dtype, **sizes):
        self.dtype = np.dtype(dtype)
        self.sizes = sizes
        self.compile = lambda f: f  # the peer's compiler, for stateful workloads
        vars(self).update(sizes)

    @property
    def case(self):
        """The sizes as text, the name of the row."""
        return " ".join(f"{k}={v}" for k, v in self.sizes.items())

    def inputs(self, rng) -> dict:
        """Name -> array, or list of arrays, from a seeded generator."""
        raise NotImplementedError

    def reference(self, *inputs):
        """The result by NumPy, called with float64 inputs; None if there is nothing to compare."""
        raise NotImplementedError

    def numpy(self, np):
        return self.reference

    def flops(self) -> float:
        """Multiplications and additions of one call; 0 where they are not the point."""
        return 0

    def finish(self, function) -> dict:
        """After the last block: whatever else is to be reported, by name."""
        return {}

    def normal(self, rng, *shape, scale=1.0):
        """Normal draws of the workload's dtype."""
        return (rng.standard_normal(shape) * scale).astype(self.dtype)


def load() -> dict[str, type[Workload]]:
    """All workloads by name, in the order of files and of definition."""
    import workloads

    found = {}
    for module in pkgutil.iter_modules(workloads.__path__):
        for value in vars(importlib.import_module(f"workloads.{module.name}")).values():
            if isinstance(value, type) and issubclass(value, Workload) and value.name:
                found[value.name] = value
    return found
