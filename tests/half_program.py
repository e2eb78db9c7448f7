"""A float16 program in ONNX Runtime: every value is rounded to float16, but for what two marked nodes hand each other."""

from __future__ import annotations

import onnx

from graphrewrite import ir


def as_half_program(model: ir.Model, *, mixed: bool) -> onnx.ModelProto:
    """`model`, which holds plain ONNX, with its results rounded; `mixed` heeds `ir.keeps_float`."""
    proto = ir.to_runnable_proto(model)
    marked = {node.name for node in model.graph if mixed and ir.keeps_float(node)}
    floats = {
        value.name
        for value in [*model.graph.inputs, *model.graph.initializers.values()]
        + [value for node in model.graph for value in node.outputs]
        if value.dtype == ir.DataType.FLOAT
    }
    makers = {name: node.name for node in proto.graph.node for name in node.output}
    made: set[str] = set()
    nodes: list[onnx.NodeProto] = []

    def rounded(name: str) -> str:
        if name not in floats:
            return name
        if name not in made:
            made.add(name)
            for source, target, dtype in ((name, f"{name}/16", 10), (f"{name}/16", f"{name}/32", 1)):
                nodes.append(onnx.helper.make_node("Cast", [source], [target], to=dtype))
        return f"{name}/32"

    for node in proto.graph.node:
        for index, name in enumerate(node.input):
            both = node.name in marked and (makers.get(name) in marked or name not in makers)
            node.input[index] = name if both else rounded(name)
        nodes.append(node)
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)
    return proto
