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
        x, t = idx("train-images"), idx("train-labels")
        self.test = idx("t10k-images"), idx("t10k-labels")
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

        model = models.TwoLayerNet(784, 50, 10)
        for name, p in self._copies(np.float32).items():
            model.params[name][...] = p
        net, sgd = fastnn.Network(list(model.layers.values()), model.last_layer), optimizer.SGD(LR)
        self.trained = lambda: model.params
        return self._loop(lambda x, t: net.step(x, t, sgd))

    def finish(self, function):
        """Share of the 10,000 test images that the trained parameters classify right, computed by NumPy."""
        x, t = self.test
        p = self.trained()
        scores = np.maximum(x.reshape(-1, 784) / 255 @ p["W1"] + p["b1"], 0) @ p["W2"] + p["b2"]
        return {"accuracy": float((scores.argmax(axis=1) == t).mean())}


def idx(name):
    """One idx file of MNIST from the folder FASTNN_DATA, or from mnist/ in it."""
    data = os.environ.get("FASTNN_DATA")
    if data is None:
        raise FileNotFoundError("FASTNN_DATA is not set to a folder with MNIST's four .gz files")
    kind = "idx3" if "images" in name else "idx1"
    folder = Path(data) / "mnist" if (Path(data) / "mnist").is_dir() else Path(data)
    content = gzip.decompress((folder / f"{name}-{kind}-ubyte.gz").read_bytes())
    sizes = np.frombuffer(content, ">i4", content[3], 4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * content[3]).reshape(sizes)


class RnnlmStep(Workload):
    """a training step of book 2's Rnnlm: embedding, LSTM, affine, softmax loss, back, norm cut to 0.25, SGD

    The state is carried from step to step. Compared: the loss and the parameters around the LSTM after the first step.
    """

    name = "rnnlm_step"
    dtypes = ("float32",)
    cases = (
        {"V": 10_000, "D": 100, "H": 100, "N": 20, "T": 35},
        {"V": 1_000, "D": 100, "H": 100, "N": 20, "T": 35},
    )
    stateful = trains = True
    without = ("torch-compile",)
    rate, max_norm = 20.0, 0.25

    def inputs(self, rng):
        V, D, H = self.V, self.D, self.H
        words = np.minimum(V ** rng.random((self.N, self.T + 1)), V - 1).astype(np.int64)
        return {
            "xs": words[:, :-1].copy(), "ts": words[:, 1:].copy(), "embed": self.normal(rng, V, D, scale=0.01),
            "Wx": self.normal(rng, D, 4 * H, scale=D**-0.5), "Wh": self.normal(rng, H, 4 * H, scale=H**-0.5),
            "b": self.normal(rng, 4 * H, scale=0.1), "W": self.normal(rng, H, V, scale=H**-0.5),
            "c": self.normal(rng, V, scale=0.1),
        }  # fmt: skip

    def reference(self, *inputs):
        return self.numpy(np)(*inputs)

    def numpy(self, np):
        def sigmoid(x):
            return 1 / (1 + np.exp(-x))

        state = []

        def step(xs, ts, embed, Wx, Wh, b, W, c):
            (N, T), H = xs.shape, len(Wh)
            h, cell = state or (np.zeros((N, H), W.dtype), np.zeros((N, H), W.dtype))
            x, hs, steps = embed[xs], np.empty((N, T, H), W.dtype), []
            for t in range(T):
                a = x[:, t] @ Wx + h @ Wh + b
                f, g, i, o = sigmoid(a[:, :H]), np.tanh(a[:, H : 2 * H]), *np.split(sigmoid(a[:, 2 * H :]), 2, axis=1)
                before = h, cell
                cell = f * cell + g * i
                h = hs[:, t] = o * np.tanh(cell)
                steps.append((*before, f, g, i, o, cell))
            state[:] = h, cell
            flat = hs.reshape(N * T, H)
            score = flat @ W + c
            score -= score.max(axis=1, keepdims=True)
            np.exp(score, out=score)
            score /= score.sum(axis=1, keepdims=True)
            rows, labels = np.arange(N * T), ts.reshape(-1)
            loss = -np.log(score[rows, labels]).mean()
            score[rows, labels] -= 1
            score /= N * T
            grads = {"W": flat.T @ score, "c": score.sum(axis=0), "Wx": np.zeros_like(Wx), "Wh": np.zeros_like(Wh)}
            dhs, dx = (score @ W.T).reshape(N, T, H), np.empty_like(x)
            grads["b"], dh, dcell = np.zeros_like(b), np.zeros_like(h), np.zeros_like(h)
            for t in reversed(range(T)):
                h_before, cell_before, f, g, i, o, cell = steps[t]
                dh = dh + dhs[:, t]
                u = np.tanh(cell)
                dcell = dcell + dh * o * (1 - u * u)
                gates = dcell * cell_before * f * (1 - f), dcell * i * (1 - g * g), dcell * g * i * (1 - i)
                da = np.hstack([*gates, dh * u * o * (1 - o)])
                grads["Wx"] += x[:, t].T @ da
                grads["Wh"] += h_before.T @ da
                grads["b"] += da.sum(axis=0)
                dx[:, t], dh, dcell = da @ Wx.T, da @ Wh.T, dcell * f
            grads["embed"] = np.zeros_like(embed)
            np.add.at(grads["embed"], xs, dx)
            norm = np.sqrt(sum((g * g).sum() for g in grads.values()))
            scale = self.rate * min(1, self.max_norm / (norm + 1e-6))
            for name, p in {"embed": embed, "Wx": Wx, "Wh": Wh, "b": b, "W": W, "c": c}.items():
                p -= p.dtype.type(scale) * grads[name]
            return np.asarray(loss), embed, W, c

        return step

    def torch(self, torch):
        made = []

        def make(embed, Wx, Wh, b, W, c):
            (V, D), H = embed.shape, len(Wh)
            order = torch.cat([torch.arange(k * H, (k + 1) * H) for k in (2, 0, 1, 3)])  # i, f, g, o
            model = torch.nn.ModuleList(
                [torch.nn.Embedding(V, D), torch.nn.LSTM(D, H, batch_first=True), torch.nn.Linear(H, V)]
            )
            table, lstm, linear = model
            with torch.no_grad():
                table.weight.copy_(embed)
                lstm.weight_ih_l0.copy_(Wx[:, order].T)
                lstm.weight_hh_l0.copy_(Wh[:, order].T)
                lstm.bias_ih_l0.copy_(b[order])
                lstm.bias_hh_l0.zero_()
                lstm.bias_hh_l0.requires_grad_(False)
                linear.weight.copy_(W.T)
                linear.bias.copy_(c)
            params = [p for p in model.parameters() if p.requires_grad]
            made.extend([model, params, torch.optim.SGD(params, lr=self.rate), None])

        def step(xs, ts, *params):
            if not made:
                make(*params)
            (table, lstm, linear), params, sgd, state = made
            out, (h, cell) = lstm(table(xs), state)
            made[3] = h.detach(), cell.detach()
            loss = torch.nn.functional.cross_entropy(linear(out).flatten(0, 1), ts.flatten())
            sgd.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(params, self.max_norm)
            sgd.step()
            return loss, table.weight, linear.weight.T, linear.bias

        return step

    def fastnn(self, fastnn):
        from fastnn import models, optimizer, time_layers

        made = []

        def step(xs, ts, *params):
            if not made:
                layers = models.Rnnlm(self.V, self.D, self.H).layers
                made.append(fastnn.Network(layers, time_layers.TimeSoftmaxWithLoss()))
                made.append(optimizer.SGD(self.rate, clip_norm=self.max_norm))
                for p, given in zip(made[0].params, params, strict=True):
                    p[...] = given
            net, sgd = made
            loss = net.step(xs, ts, sgd)
            return np.asarray(loss), net.params[0], net.params[4], net.params[5]

        return step
