"""What the inferred types of a node depend on, as a key: nodes of equal signature are inferred once.

Big models repeat themselves: thousands of nodes have one of a few dozen signatures, and looking one up costs a fraction of
building protos for ONNX's inference.
"""

from __future__ import annotations

from collections.abc import Hashable

import onnx_ir

from graphrewrite.ir.constants import Array, is_constant
from graphrewrite.ir.shapes import dims

DATA_ELEMENTS = 256
"""Constants up to this many elements are known to inference by content."""

_READS_FLOATS = frozenset({"Range", "OneHot", "Resize", "Upsample"})
"""ONNX ops whose result shapes depend on floating point constants; for all others only integers matter."""

_MAX_TENSOR_BYTES = 1024


def signature(node: onnx_ir.Node) -> Hashable | None:
    """The key; None where the node must be inferred on its own (subgraphs, big integer constants, sequences)."""
    parts: list[Hashable] = [node.domain, node.op_type]
    for attribute in node.attributes.data.values():
        content = _attribute_content(attribute)
        if content is None:
            return None
        parts.append((attribute.name, attribute.type, content))
    for value in node.inputs:
        if value is None:
            parts.append(None)
            continue
        kind = value.type
        if not isinstance(kind, onnx_ir.TensorType):
            return None
        parts.append(kind.dtype)
        parts.append(dims(value))
        if value.const_value is not None and is_constant(value):
            array = inferred_from(node, value)
            if array is not None:
                parts.append((array.shape, array.tobytes()))
            elif node.domain != "" and _is_integer(kind.dtype):
                return None  # a dialect's body reads integer constants of any size
            else:
                parts.append(True)
    for value in node.outputs:
        parts.append((bool(value.name), value.dtype))
    return tuple(parts)


def inferred_from(node: onnx_ir.Node, value: onnx_ir.Value) -> Array | None:
    """Content of the constant `value`, an operand of `node`, where inference may look at it."""
    tensor = value.const_value
    if tensor is None or tensor.size > DATA_ELEMENTS:
        return None
    if _is_integer(tensor.dtype) or (node.domain == "" and node.op_type in _READS_FLOATS):
        array = tensor.numpy()
        return array if array.dtype.kind in "iubf" else None
    return None


def _is_integer(dtype: onnx_ir.DataType) -> bool:
    return dtype.is_integer() or dtype == onnx_ir.DataType.BOOL


def _attribute_content(attribute: onnx_ir.Attr) -> Hashable | None:
    if attribute.is_ref():
        return None
    content = attribute.value
    kind = attribute.type
    if kind in (onnx_ir.AttributeType.GRAPH, onnx_ir.AttributeType.GRAPHS):
        return None
    if kind == onnx_ir.AttributeType.TENSOR:
        tensor = attribute.as_tensor()
        if tensor.nbytes > _MAX_TENSOR_BYTES:
            return None
        return tensor.dtype, tuple(tensor.shape), tensor.tobytes()
    if isinstance(content, tuple | list):
        return tuple(content)
    return content if isinstance(content, int | float | str) else None
