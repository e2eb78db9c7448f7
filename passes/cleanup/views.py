"""Operators that only move elements, followed with arrays of labels: where does each element come from, where does it go?"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from graphrewrite.ir import Array, Node, Value, constant_ints, static_dims

ELEMENTS = 1 << 24
"""Values with more elements are not followed."""
_RESHAPES = frozenset({"RESHAPE", "SQUEEZE", "EXPAND_DIMS"})
_VIEWS = _RESHAPES | {"TRANSPOSE", "SLICE", "SPLIT", "SPLIT_V", "UNPACK", "STRIDED_SLICE"}


def source(node: Node) -> Value | None:
    """The operand whose elements a view moves; None where `node` is no view."""
    if node.domain != "tflite" or node.op_type not in _VIEWS:
        return None
    return node.inputs[1 if node.op_type == "SPLIT" else 0]


def move(node: Node, x: Array) -> list[Array] | None:
    """What the view `node` makes of `x`; None where that is known only at run time."""
    out = [static_dims(value) for value in node.outputs]
    if any(shape is None for shape in out):
        return None
    if node.op_type in _RESHAPES:
        return [x.reshape(out[0] or ())]
    if node.op_type == "TRANSPOSE":
        order = constant_ints(node.inputs[1])
        return None if order is None else [x.transpose(order)]
    if node.op_type == "SLICE":
        begin = constant_ints(node.inputs[1])
        if begin is None:
            return None
        return [x[tuple(slice(at, at + size) for at, size in zip(begin, out[0] or (), strict=True))]]
    if node.op_type == "STRIDED_SLICE":
        return _strided(node, x, out[0] or ())
    if node.op_type == "UNPACK":
        axis = node.attributes.get_int("axis", 0)
        return [np.take(x, index, axis) for index in range(len(node.outputs))]
    axes = constant_ints(node.inputs[0 if node.op_type == "SPLIT" else 2])
    if not axes:
        return None
    sizes = [(shape or ())[axes[0]] for shape in out]
    return list(np.split(x, np.cumsum(sizes)[:-1].tolist(), axes[0]))


def _strided(node: Node, x: Array, out: tuple[int, ...]) -> list[Array] | None:
    begin, end, strides = (constant_ints(value) for value in node.inputs[1:4])
    masks = ("begin_mask", "end_mask", "ellipsis_mask", "new_axis_mask", "shrink_axis_mask")
    if begin is None or end is None or strides is None or any(node.attributes.get_int(m, 0) for m in masks):
        return None
    if any(stride < 1 for stride in strides) or any(at < 0 for at in (*begin, *end)) or len(begin) != x.ndim:
        return None
    result = x[tuple(slice(a, b, c) for a, b, c in zip(begin, end, strides, strict=True))]
    return [result] if result.shape == out else None


def readers(value: Value, labels: Array) -> Iterator[tuple[Node | None, int, Value, Array]]:
    """Everything but views that `value` reaches through views: node (None for a graph output), operand number, what it reads,
    and the labels of that."""
    if value.is_graph_output():
        yield None, 0, value, labels
    for use in list(value.uses()):
        moved = move(use.node, labels) if source(use.node) is value else None
        if moved is None:
            yield use.node, use.idx, value, labels
            continue
        for output, content in zip(use.node.outputs, moved, strict=True):
            yield from readers(output, content)


def origin_of(value: Value) -> Value:
    """The value whose elements `value` holds, before all views."""
    producer = value.producer()
    while producer is not None and (operand := source(producer)) is not None:
        value, producer = operand, operand.producer()
    return value


def follow(value: Value, labels: Array) -> Array | None:
    """The labels of `value`, where `labels` are those of its origin; None where a view on the way is known at run time only."""
    producer = value.producer()
    operand = source(producer) if producer is not None else None
    if producer is None or operand is None:
        return labels
    before = follow(operand, labels)
    moved = move(producer, before) if before is not None else None
    return moved[value.index() or 0] if moved is not None else None
