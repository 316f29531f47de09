"""Maximum and mean over windows of images, forward and backward."""

import numpy as np
from workload import Workload

CASES = (
    {"N": 100, "C": 30, "H": 24, "W": 24, "kernel": 2, "stride": 2, "padding": 0},
    {"N": 10, "C": 64, "H": 56, "W": 56, "kernel": 3, "stride": 2, "padding": 1},
    {"N": 100, "C": 32, "H": 14, "W": 14, "kernel": 3, "stride": 1, "padding": 1},
    {"N": 100, "C": 64, "H": 7, "W": 7, "kernel": 7, "stride": 7, "padding": 0},
    {"N": 1, "C": 30, "H": 24, "W": 24, "kernel": 2, "stride": 2, "padding": 0},
)


class _Pool(Workload):
    cases = CASES
    stateful = trains = True

    def size(self, n):
        return (n + 2 * self.padding - self.kernel) // self.stride + 1

    def inputs(self, rng):
        x = self.normal(rng, self.N, self.C, self.H, self.W)
        return {"x": x, "dout": self.normal(rng, self.N, self.C, self.size(self.H), self.size(self.W))}

    def patches(self, x, value):
        """The books' way: every window copied to a row (N * C * OH * OW, kernel^2)."""
        p, k, s = self.padding, self.kernel, self.stride
        padded = np.pad(x, ((0, 0), (0, 0), (p, p), (p, p)), constant_values=value)
        OH, OW = self.size(self.H), self.size(self.W)
        col = np.empty((self.N, self.C, k, k, OH, OW), x.dtype)
        for i in range(k):
            for j in range(k):
                col[:, :, i, j] = padded[:, :, i : i + s * OH : s, j : j + s * OW : s]
        return col.transpose(0, 1, 4, 5, 2, 3).reshape(-1, k * k)

    def images(self, rows):
        """The inverse of patches, overlaps added."""
        p, k, s = self.padding, self.kernel, self.stride
        OH, OW = self.size(self.H), self.size(self.W)
        col = rows.reshape(self.N, self.C, OH, OW, k, k).transpose(0, 1, 4, 5, 2, 3)
        padded = np.zeros((self.N, self.C, self.H + 2 * p + s - 1, self.W + 2 * p + s - 1), rows.dtype)
        for i in range(k):
            for j in range(k):
                padded[:, :, i : i + s * OH : s, j : j + s * OW : s] += col[:, :, i, j]
        return padded[:, :, p : p + self.H, p : p + self.W]

    def windows(self):
        """kernel, stride and padding as pairs."""
        return (self.kernel,) * 2, (self.stride,) * 2, (self.padding,) * 2

    def torch(self, torch):
        f = self.compile(self.torch_forward(torch.nn.functional))

        def step(x, dout):
            x = x.detach().requires_grad_()
            out = f(x)
            return out, *torch.autograd.grad(out, x, dout)

        return step

    def jax(self, jax):
        forward = self.jax_forward(jax)

        def step(x, dout):
            out, pullback = jax.vjp(forward, x)
            return out, *pullback(dout)

        return self.compile(step)

    def jax_window(self):
        p = self.padding
        return (1, 1, self.kernel, self.kernel), (1, 1, self.stride, self.stride), ((0, 0), (0, 0), (p, p), (p, p))


class MaxPool(_Pool):
    """max_pool2d forward and backward"""

    name = "max_pool"

    def reference(self, x, dout):
        col = self.patches(x, -np.inf)
        arg = col.argmax(axis=1)
        out = col.max(axis=1).reshape(dout.shape)
        rows = np.zeros_like(col)
        rows[np.arange(arg.size), arg] = dout.reshape(-1)
        return out, self.images(rows)

    def torch_forward(self, functional):
        return lambda x: functional.max_pool2d(x, self.kernel, self.stride, self.padding)

    def jax_forward(self, jax):
        window = self.jax_window()
        return lambda x: jax.lax.reduce_window(x, -jax.numpy.inf, jax.lax.max, *window)

    def numba(self, numba):
        k, s, p = self.kernel, self.stride, self.padding
        lowest = self.dtype.type(-np.inf)

        def step(x, dout):
            N, C, H, W = x.shape
            out, dx = np.empty_like(dout), np.zeros_like(x)
            for n in range(N):
                for c in range(C):
                    for oy in range(out.shape[2]):
                        for ox in range(out.shape[3]):
                            best, row, column = lowest, 0, 0
                            for i in range(max(oy * s - p, 0), min(oy * s - p + k, H)):
                                for j in range(max(ox * s - p, 0), min(ox * s - p + k, W)):
                                    if x[n, c, i, j] > best:
                                        best, row, column = x[n, c, i, j], i, j
                            out[n, c, oy, ox] = best
                            dx[n, c, row, column] += dout[n, c, oy, ox]
            return out, dx

        return self.compile(step)

    def fastnn(self, fastnn):
        forward, backward = fastnn.ops.max_pool2d_forward, fastnn.ops.max_pool2d_backward
        windows = self.windows()

        def step(x, dout):
            out, arg = forward(x, *windows)
            return out, backward(dout, arg, x.shape, *windows)

        return step


class AvgPool(_Pool):
    """avg_pool2d forward and backward"""

    name = "avg_pool"

    def reference(self, x, dout):
        out = self.patches(x, 0).mean(axis=1).reshape(dout.shape)
        each = (dout / self.kernel**2).reshape(-1, 1)
        return out, self.images(np.broadcast_to(each, (dout.size, self.kernel**2)))

    def torch_forward(self, functional):
        return lambda x: functional.avg_pool2d(x, self.kernel, self.stride, self.padding)

    def jax_forward(self, jax):
        window = self.jax_window()
        return lambda x: jax.lax.reduce_window(x, 0.0, jax.lax.add, *window) * (1 / self.kernel**2)

    def fastnn(self, fastnn):
        forward, backward = fastnn.ops.avg_pool2d_forward, fastnn.ops.avg_pool2d_backward
        windows = self.windows()

        def step(x, dout):
            return forward(x, *windows), backward(dout, x.shape, *windows, False, True)

        return step


class MaxPoolForward(_Pool):
    """max_pool2d, and where the largest were"""

    name = "max_pool_forward"
    stateful = trains = False

    def inputs(self, rng):
        return {"x": self.normal(rng, self.N, self.C, self.H, self.W)}

    def reference(self, x):
        return (self.patches(x, -np.inf).max(axis=1).reshape(self.N, self.C, self.size(self.H), self.size(self.W)),)

    def torch(self, torch):
        f = torch.nn.functional.max_pool2d
        return lambda x: (f(x, self.kernel, self.stride, self.padding),)

    def jax(self, jax):
        window = self.jax_window()
        return lambda x: (jax.lax.reduce_window(x, -jax.numpy.inf, jax.lax.max, *window),)

    def onnx(self, onnx):
        node = onnx.helper.make_node(
            "MaxPool",
            ["x"],
            ["out"],
            kernel_shape=[self.kernel] * 2,
            strides=[self.stride] * 2,
            pads=[self.padding] * 4,
        )
        return [node], ["out"], []

    def fastnn(self, fastnn):
        forward, windows = fastnn.ops.max_pool2d_forward, self.windows()
        return lambda x: forward(x, *windows)[:1]
