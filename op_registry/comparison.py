"""Comparisons, logic, selection, and the tests for NaN and infinity."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from graphrewrite.ir import DataType, Value
from graphrewrite.registry import OpNode, lowering

from .precision import FLOATS

if TYPE_CHECKING:
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
