"""NonMaxSuppression, exactly: ties by lowest index, overlaps equal to the threshold kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from graphrewrite.ir import DataType, Value, constant_scalar
from graphrewrite.registry import OpNode, lowering

if TYPE_CHECKING:
    from graphrewrite.targets.tflite.builder import TFLite

_RUNS = 256
"""One operator a batch entry and class; detectors with more classes choose the class before."""

_NEXT = 2.0**-24 * (1 + 2.0**-10)
"""x + x * _NEXT rounds to the float after x, for every positive normal x."""


@lowering("tflite", "NonMaxSuppression")
def non_max_suppression(node: OpNode, t: TFLite) -> Value:
    """For each batch entry and class: boxes sorted by score, suppressed by rank, numbered as they were.

    TFLite's kernel leaves open which of two equal scores goes first, and drops boxes whose overlap equals the threshold. Sorting
    with TOPK (lowest index first) and giving the rank as score settles the first; the next float as threshold the second.
    """
    batch, classes, boxes_count = node.static(1)
    if not node.has(2) or constant_scalar(node.input(2)) == 0:
        return t.const(np.zeros((0, 3)), DataType.INT64)
    if batch * classes > _RUNS:
        node.refuse(
            f"it runs once for each of {batch} x {classes} batch entries and classes", f"at most {_RUNS}"
        )
    limit = t.op("MINIMUM", t.reshape(node.input(2), []), t.i64(boxes_count))
    limit = t.cast(limit, DataType.INT32)
    overlap = _next_float(node, t)
    boxes = _corners(t, node.input(0)) if node.attr("center_point_box") else node.input(0)
    rows = []
    for b in range(batch):
        own = t.reshape(t.op("SLICE", boxes, t.i32([b, 0, 0]), t.i32([1, boxes_count, 4])), [boxes_count, 4])
        for c in range(classes):
            line = t.op("SLICE", node.input(1), t.i32([b, c, 0]), t.i32([1, 1, boxes_count]))
            chosen = _one_class(node, t, own, t.reshape(line, [boxes_count]), limit, overlap)
            triple = t.op("MUL", t.reshape(chosen, [-1, 1]), t.const([[0, 0, 1]], DataType.INT64))
            rows.append(t.op("ADD", triple, t.const([[b, c, 0]], DataType.INT64)))
    return rows[0] if len(rows) == 1 else t.op("CONCATENATION", *rows, axis=0)


def _one_class(node: OpNode, t: TFLite, boxes: Value, scores: Value, limit: Value, overlap: Value) -> Value:
    """Numbers of the boxes kept for one class, best first, int64 [kept]."""
    count = node.static(1)[2]
    best, order = t.ops("TOPK_V2", scores, t.i32(count), outputs=2)
    ranks = t.const(np.arange(count, 0, -1), DataType.FLOAT)
    if node.has(4):
        threshold = t.reshape(node.input(4), [])
        ranks = t.op("SELECT_V2", t.op("GREATER", best, threshold), ranks, t.const(-1.0, DataType.FLOAT))
    sorted_boxes = t.op("GATHER", boxes, order, axis=0)
    picked, number = t.ops(
        "NON_MAX_SUPPRESSION_V4", sorted_boxes, ranks, limit, overlap, t.const(0.0, DataType.FLOAT), outputs=2
    )
    kept = t.op("SLICE", picked, t.i32([0]), t.reshape(number, [1]))
    return t.cast(t.op("GATHER", order, kept, axis=0), DataType.INT64)


def _corners(t: TFLite, boxes: Value) -> Value:
    """[x, y, width, height] around the centre as [y1, x1, y2, x2]."""
    x, y, width, height = t.ops("SPLIT", t.i32(2), boxes, outputs=4)
    half_w, half_h = (t.op("MUL", size, t.like(0.5, size)) for size in (width, height))
    parts = [
        t.op("SUB", y, half_h),
        t.op("SUB", x, half_w),
        t.op("ADD", y, half_h),
        t.op("ADD", x, half_w),
    ]
    return t.op("CONCATENATION", *parts, axis=2)


def _next_float(node: OpNode, t: TFLite) -> Value:
    """The smallest overlap above the threshold (of 0 where absent)."""
    known = constant_scalar(node.input(3)) if node.has(3) else 0.0
    if known is not None:
        return t.const(
            max(np.nextafter(np.float32(known), np.float32(2)), np.finfo(np.float32).tiny), DataType.FLOAT
        )
    given = t.reshape(node.input(3), [])
    step = t.op("ADD", given, t.op("MUL", given, t.const(_NEXT, DataType.FLOAT)))
    return t.op("MAXIMUM", step, t.const(np.finfo(np.float32).tiny, DataType.FLOAT))
