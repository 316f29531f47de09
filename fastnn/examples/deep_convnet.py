"""DeepConvNet, with six convolutions, is wrong about few digits; look at those: many would puzzle a person, too."""

from fastnn import plots
from fastnn.examples import Run, start
from fastnn.models import DeepConvNet
from fastnn.trainer import Trainer


def main(run: Run) -> None:
    (x_train, t_train), (x_test, t_test) = run.mnist(flatten=False)
    epochs = 2 if run.quick else 8
    network = DeepConvNet(rng=0)
    trainer = Trainer(
        network, x_train, t_train, x_test, t_test, epochs=epochs, mini_batch_size=100, optimizer="Adam",
        optimizer_param={"lr": 0.001}, evaluate_sample_num_per_epoch=1000, verbose=False, rng=1,
    )  # fmt: skip
    with run.clock() as clock:
        for _ in run.progress(trainer.max_iter):
            trainer.train_step()
    accuracy = network.accuracy(x_test, t_test)
    run.row(f"accuracy on test data after {epochs} epochs", None, accuracy, None, clock.seconds)
    scores = network.predict(x_test)
    wrong = int((scores.argmax(axis=1) != t_test).sum())
    run.row("test digits that it gets wrong", None, wrong)
    run.picture("misclassified", plots.misclassified, x_test, t_test, scores)
    history = {"train_accuracy": trainer.train_acc_list[1:], "test_accuracy": trainer.test_acc_list[1:]}
    run.picture("accuracy", plots.history, history, xlabel="epochs (accuracy on 1,000 digits)")


if __name__ == "__main__":
    start(main)
