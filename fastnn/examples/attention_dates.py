"""Attention rewrites dates in any format as YYYY-MM-DD; its map shows which characters each character is read from."""

import datetime
import tempfile
from pathlib import Path

import numpy as np

from fastnn import plots
from fastnn.dataset import sequence
from fastnn.examples import Run, start
from fastnn.models import AttentionSeq2seq
from fastnn.optimizer import Adam
from fastnn.trainer import ModelTrainer

FORMATS = ("%d/%m/%Y", "%Y.%m.%d")


def generated(rng, n=5000):
    """Dates of two formats, written and read as the data set's file."""
    days = rng.integers(datetime.date(1970, 1, 1).toordinal(), datetime.date(2020, 1, 1).toordinal(), n)
    dates = [datetime.date.fromordinal(int(day)) for day in days]
    lines = [f"{d.strftime(FORMATS[rng.integers(2)]):10}_{d.isoformat()}" for d in dates]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "dates.txt")
        file.write_text("\n".join(lines), encoding="utf-8")
        return sequence.load_data(str(file))


def train(run, model, x, t, max_epoch, right, rng):
    """Epochs until all answers are right, at most max_epoch -> share of right answers after each."""
    trainer = ModelTrainer(model, Adam(lr=0.01 if run.quick else 0.001), rng)
    acc_list = []
    for _ in run.progress(max_epoch, "epochs"):
        trainer.fit(x, t, max_epoch=1, batch_size=128, max_grad=5.0, eval_interval=None)
        acc_list.append(right())
        if acc_list[-1] == 1:
            break
    return acc_list


def attention_map(model, question, id_to_char, START):
    """The answer to one reversed question, and its map turned so that the question is read from left to right."""
    answer = model.generate(question, START, 10)
    decoder_input = np.array([[START, *answer[:-1]]])
    model.decoder.forward(decoder_input, model.encoder.forward(question))
    a = np.array(model.decoder.attention.attention_weights)[:, 0, ::-1]
    return a, *("".join(id_to_char[int(i)] for i in ids) for ids in (question[0, ::-1], answer))


def main(run: Run) -> None:
    rng = np.random.default_rng(0)
    (x_train, t_train), (x_test, t_test) = run.load(
        lambda: sequence.load_data("date.txt"), lambda: generated(rng), "generated dates of two formats"
    )
    char_to_id, id_to_char = sequence.get_vocab()
    x_train, x_test = x_train[:, ::-1].copy(), x_test[:, ::-1].copy()  # reversed, as in the chapter
    START = char_to_id["_"]
    wordvec_size, hidden_size = 16, 64 if run.quick else 256
    model = AttentionSeq2seq(len(char_to_id), wordvec_size, hidden_size, rng=rng)

    def right():
        answers = model.generate(x_test[:1000], START, t_test.shape[1] - 1)
        return float(np.mean((answers == t_test[:1000, 1:]).all(axis=1)))

    with run.clock() as clock:
        acc_list = train(run, model, x_train, t_train, 8 if run.quick else 10, right, rng)
    run.row("dates right after 1 epoch", None, acc_list[0], digits=6)
    n = min(1000, len(x_test))
    name = f"of {n:,} after {len(acc_list)} epochs (training stops when these are all right)"
    run.row(f"dates right {name}", None, acc_list[-1], None, clock.seconds, digits=6)
    every = model.generate(x_test, START, t_test.shape[1] - 1)
    share = (every == t_test[:, 1:]).all(axis=1).mean()
    run.row(f"dates right of all {len(x_test):,} of the test", None, share, digits=6)
    for i in range(3):
        a, question, answer = attention_map(model, x_test[i : i + 1], id_to_char, START)
        question = question.rstrip()
        run.picture(f"attention_{i}", plots.attention, a[:, : len(question)], question, answer)
        run.row(f"a date: {question}", None, answer)


if __name__ == "__main__":
    start(main)
