"""The loop of chapter 5: 10,000 mini-batches by backpropagation, and 97 of 100 digits are read rightly."""

import numpy as np

from fastnn import plots
from fastnn.examples import Run, start
from fastnn.models import TwoLayerNet

batch_size = 100
learning_rate = 0.1


def train(run, data, iters_num, seed):
    (x_train, t_train), (x_test, t_test) = data
    rng = np.random.default_rng(seed)
    network = TwoLayerNet(input_size=784, hidden_size=50, output_size=10, rng=rng)
    train_size = x_train.shape[0]
    iter_per_epoch = max(train_size // batch_size, 1)
    train_loss_list, train_acc_list, test_acc_list = [], [], []
    for i in run.progress(iters_num, f"seed {seed}"):
        batch_mask = rng.choice(train_size, batch_size)
        x_batch = x_train[batch_mask]
        t_batch = t_train[batch_mask]

        grad = network.gradient(x_batch, t_batch)
        for key in ("W1", "b1", "W2", "b2"):
            network.params[key] -= learning_rate * grad[key]

        train_loss_list.append(network.loss(x_batch, t_batch))
        if i % iter_per_epoch == 0:
            train_acc_list.append(network.accuracy(x_train, t_train))
            test_acc_list.append(network.accuracy(x_test, t_test))
    return network, {"loss": train_loss_list, "train_accuracy": train_acc_list, "test_accuracy": test_acc_list}


def main(run: Run) -> None:
    data = run.mnist(normalize=True, one_hot_label=True)
    (x_train, t_train), (x_test, t_test) = data
    iters_num = 500 if run.quick else 10000
    trained, seconds = [], []
    for seed in range(3):
        with run.clock() as clock:
            trained.append(train(run, data, iters_num, seed))
        seconds.append(clock.seconds)
    _, history = trained[0]
    for i, name, reported in ((0, "the first step", [0.10227, 0.1016]), (1, "an epoch", [0.90125, 0.9073])):
        both = [history["train_accuracy"][i], history["test_accuracy"][i]]
        run.row(f"training, test accuracy after {name}", reported, both)
    train_acc = [network.accuracy(x_train, t_train) for network, _ in trained]
    test_acc = [network.accuracy(x_test, t_test) for network, _ in trained]
    name = f"after {iters_num:,} steps, median of 3 seeds"
    run.row(f"training accuracy {name}", 0.97878, float(np.median(train_acc)), None, float(np.median(seconds)))
    run.row(f"test accuracy {name}", 0.971, float(np.median(test_acc)))
    run.row("test accuracy of each seed", None, test_acc)
    accuracies = {key: history[key] for key in ("train_accuracy", "test_accuracy")}
    run.picture("accuracy", plots.history, accuracies, xlabel="epoch begun")


if __name__ == "__main__":
    start(main)
