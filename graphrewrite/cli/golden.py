"""`graphrewrite golden`: record what a model gives and what its conversion comes to, and hold later versions to it."""

from __future__ import annotations

import argparse
import json
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

from graphrewrite.cli.failure import error_json, message
from graphrewrite.cli.flags import add_pipeline, add_samples, passes_of, source_options, target_options
from graphrewrite.cli.progress import stages

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from graphrewrite.golden import Checked

HELP = "keep models from breaking: record, check, bless"
DESCRIPTION = """\
A golden is a model with recorded inputs and outputs (NAME.npz) and, as text, what is expected of its conversion
(NAME.golden.toml): operators, transposes left and the bytes they move, the file's size, and how far each output
may be from the recorded one. Both are committed; the text is made to be read in a diff.

  graphrewrite golden record goldens net.onnx    make goldens/net.golden.toml and goldens/net.npz
  graphrewrite golden check goldens              convert, run, and say what changed since, for worse or better
  graphrewrite golden bless goldens              it was meant: expect what it comes to now; review the diff
  pytest --graphrewrite-golden goldens           the same check, one test a model, target and pass stage

exit codes:
  0  recorded, blessed, or everything is as expected
  1  internal error: a defect of graphrewrite
  2  wrong usage, or a golden, its model or its samples can't be read
  3  a model can't be converted any more; every reason is listed
  4  something changed, or outputs are not the recorded ones
  5  a model or its file could not be run
  of several goldens the worst: 1, then 4, 5, 3, 2, 0
"""

_RECORD = """\
Draw inputs (or take those of --samples), record what the original gives for them in ONNX Runtime, convert the model
to each target, run the files, and write down what they come to. Outputs that --samples brings along
(sample0.output.NAME beside sample0.input.NAME, as from PyTorch) are recorded instead. Nothing is recorded where a
file does not give the outputs within its target's tolerance.

  graphrewrite golden record goldens net.onnx --target tflite --shape x=1,3,224,224
  graphrewrite golden record goldens net.onnx --samples from_pytorch.npz
"""

_CHECK = """\
Convert each golden's model as its settings say, run the file on the recorded inputs, and say in words what is not as
expected. An improvement counts, too: it is accepted with `golden bless`, so that it can't get lost again.

  graphrewrite golden check goldens --junit report.xml
"""

_BLESS = """\
Rewrite what is expected, where it changed. The recorded outputs stay; a file that does not give them is not blessed.

  graphrewrite golden bless goldens                    git diff then shows what is expected otherwise
  graphrewrite golden bless goldens --target coreml    expect something of another target, too
  graphrewrite golden bless goldens --outputs          the model itself has changed: record its outputs again
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the three commands and their arguments."""
    actions = parser.add_subparsers(metavar="ACTION", required=True, dest="action")
    record = _action(actions, "record", "record models and what their conversion comes to", _RECORD)
    record.add_argument(
        "models", nargs="+", metavar="MODEL", help="the ONNX models; they stay where they lie"
    )
    record.add_argument("--name", help="of the golden, for one model (default: the model's name)")
    record.add_argument("--replace", action="store_true", help="record anew what is there already")
    add_pipeline(record, several=True)
    add_samples(record)
    check = _action(actions, "check", "convert, run, and say what changed", _CHECK)
    check.add_argument("--junit", metavar="FILE", help="write the outcome for CI, as JUnit's XML")
    bless = _action(actions, "bless", "expect what the models come to now", _BLESS)
    bless.add_argument("--outputs", action="store_true", help="record the outputs of the original again, too")
    for child, what in (
        (check, "check these only"),
        (bless, "bless these only, and add them where they are new"),
    ):
        child.add_argument(
            "--target", metavar="NAME,...", help=f"{what} (default: all that a golden expects)"
        )


def _action(
    actions: argparse._SubParsersAction[argparse.ArgumentParser], name: str, help: str, description: str
) -> argparse.ArgumentParser:
    child = actions.add_parser(
        name, help=help, description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    child.add_argument("folder", metavar="DIR", help="where the goldens lie")
    for flag, text in (
        ("--json", "print one JSON document on standard output"),
        ("--debug", "show tracebacks"),
    ):
        child.add_argument(flag, action="store_true", default=argparse.SUPPRESS, help=text)
    return child


def execute(arguments: argparse.Namespace) -> int:
    """Do it; the worst exit code of all goldens."""
    if arguments.action == "record":
        return _record(arguments)
    from graphrewrite.golden import bless, check

    with stages() as progress:
        if arguments.action == "check":
            results = list(check(arguments.folder, arguments.target, progress))
        else:
            results = list(
                bless(arguments.folder, arguments.target, outputs=arguments.outputs, progress=progress)
            )
    if arguments.action == "check" and arguments.junit is not None:
        from graphrewrite.report.junit import junit

        Path(arguments.junit).write_bytes(junit("graphrewrite golden check", results))
    return _tell(arguments, results)


def _record(arguments: argparse.Namespace) -> int:
    from graphrewrite.errors import UsageError
    from graphrewrite.golden import Checked, Golden, record
    from graphrewrite.targets.base import targets

    if arguments.name is not None and len(arguments.models) > 1:
        raise UsageError("--name names one golden: record the models one by one")
    chosen = targets(arguments.target, target_options(arguments))
    results = []
    with stages() as progress:
        for model in arguments.models:
            try:
                golden = record(
                    arguments.folder,
                    model,
                    chosen,
                    ",".join(passes_of(arguments)),
                    name=arguments.name,
                    **source_options(arguments),
                    samples=arguments.samples,
                    seed=arguments.seed,
                    replace=arguments.replace,
                    progress=progress,
                )
                results += [Checked(golden, spec) for spec in golden.expected]
            except Exception as error:  # the other models are recorded; each error is told below
                none = Golden(Path(arguments.folder) / Path(model).stem, model, "", "")
                results.append(Checked(none, "", error=error))
    return _tell(arguments, results)


_WORDS = {"record": ("recorded", ""), "check": ("ok", "CHANGED"), "bless": ("as before", "blessed")}
"""What is said of a golden without changes and with some."""


def _tell(arguments: argparse.Namespace, results: Sequence[Checked]) -> int:
    """Print what became of each golden; the exit code."""
    from graphrewrite.errors import worst_exit_code

    blessed = arguments.action == "bless"
    code = worst_exit_code(0 if blessed and item.error is None else item.exit_code for item in results)
    if arguments.json:
        print(json.dumps({"schema": 1, "goldens": [_json(item) for item in results]}, indent=2))
        return code
    plain, changed = _WORDS[arguments.action]
    for item in results:
        word = "FAILED" if item.error is not None else changed if item.changes else plain
        print(f"{word:<9} {item.golden.name}  {item.spec}".rstrip())
        told = item.changes
        if item.error is not None:
            told = message(item.error, debug=arguments.debug).splitlines()
            if arguments.debug:
                traceback.print_exception(item.error)
        for line in told:
            print(f"          {line}")
    if not blessed and any(item.changes for item in results):
        print(
            f"if that is meant: graphrewrite golden bless {arguments.folder}, and review the difference",
            file=sys.stderr,
        )
    return code


def _json(item: Checked) -> dict[str, Any]:
    """Stable schema of `--json`."""
    return {
        "golden": item.golden.name,
        "model": item.golden.model,
        "target": item.spec,
        "exit_code": item.exit_code,
        "changes": item.changes,
        "seconds": round(item.seconds, 3),
        "error": None if item.error is None else error_json(item.error),
    }
