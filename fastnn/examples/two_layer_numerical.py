"""Chapter 4's network learns by central differences, 79,520 losses a step; the document ran backpropagation here."""

import numpy as np

from fastnn import plots
from fastnn.examples import Run, start
from fastnn.functions import cross_entropy_error, sigmoid, softmax
from fastnn.gradient import numerical_gradient

h, learning_rate = 1e-4, 0.1


class TwoLayerNet:
    def __init__(self, input_size, hidden_size, output_size, rng, weight_init_std=0.01):
        W1 = weight_init_std * rng.standard_normal((input_size, hidden_size))
        W2 = weight_init_std * rng.standard_normal((hidden_size, output_size))
        self.params = {"W1": W1, "b1": np.zeros(hidden_size), "W2": W2, "b2": np.zeros(output_size)}

    def predict(self, x):
        self.a1 = np.dot(x, self.params["W1"]) + self.params["b1"]
        self.z1 = sigmoid(self.a1)
        self.a2 = np.dot(self.z1, self.params["W2"]) + self.params["b2"]
        return softmax(self.a2)

    def loss(self, x, t):
        return cross_entropy_error(self.predict(x), t)

    def accuracy(self, x, t):
        return float(np.mean(self.predict(x).argmax(axis=1) == t))

    def numerical_gradient(self, x, t):  # as in the chapter: the whole network anew for each number that moves
        return {key: numerical_gradient(lambda _: self.loss(x, t), p, h) for key, p in self.params.items()}

    def quick_gradient(self, x, t):
        # The same differences, but what a moved number leaves alone is computed once: W1[i, j] moves only unit j, and
        # only in samples n whose pixel i is not 0. A bias is the weight of one more pixel that is always 1.
        self.predict(x)
        a1, z1, W2 = self.a1, self.z1, self.params["W2"]
        G1, G2 = np.zeros((x.shape[1] + 1, len(W2))), np.zeros((len(W2) + 1, W2.shape[1]))
        n, i, step, a2 = inputs(x, self.a2)
        for j in range(len(W2)):
            up, down = sigmoid(a1[n, j] + step) - z1[n, j], sigmoid(a1[n, j] - step) - z1[n, j]
            difference = losses(a2, t[n], W2[j], up) - losses(a2, t[n], W2[j], down)
            G1[:, j] = np.bincount(i, difference, minlength=len(G1)) / (2 * h * len(x))
        n, j, step, a2 = inputs(z1, self.a2)
        for k, one in enumerate(np.eye(W2.shape[1])):  # W2[j, k] moves score k alone
            difference = losses(a2, t[n], one, step) - losses(a2, t[n], one, -step)
            G2[:, k] = np.bincount(j, difference, minlength=len(G2)) / (2 * h * len(x))
        return {"W1": G1[:-1], "b1": G1[-1], "W2": G2[:-1], "b2": G2[-1]}


def inputs(x, a2):  # of every input that is not 0, the bias's 1 included: sample, place, movement, scores
    x = np.hstack([x, np.ones((len(x), 1))])
    n, i = np.nonzero(x)
    return n, i, h * x[n, i], a2.T[:, n]


def losses(a2, t, direction, step):  # of the scores a2, a column each, that go so many steps in that direction
    y = np.multiply.outer(direction, step)
    np.exp(np.add(y, a2, out=y), out=y)
    return -np.log(y[t, np.arange(len(t))] / y.sum(axis=0) + 1e-7)


def main(run: Run) -> None:
    (x_train, t_train), (x_test, t_test) = run.mnist()
    rng = np.random.default_rng(0)
    iters_num, batch_size, hidden_size, every = (500, 5, 10, 50) if run.quick else (10000, 50, 50, 500)
    network = TwoLayerNet(784, hidden_size, 10, rng)
    with run.clock() as slow:
        expected = network.numerical_gradient(x_train[:3], t_train[:3])
    grads = network.quick_gradient(x_train[:3], t_train[:3])
    error = max(float(np.abs(grads[key] - expected[key]).max()) for key in grads)
    run.row("quick_gradient against every loss anew (seconds), 3 images", None, error, None, slow.seconds, digits=1)
    history: dict[str, list[float]] = {"train_accuracy": [], "test_accuracy": []}
    with run.clock() as clock:
        for i in run.progress(iters_num + 1):
            if i % every == 0:
                history["train_accuracy"] += [network.accuracy(x_train[:10000], t_train[:10000])]
                history["test_accuracy"] += [network.accuracy(x_test, t_test)]
            batch_mask = rng.choice(len(x_train), batch_size)
            grads = network.quick_gradient(x_train[batch_mask], t_train[batch_mask])
            for key in network.params:
                network.params[key] -= learning_rate * grads[key]
    name = f"test accuracy, {iters_num:,} steps of {batch_size} images"
    run.row(name, 0.9459, history["test_accuracy"][-1], None, clock.seconds)
    run.picture("accuracy", plots.history, history, xlabel=f"{every} steps each")


if __name__ == "__main__":
    start(main)
