"""Whole networks of the books: one training step, and inference."""

import itertools

import numpy as np
from workload import Workload

NETWORKS = {"784-50-10": (784, 50, 10), "784-100x4-10": (784, 100, 100, 100, 100, 10)}
LR, BETA1, BETA2, EPSILON = 0.01, 0.9, 0.999, 1e-7


class TrainingStep(Workload):
    """gradient and update of a ReLU network with softmax loss, batch 100; what is compared are the parameters"""

    name = "training_step"
    cases = (
        {"network": "784-50-10", "optimizer": "SGD"},
        {"network": "784-100x4-10", "optimizer": "SGD"},
        {"network": "784-100x4-10", "optimizer": "Adam"},
    )
    tolerance = {"float32": 1e-3, "float64": 1e-8}  # noqa: RUF012
    stateful = trains = True
    N = 100

    def inputs(self, rng):
        sizes = NETWORKS[self.network]
        x = np.clip(self.normal(rng, self.N, sizes[0]), 0, 1)
        inputs = {"x": x, "t": rng.integers(0, sizes[-1], self.N)}
        for i, (D, M) in enumerate(itertools.pairwise(sizes), 1):
            inputs |= {f"W{i}": self.normal(rng, D, M, scale=(2 / D) ** 0.5), f"b{i}": np.zeros(M, self.dtype)}
        return inputs

    def flops(self):
        sizes = NETWORKS[self.network]
        return 2 * self.N * (3 * sum(D * M for D, M in itertools.pairwise(sizes)) - sizes[0] * sizes[1])

    def reference(self, x, t, *params):
        return self.numpy(np)(x, t, *params)

    def numpy(self, np):
        update = {"SGD": _sgd, "Adam": _Adam().update}[self.optimizer]

        def step(x, t, *params):
            Ws, bs = params[::2], params[1::2]
            hidden = [x]
            for W, b in zip(Ws[:-1], bs[:-1], strict=True):
                hidden.append(np.maximum(hidden[-1] @ W + b, 0))
            dout = hidden[-1] @ Ws[-1] + bs[-1]
            dout = np.exp(dout - dout.max(axis=1, keepdims=True))
            dout /= dout.sum(axis=1, keepdims=True)
            dout[np.arange(len(t)), t] -= 1
            dout /= len(t)
            grads = []
            for i in reversed(range(len(Ws))):
                grads[:0] = hidden[i].T @ dout, dout.sum(axis=0)
                if i:
                    dout = (dout @ Ws[i].T) * (hidden[i] > 0)
            update(params, grads)
            return params

        return step

    def torch(self, torch):
        made = []

        def make(params):
            layers = []
            for W, b in zip(params[::2], params[1::2], strict=True):
                linear = torch.nn.Linear(*W.shape)
                linear.weight.data, linear.bias.data = W.T.contiguous(), b
                layers += [linear, torch.nn.ReLU()]
            net = torch.nn.Sequential(*layers[:-1])
            loss_of = torch.nn.CrossEntropyLoss()
            epsilon = (
                EPSILON / (1 - BETA2) ** 0.5
            )  # elsewhere in PyTorch's rule: the same first step, which is compared
            options = {"SGD": {}, "Adam": {"betas": (BETA1, BETA2), "eps": epsilon}}[self.optimizer]
            optimizer = getattr(torch.optim, self.optimizer)(net.parameters(), LR, **options)
            return net, self.compile(lambda x, t: loss_of(net(x), t)), optimizer

        def step(x, t, *params):
            if not made:
                made.extend(make(params))
            net, loss_of, optimizer = made
            optimizer.zero_grad()
            loss_of(x, t).backward()
            optimizer.step()
            return [p.T if p.ndim == 2 else p for p in net.parameters()]

        return step

    def jax(self, jax):
        jnp = jax.numpy

        def loss_of(params, x, t):
            for W, b in zip(params[:-2:2], params[1:-2:2], strict=True):
                x = jax.nn.relu(x @ W + b)
            logp = jax.nn.log_softmax(x @ params[-2] + params[-1])
            return -jnp.take_along_axis(logp, t[:, None], 1).mean()

        def update(params, grads, state):
            if self.optimizer == "SGD":
                return [p - LR * g for p, g in zip(params, grads, strict=True)], state
            m, v, step = state
            step = step + 1
            m = [m + (1 - BETA1) * (g - m) for m, g in zip(m, grads, strict=True)]
            v = [v + (1 - BETA2) * (g * g - v) for v, g in zip(v, grads, strict=True)]
            rate = LR * jnp.sqrt(1 - BETA2**step) / (1 - BETA1**step)
            return [p - rate * m / (jnp.sqrt(v) + EPSILON) for p, m, v in zip(params, m, v, strict=True)], (m, v, step)

        def whole(params, state, x, t):
            return update(params, jax.grad(loss_of)(params, x, t), state)

        jitted = jax.jit(whole, donate_argnums=(0, 1))
        current = []

        def step(x, t, *params):
            if not current:
                zeros = [[jnp.zeros_like(p) for p in params] for _ in range(2)]
                current.extend([[jnp.copy(p) for p in params], (*zeros, jnp.zeros((), self.dtype))])
            current[:] = jitted(*current, x, t)
            return current[0]

        return step

    def fastnn(self, fastnn):
        from fastnn import models, optimizer

        sizes = NETWORKS[self.network]
        net = models.MultiLayerNet(sizes[0], sizes[1:-1], sizes[-1], dtype=self.dtype)
        update = getattr(optimizer, self.optimizer)(lr=LR).update
        loaded = []

        def step(x, t, *params):
            if not loaded:
                for name, p in zip(_names(sizes), params, strict=True):
                    net.params[name][...] = p
                loaded.append(True)
            update(net.params, net.gradient(x, t))
            return [net.params[name] for name in _names(sizes)]

        return step


def _names(sizes):
    return [f"{letter}{i}" for i in range(1, len(sizes)) for letter in "Wb"]


def _sgd(params, grads):
    for p, g in zip(params, grads, strict=True):
        p -= LR * g


class _Adam:
    """The books' rule in NumPy."""

    def __init__(self):
        self.step, self.m, self.v = 0, None, None

    def update(self, params, grads):
        if self.m is None:
            self.m, self.v = ([np.zeros_like(p) for p in params] for _ in range(2))
        self.step += 1
        rate = LR * (1 - BETA2**self.step) ** 0.5 / (1 - BETA1**self.step)
        for p, g, m, v in zip(params, grads, self.m, self.v, strict=True):
            m += (1 - BETA1) * (g - m)
            v += (1 - BETA2) * (g * g - v)
            p -= rate * m / (np.sqrt(v) + EPSILON)


class Inference(Workload):
    """probabilities of a 784-50-100-10 sigmoid network (book 1 ch. 3)"""

    name = "inference"
    cases = tuple({"N": N} for N in (1, 10, 100, 1000))
    sizes_of_layers = 784, 50, 100, 10

    def inputs(self, rng):
        inputs = {"x": np.clip(self.normal(rng, self.N, 784), 0, 1)}
        for i, (D, M) in enumerate(itertools.pairwise(self.sizes_of_layers), 1):
            inputs |= {f"W{i}": self.normal(rng, D, M, scale=D**-0.5), f"b{i}": self.normal(rng, M)}
        return inputs

    def flops(self):
        return 2 * self.N * sum(D * M for D, M in itertools.pairwise(self.sizes_of_layers))

    def reference(self, x, W1, b1, W2, b2, W3, b3):
        h = 1 / (1 + np.exp(-(x @ W1 + b1)))
        h = 1 / (1 + np.exp(-(h @ W2 + b2)))
        h = h @ W3 + b3
        h = np.exp(h - h.max(axis=1, keepdims=True))
        return h / h.sum(axis=1, keepdims=True)

    def torch(self, torch):
        addmm, sigmoid, softmax = torch.addmm, torch.sigmoid, torch.softmax

        def predict(x, W1, b1, W2, b2, W3, b3):
            return softmax(addmm(b3, sigmoid(addmm(b2, sigmoid(addmm(b1, x, W1)), W2)), W3), 1)

        return predict

    def jax(self, jax):
        sigmoid, softmax = jax.nn.sigmoid, jax.nn.softmax
        return lambda x, W1, b1, W2, b2, W3, b3: softmax(sigmoid(sigmoid(x @ W1 + b1) @ W2 + b2) @ W3 + b3)

    def numba(self, numba):
        @self.compile
        def dense(x, W, b, last):
            h = x @ W
            for i in range(h.shape[0]):
                for j in range(h.shape[1]):
                    v = h[i, j] + b[j]
                    h[i, j] = v if last else 1 / (1 + np.exp(-v))
            return h

        def predict(x, W1, b1, W2, b2, W3, b3):
            h = dense(dense(dense(x, W1, b1, False), W2, b2, False), W3, b3, True)
            for i in range(h.shape[0]):
                h[i] = np.exp(h[i] - h[i].max())
                h[i] /= h[i].sum()
            return h

        return predict

    def onnx(self, onnx):
        make = onnx.helper.make_node
        nodes, h = [], "x"
        for i in (1, 2, 3):
            nodes.append(make("Gemm", [h, f"W{i}", f"b{i}"], [f"a{i}"]))
            if i < 3:
                nodes.append(make("Sigmoid", [f"a{i}"], [f"z{i}"]))
                h = f"z{i}"
        nodes.append(make("Softmax", ["a3"], ["out"], axis=1))
        return nodes, ["out"], [f"{letter}{i}" for letter in "Wb" for i in (1, 2, 3)]

    def fastnn(self, fastnn):
        affine, softmax = fastnn.ops.affine_forward, fastnn.ops.softmax_forward

        def predict(x, W1, b1, W2, b2, W3, b3):
            return softmax(affine(affine(affine(x, W1, b1, "sigmoid"), W2, b2, "sigmoid"), W3, b3))

        return predict
