"""An autoencoder squeezes a digit through 16 numbers and draws it again: it learns what digits have in common."""

import numpy as np

from fastnn import Network
from fastnn.examples import Run, start, subplots
from fastnn.layers import Affine, MeanSquaredError, Relu, Sigmoid
from fastnn.models import SimpleConvNet
from fastnn.network import LearningRate, cosine_decay
from fastnn.optimizer import Adam

hidden_size, code_size, batch_size = 256, 16, 100


def classifier(run, train, test):
    """A convolutional network that says which digit an image is, and its accuracy on the test digits."""
    net = SimpleConvNet(rng=0)
    images, labels = train[0].reshape(-1, 1, 28, 28), train[1]
    epochs = 2 if run.quick else 8
    decay = [LearningRate(cosine_decay(0.002, epochs))]
    net.network.fit(images, labels, epochs, batch_size, Adam(), callbacks=decay, rng=0, progress=False)
    return net, net.accuracy(test[0].reshape(-1, 1, 28, 28), test[1])


def draw(rows, names):
    figure, axes = subplots(len(rows), len(rows[0]), size=(0.8, 0.8))
    for line, images, name in zip(axes, rows, names, strict=True):
        for ax, image in zip(line, images, strict=True):
            ax.imshow(image.reshape(28, 28), cmap="gray_r", vmin=0, vmax=1)
            ax.set(xticks=[], yticks=[])
        line[0].set_ylabel(name, rotation=0, ha="right", va="center")
    return figure


def main(run: Run) -> None:
    train, test = run.mnist()
    (x_train, _), (x_test, t_test) = train, test
    epochs = 2 if run.quick else 20
    rng = np.random.default_rng(0)
    encoder = [Affine.create(784, hidden_size, rng=rng), Relu(), Affine.create(hidden_size, code_size, rng=rng)]
    decoder = [Affine.create(code_size, hidden_size, rng=rng), Relu(), Affine.create(hidden_size, 784, rng=rng)]
    net = Network([*encoder, *decoder, Sigmoid()], MeanSquaredError())
    optimizer = Adam(lr=0.002)
    with run.clock() as clock:
        for _ in run.progress(epochs, "training"):
            order = rng.permutation(len(x_train))
            for i in range(0, len(x_train), batch_size):
                x = x_train[order[i : i + batch_size]]
                net.step(x, x, optimizer)

    again = net.predict(x_test)
    error = float(np.mean((again - x_test) ** 2))
    mean = float(np.mean((x_train.mean(axis=0) - x_test) ** 2))
    middle = x_train.mean(axis=0)
    covariance = np.cov(x_train.astype(np.float64), rowvar=False)
    axes = np.linalg.eigh(covariance)[1].T[::-1].astype(np.float32)
    linear = (x_test - middle) @ axes[:code_size].T @ axes[:code_size] + middle
    run.row(f"training, {epochs} epochs", None, "done", None, clock.seconds)
    run.row("squared error of a pixel, test digits", None, error)
    run.row(f"of the best linear code of {code_size} numbers", None, float(np.mean((linear - x_test) ** 2)))
    run.row("of the mean digit for every one", None, mean)
    judge, accuracy = classifier(run, train, test)
    run.row("accuracy of the classifier that judges", None, accuracy)
    run.row("reconstructions that it recognises", None, judge.accuracy(again.reshape(-1, 1, 28, 28), t_test))
    noisy = (x_test[:10] + rng.normal(0, 0.3, (10, 784))).clip(0, 1).astype(np.float32)
    rows = [x_test[:10], again[:10], linear[:10], noisy, net.predict(noisy)]
    names = ["digit", f"{code_size} numbers", "linear", "with noise", "from noise"]
    run.picture("reconstructions", draw, rows, names)


if __name__ == "__main__":
    start(main)
