"""IF and WHILE. Their subgraphs read nothing from outside but constants: what they need is an operand of the node."""

from __future__ import annotations

import onnx
import onnx.helper

from graphrewrite.ir.loops import attribute_graph, identity, while_loop
from graphrewrite.ir.meaning import register_control_flow
from graphrewrite.targets.tflite.dialect.op import DOMAIN


def if_(node: onnx.NodeProto) -> list[onnx.NodeProto]:
    """(condition, operands...) {then_branch, else_branch}: each branch takes all operands."""
    branches = {}
    for name in ("then_branch", "else_branch"):
        branch = onnx.GraphProto()
        branch.CopyFrom(attribute_graph(node, name))
        operands = [item.name for item in branch.input]
        nodes = [
            *(identity(outer, inner) for outer, inner in zip(node.input[1:], operands, strict=True)),
            *branch.node,
        ]
        whole = onnx.GraphProto(node=nodes)
        del branch.input[:], branch.node[:]
        branch.node.extend(whole.node)
        branches[name] = branch
    return [onnx.helper.make_node("If", [node.input[0]], list(node.output), name=node.name, **branches)]


register_control_flow(DOMAIN, "IF", if_)
register_control_flow(DOMAIN, "WHILE", while_loop)
