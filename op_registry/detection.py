"""NonMaxSuppression, exactly: ties by lowest index, overlaps equal to the threshold kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from graphrewrite.ir import DataType, Value, constant_scalar
from graphrewrite.registry import Onnx, OpNode, lowering

if TYPE_CHECKING:
    from graphrewrite.targets.coreml.builder import MIL
    from graphrewrite.targets.tflite.builder import TFLite

_RUNS = 256
"""One operator a batch entry and class; detectors with more classes choose the class before."""

_NEXT = 2.0**-24 * (1 + 2.0**-10)
"""x + x * _NEXT rounds to the float after x, for every positive normal x."""


@lowering("tflite", "NonMaxSuppression")
def non_max_suppression(node: OpNode, t: TFLite) -> Value:
    """For each batch entry and class: boxes sorted by score, suppressed by rank, numbered as they were.

    TFLite's kernel leaves open which of two equal scores goes first, and drops boxes whose overlap equals the threshold. Sorting
    with TOPK (lowest index first) and giving the rank as score settles the first; the next float as threshold the second. And
    it returns boxes without an area again and again: others that overlap nothing either stand in for them.
    """
    batch, classes, boxes_count = node.dims(1)
    if not node.has(2) or constant_scalar(node.input(2)) == 0:
        return t.const(np.zeros((0, 3)), DataType.INT64)
    if not isinstance(batch, int) or not isinstance(classes, int):
        node.refuse("how many batch entries and classes there are is known only at run time")
    if batch * classes > _RUNS:
        node.refuse(
            f"it runs once for each of {batch} x {classes} batch entries and classes", f"at most {_RUNS}"
        )
    count = t.i32(boxes_count) if isinstance(boxes_count, int) else _boxes(node, t)
    limit = t.op("MINIMUM", t.reshape(node.input(2), []), t.cast(count, DataType.INT64))
    limit = t.cast(limit, DataType.INT32)
    overlap = _next_float(node, t)
    boxes = _corners(t, node.input(0)) if node.attr("center_point_box") else node.input(0)
    rows = []
    for b in range(batch):
        own = t.reshape(t.op("SLICE", boxes, t.i32([b, 0, 0]), t.i32([1, -1, 4])), [-1, 4])
        for c in range(classes):
            line = t.op("SLICE", node.input(1), t.i32([b, c, 0]), t.i32([1, 1, -1]))
            chosen = _one_class(node, t, own, t.reshape(line, [-1]), count, limit, overlap)
            triple = t.op("MUL", t.reshape(chosen, [-1, 1]), t.const([[0, 0, 1]], DataType.INT64))
            rows.append(t.op("ADD", triple, t.const([[b, c, 0]], DataType.INT64)))
    return rows[0] if len(rows) == 1 else t.op("CONCATENATION", *rows, axis=0)


def _boxes(node: OpNode, t: TFLite) -> Value:
    """How many boxes there are: known only at run time where a threshold was applied before."""
    return t.reshape(t.op("SLICE", t.shape_of(node.input(1)), t.i32([2]), t.i32([1])), [])


def _one_class(
    node: OpNode, t: TFLite, boxes: Value, scores: Value, count: Value, limit: Value, overlap: Value
) -> Value:
    """Numbers of the boxes kept for one class, best first, int64 [kept]."""
    best, order = t.ops("TOPK_V2", scores, count, outputs=2)
    ranks = _ranks(t, count)
    if node.has(4):
        threshold = t.reshape(node.input(4), [])
        ranks = t.op("SELECT_V2", t.op("GREATER", best, threshold), ranks, t.const(-1.0, DataType.FLOAT))
    sorted_boxes = _with_areas(t, t.op("GATHER", boxes, order, axis=0), count)
    picked, number = t.ops(
        "NON_MAX_SUPPRESSION_V4", sorted_boxes, ranks, limit, overlap, t.const(0.0, DataType.FLOAT), outputs=2
    )
    kept = t.op("SLICE", picked, t.i32([0]), t.reshape(number, [1]))
    return t.cast(t.op("GATHER", order, kept, axis=0), DataType.INT64)


def _ranks(t: TFLite, count: Value) -> Value:
    """`count`, ..., 2, 1 as float32."""
    known = constant_scalar(count)
    if known is None:
        return t.cast(t.op("RANGE", count, t.i32(0), t.i32(-1)), DataType.FLOAT)
    return t.const(np.arange(known, 0, -1), DataType.FLOAT)


def _with_areas(t: TFLite, boxes: Value, count: Value) -> Value:
    """`boxes` [count, 4], those of no height or width moved to where none is, and made squares.

    They lie on the diagonal beyond the largest coordinate, two sides apart. A side is an eighth of that coordinate, so that it
    is more than a rounding error a million sides away.
    """
    y1, x1, y2, x2 = t.ops("SPLIT", t.i32(1), boxes, outputs=4)
    flat = t.op("LOGICAL_OR", t.op("EQUAL", y1, y2), t.op("EQUAL", x1, x2))
    largest = t.op("REDUCE_MAX", t.op("ABS", boxes), t.i32([0, 1]), keep_dims=True)
    side = t.op("MAXIMUM", t.op("MUL", largest, t.like(0.125, largest)), t.like(1, largest))
    steps = t.op("MUL", t.op("MUL", t.reshape(_ranks(t, count), [-1, 1]), t.like(2, side)), side)
    start = t.op("ADD", largest, steps)
    end = t.op("ADD", start, side)
    return t.op("SELECT_V2", flat, t.op("CONCATENATION", start, start, end, end, axis=1), boxes)


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
    known = _next_known(node)
    if known is not None:
        return t.const(known, DataType.FLOAT)
    given = t.reshape(node.input(3), [])
    step = t.op("ADD", given, t.op("MUL", given, t.const(_NEXT, DataType.FLOAT)))
    return t.op("MAXIMUM", step, t.const(np.finfo(np.float32).tiny, DataType.FLOAT))


# -- Core ML ---------------------------------------------------------------------------------------------------------------


@lowering("coreml", "NonMaxSuppression", note="the overlap must be a constant, the number of boxes known")
def mil_non_max_suppression(node: OpNode, m: MIL) -> Value:
    """One run for each batch entry and class; a score equal to the threshold, which Core ML keeps, is dropped afterwards."""
    batch, classes, _ = node.static(1)
    limit = 0 if not node.has(2) else constant_scalar(node.input(2))
    if limit == 0:
        return m.const(np.zeros((0, 3)), DataType.INT64)
    if batch * classes > _RUNS:
        node.refuse(
            f"it runs once for each of {batch} x {classes} batch entries and classes", f"at most {_RUNS}"
        )
    overlap = constant_scalar(node.input(3)) if node.has(3) else 0.0
    if overlap is None:
        node.refuse("its overlap is known only at run time, and Core ML wants a constant", "make it one")
    boxes = m.cast(node.input(0), DataType.FLOAT)
    boxes = boxes if node.attr("center_point_box") else _mil_centred(m, boxes)
    rows = []
    for b in range(batch):
        own = m.crop(boxes, {0: (b, batch - b - 1)})
        for c in range(classes):
            scores = m.crop(node.input(1), {0: (b, batch - b - 1), 1: (c, classes - c - 1)})
            chosen = _mil_one_class(node, m, own, m.cast(scores, DataType.FLOAT), limit, float(overlap))
            triple = m.op("mul", m.op("expand_dims", chosen, axes=[1]), m.i32([0, 0, 1]))
            rows.append(m.op("add", triple, m.i32([b, c, 0])))
    return m.cast(rows[0] if len(rows) == 1 else m.op("concat", *rows, axis=0), DataType.INT64)


def _mil_one_class(
    node: OpNode, m: MIL, boxes: Value, scores: Value, limit: float | None, overlap: float
) -> Value:
    """Numbers of the boxes kept for one class, best first, int32 [kept]; those behind them are -1 in what Core ML gives."""
    count = node.static(1)[2]
    most = count if limit is None else min(int(limit), count)
    settings = {"iou_threshold": overlap, "max_boxes": most}
    if m.takes("non_maximum_suppression", "score_threshold"):
        found = m.ops(
            "non_maximum_suppression",
            boxes,
            m.transpose(scores, [0, 2, 1]),
            outputs=4,
            score_threshold=_mil_floor(node),
            **settings,
        )
    else:  # from iOS17 on the boxes are the last dimension
        found = m.ops(
            "non_maximum_suppression",
            m.transpose(boxes, [0, 2, 1]),
            scores,
            outputs=3,
            **settings,
        )
    places, kept = m.reshape(found[2], [most]), m.reshape(found[1], [most])
    valid = m.op("greater", places, m.i32(-1))
    if node.has(4):
        threshold = m.reshape(m.cast(node.input(4), DataType.FLOAT), [])
        valid = m.op("logical_and", valid, m.op("greater", kept, threshold))
    number = m.op("reduce_sum", m.cast(valid, DataType.INT32), axes=[0], keep_dims=True)
    if limit is None:
        number = m.op("minimum", number, m.reshape(m.cast(node.input(2), DataType.INT32), [1]))
    return m.op("slice_by_size", places, m.i32([0]), number)


def _mil_floor(node: OpNode) -> float:
    """A score that no box of interest is below, so that Core ML has fewer to look at where the threshold is known."""
    known = constant_scalar(node.input(4)) if node.has(4) else None
    return float(np.finfo(np.float16).min) if known is None else float(known)


def _mil_centred(m: MIL, boxes: Value) -> Value:
    """[y1, x1, y2, x2], in any order of the corners, as [x, y, width, height] around the centre."""
    y1, x1, y2, x2 = m.ops("split", boxes, outputs=4, num_splits=4, axis=2)
    spans = [m.op("sub", end, start) for start, end in ((x1, x2), (y1, y2))]
    centres = [
        m.op("add", start, m.op("mul", span, m.like(0.5, span))) for start, span in zip((x1, y1), spans)
    ]
    return m.op("concat", *centres, *(m.op("abs", span) for span in spans), axis=2)


def _next_known(node: OpNode) -> float | None:
    """The same where the threshold is a constant. The smallest normal number stands for all that runtimes may take for 0."""
    known = constant_scalar(node.input(3)) if node.has(3) else 0.0
    if known is None:
        return None
    return max(float(np.nextafter(np.float32(known), np.float32(2))), float(np.finfo(np.float32).tiny))


@lowering("openvino", "NonMaxSuppression")
def suppress_above(node: OpNode, b: Onnx) -> Value | Sequence[Value]:
    """OpenVINO, too, drops boxes whose overlap equals the threshold."""
    tiny = b.const(np.finfo(np.float32).tiny, DataType.FLOAT)
    known = _next_known(node)
    if known is not None:
        overlap = b.const([known], DataType.FLOAT)
    else:
        given = b.reshape(node.input(3), [1])
        step = b.op("Add", given, b.op("Mul", given, b.const(_NEXT, DataType.FLOAT)))
        overlap = b.op("Max", step, tiny)
    operands = [*node.inputs, None, None, None, None][:5]
    operands[3] = overlap
    return b.op(
        "NonMaxSuppression",
        *operands[: 5 if operands[4] else 4],
        center_point_box=node.attr("center_point_box"),
    )
