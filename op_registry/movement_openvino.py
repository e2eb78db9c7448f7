"""Axes, repeats and pads that OpenVINO gets wrong, or lacks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from graphrewrite.ir import DataType, Dim, Value
from graphrewrite.registry import Onnx, OpNode, lowering

from .signal import dft as by_matrix


def dim_of(b: Onnx, x: Value, dim: Dim, axis: int) -> Value:
    """Dimension `axis` of `x`, which is `dim` where known, as int64 [1]."""
    return b.i64([dim]) if isinstance(dim, int) else b.op("Shape", x, start=axis, end=axis + 1)


@lowering("openvino", "Squeeze", "Unsqueeze")
def known_rank(node: OpNode, b: Onnx) -> Sequence[Value]:
    """With run-time axes the rank of the result would be unknown; refused here, they are expanded as a Reshape."""
    if node.has(1) and node.ints(1) is None:
        node.not_implemented("axes that are computed at run time")
    return node.outputs


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


@lowering("openvino", "DFT")
def dft(node: OpNode, b: Onnx) -> Value | Sequence[Value]:
    """The front end ignores the operand that names the axis, and gives one side of a spectrum a wrong rank."""
    if node.attr("onesided"):
        return by_matrix(node, b)
    named = node.ints(2) if node.has(2) else [-2]
    if named is None:
        node.not_implemented("an axis that is computed at run time")
    x, rank = node.input(0), node.rank()
    axis = named[0] % rank
    if axis == 1:
        return node.outputs
    if rank == 2:
        x, order = b.op("Unsqueeze", x, b.i64([0])), [0, 1, 2]
    else:
        order = list(range(rank))
        order[1], order[axis] = axis, 1
        x = b.op("Transpose", x, perm=order)
    y = b.op("DFT", x, node.optional(1), b.i64(1), inverse=int(node.attr("inverse")))
    return b.op("Squeeze", y, b.i64([0])) if rank == 2 else b.op("Transpose", y, perm=order)
