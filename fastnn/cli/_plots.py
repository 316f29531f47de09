"""The plots of `fastnn demo`, drawn without a display and without touching pyplot's state."""

BLUE, ORANGE = "#2a6f97", "#e07a1f"


def accuracy(path, history, model, description):
    """Accuracy after each epoch; `history` is [(on training digits, on test digits), ...]."""
    figure, axes = _figure()
    epochs = range(1, len(history) + 1)
    train, test = zip(*history, strict=True)
    axes.plot(epochs, train, color=BLUE, marker="o", markersize=4, label=f"training digits: {train[-1]:.4f}")
    axes.plot(epochs, test, color=ORANGE, marker="s", markersize=4, label=f"test digits: {test[-1]:.4f}")
    axes.set_xlabel("epoch")
    axes.set_ylabel("accuracy (share of digits classified correctly)")
    axes.set_title(f"{model}\n{description}", fontsize=10)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    figure.savefig(path, dpi=120)


def per_sample_vs_per_batch(path, rows, batch, model):
    """Images per second, one by one beside batches, on a logarithmic axis; `rows` is {name: (one by one, batches)}."""
    figure, axes = _figure()
    one_by_one, batches = zip(*rows.values(), strict=True)
    for offset, speeds, color, label in (
        (-0.2, one_by_one, BLUE, "one by one"),
        (0.2, batches, ORANGE, f"batches of {batch}"),
    ):
        bars = axes.bar([i + offset for i in range(len(rows))], speeds, width=0.38, color=color, label=label)
        axes.bar_label(bars, [f"{speed:,.0f}" for speed in speeds], padding=2, fontsize=8)
    axes.set_yscale("log")
    axes.set_ylim(min(one_by_one) / 3, max(batches) * 4)
    names = [f"{name}\nbatches {fast / slow:.1f}x" for name, (slow, fast) in rows.items()]
    axes.set_xticks(range(len(names)), names)
    axes.set_xlabel("backend of fastnn; books' way: plain NumPy")
    axes.set_ylabel("speed (images/s, logarithmic)")
    axes.set_title(f"Classifying digits\n{model}", fontsize=10)
    axes.grid(axis="y", alpha=0.3)
    axes.set_axisbelow(True)
    axes.legend(loc="upper right")
    figure.savefig(path, dpi=120)


def _figure():
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    return figure, figure.add_subplot()
