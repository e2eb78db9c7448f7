"""CumSum and CumProd."""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphrewrite.ir import DataType, Value
from graphrewrite.registry import OpNode, lowering

from .precision import FLOATS

if TYPE_CHECKING:
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


@lowering("tflite", "CumProd")
def cumulative_product(node: OpNode, t: TFLite) -> Value:
    """By doubling: after step s each element is the product of the 2s before it. log2(n) products in place of n.

    An axis known only at run time selects among the results for all axes.
    """
    x, dtype, rank = node.input(0), node.dtype(), node.rank()
    if dtype in FLOATS:
        x = t.cast(x, DataType.FLOAT)
    known = node.ints(1)
    if known is not None:
        return t.cast(_along(node, t, x, known[0] % rank), dtype)
    axis = t.reshape(t.cast(node.input(1), DataType.INT32), [])
    axis = t.op("FLOOR_MOD", axis, t.i32(rank))
    result = _along(node, t, x, 0)
    for index in range(1, rank):
        chosen = t.op("EQUAL", axis, t.i32(index))
        result = t.op("SELECT_V2", chosen, _along(node, t, x, index), result)
    return t.cast(result, dtype)


def _along(node: OpNode, t: TFLite, x: Value, axis: int) -> Value:
    length, reverse = node.dims()[axis], bool(node.attr("reverse"))
    if not isinstance(length, int):
        node.refuse("the length of its axis is known only at run time", "fix it with --shape")
    if node.attr("exclusive"):
        x = _shifted(node, t, x, axis, 1, reverse)
    step = 1
    while step < length:
        x = t.op("MUL", x, _shifted(node, t, x, axis, step, reverse))
        step *= 2
    return x


def _shifted(node: OpNode, t: TFLite, x: Value, axis: int, by: int, reverse: bool) -> Value:
    """`x` moved `by` places away from where the product begins, ones in their stead."""
    rank = node.rank()
    pads = [[0, 0] for _ in range(rank)]
    pads[axis][1 if reverse else 0] = by
    padded = t.op("PADV2", x, t.i32(pads), t.like(1, x))
    begin = [0] * rank
    begin[axis] = by if reverse else 0
    size = [-1] * rank
    size[axis] = int(node.dims()[axis] or 0)
    return t.op("SLICE", padded, t.i32(begin), t.i32(size))
