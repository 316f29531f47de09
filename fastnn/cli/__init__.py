"""The console script `fastnn`: one small file per command, each with HELP, add_arguments(parser) and run(args)."""

import argparse
import sys

from .. import __version__
from . import demo, info

COMMANDS = {"demo": demo, "info": info}


def main(argv=None) -> int:
    """Run the command that `argv` (default: sys.argv[1:]) names; the exit code: 0, 1 for bad input, 130 for Ctrl-C."""
    parser = argparse.ArgumentParser(prog="fastnn", description="Compiled CPU kernels for neural networks.")
    parser.add_argument("--version", action="version", version=f"fastnn {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="command", required=True)
    for name, command in COMMANDS.items():
        command.add_arguments(commands.add_parser(name, help=command.HELP, description=command.HELP))
    args = parser.parse_args(argv)
    try:
        COMMANDS[args.command].run(args)
    except (OSError, ValueError) as error:  # data that is missing or damaged, a backend that is not available
        print(f"fastnn {args.command}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"fastnn {args.command}: interrupted", file=sys.stderr)
        return 130
    return 0
