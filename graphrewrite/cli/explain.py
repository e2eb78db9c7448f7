"""`graphrewrite explain`: why a pass does, or does not, act on a node."""

from __future__ import annotations

import argparse
import json

from graphrewrite.cli.flags import add_model, add_pipeline, opening_of, pipeline_of

HELP = "say why a pass does or does not act on a node"
DESCRIPTION = """\
Run the pipeline up to a pass and try the pass on one node of the source: whether it matches, or at which value
the match ended, and why. A pass that looks at the whole graph is run, and what it did to the node is told. So is what
earlier passes did to it: a node that is gone by then is followed to the pass that removed it, and to what is read in
its place.

  graphrewrite explain fuse-leaky-relu model.onnx --node /layer1/Max
  graphrewrite explain lower-to-tflite model.onnx --node /layer1/Max
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("name", metavar="PASS", help="the pass")
    add_model(parser)
    parser.add_argument(
        "--node", required=True, metavar="NAME", help="name of the source node, or of the value it makes"
    )
    add_pipeline(parser)


def execute(arguments: argparse.Namespace) -> int:
    """Try the pass and print what came of it."""
    from graphrewrite.pipeline.explain import explain

    ordered = pipeline_of(arguments)
    opening = opening_of(arguments)
    _, model = opening.begin(arguments.model)
    found = explain(model, ordered, arguments.name, arguments.node, opening.arrange)
    if arguments.json:
        verdicts = [item.to_json() for item in found.verdicts]
        document = {"schema": 1, "pass": arguments.name, "nodes": verdicts, "history": list(found.history)}
        print(json.dumps(document, indent=2))
        return 0
    for item in found.verdicts:
        print(f"{item.line}\n  {item.to_json()['verdict']}")
    if not found.verdicts:
        print(f"'{arguments.node}' is not there any more when {arguments.name} runs")
    for line in found.history:
        print(f"  before: {line}")
    return 0
