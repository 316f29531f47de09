"""`fastnn bench`: performance regressions of any project with pytest-benchmark tests."""

import argparse
import json
import subprocess
import sys
from pathlib import Path

EXIT = {"fine": 0, "regression": 1, "undecided": 2, "failed": 3}


class _Parser(argparse.ArgumentParser):
    def error(self, message):  # 2 means undecided here
        self.print_usage(sys.stderr)
        self.exit(EXIT["failed"], f"{self.prog}: {message}\n")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(dest="what", metavar="what", required=True, parser_class=_Parser)

    def command(name, help, *groups):
        new = commands.add_parser(name, help=help, description=help)
        new.add_argument("--project", metavar="DIR", type=Path, default=Path(), help="the project (default: here)")
        for group in groups:
            group(new)
        return new

    sides = "each a git ref, a version, a wheel, a folder, 'installed', native, numba or numpy"
    command("run", "run the benchmarks once and keep the timings", _which, _timing).add_argument(
        "--save", metavar="NAME", default="run", help="part of the file's name in .benchmarks (default: %(default)s)"
    )
    new = command("compare", f"A and B measured in turns; {sides}", _which, _timing, _deciding)
    new.add_argument("a", metavar="A")
    new.add_argument("b", metavar="B")
    new = command("count", f"instructions per call under valgrind; {sides}", _which, _timing)
    new.add_argument("a", metavar="A")
    new.add_argument("b", metavar="B", nargs="?")
    new = command("noise", "A against A: what this machine cannot see now; compare adds it", _which, _timing, _deciding)
    new.set_defaults(max_rounds=12)
    new.add_argument("a", metavar="A", nargs="?", default="installed", help="as for compare (default: %(default)s)")
    command("history", "where the stored runs of a machine changed")
    new = command("report", "Markdown on the standard output, one HTML page, other tools' formats")
    new.add_argument("--html", metavar="FILE", type=Path, help="default: .benchmarks/report.html")
    new.add_argument("--markdown", metavar="FILE", type=Path, help="default: print it")
    new.add_argument("--github-action-benchmark", metavar="FILE", type=Path, help="customSmallerIsBetter, latest run")
    new.add_argument("--bencher", metavar="FILE", type=Path, help="Bencher Metric Format, latest run")
    new = command("check", "exit code of the latest comparison or count: 0 fine, 1 regression, 2 undecided, 3 error")
    new.add_argument("file", metavar="FILE", type=Path, nargs="?", help="another result than the latest")


def _which(parser):
    parser.add_argument("-k", dest="keyword", metavar="EXPR", help="only tests that match, as pytest -k")
    parser.add_argument(
        "--path", action="append", default=[], metavar="P", help="benchmark files (default: bench, benchmarks or all)"
    )
    parser.add_argument(
        "--pytest", action="append", default=[], metavar="ARG", help="one more argument for pytest, as --pytest=-x"
    )


def _timing(parser):
    parser.add_argument("--threads", type=_positive(int), default=1, help="of OpenMP and BLAS (default: %(default)s)")
    parser.add_argument("--seconds", type=_positive(float), help="of a test in a process (compare, noise: 0.1)")


def _deciding(parser):
    parser.set_defaults(seconds=0.1)
    parser.add_argument(
        "--limit", type=_positive(float), default=1.05, help="a larger ratio B/A is a regression (default: %(default)s)"
    )
    parser.add_argument(
        "--max-rounds", type=_positive(int), default=40, help="then what is open stays undecided (default: %(default)s)"
    )
    parser.add_argument(
        "--precision", type=_positive(float), default=0.02, help="half-width of an interval at rest (default: 0.02)"
    )


def _positive(kind):
    def positive(text):
        value = kind(text)
        if not value > 0:
            raise ValueError(text)
        return value

    positive.__name__ = f"positive {kind.__name__}"
    return positive


def run(args: argparse.Namespace) -> int:
    """The exit code: 0 fine, 1 regression (`check`), 2 undecided (`check`), 3 error."""
    from ..bench import BenchError, require

    try:
        require("pytest_benchmark", "scipy", "ruptures", "jinja2", "matplotlib")
        if not args.project.is_dir():
            raise BenchError(f"--project {args.project}: no such folder")
        args.project = args.project.resolve()
        return _COMMANDS[args.what](args)
    except (BenchError, OSError) as error:
        print(f"fastnn bench {args.what}: {error}", file=sys.stderr)
    except KeyboardInterrupt:
        print(f"fastnn bench {args.what}: interrupted", file=sys.stderr)
    return EXIT["failed"]


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _run(args) -> int:
    from ..bench import rounds

    args.path = rounds.paths(args.project, args.path)
    command = rounds.pytest_command(sys.executable, args)
    command += [f"--benchmark-save={args.save}", f"--benchmark-storage=file://{args.project / '.benchmarks'}"]
    command += [f"--benchmark-max-time={args.seconds}"] if args.seconds else []
    done = subprocess.run(command, cwd=args.project, env=rounds.environment(args.threads))
    return EXIT["failed" if done.returncode else "fine"]


def _compare(args) -> int:
    from ..bench import rounds

    return _finish(args, rounds.Comparison(args, _say).run(args.a, args.b))


def _count(args) -> int:
    from ..bench import count

    return _finish(args, count.count(args.a, args.b, args, _say))


def _finish(args, result: dict) -> int:
    """Print and keep a comparison or count."""
    from ..bench import report, store

    print(report.text(result), flush=True)
    _say(f"kept in {store.save_result(args.project, args.what, result)}")
    if result["message"]:
        _say(f"fastnn bench {args.what}: {result['message']}")
    return EXIT["failed" if result["message"] or result["failures"] else "fine"]


def _noise(args) -> int:
    from ..bench import report, rounds, store

    args.precision = 0.0  # all rounds
    result = rounds.Comparison(args, _say).run(args.a, args.a)
    print(report.text(result))
    if result["message"] or not result["tests"]:
        _say(f"fastnn bench noise: {result['message'] or 'no benchmark could be measured'}; nothing was kept")
        return EXIT["failed"]
    floors = {name: max(test["high"], 1 / test["low"]) for name, test in result["tests"].items()}
    floors[""] = sorted(floors.values())[len(floors) // 2]
    kept = {"floors": floors, "machine": result["machine"]}
    store.write(store.noise_path(args.project, result["machine"]), json.dumps(kept, indent=1))
    worst = max(floors, key=floors.__getitem__)
    print(f"smallest visible change: {floors['']:.3f} (median of the tests), {floors[worst]:.3f} ({worst or 'all'})")
    return EXIT["failed" if result["failures"] else "fine"]


def _history(args) -> int:
    from ..bench import history, store

    runs, bad = store.runs(args.project)
    if runs:
        print(history.text(history.all_changes(runs, lambda machine: store.floors(args.project, machine))))
    return _complain(args, bad if runs or bad else [f"no runs in {args.project / store.FOLDER}: `fastnn bench run`"])


def _report(args) -> int:
    from ..bench import report, store

    page = report.gather(args.project)
    store.write(args.html or args.project / store.FOLDER / "report.html", report.html(page))
    if args.markdown:
        store.write(args.markdown, report.markdown(page))
    else:
        print(report.markdown(page), end="")
    exports = {args.github_action_benchmark: report.github_action_benchmark, args.bencher: report.bencher}
    for path, export in exports.items():
        if path and not page["runs"]:
            page["bad"].append(f"{path} was not written: there is no run to export")
        elif path:
            store.write(path, json.dumps(export(page["runs"][-1]), indent=1))
    return _complain(args, page["bad"])


def _complain(args, bad: list[str]) -> int:
    """One line about all that was left out."""
    if bad:
        more = f" (and {len(bad) - 1} more)" if len(bad) > 1 else ""
        _say(f"fastnn bench {args.what}: {bad[0]}{more}")
    return EXIT["failed" if bad else "fine"]


def _check(args) -> int:
    from ..bench import report, store

    path = args.file or store.latest_result(args.project)
    result = store.read_result(path)
    word = report.verdict(result)
    print(f"{word}: {result['a']['name']} against {result['b']['name']} ({path})")
    for row in report.rows(result):
        if row["verdict"] in ("regression", "failed"):
            print(f"  {row['verdict']}  {row['name']}  {row['note'] or format(row['ratio'], '.3f')}")
    return EXIT[word]


_COMMANDS = {
    "run": _run,
    "compare": _compare,
    "count": _count,
    "noise": _noise,
    "history": _history,
    "report": _report,
    "check": _check,
}
