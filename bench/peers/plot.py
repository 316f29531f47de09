"""One picture of the peers: python bench/peers/plot.py bench/history/0001-dense.json docs/peers.svg

Every row is one case of the record(s); a mark shows how many times as fast as NumPy a library is there.
"""

import json
import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

ROWS = (  # workload, how the case begins, what the picture says
    ("training_step", "network=784-50-10", "training step, 784-50-10, 100 images"),
    ("inference", "N=1", "inference, 784-50-100-10, 1 image"),
    ("inference", "N=100", "inference, 100 images"),
    ("affine_forward", "N=100 D=784 M=50", "x @ W + b, 100 x 784 x 50"),
    ("affine_backward", "N=100 D=784 M=50", "its gradients"),
    ("matmul", "M=1024 K=1024 N=1024", "matrix product, 1024 x 1024 x 1024"),
    ("softmax_forward", "N=128 V=1000", "softmax, 128 x 1000"),
    ("softmax_cross_entropy", "N=128 V=1000", "softmax loss and gradient, 128 x 1000"),
    ("adam", "parameters=784-50-10", "Adam, 784-50-10"),
    ("call_overhead", "N=1 D=10 M=10", "x @ W + b, 1 x 10 x 10"),
)
MARKS = {  # library: marker, colour; fastnn last, so on top
    "numba": ("v", "#8c8c8c"),
    "torch": ("s", "#ee4c2c"),
    "jax": ("^", "#2f80d0"),
    "onnxruntime": ("D", "#7a5cc7"),
    "fastnn": ("o", "#0a8f4f"),
}


def ratios(results):
    """-> [(label, {library: NumPy's time / its time})] of the rows that the results have."""
    found = []
    for workload, case, label in ROWS:
        for result in results:
            if result["workload"] != workload or result["dtype"] != "float32" or result["machine"]["threads"] != 1:
                continue
            row = next((r for r in result["rows"] if (r["case"] + " ").startswith(case + " ")), None)
            if row is not None:
                times = {name: entry["median"] for name, entry in row["peers"].items() if "median" in entry}
                found.append((label, {name: times["numpy"] / t for name, t in times.items()}))
    return found


def main(*arguments):
    *records, target = map(Path, arguments)
    rows = ratios([result for record in records for result in json.loads(record.read_text(encoding="utf-8"))])
    plt.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "fastnn", "font.size": 10})
    figure, axes = plt.subplots(figsize=(8, 0.36 * len(rows) + 1.3), layout="constrained")
    axes.axvline(1, color="black", linewidth=1)
    for name, (marker, colour) in MARKS.items():
        points = [(r[name], y) for y, (_, r) in enumerate(rows) if name in r]
        large = 75 if name == "fastnn" else 36
        axes.scatter(*zip(*points, strict=True), marker=marker, color=colour, s=large, label=name, zorder=3)
    axes.set(xscale="log", xlabel="times as fast as NumPy (float32, 1 thread; further right is better)")
    axes.set_yticks(range(len(rows)), [label for label, _ in rows])
    axes.invert_yaxis()
    ticks = [0.1, 0.2, 0.5, 1, 2, 5, 10]
    axes.set_xticks(ticks, [f"{t:g}x" for t in ticks])
    axes.minorticks_off()
    axes.grid(axis="both", color="#dddddd", zorder=0)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(length=0)
    axes.legend(loc="upper center", bbox_to_anchor=(0.4, 1.12), ncols=len(MARKS), frameon=False)
    figure.savefig(target, metadata={"Date": None} if target.suffix == ".svg" else None)


if __name__ == "__main__":
    main(*sys.argv[1:])
