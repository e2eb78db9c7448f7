"""cond and while_loop. Their graphs read values from outside, as MIL's blocks do.

cond (pred) {then_branch, else_branch}: graphs without inputs.
while_loop (states...) {cond: states -> bool, body: states -> states}.
"""

from __future__ import annotations

import onnx
import onnx.helper

from graphrewrite.ir.loops import attribute_graph, while_loop
from graphrewrite.ir.meaning import register_control_flow
from graphrewrite.targets.coreml.dialect.op import DOMAIN


def cond(node: onnx.NodeProto) -> list[onnx.NodeProto]:
    """ONNX's If."""
    branches = {name: attribute_graph(node, name) for name in ("then_branch", "else_branch")}
    return [onnx.helper.make_node("If", list(node.input), list(node.output), name=node.name, **branches)]


register_control_flow(DOMAIN, "cond", cond)
register_control_flow(DOMAIN, "while_loop", while_loop)
