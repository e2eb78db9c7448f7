"""Changing operands of nodes: onnx_ir's own methods walk all operands for each one that changes."""

from __future__ import annotations

import onnx_ir


def set_operand(node: onnx_ir.Node, index: int, value: onnx_ir.Value | None) -> None:
    """Make `node` read `value` as its input `index`, which exists."""
    old = node.inputs[index]
    if old is value:
        return
    if not _known_internals(node):
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
    if not _known_internals(node):
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


def _known_internals(node: onnx_ir.Node) -> bool:
    """Whether this onnx_ir keeps its books as the versions do that this was written with.

    Nodes that say how their operands are spread over devices are left to its own methods, which keep that in step.
    """
    return (
        _KNOWN_VALUES
        and type(getattr(node, "_inputs", None)) is tuple
        and not getattr(node, "device_configurations", ())
    )


_KNOWN_VALUES = hasattr(onnx_ir.Value, "_add_usage") and hasattr(onnx_ir.Value, "_remove_usage")
