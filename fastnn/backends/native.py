"""The compiled backend: the functions of the extension module, on the instruction set chosen for this processor."""

import os

from .. import _core

OPERATIONS = {name: getattr(_core, name) for name in _core.operations}

if os.environ.get("FASTNN_ISA"):
    _core.use_isa(os.environ["FASTNN_ISA"])


def config() -> dict:
    """Instruction sets, OpenMP version and recycled memory, for show_config()."""
    return {
        "isa": _core.isa(),
        "isas": list(_core.available_isas()),
        "openmp": _core.openmp,
        "pool": _core.pool_stats(),
    }
