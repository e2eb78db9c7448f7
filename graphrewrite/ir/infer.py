"""Type and shape inference, node by node, so that the rewriter can keep it up to date.

ONNX ops are inferred by the `onnx` package's own rules (about 12 us a node); target ops through their bodies. On top of
those rules partly known shape tensors are used, which ONNX's node-level inference ignores.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import Any

import onnx
import onnx.checker
import onnx.defs
import onnx.numpy_helper
import onnx.shape_inference
import onnx_ir
import onnx_ir.serde

from graphrewrite.ir.constants import is_constant
from graphrewrite.ir.infer_subgraphs import CONTROL_FLOW
from graphrewrite.ir.known_rules import plain_type, result_type
from graphrewrite.ir.meaning import OPSET, BodyNode, control_flow_meaning, has_meaning, meaning_of
from graphrewrite.ir.refine import ShapeConflict, refine
from graphrewrite.ir.shapes import Dims, broadcast, combine, dims, rank, resized, resolve_reshape, shape_data
from graphrewrite.ir.signature import inferred_from, signature
from graphrewrite.ir.type_protos import Fact, fact_proto, proto_fact, tensor_proto, type_proto

_SCHEMAS: dict[str, Any] = {
    name: onnx.defs.get_schema(name, max_inclusive_version=OPSET, domain="")
    for name in sorted({item.name for item in onnx.defs.get_all_schemas() if item.domain == ""})
    if onnx.defs.has(name, max_inclusive_version=OPSET, domain="")
}


def schema(op_type: str) -> Any:
    """The schema of an ai.onnx op as of opset `OPSET`, None where it doesn't exist."""
    return _SCHEMAS.get(op_type)


def infer_node(node: onnx_ir.Node) -> bool:
    """Infer the outputs of `node` from its inputs; True where something was learned. Subgraphs are inferred first.

    Raises:
        ShapeConflict: the operator's own rules reject the inputs, or contradict what was known.
    """
    if node.domain == "":
        if node.op_type in CONTROL_FLOW:
            return CONTROL_FLOW[node.op_type](node, infer_graph)
        return _infer_onnx(node)
    if control_flow_meaning(node) is not None:
        return False  # whoever builds it knows the types from the op that it stands for
    return _infer_body(node) if has_meaning(node.domain) else False


def infer_graph(nodes: Iterable[onnx_ir.Node]) -> None:
    """Infer every node of a topologically ordered sequence."""
    for node in nodes:
        infer_node(node)


_MEMO: dict[Hashable, tuple[Fact, ...]] = {}
_MEMO_LIMIT = 4096
"""Signatures that are remembered: bounds the memory of a process that converts many models."""


def _remembered(
    node: onnx_ir.Node, compute: Callable[[onnx_ir.Node], tuple[Fact, ...] | None]
) -> tuple[Fact, ...] | None:
    """`compute(node)`, or what it returned for a node of the same signature."""
    key = signature(node)
    found = _MEMO.get(key) if key is not None else None
    if found is None:
        found = compute(node)
        if key is not None and found is not None:
            if len(_MEMO) >= _MEMO_LIMIT:
                _MEMO.clear()
            _MEMO[key] = found
    return found


def _learn(value: onnx_ir.Value, fact: Fact) -> bool:
    if fact is None:
        return False
    if isinstance(fact, tuple):
        return refine(value, *fact)
    if value.type is None:
        value.type = onnx_ir.serde.deserialize_type_proto_for_type(fact)
        return True
    return False


def _infer_onnx(node: onnx_ir.Node) -> bool:
    if schema(node.op_type) is None:
        return False
    facts = _remembered(node, _onnx_facts)
    if facts is None:
        return False
    changed = False
    for value, fact in zip(node.outputs, facts, strict=True):
        changed |= _learn(value, fact)
    rule = _PARTIAL.get(node.op_type)
    if rule is not None:
        changed |= refine(node.outputs[0], None, rule(node))
    return changed


def _onnx_facts(node: onnx_ir.Node) -> tuple[Fact, ...] | None:
    """What ONNX's rules say of each output; None where an operand's type is unknown."""
    known = plain_type(node)
    if known is not None:
        return (known,)
    types: dict[str, onnx.TypeProto] = {}
    data: dict[str, onnx.TensorProto] = {}
    for value in node.inputs:
        if value is None or value.name is None or value.name in types:
            continue
        proto = type_proto(value)
        if proto is None:
            return None
        if node.op_type == "Range" and rank(value) == 1:
            # ONNX Runtime, and with it exporters, take [1] for a scalar
            proto = tensor_proto(proto.tensor_type.elem_type, ())
        types[value.name] = proto
        array = inferred_from(node, value) if is_constant(value) else None
        if array is not None and node.op_type == "Range":
            array = array.reshape(())
        if array is not None and array.ndim <= 1 and array.dtype.kind in "iuf":
            data[value.name] = onnx.numpy_helper.from_array(array, value.name)
    found = _call(schema(node.op_type), _node_proto(node), types, data)
    facts = tuple(proto_fact(found.get(value.name or "")) for value in node.outputs)
    sizes = resized(node) if node.op_type == "Resize" else None
    return facts if sizes is None or not isinstance(facts[0], tuple) else ((facts[0][0], sizes),)


def _node_proto(node: onnx_ir.Node) -> onnx.NodeProto:
    """What inference reads of `node`: no metadata, which grows with every rewrite."""
    proto = onnx.NodeProto(
        op_type=node.op_type,
        name=node.name,
        input=["" if value is None else value.name or "" for value in node.inputs],
        output=[value.name or "" for value in node.outputs],
    )
    proto.attribute.extend(onnx_ir.serde.serialize_attribute(item) for item in node.attributes.data.values())
    return proto


_OPSETS = [onnx.helper.make_opsetid("", OPSET)]


def _call(
    definition: Any,
    proto: onnx.NodeProto,
    types: dict[str, onnx.TypeProto],
    data: dict[str, onnx.TensorProto],
) -> Mapping[str, onnx.TypeProto]:
    try:
        result: Mapping[str, onnx.TypeProto] = onnx.shape_inference.infer_node_outputs(
            definition, proto, types, data, opset_imports=_OPSETS
        )
    except (onnx.shape_inference.InferenceError, onnx.checker.ValidationError) as error:
        text = str(error).strip().splitlines()[-1] if str(error).strip() else "shape inference failed"
        raise ShapeConflict(f"{proto.op_type} '{proto.name}': {text}") from None
    except KeyError:
        return {}
    return result


def _infer_body(node: onnx_ir.Node) -> bool:
    facts = _remembered(node, _body_facts)
    changed = False
    for value, fact in zip(node.outputs, facts or (), strict=False):
        changed |= _learn(value, fact)
    return changed


def _body_facts(node: onnx_ir.Node) -> tuple[Fact, ...] | None:
    """What the ONNX body of a target op says of each output; None where an operand's type is unknown."""
    body = meaning_of(node)
    facts: dict[str, Fact] = {}
    data: dict[str, onnx.TensorProto] = {}
    for name, value in zip(body.inputs, node.inputs, strict=True):
        if value is not None and name:
            proto = type_proto(value)
            if proto is None:
                return None
            facts[name] = (
                (int(value.type.dtype), dims(value)) if isinstance(value.type, onnx_ir.TensorType) else proto
            )
    for inner in body.nodes:
        if any(name and facts.get(name) is None for name in inner.inputs):
            continue
        _infer_inner(inner, facts, data)
        if inner.op_type == "Constant":
            data[inner.outputs[0]] = inner.attributes["value"]
    return tuple(facts.get(name) for name in body.outputs)


def _infer_inner(inner: BodyNode, facts: dict[str, Fact], data: dict[str, onnx.TensorProto]) -> None:
    """Add what is inferred of the outputs of `inner` to `facts`."""
    operands = [fact for name in inner.inputs if isinstance(fact := facts.get(name), tuple)]
    if len(operands) == len(inner.inputs) and len(inner.outputs) == 1:
        result = result_type(inner.op_type, operands, inner.attributes, [data.get(n) for n in inner.inputs])
        if result is not None:
            facts[inner.outputs[0]] = result
            return
    types = {name: fact_proto(facts[name]) for name in inner.inputs if name}
    content = {name: data[name] for name in inner.inputs if name in data}
    found = _call(schema(inner.op_type), inner.proto(), types, content)
    facts.update((name, proto_fact(proto)) for name, proto in found.items())


def _partial_reshape(node: onnx_ir.Node) -> Dims | None:
    target = shape_data(node.inputs[1])
    if target is None:
        return None
    return resolve_reshape(
        dims(node.inputs[0]), target, allowzero=bool(node.attributes.get_int("allowzero", 0))
    )


def _partial_expand(node: onnx_ir.Node) -> Dims | None:
    source, target = dims(node.inputs[0]), shape_data(node.inputs[1])
    return None if source is None or target is None else broadcast(source, tuple(target))


def _partial_constant_of_shape(node: onnx_ir.Node) -> Dims | None:
    target = shape_data(node.inputs[0])
    return None if target is None else tuple(target)


def _partial_tile(node: onnx_ir.Node) -> Dims | None:
    source, repeats = dims(node.inputs[0]), shape_data(node.inputs[1])
    if source is None or repeats is None or len(source) != len(repeats):
        return None
    return tuple(combine("Mul", size, times) for size, times in zip(source, repeats, strict=True))


_PARTIAL = {
    "Tile": _partial_tile,
    "Reshape": _partial_reshape,
    "Expand": _partial_expand,
    "ConstantOfShape": _partial_constant_of_shape,
}
