"""GridSample and DeformConv in simpler ONNX ops."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphrewrite.ir import Array, DataType, Value
from graphrewrite.registry import Onnx, OpNode, expansion

from . import interpolation as formula
from .sampling_rows import Rows

_OPS = {
    "ADD": "Add",
    "SUB": "Sub",
    "MUL": "Mul",
    "DIV": "Div",
    "MINIMUM": "Min",
    "MAXIMUM": "Max",
    "FLOOR": "Floor",
    "CEIL": "Ceil",
    "ABS": "Abs",
    "ROUND": "Round",
}


class OnnxComputed(formula.Computed):
    """A `Computed` of ONNX ops."""

    def made(self, name: str, *operands: Any) -> OnnxComputed:
        if name == "FLOOR_MOD":  # ONNX's Mod of floats has the sign of the dividend
            x, divisor = (item if isinstance(item, OnnxComputed) else np.float32(item) for item in operands)
            found: OnnxComputed = x - formula.floor(x / divisor) * divisor
            return found
        values = [
            item.value if isinstance(item, formula.Computed) else self.t.const(item, DataType.FLOAT)
            for item in operands
        ]
        return OnnxComputed(self.t, self.t.op(_OPS[name], *values))

    def is_positive(self) -> OnnxComputed:
        above = self.t.op("Greater", self.value, self.t.const(0, DataType.FLOAT))
        return OnnxComputed(self.t, self.t.cast(above, DataType.FLOAT))


class OnnxRows(Rows):
    """In ONNX ops."""

    index = DataType.INT64

    def op(self, name: str, *operands: Value, **attributes: Any) -> Value:
        made: Value = self.builder.op(name, *operands, **attributes)
        return made

    def transpose(self, x: Value, perm: Sequence[int]) -> Value:
        return self.op("Transpose", x, perm=perm)

    def places(self, content: Array | Sequence[int]) -> Value:
        made: Value = self.builder.i64(content)
        return made

    def element(self, x: Value, axis: int, position: int) -> OnnxComputed:
        return OnnxComputed(self.builder, self.op("Gather", x, self.builder.i64(position), axis=axis))

    def pointwise(self, x: Value, weights: Value, bias: Value | None, group: int) -> Value:
        made: Value = self.builder.op("Conv", x, weights, bias, group=group)
        return made


@expansion("GridSample")
def grid_sample(node: OpNode, b: Onnx) -> Value:
    x, grid = b.cast(node.input(0), DataType.FLOAT), b.cast(node.input(1), DataType.FLOAT)
    return b.cast(OnnxRows(b).grid_sample(node, x, grid), node.dtype())


@expansion("DeformConv")
def deform_conv(node: OpNode, b: Onnx) -> Value:
    return b.cast(OnnxRows(b).deform_conv(node), node.dtype())
