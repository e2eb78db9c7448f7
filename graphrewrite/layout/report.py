"""Which transposes are left in a model, what they move, and why they are there."""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Callable
from typing import TypeGuard

from graphrewrite.ir import Model, Node, Value, is_constant, source_name
from graphrewrite.layout.facts import nbytes
from graphrewrite.layout.rules import Dialect
from graphrewrite.rewrite import all_nodes

_SEARCHED = 500
"""Operators to look at for a reason; beyond that it would explain nothing."""


@dataclasses.dataclass(frozen=True)
class TransposeLeft:
    """One TRANSPOSE of a finished graph.

    Attributes:
        name: of the node.
        source: name of the source model's node that it stands for.
        bytes: what it moves a run (dimensions that only run time tells are guessed).
        reason: why it is there, for the reader.
    """

    name: str
    source: str
    bytes: int
    reason: str


def weighed_transposes(model: Model) -> list[tuple[int, Node]]:
    """Every transpose of `model` in any dialect, subgraphs included, with the bytes that it moves a run, the heaviest first.

    Dimensions that only run time tells are guessed; see `graphrewrite.layout.facts.nbytes`.
    """
    left = [node for node in all_nodes(model.graph) if node.op_type.upper() == "TRANSPOSE"]
    return sorted(((nbytes(node.outputs[0]), node) for node in left), key=lambda item: -item[0])


def transposes_left(model: Model, dialect: Dialect) -> list[TransposeLeft]:
    """Every TRANSPOSE of `model`, subgraphs included, biggest first."""
    found = [
        TransposeLeft(node.name or "", source_name(node), nbytes(node.outputs[0]), _reason(node, dialect))
        for node in all_nodes(model.graph)
        if dialect.is_transpose(node)
    ]
    return sorted(found, key=lambda item: (-item.bytes, item.name))


def transposes_of(model: Model) -> list[TransposeLeft]:
    """Every transpose of `model`, whatever its dialect, biggest first, where dimensions stay in the source's order."""
    found = [
        TransposeLeft(
            node.name or "",
            source_name(node),
            nbytes(node.outputs[0]),
            "the model asks for it, or the way in which the target spells this node",
        )
        for node in all_nodes(model.graph)
        if node.op_type.upper() == "TRANSPOSE"
    ]
    return sorted(found, key=lambda item: (-item.bytes, item.name))


def _reason(node: Node, dialect: Dialect) -> str:
    perm = dialect.transpose_perm(node)
    if perm is None:
        return "its order is known only at run time"
    source, result = node.inputs[0], node.outputs[0]
    written = _holder([source] if source is not None else [], _sources, dialect)
    read = _holder([result], _readers, dialect)
    return f"order {list(perm)}: written for {written}; read for {read}"


def _sources(value: Value) -> list[Node]:
    producer = value.producer()
    return [] if producer is None else [producer]


def _readers(value: Value) -> list[Node]:
    return sorted({use.node for use in value.uses()}, key=lambda node: node.name or "")


def _holder(start: list[Value], step: Callable[[Value], list[Node]], dialect: Dialect) -> str:
    """What holds values to an order: the nearest operator that does not follow, or the model's own inputs and outputs."""
    seen: set[Node] = set()
    values = deque(start)
    while values and len(seen) < _SEARCHED:
        value = values.popleft()
        if value.is_graph_input() or (step is _readers and value.is_graph_output()):
            return f"the model's {'input' if value.is_graph_input() else 'output'} '{value.name}'"
        for node in step(value):
            if node in seen:
                continue
            seen.add(node)
            why = dialect.why_held(node)
            if why is not None:
                return f"'{source_name(node)}' ({why})"
            values.extend(node.outputs if step is _readers else [v for v in node.inputs if _moves(v)])
    return "operators that would follow any order"


def _moves(value: Value | None) -> TypeGuard[Value]:
    return value is not None and not is_constant(value)
