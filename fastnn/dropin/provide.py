"""`common` and `dataset` for a checkout that has none: the books' modules, of `fastnn.compat` and `fastnn.dataset`.

A package of the reader's own that lies above the script or the working directory, but not on the path, comes first.
"""

import importlib
import importlib.machinery
import importlib.util
import re
import sys
from pathlib import Path
from typing import Any

from . import hook

_MODULES = {
    1: "functions gradient layers multi_layer_net multi_layer_net_extend optimizer trainer util",
    2: "base_model config functions layers np optimizer time_layers trainer util",
}
_DATASETS = "mnist", "ptb", "sequence", "spiral"
# What only one of the books has, for modules that both have.
_SIGNS = {
    1: r"common\.(gradient|multi_layer_net)|dataset\.mnist|load_mnist|numerical_gradient|Convolution|Pooling|"
    r"BatchNormalization|im2col|smooth_curve|shuffle_dataset|sigmoid_grad|network\.params|params\[['\"]W1",
    2: r"common\.(time_layers|base_model|config|np)\b|dataset(\.| import )(ptb|sequence|spiral)|MatMul|Embedding|"
    r"SigmoidWithLoss|RnnlmTrainer|clip_grads|preprocess|create_co_matrix|to_gpu|model\.params|\.grads\b",
}
_FUNCTIONS1 = (
    "identity_function step_function sigmoid sigmoid_grad relu relu_grad softmax sum_squared_error cross_entropy_error "
    "softmax_loss"
)
_OPTIMIZERS = "SGD Momentum Nesterov AdaGrad RMSprop Adam"
_LAYERS1 = "Relu Sigmoid Affine SoftmaxWithLoss Dropout BatchNormalization Convolution Pooling"
_LAYERS2 = "MatMul Affine Softmax SoftmaxWithLoss Sigmoid SigmoidWithLoss Dropout Embedding"
_TIME_LAYERS = (
    "RNN TimeRNN LSTM TimeLSTM TimeEmbedding TimeAffine TimeSoftmaxWithLoss TimeDropout TimeBiLSTM TimeSigmoidWithLoss "
    "GRU TimeGRU Simple_TimeSoftmaxWithLoss Simple_TimeAffine"
)
# module -> the names that a star import of the book's brings, and modules among them
_NAMES = {
    1: {
        "functions": f"np {_FUNCTIONS1}",
        "gradient": "np numerical_gradient_2d numerical_gradient",
        "layers": f"np {_FUNCTIONS1} im2col col2im {_LAYERS1}",
        "util": "np smooth_curve shuffle_dataset conv_output_size im2col col2im",
        "optimizer": f"np {_OPTIMIZERS}",
        "trainer": f"sys os np {_OPTIMIZERS} Trainer",
        "multi_layer_net": f"sys os OrderedDict np {_FUNCTIONS1} im2col col2im {_LAYERS1} numerical_gradient"
        " MultiLayerNet",
        "multi_layer_net_extend": f"sys os OrderedDict np {_FUNCTIONS1} im2col col2im {_LAYERS1} numerical_gradient"
        " MultiLayerNetExtend",
    },
    2: {
        "config": "GPU",
        "np": "GPU np",
        "functions": "GPU np sigmoid relu softmax cross_entropy_error",
        "layers": f"GPU np softmax cross_entropy_error {_LAYERS2}",
        "time_layers": f"GPU np softmax cross_entropy_error {_LAYERS2} sigmoid {_TIME_LAYERS}",
        "optimizer": f"sys GPU np {_OPTIMIZERS}",
        "base_model": "sys os pickle GPU np to_gpu to_cpu BaseModel",
        "util": (
            "sys os GPU np preprocess cos_similarity most_similar convert_one_hot create_co_matrix ppmi "
            "create_contexts_target to_cpu to_gpu clip_grads eval_perplexity eval_seq2seq analogy normalize"
        ),
        "trainer": "sys numpy time plt GPU np clip_grads Trainer RnnlmTrainer remove_duplicate",
    },
}
_IMPORTED = {"np": "numpy", "plt": "matplotlib.pyplot"}


def find_spec(name: str, importer: hook.Hook):
    """The reader's own package above the script, or a module of ours; None: not one of the books', or not in his."""
    parent, _, stem = name.partition(".")
    if parent not in ("common", "dataset") or "." in stem:
        return None
    if not stem and (own := _readers_own(parent)) is not None:
        importer.provided[parent] = f"is the reader's own, {own}; that folder is not on the path of plain python"
        return _spec_of(parent, own)
    if stem and not _may_add(sys.modules.get(parent)):
        return None
    if parent == "common" and stem and not any(stem in names.split() for names in _MODULES.values()):
        return None
    if parent == "dataset" and stem and stem not in _DATASETS:
        return None
    return importlib.machinery.ModuleSpec(name, Loader(importer), is_package=not stem)  # type: ignore[arg-type]


def _readers_own(package) -> Path | None:
    """The nearest folder of this name, with modules in it, above the script or else the working directory."""
    script = getattr(sys.modules.get("__main__"), "__file__", None)
    starts = [*([Path(script).absolute().parent, Path(script).resolve().parent] if script else []), Path.cwd()]
    for start in starts:
        for folder in (start, *start.parents):
            if any((folder / package).glob("*.py")) and not hook.is_installed(str(folder)):
                return folder / package
    return None


def _spec_of(package, folder):
    if (folder / "__init__.py").is_file():
        return importlib.machinery.PathFinder.find_spec(package, [str(folder.parent)])
    spec = importlib.machinery.ModuleSpec(package, None, is_package=True)
    spec.submodule_search_locations = [str(folder)]
    return spec


def _may_add(package):
    """Is the package ours, or a folder without modules (of data, say)?"""
    if package is None or getattr(package, "__file__", None):
        return False
    ours = isinstance(getattr(package, "__loader__", None), Loader)
    return ours or not any(True for folder in package.__path__ for _ in Path(folder).glob("*.py"))


class Loader:
    """Fills a module with the names of the book's."""

    def __init__(self, importer: hook.Hook) -> None:
        self.importer = importer

    def create_module(self, spec):
        return None

    def exec_module(self, module):
        package, _, stem = module.__name__.partition(".")
        if stem:
            self.importer.provided[module.__name__] = "is fastnn's: the reader has none"
        if package == "dataset" and stem:
            source = importlib.import_module(f"fastnn.dataset.{stem}")
            vars(module).update({n: v for n, v in vars(source).items() if not n.startswith("_")})
        elif stem:
            vars(module).update(_contents(stem))
            if stem == "functions" and _decided[0] == 1:
                self._add_course(module)
        if stem:
            self.importer.replacements.record(module)

    def _add_course(self, module):
        """Names of a course's version beside the book's. A star import leaves them out, as with the book's."""
        course = importlib.import_module("fastnn.compat.course")
        module.__all__ = [name for name in vars(module) if not name.startswith("_")]
        vars(module).update({name: getattr(course, name) for name in course.__all__})
        self.importer.provided[module.__name__] += f"; {', '.join(course.__all__)} are of a course's version"


_decided: list[int] = []  # the book, once it is known


def _contents(stem) -> dict[str, Any]:
    book = next(
        (b for b, names in _MODULES.items() if stem in names.split() and stem not in _MODULES[3 - b].split()), 0
    )
    if not _decided:
        _decided.append(book or _book_of_script())
    book = book or _decided[0]
    compat = importlib.import_module(f"fastnn.compat.book{book}")
    found = {}
    for name in _NAMES[book][stem].split():
        if name == "GPU":
            found[name] = False if stem == "config" else _gpu()
        elif name in ("sys", "os", "pickle", "time", "numpy") or name in _IMPORTED:
            with_it = _imported(_IMPORTED.get(name, name))
            if with_it is not None:
                found[name] = with_it
        elif name == "OrderedDict":
            found[name] = importlib.import_module("collections").OrderedDict
        else:
            found[name] = getattr(compat, name)
    return found


def _imported(name):
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        return None  # matplotlib: only plot() needs it


def _gpu():
    """common.config.GPU, which a script may have set."""
    if importlib.import_module("common.config").GPU:
        print("fastnn: config.GPU is set, but fastnn computes on the CPU", file=sys.stderr)
    return False


def _book_of_script() -> int:
    """The book whose names occur more often in the script that is running and in the files beside it; 1 if in doubt."""
    script = getattr(sys.modules.get("__main__"), "__file__", None)
    files = [Path(script), *sorted(Path(script).parent.glob("*.py"))[:50]] if script else []
    files += [
        Path(path)
        for module in list(sys.modules.values())
        if (path := getattr(module, "__file__", None)) and path.endswith(".py") and not hook.is_installed(path)
        and "fastnn" not in path
    ]  # fmt: skip
    counts = {1: 0, 2: 0}
    for path in files:
        try:
            text = path.read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        for book, signs in _SIGNS.items():
            counts[book] += len(re.findall(signs, text))
        if counts[1] != counts[2] and path == files[0]:
            break  # the script itself says it
    return 2 if counts[2] > counts[1] else 1
