"""CumSum and CumProd."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from graphrewrite.ir import DataType, Value, is_constant
from graphrewrite.registry import Onnx, OpNode, expansion, lowering

from .precision import FLOATS

if TYPE_CHECKING:
    from graphrewrite.targets.coreml.builder import MIL
    from graphrewrite.targets.tflite.builder import TFLite


@lowering("tflite", "CumSum")
def cumulative_sum(node: OpNode, t: TFLite) -> Value:
    axis = t.reshape(t.cast(node.input(1), DataType.INT32), [])
    return t.op(
        "CUMSUM",
        node.input(0),
        axis,
        exclusive=bool(node.attr("exclusive")),
        reverse=bool(node.attr("reverse")),
    )


@lowering("coreml", "CumSum")
def mil_cumulative_sum(node: OpNode, m: MIL) -> Value:
    axis = node.ints(1)
    if axis is None:
        node.refuse(*_RUN_TIME_AXIS)
    return m.op(
        "cumsum",
        node.input(0),
        axis=axis[0] % node.rank(),
        exclusive=bool(node.attr("exclusive")),
        reverse=bool(node.attr("reverse")),
    )


_RUN_TIME_AXIS = ("its axis is computed at run time, and it must be a constant", "make it a constant")


@expansion("CumSum")
def sum_along_any(node: OpNode, b: Onnx) -> Value:
    """An axis known only at run time selects among the results for all axes."""
    if node.has(1) and is_constant(node.input(1)):
        node.refuse("its axis is known")
    flags = {name: node.attr(name) for name in ("exclusive", "reverse")}
    return _selected(node, b, lambda axis: b.op("CumSum", node.input(0), b.i64(axis), **flags))


@expansion("CumProd")
def cumulative_product(node: OpNode, b: Onnx) -> Value:
    """By doubling: after step s each element is the product of the 2s before it. log2(n) products in place of n.

    An axis known only at run time selects among the results for all axes.
    """
    x, dtype, known = node.input(0), node.dtype(), node.ints(1)
    if dtype in FLOATS:
        x = b.cast(x, DataType.FLOAT)
    if known is not None:
        return b.cast(_along(node, b, x, known[0] % node.rank()), dtype)
    return b.cast(_selected(node, b, lambda axis: _along(node, b, x, axis)), dtype)


def _selected(node: OpNode, b: Onnx, along: Callable[[int], Value]) -> Value:
    rank = node.rank()
    axis = b.op("Mod", b.reshape(b.cast(node.input(1), DataType.INT64), []), b.i64(rank))
    result = along(0)
    for index in range(1, rank):
        result = b.op("Where", b.op("Equal", axis, b.i64(index)), along(index), result)
    return result


def _along(node: OpNode, b: Onnx, x: Value, axis: int) -> Value:
    length, reverse = node.dims()[axis], bool(node.attr("reverse"))
    if not isinstance(length, int):
        node.refuse("the length of its axis is known only at run time", "fix it with --shape")
    if node.attr("exclusive"):
        x = _shifted(b, x, axis, 1, length, reverse)
    step = 1
    while step < length:
        x = b.op("Mul", x, _shifted(b, x, axis, step, length, reverse))
        step *= 2
    return x


def _shifted(b: Onnx, x: Value, axis: int, by: int, length: int, reverse: bool) -> Value:
    """`x` moved `by` places away from where the product begins, ones in their stead."""
    first, last = (by, length) if reverse else (0, length - by)
    kept = b.op("Slice", x, b.i64([first]), b.i64([last]), b.i64([axis]))
    begin, end = (0, by) if reverse else (length - by, length)
    edge = b.op("Slice", x, b.i64([begin]), b.i64([end]), b.i64([axis]))
    ones = b.op("Expand", b.like(1, x), b.op("Shape", edge))
    return b.op("Concat", *((kept, ones) if reverse else (ones, kept)), axis=axis)
