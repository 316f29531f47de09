"""Scaled dot-product attention of many heads, and the attention of book 2, chapter 8."""

import numpy as np
from workload import Workload


def _softmax(x):
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


class AttentionForward(Workload):
    """softmax(q @ k.T / sqrt(D)) @ v; q, k, v (N, heads, T, D)"""

    name = "attention_forward"
    cases = (
        *({"N": 8, "heads": 4, "T": 256, "D": 32, "causal": causal} for causal in (0, 1)),
        *({"N": 1, "heads": 8, "T": 1024, "D": 64, "causal": causal} for causal in (0, 1)),
        {"N": 1, "heads": 2, "T": 4096, "D": 64, "causal": 1},
        {"N": 32, "heads": 4, "T": 32, "D": 16, "causal": 0},
        {"N": 1, "heads": 1, "T": 64, "D": 32, "causal": 0},
    )
    without = ("torch-compile",)
    trains = False

    def inputs(self, rng):
        shape = self.N, self.heads, self.T, self.D
        given = {name: self.normal(rng, *shape) for name in "qkv"}
        return given | ({"dout": self.normal(rng, *shape)} if self.trains else {})

    def flops(self):
        products = (10 if self.trains else 4) * self.N * self.heads * self.T**2 * self.D
        return products // (2 if self.causal else 1)

    def _weights(self, q, k):
        score = q @ k.swapaxes(-1, -2) / np.sqrt(np.asarray(self.D, q.dtype))
        if self.causal:
            score = np.where(np.tri(self.T, dtype=bool), score, -np.inf)
        return _softmax(score)

    def reference(self, q, k, v):
        return self._weights(q, k) @ v

    def torch(self, torch):
        attention, causal = torch.nn.functional.scaled_dot_product_attention, bool(self.causal)
        return lambda q, k, v: attention(q, k, v, is_causal=causal)

    def _jax(self, jax):
        np = jax.numpy
        open_ = np.tri(self.T, dtype=bool) if self.causal else None

        def forward(q, k, v):
            score = q @ k.swapaxes(-1, -2) / self.D**0.5
            if open_ is not None:
                score = np.where(open_, score, -np.inf)
            return jax.nn.softmax(score) @ v

        return forward

    jax = _jax

    def fastnn(self, fastnn):
        attention, causal = fastnn.ops.scaled_dot_product_attention_forward, bool(self.causal)
        sequences, shape = (self.N * self.heads, self.T, self.D), (self.N, self.heads, self.T, self.D)
        return lambda q, k, v: attention(*(a.reshape(sequences) for a in (q, k, v)), None, causal).reshape(shape)


class AttentionTraining(AttentionForward):
    """the same, and the gradients of q, k, v"""

    name = "attention_training"
    trains = True

    def reference(self, q, k, v, dout):
        p = self._weights(q, k)
        dp = dout @ v.swapaxes(-1, -2)
        ds = p * (dp - (p * dp).sum(axis=-1, keepdims=True)) / np.sqrt(np.asarray(self.D, q.dtype))
        return [p @ v, ds @ k, ds.swapaxes(-1, -2) @ q, p.swapaxes(-1, -2) @ dout]

    def torch(self, torch):
        attention, causal = torch.nn.functional.scaled_dot_product_attention, bool(self.causal)

        def train(q, k, v, dout):
            inputs = [a.detach().requires_grad_() for a in (q, k, v)]
            out = attention(*inputs, is_causal=causal)
            out.backward(dout)
            return [out.detach(), *(a.grad for a in inputs)]

        return train

    def jax(self, jax):
        forward = self._jax(jax)

        def train(q, k, v, dout):
            out, back = jax.vjp(forward, q, k, v)
            return [out, *back(dout)]

        return train

    def fastnn(self, fastnn):
        forward = fastnn.ops.scaled_dot_product_attention_forward
        backward = fastnn.ops.scaled_dot_product_attention_backward
        causal, sequences = bool(self.causal), (self.N * self.heads, self.T, self.D)
        shape = self.N, self.heads, self.T, self.D

        def train(q, k, v, dout):
            q, k, v, dout = (a.reshape(sequences) for a in (q, k, v, dout))
            results = forward(q, k, v, None, causal), *backward(dout, q, k, v, None, causal)
            return [a.reshape(shape) for a in results]

        return train


class BookAttention(Workload):
    """`TimeAttention` in training: sums of hs_enc (N, Te, H) weighted by products with hs_dec (N, Td, H)"""

    name = "book_attention"
    cases = (
        {"N": 128, "Te": 29, "Td": 10, "H": 256},
        {"N": 128, "Te": 29, "Td": 29, "H": 256},
        {"N": 1, "Te": 29, "Td": 1, "H": 256},
    )
    without = ("torch-compile",)
    trains = True

    def inputs(self, rng):
        scale = self.H**-0.25
        return {
            "enc": self.normal(rng, self.N, self.Te, self.H, scale=scale),
            "dec": self.normal(rng, self.N, self.Td, self.H, scale=scale),
            "dout": self.normal(rng, self.N, self.Td, self.H),
        }

    def flops(self):
        return 12 * self.N * self.Te * self.Td * self.H

    def reference(self, enc, dec, dout):
        a = _softmax(dec @ enc.swapaxes(1, 2))
        da = dout @ enc.swapaxes(1, 2)
        ds = a * (da - (a * da).sum(axis=2, keepdims=True))
        return [a @ enc, a.swapaxes(1, 2) @ dout + ds.swapaxes(1, 2) @ dec, ds @ enc]

    def torch(self, torch):
        def train(enc, dec, dout):
            enc, dec = enc.detach().requires_grad_(), dec.detach().requires_grad_()
            out = torch.softmax(dec @ enc.mT, 2) @ enc
            out.backward(dout)
            return [out.detach(), enc.grad, dec.grad]

        return train

    def jax(self, jax):
        def train(enc, dec, dout):
            out, back = jax.vjp(lambda e, d: jax.nn.softmax(d @ e.swapaxes(1, 2)) @ e, enc, dec)
            return [out, *back(dout)]

        return train

    def fastnn(self, fastnn):
        layer = fastnn.time_layers.TimeAttention()
        return lambda enc, dec, dout: [layer.forward(enc, dec), *layer.backward(dout)]


class BookAttentionStep(Workload):
    """`Attention` in training, one step as the book's decoder takes it: hs (N, T, H), h (N, H)"""

    name = "book_attention_step"
    cases = ({"N": 128, "T": 29, "H": 256}, {"N": 1, "T": 29, "H": 256})
    without = ("torch-compile",)
    trains = True

    def inputs(self, rng):
        scale = self.H**-0.25
        return {
            "hs": self.normal(rng, self.N, self.T, self.H, scale=scale),
            "h": self.normal(rng, self.N, self.H, scale=scale),
            "dc": self.normal(rng, self.N, self.H),
        }

    def flops(self):
        return 12 * self.N * self.T * self.H

    def reference(self, hs, h, dc):
        a = _softmax(np.einsum("nth,nh->nt", hs, h))
        da = np.einsum("nth,nh->nt", hs, dc)
        ds = a * (da - (a * da).sum(axis=1, keepdims=True))
        dhs = a[:, :, np.newaxis] * dc[:, np.newaxis] + ds[:, :, np.newaxis] * h[:, np.newaxis]
        return [np.einsum("nt,nth->nh", a, hs), dhs, np.einsum("nt,nth->nh", ds, hs)]

    def numpy(self, np):
        """The books' way, by repeated arrays."""

        def train(hs, h, dc):
            N, T, H = hs.shape
            hr = h.reshape(N, 1, H).repeat(T, axis=1)
            a = _softmax(np.sum(hs * hr, axis=2))
            ar = a.reshape(N, T, 1).repeat(H, axis=2)
            c = np.sum(hs * ar, axis=1)
            dt = dc.reshape(N, 1, H).repeat(T, axis=1)
            dhs, da = dt * ar, np.sum(dt * hs, axis=2)
            ds = a * (da - (a * da).sum(axis=1, keepdims=True))
            ds = ds.reshape(N, T, 1).repeat(H, axis=2)
            return [c, dhs + ds * hr, np.sum(ds * hs, axis=1)]

        return train

    def torch(self, torch):
        def train(hs, h, dc):
            hs, h = hs.detach().requires_grad_(), h.detach().requires_grad_()
            a = torch.softmax((hs @ h.unsqueeze(2)).squeeze(2), 1)
            c = (a.unsqueeze(1) @ hs).squeeze(1)
            c.backward(dc)
            return [c.detach(), hs.grad, h.grad]

        return train

    def jax(self, jax):
        def forward(hs, h):
            a = jax.nn.softmax(jax.numpy.einsum("nth,nh->nt", hs, h))
            return jax.numpy.einsum("nt,nth->nh", a, hs)

        def train(hs, h, dc):
            out, back = jax.vjp(forward, hs, h)
            return [out, *back(dc)]

        return train

    def fastnn(self, fastnn):
        layer = fastnn.time_layers.Attention()
        return lambda hs, h, dc: [layer.forward(hs, h), *layer.backward(dc)]


class TransformerStep(Workload):
    """gradient and SGD update of a block x + attention(norm(x)), x + relu network(norm(x)), and scores of each step

    x (N, T, D), a hidden layer of 4 D, V classes; what is compared is the loss. fastnn runs `Network.step`.
    """

    name = "transformer_step"
    cases = (
        {"N": 8, "T": 128, "D": 128, "heads": 4, "V": 100},
        {"N": 32, "T": 32, "D": 64, "heads": 4, "V": 20},
        {"N": 2, "T": 16, "D": 32, "heads": 2, "V": 10},
    )
    without = ("torch-compile",)
    stateful = trains = True
    LR = 0.01

    def inputs(self, rng):
        D = self.D
        shapes = dict.fromkeys(("Wq", "Wk", "Wv", "Wo"), (D, D)) | {"W1": (D, 4 * D), "W2": (4 * D, D)}
        weights = {name: self.normal(rng, *s, scale=s[0] ** -0.5) for name, s in (shapes | {"W": (D, self.V)}).items()}
        return {"x": self.normal(rng, self.N, self.T, D), "t": rng.integers(0, self.V, (self.N, self.T))} | weights

    def flops(self):
        N, T, D = self.N, self.T, self.D
        return 6 * N * T * (12 * D * D + D * self.V) + 12 * N * T * T * D // 2

    def reference(self, x, t, Wq, Wk, Wv, Wo, W1, W2, W):
        """The loss alone."""

        def norm(x):
            c = x - x.mean(axis=-1, keepdims=True)
            return c / np.sqrt(np.square(c).mean(axis=-1, keepdims=True) + 1e-5)

        N, T, D = x.shape
        a = norm(x)
        q, k, v = ((a @ w).reshape(N, T, self.heads, -1).swapaxes(1, 2) for w in (Wq, Wk, Wv))
        score = q @ k.swapaxes(2, 3) / np.sqrt(np.asarray(D // self.heads, x.dtype))
        score = np.where(np.tri(T, dtype=bool), score, -np.inf)
        x = x + (_softmax(score) @ v).swapaxes(1, 2).reshape(N, T, D) @ Wo
        x = x + np.maximum(norm(x) @ W1, 0) @ W2
        p = _softmax(x @ W).reshape(N * T, -1)
        return [np.array(-np.log(p[np.arange(N * T), t.reshape(-1)]).mean())]

    def numpy(self, np):
        return None

    def torch(self, torch):
        F, made = torch.nn.functional, []

        def step(x, t, *params):
            if not made:
                zeros = [torch.zeros(p.shape[1], dtype=p.dtype) for p in params]
                norms = [f(self.D, dtype=x.dtype) for f in (torch.ones, torch.zeros) for _ in range(2)]
                made.append([p.clone().requires_grad_() for p in (*params, *zeros, *norms)])
                made.append(torch.optim.SGD(made[0], self.LR))
            Wq, Wk, Wv, Wo, W1, W2, W, bq, bk, bv, bo, b1, b2, b, g1, g2, c1, c2 = made[0]
            N, T, D = x.shape
            made[1].zero_grad()
            a = F.layer_norm(x, (D,), g1, c1)
            projected = (torch.addmm(c, a.reshape(N * T, D), w) for w, c in ((Wq, bq), (Wk, bk), (Wv, bv)))
            q, k, v = (y.reshape(N, T, self.heads, -1).transpose(1, 2) for y in projected)
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(N * T, D)
            x = x.reshape(N * T, D) + torch.addmm(bo, y, Wo)
            x = x + torch.addmm(b2, torch.relu(torch.addmm(b1, F.layer_norm(x, (D,), g2, c2), W1)), W2)
            loss = F.cross_entropy(torch.addmm(b, x, W), t.reshape(-1))
            loss.backward()
            made[1].step()
            return [loss.detach()]

        return step

    def fastnn(self, fastnn):
        from fastnn import layers, network, optimizer, time_layers

        made, rule = [], optimizer.SGD(self.LR)

        def step(x, t, *params):
            if not made:
                copies = [(p.copy(), np.zeros(p.shape[1], p.dtype)) for p in params]
                *four, hidden, back, scores = copies
                ones = [(np.ones(self.D, x.dtype), np.zeros(self.D, x.dtype)) for _ in range(2)]
                attention = time_layers.MultiHeadAttention(*(a for pair in four for a in pair), self.heads, True)
                ahead = [time_layers.TimeAffine(*hidden), layers.Relu(), time_layers.TimeAffine(*back)]
                net = [
                    layers.Add([], [layers.LayerNorm(*ones[0]), attention]),
                    layers.Add([], [layers.LayerNorm(*ones[1]), *ahead]),
                    time_layers.TimeAffine(*scores),
                ]
                made.append(network.Network(net, time_layers.TimeSoftmaxWithLoss()))
            return [np.array(made[0].step(x, t, rule))]

        return step
