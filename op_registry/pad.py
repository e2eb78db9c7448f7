"""Pad and CenterCropPad."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from graphrewrite.ir import Array, DataType, Value, constant_array, dims, refine
from graphrewrite.registry import OpNode, lowering

from .views import crop, dim_value, merge, reshape_to

if TYPE_CHECKING:
    from graphrewrite.targets.tflite.builder import TFLite

_PAD_RANK = 5
"""What PAD takes without XNNPACK."""


@lowering("tflite", "Pad", note="no strings; run-time pads at most rank 5")
def pad(node: OpNode, t: TFLite) -> Value:
    """Constant pads are PAD; reflect, edge and wrap gather by an index vector for each axis."""
    x, rank, mode = node.input(0), node.rank(), node.attr("mode", "constant")
    if rank == 0:
        return x
    amounts = known_amounts(node, rank)
    if amounts is None:
        return _run_time(node, t, x, rank, mode)
    x = crop(t, x, {axis: (max(-before, 0), max(-after, 0)) for axis, (before, after) in amounts.items()})
    grown = {axis: (max(before, 0), max(after, 0)) for axis, (before, after) in amounts.items()}
    grown = {axis: amount for axis, amount in grown.items() if any(amount)}
    if mode == "constant":
        return pad_constant(t, x, grown, node.optional(2))
    for axis, (before, after) in grown.items():
        size = (dims(x) or ())[axis]
        if isinstance(size, int):
            index = t.rewriter.constant(positions(node, mode, size, before, after))
        else:
            index = _run_time_positions(t, mode, dim_value(t, x, axis), t.i32([before]), t.i32([after]))
        x = t.op("GATHER", x, index, axis=axis, batch_dims=0)
    return x


def known_amounts(node: OpNode, rank: int) -> dict[int, tuple[int, int]] | None:
    """{axis: (before, after)}, None where pads or axes are known only at run time."""
    pads = node.ints(1)
    axes = node.ints(3) if node.has(3) else list(range(rank))
    if pads is None or axes is None:
        return None
    count = len(axes)
    return {axis % rank: (pads[index], pads[index + count]) for index, axis in enumerate(axes)}


def pad_constant(t: TFLite, x: Value, amounts: dict[int, tuple[int, int]], value: Value | None) -> Value:
    """`x` with `value` (zero where None) around it. Dimensions are merged so that the rank suits the kernel."""
    wanted = sorted(axis for axis, amount in amounts.items() if any(amount))
    rank = len(dims(x) or ())
    if rank <= _PAD_RANK:
        return _pad(t, x, [amounts.get(axis, (0, 0)) for axis in range(rank)], value) if wanted else x
    for first in range(0, len(wanted), 2):
        x = _pad_merged(t, x, {axis: amounts[axis] for axis in wanted[first : first + 2]}, value)
    return x


def _pad_merged(t: TFLite, x: Value, amounts: dict[int, tuple[int, int]], value: Value | None) -> Value:
    """At most two axes: with the dimensions between them merged the rank is at most 5."""
    rank = len(dims(x) or ())
    sizes: list[int | Value] = [dim_value(t, x, axis) for axis in range(rank)]
    groups: list[list[int]] = []
    for axis in range(rank):
        if axis in amounts or not groups or groups[-1][0] in amounts:
            groups.append([axis])
        else:
            groups[-1].append(axis)
    padded = _pad(t, merge(t, x, groups), [amounts.get(group[0], (0, 0)) for group in groups], value)
    for place, group in enumerate(groups):
        if group[0] in amounts:
            sizes[group[0]] = dim_value(t, padded, place)
    return reshape_to(t, padded, sizes)


def _pad(t: TFLite, x: Value, rows: list[tuple[int, int]], value: Value | None) -> Value:
    return _pad_by(t, x, t.i32([list(row) for row in rows]), value)


def _pad_by(t: TFLite, x: Value, rows: Value, value: Value | None) -> Value:
    array = constant_array(value)
    if value is None or (
        array is not None and not array.reshape(-1)[0] and not np.signbit(array.reshape(-1)[0:1]).any()
    ):
        return t.op("PAD", x, rows)
    return t.op("PADV2", x, rows, t.reshape(value, [1]))


def positions(node: OpNode, mode: str, size: int, before: int, after: int) -> Array:
    """Which element stands at each place of the padded axis."""
    place = np.arange(-before, size + after, dtype=np.int64)
    if size == 0:
        node.refuse(f"mode '{mode}' can't pad an empty axis")
    if mode == "edge":
        found = np.clip(place, 0, size - 1)
    elif mode == "wrap":
        found = place % size
    elif mode == "reflect":
        found = (size - 1) - np.abs(place % max(2 * (size - 1), 1) - (size - 1))
    else:
        node.refuse(f"ONNX has no padding mode '{mode}'")
    return found.astype(np.int32)


def _run_time_positions(t: TFLite, mode: str, size: Value, before: Value, after: Value) -> Value:
    """The same for a size or amounts known only at run time; one-element int32 vectors in, int32 vector out."""
    zero, one = t.i32([0]), t.i32([1])
    start = t.op("SUB", zero, before)
    stop = t.op("ADD", size, after)
    place = t.op("RANGE", *(t.reshape(item, []) for item in (start, stop, one)))
    last = t.op("SUB", size, one)
    if mode == "edge":
        return t.op("MINIMUM", t.op("MAXIMUM", place, zero), last)
    if mode == "wrap":
        return t.op("FLOOR_MOD", place, size)
    period = t.op("MAXIMUM", t.op("MUL", last, t.i32([2])), one)
    return t.op("SUB", last, t.op("ABS", t.op("SUB", t.op("FLOOR_MOD", place, period), last)))


def _run_time(node: OpNode, t: TFLite, x: Value, rank: int, mode: str) -> Value:
    """Pads (or axes) that are computed: cut what is negative, then pad."""
    rows = _rows(node, t, rank)
    negative = t.op("MINIMUM", rows, t.i32([0]))
    positive = t.op("MAXIMUM", rows, t.i32([0]))
    begin = t.reshape(t.op("SUB", t.i32([0]), _column(t, negative, 0)), [-1])
    kept = t.op("ADD", t.shape_of(x), t.op("ADD", _column(t, negative, 0), _column(t, negative, 1)))
    x = t.op("SLICE", x, begin, kept)
    refine(x, None, (None,) * rank)
    if mode == "constant":
        if rank > _PAD_RANK:
            node.refuse(
                f"pads that are computed at run time, at rank {rank}: TFLite's PAD takes up to {_PAD_RANK}"
            )
        x = _pad_by(t, x, positive, node.optional(2))
        refine(x, None, (None,) * rank)
        return x
    for axis in range(rank):
        before, after = (
            t.reshape(t.op("SLICE", positive, t.i32([axis, side]), t.i32([1, 1])), [1]) for side in (0, 1)
        )
        index = _run_time_positions(t, mode, dim_value(t, x, axis), before, after)
        x = t.op("GATHER", x, index, axis=axis, batch_dims=0)
    return x


def _column(t: TFLite, rows: Value, index: int) -> Value:
    return t.reshape(t.op("SLICE", rows, t.i32([0, index]), t.i32([-1, 1])), [-1])


def _rows(node: OpNode, t: TFLite, rank: int) -> Value:
    """[rank, 2] int32: before and after for every axis."""
    pads = t.cast(node.input(1), DataType.INT32)
    rows = t.transpose(t.reshape(pads, [2, -1]), [1, 0])
    if not node.has(3):
        return t.reshape(rows, [rank, 2])
    axes = t.op("FLOOR_MOD", t.cast(node.input(3), DataType.INT32), t.i32([rank]))
    return t.op("SCATTER_ND", t.reshape(axes, [-1, 1]), rows, t.i32([rank, 2]))


@lowering("tflite", "CenterCropPad", note="the wanted shape must be a constant")
def center_crop_pad(node: OpNode, t: TFLite) -> Value:
    """Cut or fill with zeros evenly; an odd element is cut in front and filled behind."""
    cuts, fills = centred(node)
    return pad_constant(t, crop(t, node.input(0), cuts), fills, None)


def centred(node: OpNode) -> tuple[dict[int, tuple[int, int]], dict[int, tuple[int, int]]]:
    """What CenterCropPad cuts off and adds, {axis: (in front, behind)}."""
    shape, rank = node.ints(1), node.rank()
    if shape is None:
        node.refuse("the wanted shape is computed at run time")
    axes = [axis % rank for axis in node.attr("axes") or range(rank)]
    cuts: dict[int, tuple[int, int]] = {}
    fills: dict[int, tuple[int, int]] = {}
    for axis, wanted in zip(axes, shape):
        size = node.dims()[axis]
        if not isinstance(size, int):
            node.refuse(f"dimension {axis} is known only at run time", "fix it with --shape")
        surplus = size - wanted
        if surplus > 0:
            cuts[axis] = (surplus // 2, surplus - surplus // 2)
        elif surplus < 0:
            fills[axis] = (-surplus // 2, -surplus - -surplus // 2)
    return cuts, fills
