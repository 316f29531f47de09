"""Words of like use get like vectors: CBOW and skip-gram with negative sampling, and the words nearest to a few."""

import contextlib
import io

import numpy as np

from fastnn import plots
from fastnn.dataset import ptb
from fastnn.examples import Run, start
from fastnn.models import CBOW, SkipGram
from fastnn.optimizer import Adam
from fastnn.text import analogy, create_contexts_target, most_similar, preprocess
from fastnn.trainer import ModelTrainer

hidden_size = 100
batch_size = 100
BOOK = {  # word: those nearest to it in book 2, by the CBOW weights that come with it
    "you": "we, someone, i, something, anyone",
    "year": "month, week, spring, summer, decade",
    "car": "luxury, arabia, auto, disk-drive, travel",
    "toyota": "ford, instrumentation, mazda, bethlehem, nissan",
}
PARTS = (("you", "we", "they"), ("want", "need", "like"), ("a", "the", "this"), ("car", "truck", "bus"))


def generated(rng, sentences=3000):
    """Sentences like "we need the truck": words of one place are used alike."""
    text = ". ".join(" ".join(rng.choice(part) for part in PARTS) for _ in range(sentences))
    return preprocess(text)


def nearest(query, top, words, word_vecs):
    with contextlib.redirect_stdout(io.StringIO()):  # most_similar also prints
        return [word for word, _ in most_similar(query, *words, word_vecs, top=top)]


def main(run: Run) -> None:
    rng = np.random.default_rng(0)
    corpus, *words = run.load(ptb.load_data, lambda: generated(rng), "generated sentences")
    word_to_id, id_to_word = words
    real = len(word_to_id) > 100
    window_size = 5 if real else 2
    contexts, target = create_contexts_target(corpus, window_size)
    queries = list(BOOK) if real else ["you", "need", "car"]
    for name, Model, max_epoch in (("CBOW", CBOW, 10), ("skip-gram", SkipGram, 4)):
        max_epoch = max_epoch if real else 2
        size = hidden_size if real else 10
        model = Model(len(word_to_id), size, window_size, corpus, sample_size=5 if real else 3, sparse=True, rng=rng)
        trainer = ModelTrainer(model, Adam(lr=0.001 if real else 0.01), rng)
        with run.clock() as clock:
            for _ in run.progress(max_epoch, name):
                trainer.fit(contexts, target, max_epoch=1, batch_size=batch_size, eval_interval=None)
        loss = float(
            np.mean([model.forward(contexts[i : i + 1000], target[i : i + 1000]) for i in range(0, 9000, 1000)])
        )
        trained = f"{max_epoch} epochs of {len(corpus):,} words"
        run.row(f"{name}: loss of the first 9,000 contexts after {trained}", None, loss, None, clock.seconds)
        for query in queries:
            book = f" (book 2: {BOOK[query]})" if real else ""
            near = ", ".join(nearest(query, 5 if real else 2, words, model.word_vecs))
            run.row(f"{name}: nearest to {query}{book}", None, near)
        if real:
            with contextlib.redirect_stdout(io.StringIO()):
                answers = analogy("man", "king", "woman", word_to_id, id_to_word, model.word_vecs)
            run.row(
                f"{name}: man to king is as woman to (book 2: queen among 5)",
                None,
                ", ".join(word for word, _ in answers),
            )
        shown = [
            word_to_id[word] for q in queries for word in (q, *nearest(q, 6 if real else 2, words, model.word_vecs))
        ]
        groups = [q for q in queries for _ in range(7 if real else 3)]
        texts, vectors, title = [id_to_word[i] for i in shown], model.word_vecs[shown], f"{name}: the nearest words"
        run.picture(name.lower().replace("-", ""), plots.embedding, texts, vectors, clusters=groups, title=title)


if __name__ == "__main__":
    start(main)
