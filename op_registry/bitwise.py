"""Integers as bits: BitwiseAnd, Or, Xor, Not, BitShift, BitCast."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from graphrewrite.ir import DataType, Node, TensorType, Value, dims
from graphrewrite.registry import Onnx, OpNode, lowering

if TYPE_CHECKING:
    from graphrewrite.targets.coreml.builder import MIL
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


# -- Core ML, which has whole numbers only: bits are quotients by powers of two ---------------------------------------------


@lowering("coreml", "BitwiseAnd", "BitwiseOr", "BitwiseXor")
def mil_bitwise(node: OpNode, m: MIL) -> Value:
    """Bit by bit along a new last axis. Rounding quotients down gives two's complement for negative numbers too."""
    dtype, bits = node.dtype(), min(node.dtype().bitwidth, 32)
    x, y = (_mil_bits(m, m.cast(node.input(index), DataType.INT32), bits) for index in (0, 1))
    kernel = {"BitwiseAnd": "mul", "BitwiseOr": "maximum", "BitwiseXor": "add"}[node.op_type]
    chosen = m.op(kernel, x, y)
    if node.op_type == "BitwiseXor":
        chosen = m.op("mod", chosen, m.i32(2))
    weights = [1 << place for place in range(bits)]
    if np.iinfo(dtype.numpy()).min < 0:
        weights[-1] *= -1
    weighted = m.op("mul", chosen, m.i32(weights))
    return m.within(m.op("reduce_sum", weighted, axes=[-1], keep_dims=False), dtype)


def _mil_bits(m: MIL, x: Value, bits: int) -> Value:
    """0 or 1 for each bit, the lowest first; 2^31 is beyond int32 and divides in two steps."""
    x = m.op("expand_dims", x, axes=[-1])
    x = m.op("floor_div", x, m.i32([1 << min(place, 30) for place in range(bits)]))
    if bits == 32:
        x = m.op("floor_div", x, m.i32([1] * 31 + [2]))
    return m.op("mod", x, m.i32(2))


@lowering("coreml", "BitwiseNot")
def mil_bitwise_not(node: OpNode, m: MIL) -> Value:
    dtype = node.dtype()
    limits = np.iinfo(dtype.numpy())
    ones = m.i32(-1 if limits.min < 0 else int(limits.max))
    return m.within(m.op("sub", ones, m.cast(node.input(0), DataType.INT32)), dtype)


@lowering("coreml", "BitShift")
def mil_bit_shift(node: OpNode, m: MIL) -> Value:
    """Times or through a power of two, which a table holds; shifted by more bits than there are, nothing is left."""
    x, count = (m.cast(node.input(index), DataType.INT32) for index in (0, 1))
    bits, right = node.dtype().bitwidth, node.attr("direction") == "RIGHT"
    powers = m.i32([*(1 << place for place in range(bits)), 1 << bits if right else 0])
    factor = m.op("gather", powers, m.op("minimum", count, m.i32(bits)), axis=0)
    if right:
        return m.within(m.op("floor_div", x, factor), node.dtype())
    return m.cast(m.op("mul", x, factor), node.dtype())


@lowering("coreml", "BitCast", note="between integers of one width")
def mil_bit_cast(node: OpNode, m: MIL) -> Value:
    source, target = node.dtype(), DataType(node.attr("to"))
    if source.is_floating_point() or target.is_floating_point() or source.bitwidth != target.bitwidth:
        node.refuse(
            f"Core ML can't read the bits of {source.name.lower()} as {target.name.lower()}",
            "move this step out of the model",
        )
    return m.cast(node.input(0), target)


@lowering("openvino", "BitCast", note="between integers of one width")
def bit_cast_of_integers(node: OpNode, b: Onnx) -> Value:
    """Between signed and unsigned integers of one width a Cast keeps the bits; OpenVINO has nothing for the rest."""
    given, wanted = node.dtype(), DataType(node.attr("to"))
    if not (given.is_integer() and wanted.is_integer() and given.bitwidth == wanted.bitwidth):
        node.refuse(
            f"OpenVINO has no operation that reads the bits of {given.name.lower()} as {wanted.name.lower()}"
        )
    return b.op("Cast", node.input(0), to=int(wanted))
