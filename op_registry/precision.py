"""Computing in float32 what is made of several operators, so that float16 values are rounded once, at the end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from graphrewrite.ir import DataType, Value
from graphrewrite.registry import OpNode

if TYPE_CHECKING:
    from graphrewrite.targets.coreml.builder import MIL
    from graphrewrite.targets.tflite.builder import TFLite

FLOATS = frozenset({DataType.FLOAT, DataType.FLOAT16})
SMALL_INTEGERS = frozenset({DataType.INT8, DataType.UINT8, DataType.INT16, DataType.UINT16, DataType.BOOL})
"""Integers whose every value, sum and product of two is exact in int32."""


def in_float32(node: OpNode, t: TFLite, formula: Callable[..., Value]) -> Value:
    """`formula` on the node's operands as float32; the result in the type of the first operand.

    Raises:
        Refusal: an operand is no float32 or float16 (float64 has no kernels and no equal in TFLite).
    """
    dtype = node.dtype()
    if dtype not in FLOATS:
        node.refuse(
            f"TFLite computes {node.op_type} in float32, which can't hold {dtype.name.lower()}",
            "cast the operands to float32 in the model, if their values fit",
        )
    operands = [t.cast(node.input(index), DataType.FLOAT) for index in range(len(node))]
    return t.cast(formula(*operands), dtype)


def in_mil_float32(node: OpNode, m: MIL, formula: Callable[..., Value]) -> Value:
    """`in_float32` for Core ML.

    Raises:
        Refusal: an operand is no float32 or float16.
    """
    dtype = node.dtype()
    if dtype not in FLOATS:
        node.refuse(
            f"Core ML computes {node.op_type} in float32, which can't hold {dtype.name.lower()}",
            "cast the operands to float32 in the model, if their values fit",
        )
    operands = [m.cast(node.input(index), DataType.FLOAT) for index in range(len(node))]
    return m.cast(formula(*operands), dtype)


def polynomial(t: TFLite, x: Value, coefficients: Sequence[float]) -> Value:
    """c0 + c1 x + c2 x^2 + ... in Horner's form."""
    result = t.like(coefficients[-1], x)
    for coefficient in reversed(coefficients[:-1]):
        result = t.op("ADD", t.op("MUL", x, result), t.like(coefficient, x))
    return result
