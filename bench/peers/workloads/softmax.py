"""Softmax, and the loss on it."""

import numpy as np
from workload import Workload

ROWS = (100, 10), (128, 1000), (700, 10_000)


def _softmax(x):
    e = np.exp(x - x.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def _log_softmax(x):
    x = x - x.max(axis=1, keepdims=True)
    return x - np.log(np.exp(x).sum(axis=1, keepdims=True))


class SoftmaxForward(Workload):
    """softmax of each row"""

    name = "softmax_forward"
    cases = tuple({"N": N, "V": V} for N, V in ROWS)

    def inputs(self, rng):
        return {"x": self.normal(rng, self.N, self.V, scale=3.0)}

    def reference(self, x):
        return _softmax(x)

    def torch(self, torch):
        return lambda x: torch.softmax(x, 1)

    def jax(self, jax):
        return lambda x: jax.nn.softmax(x, axis=1)

    def onnx(self, onnx):
        return [onnx.helper.make_node("Softmax", ["x"], ["out"], axis=1)], ["out"], []

    def fastnn(self, fastnn):
        return fastnn.ops.softmax_forward


class LogSoftmaxForward(SoftmaxForward):
    """logarithm of the softmax of each row"""

    name = "log_softmax_forward"

    def reference(self, x):
        return _log_softmax(x)

    def torch(self, torch):
        return lambda x: torch.log_softmax(x, 1)

    def jax(self, jax):
        return lambda x: jax.nn.log_softmax(x, axis=1)

    def onnx(self, onnx):
        return [onnx.helper.make_node("LogSoftmax", ["x"], ["out"], axis=1)], ["out"], []

    def fastnn(self, fastnn):
        return fastnn.ops.log_softmax_forward


class SoftmaxCrossEntropy(Workload):
    """mean cross entropy of softmax(x) against labels, and its gradient"""

    name = "softmax_cross_entropy"
    cases = SoftmaxForward.cases
    stateful = trains = True

    def inputs(self, rng):
        return {"x": self.normal(rng, self.N, self.V, scale=3.0), "t": rng.integers(0, self.V, self.N)}

    def reference(self, x, t):
        rows = np.arange(len(t))
        logp = _log_softmax(x)
        dx = np.exp(logp)
        dx[rows, t] -= 1
        dx /= len(t)
        return np.asarray(-logp[rows, t].mean()), dx

    def torch(self, torch):
        loss_of = self.compile(torch.nn.functional.cross_entropy)

        def step(x, t):
            x = x.detach().requires_grad_()
            loss = loss_of(x, t)
            loss.backward()
            return loss, x.grad

        return step

    def jax(self, jax):
        def loss_of(x, t):
            return -jax.numpy.take_along_axis(jax.nn.log_softmax(x, axis=1), t[:, None], 1).mean()

        return self.compile(jax.value_and_grad(loss_of))

    def fastnn(self, fastnn):
        forward, backward = fastnn.ops.softmax_cross_entropy_forward, fastnn.ops.softmax_cross_entropy_backward

        def step(x, t):
            loss, y = forward(x, t)
            return loss, backward(y, t)

        return step
