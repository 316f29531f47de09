import os
import sys

sys.path.append(os.pardir)
import numpy as np
from common.multi_layer_net_extend import MultiLayerNetExtend
from common.trainer import Trainer
from dataset.mnist import load_mnist


def train(steps=200):
    (x_train, t_train), (x_test, t_test) = load_mnist(normalize=True)
    x_train, t_train = x_train[:300], t_train[:300]
    np.random.seed(0)
    network = MultiLayerNetExtend(784, [100] * 6, 10, use_dropout=True, dropout_ration=0.2)
    trainer = Trainer(network, x_train, t_train, x_test[:1000], t_test[:1000], epochs=1, mini_batch_size=100,
                      optimizer="sgd", optimizer_param={"lr": 0.01}, verbose=False)
    for _ in range(steps):
        trainer.train_step()
    return trainer.train_loss_list


if __name__ == "__main__":
    for loss in train():
        print(loss)
