"""QuantizeLinear and DequantizeLinear of 16 bits for OpenVINO, whose CPU plugin takes such a pair away with its saturation."""

from __future__ import annotations

import numpy as np

from graphrewrite.ir import Array, DataType, Value, rank
from graphrewrite.registry import Onnx, OpNode, lowering

_WIDE = frozenset({DataType.INT16, DataType.UINT16})


@lowering("openvino", "QuantizeLinear", note="to 16 bits as arithmetic")
def quantize_wide(node: OpNode, b: Onnx) -> list[Value]:
    """saturate(round(x / scale) + zero point), where it is to 16 bits by tensor or axis."""
    given = node.attr("output_dtype")
    target = node.dtype(2) if node.has(2) else DataType(given) if given else DataType.UINT8
    if target not in _WIDE or node.attr("block_size"):
        return list(node.outputs)
    x = b.cast(node.input(0), DataType.FLOAT)
    y = b.op("Round", b.op("Div", x, _along(node, b, 1)))
    if node.has(2):
        y = b.op("Add", y, _along(node, b, 2))
    limits = np.iinfo(target.numpy())
    low, high = (b.const(limit, DataType.FLOAT) for limit in (limits.min, limits.max))
    return [b.cast(b.op("Clip", y, low, high), target)]


@lowering("openvino", "DequantizeLinear", note="from 16 bits as arithmetic")
def dequantize_wide(node: OpNode, b: Onnx) -> list[Value]:
    """(x - zero point) scale, where it is of 16 bits that are computed, by tensor or axis."""
    if node.dtype() not in _WIDE or node.attr("block_size") or node.const(0) is not None:
        return list(node.outputs)
    y = b.cast(node.input(0), DataType.FLOAT)
    if node.has(2):
        y = b.op("Sub", y, _along(node, b, 2))
    return [b.cast(b.op("Mul", y, _along(node, b, 1)), node.outputs[0].dtype or DataType.FLOAT)]


def _along(node: OpNode, b: Onnx, index: int) -> Value:
    """The scale or zero point, as float32, so that it broadcasts against the data."""
    value = b.cast(node.input(index), DataType.FLOAT)
    if rank(value) == 0:
        return value
    shape: Array = np.ones(node.rank(), np.int64)
    shape[node.axis()] = -1
    return b.reshape(value, shape.tolist())
