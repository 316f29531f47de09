"""The fully connected layer, and the matrix product alone."""

from workload import Workload

BATCHES = 1, 8, 32, 100, 256, 1024
WEIGHTS = (784, 50), (50, 100), (100, 10), (784, 625), (512, 512), (1024, 1024)


class AffineForward(Workload):
    """x @ W + b"""

    name = "affine_forward"
    cases = tuple({"N": N, "D": D, "M": M} for D, M in WEIGHTS for N in BATCHES)
    without = ("torch-compile",)  # one library call either way, and a compilation for every row

    def inputs(self, rng):
        N, D, M = self.N, self.D, self.M
        return {"x": self.normal(rng, N, D), "W": self.normal(rng, D, M, scale=D**-0.5), "b": self.normal(rng, M)}

    def flops(self):
        return 2 * self.N * self.D * self.M

    def reference(self, x, W, b):
        return x @ W + b

    def torch(self, torch):
        return lambda x, W, b: torch.addmm(b, x, W)

    def jax(self, jax):
        return lambda x, W, b: x @ W + b

    def numba(self, numba):
        return lambda x, W, b: x @ W + b

    def onnx(self, onnx):
        return [onnx.helper.make_node("Gemm", ["x", "W", "b"], ["out"])], ["out"], ["W", "b"]

    def fastnn(self, fastnn):
        return fastnn.ops.affine_forward


class AffineBackward(Workload):
    """dx, dW, db of x @ W + b"""

    name = "affine_backward"
    cases = AffineForward.cases
    without = ("torch-compile",)

    def inputs(self, rng):
        N, D, M = self.N, self.D, self.M
        return {"dout": self.normal(rng, N, M), "x": self.normal(rng, N, D), "W": self.normal(rng, D, M)}

    def flops(self):
        return 4 * self.N * self.D * self.M + self.N * self.M

    def reference(self, dout, x, W):
        return dout @ W.T, x.T @ dout, dout.sum(axis=0)

    def torch(self, torch):
        return lambda dout, x, W: (dout @ W.T, x.T @ dout, dout.sum(0))

    def jax(self, jax):
        return lambda dout, x, W: (dout @ W.T, x.T @ dout, dout.sum(0))

    def numba(self, numba):
        return lambda dout, x, W: (dout @ W.T, x.T @ dout, dout.sum(0))

    def fastnn(self, fastnn):
        return fastnn.ops.affine_backward


class Matmul(Workload):
    """a @ b"""

    name = "matmul"
    cases = tuple({"M": n, "K": n, "N": n} for n in (128, 256, 512, 1024))
    without = ("torch-compile",)

    def inputs(self, rng):
        return {"a": self.normal(rng, self.M, self.K), "b": self.normal(rng, self.K, self.N)}

    def flops(self):
        return 2 * self.M * self.K * self.N

    def reference(self, a, b):
        return a @ b

    def torch(self, torch):
        return torch.mm

    def jax(self, jax):
        return lambda a, b: a @ b

    def numba(self, numba):
        return lambda a, b: a @ b

    def onnx(self, onnx):
        return [onnx.helper.make_node("MatMul", ["a", "b"], ["out"])], ["out"], ["b"]

    def fastnn(self, fastnn):
        return fastnn.ops.matmul
