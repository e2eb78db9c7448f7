"""Comparisons, logic, selection, and the tests for NaN and infinity."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from graphrewrite.ir import DataType, Dims, Value, constant_array, dims
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
    operands = [node.input(index) for index in range(3)]
    whole = node.output_dims()
    leader = next((value for value in operands if whole is not None and _is_whole(value, whole)), None)
    spread = [_tiled(m, value, whole, leader) for value in operands]
    if None in spread:
        zero = _zeros(m, *operands)
        spread = [_spread(m, value, zero) for value in operands]
    return m.op("select", *spread)


_WRITTEN_OUT = 1024
"""Elements up to which a constant that broadcasts is stored in its whole shape; larger ones are spread when the model runs."""


def _is_whole(value: Value, whole: Dims) -> bool:
    return dims(value) == whole and None not in whole


def _tiled(m: MIL, value: Value, whole: Dims | None, leader: Value | None) -> Value | None:
    """`value` in the shape `whole`, which `leader` has where it is known only at run time; None where that can't be told."""
    own = dims(value)
    if whole is None or own is None or (leader is None and not all(isinstance(dim, int) for dim in whole)):
        return None
    if own == whole:
        return value
    static = [dim for dim in whole if isinstance(dim, int)]
    lead, array = len(whole) - len(own), constant_array(value)
    padded = (*[1] * lead, *own)
    if any(dim not in (1, size) or dim is None for dim, size in zip(padded, whole, strict=True)):
        return None
    if array is not None and len(static) == len(whole) and math.prod(static) <= _WRITTEN_OUT:
        return m.rewriter.constant(np.broadcast_to(array, static).copy())
    if array is not None and array.size == 1:
        shape = m.i32(static) if leader is None else m.shape_of(leader)
        return m.op("fill", shape, m.rewriter.constant(array.reshape(())))
    if lead and array is not None:
        value = m.rewriter.constant(array.reshape((1,) * lead + array.shape))
    elif lead:
        value = m.op("expand_dims", value, axes=list(range(lead)))
    counts: list[int | Value] = []
    for axis, (dim, size) in enumerate(zip(padded, whole, strict=True)):
        if dim == size or isinstance(size, int):
            counts.append(1 if dim == size else int(size or 1))
        else:
            assert leader is not None
            counts.append(m.dim(leader, axis))
    numbers = [count for count in counts if isinstance(count, int)]
    if len(numbers) == len(counts):
        return m.op("tile", value, m.i32(numbers))
    parts = [m.i32([count]) if isinstance(count, int) else count for count in counts]
    return m.op("tile", value, parts[0] if len(parts) == 1 else m.op("concat", *parts, axis=0))


def _zeros(m: MIL, *operands: Value) -> Value:
    """int32 zeros of the shape that the operands have together, which is known only at run time."""
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
