"""Copying the body of a control-flow op: into the graph around it (unrolling), or as a body of another node."""

from __future__ import annotations

from collections.abc import Sequence

from graphrewrite.ir import Attr, Graph, Node, Value, is_constant
from graphrewrite.rewrite import Rewriter


def copy_graph(rewriter: Rewriter, body: Graph) -> Graph:
    """A copy of `body` with fresh names; what it captures stays the same values."""
    copy = body.clone(allow_outer_scope_values=True)
    _rename(rewriter, copy)
    return copy


def _rename(rewriter: Rewriter, graph: Graph) -> None:
    for value in graph.inputs:
        value.name = rewriter.unique_name(value.name or "value")
    for node in graph:
        node.name = rewriter.unique_name(node.name or node.op_type)
        for value in node.outputs:
            value.name = rewriter.unique_name(value.name or "value")
        for attribute in node.attributes.values():
            if attribute.type.name == "GRAPH":
                _rename(rewriter, attribute.as_graph())


def splice(rewriter: Rewriter, body: Graph, operands: Sequence[Value]) -> list[Value]:
    """Copy the nodes of `body` before the root of the current rewrite, its inputs being `operands`; its outputs.

    Nodes whose operands are all constants are folded on the way, so that unrolled counters vanish.
    """
    bound: dict[Value, Value] = dict(zip(body.inputs, operands, strict=True))

    def lookup(value: Value | None) -> Value | None:
        return None if value is None else bound.get(value, value)

    for node in body:
        attributes: dict[str, Attr | Graph] = {}
        for name, attribute in node.attributes.items():
            if attribute.type.name == "GRAPH":
                inner = copy_graph(rewriter, attribute.as_graph())
                _rebind(inner, bound)
                attributes[name] = inner
            else:
                attributes[name] = attribute
        outputs = rewriter.ops(
            node.op_type,
            *(lookup(value) for value in node.inputs),
            outputs=len(node.outputs),
            domain=node.domain,
            **attributes,
        )
        bound.update(zip(node.outputs, outputs, strict=True))
    return [bound.get(value, value) for value in body.outputs]


def close(rewriter: Rewriter, body: Graph, captured: Sequence[Value]) -> Graph:
    """A copy of `body` that reads nothing from outside but constants: `captured` are its last inputs, in that order."""
    copy = copy_graph(rewriter, body)
    bound: dict[Value, Value] = {}
    for value in captured:
        stand_in = Value(
            name=rewriter.unique_name(f"{value.name}/inside"), type=value.type, shape=value.shape
        )
        copy.inputs.append(stand_in)
        bound[value] = stand_in
    _rebind(copy, bound)
    return copy


def _rebind(graph: Graph, bound: dict[Value, Value]) -> None:
    for node in graph:
        for index, value in enumerate(node.inputs):
            if value is not None and value in bound:
                node.replace_input_with(index, bound[value])
        for attribute in node.attributes.values():
            if attribute.type.name == "GRAPH":
                _rebind(attribute.as_graph(), bound)
    for index, value in enumerate(graph.outputs):
        if value in bound:
            graph.outputs[index] = bound[value]


def captures(graph: Graph) -> list[Value]:
    """Values of outer graphs that `graph` or a graph inside it reads, constants excepted, in order of first use."""
    found: dict[Value, None] = {}
    _collect(graph, set(), found)
    return list(found)


def _collect(graph: Graph, inner: set[Value], found: dict[Value, None]) -> None:
    known = inner | set(graph.inputs)

    def read(value: Value | None) -> None:
        if value is not None and value not in known and not is_constant(value):
            found.setdefault(value)

    node: Node
    for node in graph:
        for value in node.inputs:
            read(value)
        for attribute in node.attributes.values():
            if attribute.type.name == "GRAPH":
                _collect(attribute.as_graph(), known, found)
        known.update(node.outputs)
    for value in graph.outputs:
        read(value)
