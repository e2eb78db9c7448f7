"""`graphrewrite explain`: why a pass does, or does not, act on a node."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

from graphrewrite.cli.flags import add_model, add_pipeline, opening_of, pipeline_of

if TYPE_CHECKING:
    from graphrewrite.ir import Model, Node
    from graphrewrite.pipeline import RewritePass

HELP = "say why a pass does or does not act on a node"
DESCRIPTION = """\
Run the pipeline up to a pass and try the pass on one node of the source: whether it matches, or at which value
the match ended, and why.

  graphrewrite explain fuse-leaky-relu model.onnx --node /layer1/Max
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
    from graphrewrite.errors import UsageError
    from graphrewrite.pipeline import RewritePass

    ordered = pipeline_of(arguments)
    names = [item.name for item in ordered]
    if arguments.name not in names:
        raise UsageError(f"'{arguments.name}' is not in this pipeline, which is {', '.join(names)}")
    at = names.index(arguments.name)
    item = ordered[at]
    if not isinstance(item, RewritePass):
        raise UsageError(
            f"'{arguments.name}' is not a rewrite rule: it looks at the whole graph, not at one node"
        )
    opening = opening_of(arguments)
    _, model = opening.begin(arguments.model)
    opening.rewrite(model, ordered[:at], debug=arguments.debug)
    found = _explain(item, model, arguments.node)
    if arguments.json:
        print(json.dumps({"schema": 1, "pass": item.name, "nodes": found}, indent=2))
    else:
        for entry in found:
            print(f"{entry['line']}\n  {entry['verdict']}")
    return 0


def _explain(item: RewritePass, model: Model, name: str) -> list[dict[str, Any]]:
    """What the rule says at every node that came from `name`."""
    from graphrewrite.errors import UsageError
    from graphrewrite.ir import node_line, origin
    from graphrewrite.rewrite import all_nodes

    nodes = [
        node
        for node in all_nodes(model.graph)
        if name in origin(node) or any(value.name == name for value in node.outputs)
    ]
    if not nodes:
        raise UsageError(
            f"before '{item.name}' no node comes from '{name}': an earlier pass has removed it, or there is none of "
            "that name"
        )
    return [{"line": node_line(node), **_try(item, node)} for node in nodes]


def _try(item: RewritePass, node: Node) -> dict[str, Any]:
    from graphrewrite.ir import node_line
    from graphrewrite.rewrite import MatchFailure, operator

    if operator(node) not in item.roots:
        reason = f"the pass looks at {', '.join(item.roots)} only"
        return {"matches": False, "verdict": f"no match: {reason}", "culprit": None}
    try:
        match = item.match(node)
    except MatchFailure as failure:
        culprit = failure.culprit
        name = getattr(culprit, "name", None)
        return {"matches": False, "verdict": f"no match: {failure.reason}", "culprit": name}
    lines = [node_line(other) for other in match.nodes]
    return {
        "matches": True,
        "verdict": "matches with " + "; ".join(lines or [node_line(node)]),
        "culprit": None,
    }
