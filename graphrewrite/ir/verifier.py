"""Standing invariants of the graph, checked between passes in debug mode and after a user's pass."""

from __future__ import annotations

import hashlib

import onnx_ir

from graphrewrite.errors import InternalError
from graphrewrite.ir.constants import is_constant
from graphrewrite.ir.infer import schema
from graphrewrite.ir.meaning import has_meaning
from graphrewrite.ir.printer import node_line


def verify(model: onnx_ir.Model, after: str = "") -> None:
    """Check names, order, ownership and arities of the whole model.

    Raises:
        InternalError: names the pass (`after`), the node and the broken rule.
    """
    where = f" after {after}" if after else ""
    names: dict[str, object] = {}
    _verify_graph(model.graph, set(), names, where)


def _claim(names: dict[str, object], value: onnx_ir.Value, where: str) -> None:
    if not value.name:
        raise InternalError(f"a value has no name{where}")
    if names.setdefault(value.name, value) is not value:
        raise InternalError(f"two values are named '{value.name}'{where}")


def _verify_graph(
    graph: onnx_ir.Graph, outer: set[onnx_ir.Value], names: dict[str, object], where: str
) -> None:
    seen = set(outer)
    for value in (*graph.inputs, *graph.initializers.values()):
        _claim(names, value, where)
        seen.add(value)
    for node in graph:
        for item in node.inputs:
            if item is not None and item not in seen:
                raise InternalError(f"'{item.name}' is used before it is defined{where}: {node_line(node)}")
        if node.domain == "" and (definition := schema(node.op_type)) is not None:
            low, high = definition.min_input, definition.max_input
            if not low <= len(node.inputs) <= high:
                raise InternalError(
                    f"{len(node.inputs)} inputs where {low}..{high} are allowed{where}: {node_line(node)}"
                )
        elif node.domain and not has_meaning(node.domain) and node.domain.startswith("tflite"):
            raise InternalError(f"unknown dialect '{node.domain}'{where}: {node_line(node)}")
        for attribute in node.attributes.values():
            if attribute.type == onnx_ir.AttributeType.GRAPH:
                _verify_graph(attribute.as_graph(), seen, names, where)
        for value in node.outputs:
            _claim(names, value, where)
            seen.add(value)
    for value in graph.outputs:
        if value not in seen:
            raise InternalError(f"output '{value.name}' is not defined{where}")


def fingerprint(model: onnx_ir.Model) -> str:
    """A digest of the structure: ops, attributes, edges by name, constants by identity. Equal where nothing changed."""
    digest = hashlib.blake2b(digest_size=16)
    for graph in (model.graph, *model.graph.subgraphs()):
        for value in graph.inputs:
            digest.update(f"<{value.name}".encode())
        for node in graph:
            digest.update(f"|{node.domain}.{node.op_type}".encode())
            for item in node.inputs:
                digest.update(f",{item.name if item is not None else ''}".encode())
                if item is not None and is_constant(item):
                    digest.update(str(id(item.const_value)).encode())
            for value in node.outputs:
                digest.update(f">{value.name}".encode())
            for attribute in sorted(node.attributes.values(), key=lambda a: a.name):
                if attribute.type != onnx_ir.AttributeType.GRAPH:
                    digest.update(f";{attribute.name}={attribute.value!r:.200}".encode())
        for value in graph.outputs:
            digest.update(f"={value.name}".encode())
    return digest.hexdigest()
