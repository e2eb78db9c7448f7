"""Types of values as protos, which is how ONNX's rules take and give them."""

from __future__ import annotations

import functools
from typing import TypeAlias

import onnx
import onnx_ir
import onnx_ir.serde

from graphrewrite.ir.shapes import Dim, Dims, dims

Fact: TypeAlias = "tuple[int, Dims | None] | onnx.TypeProto | None"
"""What is inferred of one output: element type and dimensions, another kind of type, or nothing."""


def type_proto(value: onnx_ir.Value) -> onnx.TypeProto | None:
    """The TypeProto of a value, None where its type is unknown. It may be shared: copy it to change it."""
    if value.type is None:
        return None
    if isinstance(value.type, onnx_ir.TensorType):
        return tensor_proto(int(value.type.dtype), dims(value))
    proto = onnx.TypeProto()
    onnx_ir.serde.serialize_type_into(proto, value.type)
    return proto


@functools.lru_cache(maxsize=4096)
def tensor_proto(dtype: int, known: Dims | None) -> onnx.TypeProto:
    """The TypeProto of a tensor type. It is shared: copy it to change it."""
    proto = onnx.TypeProto()
    tensor = proto.tensor_type
    tensor.elem_type = dtype
    if known is not None:
        tensor.shape.SetInParent()
        add = tensor.shape.dim.add
        for dim in known:
            entry = add()
            if isinstance(dim, int):
                entry.dim_value = dim
            elif dim is not None:
                entry.dim_param = dim
    return proto


def fact_proto(fact: Fact) -> onnx.TypeProto:
    """The TypeProto of something inferred."""
    assert fact is not None
    return tensor_proto(*fact) if isinstance(fact, tuple) else fact


def proto_fact(proto: onnx.TypeProto | None) -> Fact:
    """What a TypeProto says."""
    kind = None if proto is None else proto.WhichOneof("value")
    if proto is None or kind is None:
        return None
    return (proto.tensor_type.elem_type, _proto_dims(proto)) if kind == "tensor_type" else proto


def _proto_dims(proto: onnx.TypeProto) -> Dims | None:
    """Dimensions of a tensor type, None where the rank is unknown."""
    if not proto.tensor_type.HasField("shape"):
        return None
    out: list[Dim] = []
    for dim in proto.tensor_type.shape.dim:
        kind = dim.WhichOneof("value")
        out.append(dim.dim_value if kind == "dim_value" else dim.dim_param if kind == "dim_param" else None)
    return tuple(out)
