"""Which transposes are left in a model, what they move, and why they are there."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from graphrewrite.ir import Model, Node, Value, source_name
from graphrewrite.layout.facts import nbytes
from graphrewrite.layout.rules import Dialect
from graphrewrite.rewrite import all_nodes


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


def transposes_left(model: Model, dialect: Dialect) -> list[TransposeLeft]:
    """Every TRANSPOSE of `model`, subgraphs included, biggest first."""
    found = [
        TransposeLeft(node.name or "", source_name(node), nbytes(node.outputs[0]), _reason(node, dialect))
        for node in all_nodes(model.graph)
        if dialect.is_transpose(node)
    ]
    return sorted(found, key=lambda item: (-item.bytes, item.name))


def _reason(node: Node, dialect: Dialect) -> str:
    perm = dialect.transpose_perm(node)
    if perm is None:
        return "its order is known only at run time"
    return f"order {list(perm)}: {_written_by(node.inputs[0], dialect)}; {_read_by(node.outputs[0], dialect)}"


def _written_by(value: Value | None, dialect: Dialect) -> str:
    node = _behind(value, dialect)
    if node is None:
        return f"'{value.name if value is not None else ''}' is an input of the model"
    return f"{dialect.why_plain(node)} ('{source_name(node)}' writes it)"


def _behind(value: Value | None, dialect: Dialect) -> Node | None:
    """The operator that makes a value, reshapes left aside."""
    node = value.producer() if value is not None else None
    while node is not None and dialect.is_reshape(node):
        source = node.inputs[0]
        node = source.producer() if source is not None else None
    return node


def _read_by(value: Value, dialect: Dialect) -> str:
    reasons = ["it is an output of the model"] if value.is_graph_output() else []
    for node in _readers(value, dialect):
        reasons.append(f"{dialect.why_plain(node)} ('{source_name(node)}' reads it)")
    return "; ".join(dict.fromkeys(reasons)) or "nothing reads it"


def _readers(value: Value, dialect: Dialect) -> Sequence[Node]:
    """The operators that read a value, reshapes left aside."""
    found: list[Node] = []
    values = [value]
    while values:
        for use in values.pop().uses():
            if dialect.is_reshape(use.node):
                values.extend(use.node.outputs)
            elif use.node not in found:
                found.append(use.node)
    return sorted(found, key=lambda node: node.name or "")
