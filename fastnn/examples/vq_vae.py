"""VQ-VAE: the code of a digit is 32 words of a codebook that the network writes itself."""

import numpy as np

from fastnn.examples import Run, start
from fastnn.examples.autoencoder import classifier, draw
from fastnn.layers import Affine, MeanSquaredError, Relu, VectorQuantizer
from fastnn.optimizer import Adam

hidden_size, words, word_size, codes, batch_size = 400, 32, 8, 64, 100
affine = Affine.create


class VQVAE:
    def __init__(self, rng):
        code_size = words * word_size
        self.encoder = [affine(784, hidden_size, rng=rng), Relu(), affine(hidden_size, code_size, rng=rng)]
        self.quantizer = VectorQuantizer(rng.normal(0, 0.5, (codes, word_size)).astype(np.float32))
        self.decoder = [affine(code_size, hidden_size, rng=rng), Relu(), affine(hidden_size, 784, rng=rng)]
        self.reconstruction = MeanSquaredError()
        layers = [*self.encoder, self.quantizer, *self.decoder]
        self.params = [p for layer in layers for p in layer.params]
        self.grads = [g for layer in layers for g in layer.grads]

    def encode(self, x):
        for layer in self.encoder:
            x = layer.forward(x)
        return x.reshape(-1, word_size)  # the words of all digits

    def decode(self, quantized):
        y = quantized.reshape(-1, words * word_size)
        for layer in self.decoder:
            y = layer.forward(y)
        return y

    def loss(self, x):
        quantized = self.quantizer.forward(self.encode(x))
        return self.reconstruction.forward(self.decode(quantized), x), self.quantizer.loss

    def gradient(self):
        dout = self.reconstruction.backward(20.0)  # as much as the words' loss, which is larger by itself
        for layer in reversed(self.decoder):
            dout = layer.backward(dout)
        dout = self.quantizer.backward(dout.reshape(-1, word_size))  # straight through to the encoder
        dout = dout.reshape(-1, words * word_size)
        for layer in reversed(self.encoder):
            dout = layer.backward(dout)


def main(run: Run) -> None:
    train, test = run.mnist()
    epochs = 3 if run.quick else 30
    rng = np.random.default_rng(0)
    model, optimizer = VQVAE(rng), Adam(lr=0.001)
    first = model.encode(train[0][:1000])
    model.quantizer.W[...] = rng.choice(first, codes, replace=False)  # codes that are near to what there is
    with run.clock() as clock:
        for _ in run.progress(epochs, "training"):
            order = rng.permutation(len(train[0]))
            for i in range(0, len(order), batch_size):
                model.loss(train[0][order[i : i + batch_size]])
                model.gradient()
                optimizer.update(model.params, model.grads)

    x, t = test
    reconstruction, _ = model.loss(x)
    used = np.bincount(model.quantizer.index, minlength=codes)
    p = used[used > 0] / used.sum()
    again = model.decode(model.quantizer.forward(model.encode(x))).clip(0, 1)
    judge, accuracy = classifier(run, train, test)
    run.row(f"training, {epochs} epochs", None, "done", None, clock.seconds)
    run.row("squared error of a pixel, test digits", None, reconstruction)
    run.row("bits a digit", None, words * int(np.log2(codes)))
    run.row("codes in use, perplexity of their use", None, [len(p), float(np.exp(-(p * np.log(p)).sum()))])
    run.row("accuracy of the classifier that judges", None, accuracy)
    run.row("reconstructions that it recognises", None, judge.accuracy(again.reshape(-1, 1, 28, 28), t))
    run.picture("reconstructions", draw, [x[:10], again[:10]], ["digit", "again"])
    half = model.encode(x[:10]).reshape(10, words, word_size), model.encode(x[10:20]).reshape(10, words, word_size)
    way = [np.concatenate([half[1][:, :n], half[0][:, n:]], axis=1) for n in np.linspace(0, words, 6, dtype=int)]
    between = [model.decode(model.quantizer.forward(w.reshape(-1, word_size))).clip(0, 1) for w in way]
    run.picture("interpolation", draw, between, [f"{n} words" for n in np.linspace(0, words, 6, dtype=int)])


if __name__ == "__main__":
    start(main)
