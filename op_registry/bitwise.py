"""Integers as bits: BitwiseAnd, Or, Xor, Not, BitShift, BitCast."""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphrewrite.ir import DataType, Node, TensorType, Value, dims
from graphrewrite.registry import OpNode, lowering

if TYPE_CHECKING:
    from graphrewrite.targets.tflite.builder import TFLite


@lowering("tflite", "BitwiseAnd", "BitwiseOr", "BitwiseXor")
def bitwise(node: OpNode, t: TFLite) -> Value:
    x, y = _same_shape(t, node.input(0), node.input(1))
    if node.op_type == "BitwiseAnd":
        return t.op("STABLEHLO_AND", x, y)
    if x.dtype != DataType.INT64:
        either = t.op("BITWISE_XOR", x, y)
        if node.op_type == "BitwiseXor":
            return either
        return t.op("BITWISE_XOR", either, t.op("STABLEHLO_AND", x, y))
    # BITWISE_XOR has no int64 kernel: x + y = (x | y) + (x & y) = (x ^ y) + 2 (x & y), modulo 2^64
    both = t.op("STABLEHLO_AND", x, y)
    either = t.op("SUB", t.op("ADD", x, y), both)
    return either if node.op_type == "BitwiseOr" else t.op("SUB", either, both)


def _same_shape(t: TFLite, x: Value, y: Value) -> tuple[Value, Value]:
    """Both operands broadcast: the STABLEHLO operators don't do it."""
    if dims(x) is not None and dims(x) == dims(y) and None not in (dims(x) or ()):
        return x, y
    zero = t.op("MUL", t.op("ADD", x, y), t.like(0, x))
    return t.op("ADD", x, zero), t.op("ADD", y, zero)


@lowering("tflite", "BitwiseNot")
def bitwise_not(node: OpNode, t: TFLite) -> Value:
    x = node.input(0)
    ones = t.like(-1, x)
    return t.op("SUB", ones, x) if x.dtype == DataType.INT64 else t.op("BITWISE_XOR", x, ones)


@lowering("tflite", "BitShift")
def bit_shift(node: OpNode, t: TFLite) -> Value:
    """Unsigned integers. To the left in int32, whose low bits are the same."""
    x, count = node.input(0), node.input(1)
    if x.dtype == DataType.UINT64:
        node.refuse("TFLite has no uint64 arithmetic", "cast to uint32, if the values fit")
    if node.attr("direction") == "RIGHT":
        return t.op("RIGHT_SHIFT", x, count)
    bits, count = _same_shape(t, t.cast(x, DataType.INT32), t.cast(count, DataType.INT32))
    return t.cast(t.op("STABLEHLO_SHIFT_LEFT", bits, count), node.dtype())


@lowering("tflite", "BitCast")
def bit_cast(node: OpNode, t: TFLite) -> Value:
    """BITCAST has no options: the type of its output says what to make."""
    x, target = node.input(0), DataType(node.attr("to"))
    if target == x.dtype:
        return x
    if target.bitwidth < 8:
        node.refuse(f"TFLite keeps {target.name.lower()} in another order of bits")
    made = Node("tflite", "BITCAST", [x], num_outputs=1)
    made.outputs[0].type = TensorType(target)
    t.rewriter.insert(made)
    return made.outputs[0]
