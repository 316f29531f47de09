"""Book 2 ch. 7 and 8: a training step of the sequence to sequence models."""

import numpy as np
from workload import Workload

PARAMS = "embed_e", "Wx_e", "Wh_e", "b_e", "embed_d", "Wx_d", "Wh_d", "b_d", "W", "c"


class Seq2seqStep(Workload):
    """a training step of book 2's Seq2seq, or AttentionSeq2seq: forward, softmax loss, back, norm cut to 5, SGD

    xs (N, T) is read, ts (N, S) is written. Compared: the loss, and the tables of both embeddings and the affine layer
    after the first step.
    """

    name = "seq2seq_step"
    dtypes = ("float32",)
    cases = (
        {"V": 13, "D": 16, "H": 128, "N": 128, "T": 7, "S": 5, "attention": 0},
        {"V": 59, "D": 16, "H": 256, "N": 128, "T": 29, "S": 11, "attention": 1},
    )
    stateful = trains = True
    without = ("torch-compile",)
    rate, max_norm = 0.1, 5.0

    def inputs(self, rng):
        V, D, H = self.V, self.D, self.H
        arrays = {"xs": rng.integers(0, V, (self.N, self.T)), "ts": rng.integers(0, V, (self.N, self.S))}
        for side in "ed":
            arrays |= {
                f"embed_{side}": self.normal(rng, V, D, scale=0.1),
                f"Wx_{side}": self.normal(rng, D, 4 * H, scale=D**-0.5),
                f"Wh_{side}": self.normal(rng, H, 4 * H, scale=H**-0.5),
                f"b_{side}": self.normal(rng, 4 * H, scale=0.1),
            }
        width = 2 * H if self.attention else H
        return arrays | {"W": self.normal(rng, width, V, scale=width**-0.5), "c": self.normal(rng, V, scale=0.1)}

    def reference(self, *inputs):
        return self.numpy(np)(*inputs)

    def numpy(self, np):
        """The books' way: step by step, attention by products."""

        def step(xs, ts, *params):
            p = dict(zip(PARAMS, params, strict=True))
            read, write, labels = xs, ts[:, :-1], ts[:, 1:]
            zeros = np.zeros((len(xs), self.H), p["W"].dtype)
            hs_e, kept_e = _lstm(p["embed_e"][read], p["Wx_e"], p["Wh_e"], p["b_e"], zeros)
            hs, kept_d = _lstm(p["embed_d"][write], p["Wx_d"], p["Wh_d"], p["b_d"], hs_e[:, -1])
            out = hs
            if self.attention:
                a = _softmax(hs @ hs_e.swapaxes(1, 2))
                out = np.concatenate([a @ hs_e, hs], axis=2)
            y = _softmax(out @ p["W"] + p["c"])
            (N, S, V), H = y.shape, self.H
            at = np.arange(N)[:, np.newaxis], np.arange(S), labels
            loss = -np.log(y[at]).mean()
            y[at] -= 1
            y /= N * S
            flat = y.reshape(-1, V)
            grads = {"W": out.reshape(len(flat), -1).T @ flat, "c": flat.sum(axis=0)}
            dout, dhs_e = y @ p["W"].T, np.zeros_like(hs_e)
            if self.attention:
                dc, dout = dout[:, :, :H], dout[:, :, H:]
                da = dc @ hs_e.swapaxes(1, 2)
                ds = a * (da - (a * da).sum(axis=2, keepdims=True))
                dhs_e += a.swapaxes(1, 2) @ dc + ds.swapaxes(1, 2) @ hs
                dout = dout + ds @ hs_e
            for side, ids, dhs, kept in ("d", write, dout, kept_d), ("e", read, dhs_e, kept_e):
                dx, dWx, dWh, db, dh = _lstm_back(dhs, p[f"Wx_{side}"], p[f"Wh_{side}"], kept)
                table = np.zeros_like(p[f"embed_{side}"])
                np.add.at(table, ids, dx)
                grads |= {f"embed_{side}": table, f"Wx_{side}": dWx, f"Wh_{side}": dWh, f"b_{side}": db}
                dhs_e[:, -1] += dh
            norm = np.sqrt(sum((g * g).sum() for g in grads.values()))
            scale = self.rate * min(1, self.max_norm / (norm + 1e-6))
            for name, value in p.items():
                value -= value.dtype.type(scale) * grads[name]
            return np.asarray(loss), p["embed_e"], p["embed_d"], p["W"], p["c"]

        return step

    def torch(self, torch):
        made = []

        def lstm(Wx, Wh, b):
            D, H = len(Wx), len(Wh)
            order = torch.cat([torch.arange(k * H, (k + 1) * H) for k in (2, 0, 1, 3)])  # i, f, g, o
            layer = torch.nn.LSTM(D, H, batch_first=True)
            layer.weight_ih_l0.copy_(Wx[:, order].T)
            layer.weight_hh_l0.copy_(Wh[:, order].T)
            layer.bias_ih_l0.copy_(b[order])
            layer.bias_hh_l0.zero_()
            layer.bias_hh_l0.requires_grad_(False)
            return layer

        def make(*params):
            p = dict(zip(PARAMS, params, strict=True))
            with torch.no_grad():
                tables = [torch.nn.Embedding.from_pretrained(p[f"embed_{s}"].clone(), freeze=False) for s in "ed"]
                lstms = [lstm(p[f"Wx_{s}"], p[f"Wh_{s}"], p[f"b_{s}"]) for s in "ed"]
                linear = torch.nn.Linear(*p["W"].shape)
                linear.weight.copy_(p["W"].T)
                linear.bias.copy_(p["c"])
            modules = torch.nn.ModuleList([*tables, *lstms, linear])
            trained = [w for w in modules.parameters() if w.requires_grad]
            made.extend([(*tables, *lstms, linear), trained, torch.optim.SGD(trained, lr=self.rate)])

        def step(xs, ts, *params):
            if not made:
                make(*params)
            (embed_e, embed_d, encoder, decoder, linear), trained, sgd = made
            hs_e, (h, _) = encoder(embed_e(xs))
            out, _ = decoder(embed_d(ts[:, :-1]), (h, torch.zeros_like(h)))
            if self.attention:
                out = torch.cat([torch.softmax(out @ hs_e.mT, 2) @ hs_e, out], 2)
            loss = torch.nn.functional.cross_entropy(linear(out).flatten(0, 1), ts[:, 1:].flatten())
            sgd.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(trained, self.max_norm)
            sgd.step()
            return loss, embed_e.weight, embed_d.weight, linear.weight.T, linear.bias

        return step

    def fastnn(self, fastnn):
        """As the book's trainer does it: forward, backward, update."""
        from fastnn import models, optimizer

        made = []

        def step(xs, ts, *params):
            if not made:
                model = models.AttentionSeq2seq if self.attention else models.Seq2seq
                made.extend([model(self.V, self.D, self.H), optimizer.SGD(self.rate, clip_norm=self.max_norm)])
                for p, given in zip(made[0].params, params, strict=True):
                    p[...] = given
            model, sgd = made
            loss = model.forward(xs, ts)
            model.backward()
            sgd.update(model.params, model.grads)
            embed_e, embed_d, (W, c) = model.params[0], model.params[4], model.params[8:]
            return np.asarray(loss), embed_e, embed_d, W, c

        return step


def _softmax(x):
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def _sigmoid(x):
    return 1 / (1 + np.exp(-x))


def _lstm(x, Wx, Wh, b, h):
    """x (N, T, D) -> (hs (N, T, H), what _lstm_back needs)"""
    H, cell, hs, steps = len(Wh), np.zeros_like(h), [], []
    for t in range(x.shape[1]):
        a = x[:, t] @ Wx + h @ Wh + b
        f, g, i, o = _sigmoid(a[:, :H]), np.tanh(a[:, H : 2 * H]), *np.split(_sigmoid(a[:, 2 * H :]), 2, axis=1)
        before = h, cell
        cell = f * cell + g * i
        h = o * np.tanh(cell)
        hs.append(h)
        steps.append((x[:, t], *before, f, g, i, o, cell))
    return np.stack(hs, axis=1), steps


def _lstm_back(dhs, Wx, Wh, steps):
    """-> (dx, dWx, dWh, db, dh of the state before)"""
    dWx, dWh, db, dx = np.zeros_like(Wx), np.zeros_like(Wh), np.zeros_like(Wh[0]), []
    dh = dcell = np.zeros_like(dhs[:, 0])
    for t in reversed(range(len(steps))):
        x, h_before, cell_before, f, g, i, o, cell = steps[t]
        dh = dh + dhs[:, t]
        u = np.tanh(cell)
        dcell = dcell + dh * o * (1 - u * u)
        gates = dcell * cell_before * f * (1 - f), dcell * i * (1 - g * g), dcell * g * i * (1 - i)
        da = np.hstack([*gates, dh * u * o * (1 - o)])
        dWx += x.T @ da
        dWh += h_before.T @ da
        db += da.sum(axis=0)
        dx.insert(0, da @ Wx.T)
        dh, dcell = da @ Wh.T, dcell * f
    return np.stack(dx, axis=1), dWx, dWh, db, dh
