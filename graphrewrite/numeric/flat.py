"""A graph of any dialect as one flat ONNX graph, in which every value, those inside target operators included, can be seen."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

import onnx

from graphrewrite.ir import Model, to_runnable_proto
from graphrewrite.ir.protos import inferred_types

_INSIDE = "//"
"""Between the name of a target's node and those of the values inside its meaning."""


@dataclasses.dataclass
class Flat:
    """`proto` without function calls (those that hold graphs excepted).

    `owners` gives for each value that a top-level node computes the name of the graph's node it belongs to; `types` the element
    type of every value as far as it is known, `shapes` its dimensions (None for dynamic ones).
    """

    proto: onnx.ModelProto
    owners: dict[str, str]
    types: dict[str, int]
    shapes: dict[str, tuple[int | None, ...]]

    @classmethod
    def of(cls, model: Model) -> Flat:
        """The flat form of `model`."""
        proto = to_runnable_proto(model)
        functions = {(item.domain, item.name, item.overload): item for item in proto.functions}
        nodes: list[onnx.NodeProto] = []
        owners: dict[str, str] = {}
        for node in proto.graph.node:
            function = functions.get((node.domain, node.op_type, node.overload))
            made = [node] if function is None or _holds_graphs(function) else list(_inlined(node, function))
            nodes += made
            owners |= {name: node.name for item in made for name in item.output if name}
        del proto.graph.node[:]
        proto.graph.node.extend(nodes)
        known = {name: item.tensor_type for name, item in inferred_types(proto).items()}
        types = {name: item.elem_type for name, item in known.items() if item.elem_type}
        shapes = {
            name: tuple(dim.dim_value if dim.HasField("dim_value") else None for dim in item.shape.dim)
            for name, item in known.items()
            if item.HasField("shape")
        }
        return cls(proto, owners, types, shapes)

    def rank(self, name: str) -> int | None:
        """Number of dimensions, None where unknown."""
        shape = self.shapes.get(name)
        return None if shape is None else len(shape)

    def is_inside(self, name: str) -> bool:
        """True for values of a target operator's meaning, which are none of the graph."""
        return _INSIDE in name


def _holds_graphs(function: onnx.FunctionProto) -> bool:
    return any(
        attribute.type in (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS)
        for node in function.node
        for attribute in node.attribute
    )


def _inlined(call: onnx.NodeProto, function: onnx.FunctionProto) -> Iterable[onnx.NodeProto]:
    names: dict[str, str] = {"": ""}
    names |= dict.fromkeys(function.input, "")  # trailing operands may be absent
    names |= dict(zip(function.input, call.input, strict=False))
    names |= {inner: outer for inner, outer in zip(function.output, call.output, strict=False) if outer}
    for node in function.node:
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        for index, name in enumerate(copy.input):
            copy.input[index] = names[name]
        for index, name in enumerate(copy.output):
            copy.output[index] = names.setdefault(name, f"{call.name}{_INSIDE}{name}")
        copy.name = f"{call.name}{_INSIDE}{node.output[0]}"
        yield copy


def attributes_of(node: onnx.NodeProto) -> Mapping[str, Any]:
    """The attributes of a node as Python values."""
    return {item.name: onnx.helper.get_attribute_value(item) for item in node.attribute}
