"""An affine layer is a MatMul node, a Repeat node for the bias and an addition; the Affine layer computes the same."""

import numpy as np

from fastnn.examples import Run, start
from fastnn.layers import AddLayer, Affine, MatMul, Repeat


class AffineOfNodes:
    def __init__(self, W, b, N):
        self.matmul, self.repeat, self.add = MatMul(W), Repeat(N), AddLayer()
        self.b = b

    def forward(self, x):
        return self.add.forward(self.matmul.forward(x), self.repeat.forward(self.b[None]))

    def backward(self, dout):
        dproduct, drepeated = self.add.backward(dout)
        self.db = self.repeat.backward(drepeated)[0]
        return self.matmul.backward(dproduct)


def main(run: Run) -> None:
    N, D, M = 100, 50, 10
    rng = np.random.default_rng(0)
    x, dout = rng.standard_normal((N, D)), rng.standard_normal((N, M))
    W, b = rng.standard_normal((D, M)), rng.standard_normal(M)
    nodes, affine = AffineOfNodes(W, b, N), Affine(W.copy(), b)
    pairs = {
        "out": (nodes.forward(x), affine.forward(x)),
        "dx": (nodes.backward(dout), affine.backward(dout)),
        "dW": (nodes.matmul.grads[0], affine.dW),
        "db": (nodes.db, affine.db),
    }
    for name, (ours, layer) in pairs.items():
        run.row(f"{name} {layer.shape}: nodes against layer", "equal", float(np.abs(ours - layer).max()))

    def seconds(layer):
        with run.clock() as clock:
            for _ in range(200):
                layer.forward(x)
                layer.backward(dout)
        return clock.seconds / 200

    run.row("forward and backward of the nodes, us", None, 1e6 * min(seconds(nodes) for _ in range(5)))
    run.row("of the layer, us", None, 1e6 * min(seconds(affine) for _ in range(5)))


if __name__ == "__main__":
    start(main)
