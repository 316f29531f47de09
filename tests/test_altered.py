"""Copies of classes and functions with a change that a reader may make: what is changed stays the reader's."""

import ast
import importlib
import sys

import pytest
from dropin.altered import ALTERED, SAME
from readers import READERS
from readers import clean as clean

from fastnn.dropin import recognise

OTHER = "functions", "util", "layers", "time_layers"


def definition(text, name):
    node = next(n for n in ast.parse(text).body if getattr(n, "name", "") == name)
    return ast.get_source_segment(text, node)


def head(text):
    """The imports of a module."""
    nodes = [n for n in ast.parse(text).body if isinstance(n, ast.Import | ast.ImportFrom)]
    return "".join(ast.unparse(n) + "\n" for n in nodes)


@pytest.fixture
def altered(tmp_path, monkeypatch):
    """altered(book, module, name, old, new): the class or function, in a module of its own in the reader's package."""
    monkeypatch.setattr(sys, "path", list(sys.path))

    def altered(book, module, name, old, new):
        folder = READERS / f"book{book}"
        sys.path.insert(0, str(folder))
        text = (folder / "common" / f"{module}.py").read_text()
        other, found, rest = old.partition(".")
        definitions, target = [definition(text, name)], name
        if found and other.isidentifier() and other in recognise.WORDS:
            target, old = other, rest
            where = next(m for m in OTHER if f"def {other}(" in (folder / "common" / f"{m}.py").read_text())
            definitions.insert(0, definition((folder / "common" / f"{where}.py").read_text(), other))
        texts = [t.replace(old, new) if f"{target}" in t.split("\n")[0] else t for t in definitions]
        assert texts != definitions, old
        path = tmp_path / "altered_module.py"
        path.write_text(head(text) + f"from common.{module} import *\n" + "\n\n" + "\n\n\n".join(texts) + "\n")
        sys.path.insert(0, str(tmp_path))
        importlib.invalidate_caches()
        sys.modules.pop("altered_module", None)
        return getattr(importlib.import_module("altered_module"), name)

    return altered


@pytest.mark.parametrize("entry", ALTERED, ids=lambda e: f"{e[2]}{e[0]}-{e[3].replace(' ', '_')}")
def test_what_becomes_of_an_altered_copy(entry, altered):
    book, module, name, _, old, new, outcome = entry
    found = recognise.match(altered(book, module, name, old, new))
    if outcome == SAME:
        assert found.ours is not None, found.why
    else:
        assert found.ours is None, f"replaced by {found.description}"
        parts = outcome.removeprefix(SAME).split("|")
        assert any(part in found.why for part in parts), found.why


def test_at_least_eighty_of_them_are_harmful():
    assert sum(not entry[-1].startswith(SAME) for entry in ALTERED) >= 140
