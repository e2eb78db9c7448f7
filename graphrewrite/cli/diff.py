"""`graphrewrite diff`: what each pass changed in a model, or what is different between two models."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

from graphrewrite.cli.flags import add_model, add_pipeline, opening_of, pipeline_of

if TYPE_CHECKING:
    from graphrewrite.pipeline.diff import GraphDiff
    from graphrewrite.pipeline.instruments import CollectDiffs

HELP = "show what each pass changes, or compare two ONNX models"
DESCRIPTION = """\
Run the pipeline in memory and show what each pass changed: operators gained and lost, parameters, and each node
with the source nodes it came from (- gone, + new, ~ changed). Nodes are matched by the name of their output.
With a second model, show the difference of the two instead.

  graphrewrite diff model.onnx --summary                what each pass did, in a line or two
  graphrewrite diff model.onnx --only fuse-leaky-relu   one pass, node by node
  graphrewrite diff before.onnx after.onnx              two files
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_model(parser)
    parser.add_argument("other", nargs="?", metavar="OTHER", help="a second ONNX model to compare with")
    add_pipeline(parser)
    parser.add_argument("--only", metavar="PASS", help="show this pass only")
    parser.add_argument("--summary", action="store_true", help="leave out the nodes")


def execute(arguments: argparse.Namespace) -> int:
    """Print the differences."""
    if arguments.other is not None:
        return _two_files(arguments)
    return _pipeline(arguments)


def _two_files(arguments: argparse.Namespace) -> int:
    from graphrewrite.ir import load
    from graphrewrite.pipeline.diff import Snapshot, diff

    found = diff(Snapshot.of(load(arguments.model)), Snapshot.of(load(arguments.other)))
    if arguments.json:
        print(json.dumps({"schema": 1, **found.to_json()}, indent=2))
    elif not found:
        print("no differences")
    else:
        _print(found, arguments.summary)
    return 0


def _pipeline(arguments: argparse.Namespace) -> int:
    from graphrewrite.errors import NotExpressible, UsageError
    from graphrewrite.pipeline.instruments import CollectDiffs

    ordered = pipeline_of(arguments)
    if arguments.only is not None and arguments.only not in [item.name for item in ordered]:
        raise UsageError(f"--only {arguments.only}: that pass is not in this pipeline")
    opening = opening_of(arguments)
    _, model = opening.begin(arguments.model)
    collected = CollectDiffs()
    try:
        opening.rewrite(model, ordered, instruments=[collected], debug=arguments.debug)
    except NotExpressible:
        if not arguments.json:  # the passes before the lowering are still worth seeing
            _print_passes(collected, arguments)
        raise
    if arguments.json:
        shown = [
            {"index": record.index, "pass": record.spec, "rewrites": record.rewrites, **found.to_json()}
            for record, found in collected.diffs
            if arguments.only in (None, record.name)
        ]
        print(json.dumps({"schema": 1, "passes": shown}, indent=2))
    else:
        _print_passes(collected, arguments)
    return 0


def _print_passes(collected: CollectDiffs, arguments: argparse.Namespace) -> None:
    from graphrewrite.pipeline.instruments import headline

    shown = [(record, found) for record, found in collected.diffs if arguments.only in (None, record.name)]
    for record, found in shown:
        print(headline(record))
        _print(found, arguments.summary)
    if not shown:
        print("nothing changed")


def _print(found: GraphDiff, summary: bool) -> None:
    for line in found.summary():
        print(f"  {line}")
    if not summary:
        for line in found.nodes():
            print(f"  {line}")
