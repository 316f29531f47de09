"""Makes the packages of this folder printed ones, for tests: their fingerprints take the places of the books'."""

import ast
import copy
from pathlib import Path

from fastnn.dropin import printings, recognise

FOLDER = Path(__file__).parent


def as_printed(book):
    """(facts with the fingerprints of this folder's classes, {fingerprint of a function here: the printed one})."""
    facts, functions = copy.deepcopy(recognise.facts()), {}
    for path in (FOLDER / f"book{book}" / "common").glob("*.py"):
        for node in ast.parse(path.read_bytes()).body:
            entry = facts[f"book {book}"].get(getattr(node, "name", ""))
            if entry is None or node.name not in recognise.WORDS:
                continue
            newest = _newest(book, node.name, entry)
            if isinstance(node, ast.ClassDef):
                parts = printings.Parts(node)
                newest[1:] = parts.skeleton, parts.methods()
            else:
                functions[printings.fingerprint(node)] = newest[0]
    return facts, functions


def _newest(book, name, entry):
    for candidate in recognise.BOOK.get(name, ()):
        if candidate.book == book and candidate.printed and not candidate.tried:
            return next(p for p in entry["printings"] if p[0] == candidate.printed[0])
    return entry["printings"][-1]


def install(set_attribute, book):
    """set_attribute(object, name, value), as monkeypatch's."""
    facts, functions = as_printed(book)
    digest = printings.fingerprint

    def fingerprint(definition, dead=()):
        found = digest(definition, dead)
        return functions.get(found, found)

    set_attribute(recognise, "facts", lambda: facts)
    set_attribute(printings, "fingerprint", fingerprint)
