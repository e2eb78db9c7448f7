"""`graphrewrite check`: what stands between a model and a target, all of it at once, without writing anything."""

from __future__ import annotations

import argparse
import json

from graphrewrite.cli.failure import outcome_json
from graphrewrite.cli.flags import (
    add_metadata,
    add_model,
    add_pipeline,
    metadata_options,
    passes_of,
    source_options,
    target_options,
)
from graphrewrite.cli.progress import stages

HELP = "list everything that stands in the way of a conversion; writes nothing"
DESCRIPTION = """\
Run the whole pipeline in memory, lowering included, and list every operator that the target can't hold, with
its node, the reason and what to do. Nothing is written and nothing is run.

  graphrewrite check model.onnx                exit code 0: `run` will write a file
  graphrewrite check model.onnx --json         the same for a script
  graphrewrite check model.onnx --target tflite,coreml,openvino
                                               one table: each blocked node, and what each target says of it
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_model(parser)
    add_pipeline(parser, several=True)
    add_metadata(parser)


def execute(arguments: argparse.Namespace) -> int:
    """Run the pipelines; the blockers of a single target leave as NotExpressible."""
    from graphrewrite.api import preflight
    from graphrewrite.errors import worst_exit_code
    from graphrewrite.report.blocked import blocked_lines
    from graphrewrite.report.text import graph_report_lines

    with stages() as progress:
        outcomes = preflight(
            arguments.model,
            arguments.target,
            passes_of(arguments),
            **target_options(arguments),
            **source_options(arguments),
            **metadata_options(arguments),
            debug=arguments.debug,
            progress=progress,
        )
    found = list(outcomes.values())
    if len(found) == 1:
        if found[0].result is None:
            assert found[0].error is not None
            raise found[0].error
        if arguments.json:
            print(json.dumps(found[0].result.report, indent=2))
        else:
            print(f"{arguments.model} can be converted to {found[0].target.spec}.")
            print("\n".join(graph_report_lines(found[0].result.report, found[0].result.model)))
        return 0
    if arguments.json:
        print(json.dumps({"schema": 1, "targets": [outcome_json(item) for item in found]}, indent=2))
    else:
        print("\n".join(blocked_lines(found)))
    return worst_exit_code(item.exit_code for item in found)
