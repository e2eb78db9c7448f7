"""Sorting and order: TopK, Unique, ReverseSequence."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from graphrewrite.ir import DataType, Value, static_dims
from graphrewrite.registry import Onnx, OpNode, expansion, lowering

if TYPE_CHECKING:
    from graphrewrite.targets.coreml.builder import MIL
    from graphrewrite.targets.tflite.builder import TFLite


@lowering("tflite", "TopK")
def top_k(node: OpNode, t: TFLite) -> list[Value]:
    """TFLite takes the largest of the last axis, ties by lowest index, as ONNX asks."""
    x, rank, axis = node.input(0), node.rank(), node.axis()
    order = [*(i for i in range(rank) if i != axis), axis]
    back = [order.index(i) for i in range(rank)]
    count = t.reshape(t.cast(node.input(1), DataType.INT32), [])
    smallest = not node.attr("largest")
    rows = t.transpose(x, order)
    if smallest:
        rows = _reversed_order(t, rows)
    values, indices = t.ops("TOPK_V2", rows, count, outputs=2)
    if smallest:
        values = t.cast(_reversed_order(t, values), node.dtype())
    return [t.transpose(values, back), t.cast(t.transpose(indices, back), DataType.INT64)]


def _reversed_order(t: TFLite, x: Value) -> Value:
    """An exact map that turns the order around, its own inverse: -x for floats, -1-x for integers (which can't overflow)."""
    assert x.dtype is not None
    if x.dtype.is_floating_point():
        return t.op("NEG", x)
    wide = x if x.dtype in (DataType.INT32, DataType.INT64) else t.cast(x, DataType.INT32)
    return t.op("SUB", t.like(-1, wide), wide)


@lowering("tflite", "ReverseSequence")
def reverse_sequence(node: OpNode, t: TFLite) -> Value:
    return t.op(
        "REVERSE_SEQUENCE",
        node.input(0),
        node.input(1),
        seq_dim=node.attr("time_axis"),
        batch_dim=node.attr("batch_axis"),
    )


@lowering("tflite", "Unique")
def unique(node: OpNode, t: TFLite) -> list[Value | None]:
    """TFLite keeps the order of first occurrence; sorted ones are put in order through TOPK, which has no ties here."""
    if node.attr("axis") is not None and node.rank() != 1:
        node.refuse("TFLite finds unique elements, not unique slices along an axis")
    x = t.reshape(node.input(0), [-1])
    values, inverse = t.ops("UNIQUE", x, outputs=2, idx_out_type="INT32")
    count = t.op("SHAPE", values, out_type="INT32")
    number = t.op("RESHAPE", count, t.i32([]))
    old_place: Value | None = None
    if node.attr("sorted"):
        descending, order = t.ops("TOPK_V2", values, number, outputs=2)
        values = t.op("REVERSE_V2", descending, t.i32([0]))
        old_place = t.op("REVERSE_V2", order, t.i32([0]))
        places = t.op("RANGE", t.i32(0), number, t.i32(1))
        new_place = t.op("SCATTER_ND", t.reshape(old_place, [-1, 1]), places, count)
        inverse = t.op("GATHER", new_place, inverse, axis=0)
    results: list[Value | None] = [values, None, None, None]
    if node.wants(1):
        line = t.op("RANGE", t.i32(0), t.op("RESHAPE", t.shape_of(x), t.i32([])), t.i32(1))
        first = t.op("UNSORTED_SEGMENT_MIN", line, inverse, number)
        results[1] = t.cast(first, DataType.INT64)
    if node.wants(2):
        results[2] = t.cast(inverse, DataType.INT64)
    if node.wants(3):
        known = static_dims(x)
        ones = (
            t.const(np.ones(known), DataType.INT32)
            if known is not None
            else t.op("FILL", t.shape_of(x), t.i32(1))
        )
        counts = t.op("UNSORTED_SEGMENT_SUM", ones, inverse, number)
        results[3] = t.cast(counts, DataType.INT64)
    return results[: len(node.outputs)]


@lowering("coreml", "TopK")
def mil_top_k(node: OpNode, m: MIL) -> list[Value]:
    """A number known only at run time is cut from the whole sorted axis."""
    x, axis, count, ascending = node.input(0), node.axis(), node.ints(1), not node.attr("largest")
    if count is not None and count[0] == 0:
        return [m.nothing(node, index) for index in range(len(node.outputs))]
    if count is not None:
        values, places = m.ops("topk", x, outputs=2, k=count[0], axis=axis, ascending=ascending)
        return [values, m.cast(places, DataType.INT64)]
    order = m.op("argsort", x, axis=axis, ascending=ascending)
    number = m.reshape(m.cast(node.input(1), DataType.INT32), [1])
    rank = node.rank()
    sizes = [number if i == axis else m.i32([-1]) for i in range(rank)]
    size = m.op("concat", *sizes, axis=0) if rank > 1 else number
    places = m.op("slice_by_size", order, m.i32([0] * rank), size)
    return [m.op("gather_along_axis", x, places, axis=axis), m.cast(places, DataType.INT64)]


@lowering("coreml", "ReverseSequence")
def mil_reverse_sequence(node: OpNode, m: MIL) -> Value:
    return m.op(
        "reverse_sequence",
        node.input(0),
        m.cast(node.input(1), DataType.INT32),
        seq_axis=node.attr("time_axis"),
        batch_axis=node.attr("batch_axis"),
    )


_COMPARED = 1 << 24
"""Elements compared with each other at once, at most."""


@expansion("Unique")
def unique_by_comparison(node: OpNode, b: Onnx) -> list[Value | None]:
    """Every slice along the axis (every element without one) is compared with every other: no sort, so no ties.

    An element's first equal is what it becomes; how many first ones are smaller (or come earlier) is its place.
    """
    x, axis = node.input(0), node.attr("axis")
    shape = node.static()
    if axis is None:
        x, axis, shape = b.reshape(x, [-1]), 0, (math.prod(shape),)
    axis %= len(shape)
    count, width = shape[axis], math.prod(shape) // max(shape[axis], 1)
    if count * count * width > _COMPARED or count == 0:
        node.refuse(
            f"it would compare {count} x {count} slices of {width} elements", "move it out of the model"
        )
    order = [axis, *(i for i in range(len(shape)) if i != axis)]
    rows = b.reshape(b.op("Transpose", x, perm=order), [count, width])
    equal, smaller = _compared(b, rows, count, width)
    first = b.op("ArgMax", equal, axis=1, keepdims=0)
    is_first = b.cast(b.op("Equal", first, b.i64(list(range(count)))), DataType.INT64)
    if node.attr("sorted"):
        place = b.op("ReduceSum", b.op("Mul", smaller, is_first), b.i64([1]), keepdims=0)
    else:
        earlier = b.op("Sub", b.op("CumSum", is_first, b.i64(0)), b.i64(1))
        place = b.op("Gather", earlier, first)
    number, nothing = b.op("ReduceSum", is_first, b.i64([0])), b.i64([0] * count)

    def by_place(updates: Value, reduction: str) -> Value:
        whole = b.op("ScatterElements", nothing, place, updates, axis=0, reduction=reduction)
        return b.op("Slice", whole, b.i64([0]), number, b.i64([0]))

    kept = by_place(first, "max")
    counts = by_place(b.i64([1] * count), "add") if node.wants(3) else None
    return [b.op("Gather", x, kept, axis=axis), kept, place, counts][: len(node.outputs)]


def _compared(b: Onnx, rows: Value, count: int, width: int) -> tuple[Value, Value]:
    """[i, j] int64: whether row j equals row i; whether it is smaller at the first place where they differ."""
    mine, other = b.reshape(rows, [count, 1, width]), b.reshape(rows, [1, count, width])
    differ = b.cast(b.op("Not", b.op("Equal", mine, other)), DataType.INT64)
    total = b.op("CumSum", differ, b.i64(2), exclusive=1)
    decides = b.op("Mul", differ, b.cast(b.op("Equal", total, b.i64(0)), DataType.INT64))
    below = b.op("Mul", decides, b.cast(b.op("Less", other, mine), DataType.INT64))
    smaller = b.op("ReduceSum", below, b.i64([2]), keepdims=0)
    same = b.op("Equal", b.op("ReduceSum", differ, b.i64([2]), keepdims=0), b.i64(0))
    return b.cast(same, DataType.INT64), smaller


@expansion("Det")
def det(node: OpNode, b: Onnx) -> Value:
    """Laplace's expansion along the first row, for the small matrices that models hold."""
    size = node.static()[-1]
    if size > 4:
        node.refuse(
            f"the determinant of {size} x {size} matrices needs an elimination with pivoting, which is not written out",
            "matrices up to 4 x 4 are written out",
        )
    x = node.input(0)
    rows = [
        [b.op("Gather", b.op("Gather", x, b.i64(i), axis=-2), b.i64(j), axis=-1) for j in range(size)]
        for i in range(size)
    ]
    return _laplace(b, rows) if size else b.like(1.0, x)


def _laplace(b: Onnx, rows: list[list[Value]]) -> Value:
    if len(rows) == 1:
        return rows[0][0]
    total: Value | None = None
    for column, item in enumerate(rows[0]):
        minor = [row[:column] + row[column + 1 :] for row in rows[1:]]
        term = b.op("Mul", item, _laplace(b, minor))
        if total is None:
            total = term
        else:
            total = b.op("Sub" if column % 2 else "Add", total, term)
    assert total is not None
    return total
