"""`fastnn examples`: the gallery. Lists the examples by document and chapter, runs one, several or all."""

import argparse
import difflib
import sys
from pathlib import Path

from ..examples import DOCUMENTS, EXAMPLES, start


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", nargs="*", help="examples to run (default: list them)")
    parser.add_argument("--all", action="store_true", help="run all of them")
    parser.add_argument("--names", action="store_true", help="print the names, one a line")
    parser.add_argument("--quick", action="store_true", help="seconds, not minutes, on data that ships or is made")
    parser.add_argument(
        "--out", metavar="DIR", default="fastnn-examples", help="pictures go to DIR/NAME (default: %(default)s)"
    )


def run(args: argparse.Namespace) -> None:
    names = list(EXAMPLES) if args.all else args.name
    for name in names:
        if name not in EXAMPLES:
            near = difflib.get_close_matches(name, EXAMPLES, 3)
            hint = f"; did you mean {' or '.join(near)}?" if near else ""
            raise ValueError(f"there is no example {name!r}{hint} (fastnn examples lists them)")
    if args.names:
        print("\n".join(EXAMPLES))
        return
    if not names:
        print(_list(japanese=_printable("あア亜")))
    for name in names:
        example = EXAMPLES[name]
        print(f"{example.title} ({DOCUMENTS[example.document][0]}, {example.chapter}): {name}", flush=True)
        start(example.main(), name, args.quick, Path(args.out, name))
        if name != names[-1]:
            print()


def _printable(text: str) -> bool:
    """Whether stdout's encoding has the letters."""
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _list(japanese: bool) -> str:
    width = max(map(len, EXAMPLES))
    lines: list[str | None] = []
    for document, (title, title_ja) in DOCUMENTS.items():
        lines += ["" if lines else None, f"{title} / {title_ja}" if japanese else title]
        chapter = None
        for example in EXAMPLES.values():
            if example.document == document:
                shown = example.chapter if example.chapter != chapter else ""
                chapter = example.chapter
                both = f"{example.title} / {example.title_ja}" if japanese else example.title
                lines.append(f"  {shown:14}{example.name:{width}}  {both}")
    folder = Path(__file__).parent.parent / "examples"
    lines += ["", "fastnn examples NAME [--quick] [--out DIR] runs one; the scripts are in", f"  {folder}"]
    return "\n".join(line for line in lines if line is not None)
