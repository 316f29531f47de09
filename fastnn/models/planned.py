"""What all models share: layers in order and a loss, whose passes are those of a `Network`."""

from typing import Any

import numpy as np

from .. import layers, time_layers
from ..network import Network

_PASSES = {"predict", "loss", "forward", "backward", "gradient"}


class Planned:
    """A model of layers in order and a loss: `network` plans its passes as a whole.

    The layers work one by one, and give the same numbers, where a plan would give others or nothing: layers of other
    modules than `fastnn.layers` and `time_layers` (those of `fastnn.compat`), a pass of the reader's (of a subclass, or
    assigned to the model), x that is not an array of the parameters' dtype (or of indices), and bad input, which the
    layers explain. The layers' own records of a pass (`x`, `out`, ...) are not kept where it is planned.
    """

    layer_types: Any
    _passes_are_ours = True
    _input_gradient = False  # whether backward gives that too
    _network: Any = None  # (layers and loss, the Network of them)

    def __init_subclass__(cls, **options):
        super().__init_subclass__(**options)
        passes = {name: base.__module__ for base in reversed(cls.__mro__) for name in _PASSES & vars(base).keys()}
        cls._passes_are_ours = all(module.startswith(f"{__package__}.") for module in passes.values())

    def _chain(self):
        """[layers in order ..., the loss]"""
        raise NotImplementedError

    @property
    def network(self):
        """The `Network` of the layers and the loss as they are now: for `step`, `fit`, `summary`, `fastnn.compile`."""
        chain = self._chain()
        if self._network is None or self._network[0] != chain:
            self._network = chain, Network(chain[:-1], chain[-1], input_gradient=self._input_gradient)
        return self._network[1]

    def _has_own_pass(self):
        """Whether the reader wrote a pass of this model."""
        return not self._passes_are_ours or not _PASSES.isdisjoint(vars(self))

    def _by_plan(self, name, x, *args):
        """`network.<name>(x, *args)`; None, and nothing done, where the layers are to work one by one."""
        ours = self.layer_types is layers or self.layer_types is time_layers
        if not ours or self._has_own_pass() or type(x) is not np.ndarray or x.ndim < 2:
            return None
        try:
            network = self.network
            dtype = network.input_dtype
            if x.dtype.kind not in "iu" if dtype is None else x.dtype != dtype:
                return None
            return getattr(network, name)(x, *args)
        except (ValueError, TypeError, IndexError):
            return None
