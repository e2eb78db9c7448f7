"""Which operators LiteRT's own kernels compute in place, and where they overwrite what is still to be read.

LiteRT's memory planner (`ArenaPlanner::IdentifyInPlaceTensors`) gives an operator's result the memory of an operand where both
have the same size and nothing else reads the operand. It asks that of the operand itself and of the first value in the same
memory, but not of those between: where `%v` was computed in place and has several readers, one of them a RESHAPE whose result
is computed on in place, `%v` is overwritten before its other readers run. XNNPACK plans by itself and is not concerned.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from graphrewrite.ir import Graph, Node, Value, is_constant, static_dims, use_count

IN_PLACE = {"ADD": 2, "SUB": 2, "MUL": 2, "DIV": 2, "SOFTMAX": 1, "DYNAMIC_UPDATE_SLICE": 1}
"""How many of an operator's first operands may give it their memory; measured by the addresses of operand and result."""
VIEWS = frozenset({"RESHAPE", "EXPAND_DIMS", "SQUEEZE", "BITCAST"})
"""Operators whose result lies where their operand does."""


def overwriting(graph: Graph) -> Iterator[tuple[Node, int]]:
    """Each node of `graph` that overwrites what is still to be read, and the place of the operand whose memory it takes.

    `graph` is in the order in which it runs. The caller is to put a copy in the operand's place before going on. Linear in the
    nodes and their operands.
    """
    inputs, ends = {*graph.inputs}, {*graph.inputs, *map(_named, graph.outputs)}
    last = {
        value: position for position, node in enumerate(graph) for value in node.inputs if value is not None
    }
    first: dict[Value, Value] = {}
    """The value that was first in the memory of one that came later."""
    alive: dict[Value, list[Value]] = {}
    """By the first one, the values in its memory that may be read yet."""
    for position, node in enumerate(graph):
        place = _given(node, first, ends)
        if place is None or node.outputs[0] in ends or node.inputs[place] in inputs:
            continue
        operand, result = node.inputs[place], node.outputs[0]
        assert operand is not None  # `_given` looks
        start = first.get(operand, operand)
        members = alive.setdefault(start, [start])
        if node.op_type in IN_PLACE:
            members[:] = [value for value in members if last.get(value, -1) > position]
            if members:
                yield node, place
                start = node.inputs[place] or operand
                members = alive.setdefault(start, [start])
        first[result] = start
        members.append(result)


def _named(value: Value) -> Value:
    """The tensor that an output is a name of."""
    producer = value.producer()
    while producer is not None and producer.domain == "" and producer.op_type == "Identity":
        source = producer.inputs[0]
        if source is None:
            break
        value, producer = source, source.producer()
    return value


def _given(node: Node, first: dict[Value, Value], ends: set[Value]) -> int | None:
    """The place of the operand whose memory the planner gives the result of `node`; None where it gets its own."""
    if node.domain != "tflite":
        return None
    if node.op_type in VIEWS:
        return None if is_constant(node.inputs[0]) else 0
    for place, operand in enumerate(node.inputs[: IN_PLACE.get(node.op_type, 0)]):
        if operand is None or is_constant(operand) or not _same_size(operand, node.outputs[0]):
            continue
        if _readers(operand, ends) <= 1:
            return place if _readers(first.get(operand, operand), ends) <= 1 else None
    return None


def _readers(value: Value, ends: set[Value]) -> int:
    """As the planner counts them: inputs and outputs of the graph have one more."""
    return use_count(value) + (value in ends)


def _same_size(a: Value, b: Value) -> bool:
    """False only where the sizes are known to differ."""
    one, other = static_dims(a), static_dims(b)
    return one is None or other is None or (a.dtype == b.dtype and math.prod(one) == math.prod(other))
