"""Arithmetic on one, two or any number of operands, element by element with broadcasting."""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphrewrite.ir import DataType, Value
from graphrewrite.registry import OpNode, lowering

from .precision import in_float32, in_mil_float32

if TYPE_CHECKING:
    from graphrewrite.targets.coreml.builder import MIL
    from graphrewrite.targets.tflite.builder import TFLite

_UNARY = {
    "Neg": "NEG",
    "Exp": "EXP",
    "Log": "LOG",
    "Sqrt": "SQRT",
    "Floor": "FLOOR",
    "Ceil": "CEIL",
    "Round": "ROUND",
}
_BINARY = {"Add": "ADD", "Sub": "SUB", "Mul": "MUL"}
_VARIADIC = {"Sum": "ADD", "Max": "MAXIMUM", "Min": "MINIMUM"}
_UNSIGNED = frozenset({DataType.UINT8, DataType.UINT16, DataType.UINT32, DataType.UINT64})


@lowering("tflite", *_UNARY)
def unary(node: OpNode, t: TFLite) -> Value:
    """ROUND rounds halves to even, as ONNX does."""
    return t.op(_UNARY[node.op_type], node.input(0))


@lowering("tflite", *_BINARY)
def binary(node: OpNode, t: TFLite) -> Value:
    return t.op(_BINARY[node.op_type], node.input(0), node.input(1))


@lowering("tflite", *_VARIADIC)
def variadic(node: OpNode, t: TFLite) -> Value:
    result = node.input(0)
    for index in range(1, len(node)):
        result = t.op(_VARIADIC[node.op_type], result, node.input(index))
    return result


@lowering("tflite", "Mean")
def mean(node: OpNode, t: TFLite) -> Value:
    def formula(*operands: Value) -> Value:
        total = operands[0]
        for operand in operands[1:]:
            total = t.op("ADD", total, operand)
        return t.op("MUL", total, t.like(1.0 / len(operands), total)) if len(operands) > 1 else total

    return in_float32(node, t, formula)


@lowering("tflite", "Abs")
def absolute(node: OpNode, t: TFLite) -> Value:
    x = node.input(0)
    if x.dtype in _UNSIGNED:
        return x
    if x.dtype == DataType.INT64:  # ABS has no int64 kernel
        return t.op("MAXIMUM", x, t.op("NEG", x))
    return t.op("ABS", x)


@lowering("tflite", "Sign")
def sign(node: OpNode, t: TFLite) -> Value:
    x = node.input(0)
    if x.dtype != DataType.INT64:
        return t.op("SIGN", x)
    zero = t.like(0, x)
    positive, negative = t.op("GREATER", x, zero), t.op("LESS", x, zero)
    return t.op("SUB", t.cast(positive, DataType.INT64), t.cast(negative, DataType.INT64))


@lowering("tflite", "Reciprocal")
def reciprocal(node: OpNode, t: TFLite) -> Value:
    return t.op("DIV", t.like(1, node.input(0)), node.input(0))


_MIL_UNARY = {
    "Exp": "exp",
    "Sqrt": "sqrt",
    "Floor": "floor",
    "Ceil": "ceil",
    "Round": "round",
}
_MIL_BINARY = {"Add": "add", "Sub": "sub", "Mul": "mul"}
_MIL_VARIADIC = {"Sum": "add", "Max": "maximum", "Min": "minimum"}


@lowering("coreml", *_MIL_UNARY)
def mil_unary(node: OpNode, m: MIL) -> Value:
    return m.op(_MIL_UNARY[node.op_type], node.input(0))


@lowering("coreml", "Log")
def mil_log(node: OpNode, m: MIL) -> Value:
    """MIL's adds an epsilon to its operand."""
    return m.op("log", node.input(0), epsilon=0.0)


@lowering("coreml", "Reciprocal")
def mil_reciprocal(node: OpNode, m: MIL) -> Value:
    """Not MIL's inverse, which adds an epsilon."""
    return m.op("real_div", m.like(1, node.input(0)), node.input(0))


@lowering("coreml", *_MIL_BINARY)
def mil_binary(node: OpNode, m: MIL) -> Value:
    return m.op(_MIL_BINARY[node.op_type], node.input(0), node.input(1))


@lowering("coreml", *_MIL_VARIADIC)
def mil_variadic(node: OpNode, m: MIL) -> Value:
    result = node.input(0)
    for index in range(1, len(node)):
        result = m.op(_MIL_VARIADIC[node.op_type], result, node.input(index))
    return result


@lowering("coreml", "Mean")
def mil_mean(node: OpNode, m: MIL) -> Value:
    def formula(*operands: Value) -> Value:
        total = operands[0]
        for operand in operands[1:]:
            total = m.op("add", total, operand)
        return m.op("mul", total, m.like(1.0 / len(operands), total)) if len(operands) > 1 else total

    return in_mil_float32(node, m, formula)


@lowering("coreml", "Neg")
def mil_neg(node: OpNode, m: MIL) -> Value:
    return m.op("mul", node.input(0), m.like(-1, node.input(0)))


@lowering("coreml", "Abs")
def mil_abs(node: OpNode, m: MIL) -> Value:
    return node.input(0) if node.dtype() in _UNSIGNED else m.op("abs", node.input(0))


@lowering("coreml", "Sign")
def mil_sign(node: OpNode, m: MIL) -> Value:
    return m.op("sign", node.input(0))
