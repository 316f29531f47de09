"""`fastnn bench`: performance regressions of any project with pytest-benchmark tests."""

import argparse
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
        "--max-rounds", type=_positive(int), default=24, help="then what is open stays undecided (default: %(default)s)"
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
    from ..bench import report, rounds, store

    result = rounds.Comparison(args, _say).run(args.a, args.b)
    print(report.text(result))
    path = store.save_result(args.project, "compare", result)
    _say(f"kept in {path}")
    if result["message"]:
        _say(f"fastnn bench compare: {result['message']}")
    return EXIT["failed" if result["message"] or result["failures"] else "fine"]


_COMMANDS = {"run": _run, "compare": _compare}
