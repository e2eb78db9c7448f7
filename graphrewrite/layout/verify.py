"""Checking a carried-out assignment: every port of every operator gets what its rule asks for."""

from __future__ import annotations

from graphrewrite.errors import InternalError
from graphrewrite.ir import Dim, Graph, Node, Value, dims, node_line
from graphrewrite.layout.assign import Assignment, Follower
from graphrewrite.layout.rules import Classes, Dialect, form


def verify_layout(graph: Graph, plan: Assignment, dialect: Dialect) -> None:
    """Check the operators that follow an order.

    Raises:
        InternalError: a port is stored in another order than its operator's rule says.
    """
    for node, entry in plan.nodes.items():
        if isinstance(entry, Follower) and plan.label(entry.variable) and node.graph is not None:
            _verify_follower(node, entry)
    for value, perm in plan.forms.items():
        known = dims(value)
        if known is not None and len(known) != len(perm):
            raise InternalError(
                f"layout: '{value.name}' has {len(known)} dimensions and the order {list(perm)}"
            )


def _verify_follower(node: Node, entry: Follower) -> None:
    """Dimensions of one class must be equal at every port, or 1 where the operator broadcasts."""
    sizes: dict[int, Dim] = {}
    signature = entry.signature
    for is_output, index, classes in signature.ports():
        value = node.outputs[index] if is_output else node.inputs[index]
        stored = _stored_classes(value, classes, entry)
        known = dims(value)
        if stored is None or known is None:
            continue
        for item, dim in zip(stored, known, strict=True):
            if not isinstance(dim, int) or not signature.broadcast or (dim == 1 and not is_output):
                continue
            if sizes.setdefault(item, dim) != dim:
                raise InternalError(
                    f"layout: dimension {item} of {node.op_type} is {sizes[item]} and {dim} at its ports: {node_line(node)}"
                )


def _stored_classes(value: Value | None, classes: Classes, entry: Follower) -> Classes | None:
    """The class of each stored dimension of a port."""
    known = dims(value)
    if known is None:
        return None
    if len(known) == entry.signature.size and entry.signature.broadcast:
        return entry.order
    return tuple(classes[axis] for axis in form(classes, entry.order))
