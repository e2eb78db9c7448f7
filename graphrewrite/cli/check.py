"""`graphrewrite check`: what stands between a model and a target, all of it at once, without writing anything."""

from __future__ import annotations

import argparse
import json

from graphrewrite.cli.flags import add_model, add_pipeline, opening_of, pipeline_of, target_of
from graphrewrite.cli.progress import stages

HELP = "list everything that stands in the way of a conversion; writes nothing"
DESCRIPTION = """\
Run the whole pipeline in memory, lowering included, and list every operator that the target can't hold, with
its node, the reason and what to do. Nothing is written and nothing is run.

  graphrewrite check model.onnx                exit code 0: `run` will write a file
  graphrewrite check model.onnx --json         the same for a script
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_model(parser)
    add_pipeline(parser)


def execute(arguments: argparse.Namespace) -> int:
    """Run the pipeline; blockers leave as NotExpressible."""
    from graphrewrite.report.schema import report
    from graphrewrite.report.text import graph_report_lines

    target = target_of(arguments)
    ordered = pipeline_of(arguments)
    with stages() as progress:
        progress("loading")
        opening = opening_of(arguments)
        _, model = opening.begin(arguments.model)
        progress(f"rewriting with {len(ordered)} passes")
        records = opening.rewrite(model, ordered, debug=arguments.debug)
    unchecked = "pre-flight: nothing was written"
    found = report(target, model, records, None, None, unchecked, {}, source=arguments.model)
    if arguments.json:
        print(json.dumps(found, indent=2))
    else:
        print(f"{arguments.model} can be converted to {target.spec}.")
        print("\n".join(graph_report_lines(found, model)))
    return 0
