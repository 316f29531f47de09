"""The gallery: every system of the five documents that fastnn grew from, one short script each.

`fastnn examples` lists them, `fastnn examples spiral` runs one. Each script has a function `main(run)`; `run` gives it
data, a progress bar, a place for pictures and a table of what the document reported beside what we get.
"""

import dataclasses
import importlib
import importlib.util
import json
import math
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from pathlib import Path
from typing import Any

import numpy as np

DOCUMENTS = {  # key: English and Japanese title, in the order of the list
    "book1": ("Notes on book 1", "『ゼロから作るDeep Learning』のノート"),
    "tensorflow": ("TensorFlow note: MNIST with a hidden layer", "TensorFlow の記事: 隠れ層を加えた MNIST"),
    "layers": ("Note on layers", "レイヤのノート"),
    "report": ("Report on recurrent and generative networks", "再帰型・生成モデルのレポート"),
    "chainer": ("Chainer note", "Chainer のノート"),
}


@dataclasses.dataclass(frozen=True)
class Example:
    """One system of a document: `name` is the script's, `chapter` the document's chapter or section."""

    name: str
    document: str
    chapter: str
    title: str
    title_ja: str

    def main(self) -> Callable[["Run"], None]:
        """The function of the script."""
        return importlib.import_module(f"fastnn.examples.{self.name}").main


def _rows(document: str, *rows: tuple[str, str, str, str]) -> dict[str, Example]:
    return {name: Example(name, document, chapter, title, ja) for chapter, name, title, ja in rows}


EXAMPLES: dict[str, Example] = (
    _rows(
        "book1",
        ("ch. 2", "perceptron", "Perceptron gates, and XOR by two layers", "パーセプトロンの論理ゲートと 2 層の XOR"),
        ("ch. 3", "activation_curves", "Step, sigmoid, ReLU", "ステップ関数、シグモイド、ReLU"),
        ("ch. 3", "three_layer_forward", "A network of three layers, forward", "3 層ネットワークの順伝播"),
        ("ch. 3", "softmax", "Softmax, and its overflow", "ソフトマックスとオーバーフロー"),
        ("ch. 3", "mnist_images", "MNIST shown and saved", "MNIST の表示と保存"),
        ("ch. 3", "inference", "Inference one by one and in batches", "1 枚ずつの推論とバッチ処理"),
        ("ch. 4", "losses", "Squared and cross-entropy error", "2 乗和誤差と交差エントロピー誤差"),
        ("ch. 4", "mini_batch", "The loss of a mini-batch", "ミニバッチの損失"),
        ("ch. 4", "numerical_differentiation", "Numerical differentiation and the tangent", "数値微分と接線"),
        ("ch. 4", "gradient_descent", "Surface, gradient field, descent", "関数の曲面、勾配場、勾配降下法"),
        ("ch. 4", "simple_net_gradient", "The gradient of simpleNet", "simpleNet の勾配"),
        ("ch. 4", "two_layer_numerical", "Two layers by numerical gradient", "数値勾配による 2 層ネットワークの学習"),
        ("ch. 5", "apples_oranges", "Apples and oranges as a graph", "りんごとみかんの計算グラフ"),
        ("ch. 5", "gradient_check", "Gradients checked numerically", "勾配確認"),
        ("ch. 5", "two_layer_backprop", "Two layers by backpropagation", "誤差逆伝播法による 2 層ネットワークの学習"),
        ("ch. 5", "network_graph", "A network drawn by Graphviz", "Graphviz で描くネットワーク"),
        ("ch. 6", "optimizer_paths", "Six optimizers on a bowl", "2 次元の谷を下る 6 つの最適化手法"),
        ("ch. 6", "optimizer_mnist", "Six optimizers on MNIST", "MNIST での 6 つの最適化手法"),
        ("ch. 6", "weight_init", "std 0.01, Xavier, He", "重みの初期値: std 0.01、Xavier、He"),
        ("ch. 6", "activation_histograms", "Histograms of activations", "アクティベーションの分布"),
        ("ch. 6", "batch_norm", "Batch normalisation, 16 scales", "Batch Normalization と 16 通りの初期値"),
        ("ch. 6", "weight_decay", "Weight decay against overfitting", "過学習と Weight decay"),
        ("ch. 6", "dropout", "Dropout against overfitting", "過学習と Dropout"),
        ("ch. 6", "hyperparameter_search", "Search for hyperparameters", "ハイパーパラメータの探索"),
        ("ch. 7", "simple_convnet", "SimpleConvNet and its filters", "SimpleConvNet とフィルター"),
        ("ch. 8", "deep_convnet", "DeepConvNet and its mistakes", "DeepConvNet と誤認識した数字"),
    )
    | _rows(
        "tensorflow",
        ("all", "hidden_layer", "No hidden layer against 625 units", "隠れ層なしと 625 ユニットの比較"),
    )
    | _rows(
        "layers",
        ("1", "layer_list", "Layers in a list, forward and loss", "レイヤのリスト、順伝播と損失"),
        ("2", "graph_nodes", "Repeat, Sum and MatMul nodes", "Repeat、Sum、MatMul ノード"),
        ("2", "affine_nodes", "Affine from MatMul and Repeat", "MatMul と Repeat で作る Affine"),
        ("3", "spiral", "Spirals with 3 and 5 arms", "3 本と 5 本の腕のスパイラル"),
    )
    | _rows(
        "report",
        ("section 1", "binary_addition", "Binary addition by BPTT", "BPTT による 2 進数の加算"),
        ("sections 2-5", "recurrent_cells", "LSTM, GRU, both directions, encoder", "LSTM、GRU、双方向、エンコーダ"),
        ("section 6", "word2vec", "word2vec: CBOW and skip-gram", "word2vec: CBOW と skip-gram"),
        ("section 7", "attention_dates", "Attention reads dates", "Attention による日付変換"),
        ("section 5", "hred", "HRED on short dialogues", "短い対話での HRED"),
        ("section 10", "sine_to_cosine", "Seq2seq from sine to cosine", "sin から cos への seq2seq"),
        ("section 9", "spoken_digits", "Spoken digits, LSTM both ways", "双方向 LSTM による数字音声の認識"),
        ("section 5", "autoencoder", "Autoencoder on digits", "数字のオートエンコーダ"),
        ("section 5", "vae", "Variational autoencoder on digits", "数字の VAE"),
        ("section 8", "vq_vae", "VQ-VAE on digits", "数字の VQ-VAE"),
        ("section 11", "augmentation", "A sheet of augmented images", "データ拡張の一覧"),
        ("section 12", "activation_gallery", "Activations and derivatives", "活性化関数と導関数の一覧"),
    )
    | _rows(
        "chainer",
        ("all", "linear_relu_linear", "Linear, ReLU, linear, squared error", "線形、ReLU、線形、2 乗誤差"),
    )
)


class Clock:
    """Seconds that a `with` block took, or takes so far: `with run.clock() as clock: ...; clock.seconds`."""

    def __enter__(self) -> "Clock":
        self._begin, self._end = time.perf_counter(), 0.0
        return self

    def __exit__(self, *_: object) -> None:
        self._end = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Of the whole block once it has ended."""
        return (self._end or time.perf_counter()) - self._begin


class Run:
    """What an example is given: is it a quick run, its data, its pictures, and the table that ends it.

    Parameters
    ----------
    name: of the example.
    quick: seconds instead of minutes, on data that ships with fastnn or is generated.
    out: the folder for pictures and `results.json`; made by `start`, or when something is written.
    """

    def __init__(self, name: str, quick: bool = False, out: str | Path = "fastnn-examples") -> None:
        self.name = name
        self.quick = quick
        self.out = Path(out)
        self.rows: list[dict[str, Any]] = []
        self.pictures: list[str] = []
        self._said: set[str] = set()

    clock = staticmethod(Clock)

    def say(self, text: str) -> None:
        """Print a line, the same one only once."""
        if text not in self._said:
            self._said.add(text)
            print(text, flush=True)

    def row(
        self, quantity: str, document: Any, fastnn: Any, document_seconds: Any = None, seconds: Any = None,
        digits: int = 4,
    ) -> None:  # fmt: skip
        """A line of the table: a quantity, what the document reported (None: nothing), what we get, both times in s.

        digits: how many significant digits of floats are shown.
        """
        cells = (document, fastnn, document_seconds, seconds)
        keys = ("document", "fastnn", "document_seconds", "seconds")
        plain = {key: _plain(cell) for key, cell in zip(keys, cells, strict=True)}
        self.rows.append({"quantity": quantity, "digits": digits} | plain)

    def progress(self, steps: Iterable | int, text: str = "") -> Iterator:
        """The items of `steps` (an int: of range) under a progress bar on stderr; without tqdm, a line now and then."""
        steps = range(steps) if isinstance(steps, int) else steps
        if importlib.util.find_spec("tqdm"):
            from tqdm import tqdm

            yield from tqdm(steps, desc=text or self.name, leave=False, mininterval=0.5, disable=None)
            return
        total, begin, shown = len(steps) if isinstance(steps, Sized) else 0, time.perf_counter(), 0.0
        for i, item in enumerate(steps):
            seconds = time.perf_counter() - begin
            if seconds - shown > 5:
                shown = seconds
                of = f" of {total:,}" if total else ""
                print(f"{text or self.name}: {i:,}{of}, {seconds:.0f} s", file=sys.stderr)
            yield item

    def load(self, load: Callable[[], Any], instead: Callable[[], Any], otherwise: str) -> Any:
        """load(), real data; instead() in a quick run or where files are missing. `otherwise` names what that gives."""
        if self.quick:
            self.say(f"a quick run, on {otherwise}")
            return instead()
        try:
            return load()
        except FileNotFoundError as error:
            self.say(f"{error}\nGoing on with {otherwise}.")
            return instead()

    def mnist(self, **options: bool) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
        """(x_train, t_train), (x_test, t_test) of MNIST, or of the sample that ships; options are load_mnist's."""
        from fastnn.dataset.mnist import load_mnist, load_mnist_sample

        sample = "5,000 digits of MNIST that ship with fastnn"
        return self.load(lambda: load_mnist(**options), lambda: load_mnist_sample(**options), sample)

    def picture(self, name: str, draw: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        """Write the Figure that draw(*args, **kwargs) returns to out/name.png; without matplotlib, say so."""
        if not importlib.util.find_spec("matplotlib"):
            self.say("no pictures: matplotlib is not installed (pip install 'fastnn-kernels[plot]')")
            return
        figure = draw(*args, **kwargs)
        self.out.mkdir(parents=True, exist_ok=True)
        figure.savefig(self.out / f"{name}.png", dpi=120)
        self.pictures.append(f"{name}.png")

    def graph(self, name: str, graph: Any) -> None:
        """Write a graph of `fastnn.plots` to out/name.dot, and drawn to out/name.png where Graphviz is installed."""
        self.out.mkdir(parents=True, exist_ok=True)
        graph.save(self.out / f"{name}.dot")
        try:
            graph.save(self.out / f"{name}.png")
            self.pictures.append(f"{name}.png")
        except (ImportError, RuntimeError) as error:  # not installed, or it fails
            self.say(f"graphs are written as .dot files only: {error}")

    def finish(self, seconds: float) -> None:
        """Print the table and where the pictures are; write both to results.json."""
        print(table(self.rows))
        if self.quick:
            print("a quick run: where it does less than the document did, numbers and seconds do not compare")
        self.out.mkdir(parents=True, exist_ok=True)
        for picture in self.pictures:
            print(f"picture: {self.out / picture}")
        results = {"name": self.name, "quick": self.quick, "seconds": round(seconds, 3)}
        results |= {"rows": self.rows, "pictures": self.pictures}
        (self.out / "results.json").write_text(json.dumps(results, ensure_ascii=False, indent=1), encoding="utf-8")
        print(f"{seconds:.1f} s in all", flush=True)


def start(
    main: Callable[[Run], None], name: str | None = None, quick: bool = False, out: str | Path = "fastnn-examples"
) -> None:
    """Run an example's `main`; a script that is run by itself takes `--quick` and `--out DIR` from the command line."""
    if name is None:
        import argparse

        parser = argparse.ArgumentParser(description=sys.modules[main.__module__].__doc__)
        parser.add_argument("--quick", action="store_true", help="seconds instead of minutes, on data that ships")
        parser.add_argument("--out", default="fastnn-examples", help="folder for pictures (default: %(default)s)")
        args = parser.parse_args()
        name, quick, out = Path(sys.argv[0]).stem, args.quick, args.out
    run = Run(name, quick, out)
    run.out.mkdir(parents=True, exist_ok=True)  # what cannot be made is said before minutes of training
    with run.clock() as clock:
        main(run)
    run.finish(clock.seconds)


def subplots(rows: int = 1, columns: int = 1, size: tuple[float, float] = (4.5, 3.4), **options: Any) -> Any:
    """(a matplotlib Figure without a display, its axes), as pyplot's; `size` is that of one of them, in inches."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(size[0] * columns, size[1] * rows), layout="constrained")
    return figure, figure.subplots(rows, columns, **options)


def table(rows: list[dict[str, Any]]) -> str:
    """The rows of a run as text: quantity | the document | fastnn | seconds (document / fastnn)."""
    head = ("quantity", "the document", "fastnn", "seconds (document / fastnn)")
    lines: list[tuple[str, ...]] = [head, *(cells(row) for row in rows)]
    if not any(row["document_seconds"] or row["seconds"] for row in rows):
        lines = [line[:3] for line in lines]
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    text = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    return "\n".join([text[0], "  ".join("-" * width for width in widths), *text[1:]])


def cells(row: dict[str, Any]) -> tuple[str, str, str, str]:
    """The four cells of a row as text."""
    times = [_text(row[key]) for key in ("document_seconds", "seconds")]
    both = "" if times == ["-", "-"] else " / ".join(times)
    return row["quantity"], _text(row["document"], row["digits"]), _text(row["fastnn"], row["digits"]), both


def _plain(value: Any) -> Any:
    """A number, text, list or None, for JSON, which has neither nan nor infinity: these become texts."""
    value = value.tolist() if isinstance(value, np.ndarray | np.generic) else value
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _text(value: Any, digits: int = 4) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool | str):
        return str(value)
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.{digits}g}"
    return "(" + ", ".join(_text(item, digits) for item in value) + ")"
