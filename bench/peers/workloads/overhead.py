"""What a call costs beside the work: tiny arrays, and starting up."""

import subprocess
import sys

from workload import Workload


class CallOverhead(Workload):
    """x @ W + b of (1, 10) by (10, 10), through the layer object"""

    name = "call_overhead"
    dtypes = ("float32",)
    cases = ({"N": 1, "D": 10, "M": 10},)
    stateful = True
    loops = 100

    def inputs(self, rng):
        return {"x": self.normal(rng, 1, 10), "W": self.normal(rng, 10, 10), "b": self.normal(rng, 10)}

    def reference(self, x, W, b):
        return x @ W + b

    def repeated(self, forward):
        """`loops` calls as one: a single one is too short to time."""

        def repeat(*arrays):
            for _ in range(self.loops):
                out = forward(*arrays)
            return out

        return repeat

    def numpy(self, np):
        def repeat(x, W, b):  # without a call around the expression
            for _ in range(self.loops):
                out = x @ W + b
            return out

        return repeat

    def compiled(self, lib):
        return self.repeated(self.compile(lambda x, W, b: x @ W + b))

    jax = numba = compiled

    def torch(self, torch):
        layer = torch.nn.Linear(10, 10)
        forward = self.repeated(self.compile(layer))

        def repeat(x, W, b):
            layer.weight.data, layer.bias.data = W.T.contiguous(), b
            return forward(x)

        return repeat

    def fastnn(self, fastnn):
        from fastnn.layers import Affine

        made = []

        def repeat(x, W, b):
            if not made:
                made.append(self.repeated(Affine(W, b).forward))
            return made[0](x)

        return repeat


class Import(Workload):
    """a fresh interpreter that imports the library and ends"""

    name = "import"
    dtypes = ("float32",)
    cases = ({},)
    stateful = True
    without = ("torch-compile",)
    calls = 3

    def inputs(self, rng):
        return {}

    def reference(self):
        return None

    def _importing(self, module):
        command = [sys.executable, "-c", f"import {module}"]
        return lambda: subprocess.run(command, check=True) and None

    def numpy(self, lib):
        return self._importing("numpy")

    def torch(self, lib):
        return self._importing("torch")

    def jax(self, lib):
        return self._importing("jax")

    def numba(self, lib):
        return self._importing("numba")

    def fastnn(self, lib):
        return self._importing("fastnn.layers")  # fastnn alone loads nothing
