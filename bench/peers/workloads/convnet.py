"""The convolutional networks of book 1: one training step of each, batch 100."""

import math

import numpy as np
from workload import Workload

LR, BETA1, BETA2, EPSILON = 0.001, 0.9, 0.999, 1e-7

# Layers: ("conv", filters, size, padding), ("pool",) 2x2, ("affine", outputs); ReLU follows all but the last and pool.
NETWORKS = {
    "SimpleConvNet": (("conv", 30, 5, 0), ("pool",), ("affine", 100), ("affine", 10)),
    "DeepConvNet": (
        ("conv", 16, 3, 1), ("conv", 16, 3, 1), ("pool",),
        ("conv", 32, 3, 1), ("conv", 32, 3, 2), ("pool",),
        ("conv", 64, 3, 1), ("conv", 64, 3, 1), ("pool",),
        ("affine", 50), ("affine", 10),
    ),
}  # fmt: skip


class ConvNetStep(Workload):
    """gradient and Adam update, batch 100, by patch matrices in numpy and books; compared: parameters after one step"""

    # Dropout is left out: every peer draws other masks. It is a small part of DeepConvNet and no part of SimpleConvNet.

    name = "convnet_step"
    cases = tuple({"network": name} for name in NETWORKS)
    tolerance = {"float32": 2e-3, "float64": 1e-6}  # noqa: RUF012
    stateful = trains = True
    N = 100

    def _shapes(self):
        """(layer, shape of its input, shape of its W or None) for one image."""
        shape = (1, 28, 28)
        for kind, *numbers in NETWORKS[self.network]:
            if kind == "conv":
                FN, F, pad = numbers
                yield kind, shape, (FN, shape[0], F, F), pad
                shape = FN, *(n + 2 * pad - F + 1 for n in shape[1:])
            elif kind == "pool":
                yield kind, shape, None, 0
                shape = shape[0], *(n // 2 for n in shape[1:])
            else:
                yield kind, shape, (math.prod(shape), *numbers), 0
                shape = tuple(numbers)

    def inputs(self, rng):
        inputs = {"x": self.normal(rng, self.N, 1, 28, 28).clip(0, 1), "t": rng.integers(0, 10, self.N)}
        for i, W in enumerate([W for _, _, W, _ in self._shapes() if W], 1):
            fan_in, outputs = (W[0], W[1]) if len(W) == 2 else (math.prod(W[1:]), W[0])
            inputs |= {
                f"W{i}": self.normal(rng, *W, scale=(2 / fan_in) ** 0.5),
                f"b{i}": self.normal(rng, outputs, scale=0.01),
            }
        return inputs

    def flops(self):
        total = 0
        for k, (kind, shape, W, pad) in enumerate(self._shapes()):
            if W:
                places = math.prod(n + 2 * pad - W[2] + 1 for n in shape[1:]) if kind == "conv" else 1
                total += 2 * math.prod(W) * places * (2 if k == 0 else 3)
        return self.N * total

    def reference(self, x, t, *params):
        return self._by_numpy()(x, t, *params)

    def numpy(self, np):
        return self._by_numpy()

    def books(self, np):
        step, wide = self._by_numpy(), []

        def in_float64(x, t, *params):
            wide.extend(p.astype(np.float64) for p in params[len(wide) :])
            return step(x, t, *wide)

        return in_float64

    def _by_numpy(self):
        layers, adam = list(self._shapes()), _Adam()

        def step(x, t, *params):
            pairs, saved, h = iter(zip(params[::2], params[1::2], strict=True)), [], x
            for k, (kind, _, _, pad) in enumerate(layers):
                if kind == "pool":
                    h, cache = _pool(h)
                else:
                    W, b = next(pairs)
                    cache = W, h.shape, (_im2col(h, W.shape[2], 1, pad) if kind == "conv" else h.reshape(len(h), -1))
                    a = cache[2] @ W.reshape(len(W), -1).T + b if kind == "conv" else cache[2] @ W + b
                    if kind == "conv":
                        a = a.reshape(len(h), *_places(h, W, pad), -1).transpose(0, 3, 1, 2)
                    mask = a <= 0 if k < len(layers) - 1 else None
                    h = a if mask is None else np.where(mask, 0, a)
                    cache = *cache, mask
                saved.append(cache)
            dout = np.exp(h - h.max(axis=1, keepdims=True))
            dout /= dout.sum(axis=1, keepdims=True)
            dout[np.arange(len(t)), t] -= 1
            dout /= len(t)
            grads = []
            for (kind, shape, _, pad), cache in zip(reversed(layers), reversed(saved), strict=True):
                dout = dout.reshape(len(x), *dout.shape[1:])
                if kind == "pool":
                    dout = _pool_backward(dout, (len(x), *shape), *cache)
                    continue
                W, x_shape, col, mask = cache
                if mask is not None:
                    dout = np.where(mask, 0, dout.reshape(mask.shape))
                if kind == "conv":
                    flat = dout.transpose(0, 2, 3, 1).reshape(-1, len(W))
                    grads[:0] = (col.T @ flat).T.reshape(W.shape), flat.sum(axis=0)
                    dout = _col2im(flat @ W.reshape(len(W), -1), x_shape, W.shape[2], 1, pad)
                else:
                    grads[:0] = col.T @ dout, dout.sum(axis=0)
                    dout = (dout @ W.T).reshape(x_shape)
            adam.update(params, grads)
            return params

        return step

    def torch(self, torch):
        F, layers, made = torch.nn.functional, list(self._shapes()), []

        def loss_of(x, t, *params):
            pairs = iter(zip(params[::2], params[1::2], strict=True))
            for k, (kind, _, _, pad) in enumerate(layers):
                if kind == "pool":
                    x = F.max_pool2d(x, 2)
                    continue
                W, b = next(pairs)
                x = F.conv2d(x, W, b, padding=pad) if kind == "conv" else torch.addmm(b, x.flatten(1), W)
                x = x if k == len(layers) - 1 else F.relu(x)
            return F.cross_entropy(x, t)

        def step(x, t, *params):
            if not made:
                epsilon = EPSILON / (1 - BETA2) ** 0.5  # elsewhere in PyTorch's rule: the same first step
                leaves = [p.requires_grad_() for p in params]
                adam = torch.optim.Adam(leaves, LR, betas=(BETA1, BETA2), eps=epsilon)
                made.extend((leaves, adam, self.compile(loss_of)))
            leaves, adam, compiled = made
            adam.zero_grad()
            compiled(x, t, *leaves).backward()
            adam.step()
            return leaves

        return step

    def jax(self, jax):
        jnp, lax, layers = jax.numpy, jax.lax, list(self._shapes())

        def loss_of(params, x, t):
            pairs = iter(zip(params[::2], params[1::2], strict=True))
            for k, (kind, _, _, pad) in enumerate(layers):
                if kind == "pool":
                    x = lax.reduce_window(x, -jnp.inf, lax.max, (1, 1, 2, 2), (1, 1, 2, 2), "VALID")
                    continue
                W, b = next(pairs)
                if kind == "conv":
                    x = lax.conv_general_dilated(x, W, (1, 1), [(pad, pad)] * 2) + b[:, None, None]
                else:
                    x = x.reshape(len(x), -1) @ W + b
                x = x if k == len(layers) - 1 else jax.nn.relu(x)
            return -jnp.take_along_axis(jax.nn.log_softmax(x), t[:, None], 1).mean()

        def whole(params, m, v, step, x, t):
            grads = jax.grad(loss_of)(params, x, t)
            step = step + 1
            m = [m + (1 - BETA1) * (g - m) for m, g in zip(m, grads, strict=True)]
            v = [v + (1 - BETA2) * (g * g - v) for v, g in zip(v, grads, strict=True)]
            rate = LR * jnp.sqrt(1 - BETA2**step) / (1 - BETA1**step)
            return [p - rate * m / (jnp.sqrt(v) + EPSILON) for p, m, v in zip(params, m, v, strict=True)], m, v, step

        jitted, current = jax.jit(whole, donate_argnums=(0, 1, 2)), []

        def step(x, t, *params):
            if not current:
                zeros = [[jnp.zeros_like(p) for p in params] for _ in range(2)]
                current.extend([[jnp.copy(p) for p in params], *zeros, jnp.zeros((), self.dtype)])
            current[:] = jitted(*current, x, t)
            return current[0]

        return step

    def fastnn(self, fastnn):
        from fastnn import layers, models, optimizer

        model = getattr(models, self.network)(dtype=self.dtype)
        stack = model.layers if isinstance(model.layers, list) else list(model.layers.values())
        stack = [layer for layer in stack if not isinstance(layer, layers.Dropout)]
        net, rule, loaded = fastnn.Network(stack, layers.SoftmaxWithLoss()), optimizer.Adam(lr=LR), []

        def step(x, t, *params):
            if not loaded:
                for p, value in zip(net.params, params, strict=True):
                    p[...] = value
                loaded.append(True)
            net.step(x, t, rule)
            return list(net.params)

        return step


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


# ---- the books' way in NumPy: patch matrices -----------------------------------------------------------------------


def _places(x, W, pad):
    return tuple(n + 2 * pad - W.shape[2] + 1 for n in x.shape[2:])


def _im2col(x, F, stride, pad):
    """(N, C, H, W) -> (N * OH * OW, C * F * F), a slice for each place of the filter."""
    x = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    N, C, H, W = x.shape
    OH, OW = (H - F) // stride + 1, (W - F) // stride + 1
    col = np.empty((N, C, F, F, OH, OW), x.dtype)
    for i in range(F):
        for j in range(F):
            col[:, :, i, j] = x[:, :, i : i + stride * OH : stride, j : j + stride * OW : stride]
    return col.transpose(0, 4, 5, 1, 2, 3).reshape(N * OH * OW, -1)


def _col2im(col, shape, F, stride, pad):
    N, C, H, W = shape
    OH, OW = (H + 2 * pad - F) // stride + 1, (W + 2 * pad - F) // stride + 1
    col = col.reshape(N, OH, OW, C, F, F).transpose(0, 3, 4, 5, 1, 2)
    x = np.zeros((N, C, H + 2 * pad, W + 2 * pad), col.dtype)
    for i in range(F):
        for j in range(F):
            x[:, :, i : i + stride * OH : stride, j : j + stride * OW : stride] += col[:, :, i, j]
    return x[:, :, pad : pad + H, pad : pad + W]


def _pool(x):
    """Maxima of 2x2 windows -> (out, (places,))."""
    N, C, H, W = x.shape
    col = _im2col(x, 2, 2, 0).reshape(-1, 4)
    places = col.argmax(axis=1)
    return col.max(axis=1).reshape(N, H // 2, W // 2, C).transpose(0, 3, 1, 2), (places,)


def _pool_backward(dout, shape, places):
    dout = dout.reshape(shape[0], shape[1], shape[2] // 2, shape[3] // 2).transpose(0, 2, 3, 1)
    dcol = np.zeros((dout.size, 4), dout.dtype)
    dcol[np.arange(dout.size), places] = dout.ravel()
    return _col2im(dcol.reshape(dout.size // shape[1], -1), shape, 2, 2, 0)
