import sys

sys.path.append("..")
from common.base_model import BaseModel
from common.np import *
from common.optimizer import SGD
from common.time_layers import *
from common.trainer import RnnlmTrainer
from dataset import ptb


class Rnnlm(BaseModel):
    """Embedding, LSTM, Affine, softmax loss over time, as chapter 6 of book 2 describes it."""

    def __init__(self, vocab_size=10000, wordvec_size=100, hidden_size=100):
        V, D, H = vocab_size, wordvec_size, hidden_size
        rn = np.random.randn
        embed = TimeEmbedding((rn(V, D) / 100).astype("f"))
        self.lstm_layer = TimeLSTM(
            (rn(D, 4 * H) / np.sqrt(D)).astype("f"), (rn(H, 4 * H) / np.sqrt(H)).astype("f"),
            np.zeros(4 * H).astype("f"), stateful=True,
        )
        affine = TimeAffine((rn(H, V) / np.sqrt(H)).astype("f"), np.zeros(V).astype("f"))
        self.layers = [embed, self.lstm_layer, affine]
        self.loss_layer = TimeSoftmaxWithLoss()
        self.params, self.grads = [], []
        for layer in self.layers:
            self.params += layer.params
            self.grads += layer.grads

    def predict(self, xs):
        for layer in self.layers:
            xs = layer.forward(xs)
        return xs

    def forward(self, xs, ts):
        return self.loss_layer.forward(self.predict(xs), ts)

    def backward(self, dout=1):
        dout = self.loss_layer.backward(dout)
        for layer in reversed(self.layers):
            dout = layer.backward(dout)
        return dout

    def reset_state(self):
        self.lstm_layer.reset_state()


def train(steps=12):
    corpus, word_to_id, _ = ptb.load_data("train")
    xs, ts = corpus[: 700 * steps], corpus[1 : 700 * steps + 1]
    np.random.seed(0)
    trainer = RnnlmTrainer(Rnnlm(len(word_to_id)), SGD(20.0))
    trainer.fit(xs, ts, 1, 20, 35, 0.25, eval_interval=1)
    return trainer.ppl_list


if __name__ == "__main__":
    train()
