"""Fingerprints of definitions: the same for code that differs only in names of variables, comments, docstrings, spacing
and annotations, on every Python.

A fingerprint is the beginning of the SHA-256 of the syntax tree as text. In that text a function's arguments and the
names that it assigns are v0, v1, ... in the order in which they come up: first the decorators and defaults, then the
arguments, then the body. Names from outside, attributes, keywords and constants stand as they are. Code in which names
mean more than that (`_unusual`) keeps all of them. `printings.json` has the fingerprints of all that the books'
repositories ever had; tools/pack_printings.py writes it.
"""

import ast
import functools
import hashlib
import re
from collections.abc import Iterable
from typing import ClassVar

_LEFT_OUT = {"ctx", "kind", "type_comment", "type_params"}
_UNUSUAL = {ast.Nonlocal, ast.Match, ast.AsyncFunctionDef, ast.ClassDef}
_LEAVES = {ast.Load, ast.Store, ast.Del, ast.Name, ast.Constant}
_PASS = "Pass()"


def fingerprint(definition, dead: Iterable[str] = ()) -> str:
    """Of a function or class at the top of a module. dead: names, false just now, whose `if` branches are left out."""
    writer = _Writer(definition, dead)
    parts = writer.definition(definition)
    return _digest(_class_text(definition, parts) if isinstance(definition, ast.ClassDef) else parts)


class Parts:
    """Fingerprints of a class in parts. Each is made when it is asked for: unknown code rarely needs more than one.

    `skeleton` is that of the class without its methods. dead: as for `fingerprint`.
    """

    def __init__(self, definition: ast.ClassDef, dead: Iterable[str] = ()) -> None:
        self._definition = definition
        self._writer = _Writer(definition, dead)
        self._body = body_of(definition)
        self._nodes = {node.name: node for node in self._body if isinstance(node, ast.FunctionDef)}
        self._found: dict[str, str] = {}

    @functools.cached_property
    def skeleton(self) -> str:
        only_methods = self._body and all(isinstance(node, ast.FunctionDef) for node in self._body)
        found = [] if only_methods else self._writer.definition(self._definition)
        return _digest(_class_text(self._definition, [(name, text) for name, text in found if not name]))

    def method(self, name: str) -> str | None:
        """None if there is none of that name."""
        if name not in self._found and name in self._nodes:
            self._found[name] = _digest(self._writer.method(self._nodes[name]))
        return self._found.get(name)

    def methods(self) -> dict[str, str | None]:
        return {name: self.method(name) for name in self._nodes}


def _digest(text) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:16]


def _class_text(definition, parts):
    """The text of a class from those of its bases, statements and decorators."""
    outside = _Plain()
    bases = [b for b in definition.bases if not (isinstance(b, ast.Name) and b.id == "object")]
    fields = [f"name={definition.name!r}"]
    for field, nodes in ("bases", bases), ("keywords", definition.keywords):
        if nodes:
            fields.append(f"{field}=[{','.join(map(outside.text, nodes))}]")
    if parts:
        fields.append(f"body=[{','.join(text for _, text in parts)}]")
    if definition.decorator_list:
        fields.append(f"decorator_list=[{','.join(map(outside.text, definition.decorator_list))}]")
    return f"ClassDef({','.join(fields)})"


def body_of(definition) -> list:
    """The statements of a function or class without its docstring."""
    body = definition.body
    first = body[0] if body else None
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
        return body[1:]
    return body


def alive(statements, dead) -> list:
    """Statements, those of an `if` whose condition is a dead name (or `not` one) replaced by what is run."""
    found = []
    for node in statements:
        branch = _branch(node, dead) if dead and isinstance(node, ast.If) else None
        if branch is None:
            found.append(node)
        else:
            found += alive(branch, dead)
    return found


def _branch(node, dead):
    test = node.test
    if isinstance(test, ast.Name) and test.id in dead:
        return node.orelse
    if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not) and getattr(test.operand, "id", None) in dead:
        return node.body
    return None


def _unusual(definition) -> bool:
    """Has it what renaming would not follow: nonlocal, match, async, local classes, keyword-only arguments, or calls of
    its own functions with keywords?"""
    own, called = set(), set()
    is_class = isinstance(definition, ast.ClassDef)
    stack: list = list(definition.body) if is_class else [definition]
    stack += [ast.Expr(node) for node in _around(definition)] if is_class else []
    while stack:
        node = stack.pop()
        kind = type(node)
        if kind in _UNUSUAL or (kind is ast.arguments and node.kwonlyargs):
            return True
        if kind is ast.FunctionDef:
            own.add(node.name)
        elif kind is ast.Call and node.keywords and type(node.func) is ast.Name:
            called.add(node.func.id)
        for field in node._fields:
            value = getattr(node, field, None)
            if type(value) is list:
                stack += [v for v in value if isinstance(v, ast.AST)]
            elif isinstance(value, ast.AST) and type(value) not in _LEAVES:
                stack.append(value)
    return not own.isdisjoint(called)


def _around(definition):
    """Bases, keywords' values and decorators of a class."""
    return [*definition.bases, *(k.value for k in definition.keywords), *definition.decorator_list]


def _outside(name):
    """A name that is not renamed: never one that renaming gives."""
    return f"outer {name}" if re.fullmatch(r"v\d+", name) else name


class _Plain:
    """Writes trees as text: the class of each node and its fields that are not empty."""

    def text(self, node) -> str:
        if isinstance(node, ast.AST):
            special = self.special.get(type(node))
            return self.generic(node) if special is None else special(self, node)
        if isinstance(node, list):
            return "[" + ",".join(map(self.text, node)) + "]"
        return repr(node)

    special: ClassVar[dict] = {}

    def generic(self, node):
        written = []
        for field in node._fields:
            value = getattr(node, field, None)
            if value is None or value == []:
                continue
            text = self.text(value)
            if field not in _LEFT_OUT:
                written.append(f"{field}={text}")
        return f"{type(node).__name__}({','.join(written)})"


class _Writer(_Plain):
    """The same with names renamed."""

    def __init__(self, definition, dead):
        self.dead = frozenset(dead)
        self.renames = not _unusual(definition)
        self.scopes: list[dict] = []
        self.count = 0

    def definition(self, node):
        """The text of a function; of a class [(name of a method or "", text)]."""
        if isinstance(node, ast.FunctionDef):
            return self.function(node)
        found = []
        for statement in body_of(node):
            method = isinstance(statement, ast.FunctionDef)
            text = self.method(statement) if method else self.text(statement)
            if text:
                found.append((statement.name if method else "", text))
        return found or [("", _PASS)]

    def method(self, node):
        """It knows nothing of the names around it."""
        scopes, self.scopes, self.count = self.scopes, [], 0
        text = self.text(node)
        self.scopes = scopes
        return text

    # ---- names ----

    def local(self, name):
        for scope in reversed(self.scopes):
            if name in scope:
                if scope[name] is None:
                    scope[name] = f"v{self.count}"
                    self.count += 1
                return scope[name]
        return _outside(name)

    def enter(self, arguments, body):
        """Begin a function's scope: its arguments come first."""
        assigned: set[str] = set()
        kept: set[str] = set()
        _assigned(body, assigned, kept, self.dead)
        names = [a.arg for a in _arguments(arguments)] + sorted(assigned - kept)
        scope = {name: None if self.renames else _outside(name) for name in names}
        self.scopes.append({**scope, **{name: _outside(name) for name in kept}})
        for a in _arguments(arguments):
            self.local(a.arg)

    # ---- nodes ----

    def statements(self, nodes):
        return [text for text in map(self.text, alive(nodes, self.dead)) if text]

    def function(self, node):
        name = self.local(node.name) if self.scopes else node.name
        decorators = [self.text(d) for d in node.decorator_list]
        body = alive(body_of(node), self.dead)
        arguments = self.arguments(node.args, body)
        written = ",".join(self.statements(body)) or _PASS
        self.scopes.pop()
        text = f"FunctionDef(name={name!r},args={arguments},body=[{written}]"
        return f"{text},decorator_list=[{','.join(decorators)}])" if decorators else f"{text})"

    def lambda_(self, node):
        arguments = self.arguments(node.args, [node.body])
        text = f"Lambda(args={arguments},body={self.text(node.body)})"
        self.scopes.pop()
        return text

    def arguments(self, args, body):
        """The text of the arguments; afterwards the function's scope is the innermost one."""
        defaults = ",".join(map(self.text, args.defaults))
        kw_defaults = ",".join("None" if d is None else self.text(d) for d in args.kw_defaults)
        self.enter(args, body)
        written = []
        for field in "posonlyargs", "args", "vararg", "kwonlyargs", "kw_defaults", "kwarg", "defaults":
            value = getattr(args, field)
            if field == "defaults" or field == "kw_defaults":
                if value:
                    written.append(f"{field}=[{defaults if field == 'defaults' else kw_defaults}]")
            elif isinstance(value, list):
                if value:
                    written.append(f"{field}=[{','.join(f'arg(arg={self.local(a.arg)!r})' for a in value)}]")
            elif value is not None:
                written.append(f"{field}=arg(arg={self.local(value.arg)!r})")
        return f"arguments({','.join(written)})"

    def annotated(self, node):
        if node.value is None:
            return ""  # nothing happens
        target = self.text(node.target)
        return f"Assign(targets=[{target}],value={self.text(node.value)})"

    def handler(self, node):
        name = self.local(node.name) if node.name else None
        fields = [] if node.type is None else [f"type={self.text(node.type)}"]
        if name:
            fields.append(f"name={name!r}")
        inner = ",".join(self.statements(node.body))
        return f"ExceptHandler({','.join([*fields, f'body=[{inner}]'] if inner else fields)})"

    def joined(self, node):
        # Python 3.12 has empty texts in some.
        values = [v for v in node.values if not (isinstance(v, ast.Constant) and v.value == "")]
        return f"JoinedStr(values=[{','.join(map(self.text, values))}])" if values else "JoinedStr()"

    def name(self, node):
        return f"Name(id={self.local(node.id)!r})"

    def generic(self, node):
        written = []
        for field in node._fields:
            value = getattr(node, field, None)
            if value is None or value == []:
                continue
            if field in ("body", "orelse", "finalbody") and isinstance(value, list):
                inner = self.statements(value)
                text = f"[{','.join(inner)}]" if inner else ""
            else:
                text = self.text(value)
            if text and field not in _LEFT_OUT:
                written.append(f"{field}={text}")
        return f"{type(node).__name__}({','.join(written)})"

    def class_(self, node):
        return _class_text(node, self.definition(node))

    special: ClassVar[dict] = {
        ast.FunctionDef: function,
        ast.ClassDef: class_,
        ast.Lambda: lambda_,
        ast.AnnAssign: annotated,
        ast.ExceptHandler: handler,
        ast.JoinedStr: joined,
        ast.Name: name,
    }


def _arguments(a):
    return [*a.posonlyargs, *a.args, *([a.vararg] if a.vararg else []), *a.kwonlyargs, *([a.kwarg] if a.kwarg else [])]


def _assigned(node, assigned, kept, dead):
    """Names that a function's code binds, nested functions not looked into; kept: those that a text binds."""
    kind = type(node)
    if kind is list:
        for one in alive(node, dead):
            _assigned(one, assigned, kept, dead)
    elif kind is ast.Name:
        if type(node.ctx) is not ast.Load:
            assigned.add(node.id)
    elif kind is ast.FunctionDef or kind is ast.ClassDef:
        assigned.add(node.name)
    elif kind is ast.Global:
        kept.update(node.names)
    elif kind is ast.alias:
        kept.add((node.asname or node.name).partition(".")[0])
    elif kind is not ast.Lambda and kind not in _LEAVES and isinstance(node, ast.AST):
        if kind is ast.ExceptHandler and node.name:
            assigned.add(node.name)
        for field in node._fields:
            value = getattr(node, field, None)
            if type(value) is list or isinstance(value, ast.AST):
                _assigned(value, assigned, kept, dead)


# ---- vocabulary ----------------------------------------------------------------------------------------------------

_SIGNS = {
    "Add": "+", "Sub": "-", "Mult": "*", "Div": "/", "FloorDiv": "//", "Mod": "%", "Pow": "**", "MatMult": "@",
    "USub": "-", "UAdd": "+", "Invert": "~", "BitAnd": "&", "BitOr": "|", "BitXor": "^", "LShift": "<<", "RShift": ">>",
    "Eq": "==", "NotEq": "!=", "Lt": "<", "LtE": "<=", "Gt": ">", "GtE": ">=", "Is": "is", "IsNot": "is not",
    "In": "in", "NotIn": "not in", "Not": "not", "And": "and", "Or": "or",
}  # fmt: skip
KINDS = "attributes", "calls", "constants", "keywords", "operators", "statements", "texts"
_WORDLESS = {ast.Name, ast.Load, ast.Store, ast.Del}
# Statements that only name what is computed anyway.
_NAMING = {"Assign Name", "Assign Tuple", "Assign List", "ClassDef", "FunctionDef", "Pass", "Return"}


def text_word(text: str) -> str:
    """A text as the vocabularies have it: the beginning of its SHA-256."""
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:8]


def number_word(text: str) -> str:
    """A constant as the vocabularies have it: 1.0 and 1 are the same number."""
    try:
        return repr(float(text))
    except ValueError:
        return text


def foreign_word(function, known: dict[str, set], dead: Iterable[str] = ()) -> str:
    """The first word of a function's body that `known` (kind -> words) lacks, as "np.clip"; "" if it lacks none.

    Its defaults are left out: they are passed on as they are. So are the texts that it prints: they may be translated.
    """
    printed: set[int] = set()
    stack: list = list(reversed(alive(body_of(function), dead)))
    while stack:
        node = stack.pop()
        kind = type(node)
        if kind in _WORDLESS or (kind is ast.Constant and isinstance(node.value, str) and id(node) in printed):
            continue
        if word := _foreign(node, known):
            return word
        if kind is ast.Call and getattr(node.func, "id", "") == "print":
            printed |= set(map(id, ast.walk(node)))
        below: list = []
        for field in node._fields:
            value = getattr(node, field, None)
            if field in ("annotation", "returns"):
                continue
            if isinstance(value, ast.AST):
                below.append(value)
            elif isinstance(value, list):
                below += [v for v in alive(value, dead) if isinstance(v, ast.AST)]
        stack += reversed(below)
    return ""


def _dotted(node):
    """A name with its attributes; of an attribute of something longer only that."""
    root = node
    while isinstance(root, ast.Attribute):
        root = root.value
    return ast.unparse(node) if isinstance(root, ast.Name) or not isinstance(node, ast.Attribute) else f".{node.attr}"


def _foreign(node, known):
    kind = type(node)
    if kind is ast.Attribute:
        if node.attr not in known["attributes"]:
            return _dotted(node)
    elif kind is ast.Constant:
        if isinstance(node.value, str):
            return "" if text_word(node.value) in known["texts"] else repr(node.value)
        return "" if number_word(repr(node.value)) in known["constants"] else repr(node.value)
    elif kind.__name__ in _SIGNS:
        return "" if kind.__name__ in known["operators"] else f"the operator {_SIGNS[kind.__name__]}"
    elif kind is ast.keyword:
        return "" if node.arg is None or node.arg in known["keywords"] else f"the keyword {node.arg}"
    elif kind is ast.Call:
        if _called(node.func) not in known["calls"]:
            return f"{_dotted(node.func)}()"
    elif isinstance(node, ast.stmt):
        return _foreign_statement(node, known["statements"])
    return ""


def _called(callee):
    """`called_word` of a node."""
    kind = type(callee)
    return callee.attr if kind is ast.Attribute else callee.id if kind is ast.Name else called_word(ast.unparse(callee))


def called_word(callee: str) -> str:
    """What is called, as the vocabularies have it: the last of its names."""
    return callee.rpartition(".")[2]


def _foreign_statement(node, known):
    kind = type(node).__name__
    if isinstance(node, ast.AnnAssign):
        kind = "Assign"
    targets = getattr(node, "targets", None) or [t for t in [getattr(node, "target", None)] if t is not None]
    for word in [f"{kind} {type(t).__name__}" for t in targets] or [kind]:
        alike = {word, word.replace("Tuple", "Name"), word.replace("Name", "Tuple")} if kind == "For" else {word}
        if not alike & (known | _NAMING):
            return "a statement such as " + ast.unparse(node).partition("\n")[0]
    return ""


def dead_names(function, dead) -> set[str]:
    """Names and attributes that a function has only in branches that are dead."""
    found = []
    for switches in (), dead:
        stack, names = list(alive(body_of(function), switches)), set()
        while stack:
            node = stack.pop()
            names |= {
                getattr(node, field) for field in ("id", "attr", "name") if isinstance(getattr(node, field, 0), str)
            }
            for _, value in ast.iter_fields(node):
                nodes = alive(value, switches) if isinstance(value, list) else [value]
                stack += [n for n in nodes if isinstance(n, ast.AST)]
        found.append(names)
    return found[0] - found[1]
