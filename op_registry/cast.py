"""Cast and CastLike."""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphrewrite.ir import DataType, Value
from graphrewrite.registry import OpNode, lowering

if TYPE_CHECKING:
    from graphrewrite.targets.coreml.builder import MIL
    from graphrewrite.targets.tflite.builder import TFLite

_NARROW = frozenset({DataType.INT8, DataType.UINT8, DataType.INT16, DataType.UINT16})
_TYPES = _NARROW | {
    DataType.BOOL,
    DataType.FLOAT16,
    DataType.FLOAT,
    DataType.DOUBLE,
    DataType.INT32,
    DataType.UINT32,
    DataType.INT64,
}
"""What TFLite's CAST converts between, in every direction."""


@lowering("tflite", "Cast", "CastLike")
def cast(node: OpNode, t: TFLite) -> Value:
    x, source = node.input(0), node.dtype()
    target = DataType(node.attr("to")) if node.op_type == "Cast" else node.dtype(1)
    if source == target:
        return x
    for dtype in (source, target):
        if dtype not in _TYPES:
            node.refuse(f"TFLite has no conversion between {dtype.name.lower()} and other types")
    if source.is_floating_point() and target in _NARROW:
        # out of range CAST saturates; ONNX leaves that open, and ONNX Runtime wraps, as int32 to int8 does
        x = t.cast(x, DataType.INT32)
    return t.cast(x, target)


@lowering("coreml", "Cast", "CastLike")
def mil_cast(node: OpNode, m: MIL) -> Value:
    target = DataType(node.attr("to")) if node.op_type == "Cast" else node.dtype(1)
    if DataType.STRING in (node.dtype(), target):
        node.refuse("Core ML's tensors hold no strings", "encode them as integers")
    return m.cast(node.input(0), target)
