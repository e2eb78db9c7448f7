"""Div and Mod: integer quotients towards zero, and both of ONNX's remainders."""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphrewrite.ir import DataType, Value
from graphrewrite.registry import OpNode, lowering

from .precision import FLOATS, in_float32

if TYPE_CHECKING:
    from graphrewrite.targets.coreml.builder import MIL
    from graphrewrite.targets.tflite.builder import TFLite

_ROUNDS = 3
"""Each round of a 64-bit division leaves a remainder 2^21 times smaller, float32 having 24 bits: 3 x 21 >= 63."""


@lowering("tflite", "Div")
def div(node: OpNode, t: TFLite) -> Value:
    """DIV of int32 truncates towards zero, as ONNX does."""
    x, y = node.input(0), node.input(1)
    return _div_int64(t, x, y) if x.dtype == DataType.INT64 else t.op("DIV", x, y)


def _div_int64(t: TFLite, x: Value, y: Value) -> Value:
    """Exact division of int64, which has no kernel: float32 estimates of quotients, corrected by their exact remainders.

    What is left after the estimates is less than one divisor off, up or down. Wrapping products do no harm: the remainder
    itself always fits.
    """
    zero, one = t.like(0, x), t.like(1, x)
    divisor = t.cast(y, DataType.FLOAT)
    quotient, rest = None, x
    for _ in range(_ROUNDS):
        estimate = t.cast(t.op("DIV", t.cast(rest, DataType.FLOAT), divisor), DataType.INT64)
        quotient = estimate if quotient is None else t.op("ADD", quotient, estimate)
        rest = t.op("SUB", rest, t.op("MUL", estimate, y))
    assert quotient is not None
    # x = quotient * y + rest with |rest| <= |y|; the rest must have the sign of x and be smaller than |y|
    too_far = t.op(
        "LOGICAL_AND",
        t.op("NOT_EQUAL", rest, zero),
        t.op("NOT_EQUAL", t.op("LESS", rest, zero), t.op("LESS", x, zero)),
    )
    size = t.op("MAXIMUM", rest, t.op("NEG", rest))
    too_near = t.op("GREATER_EQUAL", size, t.op("MAXIMUM", y, t.op("NEG", y)))
    same_sign = t.op("EQUAL", t.op("LESS", rest, zero), t.op("LESS", y, zero))
    step = t.op("SELECT_V2", same_sign, one, t.op("NEG", one))
    change = t.op("SELECT_V2", t.op("LOGICAL_OR", too_far, too_near), step, zero)
    # a rest of the wrong sign means that the quotient went one too far from zero: the same step undoes it,
    # because its sign is that of rest / y
    return t.op("ADD", quotient, change)


@lowering("tflite", "Mod")
def mod(node: OpNode, t: TFLite) -> Value:
    """fmod = 0: the divisor's sign, as FLOOR_MOD has it; fmod = 1: the dividend's."""
    x, y = node.input(0), node.input(1)
    if x.dtype in FLOATS:
        if not node.attr("fmod"):
            node.refuse("ONNX does not define Mod of floats without fmod=1", "set fmod=1")
        return in_float32(node, t, lambda a, b: _float_remainder(t, a, b))
    floored = t.op("FLOOR_MOD", x, y)
    return _truncated(t, x, y, floored) if node.attr("fmod") else floored


def _float_remainder(t: TFLite, x: Value, y: Value) -> Value:
    """FLOOR_MOD of |x| and |y| is C's exact fmod; with mixed signs it adds y and rounds."""
    remainder = t.op("FLOOR_MOD", t.op("ABS", x), t.op("ABS", y))
    return t.op("SELECT_V2", t.op("LESS", x, t.like(0, x)), t.op("NEG", remainder), remainder)


def _truncated(t: TFLite, x: Value, y: Value, floored: Value) -> Value:
    """A remainder that is not 0 lies one divisor higher where the signs differ."""
    zero = t.like(0, x)
    differ = t.op("NOT_EQUAL", t.op("LESS", x, zero), t.op("LESS", y, zero))
    moved = t.op("LOGICAL_AND", differ, t.op("NOT_EQUAL", floored, zero))
    return t.op("SUB", floored, t.op("SELECT_V2", moved, y, zero))


@lowering("coreml", "Div")
def mil_div(node: OpNode, m: MIL) -> Value:
    x, y = node.input(0), node.input(1)
    return m.op("real_div", x, y) if node.dtype() in FLOATS else mil_truncated_quotient(m, x, y)


def mil_truncated_quotient(m: MIL, x: Value, y: Value) -> Value:
    """Of integers, towards zero: Core ML's own quotient of integers is rounded down."""
    size = m.op("floor_div", m.op("abs", x), m.op("abs", y))
    return m.op("mul", size, m.op("mul", m.op("sign", x), m.op("sign", y)))


@lowering("coreml", "Mod")
def mil_mod(node: OpNode, m: MIL) -> Value:
    """fmod = 0: the divisor's sign, as MIL's mod has it; fmod = 1: the dividend's."""
    x, y = node.input(0), node.input(1)
    if not node.attr("fmod"):
        if node.dtype() in FLOATS:
            node.refuse("ONNX does not define Mod of floats without fmod=1", "set fmod=1")
        return m.op("mod", x, y)
    return m.op("mul", m.op("mod", m.op("abs", x), m.op("abs", y)), m.op("sign", x))
