"""Batch normalisation of (N, D)."""

import numpy as np
from workload import Workload

EPSILON = 1e-6


class BatchNorm(Workload):
    """forward in training mode, and backward"""

    name = "batch_norm"
    cases = tuple({"N": N, "D": D} for N, D in ((100, 100), (100, 1000), (1024, 512)))
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
