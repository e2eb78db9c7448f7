"""Expanding an ONNX op through the function body that the ONNX specification itself gives for it."""

from __future__ import annotations

from collections.abc import Mapping

import onnx
import onnx.defs
import onnx_ir
import onnx_ir.serde

from graphrewrite.ir import OPSET, Node, Value, schema, type_proto
from graphrewrite.rewrite import Rewriter


def function_body(node: Node) -> onnx.FunctionProto | None:
    """The specification's body for `node` in the newest opset that OPSET allows, None where it has none."""
    definition = schema(node.op_type)
    if node.domain != "" or definition is None:
        return None
    function = onnx.FunctionProto()
    if definition.has_context_dependent_function:
        types = []
        for value in node.inputs:
            proto = type_proto(value) if value is not None else onnx.TypeProto()
            if proto is None:
                return None
            types.append(proto.SerializeToString())
        versions = [v for v in definition.context_dependent_function_opset_versions if v <= OPSET]
        if not versions:
            return None
        data = onnx_ir.serde.serialize_node(node).SerializeToString()
        body = definition.get_context_dependent_function_with_opset_version(max(versions), data, types)
        if not body:
            return None
        function.ParseFromString(body)
        return function
    if not definition.has_function:
        return None
    versions = [v for v in definition.function_opset_versions if v <= OPSET]
    if not versions:
        return None
    body = definition.get_function_with_opset_version(max(versions))
    function.ParseFromString(body)
    return function


def inline(
    node: Node, function: onnx.FunctionProto, rewriter: Rewriter
) -> tuple[list[Value | None], list[Node]] | None:
    """Build the body's nodes before `node`; the values for its outputs and the new nodes, None where it can't be done.

    Attribute references are resolved against the node's attributes and the function's defaults. Must be called inside a
    rewrite whose root is `node`.
    """
    given = {a.name: onnx_ir.serde.serialize_attribute(a) for a in node.attributes.values()}
    attributes: dict[str, onnx.AttributeProto] = {a.name: a for a in function.attribute_proto}
    definition = schema(node.op_type)
    if definition is not None:
        for name, spec in definition.attributes.items():
            if spec.default_value.type != onnx.AttributeProto.UNDEFINED:
                attributes.setdefault(name, spec.default_value)
    attributes.update(given)
    values: dict[str, Value | None] = {"": None}
    for index, name in enumerate(function.input):
        values[name] = node.inputs[index] if index < len(node.inputs) else None
    made: list[Node] = []
    for proto in function.node:
        resolved = _resolve(proto, attributes)
        if resolved is None:
            return None
        operands = [values[name] for name in resolved.input]
        while operands and operands[-1] is None:
            operands.pop()
        items = {a.name: onnx_ir.serde.deserialize_attribute(a) for a in resolved.attribute}
        if resolved.op_type == "Constant":
            constant = _constant(items)
            if constant is None:
                return None
            values[resolved.output[0]] = rewriter.constant(constant)
            continue
        outputs = rewriter.ops(
            resolved.op_type, *operands, outputs=len(resolved.output), domain=resolved.domain, **items
        )
        values.update(zip(resolved.output, outputs, strict=True))
        producer = outputs[0].producer()
        if producer is not None:
            made.append(producer)
    return [values.get(name) for name in function.output][: len(node.outputs)], made


def _resolve(proto: onnx.NodeProto, attributes: Mapping[str, onnx.AttributeProto]) -> onnx.NodeProto | None:
    resolved = onnx.NodeProto()
    resolved.CopyFrom(proto)
    del resolved.attribute[:]
    for attribute in proto.attribute:
        if attribute.type in (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS):
            return None  # bodies with control flow of their own capture names; rows handle those ops
        if not attribute.ref_attr_name:
            resolved.attribute.add().CopyFrom(attribute)
        elif attribute.ref_attr_name in attributes:
            entry = resolved.attribute.add()
            entry.CopyFrom(attributes[attribute.ref_attr_name])
            entry.name = attribute.name
    return resolved


def _constant(items: Mapping[str, onnx_ir.Attr]) -> onnx_ir.TensorProtocol | None:
    for name, attribute in items.items():
        if name == "value":
            return attribute.as_tensor()
        if name in ("value_int", "value_ints"):
            return onnx_ir.tensor(attribute.value, dtype=onnx_ir.DataType.INT64)
        if name in ("value_float", "value_floats"):
            return onnx_ir.tensor(attribute.value, dtype=onnx_ir.DataType.FLOAT)
    return None
