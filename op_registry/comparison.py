"""Comparisons, logic, selection, and the tests for NaN and infinity."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from graphrewrite.ir import DataType, Value, constant_array, static_dims
from graphrewrite.registry import OpNode, lowering

from .precision import FLOATS

if TYPE_CHECKING:
    from graphrewrite.targets.coreml.builder import MIL
    from graphrewrite.targets.tflite.builder import TFLite

_COMPARISONS = {
    "Equal": "EQUAL",
    "Less": "LESS",
    "LessOrEqual": "LESS_EQUAL",
    "Greater": "GREATER",
    "GreaterOrEqual": "GREATER_EQUAL",
}
_LOGIC = {"And": "LOGICAL_AND", "Or": "LOGICAL_OR", "Xor": "NOT_EQUAL"}


@lowering("tflite", *_COMPARISONS)
def comparison(node: OpNode, t: TFLite) -> Value:
    if node.dtype() == DataType.STRING:
        node.refuse("it compares strings, which no later operator of TFLite takes", "encode them as integers")
    return t.op(_COMPARISONS[node.op_type], node.input(0), node.input(1))


@lowering("tflite", *_LOGIC)
def logic(node: OpNode, t: TFLite) -> Value:
    return t.op(_LOGIC[node.op_type], node.input(0), node.input(1))


@lowering("tflite", "Not")
def logical_not(node: OpNode, t: TFLite) -> Value:
    return t.op("LOGICAL_NOT", node.input(0))


@lowering("tflite", "Where")
def where(node: OpNode, t: TFLite) -> Value:
    if node.dtype(1) == DataType.STRING:
        node.refuse("it selects strings, which TFLite can't", "encode them as integers")
    return t.op("SELECT_V2", node.input(0), node.input(1), node.input(2))


@lowering("tflite", "IsNaN")
def is_nan(node: OpNode, t: TFLite) -> Value:
    if node.dtype() not in FLOATS:
        node.refuse(f"TFLite has no {node.dtype().name.lower()} kernel for it", "cast the input to float32")
    return t.op("NOT_EQUAL", node.input(0), node.input(0))


@lowering("tflite", "IsInf")
def is_inf(node: OpNode, t: TFLite) -> Value:
    x = node.input(0)
    if node.dtype() not in FLOATS:
        node.refuse(f"TFLite has no {node.dtype().name.lower()} kernel for it", "cast the input to float32")
    positive, negative = node.attr("detect_positive"), node.attr("detect_negative")
    if positive and negative:
        return t.op("EQUAL", t.op("ABS", x), t.like(np.inf, x))
    if positive or negative:
        return t.op("EQUAL", x, t.like(np.inf if positive else -np.inf, x))
    return t.op("LOGICAL_AND", t.op("EQUAL", x, t.like(np.inf, x)), t.const(False, DataType.BOOL))


_MIL_COMPARISONS = {name: kernel.lower() for name, kernel in _COMPARISONS.items()}
_MIL_LOGIC = {"And": "logical_and", "Or": "logical_or", "Xor": "logical_xor"}


@lowering("coreml", *_MIL_COMPARISONS)
def mil_comparison(node: OpNode, m: MIL) -> Value:
    if node.dtype() == DataType.STRING:
        node.refuse("it compares strings, which Core ML's tensors can't hold", "encode them as integers")
    return m.op(_MIL_COMPARISONS[node.op_type], node.input(0), node.input(1))


@lowering("coreml", *_MIL_LOGIC)
def mil_logic(node: OpNode, m: MIL) -> Value:
    return m.op(_MIL_LOGIC[node.op_type], node.input(0), node.input(1))


@lowering("coreml", "Not")
def mil_not(node: OpNode, m: MIL) -> Value:
    return m.op("logical_not", node.input(0))


@lowering("coreml", "Where")
def mil_where(node: OpNode, m: MIL) -> Value:
    """Its operands are spread to one shape first: with operands that broadcast, the Neural Engine selects wrong elements."""
    if node.dtype(1) == DataType.STRING:
        node.refuse("it selects strings, which Core ML's tensors can't hold", "encode them as integers")
    condition, a, b = node.input(0), node.input(1), node.input(2)
    shapes = [static_dims(value) for value in (condition, a, b)]
    known = [shape for shape in shapes if shape is not None]
    if len(known) < len(shapes) or len(set(known)) > 1:
        zero = _zeros(m, node, condition, a, b)
        condition = m.op("logical_or", condition, m.cast(zero, DataType.BOOL))
        a, b = (_spread(m, value, zero) for value in (a, b))
    return m.op("select", condition, a, b)


def _zeros(m: MIL, node: OpNode, *operands: Value) -> Value:
    """int32 zeros of the shape that the operands have together."""
    whole = node.output_dims()
    if whole is not None and all(isinstance(dim, int) for dim in whole):
        return m.const(np.zeros([dim for dim in whole if isinstance(dim, int)]), DataType.INT32)
    total: Value | None = None
    for value in operands:
        if value.dtype == DataType.BOOL:
            value = m.cast(value, DataType.INT32)
        flat = m.cast(m.op("not_equal", value, value), DataType.INT32)
        nothing = m.op("mul", flat, m.i32(0))
        total = nothing if total is None else m.op("add", total, nothing)
    assert total is not None
    return total


def _spread(m: MIL, value: Value, zero: Value) -> Value:
    """`value` in the shape of `zero`."""
    if static_dims(value) is not None and static_dims(value) == static_dims(zero):
        return value
    array, whole = constant_array(value), static_dims(zero)
    if array is not None and whole is not None:
        return m.rewriter.constant(np.broadcast_to(array, whole).copy())
    if value.dtype == DataType.BOOL:
        return m.op("logical_or", value, m.cast(zero, DataType.BOOL))
    # adding -0.0 leaves every float as it is, -0.0 and NaN too
    if value.dtype in FLOATS:
        return m.op("add", value, m.op("mul", m.cast(zero, value.dtype or DataType.FLOAT), m.like(-1, value)))
    return m.op("add", value, m.cast(zero, value.dtype or DataType.INT32))


@lowering("coreml", "IsNaN")
def mil_is_nan(node: OpNode, m: MIL) -> Value:
    return m.op("not_equal", node.input(0), node.input(0))


@lowering("coreml", "IsInf")
def mil_is_inf(node: OpNode, m: MIL) -> Value:
    x = node.input(0)
    positive, negative = node.attr("detect_positive"), node.attr("detect_negative")
    if positive and negative:
        return m.op("equal", m.op("abs", x), m.like(np.inf, x))
    if positive or negative:
        return m.op("equal", x, m.like(np.inf if positive else -np.inf, x))
    return m.op("logical_and", m.op("equal", x, x), m.const(False, DataType.BOOL))
