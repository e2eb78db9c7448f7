"""Checking a carried-out assignment: every operator reads and writes the order that its rule asks for.

What was asked for is written down before the graph is changed. Afterwards it is compared with what the values say of
themselves (their layout facets, kept by the rewriter) and with the shapes, so a slip is an internal error, never a wrong
model.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from graphrewrite.errors import InternalError
from graphrewrite.ir import Dim, Graph, Node, Value, dims, is_constant, layout, node_line
from graphrewrite.layout.assign import Assignment, Flagged, Follower, needs_leading_ones
from graphrewrite.layout.perms import Perm, identity, permute
from graphrewrite.layout.rules import form


@dataclasses.dataclass(frozen=True)
class Expectation:
    """The order, against the source, that one port of a node must have."""

    node: Node
    is_output: bool
    index: int
    perm: Perm


def expectations(graph: Graph, plan: Assignment) -> list[Expectation]:
    """What `plan` asks of every port that it is about."""
    found: list[Expectation] = []
    for node in graph:
        entry = plan.nodes.get(node)
        followed: Iterable[int] = ()
        if isinstance(entry, Follower) and plan.label(entry.variable):
            followed = entry.signature.inputs
            found += _followed(node, entry)
        elif isinstance(entry, Flagged):  # it may swap its operands; its own rewrite answers for them
            followed = range(len(node.inputs))
        for index, value in enumerate(node.inputs):
            if value is not None and value in plan.forms and index not in followed:
                perm = plan.perm(value, plan.read(node, index))
                found.append(Expectation(node, False, index, permute(_order(value), perm)))
        for index, value in enumerate(node.outputs):
            if value in plan.forms:
                perm = plan.perm(value, plan.written(value))
                found.append(Expectation(node, True, index, permute(_order(value), perm)))
    return found


def _followed(node: Node, entry: Follower) -> list[Expectation]:
    """Operands and results of an operator that follows an order, constants aside."""
    found = []
    for is_output, index, classes in entry.signature.ports():
        value = node.outputs[index] if is_output else node.inputs[index]
        if value is None or is_constant(value) or needs_leading_ones(entry.signature, classes, entry.order):
            continue
        perm = permute(_order(value), form(classes, entry.order))
        found.append(Expectation(node, is_output, index, perm))
    return found


def _order(value: Value) -> Perm:
    known = layout(value)
    return known.perm if known is not None else identity(len(dims(value) or ()))


def verify_layout(asked: list[Expectation], plan: Assignment) -> None:
    """Compare what was `asked` for with the graph.

    Raises:
        InternalError: a port is stored in another order than its operator's rule says.
    """
    for item in asked:
        if item.node.graph is None:
            continue
        value = item.node.outputs[item.index] if item.is_output else item.node.inputs[item.index]
        if value is None or _order(value) != item.perm:
            what = f"{'result' if item.is_output else 'operand'} {item.index}"
            have = None if value is None else list(_order(value))
            raise InternalError(
                f"layout: {what} is stored as {have}, its operator wants {list(item.perm)}: {node_line(item.node)}"
            )
    for node, entry in plan.nodes.items():
        if isinstance(entry, Follower) and plan.label(entry.variable) and node.graph is not None:
            _verify_broadcast(node, entry)


def _verify_broadcast(node: Node, entry: Follower) -> None:
    """Operands that broadcast must line up: dimensions of one class are equal, or 1."""
    if not entry.signature.broadcast:
        return
    sizes: dict[int, Dim] = {}
    for is_output, index, classes in entry.signature.ports():
        known = dims(node.outputs[index] if is_output else node.inputs[index])
        if known is None:
            continue
        full = len(known) == entry.signature.size
        stored = entry.order if full else tuple(classes[axis] for axis in form(classes, entry.order))
        for item, dim in zip(stored, known, strict=True):
            if isinstance(dim, int) and (dim != 1 or is_output) and sizes.setdefault(item, dim) != dim:
                raise InternalError(
                    f"layout: dimension {item} is {sizes[item]} and {dim} at the ports of {node_line(node)}"
                )
