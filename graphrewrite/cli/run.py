"""`graphrewrite run`: convert a model, run the file against the original, and keep it only where they agree."""

from __future__ import annotations

import argparse
import json
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from graphrewrite.cli.failure import message, outcome_json
from graphrewrite.cli.flags import (
    add_metadata,
    add_model,
    add_pipeline,
    add_samples,
    metadata_options,
    passes_of,
    pipeline_of,
    source_options,
    target_options,
)
from graphrewrite.cli.progress import stages

if TYPE_CHECKING:
    from graphrewrite.api import Outcome, Result
    from graphrewrite.pipeline.instruments import TimePasses
    from graphrewrite.pipeline.manager import BaseInstrument
    from graphrewrite.targets.base import Target

HELP = "convert a model and check the written file against the original"
DESCRIPTION = """\
Convert an ONNX model, load the written file in the target's runtime, run it and the original on the same
inputs, and put the file under its final name only where every output agrees.

  graphrewrite run model.onnx                           writes model.tflite
  graphrewrite run model.onnx --shape x=1,3,512,512     fixes a dynamic input
  graphrewrite run model.onnx --passes default,my.py    with a pass of your own
  graphrewrite run model.onnx --numeric-each            which pass changes the outputs?
  graphrewrite run model.onnx --target tflite,coreml,openvino -o build/
                                                        all three, and one table of what became of them
  graphrewrite run model.onnx --precision fp16          half the size; what float16 can't hold is listed
  graphrewrite run model.onnx --shape 'batch=1..8'      keeps a dimension dynamic, checked at 1, 4 and 8
  graphrewrite run model.onnx --normalize image=127.5:127.5 --io-layout nhwc
                                                        takes images as a camera gives them
  graphrewrite run model.onnx --target coreml --image x=rgb,scale=1/255 --labels names.txt
                                                        a classifier of pictures, as Xcode and Vision want it

The source is loaded, run and rewritten as far as the targets agree once; a target that fails does not stop the
others.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_model(parser)
    add_pipeline(parser, several=True)
    add_metadata(parser)
    parser.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        help="what to write: a file, a folder/, or a pattern such as 'build/{stem}-{precision}{suffix}' of {stem}, {target}, "
        "{suffix}, the target's options and {options}, which is all of them (default: the model's name, in this folder)",
    )
    check = parser.add_argument_group("checking")
    add_samples(check)
    check.add_argument(
        "--no-check", action="store_true", help="write without running the file: nothing is proven then"
    )
    check.add_argument(
        "--allow-unchecked", action="store_true", help="keep the file where the check could not be run"
    )
    check.add_argument(
        "--repro",
        metavar="DIR",
        help="where a mismatch leaves its reproducer (default: repro/ beside the file)",
    )
    watch = parser.add_argument_group("watching the passes")
    watch.add_argument(
        "--print-changed",
        nargs="?",
        const="graph",
        choices=("graph", "diff"),
        help="print the graph after each pass that changed it; =diff prints only what changed",
    )
    watch.add_argument(
        "--dump-ir", metavar="DIR", help="write the graph after each pass that changed it: .onnx and .diff"
    )
    watch.add_argument(
        "--numeric-each",
        action="store_true",
        help="run the graph after each pass; undo and report one that is wrong",
    )
    watch.add_argument(
        "--rewrite-limit", type=int, metavar="N", help="stop optional rewriting after N rewrites"
    )
    watch.add_argument("--time-passes", action="store_true", help="print what each pass took")
    watch.add_argument(
        "--stop-after",
        metavar="PASS[:N]",
        help="stop after that pass, or after N rewrites of it, and write the graph, which ONNX Runtime still runs, as .onnx",
    )


def execute(arguments: argparse.Namespace) -> int:
    """Convert; the exit code of one target is 0, since everything else is an error, and the worst one of several."""
    from graphrewrite.api import run_all
    from graphrewrite.errors import worst_exit_code
    from graphrewrite.report.text import report_lines
    from graphrewrite.targets.base import targets

    chosen = targets(arguments.target, target_options(arguments))
    instruments, times = _instruments(arguments, chosen)
    stop = _stop_file(arguments)
    try:
        with stages(live=arguments.print_changed is None) as progress:
            outcomes = run_all(
                arguments.model,
                chosen,
                passes_of(arguments),
                arguments.output if stop is None else None,
                **source_options(arguments),
                **metadata_options(arguments),
                samples=arguments.samples,
                seed=arguments.seed,
                check=not arguments.no_check,
                allow_unchecked=arguments.allow_unchecked,
                instruments=instruments,
                numeric_each=arguments.numeric_each,
                rewrite_limit=arguments.rewrite_limit,
                debug=arguments.debug,
                repro=arguments.repro,
                progress=progress,
            )
    finally:
        if times is not None:
            print("\n".join(times.lines()), file=_aside(arguments))
    if len(outcomes) > 1:
        _tell_all(list(outcomes.values()), arguments)
        return worst_exit_code(item.exit_code for item in outcomes.values())
    (outcome,) = outcomes.values()
    if outcome.result is None:
        assert outcome.error is not None
        raise outcome.error
    if stop is not None:
        _save_stopped(outcome.result, stop)
    if arguments.json:
        print(json.dumps(outcome.result.report, indent=2))
    else:
        print("\n".join(report_lines(outcome.result)))
    return 0


def _tell_all(outcomes: Sequence[Outcome], arguments: argparse.Namespace) -> None:
    """The report of each target, or why there is none, and the table."""
    from graphrewrite.report.table import table_lines
    from graphrewrite.report.text import report_lines

    if arguments.json:
        print(json.dumps({"schema": 1, "targets": [outcome_json(item) for item in outcomes]}, indent=2))
        return
    for outcome in outcomes:
        print(f"== {outcome.target.spec}")
        if outcome.result is not None:
            print("\n".join(report_lines(outcome.result)))
        if outcome.error is not None:
            print(message(outcome.error, debug=arguments.debug))
            if arguments.debug:
                traceback.print_exception(outcome.error)
        print()
    print("\n".join(table_lines(outcomes)))


def _aside(arguments: argparse.Namespace) -> TextIO:
    """Where text goes that is not the report: standard output belongs to the JSON document where one is asked for."""
    return sys.stderr if arguments.json else sys.stdout


def _instruments(
    arguments: argparse.Namespace, chosen: Sequence[Target]
) -> tuple[list[BaseInstrument], TimePasses | None]:
    from graphrewrite.errors import UsageError
    from graphrewrite.pipeline import instruments as known

    watchers: list[BaseInstrument] = []
    if arguments.print_changed:
        stream = _aside(arguments)
        watchers.append(
            known.PrintChanged(lambda line: print(line, file=stream), diff=arguments.print_changed == "diff")
        )
    if arguments.dump_ir:
        watchers.append(known.DumpIR(Path(arguments.dump_ir)))
    times = known.TimePasses() if arguments.time_passes else None
    if times is not None:
        watchers.append(times)
    if arguments.stop_after:
        if len(chosen) > 1:
            raise UsageError("--stop-after writes one graph: name one target")
        watchers.append(known.StopAfter.checked(arguments.stop_after, pipeline_of(arguments)))
    return watchers, times


def _stop_file(arguments: argparse.Namespace) -> Path | None:
    """The .onnx to write with `--stop-after`."""
    from graphrewrite.errors import UsageError

    if not arguments.stop_after:
        return None
    path = Path(
        arguments.output or f"{Path(arguments.model).stem}.{arguments.stop_after.replace(':', '-')}.onnx"
    )
    if path.suffix != ".onnx":
        raise UsageError(f"--stop-after writes an ONNX graph: name the output something.onnx, not '{path}'")
    return path


def _save_stopped(result: Result, path: Path) -> None:
    from graphrewrite.ir import save

    save(result.model, path)
    result.path = path
    result.report["path"] = str(path)
