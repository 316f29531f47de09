import sys

sys.path.append("..")
from common.base_model import BaseModel
from common.np import *
from common.optimizer import SGD
from common.time_layers import *
from common.trainer import RnnlmTrainer
from dataset import ptb


class BetterRnnlm(BaseModel):
    """Two LSTMs with dropout between, the output weights tied to the embedding, as chapter 6 of book 2 has it."""

    def __init__(self, vocab_size=10000, wordvec_size=650, hidden_size=650, dropout_ratio=0.5):
        V, D, H = vocab_size, wordvec_size, hidden_size
        rn = np.random.randn
        embed_W = (rn(V, D) / 100).astype("f")
        self.lstm_layers = [
            TimeLSTM((rn(n, 4 * H) / np.sqrt(n)).astype("f"), (rn(H, 4 * H) / np.sqrt(H)).astype("f"),
                     np.zeros(4 * H).astype("f"), stateful=True)
            for n in (D, H)
        ]
        self.drop_layers = [TimeDropout(dropout_ratio) for _ in range(3)]
        self.layers = [
            TimeEmbedding(embed_W), self.drop_layers[0], self.lstm_layers[0], self.drop_layers[1], self.lstm_layers[1],
            self.drop_layers[2], TimeAffine(embed_W.T, np.zeros(V).astype("f")),
        ]
        self.loss_layer = TimeSoftmaxWithLoss()
        self.params, self.grads = [], []
        for layer in self.layers:
            self.params += layer.params
            self.grads += layer.grads

    def predict(self, xs, train_flg=False):
        for layer in self.drop_layers:
            layer.train_flg = train_flg
        for layer in self.layers:
            xs = layer.forward(xs)
        return xs

    def forward(self, xs, ts, train_flg=True):
        return self.loss_layer.forward(self.predict(xs, train_flg), ts)

    def backward(self, dout=1):
        dout = self.loss_layer.backward(dout)
        for layer in reversed(self.layers):
            dout = layer.backward(dout)
        return dout


def train(steps=2):
    corpus, word_to_id, _ = ptb.load_data("train")
    xs, ts = corpus[: 700 * steps], corpus[1 : 700 * steps + 1]
    np.random.seed(0)
    trainer = RnnlmTrainer(BetterRnnlm(len(word_to_id)), SGD(20.0))
    trainer.fit(xs, ts, 1, 20, 35, 0.25, eval_interval=1)
    return trainer.ppl_list


if __name__ == "__main__":
    train()
