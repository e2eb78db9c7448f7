"""Affine quantisation to 8 bits, and back."""

from __future__ import annotations

from collections.abc import Sequence

from graphrewrite.ir import DataType, Node
from graphrewrite.targets.coreml.dialect.elementwise import DTYPES
from graphrewrite.targets.coreml.dialect.op import MilBody, define


def _zero_point(body: MilBody, dtype: DataType) -> str:
    """The one given, or zeros in the shape of the scale."""
    if body.has(2):
        return body.inputs[2]
    return body.cast(body.op("Mul", body.inputs[1], body.like(0, 1)), dtype)


@define("quantize", operands="input scale zero_point?", data=(0, 1), result="")
def quantize(node: Node, body: MilBody) -> Sequence[str]:
    """saturate(round(input / scale) + zero point) as `output_dtype`; halves are rounded to even."""
    zero = _zero_point(body, DTYPES[body.text("output_dtype", "")])
    return [body.op("QuantizeLinear", *body.inputs[:2], zero, axis=body.int_("axis", 0))]


@define("dequantize", operands="input scale zero_point?", data=(1,))
def dequantize(node: Node, body: MilBody) -> Sequence[str]:
    """(input - zero point) scale."""
    zero = _zero_point(body, body.dtype(0))
    return [body.op("DequantizeLinear", *body.inputs[:2], zero, axis=body.int_("axis", 0))]
