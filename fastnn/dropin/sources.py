"""What the files of modules say, and whether the living functions and classes are that."""

import ast
import builtins
import dis
import functools
import importlib
import os
import sys
import types
import warnings
import weakref
from typing import Any

from . import printings

_read: "weakref.WeakKeyDictionary[types.ModuleType, Source]" = weakref.WeakKeyDictionary()


class Source:
    """The definitions at the top of a module's file, and the code that compiling it gives."""

    def __init__(self, path: str, text: bytes, stamp) -> None:
        self.stamp = stamp
        self.parts: dict = {}  # what `class_parts` has found
        self.attributes_of: dict[str, list[str]] = {}  # what `attributes` has found
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree: Any = compile(text, path, "exec", ast.PyCF_ONLY_AST, dont_inherit=True)
            self.roots = [compile(text, path, "exec", dont_inherit=True)]
            if _converting():
                self.roots.append(importlib.import_module("fastnn.dropin.oldnumpy").compiled(text, path))
        kinds = ast.FunctionDef, ast.ClassDef
        self.definitions: dict[str, Any] = {node.name: node for node in tree.body if isinstance(node, kinds)}

    def function(self, value) -> ast.FunctionDef | None:
        """Its definition; None if the function is not what compiling that gives."""
        node = self.definitions.get(value.__name__)
        if isinstance(node, ast.FunctionDef):
            for root in self.roots:
                if same_code(value.__code__, _code_of(node, root)):
                    return node
        return None

    def attributes(self, name: str) -> list[str]:
        """Those that a definition reads or sets, as often as it does; [] if there is none of that name."""
        if name not in self.attributes_of and name in self.definitions:
            nodes = ast.walk(self.definitions[name])
            self.attributes_of[name] = [node.attr for node in nodes if isinstance(node, ast.Attribute)]
        return self.attributes_of.get(name, [])

    def methods(self, cls: type) -> dict[str, ast.FunctionDef] | None:
        """Definitions by name of the functions in a class; None if one of them is not what compiling that gives."""
        node = self.definitions.get(cls.__name__)
        if not isinstance(node, ast.ClassDef):
            return None
        for root in self.roots:
            if (found := self._methods(cls, node, _code_of(node, root))) is not None:
                return found
        return None

    @staticmethod
    def _methods(cls, node, inner):
        if inner is None:
            return None
        defined = {n.name: n for n in node.body if isinstance(n, ast.FunctionDef)}
        found = {}
        for name, value in vars(cls).items():
            if isinstance(value, types.FunctionType):
                method = defined.get(value.__name__)  # another name than its own: __call__ = forward
                if method is None or not same_code(value.__code__, _code_of(method, inner)):
                    return None
                found[unmangled(name, cls)] = method
        return found


def of(module: types.ModuleType) -> Source | None:
    """The source of a module; None if there is no file that could be read."""
    path = getattr(module, "__file__", None)
    try:
        if path is None or not path.endswith(".py"):
            return None
        status = os.stat(path)
        stamp = status.st_mtime_ns, status.st_size, _converting(), path
        found = _read.get(module)
        if found is None or found.stamp != stamp:
            with open(path, "rb") as file:
                found = _read[module] = Source(path, file.read(), stamp)
        return found
    except (OSError, SyntaxError, ValueError, RecursionError):
        return None


def _converting():
    """Are modules compiled with int() that takes arrays, as --compat has it?"""
    return hasattr(builtins, "_fastnn_scalar")


def unmangled(name, cls):
    """The name of a method as the class's text has it."""
    prefix = f"_{cls.__name__.lstrip('_')}__"
    return "__" + name[len(prefix) :] if name.startswith(prefix) else name


def mangled(name: str, cls: type) -> str:
    """The name that a method has in the class."""
    private = name.startswith("__") and not name.endswith("__")
    return f"_{cls.__name__.lstrip('_')}{name}" if private else name


def _code_of(node, outer):
    """The code of a definition, among the constants of the code around it."""
    line = min([node.lineno, *(d.lineno for d in node.decorator_list)])
    for constant in outer.co_consts:
        if isinstance(constant, types.CodeType) and (constant.co_name, constant.co_firstlineno) == (node.name, line):
            return constant
    return None


_FIELDS = (
    "co_name", "co_argcount", "co_posonlyargcount", "co_kwonlyargcount", "co_flags", "co_code", "co_names",
    "co_varnames", "co_freevars", "co_cellvars", "co_exceptiontable",
)  # fmt: skip


def same_code(a: types.CodeType, b: types.CodeType | None) -> bool:
    """Do two code objects do the same? Lines, files and what the interpreter noted while it ran do not count."""
    if b is None or any(getattr(a, field) != getattr(b, field) for field in _FIELDS):
        return False
    return _same_constants(a.co_consts, b.co_consts)


def _same_constants(a, b):
    if type(a) is not type(b):
        return False
    if isinstance(a, tuple):
        return len(a) == len(b) and all(map(_same_constants, a, b))
    if isinstance(a, types.CodeType):
        return same_code(a, b)
    return a == b if isinstance(a, frozenset) else repr(a) == repr(b)  # 0.0 is not -0.0


def codes(code: types.CodeType):
    """A code object and those inside it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from codes(constant)


def dead_names(function) -> tuple[str, ...]:
    """The switch for the GPU, if it is off just now."""
    return ("GPU",) if function.__globals__.get("GPU") is False else ()


def names_of(function) -> set[str]:
    """Names that a function may read from its module; attributes are among them."""
    return {name for code in codes(function.__code__) for name in code.co_names}


def global_names(function) -> set[str]:
    """Names that a function reads from its module."""
    return {
        name
        for code in codes(function.__code__)
        for instruction, name in named(code)
        if instruction in ("LOAD_GLOBAL", "LOAD_NAME")
    }


def stored(function) -> set[str]:
    """Names of the attributes that a function sets, of whichever object."""
    code = getattr(function, "__code__", None)
    return set() if code is None else {name for instruction, name in named(code) if instruction == "STORE_ATTR"}


# Instructions whose argument, without so many of its lowest bits, is the number of a name.
_NAMED = {
    dis.opmap[name]: (name, bits)
    for name, bits in (
        ("LOAD_GLOBAL", 1), ("LOAD_ATTR", int(sys.version_info >= (3, 12))), ("LOAD_METHOD", 0), ("LOAD_NAME", 0),
        ("STORE_ATTR", 0), ("STORE_GLOBAL", 0), ("DELETE_GLOBAL", 0), ("IMPORT_NAME", 0),
    )
    if name in dis.opmap
}  # fmt: skip


@functools.lru_cache(1000)
def named(code: types.CodeType) -> list[tuple[str, str]]:
    """(instruction, name) of those that read or set globals or attributes, or import. `dis` takes ten times as long."""
    if sys.version_info >= (3, 15):
        known = {name for name, _ in _NAMED.values()}
        return [(i.opname, i.argval) for i in dis.get_instructions(code) if i.opname in known]
    found, extended, raw = [], 0, code.co_code
    for operation, argument in zip(raw[::2], raw[1::2], strict=True):
        if operation in _NAMED:
            name, bits = _NAMED[operation]
            found.append((name, code.co_names[(extended | argument) >> bits]))
        extended = (extended | argument) << 8 if operation == dis.EXTENDED_ARG else 0
    return found


def class_parts(source: Source, cls: type, dead=()) -> printings.Parts:
    """The fingerprints of the definition of a class."""
    key = cls.__name__, dead
    if key not in source.parts:
        source.parts[key] = printings.Parts(source.definitions[cls.__name__], dead)
    return source.parts[key]
