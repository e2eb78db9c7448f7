"""The command line: finds the command, runs it, and turns every error into its exit code and a message.

Nothing here or at the top of a command's module may import numpy, onnx or onnx_ir: `graphrewrite --help` answers at once.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Protocol

from graphrewrite import __version__
from graphrewrite.cli.failure import error_json, message
from graphrewrite.errors import GraphRewriteError, exit_code

COMMANDS = {
    "run": "run",
    "check": "check",
    "diff": "diff",
    "verify": "verify",
    "golden": "golden",
    "passes": "passes",
    "ops": "ops",
    "explain": "explain",
    "bisect": "bisect",
    "reduce": "reduce",
    "import": "import_model",
    "new-pass": "new_pass",
}
"""Command name to module of `graphrewrite.cli`, in the order of `--help`."""

INTERRUPTED = 130
"""What shells report of a command that Ctrl-C has ended."""

_EPILOG = """\
exit codes:
  0  written, loaded and matched
  1  internal error: a defect of graphrewrite
  2  wrong usage, or the input can't be read
  3  not expressible in the target; every reason is listed
  4  the file's outputs differ from the original's
  5  the file could not be checked
  of several targets the worst: 1, then 4, 5, 3, 2, 0

start with:
  graphrewrite run model.onnx              convert to model.tflite and prove it
  graphrewrite check model.onnx            what stands in the way, without writing anything
  graphrewrite diff model.onnx             what each pass changes
  graphrewrite bisect model.onnx           which pass, and which rewrite of it, made the outputs wrong
"""


class Command(Protocol):
    """What the module of a command holds."""

    HELP: str
    DESCRIPTION: str

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Declare the command's arguments."""

    def execute(self, arguments: argparse.Namespace) -> int:
        """Do it; the exit code."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; no exception leaves."""
    parser = build_parser()
    try:
        arguments = parser.parse_args(argv)
    except SystemExit as stop:  # argparse has printed its message or the help
        return stop.code if isinstance(stop.code, int) else 2
    try:
        code: int = arguments.execute(arguments)
        sys.stdout.flush()
        return code
    except GraphRewriteError as error:
        return _fail(arguments, error)
    except KeyboardInterrupt:
        print("graphrewrite: interrupted; nothing was written", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # the reader of our output has gone: `graphrewrite ops | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        where = f"'{error.filename}'" if error.filename else "a file"
        return _fail(arguments, _Unusable(f"{where} can't be used: {error.strerror or error}"))
    except Exception as error:
        return _fail(arguments, _blamed(error))


def _blamed(error: Exception) -> Exception:
    """An error in a file of the user's own is theirs; everything else is ours."""
    from graphrewrite.discovery import USER_MODULE

    for frame, line in traceback.walk_tb(error.__traceback__):
        if str(frame.f_globals.get("__name__", "")).startswith(USER_MODULE):
            place = f"'{frame.f_code.co_filename}', line {line}"
            wrapped = _Unusable(f"the pass in {place} failed: {type(error).__name__}: {error}")
            wrapped.__cause__ = error
            return wrapped
    return error


class _Unusable(GraphRewriteError):
    """A file that can't be read or written, or a user's own that fails."""

    exit_code = 2


def build_parser() -> argparse.ArgumentParser:
    """The whole command line, every command in it."""
    parser = argparse.ArgumentParser(
        prog="graphrewrite",
        description="Rewrites an ONNX model, pass by pass, into another runtime's format, and checks every file it writes "
        "against the original.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"graphrewrite {__version__}")
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--json", action="store_true", help="print one JSON document on standard output")
    shared.add_argument("--debug", action="store_true", help="verify every step; show tracebacks")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for name, module in COMMANDS.items():
        command: Command = importlib.import_module(f"graphrewrite.cli.{module}")
        child = commands.add_parser(
            name,
            help=command.HELP,
            description=command.DESCRIPTION,
            parents=[shared],
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        command.configure(child)
        child.set_defaults(execute=command.execute, command=name)
    return parser


def _fail(arguments: argparse.Namespace, error: Exception) -> int:
    """Print the error; its exit code."""
    if arguments.debug:
        traceback.print_exception(error)
    if arguments.json:
        print(json.dumps({"schema": 1, "error": error_json(error)}, indent=2))
    print(f"graphrewrite {arguments.command}: {message(error, debug=arguments.debug)}", file=sys.stderr)
    return exit_code(error)
