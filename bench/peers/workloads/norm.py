"""Batch, layer and group normalisation, forward and backward."""

import numpy as np
from workload import Workload

EPSILON = 1e-6


class _Norm(Workload):
    """One normalisation; `f(library's functional)` is what PyTorch has, `axes` those of the statistics."""

    stateful = trains = True
    epsilon = EPSILON
    groups = 0

    def shape(self):
        raise NotImplementedError

    def inputs(self, rng):
        shape = self.shape()
        C = shape[self.gamma_axis]
        x = self.normal(rng, *shape, scale=2.0)
        return {
            "x": x + self.normal(rng, C).reshape(self.gamma_shape()),
            "gamma": self.normal(rng, C),
            "beta": self.normal(rng, C),
            "dout": self.normal(rng, *shape),
        }

    def gamma_shape(self):
        """In which gamma broadcasts to x."""
        shape = self.shape()
        return [n if axis == self.gamma_axis else 1 for axis, n in enumerate(shape)]

    def grouped(self, a):
        """x with the axes of the statistics, `axes`, of its own."""
        return a

    def forward(self, sqrt, x, gamma, beta):
        y = self.grouped(x)
        yc = y - y.mean(self.axes, keepdims=True)
        xn = (yc / sqrt((yc * yc).mean(self.axes, keepdims=True) + self.epsilon)).reshape(x.shape)
        return gamma.reshape(self.gamma_shape()) * xn + beta.reshape(self.gamma_shape())

    def reference(self, x, gamma, beta, dout):
        y, g = self.grouped(x), self.grouped(dout * gamma.reshape(self.gamma_shape()))
        yc = y - y.mean(self.axes, keepdims=True)
        inverse = 1 / np.sqrt((yc * yc).mean(self.axes, keepdims=True) + self.epsilon)
        xn = yc * inverse
        dx = inverse * (g - g.mean(self.axes, keepdims=True) - xn * (g * xn).mean(self.axes, keepdims=True))
        xn, dx = xn.reshape(x.shape), dx.reshape(x.shape)
        over = tuple(axis for axis in range(x.ndim) if axis != self.gamma_axis)
        out = gamma.reshape(self.gamma_shape()) * xn + beta.reshape(self.gamma_shape())
        return out, dx, (dout * xn).sum(over), dout.sum(over)

    def torch(self, torch):
        f = self.compile(self.torch_forward(torch.nn.functional))

        def step(x, gamma, beta, dout):
            x, gamma, beta = (a.detach().requires_grad_() for a in (x, gamma, beta))
            out = f(x, gamma, beta)
            return out, *torch.autograd.grad(out, (x, gamma, beta), dout)

        return step

    def jax(self, jax):
        def step(x, gamma, beta, dout):
            out, pullback = jax.vjp(lambda *args: self.forward(jax.numpy.sqrt, *args), x, gamma, beta)
            return out, *pullback(dout)

        return self.compile(step)


class BatchNormChannels(_Norm):
    """of images, statistics by channel"""

    name = "batch_norm_2d"
    cases = tuple(
        {"N": N, "C": C, "H": H, "W": H} for N, C, H in ((100, 30, 24), (100, 64, 7), (8, 64, 56), (8, 3, 112))
    )
    gamma_axis, axes = 1, (0, 2, 3)

    def shape(self):
        return self.N, self.C, self.H, self.W

    def torch_forward(self, functional):
        return lambda x, gamma, beta: functional.batch_norm(x, None, None, gamma, beta, True, 0.1, EPSILON)

    def fastnn(self, fastnn):
        forward, backward = fastnn.ops.batch_norm_forward, fastnn.ops.batch_norm_backward

        def step(x, gamma, beta, dout):
            out, mean, var = forward(x, gamma, beta, EPSILON)
            return out, *backward(dout, x, gamma, mean, var, EPSILON)

        return step


class LayerNorm(_Norm):
    """of rows"""

    name = "layer_norm"
    cases = tuple({"N": N, "D": D} for N, D in ((100, 100), (700, 768), (2048, 1024)))
    gamma_axis, axes = 1, (1,)

    def shape(self):
        return self.N, self.D

    def torch_forward(self, functional):
        return lambda x, gamma, beta: functional.layer_norm(x, (self.D,), gamma, beta, EPSILON)

    def fastnn(self, fastnn):
        forward, backward = fastnn.ops.layer_norm_forward, fastnn.ops.layer_norm_backward

        def step(x, gamma, beta, dout):
            out, mean, rstd = forward(x, gamma, beta, EPSILON)
            return out, *backward(dout, x, gamma, mean, rstd)

        return step


class GroupNorm(_Norm):
    """of images, statistics by image and group of channels"""

    name = "group_norm"
    cases = tuple(
        {"N": N, "C": C, "H": H, "W": H, "groups": groups} for N, C, H, groups in ((100, 30, 24, 5), (8, 64, 56, 32))
    )
    gamma_axis, axes = 1, (2, 3)

    def shape(self):
        return self.N, self.C, self.H, self.W

    def grouped(self, a):
        return a.reshape(self.N, self.groups, self.C // self.groups, -1)

    def torch_forward(self, functional):
        return lambda x, gamma, beta: functional.group_norm(x, self.groups, gamma, beta, EPSILON)

    def fastnn(self, fastnn):
        forward, backward = fastnn.ops.group_norm_forward, fastnn.ops.group_norm_backward

        def step(x, gamma, beta, dout):
            out, mean, rstd = forward(x, gamma, beta, self.groups, EPSILON)
            return out, *backward(dout, x, gamma, self.groups, mean, rstd)

        return step


class BatchNorm(Workload):
    """forward in training mode, and backward"""

    name = "batch_norm"
    cases = tuple({"N": N, "D": D} for N, D in ((100, 100), (100, 1000), (1024, 512), (100, 17280), (57600, 30)))
    stateful = trains = True

    def inputs(self, rng):
        N, D = self.N, self.D
        return {
            "x": self.normal(rng, N, D, scale=2.0) + self.normal(rng, D),
            "gamma": self.normal(rng, D),
            "beta": self.normal(rng, D),
            "dout": self.normal(rng, N, D),
        }

    def reference(self, x, gamma, beta, dout):
        xc = x - x.mean(axis=0)
        std = np.sqrt((xc * xc).mean(axis=0) + EPSILON)
        xn = xc / std
        dgamma, dbeta = (dout * xn).sum(axis=0), dout.sum(axis=0)
        dx = (gamma / std) * (dout - dbeta / len(x) - xn * dgamma / len(x))
        return gamma * xn + beta, dx, dgamma, dbeta

    def torch(self, torch):
        functional = torch.nn.functional
        f = self.compile(lambda x, gamma, beta: functional.batch_norm(x, None, None, gamma, beta, True, 0.1, EPSILON))

        def step(x, gamma, beta, dout):
            x, gamma, beta = (a.detach().requires_grad_() for a in (x, gamma, beta))
            out = f(x, gamma, beta)
            return out, *torch.autograd.grad(out, (x, gamma, beta), dout)

        return step

    def jax(self, jax):
        def forward(x, gamma, beta):
            xc = x - x.mean(0)
            return gamma * xc / jax.numpy.sqrt((xc * xc).mean(0) + EPSILON) + beta

        def step(x, gamma, beta, dout):
            out, pullback = jax.vjp(forward, x, gamma, beta)
            return out, *pullback(dout)

        return self.compile(step)

    def fastnn(self, fastnn):
        forward, backward = fastnn.ops.batch_norm_forward, fastnn.ops.batch_norm_backward

        def step(x, gamma, beta, dout):
            out, mean, var = forward(x, gamma, beta, EPSILON)
            return out, *backward(dout, x, gamma, mean, var, EPSILON)

        return step
