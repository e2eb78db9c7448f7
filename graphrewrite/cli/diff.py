"""`graphrewrite diff`: what each pass changed in a model, or what is different between two models."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from graphrewrite.cli.flags import add_model, add_pipeline, add_samples, opening_of, pipeline_of, target_of
from graphrewrite.cli.progress import stages

if TYPE_CHECKING:
    from graphrewrite.errors import NotExpressible
    from graphrewrite.layout import TransposeLeft
    from graphrewrite.numeric.trace import NumericTrace
    from graphrewrite.pipeline.instruments import CollectDiffs, Watcher

HELP = "show what each pass changes, or compare two ONNX models"
DESCRIPTION = """\
Run the pipeline in memory and show what each pass changed: operators gained and lost, parameters, and each node
with the source nodes it came from (- gone, + new, ~ changed). Nodes are matched by the name of their output.
With a second model, show the difference of the two instead.

  graphrewrite diff model.onnx --summary                what each pass did, in a line or two
  graphrewrite diff model.onnx --only fuse-leaky-relu   one pass, node by node
  graphrewrite diff model.onnx --numeric                and the error that each pass added, on every output
  graphrewrite diff model.onnx --numeric --html x.html  all of it as one page to look through, no server needed
  graphrewrite diff before.onnx after.onnx              two files
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_model(parser)
    parser.add_argument("other", nargs="?", metavar="OTHER", help="a second ONNX model to compare with")
    add_pipeline(parser)
    parser.add_argument("--only", metavar="PASS", help="show this pass only")
    parser.add_argument("--summary", action="store_true", help="leave out the nodes")
    numeric = parser.add_argument_group("errors")
    numeric.add_argument(
        "--numeric",
        action="store_true",
        help="run the graph after each pass: the error that it added on every output, and the error in all",
    )
    add_samples(numeric)
    files = parser.add_argument_group("files to look at")
    files.add_argument(
        "--html",
        metavar="FILE",
        help="one self-contained page: passes, graphs before and after, search, node details, errors, transposes left",
    )
    files.add_argument(
        "--model-explorer",
        metavar="DIR",
        help="graph pairs and overlays for Model Explorer (pip install ai-edge-model-explorer), one pair a pass",
    )
    files.add_argument(
        "--dump-ir",
        metavar="DIR",
        help="the graph after each pass that changed it as .onnx, which Netron opens, and its .diff",
    )


def execute(arguments: argparse.Namespace) -> int:
    """Print the differences and write the files."""
    if arguments.other is not None:
        return _two_files(arguments)
    return _pipeline(arguments)


def _two_files(arguments: argparse.Namespace) -> int:
    from graphrewrite.errors import UsageError
    from graphrewrite.ir import load
    from graphrewrite.pipeline import PassRecord
    from graphrewrite.pipeline.diff import Snapshot, diff
    from graphrewrite.report.changes import SCHEMA, Painter

    if arguments.numeric or arguments.dump_ir:
        raise UsageError(
            "--numeric and --dump-ir follow a pipeline; `graphrewrite verify` runs two files against each other"
        )
    before, model = Snapshot.of(load(arguments.model)), load(arguments.other)
    after = Snapshot.of(model)
    found = diff(before, after)
    files = _Files(arguments, None)
    sizes = before.operators.total(), after.operators.total()
    record = PassRecord(0, arguments.other, f"{arguments.model} -> {arguments.other}", "", 0, 0.0, *sizes)
    for watcher in files.watchers:
        watcher(found, model, record)
    if files.page is not None:
        files.page.write(
            Path(arguments.html), model=arguments.model, target="", state=after, records=[record]
        )
    if arguments.json:
        print(json.dumps({"schema": SCHEMA, **found.to_json()}, indent=2))
    elif not found:
        print("no differences")
    else:
        for line in Painter(_coloured()).change_lines(found, nodes=not arguments.summary):
            print(line)
    return 0


def _pipeline(arguments: argparse.Namespace) -> int:
    from graphrewrite.errors import NotExpressible, UsageError
    from graphrewrite.numeric.trace import NumericTrace
    from graphrewrite.pipeline.collector import settled_heap
    from graphrewrite.pipeline.instruments import CollectDiffs

    target, passes = target_of(arguments), pipeline_of(arguments)
    if arguments.only is not None and arguments.only not in [item.name for item in passes]:
        raise UsageError(f"--only {arguments.only}: that pass is not in this pipeline")
    error: NotExpressible | None = None
    left: list[TransposeLeft] = []
    opening = opening_of(arguments)
    with stages() as progress, settled_heap() as settle:
        progress("loading")
        original, model = opening.begin(arguments.model)
        settle()
        trace = None
        if arguments.numeric:
            trace = NumericTrace(original, arguments.samples, arguments.seed, target.tolerance)
        files = _Files(arguments, trace)
        collected = CollectDiffs([*([] if trace is None else [trace.changed]), *files.watchers])
        progress(f"rewriting with {len(passes)} passes")
        try:
            opening.rewrite(model, passes, instruments=[collected], debug=arguments.debug)
            left = target.transposes_left(model)
        except NotExpressible as found:  # the passes before the lowering are still worth seeing
            error = found
        if files.page is not None:
            if trace is not None and error is None:
                progress("comparing the values in between")
                files.page.values = trace.values(model)
            files.page.write(
                Path(arguments.html),
                model=arguments.model,
                target=target.spec,
                state=collected.state,
                records=collected.records,
                passes=passes,
                transposes=left,
                findings=error.blockers if error is not None else (),
            )
    _tell(arguments, collected, trace, left, error)
    if error is not None:
        raise error
    return 0


class _Files:
    """What goes into the files that were asked for: `watchers` collect it while the passes run."""

    def __init__(self, arguments: argparse.Namespace, trace: NumericTrace | None) -> None:
        from graphrewrite.pipeline.instruments import DumpIR
        from graphrewrite.report.model_explorer import GraphPairs
        from graphrewrite.report.page import PageRecorder

        self.page = PageRecorder(trace) if arguments.html else None
        self.watchers: list[Watcher] = [] if self.page is None else [self.page.changed]
        if arguments.model_explorer:
            self.watchers.append(GraphPairs(Path(arguments.model_explorer), trace).changed)
        if arguments.dump_ir:
            self.watchers.append(DumpIR(Path(arguments.dump_ir)).changed)


def _tell(
    arguments: argparse.Namespace,
    collected: CollectDiffs,
    trace: NumericTrace | None,
    left: list[TransposeLeft],
    error: NotExpressible | None,
) -> None:
    from graphrewrite.report.changes import Painter, changes_json

    shown = [item for item in collected.diffs if arguments.only in (None, item[0].name)]
    if arguments.json:
        if error is None:  # else the error is the one document
            print(json.dumps(changes_json(shown, trace, left), indent=2))
        return
    painter = Painter(_coloured())
    for record, found in shown:
        for line in painter.pass_lines(record, found, trace, nodes=not arguments.summary):
            print(line)
    if not shown:
        print("nothing changed")
    if arguments.only is None:
        for line in painter.transpose_lines(left):
            print(line)
    for path in (arguments.html, arguments.model_explorer, arguments.dump_ir):
        if path:
            print(f"wrote {path}", file=sys.stderr)


def _coloured() -> bool:
    """Whether standard output is a terminal that takes colours (https://no-color.org)."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
