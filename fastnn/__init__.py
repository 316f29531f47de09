"""fastnn: compiled CPU kernels for neural networks behind the layer interface of *Deep Learning from Scratch*.

Importing this package loads neither NumPy nor the kernels; the first use of a public name does.
"""

import importlib
import os

try:
    from ._build_info import version as __version__  # written by the build
except ModuleNotFoundError:
    raise SystemExit(
        "fastnn: this is the source folder, which has no compiled kernels; run from another directory to use the "
        "installed package (pip install .)"
    ) from None

# Public name -> the module that has it.
_PUBLIC = {
    "Network": "fastnn.network",
    "Predictor": "fastnn.network",
    "compile": "fastnn.network",
    "backends": "fastnn.backends",
    "ops": "fastnn.ops",
    "show_config": "fastnn.backends",
    "trim": "fastnn.backends",
    "use_backend": "fastnn.backends",
    "get_num_threads": "fastnn._threads",
    "set_num_threads": "fastnn._threads",
    "patch": "fastnn.dropin",
    "patched": "fastnn.dropin",
    "unpatch": "fastnn.dropin",
} | {
    name: f"fastnn.{name}"
    for name in (
        "dataset",
        "functions",
        "gradient",
        "init",
        "layers",
        "models",
        "optimizer",
        "plots",
        "text",
        "time_layers",
        "trainer",
    )
}

__all__ = ["__version__", *_PUBLIC]


def __getattr__(name):
    if name not in _PUBLIC:
        raise AttributeError(f"module 'fastnn' has no attribute {name!r}")
    module = importlib.import_module(_PUBLIC[name])
    value = module if name == module.__name__.rpartition(".")[2] else getattr(module, name)
    globals()[name] = value
    return value


def __dir__():
    return sorted({*globals(), *_PUBLIC})


if os.environ.get("FASTNN_BACKEND") or os.environ.get("FASTNN_ISA"):
    __getattr__("backends")  # a wrong name is an error here and now
