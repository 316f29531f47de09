"""Is this class or function what the book has under its name? Recognised if it was printed, tried if it was not.

What was printed is known by its fingerprints (`printings`): of the methods that would be replaced and of the functions
that they call. It counts only if the living functions are what their source says. Everything else is unknown code: it
may use the words of the printings and no others (a number, a NumPy function, an operator that these lack would be lost
without a word), and then original and replacement are tried on small inputs (`trials`): results, attributes, parameters
and what happens to the arguments must agree. The trial leaves no trace: the states of `random` and `np.random` are
restored, output is captured.
"""

import builtins
import contextlib
import functools
import inspect
import io
import json
import math
import os
import random
import sys
import types
import warnings
import weakref
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from fastnn import functions, optimizer, text, trainer, util
from fastnn.compat import book1, book2
from fastnn.compat.kept import Kept

from . import printings, sources, trials

_Uses = dict[str, tuple[str, ...]]
_SIGMOID: _Uses = {"sigmoid": ("5425f6f46b46039f",)}
_PATCHES: _Uses = {"im2col": ("679ab2cda337191d",), "col2im": ("8b0bf2fe394339c8",)}
# All softmax functions of both books are the same for rows.
_SOFTMAX: _Uses = {"softmax": ("2de3f30ee8923d40", "48ed5f9207e1753e", "9c86e0633408c937")}
_CROSS_ENTROPY: _Uses = {"cross_entropy_error": ("8ff8821b2c059ee6",)}
_CROSS_ENTROPY_OF_2016: _Uses = {"cross_entropy_error": ("c77c917877e98f5a",)}  # without 1e-7
_EMBEDDING: _Uses = {"Embedding": ("c91b5fb11f672b74", "e3381671045da134")}
_SIMILARITY: _Uses = {"cos_similarity": ("3e28aeed9253e2a5",)}
_NET: dict[str, Any] = {"allowed": ("OrderedDict",)}


class Candidate(NamedTuple):
    """What a name may be: our class or function and the trial that compares.

    book: 1 or 2, whose printings give the vocabulary. printed: fingerprints of the printings that are this; uses: the
    functions that these call, and their fingerprints. allowed: built-ins that only this one may use. like(original):
    ours with what differs harmlessly from copy to copy, such as a translated text. note: what is special, for the
    report. tried: the trial decides about printings, too. only_printed: not for code that was not printed.
    """

    book: int
    ours: Any
    trial: Callable
    printed: tuple[str, ...] = ()
    uses: Mapping[str, tuple[str, ...]] = MappingProxyType({})
    allowed: tuple[str, ...] = ()
    like: Callable | None = None
    note: str = ""
    tried: bool = False
    only_printed: bool = False


BOOK: dict[str, list[Candidate]] = {
    # layers; where both books have the name, both are tried
    "Relu": [Candidate(1, book1.Relu, trials.relu, ("9737390b3606675a",))],
    "Sigmoid": [
        Candidate(1, book1.Sigmoid, trials.activation, ("14c13a4cc4a5d07c",), _SIGMOID),
        Candidate(2, book1.Sigmoid, trials.activation, ("fb5e9b488bb35acf",)),
    ],
    "Affine": [
        Candidate(1, book1.Affine, trials.affine1, ("d150eb747ce3307a",)),
        Candidate(2, book2.Affine, trials.affine2, ("96052bf8cd1758d4",)),
    ],
    "BatchNormalization": [
        Candidate(1, book1.BatchNormalization, trials.batch_normalization, ("d13df9c858564ee2",)),
        Candidate(
            1, book1.BatchNormalization, trials.batch_normalization_of_rows, ("4a1207a700da4194",),
            like=book1.batch_normalization_of_rows, note="of 2016, images by the reader's own", tried=True,
            only_printed=True,
        ),
    ],
    "Convolution": [
        Candidate(1, book1.Convolution, trials.convolution, ("8a2385f2ba1b60a1", "da44639df678acc7"), _PATCHES)
    ],
    "Pooling": [Candidate(1, book1.Pooling, trials.pooling, ("ea1ca8809e8665a8", "307684ddc79e8b52"), _PATCHES)],
    "SoftmaxWithLoss": [
        Candidate(
            1, book1.SoftmaxWithLoss, trials.softmax_with_loss1, ("eaa3bc1a7e3ce809",), _SOFTMAX | _CROSS_ENTROPY
        ),
        Candidate(
            1, book1.SoftmaxWithLossOf2016, trials.softmax_with_loss1, ("eaa3bc1a7e3ce809",),
            _SOFTMAX | _CROSS_ENTROPY_OF_2016, note="without 1e-7",
        ),
        Candidate(
            2, book2.SoftmaxWithLoss, trials.softmax_with_loss2, ("f620390d50ffd32a",), _SOFTMAX | _CROSS_ENTROPY
        ),
        Candidate(
            2, book2.SoftmaxWithLossOf2016, trials.softmax_with_loss2, ("f620390d50ffd32a",),
            _SOFTMAX | _CROSS_ENTROPY_OF_2016, note="without 1e-7",
        ),
    ],
    "Dropout": [
        Candidate(1, book1.Dropout, trials.dropout, ("87c2450ca38eb4a7",)),
        Candidate(2, book1.Dropout, trials.dropout, ("618b36f16b7786e7",)),
    ],
    "MatMul": [Candidate(2, book2.MatMul, trials.matmul, ("a4ce004faca6a0eb",))],
    "Softmax": [Candidate(2, book2.Softmax, trials.activation, ("73fc9c61242ffd94",), _SOFTMAX)],
    "SigmoidWithLoss": [
        Candidate(2, book2.SigmoidWithLoss, trials.sigmoid_with_loss, ("e1f52f0f404d21f4",), _CROSS_ENTROPY)
    ],
    "Embedding": [Candidate(2, book2.Embedding, trials.embedding, _EMBEDDING["Embedding"])],
    "RNN": [Candidate(2, book2.RNN, trials.step(1), ("5369838d80506992",))],
    "LSTM": [Candidate(2, book2.LSTM, trials.step(4), ("0ced7df30b802e86",), _SIGMOID)],
    "GRU": [
        Candidate(2, book2.GRU, trials.step(3), ("4ddc28cc7282a2d4",), _SIGMOID),
        Candidate(2, book2.GRUWithoutBias, trials.step_without_bias, note="without a bias"),
        Candidate(
            2, book2.GRUOf2018, trials.step_without_bias, ("40e63cac39839cd7",), _SIGMOID,
            note="without a bias", tried=True,
        ),
    ],
    "TimeRNN": [
        Candidate(2, book2.TimeRNN, trials.recurrent(1), ("d27ba70bee2f8016",), {"RNN": ("5369838d80506992",)})
    ],
    "TimeLSTM": [
        Candidate(2, book2.TimeLSTM, trials.recurrent(4), ("657fa55324be62ef",), {"LSTM": ("0ced7df30b802e86",)})
    ],
    "TimeGRU": [
        Candidate(2, book2.TimeGRU, trials.recurrent(3), ("14cae55354852df8",), {"GRU": ("4ddc28cc7282a2d4",)}),
        Candidate(2, book2.TimeGRU, trials.recurrent(3, bias=False), note="without a bias"),
        Candidate(
            2, book2.TimeGRUOf2018, trials.recurrent(3, bias=False), ("014b00b1f68a604d", "97a1a8124418cf20"),
            {"GRU": ("40e63cac39839cd7",)}, note="without a bias", tried=True,
        ),
    ],
    "TimeEmbedding": [Candidate(2, book2.TimeEmbedding, trials.time_embedding, ("69c055ae04a76256",), _EMBEDDING)],
    "TimeAffine": [Candidate(2, book2.TimeAffine, trials.time_affine, ("e213d8e1a45bb922",))],
    "TimeDropout": [Candidate(2, book2.TimeDropout, trials.time_dropout, ("a915b43522f6c6ae",))],
    "TimeSoftmaxWithLoss": [
        Candidate(2, book2.TimeSoftmaxWithLoss, trials.time_softmax_with_loss, ("723c1a3a87ff32a5",), _SOFTMAX)
    ],
    # what only calls layers
    "RnnlmTrainer": [Candidate(2, book2.RnnlmTrainer, trials.get_batch, ("5c8fabf4db66033f",))],
    "MultiLayerNet": [
        Candidate(1, book1.DecayingNet, trials.multi_layer_net, ("0f39d6120fc3e94c", "08b758735bbe11f0"), **_NET),
        Candidate(
            1, book1.DecayingLoss, trials.multi_layer_net, ("3e1dff58d5372bd5",), **_NET,
            note="without weight decay in its gradient", tried=True, only_printed=True,
        ),
    ],
    "MultiLayerNetExtend": [
        Candidate(1, book1.DecayingNetExtend, trials.multi_layer_net_extend, ("8c2b20044c1fb992",), **_NET)
    ],
    # functions
    "sigmoid": [Candidate(b, functions.sigmoid, trials.elementwise, ("5425f6f46b46039f",)) for b in (1, 2)],
    "relu": [Candidate(b, functions.relu, trials.elementwise, ("aa14574078d9f872",)) for b in (1, 2)],
    "softmax": [
        Candidate(1, functions.softmax, trials.softmax1, ("2de3f30ee8923d40",)),
        Candidate(2, book2.softmax, trials.softmax2, ("9c86e0633408c937",)),
        Candidate(
            1, book1.softmax_of_older_printings, trials.softmax_of_older_printings, ("48ed5f9207e1753e",),
            note="over everything from three dimensions on",
        ),
    ],
    "im2col": [Candidate(1, functions.im2col, trials.im2col, ("679ab2cda337191d",))],
    "col2im": [Candidate(1, functions.col2im, trials.col2im, ("8b0bf2fe394339c8",))],
    "clip_grads": [Candidate(2, util.clip_grads, trials.clip_grads, ("6ae0eb18253045ab",))],
    "remove_duplicate": [Candidate(2, trainer.remove_duplicate, trials.remove_duplicate, ("29660974fdb391cf",))],
    "ppmi": [
        Candidate(2, text.ppmi, trials.ppmi, ("75b9945356bafcf3",), allowed=("print",), like=book2.ppmi_like),
        Candidate(2, text.ppmi, trials.ppmi, ("43958d70131e1689",), allowed=("print",), like=book2.ppmi_like_of_2018),
    ],
    "create_co_matrix": [Candidate(2, text.create_co_matrix, trials.create_co_matrix, ("debb6d0786f4232d",))],
    "create_contexts_target": [
        Candidate(2, text.create_contexts_target, trials.create_contexts_target, ("1e0294236152f5e9",))
    ],
    "convert_one_hot": [Candidate(2, text.convert_one_hot, trials.convert_one_hot, ("a9f7403c66c5e1bd",))],
    "most_similar": [
        Candidate(2, book2.most_similar, trials.most_similar, ("8634fe4f8d9e731d",), _SIMILARITY, ("print",)),
        Candidate(2, book2.most_similar, trials.most_similar, allowed=("print",), like=book2.most_similar_like),
    ],
}  # fmt: skip
_OPTIMIZERS = {
    "SGD": ("7da993572881c969", "e83f5547035a4bc1"),
    "Momentum": ("7850bf5dbf4fbf50", "30fd5c5fa13603e8"),
    "AdaGrad": ("0d6a11d28801677d", "419671d56f662166"),
    "RMSprop": ("2f9b515aa321e77e", "a1526f69173b2d74"),
    "Adam": ("2b3f03bdc527d85f", "252c3c5af725e8e2"),
}
for _name, (_dicts, _lists) in _OPTIMIZERS.items():
    _ours = getattr(optimizer, _name)
    BOOK[_name] = [
        Candidate(1, _ours, trials.optimizer_of_dicts, (_dicts,)),
        Candidate(2, _ours, trials.optimizer_of_lists, (_lists,)),
    ]
BOOK["Nesterov"] = [
    Candidate(1, book1.Nesterov, trials.optimizer_of_dicts, ("e53bd12d134f3878",)),
    Candidate(
        1, optimizer.Nesterov, trials.optimizer_of_dicts, ("869bd7239adb69c6",), note="that updates v first"
    ),
    Candidate(2, optimizer.Nesterov, trials.optimizer_of_lists, ("785b720184ca45f7",)),
    Candidate(2, book1.Nesterov, trials.optimizer_of_lists, note="that updates v last"),
]  # fmt: skip

# Printings that stay the reader's, by name: fastnn has nothing that would be quicker, or they only call what has.
KEPT = {
    1: "identity_function step_function sigmoid_grad relu_grad mean_squared_error sum_squared_error "
    "cross_entropy_error softmax_loss _numerical_gradient_1d numerical_gradient_2d numerical_gradient ThreeLayerNet "
    "Trainer smooth_curve shuffle_dataset conv_output_size _download download_mnist _load_label _load_img "
    "_convert_numpy init_mnist _change_ont_hot_label _change_one_hot_label load_mnist",
    2: "BaseModel cross_entropy_error TimeBiLSTM TimeSigmoidWithLoss Simple_TimeSoftmaxWithLoss Simple_TimeAffine "
    "Trainer preprocess cos_similarity to_cpu to_gpu eval_perplexity eval_seq2seq analogy normalize _download "
    "load_vocab load_data _update_vocab get_vocab",
}
# What has a vocabulary in printings.json: what may be replaced, and the functions that it calls.
WORDS = {*BOOK, "cross_entropy_error", "cos_similarity"}

# Names that the books' code uses beside NumPy and their own: harmless built-ins, and the switch for the GPU.
_HARMLESS = {
    name: getattr(builtins, name)
    for name in (  # noqa: SIM905
        "len range zip enumerate isinstance hasattr int float bool str tuple list dict set type min max sum abs map "
        "reversed sorted round slice super any all property AttributeError ValueError TypeError IndexError KeyError"
    ).split()
}
# Built-ins that compute nothing: the vocabulary of the printings need not have them.
_STRUCTURE = "len range zip enumerate isinstance hasattr tuple list dict slice super type reversed".split()  # noqa: SIM905
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


@functools.lru_cache(500)
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
    """`members`, with the reader's names and defaults of arguments where he has other ones."""
    found = dict(members(ours))
    for name in found.keys() & CALLED:
        theirs = getattr(original, name, None)
        if isinstance(theirs, types.FunctionType) and _arguments(theirs) != _arguments(found[name]):
            found[name] = _called_as(theirs, found[name])
    return found


def _called_as(function, ours):
    """A function that calls `ours` with the arguments, names and defaults of `function`."""
    made = types.FunctionType(calling(ours, function), function.__globals__, function.__name__, function.__defaults__)
    made.__module__, made.__qualname__ = ours.__module__, ours.__qualname__
    return made


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


def _arguments(function):
    """Names and defaults, of a function whose signature has not been asked for."""
    code = function.__code__
    return code.co_varnames[: code.co_argcount], function.__defaults__, code.co_kwonlyargcount, code.co_flags & 12


class Match(NamedTuple):
    """What replaces a class or function and its description; or ours is None, and why nothing does."""

    ours: Any
    why: str
    description: str = ""


def match(original) -> Match:
    """What computes what this class or function does. Remembers what was recognised, for what uses it."""
    try:
        found = _match(original)
    except Exception as error:  # code of any kind: the reader's import must not end here
        return Match(None, f"it could not be looked at ({type(error).__name__}: {error})")
    if found.ours is not None:
        _accepted.setdefault(original, "alike")
    return found


def _match(original) -> Match:
    candidates = [
        c if c.like is None or not c.printed else c._replace(ours=c.like(original)) for c in BOOK[original.__name__]
    ]
    for candidate in candidates:
        fingerprint = _printing(original, candidate)
        if fingerprint and not (candidate.tried and _unlike_by_trial(original, candidate)):
            _accepted[original] = fingerprint
            return Match(candidate.ours, "", _described(original, candidate))
    reasons = []
    distances = [_distance(original, c) for c in candidates] if len(candidates) > 1 else [0]
    for distance, candidate in sorted(zip(distances, candidates, strict=True), key=lambda pair: pair[0]):
        if candidate.only_printed:
            continue
        if candidate.like is not None:
            candidate = candidate._replace(ours=candidate.like(original))
        why = _unlike_by_code(original, candidate) or _unlike_by_words(original, candidate)
        why = why or _unlike_by_trial(original, candidate)
        if not why:
            return Match(candidate.ours, "", f"{_described(original, candidate)}, by trial")
        reasons.append((distance, why.startswith(_NOT_TRIED), why))
    return Match(None, min(reasons)[-1])


def _described(original, candidate):
    return f"book {candidate.book} {original.__name__}{candidate.note and ', ' + candidate.note}"


# ---- what was printed ----------------------------------------------------------------------------------------------

# What was recognised before its code was replaced: its fingerprint, or "alike" after a trial.
_accepted: "weakref.WeakKeyDictionary[Any, str]" = weakref.WeakKeyDictionary()
# What every class has, by itself.
_OF_EVERY_CLASS = {
    "__module__", "__dict__", "__weakref__", "__doc__", "__qualname__", "__firstlineno__", "__static_attributes__",
    "__annotations__", "__annotate__", "__annotate_func__", "__annotations_cache__",
}  # fmt: skip
_UNUSUAL = "__setattr__", "__getattribute__", "__getattr__", "__new__", "__slots__"


@functools.cache
def facts() -> dict:
    """printings.json: book -> name -> printings (fingerprint; of classes also skeleton and methods) and words."""
    with open(os.path.join(os.path.dirname(__file__), "printings.json"), encoding="utf-8") as file:
        return json.load(file)


def _printings(candidate, name):
    """[(fingerprint, skeleton, methods)] that the candidate is; and the constructors that its name ever had."""
    known = facts()[f"book {candidate.book}"].get(name, {}).get("printings", ())
    return [p for p in known if p[0] in candidate.printed], known


def _source(value) -> sources.Source | None:
    module = sys.modules.get(value.__module__)
    return None if module is None else sources.of(module)


def _printing(value, candidate) -> str:
    """The fingerprint of the candidate's printing that a function or class is; "" if it is none."""
    mine, known = _printings(candidate, value.__name__)
    source = _source(value) if mine else None
    if source is None:
        return ""
    if isinstance(value, types.FunctionType):
        node = source.function(value)
        if node is None or not _uses_only(value, candidate.uses):
            return ""
        found = _digest_of(value, node)
        return found if any(found == p[0] for p in mine) else ""
    if type(value) is not type or source.methods(value) is None:
        return ""
    live = [f for f in vars(value).values() if isinstance(f, types.FunctionType)]
    switched = [sources.dead_names(f) for f in live if "GPU" in f.__code__.co_names]
    for dead in ((), *switched[:1]):
        parts = sources.class_parts(source, value, dead)
        for fingerprint, skeleton, methods in mine:
            if (
                _same_methods(value, candidate, parts, methods)
                and parts.skeleton == skeleton
                and parts.method("__init__") in {p[2].get("__init__") for p in known}
            ):
                return fingerprint
    return ""


def _digest_of(function, node):
    dead = sources.dead_names(function)
    return printings.fingerprint(node, dead if "GPU" in function.__code__.co_names and not _as_printed(node) else ())


def _as_printed(node):
    digest = printings.fingerprint(node)
    return any(digest == p[0] for book in facts().values() for p in book.get(node.name, {}).get("printings", ()))


def _same_methods(cls, candidate, parts, printed) -> bool:
    """Are those that would be replaced, and the private ones that they call, as they were printed?"""
    needed = [name for name in printed if name in members(candidate.ours)]
    functions = [vars(cls).get(name) for name in needed]
    more = _private_of(cls, functions)
    needed += [sources.unmangled(name, cls) for name in more]
    functions += [vars(cls)[name] for name in more]
    return (
        all(parts.method(name) == printed.get(name) is not None for name in needed)
        and all(isinstance(f, types.FunctionType) and _uses_only(f, candidate.uses) for f in functions)
        and not _collides(cls, candidate)
    )


def _collides(cls, candidate) -> str:
    """What a class of the reader's has, beside what was printed, and ours would use or write over; "" if nothing."""
    entry = facts()[f"book {candidate.book}"][cls.__name__]
    words, printed = entry["words"]["attributes"], {name for p in entry["printings"] for name in p[2]}
    ours = {*members(candidate.ours), *(n for f in members(candidate.ours).values() for n in _attributes_of(f))}
    for name in vars(cls).keys() - _OF_EVERY_CLASS - set(printed) - {sources.mangled(p, cls) for p in printed}:
        plain = name in CALLED and isinstance(vars(cls)[name], types.FunctionType)
        if name in _UNUSUAL or ((name in words or name in ours) and not plain):
            return f"it defines {name} itself"
    constructor = vars(cls).get("__init__")
    for name in sorted(sources.stored(constructor) - set(words)) if constructor is not None else ():
        if name in ours and name not in _FREE:
            return f"it has an attribute {name}, which the book's has not and fastnn's uses"
    return ""


def _uses_only(function, uses) -> bool:
    """Does a function use nothing but NumPy, built-ins, the GPU's switch and functions with these fingerprints?"""
    if function.__closure__:
        return False
    space, names = function.__globals__, sources.names_of(function)
    suspects = [name for name in names if not _usual(name, space, uses)]
    if suspects and not sources.global_names(function).isdisjoint(suspects):
        return False
    return all(name in space for name in uses if name in names)


def _usual(name, space, uses):
    if name in uses:
        return name in space and _fingerprint(space[name]) in uses[name]
    if name in space:
        value = space[name]
        return value is np or (name == "GPU" and value is False) or value is getattr(builtins, name, space)
    return True  # an attribute or a built-in


def _fingerprint(value) -> str:
    """The fingerprint of a function or class that was printed, in whichever book; "" if it was not."""
    if not isinstance(value, type | types.FunctionType):
        return ""
    if value in _accepted and _is_ours(value):
        return _accepted[value]
    for candidate in BOOK.get(value.__name__, ()):
        if found := _printing(value, candidate):
            return found
    if value.__name__ in WORDS and isinstance(value, types.FunctionType):
        source = _source(value)
        node = source and source.function(value)
        if node and _as_printed(node) and _uses_only(value, {}):
            return printings.fingerprint(node)
    return ""


def _is_ours(value):
    """Has it been replaced?"""
    if isinstance(value, types.FunctionType):
        return value.__code__.co_filename == __file__
    return any(getattr(f, "__module__", "").startswith("fastnn.") for f in vars(value).values())


# ---- by its words --------------------------------------------------------------------------------------------------


@functools.lru_cache(200)
def _words(book, name) -> Mapping[str, set]:
    """The vocabulary of the printings of a name, in this book or else in the other one."""
    books = facts()
    entry = books[f"book {book}"].get(name, {}).get("words") or books[f"book {3 - book}"].get(name, {}).get("words")
    known = {} if entry is None else {kind: set(entry[kind]) for kind in printings.KINDS}
    if known:
        known["attributes"] |= {*known["calls"], *CALLED}
        known["calls"] |= {*known["attributes"], *_STRUCTURE, *_BOOK_FUNCTIONS}
    return known


def _judged(original, candidate):
    """The functions whose place ours would take, those that they call included, of the reader's classes."""
    if isinstance(original, types.FunctionType):
        return [original]
    names = [name for name in CALLED if name != "__init__" and name in members(candidate.ours)]
    found = [f for name in names if isinstance(f := getattr(original, name, None), types.FunctionType)]
    return [
        *found,
        *(f for name in _private_of(original, found) if (f := vars(original)[name]) in _functions_of(original)),
    ]


def _private_of(cls, functions):
    """Names, as the class has them, of the private ones that functions of it call, or that these call."""
    found: list[str] = []
    while functions:
        names = {name for f in functions for name in _attributes_of(f) if name in vars(cls) and _private(cls, name)}
        more = sorted(names - set(found))
        found += more
        functions = [vars(cls)[name] for name in more]
    return found


def _private_names(cls):
    """As the text of a class has them."""
    names = vars(cls) if isinstance(cls, type) else ()
    return {sources.unmangled(name, cls) for name in names if _private(cls, name)}


def _node_of(function, original):
    """The definition of a function or of a method of a class or its bases; None if it is not what its source says."""
    for owner in original.__mro__ if isinstance(original, type) else ():
        for name, value in vars(owner).items():
            if value is function:
                source = _source(owner)
                return source and (source.methods(owner) or {}).get(sources.unmangled(name, owner))
    source = _source(function)
    return source and source.function(function)


def _unlike_by_words(original, candidate, seen=frozenset()) -> str:
    """The first word that the printings of this name and book lack; also in the functions that it calls."""
    known = dict(_words(candidate.book, original.__name__))
    if not known:
        return ""
    known["attributes"] = known["attributes"] | _private_names(original)
    known["calls"] = known["calls"] | {*known["attributes"], *candidate.allowed}
    for function in _judged(original, candidate):
        node = _node_of(function, original)
        if node is None:
            return f"{function.__name__} is not what its source says, or that cannot be read"
        word = printings.foreign_word(node, known, sources.dead_names(function))
        if word:
            return f"{function.__name__} uses {word}, which the book's does not"
        for name in sources.global_names(function):
            value = function.__globals__.get(name)
            if not isinstance(value, type | types.FunctionType) or value in seen or name not in _BOOK_FUNCTIONS:
                continue
            if _fingerprint(value):
                continue
            other = next((c for c in BOOK.get(name, ()) if c.book == candidate.book), candidate)
            if why := _unlike_by_words(value, other, {*seen, value}):
                return f"{function.__name__} uses {name}, whose {why}" if name != why.split()[0] else why
    return ""


def _distance(original, candidate):
    """How many of the words of a class or function the printings of the candidate's book lack: by it they are tried."""
    known = _words(candidate.book, original.__name__)
    source = _source(original)
    if not known or source is None:
        return 0
    return sum(name not in known["attributes"] for name in source.attributes(original.__name__))


# ---- by its code ---------------------------------------------------------------------------------------------------


def _unlike_by_code(original, candidate) -> str:
    if isinstance(original, types.FunctionType):
        return _signature_differs(original, candidate.ours) or _foreign(original, candidate)
    if type(original).__module__ not in _PLAIN_BASES:
        return f"its metaclass is {type(original).__name__}"
    own = [owner for owner in original.__mro__[:-1] if owner.__module__ not in _PLAIN_BASES]
    for special in _UNUSUAL:
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
            functions = [theirs, *(vars(original)[private] for private in _private_of(original, [theirs]))]
        for function in functions:
            if not isinstance(function, types.FunctionType):
                return f"{name} is decorated"
            why = _foreign(function, candidate, original)
            if why:
                return why
        if name != "__init__" and (why := _signature_differs(theirs, ours)):
            return why
    return _collides(original, candidate)


def _signature_differs(theirs, ours) -> str:
    """Ours must take as many arguments, whatever their names and defaults, or more with defaults."""
    if theirs.__closure__ and "__class__" not in theirs.__code__.co_freevars:
        return f"{theirs.__name__} is decorated or a closure"
    a, b = (list(inspect.signature(f).parameters.values()) for f in (theirs, ours))
    same = len(a) <= len(b) and all(p.kind == q.kind == p.POSITIONAL_OR_KEYWORD for p, q in zip(a, b, strict=False))
    if same and all(q.default is not q.empty for q in b[len(a) :]):
        return ""
    return f"{theirs.__name__} takes {inspect.signature(theirs)}, the book's {inspect.signature(ours)}"


def _foreign(function, candidate, cls=None, seen=frozenset()) -> str:
    """The first name that the book's code does not use, and whose effect would be lost; also in what it calls."""
    dead = _dead_only(function, cls)
    for instruction, name in (pair for code in _codes(function.__code__) for pair in sources.named(code)):
        if name in dead:
            continue
        if instruction in ("STORE_GLOBAL", "DELETE_GLOBAL", "IMPORT_NAME"):
            return f"{function.__name__} {'imports' if 'IMPORT' in instruction else 'changes'} {name}"
        if instruction in ("LOAD_GLOBAL", "LOAD_NAME"):
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
                    if why := _foreign(used, candidate, None, {*seen, value}):
                        return f"{function.__name__} uses {name}: {why}"
        if instruction in ("LOAD_ATTR", "LOAD_METHOD"):
            if name in _NUMPY_WITH_EFFECTS:
                return f"{function.__name__} uses {name}, unlike the book's"
            known = name in CALLED or name in _attributes_of(getattr(candidate.ours, function.__name__, None))
            if cls is not None and name in vars(cls) and not known and not _private(cls, name):
                return f"{function.__name__} uses {name} of its class, which a subclass may change"
    return ""


def _dead_only(function, cls):
    """Names that a function has only where the GPU's switch, which is off, leads."""
    if not sources.dead_names(function) or "GPU" not in function.__code__.co_names:
        return ()
    node = _node_of(function, cls)
    return () if node is None else printings.dead_names(node, sources.dead_names(function))


def _functions_of(value):
    """The reader's own functions: this one, or those of this class that are not replaced yet."""
    members = vars(value).values() if isinstance(value, type) else [value]
    return [f for f in members if isinstance(f, types.FunctionType) and not f.__module__.startswith("fastnn.")]


def _private(cls, name):
    own = f"_{cls.__name__.lstrip('_')}__"
    return name.startswith(own) or (name.startswith("__") and not name.endswith("__") and own + name[2:] in vars(cls))


_codes = sources.codes


# ---- by what it computes -------------------------------------------------------------------------------------------


def _unlike_by_trial(original, candidate) -> str:
    ours = candidate.ours
    if isinstance(original, type):
        # A subclass of the reader's class with our methods: his constructor, as it will be.
        ours = type(original)(original.__name__, (original,), fitted(original, ours))
    else:
        ours = _called_as(original, ours)
    states = np.random.get_state(), random.getstate()
    try:
        theirs: list = []
        try:
            theirs += ((what, _snapshot(value)) for what, value in _run(original, candidate))
        except Exception as error:
            return f"{_NOT_TRIED} ({type(error).__name__}: {error})"
        try:
            with contextlib.closing(_run(ours, candidate)) as run:
                return _unlike_a_run(theirs, run, original, candidate)
        except Exception as error:
            return f"it accepts what fastnn's refuses ({type(error).__name__}: {error})"
    finally:
        np.random.set_state(states[0])
        random.setstate(states[1])


def _run(subject, candidate):
    """Everything that the trial gives, what is printed and how the generator is left; in silence."""
    np.random.seed(1984)
    out = io.StringIO()
    with (
        warnings.catch_warnings(),
        np.errstate(all="ignore"),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(out),
    ):
        warnings.simplefilter("ignore")
        for inputs in trials.inputs(candidate.trial):
            yield from candidate.trial(subject, inputs)
    yield "what is printed", out.getvalue()
    yield "random draws", float(np.random.rand())


def _unlike_a_run(theirs, ours, original, candidate) -> str:
    """How ours differs from what the original gave; it is compared as it comes."""
    seen: list[set] = []
    for (what, value), (_, mine) in zip(theirs, ours, strict=True):
        if why := differs(value, mine if isinstance(mine, _PLAIN) else _Attributes(mine)):
            return f"{what}: {why}"
        if isinstance(value, _Attributes) and value.keys() not in seen:
            seen.append(set(value))
            if why := _reads_more(original, candidate.ours, value):
                return why
    return ""


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


_NOT_TRIED = "it could not be tried"
_FREE = {"layers"}  # attributes that the books fill and nobody reads
_PLAIN = (np.ndarray, np.generic, int, float, str, tuple, list, dict, type(None))


class _Attributes(dict):
    """Attributes of an object of the reader's class, as they are now."""

    def __init__(self, layer):
        super().__init__()
        for name in [*vars(layer), *_kept_of(type(layer))]:
            if name not in _FREE and name != "_saved":
                with contextlib.suppress(AttributeError):
                    value = getattr(layer, name)
                    if isinstance(value, _PLAIN):
                        self[name] = _copy(value)


@functools.lru_cache(100)
def _kept_of(cls):
    return [name for name, value in vars(cls).items() if isinstance(value, Kept)]


def _snapshot(value):
    if isinstance(value, trials.Called):
        return trials.Called(_copy(value.result), _copy(value.arguments), value.ties)
    return _copy(value) if isinstance(value, _PLAIN) else _Attributes(value)


def _copy(value):
    if isinstance(value, np.ndarray):
        return value.copy()
    if isinstance(value, list | tuple):
        return [_copy(v) for v in value]
    if isinstance(value, dict):
        return {key: _copy(v) for key, v in value.items()}
    return value


def differs(a, b, tolerance=1e-8) -> str:
    """How b (ours) differs from a, as a clause; "" if it does not but for rounding."""
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return _arrays_differ(a, b, tolerance)
    if isinstance(a, str) and a == trials.REFUSED:
        return ""
    if isinstance(a, trials.Called):
        if why := differs(a.result, b.result, tolerance):
            return why
        if why := differs(a.arguments, b.arguments, tolerance):
            return f"its argument afterwards: {why}"
        return next((_tie(x, y) for x, y in zip(a.ties, b.ties, strict=False) if x != y), "")
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
        same = a is b or (isinstance(a, str) and isinstance(b, str) and a == b)
        return "" if same else f"{_short(a)}, fastnn's {_short(b)}"
    return _arrays_differ(np.asarray(a), np.asarray(b), tolerance)


def _arrays_differ(x, y, tolerance):
    if x.shape != y.shape:
        return f"shape {x.shape}, fastnn's {y.shape}"
    if x.dtype == y.dtype:
        if x.tobytes() == y.tobytes():
            return ""
    elif x.dtype.kind == "f":
        return f"{x.dtype}, fastnn's {y.dtype}"
    error = largest_error(x, y)
    limit = 1e-4 if x.dtype == np.float32 else tolerance
    return "" if error <= limit else f"values differ by {error:.2g}"


def _short(value):
    return "an array" if isinstance(value, np.ndarray) else repr(value)


def _tie(theirs, ours):
    if theirs:
        return f"it {theirs}, unlike fastnn's"
    return f"it does not, as fastnn's, {ours.replace('returns', 'return').replace('rebinds', 'rebind')}"


def largest_error(x, y) -> float:
    """The largest difference of two arrays, relative to the largest value of x; inf where NaN or infinity differ."""
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if x.size == 0:
        return 0.0
    with np.errstate(all="ignore"):
        error = float(abs(x - y).max())
    if math.isfinite(error):
        return error / (float(abs(x).max()) or 1.0) if error else 0.0
    finite = np.isfinite(x)
    if not np.array_equal(x[~finite], y[~finite], equal_nan=True):
        return np.inf
    x, y = x[finite], y[finite]
    scale = np.abs(x).max(initial=0.0) or 1.0
    return float(np.abs(x - y).max(initial=0.0) / scale)
