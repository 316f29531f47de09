"""A seq2seq of two simple RNNs with 10 units reads 24 points of a sine and writes the cosine, feeding itself."""

import numpy as np

from fastnn import plots
from fastnn.examples import Run, start, subplots
from fastnn.layers import MeanSquaredError
from fastnn.models import BaseModel
from fastnn.optimizer import Adam
from fastnn.time_layers import TimeAffine, TimeRNN
from fastnn.trainer import training_step

NUM_HIDDEN_PARAMS, NUM_STEPS = 10, 24
BATCH_SIZE, EPOCHS = 16, 80  # the document's
init_points = [0, 24, 49, 74]


class SineToCosine(BaseModel):
    """The encoder's last state is the decoder's first; 251 parameters."""

    def __init__(self, rng):
        H, options = NUM_HIDDEN_PARAMS, {"rng": rng, "dtype": "float64"}
        self.e_rnn, self.d_rnn = TimeRNN.create(1, H, **options), TimeRNN.create(1, H, stateful=True, **options)
        self.d_dense = TimeAffine.create(H, 1, init="xavier", **options)
        self.loss_layer = MeanSquaredError()
        self.params = self.e_rnn.params + self.d_rnn.params + self.d_dense.params
        self.grads = self.e_rnn.grads + self.d_rnn.grads + self.d_dense.grads

    def forward(self, inputs, dy):
        ex, dx = inputs
        self.hs = self.e_rnn.forward(ex)
        self.d_rnn.set_state(self.hs[:, -1])
        return self.loss_layer.forward(self.d_dense.forward(self.d_rnn.forward(dx)), dy)

    def backward(self, dout=1):
        self.d_rnn.backward(self.d_dense.backward(self.loss_layer.backward(dout)))
        dhs = np.zeros_like(self.hs)
        dhs[:, -1] = self.d_rnn.dh
        self.e_rnn.backward(dhs)

    def predict(self, ex):
        """Each output is the next input, from 0 on."""
        self.d_rnn.set_state(self.e_rnn.forward(ex)[:, -1])
        output = np.zeros((len(ex), NUM_STEPS + 1, 1))
        for i in range(NUM_STEPS):
            output[:, i + 1] = self.d_dense.forward(self.d_rnn.forward(output[:, i : i + 1]))[:, 0]
        return output[:, 1:]


def draw(x, seq_out, answers):
    figure, axes = subplots(1, len(answers), size=(5, 3.2), squeeze=False)
    for ax, (epochs, _y) in zip(axes[0], answers.items(), strict=True):
        ax.plot(x, seq_out, "--", color="#0072b2", label="correct")
        for i in init_points:
            ax.plot(x[i : i + NUM_STEPS], _y[i, :, 0], color="#d55e00", label=None if i else "output")
        ax.set(title=f"after {epochs:,} epochs", xlabel="x", ylabel="cos x", ylim=(-1.5, 1.3))
        ax.legend(loc="lower left", ncols=2)
    return figure


def main(run: Run) -> None:
    x = np.linspace(-3 * np.pi, 3 * np.pi, 100)
    seq_in, seq_out = np.sin(x), np.cos(x)
    places = np.arange(len(x) - NUM_STEPS)[:, None] + np.arange(NUM_STEPS)
    ex, dy = seq_in[places][:, :, None], seq_out[places][:, :, None]
    dx = np.concatenate([np.zeros_like(dy[:, :1]), dy[:, :-1]], axis=1)
    train = np.arange(len(ex) - len(ex) // 5)  # Keras's validation_split: the last fifth
    rng, optimizer = np.random.default_rng(0), Adam()
    model = SineToCosine(rng)
    history: dict[str, list] = {"loss": [], "val_loss": []}
    answers, most = {}, EPOCHS if run.quick else 20 * EPOCHS
    with run.clock() as clock:
        for epoch in run.progress(most, "epochs"):
            optimizer.lr = 0.001 if epoch < EPOCHS else 0.005 * (1 - epoch / most)  # the document's; then to 0
            batches = np.array_split(rng.permutation(train), range(BATCH_SIZE, len(train), BATCH_SIZE))
            losses = [training_step(model, optimizer, (ex[batch], dx[batch]), dy[batch]) for batch in batches]
            history["loss"].append(np.mean(losses))
            history["val_loss"].append(model.forward((ex[len(train) :], dx[len(train) :]), dy[len(train) :]))
            if epoch + 1 in (EPOCHS, most):
                answers[epoch + 1] = model.predict(ex)
                error = np.abs(answers[epoch + 1] - dy)
                what = f"mean absolute error after {epoch + 1:,} epochs"
                run.row(what, None, error[train].mean(), None, clock.seconds)
                run.row(f"{what}, held-out windows", None, error[len(train) :].mean())
    run.picture("answers", draw, x, seq_out, answers)
    run.picture("losses", plots.history, {name: values[:200] for name, values in history.items()})


if __name__ == "__main__":
    start(main)
