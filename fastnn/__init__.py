"""fastnn: compiled CPU kernels for neural networks behind the layer interface of *Deep Learning from Scratch*."""

try:
    from ._build_info import version as __version__  # written by the build
except ModuleNotFoundError:
    raise SystemExit(
        "fastnn: this is the source folder, which has no compiled kernels; run from another directory to use the "
        "installed package (pip install .)"
    ) from None

from . import backends, ops
from ._threads import get_num_threads, set_num_threads
from .backends import show_config, trim, use_backend
from .network import Network

__all__ = [
    "Network",
    "__version__",
    "backends",
    "get_num_threads",
    "ops",
    "set_num_threads",
    "show_config",
    "trim",
    "use_backend",
]
