"""Changing operands of nodes that may have thousands of them."""

from __future__ import annotations

import onnx_ir

_WIDE = 16
"""Up to here onnx_ir's own methods are as good; they walk all operands for each one that changes."""


def set_operand(node: onnx_ir.Node, index: int, value: onnx_ir.Value | None) -> None:
    """Make `node` read `value` as its input `index`, which exists."""
    old = node.inputs[index]
    if old is value:
        return
    if len(node.inputs) <= _WIDE or not _known_internals(node, old, value):
        node.replace_input_with(index, value)
        return
    inputs = node.inputs
    node._inputs = (*inputs[:index], value, *inputs[index + 1 :])
    if old is not None:
        old._remove_usage(node, index)
    if value is not None:
        value._add_usage(node, index)


def release_operands(node: onnx_ir.Node) -> list[onnx_ir.Value]:
    """Make `node`, which leaves the graph, read nothing; what it read."""
    inputs = node.inputs
    if len(inputs) <= _WIDE or not _known_internals(node, *inputs):
        for index, value in enumerate(inputs):
            if value is not None:
                node.replace_input_with(index, None)
    else:
        for index, value in enumerate(inputs):
            if value is not None:
                value._remove_usage(node, index)
        node._inputs = (None,) * len(inputs)
    return [value for value in inputs if value is not None]


def replace_uses(old: onnx_ir.Value, new: onnx_ir.Value) -> None:
    """Every reader of `old`, and every graph that returns it, takes `new`."""
    for node, index in old.uses():
        set_operand(node, index, new)
    if old.is_graph_output():
        old.replace_all_uses_with(new, replace_graph_outputs=True)


def _known_internals(node: onnx_ir.Node, *values: onnx_ir.Value | None) -> bool:
    """Whether this onnx_ir keeps its books as the versions do that this was written with."""
    return isinstance(getattr(node, "_inputs", None), tuple) and all(
        value is None or (hasattr(value, "_add_usage") and hasattr(value, "_remove_usage"))
        for value in values
    )
