"""Axes that are computed at run time, for a target whose values must have a known rank."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from graphrewrite.ir import DataType, Dim, Value
from graphrewrite.registry import Onnx, OpNode, lowering


def dim_of(b: Onnx, x: Value, dim: Dim, axis: int) -> Value:
    """Dimension `axis` of `x`, which is `dim` where known, as int64 [1]."""
    return b.i64([dim]) if isinstance(dim, int) else b.op("Shape", x, start=axis, end=axis + 1)


def _count(node: OpNode) -> int:
    """How many axes operand 1 names."""
    (count,) = node.static(1)
    return count


def _others(b: Onnx, axes: Value, rank: int, count: int) -> Value:
    """The axes of `rank` that the `count` ones in `axes` leave, in order, int64 [rank - count]."""
    named = b.op("Mod", b.cast(axes, DataType.INT64), b.i64(rank))
    left = b.op("ScatterElements", b.i64([1] * rank), named, b.i64([0] * count), axis=0)
    return b.reshape(b.op("NonZero", left), [rank - count])


@lowering("openvino", "Unsqueeze")
def unsqueeze(node: OpNode, b: Onnx) -> Value | Sequence[Value]:
    """A Reshape, whose rank the length of its operand tells."""
    if node.ints(1) is not None:
        return node.outputs
    count, x = _count(node), node.input(0)
    rank = node.rank() + count
    kept = _others(b, node.input(1), rank, count)
    shape = b.op("ScatterElements", b.i64([1] * rank), kept, b.op("Shape", x), axis=0)
    return b.op("Reshape", x, shape, allowzero=1)


@lowering("openvino", "Squeeze")
def squeeze(node: OpNode, b: Onnx) -> Value | Sequence[Value]:
    """The same, the other way round."""
    if not node.has(1) or node.ints(1) is not None:
        return node.outputs
    return without(node, b, node.input(0))


def without(node: OpNode, b: Onnx, x: Value) -> Value:
    """`x` without the dimensions of 1 that operand 1 names."""
    kept = _others(b, node.input(1), node.rank(), _count(node))
    return b.op("Reshape", x, b.op("Gather", b.op("Shape", x), kept), allowzero=1)


@lowering("openvino", "Tile")
def tile(node: OpNode, b: Onnx) -> Value | Sequence[Value]:
    """Run-time repeats, which the CPU plugin gets wrong from rank 3 on, gather each axis over and over."""
    if node.ints(1) is not None:
        return node.outputs
    x = node.input(0)
    for axis, dim in enumerate(node.dims()):
        size = dim_of(b, x, dim, axis)
        repeats = b.op("Slice", b.cast(node.input(1), DataType.INT64), b.i64([axis]), b.i64([axis + 1]))
        stop = b.reshape(b.op("Mul", size, repeats), [])
        place = b.op("Range", b.i64(0), stop, b.i64(1))
        x = b.op("Gather", x, b.op("Mod", place, size), axis=axis)
    return x


@lowering("openvino", "Pad")
def pad(node: OpNode, b: Onnx) -> Value | Sequence[Value]:
    """Mode wrap, which OpenVINO lacks, gathers along each axis."""
    pads, rank = node.ints(1), node.rank()
    axes = node.ints(3) if node.has(3) else list(range(rank))
    if node.attr("mode") != "wrap" or pads is None or axes is None:
        return node.outputs
    x = node.input(0)
    for index, axis in enumerate(axis % rank for axis in axes):
        before, after = pads[index], pads[index + len(axes)]
        dim = node.dims()[axis]
        if min(before, after) < 0:
            cut = [max(-before, 0), np.iinfo(np.int64).max if after >= 0 else after]
            x = b.op("Slice", x, b.i64(cut[:1]), b.i64(cut[1:]), b.i64([axis]))
            dim = dim + min(before, 0) + min(after, 0) if isinstance(dim, int) else dim
        if max(before, after) > 0:
            size = dim_of(b, x, dim, axis)
            stop = b.op("Add", b.reshape(size, []), b.i64(max(after, 0)))
            place = b.op("Range", b.i64(-max(before, 0)), stop, b.i64(1))
            x = b.op("Gather", x, b.op("Mod", place, size), axis=axis)
    return x
