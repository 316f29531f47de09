#!/usr/bin/env python3
"""Writes fastnn/dropin/printings.json from a list of all printings of the books' classes and functions.

    pack_printings.py LIST

The list has, for "book1" and "book2", an object for each version of a class or function in their repositories: name,
kind, fingerprint, of a class also methods and skeleton, and its vocabulary. What is kept: fingerprints of all;
vocabularies, united over the versions, of what fastnn may replace and of what that calls.
"""

import json
import sys
from pathlib import Path

from fastnn.dropin import printings, recognise

target = Path(__file__).parents[1] / "fastnn" / "dropin" / "printings.json"
packed: dict = {}
for book, versions in json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")).items():
    entries: dict = {}
    for version in versions:
        name = version["name"]
        entry = entries.setdefault(name, {"printings": []})
        same = [version["fingerprint"]]
        if version["kind"] == "class":
            same += [version["skeleton"], version["methods"]]
        if same not in entry["printings"]:
            entry["printings"].append(same)
        if name in recognise.WORDS:
            words = entry.setdefault("words", {kind: set() for kind in printings.KINDS})
            for kind in printings.KINDS:
                words[kind] |= set(version[kind])
            words["calls"] = {printings.called_word(callee) for callee in words["calls"]}
            words["constants"] = {printings.number_word(text) for text in words["constants"]}
    for entry in entries.values():
        for kind, words in entry.get("words", {}).items():
            entry["words"][kind] = sorted(words)
    packed[book.replace("book", "book ")] = dict(sorted(entries.items()))
lines = [
    f'"{book}": {{\n'
    + ",\n".join(f"{json.dumps(name)}:{json.dumps(e, separators=(',', ':'))}" for name, e in entries.items())
    + "\n}"
    for book, entries in packed.items()
]
target.write_text("{" + ",\n".join(lines) + "}\n", encoding="utf-8")
