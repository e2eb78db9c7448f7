"""One line a node, for terminals, diffs and error messages."""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir

from graphrewrite.ir.constants import constant_array, is_constant
from graphrewrite.ir.shapes import dims

_MAX_ELEMENTS = 8


def value_type(value: onnx_ir.Value) -> str:
    """`float[1,3,H,W]`, with `?` for what is unknown."""
    dtype = value.dtype.name.lower() if value.dtype is not None else "?"
    known = dims(value)
    return (
        f"{dtype}[{','.join('?' if dim is None else str(dim) for dim in known)}]"
        if known is not None
        else f"{dtype}[*]"
    )


def operand(value: onnx_ir.Value | None) -> str:
    """A node's input: its name, or its content where it is a small constant."""
    if value is None:
        return "-"
    if is_constant(value) and value.const_value is not None:
        if value.const_value.size <= _MAX_ELEMENTS:
            array = constant_array(value)
            return str(array.tolist()) if array is not None else f"%{value.name}"
        return f"%{value.name}:{value_type(value)}"
    return f"%{value.name}"


def node_line(node: onnx_ir.Node) -> str:
    """`%y:float[1,8,4,4] = Conv(%x, %w:float[8,3,3,3]) {pads=[1, 1, 1, 1]}`."""
    outputs = ", ".join(f"%{value.name}:{value_type(value)}" for value in node.outputs)
    name = f"{node.domain}.{node.op_type}" if node.domain else node.op_type
    attributes = ", ".join(
        f"{attribute.name}={_attribute(attribute)}"
        for attribute in sorted(node.attributes.values(), key=lambda a: a.name)
    )
    inputs = ", ".join(operand(value) for value in node.inputs)
    return f"{outputs} = {name}({inputs})" + (f" {{{attributes}}}" if attributes else "")


def _attribute(attribute: onnx_ir.Attr) -> str:
    if attribute.type == onnx_ir.AttributeType.GRAPH:
        return f"<graph of {len(attribute.as_graph())} nodes>"
    value = attribute.value
    if isinstance(value, tuple | list):
        return "[" + ", ".join(str(item) for item in value) + "]"
    return str(value)


def graph_lines(graph: onnx_ir.Graph) -> Iterator[str]:
    """The whole graph, inputs first."""
    for value in graph.inputs:
        yield f"input %{value.name}:{value_type(value)}"
    for node in graph:
        yield node_line(node)
    for value in graph.outputs:
        yield f"output %{value.name}:{value_type(value)}"
