"""Convolution of images, and the patch matrix. Images are (N, C, H, W)."""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from workload import Workload

# batch, channels, height and width, filters, size of a filter, padding
SHAPES = (
    (100, 1, 28, 30, 5, 0),
    (1, 1, 28, 30, 5, 0),
    (100, 16, 28, 16, 3, 1),
    (1, 16, 28, 16, 3, 1),
    (100, 32, 14, 64, 3, 1),
    (8, 64, 56, 64, 3, 1),
)


def patches(x, k, pad):
    """The books' route: rows (n, y, z), columns (c, i, j)."""
    x = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    windows = sliding_window_view(x, (k, k), axis=(2, 3)).transpose(0, 2, 3, 1, 4, 5)
    return windows.reshape(-1, x.shape[1] * k * k)


def add_patches(col, shape, k, pad):
    N, C, H, W = shape
    OH, OW = H + 2 * pad - k + 1, W + 2 * pad - k + 1
    col = col.reshape(N, OH, OW, C, k, k).transpose(0, 3, 4, 5, 1, 2)
    x = np.zeros((N, C, H + 2 * pad, W + 2 * pad), col.dtype)
    for i in range(k):
        for j in range(k):
            x[:, :, i : i + OH, j : j + OW] += col[:, :, i, j]
    return x[:, :, pad : pad + H, pad : pad + W]


class _Convolution(Workload):
    cases = tuple(dict(zip(("N", "C", "H", "F", "k", "pad"), shape, strict=True)) for shape in SHAPES)
    # Winograd's method errs by up to 1e-4 of the largest output in float32
    tolerance = {"float32": 1e-4, "float64": 1e-10}  # noqa: RUF012
    without = ("torch-compile",)  # one library call either way

    @property
    def size(self):
        return self.H + 2 * self.pad - self.k + 1

    def forward_flops(self):
        return 2 * self.N * self.F * self.C * self.k**2 * self.size**2


class ConvForward(_Convolution):
    """x * W + b"""

    name = "conv_forward"

    def inputs(self, rng):
        W = self.normal(rng, self.F, self.C, self.k, self.k, scale=(self.C * self.k**2) ** -0.5)
        return {"x": self.normal(rng, self.N, self.C, self.H, self.H), "W": W, "b": self.normal(rng, self.F)}

    def flops(self):
        return self.forward_flops()

    def reference(self, x, W, b):
        out = patches(x, self.k, self.pad) @ W.reshape(self.F, -1).T + b
        return out.reshape(self.N, self.size, self.size, self.F).transpose(0, 3, 1, 2)

    def torch(self, torch):
        return lambda x, W, b: torch.nn.functional.conv2d(x, W, b, 1, self.pad)

    def jax(self, jax):
        pad = [(self.pad, self.pad)] * 2
        return lambda x, W, b: jax.lax.conv(x, W, (1, 1), pad) + b[:, None, None]

    def numba(self, numba):
        patch = _numba_patches(numba, self.k, self.pad)
        F, N, size = self.F, self.N, self.size

        def forward(x, W, b):
            out = np.dot(patch(x), np.ascontiguousarray(W.reshape(F, -1).T)) + b
            return np.ascontiguousarray(out.reshape(N, size, size, F).transpose(0, 3, 1, 2))

        return forward

    def onnx(self, onnx):
        node = onnx.helper.make_node("Conv", ["x", "W", "b"], ["out"], pads=[self.pad] * 4)
        return [node], ["out"], ["W", "b"]

    def fastnn(self, fastnn):
        forward, settings = fastnn.ops.conv2d_forward, ((1, 1), (self.pad, self.pad))
        return lambda x, W, b: forward(x, W, b, *settings)


class ConvTrain(_Convolution):
    """x * W + b, dx, dW and db"""

    name = "conv_train"
    stateful = trains = True

    def inputs(self, rng):
        dout = self.normal(rng, self.N, self.F, self.size, self.size)
        return ConvForward.inputs(self, rng) | {"dout": dout}

    def flops(self):
        return 3 * self.forward_flops()

    def reference(self, x, W, b, dout):
        col, col_W = patches(x, self.k, self.pad), W.reshape(self.F, -1).T
        out = (col @ col_W + b).reshape(self.N, self.size, self.size, self.F).transpose(0, 3, 1, 2)
        d = dout.transpose(0, 2, 3, 1).reshape(-1, self.F)
        dW = (col.T @ d).T.reshape(W.shape)
        return out, add_patches(d @ col_W.T, x.shape, self.k, self.pad), dW, d.sum(axis=0)

    def torch(self, torch):
        def step(x, W, b, dout):
            x, W, b = (a.detach().requires_grad_() for a in (x, W, b))
            out = torch.nn.functional.conv2d(x, W, b, 1, self.pad)
            return out, *torch.autograd.grad(out, (x, W, b), dout)

        return step

    def jax(self, jax):
        forward = ConvForward.jax(self, jax)

        def step(x, W, b, dout):
            out, pullback = jax.vjp(forward, x, W, b)
            return out, *pullback(dout)

        return self.compile(step)

    def fastnn(self, fastnn):
        forward, backward = fastnn.ops.conv2d_forward, fastnn.ops.conv2d_backward
        settings = (1, 1), (self.pad, self.pad)

        def step(x, W, b, dout):
            return forward(x, W, b, *settings), *backward(dout, x, W, *settings)

        return step


def _numba_patches(numba, k, pad):
    @numba.njit(error_model="numpy")
    def patch(x):
        N, C, H, W = x.shape
        OH, OW = H + 2 * pad - k + 1, W + 2 * pad - k + 1
        col = np.zeros((N * OH * OW, C * k * k), x.dtype)
        for n in range(N):
            for y in range(OH):
                for z in range(OW):
                    row = col[(n * OH + y) * OW + z]
                    for c in range(C):
                        for i in range(max(pad - y, 0), min(k, H + pad - y)):
                            for j in range(max(pad - z, 0), min(k, W + pad - z)):
                                row[(c * k + i) * k + j] = x[n, c, y + i - pad, z + j - pad]
        return col

    return patch


class Im2col(Workload):
    """the patch matrix of (100, 16, 28, 28) and (100, 1, 28, 28)"""

    name = "im2col"
    cases = tuple(
        dict(zip(("N", "C", "H", "k", "pad"), shape, strict=True))
        for shape in ((100, 16, 28, 3, 1), (100, 1, 28, 5, 0))
    )
    without = ("torch-compile",)

    def inputs(self, rng):
        return {"x": self.normal(rng, self.N, self.C, self.H, self.H)}

    def reference(self, x):
        return patches(x, self.k, self.pad)

    def torch(self, torch):
        unfold = torch.nn.functional.unfold
        return lambda x: unfold(x, self.k, padding=self.pad).transpose(1, 2).reshape(-1, self.C * self.k**2)

    def numba(self, numba):
        return _numba_patches(numba, self.k, self.pad)

    def fastnn(self, fastnn):
        im2col, settings = fastnn.ops.im2col, ((self.k, self.k), (1, 1), (self.pad, self.pad))
        return lambda x: im2col(x, *settings)
