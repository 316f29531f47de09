"""Element-wise activations and dropout."""

import math

import numpy as np
from workload import Workload

# ONNX's operator of the same name and formula; a kind that is not here is not asked of ONNX Runtime.
ONNX = {"sigmoid": "Sigmoid", "tanh": "Tanh", "relu": "Relu", "softplus": "Softplus", "mish": "Mish"}
SQRT_HALF, DENSITY = math.sqrt(0.5), 1 / math.sqrt(2 * math.pi)


def _sigmoid(x):
    return 1 / (1 + np.exp(-x))


def _erf(x):
    return np.vectorize(math.erf, otypes=[x.dtype])(x)  # only the reference: NumPy has none


NUMPY = {
    "relu": lambda x: np.maximum(x, 0),
    "sigmoid": _sigmoid,
    "tanh": np.tanh,
    "swish": lambda x: x * _sigmoid(x),
    "softplus": lambda x: np.logaddexp(x, 0),
    "gelu": lambda x: 0.5 * x * (1 + _erf(x * SQRT_HALF)),
    "mish": lambda x: x * np.tanh(np.logaddexp(x, 0)),
}
BACKWARD = {  # what backward keeps is the output of sigmoid and tanh, the input of the others
    "relu": lambda dout, x: dout * (x > 0),
    "sigmoid": lambda dout, y: dout * y * (1 - y),
    "tanh": lambda dout, y: dout * (1 - y * y),
    "swish": lambda dout, x: dout * (_sigmoid(x) * (1 + x * (1 - _sigmoid(x)))),
    "gelu": lambda dout, x: dout * (0.5 * (1 + _erf(x * SQRT_HALF)) + x * np.exp(-0.5 * x * x) * DENSITY),
}
SIZES = 10_000, 100_000, 1_000_000


class ActivationForward(Workload):
    """activation(x)"""

    name = "activation_forward"
    cases = tuple({"kind": kind, "n": n} for kind in NUMPY for n in SIZES)

    def inputs(self, rng):
        return {"x": self.normal(rng, 100, self.n // 100, scale=3.0)}

    def reference(self, x):
        return NUMPY[self.kind](x)

    def numpy(self, np):
        return None if self.kind == "gelu" else self.reference

    def torch(self, torch):
        functional = torch.nn.functional
        return functional.silu if self.kind == "swish" else getattr(functional, self.kind)

    def jax(self, jax):
        if self.kind == "gelu":
            return lambda x: jax.nn.gelu(x, approximate=False)
        return getattr(jax.nn, self.kind)

    def numba(self, numba):
        one, exp, tanh, erf, log1p, half = self.dtype.type(1), math.exp, math.tanh, math.erf, math.log1p, SQRT_HALF
        scalar = {
            "relu": lambda v: v if v > 0 else 0 * v,
            "sigmoid": lambda v: one / (one + exp(-v)),
            "tanh": lambda v: tanh(v),
            "swish": lambda v: v / (one + exp(-v)),
            "softplus": lambda v: max(v, 0 * v) + log1p(exp(-abs(v))),
            "gelu": lambda v: v * (one + erf(v * half)) / 2,
            "mish": lambda v: v * tanh(max(v, 0 * v) + log1p(exp(-abs(v)))),
        }
        f = self.compile(scalar[self.kind])

        def loop(x):
            out = np.empty_like(x)
            flat, result = x.reshape(-1), out.reshape(-1)
            for i in range(flat.size):
                result[i] = f(flat[i])
            return out

        return loop

    def onnx(self, onnx):
        make = onnx.helper.make_node
        if self.kind == "gelu":
            nodes = [make("Gelu", ["x"], ["out"])]
        elif self.kind == "swish":
            nodes = [make("Sigmoid", ["x"], ["s"]), make("Mul", ["x", "s"], ["out"])]
        else:
            nodes = [make(ONNX[self.kind], ["x"], ["out"])]
        return nodes, ["out"], []

    def fastnn(self, fastnn):
        forward, kind = fastnn.ops.activation_forward, self.kind
        return lambda x: forward(x, kind)


class ActivationBackward(Workload):
    """the gradient through an activation, from dout and what forward kept"""

    name = "activation_backward"
    cases = tuple({"kind": kind, "n": n} for kind in BACKWARD for n in SIZES)

    def inputs(self, rng):
        x = self.normal(rng, 100, self.n // 100, scale=2.0)
        saved = NUMPY[self.kind](x) if self.kind in ("sigmoid", "tanh") else x
        return {"dout": self.normal(rng, *x.shape), "saved": saved}

    def reference(self, dout, saved):
        return BACKWARD[self.kind](dout, saved)

    def numpy(self, np):
        return None if self.kind == "gelu" else self.reference

    def torch(self, torch):
        return {
            "relu": lambda dout, x: torch.ops.aten.threshold_backward(dout, x, 0),
            "sigmoid": torch.ops.aten.sigmoid_backward,
            "tanh": torch.ops.aten.tanh_backward,
            "swish": torch.ops.aten.silu_backward,
            "gelu": torch.ops.aten.gelu_backward,
        }[self.kind]

    def jax(self, jax):
        sigmoid, erf, exp = jax.nn.sigmoid, jax.lax.erf, jax.numpy.exp
        return {
            "relu": lambda dout, x: jax.numpy.where(x > 0, dout, 0),
            "sigmoid": lambda dout, y: dout * y * (1 - y),
            "tanh": lambda dout, y: dout * (1 - y * y),
            "swish": lambda dout, x: dout * (sigmoid(x) * (1 + x * (1 - sigmoid(x)))),
            "gelu": lambda dout, x: dout * (0.5 * (1 + erf(x * SQRT_HALF)) + x * exp(-0.5 * x * x) * DENSITY),
        }[self.kind]

    def fastnn(self, fastnn):
        backward, kind = fastnn.ops.activation_backward, self.kind
        return lambda dout, saved: backward(dout, saved, kind)


class Relu(Workload):
    """forward, keeping what backward needs, and backward"""

    name = "relu"
    cases = tuple({"n": n} for n in SIZES)

    def inputs(self, rng):
        x = self.normal(rng, 100, self.n // 100)
        return {"x": x, "dout": self.normal(rng, *x.shape)}

    def reference(self, x, dout):
        mask = x <= 0
        out = x.copy()
        out[mask] = 0
        dx = dout.copy()
        dx[mask] = 0
        return out, dx

    def torch(self, torch):
        def step(x, dout):
            out = torch.relu(x)
            return out, torch.ops.aten.threshold_backward(dout, out, 0)

        return step

    def jax(self, jax):
        return lambda x, dout: (jax.nn.relu(x), jax.numpy.where(x > 0, dout, 0))

    def numba(self, numba):
        def step(x, dout):
            out, dx = np.empty_like(x), np.empty_like(x)
            a, b, c, d = x.reshape(-1), dout.reshape(-1), out.reshape(-1), dx.reshape(-1)
            for i in range(a.size):
                c[i] = a[i] if a[i] > 0 else 0
                d[i] = b[i] if a[i] > 0 else 0
            return out, dx

        return step

    def fastnn(self, fastnn):
        forward, backward = fastnn.ops.relu_forward, fastnn.ops.relu_backward

        def step(x, dout):
            out, mask = forward(x)
            return out, backward(dout, mask)

        return step


class Dropout(Workload):
    """the books' dropout, ratio 0.5: random numbers, mask and product; not compared, since each draws its own"""

    name = "dropout"
    dtypes = ("float32",)
    cases = tuple({"n": n} for n in SIZES)
    stateful = True

    def inputs(self, rng):
        return {"x": self.normal(rng, 100, self.n // 100)}

    def reference(self, x):
        return None

    def numpy(self, np):
        return lambda x: x * (np.random.rand(*x.shape) > 0.5)

    def torch(self, torch):
        return lambda x: torch.nn.functional.dropout(x, 0.5)

    def jax(self, jax):
        key, f = jax.random.key(0), self.compile(lambda key, x: x * jax.random.bernoulli(key, 0.5, x.shape))
        return lambda x: f(key, x)

    def fastnn(self, fastnn):
        forward = fastnn.ops.dropout_forward
        return lambda x: forward(x, 0.5, 1)
