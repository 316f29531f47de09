"""MNIST: 60,000 handwritten digits to learn from and 10,000 for the test; the first one is a five."""

from fastnn import plots
from fastnn.examples import Run, start


def main(run: Run) -> None:
    (x_train, t_train), (x_test, t_test) = run.mnist(flatten=True, normalize=False)
    for name, array, shape in (
        ("x_train", x_train, (60000, 784)),
        ("t_train", t_train, (60000,)),
        ("x_test", x_test, (10000, 784)),
        ("t_test", t_test, (10000,)),
    ):
        run.row(f"shape of {name}", shape, array.shape)

    img = x_train[0]
    label = t_train[0]
    run.row("label of the first image", 5, label)
    run.row("its shape", (784,), img.shape)
    img = img.reshape(28, 28)  # back to the image's own shape
    run.row("its shape after reshape(28, 28)", (28, 28), img.shape)
    run.picture("first", plots.images, img[None], [f"label {label}"])
    title = "the first 20 training images and their labels"
    run.picture("digits", plots.images, x_train[:20], t_train[:20], columns=5, title=title)


if __name__ == "__main__":
    start(main)
