"""Rows of a table by index, and the gradient of the table."""

import numpy as np
from workload import Workload


class Embedding(Workload):
    """forward and backward for n words of a text; gradient: dense (all of dW is written) or rows (fastnn: only those
    that occur; the others as above)"""

    name = "embedding"
    cases = tuple(
        {"V": V, "D": D, "n": n, "gradient": gradient}
        for V, D, n in ((10_000, 100, 700), (10_000, 650, 700), (10_000, 100, 1000), (59, 16, 3712))
        for gradient in ("dense", "rows")
    )
    stateful = trains = True

    def inputs(self, rng):
        V, D, n = self.V, self.D, self.n
        index = np.minimum(V ** rng.random(n), V - 1).astype(np.int64)  # frequencies as of words: 1 / rank
        return {
            "W": self.normal(rng, V, D),
            "index": index,
            "dout": self.normal(rng, n, D),
            "dW": np.zeros((V, D), self.dtype),
        }

    def reference(self, W, index, dout, dW):
        dW[...] = 0
        np.add.at(dW, index, dout)
        return W[index], dW

    def numba(self, numba):
        def step(W, index, dout, dW):
            out = np.empty_like(dout)
            for i in range(index.size):
                out[i] = W[index[i]]
            dW[:] = 0
            for i in range(index.size):
                dW[index[i]] += dout[i]
            return out, dW

        return self.compile(step)

    def torch(self, torch):
        f = self.compile(torch.nn.functional.embedding)

        def step(W, index, dout, dW):
            W = W.detach().requires_grad_()
            out = f(index, W)
            return out, *torch.autograd.grad(out, (W,), dout)

        return step

    def jax(self, jax):
        def step(W, index, dout, dW):
            return W[index], jax.numpy.zeros_like(W).at[index].add(dout)

        return self.compile(step)

    def fastnn(self, fastnn):
        ops = fastnn.ops

        def dense(W, index, dout, dW):
            return ops.embedding_forward(W, index), ops.embedding_backward(dout, index, len(W), dW)

        def rows(W, index, dout, dW):
            gradient = ops.RowGradient(W.shape, W.dtype)
            gradient.rows, gradient.values = ops.embedding_backward_rows(dout, index, len(W))
            return ops.embedding_forward(W, index), gradient

        return rows if self.gradient == "rows" else dense
