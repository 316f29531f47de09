"""The main job: 784-50-10 trained on MNIST by 10,000 steps of SGD, batch 100 (book 1 ch. 5)."""

import gzip
import os
from pathlib import Path

import numpy as np
from workload import Workload

LR, BATCH = 0.1, 100


class Training(Workload):
    """an iteration of 10,000, drawing the batch included; below, the accuracy on the test images after all of them"""

    name = "training"
    dtypes = ("float32",)
    cases = tuple({"seed": seed} for seed in range(3))
    stateful = trains = True
    without = ("torch-compile",)
    calls = 2  # and five rounds, which makes 10,000
    steps = loops = 1000

    def inputs(self, rng):
        rng = np.random.default_rng(self.seed)
        x, t = _idx("train-images"), _idx("train-labels")
        self.test = _idx("t10k-images"), _idx("t10k-labels")
        self.parameters = {
            "W1": 0.01 * rng.standard_normal((784, 50)), "b1": np.zeros(50),
            "W2": 0.01 * rng.standard_normal((50, 10)), "b2": np.zeros(10),
        }  # fmt: skip
        return {"x": (x.reshape(-1, 784) / 255).astype(self.dtype), "t": t.astype(np.int64)}

    def reference(self, x, t):
        return None

    def _batches(self):
        """The same draws for every peer."""
        rng = np.random.default_rng(self.seed)
        while True:
            yield rng.integers(0, 60_000, BATCH)

    def _loop(self, step, convert=lambda i: i):
        """The function to time; its first call, which only warms up, trains nothing."""
        batches, started = self._batches(), []

        def run(x, t):
            if not started:
                started.append(True)
                return
            for _ in range(self.steps):
                i = convert(next(batches))
                step(x[i], t[i])

        return run

    def _copies(self, dtype):
        return {name: p.astype(dtype) for name, p in self.parameters.items()}

    def numpy(self, np):
        return self._by_numpy(self._copies(np.float32))

    def books(self, np):
        return self._by_numpy(self._copies(np.float64))

    def _by_numpy(self, params):
        self.trained = lambda: params

        def step(x, t):
            W1, b1, W2, b2 = params.values()
            a = x @ W1 + b1
            mask = a <= 0
            h = a.copy()
            h[mask] = 0
            y = h @ W2 + b2
            y = np.exp(y - y.max(axis=1, keepdims=True))
            y /= y.sum(axis=1, keepdims=True)
            loss = -np.log(y[np.arange(len(t)), t] + 1e-7).sum() / len(t)
            dout = y.copy()
            dout[np.arange(len(t)), t] -= 1
            dout /= len(t)
            dh = dout @ W2.T
            dh[mask] = 0
            grads = {"W1": x.T @ dh, "b1": dh.sum(axis=0), "W2": h.T @ dout, "b2": dout.sum(axis=0)}
            for name in params:
                params[name] -= LR * grads[name]
            return loss

        return self._loop(step)

    def torch(self, torch):
        net = torch.nn.Sequential(torch.nn.Linear(784, 50), torch.nn.ReLU(), torch.nn.Linear(50, 10))
        initial = self._copies(np.float32)
        for layer, i in ((net[0], 1), (net[2], 2)):
            layer.weight.data = torch.from_numpy(initial[f"W{i}"].T.copy())
            layer.bias.data = torch.from_numpy(initial[f"b{i}"])
        optimizer, loss_of = torch.optim.SGD(net.parameters(), LR), torch.nn.CrossEntropyLoss()
        self.trained = lambda: {
            name: p.detach().numpy().T for name, p in zip(self.parameters, net.parameters(), strict=True)
        }

        def step(x, t):
            optimizer.zero_grad()
            loss = loss_of(net(x), t)
            loss.backward()
            optimizer.step()
            return loss

        return self._loop(step, torch.from_numpy)

    def jax(self, jax):
        def loss_of(params, x, t):
            logp = jax.nn.log_softmax(jax.nn.relu(x @ params["W1"] + params["b1"]) @ params["W2"] + params["b2"])
            return -jax.numpy.take_along_axis(logp, t[:, None], 1).mean()

        def update(params, x, t, i):
            loss, grads = jax.value_and_grad(loss_of)(params, x[i], t[i])
            return jax.tree.map(lambda p, g: p - LR * g, params, grads), loss

        jitted, batches, current = jax.jit(update, donate_argnums=0), self._batches(), []
        self.trained = lambda: {name: np.asarray(p) for name, p in current[0].items()}

        def run(x, t):
            if not current:
                warm = {name: jax.numpy.asarray(p) for name, p in self._copies(np.float32).items()}
                current.append(jax.tree.map(jax.numpy.copy, warm))
                jitted(warm, x, t, next(self._batches()))
                return None
            for _ in range(self.steps):
                current[0], loss = jitted(current[0], x, t, next(batches))
            return loss

        return run

    def fastnn(self, fastnn):
        from fastnn import models, optimizer

        net = models.TwoLayerNet(784, 50, 10)
        for name, p in self._copies(np.float32).items():
            net.params[name][...] = p
        sgd = optimizer.SGD(LR)
        self.trained = lambda: net.params
        return self._loop(lambda x, t: sgd.update(net.params, net.gradient(x, t)))

    def finish(self, function):
        """Share of the 10,000 test images that the trained parameters classify right, computed by NumPy."""
        x, t = self.test
        p = self.trained()
        scores = np.maximum(x.reshape(-1, 784) / 255 @ p["W1"] + p["b1"], 0) @ p["W2"] + p["b2"]
        return {"accuracy": float((scores.argmax(axis=1) == t).mean())}


def _idx(name):
    """One idx file of MNIST from the folder FASTNN_DATA, or from mnist/ in it."""
    data = os.environ.get("FASTNN_DATA")
    if data is None:
        raise FileNotFoundError("FASTNN_DATA is not set to a folder with MNIST's four .gz files")
    kind = "idx3" if "images" in name else "idx1"
    folder = Path(data) / "mnist" if (Path(data) / "mnist").is_dir() else Path(data)
    content = gzip.decompress((folder / f"{name}-{kind}-ubyte.gz").read_bytes())
    sizes = np.frombuffer(content, ">i4", content[3], 4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * content[3]).reshape(sizes)
