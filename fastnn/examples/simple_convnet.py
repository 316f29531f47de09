"""SimpleConvNet learns MNIST; its 30 filters are noise before the training, and find edges and blobs after it."""

from fastnn import plots
from fastnn.examples import Run, start
from fastnn.models import SimpleConvNet
from fastnn.trainer import Trainer


def main(run: Run) -> None:
    (x_train, t_train), (x_test, t_test) = run.mnist(flatten=False)
    max_epochs = 2 if run.quick else 20
    network = SimpleConvNet(
        input_dim=(1, 28, 28), conv_param={"filter_num": 30, "filter_size": 5, "pad": 0, "stride": 1},
        hidden_size=100, output_size=10, weight_init_std=0.01, rng=0,
    )  # fmt: skip
    before = network.params["W1"].copy()
    trainer = Trainer(
        network, x_train, t_train, x_test, t_test, epochs=max_epochs, mini_batch_size=100, optimizer="Adam",
        optimizer_param={"lr": 0.001}, evaluate_sample_num_per_epoch=1000, verbose=False, rng=1,
    )  # fmt: skip
    with run.clock() as clock:
        for _ in run.progress(trainer.max_iter):
            trainer.train_step()
    train_acc = network.accuracy(x_train, t_train)
    run.row(f"accuracy on training data after {max_epochs} epochs", None, train_acc, None, clock.seconds)
    run.row("accuracy on test data", None, network.accuracy(x_test, t_test))
    run.picture("filters_before", plots.visualize_filter, before, columns=10)
    run.picture("filters_after", plots.visualize_filter, network.params["W1"], columns=10)
    run.picture("seen_by_filters", plots.apply_filter, x_test[0], network.params["W1"], network.params["b1"], columns=8)
    history = {"train_accuracy": trainer.train_acc_list[1:], "test_accuracy": trainer.test_acc_list[1:]}
    run.picture("accuracy", plots.history, history, xlabel="epochs (accuracy on 1,000 digits)")


if __name__ == "__main__":
    start(main)
