"""HRED: with an RNN over the turns, a seq2seq answers from the whole dialogue; without it, it has to guess."""

import itertools

import numpy as np

from fastnn import plots
from fastnn.examples import Run, start
from fastnn.models import BaseModel, Decoder, Encoder
from fastnn.optimizer import Adam
from fastnn.time_layers import TimeGRU, TimeSoftmaxWithLoss
from fastnn.trainer import training_step

NAMES, THINGS = ["ann", "ben", "eve", "ken", "mia", "tom"], ["books", "cats", "coffee", "music", "tea", "trains"]
PLACES = ["berlin", "kyoto", "lima", "osaka", "paris", "rome"]
LENGTH = 6  # words of a turn, filled up with "", whose id is 0
WORDS = ["", "<go>", *NAMES, *THINGS, *PLACES, "likes", "in", "who", "what", "where", "is", "it", ".", "?"]


def dialogues(rng):
    """ids (n, 7 turns, LENGTH) of 216 facts in all orders of the questions; 172 facts are for training."""
    made = []
    for fact in rng.permutation(216):
        name, thing, place = NAMES[fact // 36], THINGS[fact // 6 % 6], PLACES[fact % 6]
        asked = ["who is it ?", f"{name} ."], ["what is it ?", f"{thing} ."], ["where is it ?", f"{place} ."]
        for order in itertools.permutations(asked):
            turns = [turn.split() for turn in (f"{name} likes {thing} in {place} .", *itertools.chain(*order))]
            made.append([[WORDS.index(word) for word in turn] + [0] * (LENGTH - len(turn)) for turn in turns])
    return np.split(np.array(made), [6 * 172])  # all six orders of a fact on one side


class HRED(BaseModel):
    """The encoder reads each turn, the context RNN these in order, and its states are the decoder's first ones."""

    def __init__(self, V, D, H, context, rng):
        self.encoder, self.decoder = Encoder(V, D, H, rng=rng), Decoder(V, D, H, rng=rng)
        self.context = TimeGRU.create(H, H, bias=-1, rng=rng) if context else None
        self.loss_layer = TimeSoftmaxWithLoss()
        for part in (self.encoder, self.decoder):
            part.embed.params[0] *= 100  # of deviation 1
            part.lstm.params[2][:H] = 2  # forget gates that keep
        parts = [part for part in (self.encoder, self.context, self.decoder) if part]
        self.params, self.grads = [p for part in parts for p in part.params], [g for part in parts for g in part.grads]

    def read(self, turns):
        """Each turn is read from its end, as in book 2, so that what fills it up comes first."""
        h = self.encoder.forward(turns[:, :-1, ::-1].reshape(-1, LENGTH))
        return self.context.forward(h.reshape(len(turns), -1, h.shape[1])).reshape(h.shape) if self.context else h

    def forward(self, turns, t):
        words = np.concatenate([np.ones_like(t[:, :1]), np.maximum(t[:, :-1], 0)], axis=1)  # from <go> on
        return self.loss_layer.forward(self.decoder.forward(words, self.read(turns)), t)

    def backward(self, dout=1):
        dh = self.decoder.backward(self.loss_layer.backward(dout))
        if self.context:
            dh = self.context.backward(dh.reshape(-1, 6, dh.shape[1])).reshape(dh.shape)
        self.encoder.backward(dh)


def targets(turns):
    """The words of the answers, every second turn; what does not count is -1."""
    t = turns[:, 1:].copy()
    t[t == 0] = t[:, 0::2] = -1
    return t.reshape(-1, LENGTH)


def main(run: Run) -> None:
    rng = np.random.default_rng(0)
    train, test = dialogues(rng)
    t, curves = targets(test), dict[str, dict[str, list]]()
    counts = np.bincount(targets(train)[targets(train) >= 0], minlength=len(WORDS)) + 1
    run.row("held-out loss of a unigram", None, -np.log(counts / counts.sum())[t[t >= 0]].mean())
    for name in ("HRED", "without context"):
        model, optimizer = HRED(len(WORDS), 16, 64, name == "HRED", rng), Adam(lr=0.005)
        history = curves[name] = {"loss": [], "val_loss": []}
        with run.clock() as clock:
            for _ in run.progress(2 if run.quick else 20, name):
                batches = np.array_split(train[rng.permutation(len(train))], len(train) // 16)
                losses = [training_step(model, optimizer, turns, targets(turns), 5.0) for turns in batches]
                history["loss"].append(float(np.mean(losses)))
                history["val_loss"].append(model.forward(test, t))
        run.row(f"{name}: held-out loss", None, history["val_loss"][-1], None, clock.seconds)
        right = ((model.decoder.generate(model.read(test), 1, LENGTH) == t) | (t < 0))[1::2].all(axis=1)
        run.row(f"{name}: share of held-out answers right", None, right.mean())
    run.picture("losses", plots.history, curves)


if __name__ == "__main__":
    start(main)
