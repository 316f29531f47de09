"""One optimizer step over all parameters of a network."""

import numpy as np
from workload import Workload

SHAPES = {
    "784-50-10": [(784, 50), (50,), (50, 10), (10,)],
    "784-100x4-10": [(784, 100), (100,), *[(100, 100), (100,)] * 3, (100, 10), (10,)],
    "50 x 10000": [(10_000,)] * 50,
    "1e7": [(10_000_000,)],
}
LR, MOMENTUM, BETA1, BETA2, EPSILON = 1e-3, 0.9, 0.9, 0.999, 1e-7


class Update(Workload):
    """What the optimizers share: lists of parameters, gradients and zero state, changed in place."""

    cases = tuple({"parameters": name} for name in SHAPES)
    dtypes = ("float32",)
    stateful = True
    states = 0

    def inputs(self, rng):
        shapes = SHAPES[self.parameters]
        lists = {"params": [self.normal(rng, *s) for s in shapes], "grads": [self.normal(rng, *s) for s in shapes]}
        return lists | {f"state{i}": [np.zeros(s, self.dtype) for s in shapes] for i in range(self.states)}

    def reference(self, params, grads, *states):
        return self.numpy(np)(params, grads, *states)

    def numpy(self, np):
        def step(params, grads, *states):
            for arrays in zip(params, grads, *states, strict=True):
                self.update(np, *arrays)
            return params

        return step

    def update(self, np, p, g, *state):
        """The rule for one parameter, in place, by NumPy."""
        raise NotImplementedError

    def torch(self, torch):
        made = []

        def step(params, grads, *states):
            if not made:
                for p, g in zip(params, grads, strict=True):
                    p.grad = g
                made.append(self.optimizer(torch, params))
            made[0].step()
            return params

        return step

    def jax(self, jax):
        jitted = jax.jit(lambda params, *rest: self.functional(jax, params, *rest), donate_argnums=(0, 2))
        current = []

        def step(params, grads, *states):
            if not current:
                current.extend([[jax.numpy.copy(p) for p in params], states])
            current[0], current[1] = jitted(current[0], grads, current[1])
            return current[0]

        return step


class Sgd(Update):
    """p -= lr g"""

    name = "sgd"

    def update(self, np, p, g):
        p -= LR * g

    def optimizer(self, torch, params):
        return torch.optim.SGD(params, LR, fused=True)

    def functional(self, jax, params, grads, states):
        return [p - LR * g for p, g in zip(params, grads, strict=True)], states

    def numba(self, numba):
        @self.compile
        def one(p, g):
            p, g = p.reshape(-1), g.reshape(-1)
            lr = p.dtype.type(LR)
            for i in range(p.size):
                p[i] -= lr * g[i]

        return _each(one)

    def fastnn(self, fastnn):
        update = fastnn.ops.sgd_update
        return lambda params, grads: update(params, grads, LR)


class Momentum(Update):
    """v = momentum v - lr g; p += v"""

    name = "momentum"
    states = 1

    def update(self, np, p, g, v):
        v *= MOMENTUM
        v -= LR * g
        p += v

    def optimizer(self, torch, params):
        return torch.optim.SGD(params, LR, MOMENTUM, fused=True)  # the same steps, with v = -lr times its own

    def functional(self, jax, params, grads, states):
        v = [MOMENTUM * v - LR * g for v, g in zip(states[0], grads, strict=True)]
        return [p + d for p, d in zip(params, v, strict=True)], (v,)

    def numba(self, numba):
        @self.compile
        def one(p, g, v):
            p, g, v = p.reshape(-1), g.reshape(-1), v.reshape(-1)
            lr, momentum = p.dtype.type(LR), p.dtype.type(MOMENTUM)
            for i in range(p.size):
                v[i] = momentum * v[i] - lr * g[i]
                p[i] += v[i]

        return _each(one)

    def fastnn(self, fastnn):
        update = fastnn.ops.momentum_update
        return lambda params, grads, v: update(params, grads, v, LR, MOMENTUM)


class Adam(Update):
    """the books' Adam"""

    name = "adam"
    tolerance = {"float32": 1e-3, "float64": 1e-10}  # noqa: RUF012
    states = 2

    def __init__(self, dtype, **sizes):
        super().__init__(dtype, **sizes)
        self.step = 0

    def _rate(self):
        self.step += 1
        return LR * (1 - BETA2**self.step) ** 0.5 / (1 - BETA1**self.step)

    def numpy(self, np):
        def step(params, grads, ms, vs):
            rate = self._rate()
            for p, g, m, v in zip(params, grads, ms, vs, strict=True):
                m += (1 - BETA1) * (g - m)
                v += (1 - BETA2) * (g * g - v)
                p -= rate * m / (np.sqrt(v) + EPSILON)
            return params

        return step

    def reference(self, *lists):
        result = super().reference(*lists)
        self.step = 0
        return result

    def optimizer(self, torch, params):
        epsilon = EPSILON / (1 - BETA2) ** 0.5  # elsewhere in PyTorch's rule: the same first step, which is compared
        return torch.optim.Adam(params, LR, (BETA1, BETA2), epsilon, fused=True)

    def functional(self, jax, params, grads, states):
        m, v, step = states
        step = step + 1
        rate = LR * jax.numpy.sqrt(1 - BETA2**step) / (1 - BETA1**step)
        m = [m + (1 - BETA1) * (g - m) for m, g in zip(m, grads, strict=True)]
        v = [v + (1 - BETA2) * (g * g - v) for v, g in zip(v, grads, strict=True)]
        updated = zip(params, m, v, strict=True)
        return [p - rate * m / (jax.numpy.sqrt(v) + EPSILON) for p, m, v in updated], (m, v, step)

    def jax(self, jax):
        step = super().jax(jax)
        return lambda params, grads, m, v: step(params, grads, m, v, jax.numpy.zeros((), self.dtype))

    def numba(self, numba):
        @self.compile
        def one(p, g, m, v, rate):
            p, g, m, v = p.reshape(-1), g.reshape(-1), m.reshape(-1), v.reshape(-1)
            real = p.dtype.type
            a, b, c, epsilon = real(rate), real(1 - BETA1), real(1 - BETA2), real(EPSILON)
            for i in range(p.size):
                m[i] += b * (g[i] - m[i])
                v[i] += c * (g[i] * g[i] - v[i])
                p[i] -= a * m[i] / (np.sqrt(v[i]) + epsilon)

        def step(params, grads, ms, vs):
            rate = self._rate()
            for arrays in zip(params, grads, ms, vs, strict=True):
                one(*arrays, rate)
            return params

        return step

    def fastnn(self, fastnn):
        update = fastnn.ops.adam_update

        def step(params, grads, m, v):
            self.step += 1
            return update(params, grads, m, v, LR, BETA1, BETA2, EPSILON, self.step)

        return step


def _each(one):
    def step(params, *lists):
        for arrays in zip(params, *lists, strict=True):
            one(*arrays)
        return params

    return step
