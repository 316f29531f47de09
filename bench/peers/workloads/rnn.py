"""Recurrent layers over whole sequences, and single steps: RNN, LSTM, GRU.

Gates are in the books' order; `gru` has the books' rule (reset before the product, ONNX's default), `gru_linear`
cuDNN's, the only one that PyTorch has. Every peer gets x in the layout it likes best (xt: time first). Results are
lists of views, so that nobody pays for another peer's order of gates.
"""

import numpy as np
from workload import Workload

GATES = {"rnn": 1, "lstm": 4, "gru": 3, "gru_linear": 3}


def _sigmoid(x):
    return 1 / (1 + np.exp(-x))


class RecurrentForward(Workload):
    """x (N, T, D) to the states of every step"""

    name = "recurrent_forward"
    cases = (
        *({"cell": cell, "N": 20, "T": 35, "D": 100, "H": 100, "dirs": 1} for cell in GATES),
        *({"cell": cell, "N": 20, "T": 35, "D": 650, "H": 650, "dirs": 1} for cell in GATES),
        {"cell": "lstm", "N": 128, "T": 29, "D": 16, "H": 256, "dirs": 1},
        {"cell": "lstm", "N": 8, "T": 1000, "D": 1, "H": 64, "dirs": 2},
        {"cell": "lstm", "N": 1, "T": 1, "D": 100, "H": 100, "dirs": 1},
        {"cell": "lstm", "N": 1, "T": 1, "D": 650, "H": 650, "dirs": 1},
        {"cell": "gru", "N": 1, "T": 1, "D": 100, "H": 100, "dirs": 1},
        {"cell": "rnn", "N": 1, "T": 1, "D": 100, "H": 100, "dirs": 1},
    )
    without = ("torch-compile",)
    trains = False

    def inputs(self, rng):
        N, T, D, H, dirs, width = self.N, self.T, self.D, self.H, self.dirs, GATES[self.cell] * self.H
        x = self.normal(rng, N, T, D)
        given = {
            "x": x,
            "xt": np.ascontiguousarray(x.swapaxes(0, 1)),
            "Wx": self.normal(rng, dirs, D, width, scale=D**-0.5),
            "Wh": self.normal(rng, dirs, H, width, scale=H**-0.5),
            "b": self.normal(rng, dirs, width, scale=0.1),
            "h0": self.normal(rng, dirs, N, H, scale=0.5),
            "c0": self.normal(rng, dirs, N, H, scale=0.5),
        }
        if self.trains:
            dhs = self.normal(rng, dirs, N, T, H, scale=(N * T) ** -0.5)
            given |= {"dhs": dhs, "dhst": np.ascontiguousarray(dhs.swapaxes(1, 2))}
        self.given = given
        return given

    def flops(self):
        products = 2 * self.N * self.T * (self.D + self.H) * GATES[self.cell] * self.H * self.dirs
        return 3 * products if self.trains else products

    # ---- the books' way: one step after the other ----

    def _steps(self, x, Wx, Wh, b, h, c):
        """-> states, and what each step keeps for backward."""
        N, T, H = *x.shape[:2], self.H
        hs, kept = np.empty((N, T, H), x.dtype), []
        for t in range(T):
            before, c_before, xt = h, c, x[:, t]
            if self.cell == "rnn":
                h, saved = np.tanh(xt @ Wx + before @ Wh + b), None
            elif self.cell == "lstm":
                f, g, i, o = np.split(xt @ Wx + before @ Wh + b, 4, axis=1)
                f, g, i, o = _sigmoid(f), np.tanh(g), _sigmoid(i), _sigmoid(o)
                c = f * c_before + g * i
                h, saved = o * np.tanh(c), (f, g, i, o, c)
            else:
                zr = _sigmoid(xt @ Wx[:, : 2 * H] + before @ Wh[:, : 2 * H] + b[: 2 * H])
                z, r, u = zr[:, :H], zr[:, H:], None
                if self.cell == "gru":
                    k = np.tanh(xt @ Wx[:, 2 * H :] + (r * before) @ Wh[:, 2 * H :] + b[2 * H :])
                else:
                    u = before @ Wh[:, 2 * H :]
                    k = np.tanh(xt @ Wx[:, 2 * H :] + r * u + b[2 * H :])
                h, saved = (1 - z) * before + z * k, (z, r, k, u)
            hs[:, t] = h
            kept.append((before, c_before, saved))
        return hs, kept

    def _back(self, dhs, x, Wx, Wh, b, hs, kept):
        """-> gradients of x, Wx, Wh."""
        H, T = self.H, x.shape[1]
        dx, dWx, dWh, db = np.empty_like(x), np.zeros_like(Wx), np.zeros_like(Wh), np.zeros_like(b)
        dh = dc = 0
        for t in reversed(range(T)):
            before, c_before, saved = kept[t]
            dh = dh + dhs[:, t]
            if self.cell == "rnn":
                da = dh * (1 - hs[:, t] ** 2)
                dWh += before.T @ da
                dh = da @ Wh.T
            elif self.cell == "lstm":
                f, g, i, o, c = saved
                tc = np.tanh(c)
                dc = dc + dh * o * (1 - tc**2)
                da = np.hstack(
                    [dc * c_before * f * (1 - f), dc * i * (1 - g**2), dc * g * i * (1 - i), dh * tc * o * (1 - o)]
                )
                dWh += before.T @ da
                dh, dc = da @ Wh.T, dc * f
            else:
                z, r, k, u = saved
                dk, dz = dh * z * (1 - k**2), dh * (k - before) * z * (1 - z)
                if self.cell == "gru":
                    drh = dk @ Wh[:, 2 * H :].T
                    dr, direct = drh * before * r * (1 - r), drh * r
                    dWh[:, 2 * H :] += (r * before).T @ dk
                else:
                    du = dk * r
                    dr, direct = dk * u * r * (1 - r), du @ Wh[:, 2 * H :].T
                    dWh[:, 2 * H :] += before.T @ du
                dzr = np.hstack([dz, dr])
                dWh[:, : 2 * H] += before.T @ dzr
                dh = dh * (1 - z) + direct + dzr @ Wh[:, : 2 * H].T
                da = np.hstack([dzr, dk])
            dx[:, t] = da @ Wx.T
            dWx += x[:, t].T @ da
            db += da.sum(axis=0)
        return dx, dWx, dWh, db

    def _columns(self, *gradients):
        """Each gate's columns of the gradients (D or H, G * H), as views."""
        H = self.H
        return [[g[:, q * H : (q + 1) * H] for q in range(GATES[self.cell])] for g in gradients]

    def reference(self, x, xt, Wx, Wh, b, h0, c0):
        both = (x, x[:, ::-1])[: self.dirs]
        hs = [self._steps(each, *w)[0] for each, *w in zip(both, Wx, Wh, b, h0, c0, strict=True)]
        return [h.swapaxes(0, 1) for h in (hs[0], *(h[:, ::-1] for h in hs[1:]))]

    # ---- peers ----

    def _torch_layer(self, torch):
        kind = {"rnn": torch.nn.RNN, "lstm": torch.nn.LSTM, "gru_linear": torch.nn.GRU}[self.cell]
        layer = kind(self.D, self.H, bidirectional=self.dirs == 2, dtype=getattr(torch, self.dtype.name))
        order = {"rnn": [0], "lstm": [2, 0, 1, 3], "gru_linear": [1, 0, 2]}[self.cell]

        def ordered(a):
            gates = np.split(a, GATES[self.cell], axis=-1)
            if self.cell == "gru_linear":
                gates[0] = -gates[0]  # its z is 1 - z
            return np.concatenate([gates[q] for q in order], axis=-1)

        for d in range(self.dirs):
            suffix = "l0" + "_reverse" * d
            for name, a in ("ih", self.given["Wx"][d].T), ("hh", self.given["Wh"][d].T):
                getattr(layer, f"weight_{name}_{suffix}").data = torch.from_numpy(ordered(a.T).T.copy())
            getattr(layer, f"bias_ih_{suffix}").data = torch.from_numpy(ordered(self.given["b"][d]))
            getattr(layer, f"bias_hh_{suffix}").data.zero_()
        return layer

    def _torch_gradients(self, layer):
        place = {"rnn": [0], "lstm": [1, 2, 0, 3], "gru_linear": [1, 0, 2]}[self.cell]
        H, found = self.H, []
        for d in range(self.dirs):
            for name in "ih", "hh":
                g = getattr(layer, f"weight_{name}_l0" + "_reverse" * d).grad.T
                found.append([g[:, q * H : (q + 1) * H] for q in place])
        return found

    def torch(self, torch):
        if self.cell == "gru":
            return None
        layer, H = self._torch_layer(torch), self.H

        def forward(x, xt, Wx, Wh, b, h0, c0):
            out = layer(xt, (h0, c0) if self.cell == "lstm" else h0)[0]
            return [out[..., d * H : (d + 1) * H] for d in range(self.dirs)]

        return forward

    def _jax_direction(self, jax):
        np, H, sigmoid = jax.numpy, self.H, jax.nn.sigmoid

        def run(xt, Wx, Wh, b, h0, c0, reverse):
            a = xt @ Wx + b

            def rnn(h, a):
                h = np.tanh(a + h @ Wh)
                return h, h

            def lstm(state, a):
                h, c = state
                f, g, i, o = np.split(a + h @ Wh, 4, axis=1)
                c = sigmoid(f) * c + np.tanh(g) * sigmoid(i)
                h = sigmoid(o) * np.tanh(c)
                return (h, c), h

            def gru(h, a):
                z, r = np.split(sigmoid(a[:, : 2 * H] + h @ Wh[:, : 2 * H]), 2, axis=1)
                k = np.tanh(a[:, 2 * H :] + (r * h) @ Wh[:, 2 * H :])
                h = (1 - z) * h + z * k
                return h, h

            def gru_linear(h, a):
                y = h @ Wh
                z, r = np.split(sigmoid(a[:, : 2 * H] + y[:, : 2 * H]), 2, axis=1)
                k = np.tanh(a[:, 2 * H :] + r * y[:, 2 * H :])
                h = (1 - z) * h + z * k
                return h, h

            step = {"rnn": rnn, "lstm": lstm, "gru": gru, "gru_linear": gru_linear}[self.cell]
            return jax.lax.scan(step, (h0, c0) if self.cell == "lstm" else h0, a, reverse=reverse)[1]

        return run

    def jax(self, jax):
        run = self._jax_direction(jax)

        def forward(x, xt, Wx, Wh, b, h0, c0):
            return [run(xt, Wx[d], Wh[d], b[d], h0[d], c0[d], d == 1) for d in range(self.dirs)]

        return forward

    def onnx(self, onnx):
        kind = {"rnn": "RNN", "lstm": "LSTM", "gru": "GRU", "gru_linear": "GRU"}[self.cell]
        order = {"rnn": [0], "lstm": [2, 3, 0, 1], "gru": [0, 1, 2], "gru_linear": [0, 1, 2]}[self.cell]

        def ordered(a):
            gates = np.split(a, GATES[self.cell], axis=-1)
            if kind == "GRU":
                gates[0] = -gates[0]
            return np.concatenate([gates[q] for q in order], axis=-1)

        W, R, B = (ordered(self.given[name]) for name in ("Wx", "Wh", "b"))
        arrays = {
            "W": W.swapaxes(1, 2),
            "R": R.swapaxes(1, 2),
            "B": np.concatenate([B, np.zeros_like(B)], axis=1),
            "sizes": np.array([self.T, self.N, self.H]),
        }
        make = onnx.helper.make_node
        constants = [
            make("Constant", [], [name], value=onnx.numpy_helper.from_array(np.ascontiguousarray(a), name))
            for name, a in arrays.items()
        ]
        options = {"hidden_size": self.H, "direction": "bidirectional" if self.dirs == 2 else "forward"}
        if kind == "GRU":
            options["linear_before_reset"] = int(self.cell == "gru_linear")
        given = ["xt", "W", "R", "B", "", "h0"] + ["c0"] * (kind == "LSTM")
        last = self.T == 1  # the state has the shape of a single step
        recurrent = make(kind, given, ["", "h0_out"] if last else ["Y"], **options)
        if last:
            return [*constants, recurrent], ["h0_out"], ["Wx", "Wh", "b", "x"]
        if self.dirs == 1:
            return [*constants, recurrent, make("Reshape", ["Y", "sizes"], ["out"])], ["out"], ["Wx", "Wh", "b", "x"]
        split = make("Split", ["Y"], ["Y0", "Y1"], axis=1, num_outputs=2)
        shaped = [make("Reshape", [f"Y{d}", "sizes"], [f"out{d}"]) for d in range(2)]
        return [*constants, recurrent, split, *shaped], ["out0", "out1"], ["Wx", "Wh", "b", "x"]

    def _fastnn_forward(self, ops, x, Wx, Wh, b, h0, c0, reverse):
        if self.cell == "rnn":
            return (ops.rnn_forward(x, Wx, Wh, b, h0, "tanh", None, reverse),)
        if self.cell == "lstm":
            return ops.lstm_forward(x, Wx, Wh, b, h0, c0, None, None, reverse)
        return ops.gru_forward(x, Wx, Wh, b, h0, self.cell == "gru_linear", None, None, reverse)

    def _directions(self):
        """Each direction's weights and states, as arrays of their own."""
        names = "Wx", "Wh", "b", "h0", "c0"
        return [[np.ascontiguousarray(self.given[name][d]) for name in names] for d in range(self.dirs)]

    def fastnn(self, fastnn):
        ops, weights = fastnn.ops, self._directions()

        if self.T == 1 and self.cell == "lstm":  # as short as the others' calls: a step is 3 us
            step, (Wx, Wh, b, h0, c0) = ops.lstm_forward, weights[0]
            return lambda x, *given: step(x, Wx, Wh, b, h0, c0)[0]
        if self.T == 1 and self.cell == "gru":
            step, (Wx, Wh, b, h0, _) = ops.gru_forward, weights[0]
            return lambda x, *given: step(x, Wx, Wh, b, h0)[0]
        if self.dirs == 1:
            run, w = self._fastnn_forward, weights[0]
            return lambda x, *given: run(ops, x, *w, False)[0].swapaxes(0, 1)

        def forward(x, xt, Wx, Wh, b, h0, c0):
            return [self._fastnn_forward(ops, x, *weights[d], d == 1)[0].swapaxes(0, 1) for d in range(self.dirs)]

        return forward


class RecurrentTraining(RecurrentForward):
    """forward and back through time: states, and the gradients of x and of all weights"""

    name = "recurrent_training"
    cases = RecurrentForward.cases[:10]
    without = ("torch-compile", "onnxruntime")
    trains = True
    onnx = None

    def reference(self, x, xt, Wx, Wh, b, h0, c0, dhs, dhst):
        states, total, gradients = [], 0, []
        for d in range(self.dirs):
            turn = slice(None, None, -1 if d else 1)
            hs, kept = self._steps(x[:, turn], Wx[d], Wh[d], b[d], h0[d], c0[d])
            dx, dWx, dWh, _ = self._back(dhs[d][:, turn], x[:, turn], Wx[d], Wh[d], b[d], hs, kept)
            states.append(hs[:, turn].swapaxes(0, 1))
            total = total + dx[:, turn]
            gradients += self._columns(dWx, dWh)
        return [*states, total.swapaxes(0, 1), *gradients]

    def torch(self, torch):
        if self.cell == "gru":
            return None
        layer, H = self._torch_layer(torch), self.H
        parameters = list(layer.parameters())

        def train(x, xt, Wx, Wh, b, h0, c0, dhs, dhst):
            xt = xt.detach().requires_grad_()
            for p in parameters:
                p.grad = None
            out = layer(xt, (h0, c0) if self.cell == "lstm" else h0)[0]
            out.backward(dhst[0] if self.dirs == 1 else torch.cat([dhst[0], dhst[1]], 2))
            states = [out[..., d * H : (d + 1) * H] for d in range(self.dirs)]
            gradients = self._torch_gradients(layer)
            if self.cell == "gru_linear":
                gradients = [[-g[0].detach(), *g[1:]] for g in gradients]
            return [*states, xt.grad, *gradients]

        return train

    def jax(self, jax):
        run, G, H = self._jax_direction(jax), GATES[self.cell], self.H

        def train(x, xt, Wx, Wh, b, h0, c0, dhs, dhst):
            states, total, gradients = [], 0, []
            for d in range(self.dirs):
                f = lambda xt, Wx, Wh, b, d=d: run(xt, Wx, Wh, b, h0[d], c0[d], d == 1)  # noqa: E731
                hs, back = jax.vjp(f, xt, Wx[d], Wh[d], b[d])
                dx, dWx, dWh, _ = back(dhst[d])
                states.append(hs)
                total = total + dx
                gradients += [[g[:, q * H : (q + 1) * H] for q in range(G)] for g in (dWx, dWh)]
            return [*states, total, *gradients]

        return train

    def fastnn(self, fastnn):
        ops, weights = fastnn.ops, self._directions()

        def train(x, xt, Wx, Wh, b, h0, c0, dhs, dhst):
            states, total, gradients = [], None, []
            for d in range(self.dirs):
                wx, wh, bias, h, c = weights[d]
                saved = self._fastnn_forward(ops, x, wx, wh, bias, h, c, d == 1)
                if self.cell == "rnn":
                    dx, dWx, dWh, *_ = ops.rnn_backward(dhs[d], x, wx, wh, h, *saved, "tanh", None, d == 1)
                elif self.cell == "lstm":
                    dx, dWx, dWh, *_ = ops.lstm_backward(dhs[d], None, x, wx, wh, h, c, *saved, None, None, d == 1)
                else:
                    linear = self.cell == "gru_linear"
                    dx, dWx, dWh, *_ = ops.gru_backward(dhs[d], x, wx, wh, h, *saved, linear, None, d == 1)
                states.append(saved[0].swapaxes(0, 1))
                total = dx if total is None else total + dx
                gradients += self._columns(dWx, dWh)
            return [*states, total.swapaxes(0, 1), *gradients]

        return train
