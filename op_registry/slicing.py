"""Slice, with every bound clamped as numpy does, and bounds, axes and steps that are computed at run time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from graphrewrite.ir import DataType, Value
from graphrewrite.registry import OpNode, lowering

if TYPE_CHECKING:
    from graphrewrite.targets.tflite.builder import TFLite

_INT32 = np.iinfo(np.int32)


@lowering("tflite", "Slice")
def slice_(node: OpNode, t: TFLite) -> Value:
    """STRIDED_SLICE clamps its bounds and counts negative ones from the end exactly as ONNX does."""
    x, rank = node.input(0), node.rank()
    bounds = [node.ints(index) for index in (1, 2)]
    steps = node.ints(4) if node.has(4) else [1] * _count(node)
    axes = node.ints(3) if node.has(3) else list(range(_count(node)))
    if axes is None:
        return _strided(t, x, _scatter_by_axes(node, t, rank))
    axes = [axis % rank for axis in axes]
    if bounds[0] is not None and bounds[1] is not None and steps is not None:
        return _constant_bounds(node, t, axes, bounds[0], bounds[1], steps)
    operands = [
        _full_rank(t, node.input(1), axes, rank, 0),
        _full_rank(t, node.input(2), axes, rank, _INT32.max),
        _full_rank(t, node.input(4), axes, rank, 1) if node.has(4) else t.i32([1] * rank),
    ]
    return _strided(t, x, operands)


def _count(node: OpNode) -> int:
    (count,) = node.static(1)
    return count


def _constant_bounds(
    node: OpNode, t: TFLite, axes: list[int], starts: list[int], ends: list[int], steps: list[int]
) -> Value:
    x, known = node.input(0), node.dims()
    rank = len(known)
    begin, end, step = [0] * rank, [_INT32.max] * rank, [1] * rank
    for axis, first, last, stride in zip(axes, starts, ends, steps, strict=True):
        if stride == 0:
            node.refuse("a step of 0 never ends")
        begin[axis], end[axis], step[axis] = _clamp(first), _clamp(last), _clamp(stride)
    if all(
        isinstance(known[axis], int) or (begin[axis], end[axis], step[axis]) == (0, _INT32.max, 1)
        for axis in range(rank)
    ):
        sizes = []
        for axis, dim in enumerate(known):
            if not isinstance(dim, int):
                sizes.append(-1)
                continue
            picked = range(*slice(begin[axis], end[axis], step[axis]).indices(dim))
            sizes.append(len(picked))
            begin[axis] = picked.start if len(picked) else 0
            if len(picked) <= 1:
                step[axis] = 1
            end[axis] = picked.stop if picked.stop >= 0 else -dim - 1  # before the first element
            if not len(picked):
                end[axis] = 0
            elif len(picked) == 1:
                end[axis] = begin[axis] + 1
        if all(s == 1 for s in step):
            if all(size == -1 or size == dim for size, dim in zip(sizes, known, strict=True)):
                return x
            return t.op("SLICE", x, t.i32(begin), t.i32(sizes))
    return _strided(t, x, [t.i32(begin), t.i32(end), t.i32(step)])


def _clamp(bound: int) -> int:
    return min(max(bound, _INT32.min), _INT32.max)


def _strided(t: TFLite, x: Value, bounds: list[Value]) -> Value:
    return t.op("STRIDED_SLICE", x, *bounds)


def _narrow(t: TFLite, bound: Value) -> Value:
    """A run-time bound as int32; what lies beyond means "to the end" anyway."""
    if bound.dtype == DataType.INT64:
        bound = t.op("MINIMUM", t.op("MAXIMUM", bound, t.i64([_INT32.min])), t.i64([_INT32.max]))
    return t.cast(bound, DataType.INT32)


def _full_rank(t: TFLite, bound: Value, axes: list[int], rank: int, default: int) -> Value:
    """A bound for every axis: those of `axes` from `bound`, the others `default`."""
    if bound.const_value is not None:
        full = np.full(rank, default, np.int64)
        full[axes] = bound.const_value.numpy()
        return t.i32([_clamp(int(item)) for item in full])
    narrow = _narrow(t, bound)
    if axes == list(range(rank)):
        return narrow
    place = [axes.index(axis) if axis in axes else len(axes) for axis in range(rank)]
    return t.op("GATHER", t.op("CONCATENATION", narrow, t.i32([default]), axis=0), t.i32(place), axis=0)


def _scatter_by_axes(node: OpNode, t: TFLite, rank: int) -> list[Value]:
    """Bounds for every axis where the axes themselves are known only at run time."""
    axes = t.op("FLOOR_MOD", t.cast(node.input(3), DataType.INT32), t.i32(rank))
    hits = t.op("EQUAL", t.reshape(axes, [-1, 1]), t.i32([list(range(rank))]))
    named = t.op("REDUCE_ANY", hits, t.i32([0]), keep_dims=False)
    found = []
    for index, default in ((1, 0), (2, _INT32.max), (4, 1)):
        if not node.has(index):
            found.append(t.i32([default] * rank))
            continue
        column = t.reshape(_narrow(t, node.input(index)), [-1, 1])
        total = t.op("SUM", t.op("SELECT_V2", hits, column, t.i32(0)), t.i32([0]), keep_dims=False)
        found.append(t.op("SELECT_V2", named, total, t.i32([default] * rank)))
    return found
