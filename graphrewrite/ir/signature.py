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

_INTEGERS = frozenset(
    dtype for dtype in onnx_ir.DataType if dtype.is_integer() or dtype == onnx_ir.DataType.BOOL
)
_MAX_TENSOR_BYTES = 1024
"""Attributes of more bytes are no part of a key: their nodes are inferred each on its own."""


def signature(node: onnx_ir.Node) -> Hashable | None:
    """The key; None where the node must be inferred on its own (subgraphs, big integer constants, sequences)."""
    domain = node.domain
    parts: list[Hashable] = [domain, node.op_type]
    for name, attribute in node.attributes.data.items():
        content = attribute.value
        if not isinstance(content, int | float | str):
            content = _attribute_content(attribute, content)
            if content is None:
                return None
        parts += (name, attribute.type, content)
    for value in node.inputs:
        if value is None:
            parts.append(None)
            continue
        kind = value.type
        if not isinstance(kind, onnx_ir.TensorType):
            return None
        parts += (kind.dtype, dims(value))
        if value.const_value is not None and is_constant(value):
            array = inferred_from(node, value)
            if array is not None:
                parts += (array.shape, array.tobytes())
            elif domain != "" and kind.dtype in _INTEGERS:
                return None  # a dialect's body reads integer constants of any size
            else:
                parts.append(True)
    for value in node.outputs:
        parts += (bool(value.name), value.dtype)
    return tuple(parts)


def inferred_from(node: onnx_ir.Node, value: onnx_ir.Value) -> Array | None:
    """Content of the constant `value`, an operand of `node`, where inference may look at it."""
    tensor = value.const_value
    if tensor is None or tensor.size > DATA_ELEMENTS:
        return None
    if tensor.dtype in _INTEGERS or (node.domain == "" and node.op_type in _READS_FLOATS):
        array = tensor.numpy()
        return array if array.dtype.kind in "iubf" else None
    return None


def _attribute_content(attribute: onnx_ir.Attr, content: object) -> Hashable | None:
    if isinstance(content, tuple | list):
        items = tuple(content)
        return items if all(isinstance(item, int | float | str) for item in items) else None
    if attribute.type != onnx_ir.AttributeType.TENSOR or attribute.is_ref():
        return None
    tensor = attribute.as_tensor()
    if tensor.nbytes > _MAX_TENSOR_BYTES:
        return None
    return tensor.dtype, tuple(tensor.shape), tensor.tobytes()
