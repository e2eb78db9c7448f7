"""Slice, with every bound clamped as numpy does, and bounds, axes and steps that are computed at run time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from graphrewrite.ir import DataType, Value
from graphrewrite.registry import OpNode, lowering

if TYPE_CHECKING:
    from graphrewrite.targets.coreml.builder import MIL
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


@lowering("coreml", "Slice", note="axes and steps must be constants")
def mil_slice(node: OpNode, m: MIL) -> Value:
    x, rank = node.input(0), node.rank()
    starts, ends = node.ints(1), node.ints(2)
    steps = node.ints(4) if node.has(4) else [1] * _count(node)
    axes = node.ints(3) if node.has(3) else list(range(_count(node)))
    if axes is None or steps is None:
        node.refuse(
            "its axes or steps are computed at run time, and Core ML wants constants", "make them constants"
        )
    axes = [axis % rank for axis in axes]
    if 0 in steps:
        node.refuse("a step of 0 never ends")
    if starts is None or ends is None:
        return _mil_run_time_bounds(node, m, axes, steps)
    begin, end, stride = [0] * rank, [0] * rank, [1] * rank
    open_begin, open_end = [True] * rank, [True] * rank
    for axis, first, last, step in zip(axes, starts, ends, steps, strict=True):
        dim = node.dims()[axis]
        stride[axis] = step
        if isinstance(dim, int):
            picked = range(*slice(_clamp(first), _clamp(last), step).indices(dim))
            if not len(picked):
                return m.nothing(node)
            begin[axis], end[axis] = picked[0], picked[-1] + (1 if step > 0 else -1)
            open_begin[axis] = begin[axis] == (0 if step > 0 else dim - 1)
            open_end[axis] = end[axis] >= dim if step > 0 else end[axis] < 0
            if open_begin[axis] and open_end[axis] and abs(step) >= dim:
                stride[axis] = 1
                begin[axis], end[axis], open_begin[axis], open_end[axis] = (
                    picked[0],
                    picked[0] + 1,
                    False,
                    False,
                )
            continue
        begin[axis], end[axis] = _clamp(first), _clamp(last)
        open_begin[axis] = (step > 0 and first == 0) or (step < 0 and first in (-1, *_beyond(first)))
        open_end[axis] = last in _beyond(last)
        if not (open_begin[axis] or first >= 0) or not (open_end[axis] or last < 0):
            node.refuse(
                "whether its bounds lie inside a dimension that is known only at run time can't be told",
                "fix the dimension with --shape",
            )
    if all(open_begin) and all(open_end) and set(stride) <= {1}:
        return x
    begin = [0 if free else first for first, free in zip(begin, open_begin)]
    end = [0 if free else last for last, free in zip(end, open_end)]
    return m.op(
        "slice_by_index",
        x,
        m.i32(begin),
        m.i32(end),
        stride=stride,
        begin_mask=[int(item) for item in open_begin],
        end_mask=[int(item) for item in open_end],
    )


def _beyond(bound: int) -> tuple[int, ...]:
    """The bound itself where it lies beyond every dimension, which means "all of it"."""
    return (bound,) if abs(bound) >= _INT32.max // 2 else ()


def _mil_run_time_bounds(node: OpNode, m: MIL, axes: list[int], steps: list[int]) -> Value:
    """Bounds clamped to the dimensions as ONNX does: Core ML leaves open what lies outside."""
    x, rank = node.input(0), node.rank()
    starts, ends = (m.cast(node.input(index), DataType.INT32) for index in (1, 2))
    bounds: list[list[Value]] = [[], []]
    stride = [1] * rank
    for axis in range(rank):
        size = m.dim(x, axis)
        if axis not in axes:
            bounds[0].append(m.i32([0]))
            bounds[1].append(size)
            continue
        place = axes.index(axis)
        stride[axis] = steps[place]
        if steps[place] < 0:
            node.refuse(
                "bounds that are computed at run time with a negative step", "reverse the tensor first"
            )
        for index, bound in enumerate((starts, ends)):
            one = m.op("slice_by_size", bound, m.i32([place]), m.i32([1]))
            counted = m.op("mul", m.cast(m.op("less", one, m.i32([0])), DataType.INT32), size)
            inside = m.op("maximum", m.op("add", one, counted), m.i32([0]))
            bounds[index].append(m.op("minimum", inside, size))
    begin, end = (m.op("concat", *parts, axis=0) if rank > 1 else parts[0] for parts in bounds)
    return m.op("slice_by_index", x, begin, end, stride=stride)
