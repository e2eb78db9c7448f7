"""Sums and products of 8 bits for OpenVINO, whose CPU plugin saturates them where ONNX wraps around."""

from __future__ import annotations

from graphrewrite.ir import DataType, Value
from graphrewrite.registry import Onnx, OpNode, lowering


@lowering("openvino", "Add", "Sub", "Mul", note="8 bits in int32, which wraps around when cast back")
def wrap_around(node: OpNode, b: Onnx) -> Value:
    """Computed in int32, where 8 bits are; any other type as it stands."""
    dtype = node.dtype()
    if dtype not in (DataType.INT8, DataType.UINT8):
        return node.outputs[0]
    return b.cast(b.op(node.op_type, *(b.cast(node.input(i), DataType.INT32) for i in (0, 1))), dtype)
