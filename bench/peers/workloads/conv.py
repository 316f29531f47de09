"""Convolution of images: forward, and forward with the three gradients; the patch matrix."""

import numpy as np
from workload import Workload

CASES = (
    {"N": 100, "C": 1, "H": 28, "F": 30, "kernel": 5, "padding": 0},
    {"N": 1, "C": 1, "H": 28, "F": 30, "kernel": 5, "padding": 0},
    {"N": 100, "C": 16, "H": 28, "F": 16, "kernel": 3, "padding": 1},
    {"N": 1, "C": 16, "H": 28, "F": 16, "kernel": 3, "padding": 1},
    {"N": 100, "C": 32, "H": 14, "F": 64, "kernel": 3, "padding": 1},
    {"N": 8, "C": 64, "H": 56, "F": 64, "kernel": 3, "padding": 1},
    # the other layers of the books' DeepConvNet
    {"N": 100, "C": 1, "H": 28, "F": 16, "kernel": 3, "padding": 1},
    {"N": 100, "C": 16, "H": 14, "F": 32, "kernel": 3, "padding": 1},
    {"N": 100, "C": 32, "H": 14, "F": 32, "kernel": 3, "padding": 2},
    {"N": 100, "C": 32, "H": 8, "F": 64, "kernel": 3, "padding": 1},
    {"N": 100, "C": 64, "H": 8, "F": 64, "kernel": 3, "padding": 1},
)


class Conv(Workload):
    """conv2d with its bias, forward and backward: out, dx, dW, db"""

    name = "conv"
    cases = CASES
    stateful = trains = True

    def inputs(self, rng):
        k = self.kernel
        return self.images(rng) | {"dout": self.normal(rng, self.N, self.F, self.size, self.size, scale=1 / k)}

    def images(self, rng):
        k = self.kernel
        W = self.normal(rng, self.F, self.C, k, k, scale=(self.C * k * k) ** -0.5)
        return {"x": self.normal(rng, self.N, self.C, self.H, self.H), "W": W, "b": self.normal(rng, self.F)}

    @property
    def size(self):
        return self.H + 2 * self.padding - self.kernel + 1

    def flops(self):
        return 3 * self.forward_flops()

    def forward_flops(self):
        return 2 * self.N * self.F * self.C * (self.size * self.kernel) ** 2

    def patches(self, x):
        """The books' way: (N * OH * OW, C * kernel^2)."""
        p, k, n = self.padding, self.kernel, self.size
        padded = np.pad(x, ((0, 0), (0, 0), (p, p), (p, p)))
        col = np.empty((self.N, self.C, k, k, n, n), x.dtype)
        for i in range(k):
            for j in range(k):
                col[:, :, i, j] = padded[:, :, i : i + n, j : j + n]
        return col.transpose(0, 4, 5, 1, 2, 3).reshape(self.N * n * n, -1)

    def forward(self, col, W, b):
        out = col @ W.reshape(self.F, -1).T + b
        return out.reshape(self.N, self.size, self.size, self.F).transpose(0, 3, 1, 2)

    def reference(self, x, W, b, dout):
        col = self.patches(x)
        rows = dout.transpose(0, 2, 3, 1).reshape(-1, self.F)
        dcol = rows @ W.reshape(self.F, -1)
        p, k, n, H = self.padding, self.kernel, self.size, self.H
        each = dcol.reshape(self.N, n, n, self.C, k, k).transpose(0, 3, 4, 5, 1, 2)
        dx = np.zeros((self.N, self.C, H + 2 * p, H + 2 * p), x.dtype)
        for i in range(k):
            for j in range(k):
                dx[:, :, i : i + n, j : j + n] += each[:, :, i, j]
        dW = (rows.T @ col).reshape(W.shape)
        return self.forward(col, W, b), dx[:, :, p : p + H, p : p + H], dW, rows.sum(axis=0)

    def torch(self, torch):
        conv2d = self.compile(torch.nn.functional.conv2d)

        def step(x, W, b, dout):
            leaves = [a.detach().requires_grad_() for a in (x, W, b)]
            out = conv2d(*leaves, padding=self.padding)
            return out, *torch.autograd.grad(out, leaves, dout)

        return step

    def jax_forward(self, jax):
        padding, kinds = [(self.padding,) * 2] * 2, ("NCHW", "OIHW", "NCHW")
        convolve = jax.lax.conv_general_dilated
        return lambda x, W, b: convolve(x, W, (1, 1), padding, dimension_numbers=kinds) + b[:, None, None]

    def jax(self, jax):
        forward = self.jax_forward(jax)

        def step(x, W, b, dout):
            out, pullback = jax.vjp(forward, x, W, b)
            return out, *pullback(dout)

        return self.compile(step)

    def fastnn(self, fastnn):
        forward, backward = fastnn.ops.conv2d_forward, fastnn.ops.conv2d_backward
        stride, padding = (1, 1), (self.padding, self.padding)

        def step(x, W, b, dout):
            return forward(x, W, b, stride, padding), *backward(dout, x, W, stride, padding)

        return step


class ConvForward(Conv):
    """conv2d with its bias"""

    name = "conv_forward"
    stateful = trains = False

    def inputs(self, rng):
        return self.images(rng)

    def flops(self):
        return self.forward_flops()

    def reference(self, x, W, b):
        return self.forward(self.patches(x), W, b)

    def torch(self, torch):
        return lambda x, W, b: torch.nn.functional.conv2d(x, W, b, padding=self.padding)

    def jax(self, jax):
        return self.jax_forward(jax)

    def onnx(self, onnx):
        node = onnx.helper.make_node("Conv", ["x", "W", "b"], ["out"], pads=[self.padding] * 4)
        return [node], ["out"], ["W", "b"]

    def fastnn(self, fastnn):
        forward, stride, padding = fastnn.ops.conv2d_forward, (1, 1), (self.padding, self.padding)
        return lambda x, W, b: forward(x, W, b, stride, padding)


class Im2col(Workload):
    """the books' patch matrix, (N * OH * OW, C * kernel^2)"""

    name = "im2col"
    cases = (
        {"N": 100, "C": 16, "H": 28, "kernel": 3, "padding": 1},
        {"N": 100, "C": 1, "H": 28, "kernel": 5, "padding": 0},
    )

    def inputs(self, rng):
        return {"x": self.normal(rng, self.N, self.C, self.H, self.H)}

    @property
    def size(self):
        return self.H + 2 * self.padding - self.kernel + 1

    reference = Conv.patches

    def torch(self, torch):
        unfold = torch.nn.functional.unfold
        return lambda x: unfold(x, self.kernel, padding=self.padding).transpose(1, 2).flatten(0, 1)

    def numba(self, numba):
        size, k, p = self.size, self.kernel, self.padding

        def im2col(x):
            N, C, H, W = x.shape
            col = np.zeros((N * size * size, C * k * k), x.dtype)
            for n in range(N):
                for y in range(size):
                    for z in range(size):
                        row = col[(n * size + y) * size + z]
                        for c in range(C):
                            for i in range(max(p - y, 0), min(k, H + p - y)):
                                for j in range(max(p - z, 0), min(k, W + p - z)):
                                    row[(c * k + i) * k + j] = x[n, c, y + i - p, z + j - p]
            return col

        return im2col

    def fastnn(self, fastnn):
        im2col, kernel, padding = fastnn.ops.im2col, (self.kernel,) * 2, (self.padding,) * 2
        return lambda x: im2col(x, kernel, (1, 1), padding)
