"""Walking a graph with the graphs inside it."""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir

_GRAPH, _GRAPHS = onnx_ir.AttributeType.GRAPH, onnx_ir.AttributeType.GRAPHS


def bodies(node: onnx_ir.Node) -> list[onnx_ir.Graph]:
    """The graphs in the attributes of `node`, in order."""
    found: list[onnx_ir.Graph] = []
    for attribute in node.attributes.data.values():
        kind = attribute.type
        if kind is _GRAPH and not attribute.is_ref():
            found.append(attribute.as_graph())
        elif kind is _GRAPHS and not attribute.is_ref():
            found.extend(attribute.as_graphs())
    return found


def all_graphs(graph: onnx_ir.Graph) -> Iterator[onnx_ir.Graph]:
    """`graph` and every graph inside it, outer ones first."""
    yield graph
    for node in graph:
        for body in bodies(node):
            yield from all_graphs(body)


def all_nodes(graph: onnx_ir.Graph) -> Iterator[onnx_ir.Node]:
    """Every node, those of subgraphs before the node that holds them."""
    for node in graph:
        if node.attributes.data:
            for body in bodies(node):
                yield from all_nodes(body)
        yield node
