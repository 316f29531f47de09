"""Is this class or function what the book has under its name? Decided by what it contains and what it computes.

First the code is looked at without running it: it may use NumPy, other names of the books and harmless built-ins, and
nothing else (a `print`, a file or a counter of the reader's would be lost). Then original and replacement are tried on
small inputs: results, attributes and parameters must agree. The trial leaves no trace: the states of `random` and
`np.random` are restored, output is captured.
"""

import builtins
import contextlib
import copy
import dis
import inspect
import io
import random
import types
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from fastnn import functions, optimizer, text, trainer, util
from fastnn.compat import book1, book2
from fastnn.compat.kept import Kept

from . import trials


class Candidate(NamedTuple):
    """What a name may be: our class or function, the trial that compares, built-ins that only this one may use.

    like(original): ours with what differs harmlessly from copy to copy, such as a translated text.
    """

    ours: Any
    trial: Callable
    allowed: tuple[str, ...] = ()
    like: Callable | None = None


BOOK: dict[str, list[Candidate]] = {
    # layers; where both books have the name, both are tried
    "Relu": [Candidate(book1.Relu, trials.relu)],
    "Sigmoid": [Candidate(book1.Sigmoid, trials.activation)],
    "Affine": [Candidate(book1.Affine, trials.affine1), Candidate(book2.Affine, trials.affine2)],
    "BatchNormalization": [Candidate(book1.BatchNormalization, trials.batch_normalization)],
    "Convolution": [Candidate(book1.Convolution, trials.convolution)],
    "Pooling": [Candidate(book1.Pooling, trials.pooling)],
    "SoftmaxWithLoss": [
        Candidate(book1.SoftmaxWithLoss, trials.softmax_with_loss1),
        Candidate(book2.SoftmaxWithLoss, trials.softmax_with_loss2),
    ],
    "Dropout": [Candidate(book1.Dropout, trials.dropout)],
    "MatMul": [Candidate(book2.MatMul, trials.matmul)],
    "Softmax": [Candidate(book2.Softmax, trials.activation)],
    "SigmoidWithLoss": [Candidate(book2.SigmoidWithLoss, trials.sigmoid_with_loss)],
    "Embedding": [Candidate(book2.Embedding, trials.embedding)],
    "RNN": [Candidate(book2.RNN, trials.step(1))],
    "LSTM": [Candidate(book2.LSTM, trials.step(4))],
    "GRU": [Candidate(book2.GRU, trials.step(3))],
    "TimeRNN": [Candidate(book2.TimeRNN, trials.recurrent(1))],
    "TimeLSTM": [Candidate(book2.TimeLSTM, trials.recurrent(4))],
    "TimeGRU": [
        Candidate(book2.TimeGRU, trials.recurrent(3)),
        Candidate(book2.TimeGRU, trials.recurrent(3, bias=False)),
    ],
    "TimeEmbedding": [Candidate(book2.TimeEmbedding, trials.time_embedding)],
    "TimeAffine": [Candidate(book2.TimeAffine, trials.time_affine)],
    "TimeDropout": [Candidate(book2.TimeDropout, trials.time_dropout)],
    "TimeSoftmaxWithLoss": [Candidate(book2.TimeSoftmaxWithLoss, trials.time_softmax_with_loss)],
    # what only calls layers
    "RnnlmTrainer": [Candidate(book2.RnnlmTrainer, trials.get_batch)],
    "MultiLayerNet": [Candidate(book1.DecayingNet, trials.multi_layer_net, ("OrderedDict",))],
    "MultiLayerNetExtend": [Candidate(book1.DecayingNetExtend, trials.multi_layer_net_extend, ("OrderedDict",))],
    # functions
    "sigmoid": [Candidate(functions.sigmoid, trials.elementwise)],
    "relu": [Candidate(functions.relu, trials.elementwise)],
    "softmax": [
        Candidate(functions.softmax, trials.softmax1),
        Candidate(book2.softmax, trials.softmax2),
        Candidate(book1.softmax_of_older_printings, trials.softmax1),
    ],
    "im2col": [Candidate(functions.im2col, trials.im2col)],
    "col2im": [Candidate(functions.col2im, trials.col2im)],
    "clip_grads": [Candidate(util.clip_grads, trials.clip_grads)],
    "remove_duplicate": [Candidate(trainer.remove_duplicate, trials.remove_duplicate)],
    "ppmi": [Candidate(text.ppmi, trials.ppmi, ("print",), book2.ppmi_like)],
    "create_co_matrix": [Candidate(text.create_co_matrix, trials.create_co_matrix)],
    "create_contexts_target": [Candidate(text.create_contexts_target, trials.create_contexts_target)],
    "convert_one_hot": [Candidate(text.convert_one_hot, trials.convert_one_hot)],
    "most_similar": [
        Candidate(book2.most_similar, trials.most_similar, ("print",)),
        Candidate(book2.most_similar, trials.most_similar, ("print",), book2.most_similar_like),
    ],
}
for _name in ("SGD", "Momentum", "AdaGrad", "RMSprop", "Adam"):
    _ours = getattr(optimizer, _name)
    BOOK[_name] = [Candidate(_ours, trials.optimizer_of_dicts), Candidate(_ours, trials.optimizer_of_lists)]
BOOK["Nesterov"] = [
    Candidate(book1.Nesterov, trials.optimizer_of_dicts),
    Candidate(optimizer.Nesterov, trials.optimizer_of_dicts),
    Candidate(optimizer.Nesterov, trials.optimizer_of_lists),
    Candidate(book1.Nesterov, trials.optimizer_of_lists),
]

# Names that the books' code uses beside NumPy and their own: harmless built-ins, and the switch for the GPU.
_HARMLESS = {
    name: getattr(builtins, name)
    for name in (  # noqa: SIM905
        "len range zip enumerate isinstance hasattr int float bool str tuple list dict set type min max sum abs map "
        "reversed sorted round slice super any all property AttributeError ValueError TypeError IndexError KeyError"
    ).split()
}
_BOOK_FUNCTIONS = {
    *BOOK,
    "sigmoid_grad",
    "softmax_loss",
    "cross_entropy_error",
    "cos_similarity",
    "normalize",
}
_NUMPY_WITH_EFFECTS = {"save", "savez", "savetxt", "tofile", "seed", "set_state", "setflags", "memmap", "fromfile"}
CALLED = "__init__", "forward", "backward", "update", "get_batch", "loss", "gradient"
CALLING = "RnnlmTrainer", "MultiLayerNet", "MultiLayerNetExtend"  # that these are the reader's costs little


_PLAIN_BASES = "builtins", "abc", "typing"  # metaclasses and bases without an effect: ABC, Protocol, Generic


# ---- candidates ----------------------------------------------------------------------------------------------------


def is_candidate(module, name, value) -> bool:
    """Does the module itself define, under this name of the books', a class or function?"""
    return (
        name in BOOK
        and isinstance(value, type | types.FunctionType)
        and value.__module__ == module.__name__
        and value.__name__ == name
        and isinstance(value, type) == isinstance(BOOK[name][0].ours, type)
    )


def described(ours) -> str:
    """For the report: which book's it is, where they differ."""
    book = {"fastnn.compat.book1": "book 1 ", "fastnn.compat.book2": "book 2 "}.get(ours.__module__, "")
    return book + ours.__name__


def members(ours: type) -> dict[str, Any]:
    """What of our class goes into the reader's: all but the constructor, and but what `fastnn.layers` adds."""
    found: dict[str, Any] = {}
    for owner in reversed(ours.__mro__):
        if owner.__module__.startswith(("fastnn.compat", "fastnn.optimizer")):
            for name, value in vars(owner).items():
                special = name.startswith("__") or (value is None and not name.startswith("_"))
                if not special:
                    found[name] = value
    return found


def fitted(original: type, ours: type) -> dict[str, Any]:
    """`members`, with the reader's names for arguments where he has other ones."""
    found = members(ours)
    for name in found.keys() & CALLED:
        theirs = getattr(original, name, None)
        if isinstance(theirs, types.FunctionType) and _names(theirs) != _names(found[name])[: len(_names(theirs))]:
            code = calling(found[name], theirs)
            found[name] = types.FunctionType(code, found[name].__globals__, name, theirs.__defaults__)
    return found


def calling(ours, function) -> types.CodeType:
    """The code of a function that has the arguments of `function` and calls `ours`, which is a constant of the code."""
    names = ", ".join(_names(function))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # "'str' object is not callable": it will not be one
        made = compile(f"lambda {names}: ''({names})", __file__, "eval")
    code = next(value for value in made.co_consts if isinstance(value, types.CodeType))
    constants = tuple(ours if value == "" else value for value in code.co_consts)
    return code.replace(co_consts=constants, co_name=function.__name__, co_qualname=function.__qualname__)


def _names(function):
    return list(inspect.signature(function).parameters)


def match(original, module) -> tuple[Any, str]:
    """(what replaces it, ""), or (None, why nothing does)."""
    reasons = []
    for candidate in BOOK[original.__name__]:
        if candidate.like is not None:
            candidate = candidate._replace(ours=candidate.like(original))
        why = _unlike_by_code(original, candidate, module) or _unlike_by_trial(original, candidate)
        if not why:
            return candidate.ours, ""
        reasons.append(why)
    return None, min(reasons, key=lambda why: why.startswith(_NOT_TRIED))  # the other book's trial may not even run


# ---- by its code ---------------------------------------------------------------------------------------------------


def _unlike_by_code(original, candidate, module) -> str:
    if isinstance(original, types.FunctionType):
        return _signature_differs(original, candidate.ours) or _foreign(original, candidate, module)
    if type(original).__module__ not in _PLAIN_BASES:
        return f"its metaclass is {type(original).__name__}"
    own = [owner for owner in original.__mro__[:-1] if owner.__module__ not in _PLAIN_BASES]
    for special in ("__setattr__", "__getattribute__", "__getattr__", "__new__", "__slots__"):
        if any(special in vars(owner) for owner in own):
            return f"it defines {special}"
    for name in CALLED:
        ours, theirs = getattr(candidate.ours, name, None), getattr(original, name, None)
        if name == "__init__":
            functions = [f for owner in own if (f := vars(owner).get(name)) is not None]
        elif ours is None or name not in members(candidate.ours):
            continue
        elif theirs is None:
            return f"it has no {name}"
        else:
            functions = [theirs, *(f for f in _functions_of(original) if _private(original, f.__name__))]
        for function in functions:
            if not isinstance(function, types.FunctionType):
                return f"{name} is decorated"
            why = _foreign(function, candidate, module, original)
            if why:
                return why
        if name != "__init__" and (why := _signature_differs(theirs, ours)):
            return why
    return ""


def _signature_differs(theirs, ours) -> str:
    """Ours must take as many arguments with the same defaults, whatever their names, or more with defaults."""
    if theirs.__closure__ and "__class__" not in theirs.__code__.co_freevars:
        return f"{theirs.__name__} is decorated or a closure"
    a, b = (list(inspect.signature(f).parameters.values()) for f in (theirs, ours))
    same = len(a) <= len(b) and all(
        p.kind == q.kind == p.POSITIONAL_OR_KEYWORD and (p.default is q.default or p.default == q.default)
        for p, q in zip(a, b, strict=False)
    )
    if same and all(q.default is not q.empty for q in b[len(a) :]):
        return ""
    return f"{theirs.__name__} takes {inspect.signature(theirs)}, the book's {inspect.signature(ours)}"


def _foreign(function, candidate, module, cls=None, seen=frozenset()) -> str:
    """The first name that the book's code does not use, and whose effect would be lost; also in what it calls."""
    for code in _codes(function.__code__):
        for instruction in dis.get_instructions(code):
            name = instruction.argval
            if instruction.opname in ("STORE_GLOBAL", "DELETE_GLOBAL", "IMPORT_NAME"):
                return f"{function.__name__} {'imports' if 'IMPORT' in instruction.opname else 'changes'} {name}"
            if instruction.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
                value = function.__globals__.get(name, getattr(builtins, name, None))
                if not (
                    value is np
                    or name in candidate.allowed
                    or name in ("GPU", "_fastnn_scalar")
                    or (name in _HARMLESS and value is _HARMLESS[name])
                    or (name in _BOOK_FUNCTIONS and isinstance(value, type | types.FunctionType))
                ):
                    return f"{function.__name__} uses {name}, unlike the book's"
                if name in _BOOK_FUNCTIONS and value not in seen:
                    for used in _functions_of(value):
                        if why := _foreign(used, candidate, module, None, {*seen, value}):
                            return f"{function.__name__} uses {name}: {why}"
            if instruction.opname in ("LOAD_ATTR", "LOAD_METHOD"):
                if name in _NUMPY_WITH_EFFECTS:
                    return f"{function.__name__} uses {name}, unlike the book's"
                known = name in CALLED or name in _attributes_of(getattr(candidate.ours, function.__name__, None))
                if cls is not None and name in vars(cls) and not known and not _private(cls, name):
                    return f"{function.__name__} uses {name} of its class, which a subclass may change"
    return ""


def _functions_of(value):
    """The reader's own functions: this one, or those of this class that are not replaced yet."""
    members = vars(value).values() if isinstance(value, type) else [value]
    return [f for f in members if isinstance(f, types.FunctionType) and not f.__module__.startswith("fastnn.")]


def _private(cls, name):
    own = f"_{cls.__name__.lstrip('_')}__"
    return name.startswith(own) or (name.startswith("__") and not name.endswith("__") and own + name[2:] in vars(cls))


def _codes(code):
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _codes(constant)


# ---- by what it computes -------------------------------------------------------------------------------------------


def _unlike_by_trial(original, candidate) -> str:
    ours = candidate.ours
    if isinstance(original, type):
        # A subclass of the reader's class with our methods: his constructor, as it will be.
        ours = type(original)(original.__name__, (original,), fitted(original, ours))
    states = np.random.get_state(), random.getstate()
    try:
        runs = []
        for subject in (original, ours):
            np.random.seed(1984)
            out = io.StringIO()
            with (
                warnings.catch_warnings(),
                np.errstate(all="ignore"),
                contextlib.redirect_stdout(out),
                contextlib.redirect_stderr(out),
            ):
                warnings.simplefilter("ignore")
                try:
                    values = [(what, _snapshot(value)) for what, value in candidate.trial(subject, trials.Inputs())]
                except Exception as error:
                    if subject is ours:
                        return f"it accepts what fastnn's refuses ({type(error).__name__}: {error})"
                    return f"{_NOT_TRIED} ({type(error).__name__}: {error})"
            runs.append([*values, ("what is printed", out.getvalue()), ("random draws", _draws())])
        for (what, theirs), (_, mine) in zip(*runs, strict=True):
            if why := differs(theirs, mine):
                return f"{what}: {why}"
            if isinstance(theirs, _Attributes) and (why := _reads_more(original, candidate.ours, theirs)):
                return why
        return ""
    finally:
        np.random.set_state(states[0])
        random.setstate(states[1])


def _reads_more(original, ours, attributes) -> str:
    """An attribute that decides what the original computes, and that ours does not know."""
    known = {*_FREE, *(name for f in members(ours).values() if inspect.isfunction(f) for name in _attributes_of(f))}
    known |= {name for name, value in members(ours).items() if isinstance(value, Kept)}
    known |= {*members(ours).get("state_names", ())}
    for called in members(ours).keys() & CALLED:
        for name in _attributes_of(getattr(original, called)):
            if name in attributes and name not in known:
                return f"{called} reads an attribute {name}, unlike the book's"
    return ""


def _attributes_of(function):
    code = getattr(function, "__code__", None)
    return [] if code is None else [name for code in _codes(code) for name in code.co_names]


def _draws():
    return [float(np.random.rand())]


_NOT_TRIED = "it could not be tried"
_FREE = {"layers"}  # attributes that the books fill and nobody reads
_PLAIN = (np.ndarray, np.generic, int, float, str, tuple, list, dict, type(None))


class _Attributes(dict):
    """Attributes of an object of the reader's class, as they are now."""

    def __init__(self, layer):
        names = [*vars(layer), *(n for n, v in vars(type(layer)).items() if isinstance(v, Kept))]
        super().__init__()
        for name in names:
            if name not in _FREE and name != "_saved":
                with contextlib.suppress(AttributeError):
                    value = getattr(layer, name)
                    if isinstance(value, _PLAIN):
                        self[name] = copy.deepcopy(value)


def _snapshot(value):
    return copy.deepcopy(value) if isinstance(value, _PLAIN) else _Attributes(value)


def differs(a, b, tolerance=1e-8) -> str:
    """How b (ours) differs from a, as a clause; "" if it does not but for rounding."""
    if isinstance(a, _Attributes):
        for name, value in a.items():
            if name not in b:
                return f"it keeps an attribute {name}"
            if why := differs(value, b[name], tolerance):
                return f"attribute {name}: {why}"
        return ""
    if isinstance(a, dict):
        if not isinstance(b, dict) or list(a) != list(b):
            return "other keys"
        return next((why for key in a if (why := differs(a[key], b[key], tolerance))), "")
    if isinstance(a, tuple | list):
        if not isinstance(b, tuple | list) or len(a) != len(b):
            return f"{len(a)} values, fastnn's another number"
        return next((why for x, y in zip(a, b, strict=True) if (why := differs(x, y, tolerance))), "")
    if a is None or b is None or isinstance(a, str):
        return "" if a is b or a == b else f"{a!r}, fastnn's {b!r}"
    x, y = np.asarray(a), np.asarray(b)
    if x.shape != y.shape:
        return f"shape {x.shape}, fastnn's {y.shape}"
    if x.dtype.kind == "f" and x.dtype != y.dtype:
        return f"{x.dtype}, fastnn's {y.dtype}"
    error = largest_error(x, y)
    limit = 1e-4 if x.dtype == np.float32 else tolerance
    return "" if error <= limit else f"values differ by {error:.2g}"


def largest_error(x, y) -> float:
    """The largest difference of two arrays, relative to the largest value of x; inf where NaN or infinity differ."""
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if x.size == 0:
        return 0.0
    finite = np.isfinite(x)
    if not np.array_equal(x[~finite], y[~finite], equal_nan=True):
        return np.inf
    x, y = x[finite], y[finite]
    scale = np.abs(x).max(initial=0.0) or 1.0
    return float(np.abs(x - y).max(initial=0.0) / scale)
