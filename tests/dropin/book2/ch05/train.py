import sys

sys.path.append("..")
import numpy as np
from common.optimizer import SGD
from common.trainer import RnnlmTrainer
from dataset import ptb
from simple_rnnlm import SimpleRnnlm


def train(steps=300):
    corpus = ptb.load_data("train")[0][:1000]
    np.random.seed(0)
    trainer = RnnlmTrainer(SimpleRnnlm(int(max(corpus) + 1), 100, 100), SGD(0.1))
    trainer.fit(corpus[:-1], corpus[1:], max(1, steps // 19), 10, 5)
    return trainer.ppl_list


if __name__ == "__main__":
    train()
