"""A function over a GraphSurgeon graph: adding a negated value is a subtraction."""

from __future__ import annotations

import onnx_graphsurgeon as gs


def subtract_by_surgery(graph: gs.Graph) -> None:
    """Subtract where a negated value was added on the right."""
    for node in graph.nodes:
        if node.op != "Add" or not node.inputs[1].inputs:
            continue
        negation = node.inputs[1].inputs[0]
        if negation.op == "Neg":
            node.op = "Sub"
            node.inputs[1] = negation.inputs[0]
    graph.cleanup()
