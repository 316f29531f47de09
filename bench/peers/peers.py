"""One adapter for each peer: how it is imported, pinned to a number of threads, given arrays and called.

An adapter is made in a process of its own. `language` names the method of a workload that it runs.
"""

import functools
import importlib
import os
from pathlib import Path

import numpy as np

CHECKOUT = Path(__file__).resolve().parents[2]


class Peer:
    """NumPy-like: arrays are NumPy's, nothing is compiled."""

    name = language = module = "numpy"
    distributions: tuple[str, ...] = ("numpy",)  # what it brings with it, for sizes

    def __init__(self, threads):
        self.threads = threads
        self.lib = importlib.import_module(self.module)

    @property
    def version(self):
        return self.lib.__version__

    def array(self, a):
        """A NumPy array as this peer's."""
        return a

    def compile(self, f):
        """The function as this peer runs it at its best."""
        return f

    def prepare(self, workload, inputs):
        """-> a function without arguments that does the work once and returns its result; None if there is no way."""
        workload.compile = self.compile
        f = getattr(workload, self.language)(self.lib)
        if f is None:
            return None
        if not workload.stateful:
            f = self.compile(f)
        return functools.partial(f, *(_each(self.array, value) for value in inputs.values()))


def _each(f, value):
    return [f(a) for a in value] if isinstance(value, list) else f(value)


class NumPy(Peer):
    pass


class Books(Peer):
    """NumPy the way the books' scripts run: parameters in float64."""

    name = language = "books"


class Torch(Peer):
    name = language = module = "torch"
    distributions = ("torch",)

    def __init__(self, threads):
        super().__init__(threads)
        self.lib.set_num_threads(threads)

    def array(self, a):
        return self.lib.from_numpy(np.ascontiguousarray(a))

    def prepare(self, workload, inputs):
        self.lib.set_grad_enabled(workload.trains)
        return super().prepare(workload, inputs)


class TorchCompile(Torch):
    name = "torch-compile"

    def compile(self, f):
        return self.lib.compile(f, dynamic=False)


class TorchChannelsLast(Torch):
    """Images in the layout (N, H, W, C), which PyTorch's convolutions and pooling prefer; nothing without images."""

    name = "torch-channels-last"

    def array(self, a):
        format = self.lib.channels_last if a.ndim == 4 else self.lib.preserve_format
        return super().array(a).to(memory_format=format)

    def prepare(self, workload, inputs):
        images = any(getattr(a, "ndim", 0) == 4 for a in inputs.values())
        return super().prepare(workload, inputs) if images else None


class Jax(Peer):
    name = language = module = "jax"
    distributions = ("jax", "jaxlib")

    def __init__(self, threads):
        several = "true" if threads > 1 else "false"
        flags = f"--xla_cpu_multi_thread_eigen={several} intra_op_parallelism_threads={threads}"
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {flags}"
        super().__init__(threads)
        self.lib.config.update("jax_enable_x64", True)

    def array(self, a):
        return self.lib.numpy.asarray(a)

    def compile(self, f):
        return self.lib.jit(f)

    def prepare(self, workload, inputs):
        call = super().prepare(workload, inputs)
        ready = self.lib.block_until_ready
        return call and (lambda: ready(call()))


class Numba(Peer):
    name = language = module = "numba"
    distributions = ("numba", "llvmlite")

    def __init__(self, threads):
        super().__init__(threads)
        self.lib.set_num_threads(threads)

    def compile(self, f):
        return self.lib.njit(error_model="numpy")(f)  # division without a check, as everywhere else


class OnnxRuntime(Peer):
    name = module = "onnxruntime"
    language = "onnx"
    distributions = ("onnxruntime",)

    def prepare(self, workload, inputs):
        import onnx

        nodes, outputs, constants = workload.onnx(onnx)
        element = onnx.helper.np_dtype_to_tensor_dtype

        first = next(iter(inputs))

        def describe(name):
            shape = inputs[name].shape
            if workload.part and name == first:
                shape = workload.part, *shape[1:]
            return onnx.helper.make_tensor_value_info(name, element(inputs[name].dtype), shape)

        graph = onnx.helper.make_graph(
            nodes,
            workload.name,
            [describe(name) for name in inputs if name not in constants],
            [onnx.helper.make_tensor_value_info(name, element(workload.dtype), None) for name in outputs],
            [onnx.numpy_helper.from_array(inputs[name], name) for name in constants],
        )
        model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=10)
        options = self.lib.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = self.threads, 1
        options.log_severity_level = 3
        session = self.lib.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        if workload.part:
            loop = workload.loop(lambda part: session.run(None, {first: part})[0], lambda y: y.argmax(axis=1))
            return functools.partial(loop, inputs[first])
        return functools.partial(session.run, None, {name: inputs[name] for name in inputs if name not in constants})


class ScikitLearn(Peer):
    name = "scikit-learn"
    language = module = "sklearn"
    distributions = "scikit-learn", "scipy"


class Fastnn(Peer):
    name = language = module = "fastnn"
    distributions = ("fastnn-kernels",)

    def __init__(self, threads):
        super().__init__(threads)
        if Path(self.lib.__file__).parent == CHECKOUT / "fastnn":
            raise ImportError("this is the checkout's source folder, not an installed fastnn")
        self.lib.set_num_threads(threads)


class Before(Fastnn):
    """fastnn as it was, in another environment."""

    name = "before"
    distributions = "fastnn-kernels", "fastnn"  # the name it had earlier


PEERS = {
    peer.name: peer
    for peer in (
        NumPy, Books, Numba, Torch, TorchChannelsLast, TorchCompile, Jax, OnnxRuntime, ScikitLearn, Before, Fastnn,
    )
}  # fmt: skip
