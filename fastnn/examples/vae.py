"""A variational autoencoder: its code is a normal distribution, so that draws from N(0, 1) become new digits."""

import numpy as np

from fastnn.examples import Run, start
from fastnn.examples.autoencoder import classifier, draw
from fastnn.functions import sigmoid
from fastnn.layers import Affine, GaussianKL, Relu, Reparameterize, SigmoidWithLoss
from fastnn.optimizer import Adam

hidden_size, code_size, batch_size = 400, 20, 100
affine = Affine.create


class VAE:
    def __init__(self, rng):
        self.encoder = [affine(784, hidden_size, rng=rng), Relu()]
        self.mu = affine(hidden_size, code_size, init="xavier", rng=rng)
        self.log_var = affine(hidden_size, code_size, init="xavier", rng=rng)
        self.sample = Reparameterize(rng)
        self.decoder = [affine(code_size, hidden_size, rng=rng), Relu(), affine(hidden_size, 784, rng=rng)]
        self.reconstruction, self.kl = SigmoidWithLoss(), GaussianKL()
        layers = [*self.encoder, self.mu, self.log_var, *self.decoder]
        self.params = [p for layer in layers for p in layer.params]
        self.grads = [g for layer in layers for g in layer.grads]

    def encode(self, x):
        for layer in self.encoder:
            x = layer.forward(x)
        return self.mu.forward(x), self.log_var.forward(x)

    def decode(self, z):
        for layer in self.decoder:
            z = layer.forward(z)
        return z

    def loss(self, x):
        """Nats a digit: what the reconstruction costs, and what the code costs."""
        mu, log_var = self.encode(x)
        scores = self.decode(self.sample.forward(mu, log_var))
        return 784 * self.reconstruction.forward(scores, x), self.kl.forward(mu, log_var)

    def gradient(self):
        dout = self.reconstruction.backward(784.0)
        for layer in reversed(self.decoder):
            dout = layer.backward(dout)
        dmu, dlog_var = (a + b for a, b in zip(self.sample.backward(dout), self.kl.backward(), strict=True))
        dout = self.mu.backward(dmu) + self.log_var.backward(dlog_var)
        for layer in reversed(self.encoder):
            dout = layer.backward(dout)


def main(run: Run) -> None:
    train, test = run.mnist()
    epochs = 3 if run.quick else 30
    rng = np.random.default_rng(0)
    model, optimizer = VAE(rng), Adam(lr=0.001)
    with run.clock() as clock:
        for _ in run.progress(epochs, "training"):
            order = rng.permutation(len(train[0]))
            for i in range(0, len(order), batch_size):
                model.loss(train[0][order[i : i + batch_size]])
                model.gradient()
                optimizer.update(model.params, model.grads)

    x, t = test
    reconstruction, kl = model.loss(x)
    again = sigmoid(model.decode(model.encode(x)[0]))
    judge, accuracy = classifier(run, train, test)
    run.row(f"training, {epochs} epochs", None, "done", None, clock.seconds)
    run.row("nats a test digit: reconstruction, code", None, [reconstruction, kl])
    run.row("accuracy of the classifier that judges", None, accuracy)
    run.row("reconstructions that it recognises", None, judge.accuracy(again.reshape(-1, 1, 28, 28), t))
    samples = sigmoid(model.decode(rng.standard_normal((40, code_size)).astype(np.float32)))
    run.picture("reconstructions", draw, [x[:10], again[:10]], ["digit", "again"])
    run.picture("samples", draw, samples.reshape(4, 10, 784), [""] * 4)
    ends = model.encode(x[:8])[0]
    way = [(1 - a) * ends[0::2] + a * ends[1::2] for a in np.linspace(0, 1, 10, dtype=np.float32)]
    between = sigmoid(model.decode(np.concatenate(way))).reshape(10, 4, 784).swapaxes(0, 1)
    run.picture("interpolation", draw, between, [""] * 4)


if __name__ == "__main__":
    start(main)
