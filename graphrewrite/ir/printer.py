"""One line a node, for terminals, diffs and error messages."""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir

from graphrewrite.ir.record import operand_text, record_line, record_node, record_operand, type_text
from graphrewrite.ir.shapes import dims


def value_type(value: onnx_ir.Value) -> str:
    """`float[1,3,H,W]`, with `?` for what is unknown."""
    return type_text(value.dtype, dims(value))


def operand(value: onnx_ir.Value | None) -> str:
    """A node's input: its name, or its content where it is a small constant."""
    return operand_text(record_operand(value))


def node_line(node: onnx_ir.Node) -> str:
    """`%y:float[1,8,4,4] = Conv(%x, %w:float[8,3,3,3]) {pads=[1, 1, 1, 1]}`."""
    return record_line(record_node(node))


def graph_lines(graph: onnx_ir.Graph) -> Iterator[str]:
    """The whole graph, inputs first."""
    for value in graph.inputs:
        yield f"input %{value.name}:{value_type(value)}"
    for node in graph:
        yield node_line(node)
    for value in graph.outputs:
        yield f"output %{value.name}:{value_type(value)}"
