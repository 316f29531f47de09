"""The console script `fastnn`: one small file per command, each with add_arguments(parser) and run(args).

`run` parses its own arguments, since most of them are the script's.
"""

import importlib
import os
import sys

from .. import __version__

COMMANDS = {
    "demo": "train a network on handwritten digits; compare classifying one by one with batches, on every backend",
    "info": "print versions, backend and why, instruction set, OpenMP runtime, threads, data found",
    "examples": "run the gallery: every system of the documents that fastnn grew from, with its figure and numbers",
    "run": "run a script of the books, unmodified, on fastnn's kernels",
    "bench": "compare the speed of two versions, watch it over time; for any project with pytest-benchmark tests",
}


def main(argv=None) -> int:
    """Run the command that `argv` (default: sys.argv[1:]) names; the exit code: 0, 1 for bad input, 130 for Ctrl-C."""
    argv = sys.argv[1:] if argv is None else list(argv)
    if argv[:1] == ["run"]:
        return importlib.import_module("fastnn.cli.run").main(argv[1:])
    import argparse  # not for `run`, which is to start quickly

    parser = argparse.ArgumentParser(prog="fastnn", description="Compiled CPU kernels for neural networks.")
    parser.add_argument("--version", action="version", version=f"fastnn {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="command", required=True)
    for name, text in COMMANDS.items():
        command = commands.add_parser(name, help=text, description=text)
        if name == next((word for word in argv if word[:1] != "-"), None):  # only this one is imported
            importlib.import_module(f"fastnn.cli.{name}").add_arguments(command)
    args = parser.parse_args(argv)
    try:
        return importlib.import_module(f"fastnn.cli.{args.command}").run(args) or 0
    except BrokenPipeError:  # `fastnn examples | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (OSError, ValueError) as error:  # data that is missing or damaged, a backend that is not available
        print(f"fastnn {args.command}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"fastnn {args.command}: interrupted", file=sys.stderr)
        return 130
