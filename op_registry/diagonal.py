"""EyeLike and Trilu: what lies on, above or below a diagonal."""

from __future__ import annotations

import numpy as np

from graphrewrite.ir import DataType, Value
from graphrewrite.registry import Onnx, OpNode, expansion


def _offsets(node: OpNode, b: Onnx) -> Value:
    """column - row for each element of the last two dimensions, int64 [rows, columns]."""
    x, known = node.input(0), node.dims()
    rows, columns = known[-2:]
    if isinstance(rows, int) and isinstance(columns, int):
        return b.const(np.arange(columns)[None, :] - np.arange(rows)[:, None], DataType.INT64)
    first = len(known) - 2
    lines = [
        b.op("Range", b.i64(0), b.reshape(b.op("Shape", x, start=axis, end=axis + 1), []), b.i64(1))
        for axis in (first, first + 1)
    ]
    return b.op("Sub", b.reshape(lines[1], [1, -1]), b.reshape(lines[0], [-1, 1]))


@expansion("EyeLike")
def eye_like(node: OpNode, b: Onnx) -> Value:
    dtype = DataType(node.attr("dtype") or node.dtype())
    return b.cast(b.op("Equal", _offsets(node, b), b.i64(node.attr("k"))), dtype)


@expansion("Trilu")
def trilu(node: OpNode, b: Onnx) -> Value:
    """Selected, not multiplied by a mask: what is cut off may be infinite."""
    x = node.input(0)
    if 0 in node.dims():
        return x
    bound = b.reshape(node.input(1), []) if node.has(1) else b.i64(0)
    keep = b.op("GreaterOrEqual" if node.attr("upper") else "LessOrEqual", _offsets(node, b), bound)
    return b.op("Where", keep, x, b.like(0, x))
