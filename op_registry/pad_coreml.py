"""Core ML's column of Pad and CenterCropPad.

Core ML's own pad is of floats, by constant amounts: with computed ones it fails on tensors of several dimensions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from graphrewrite.ir import Array, DataType, Value, constant_array, dims, refine
from graphrewrite.registry import OpNode, lowering

from .pad import centred, known_amounts, positions
from .precision import FLOATS

if TYPE_CHECKING:
    from graphrewrite.targets.coreml.builder import MIL


@lowering("coreml", "Pad")
def mil_pad(node: OpNode, m: MIL) -> Value:
    """Core ML's pad where it is known to be right; else blocks joined to the axis, or elements gathered along it."""
    x, rank, mode = node.input(0), node.rank(), str(node.attr("mode", "constant"))
    if rank == 0:
        return x
    amounts = known_amounts(node, rank)
    if amounts is None:
        return _computed(node, m, x, mode)
    x = m.crop(x, {axis: (max(-before, 0), max(-after, 0)) for axis, (before, after) in amounts.items()})
    grown = {axis: (max(before, 0), max(after, 0)) for axis, (before, after) in amounts.items()}
    grown = {axis: amount for axis, amount in sorted(grown.items()) if any(amount)}
    if not grown:
        return x
    if mode == "constant":
        return mil_pad_constant(m, x, grown, node.optional(2))
    shape = dims(x) or ()
    in_plane = node.dtype() in FLOATS and rank > 2 and min(grown) >= rank - 2 and mode in ("reflect", "edge")
    reach = -1 if mode == "reflect" else 0
    sizes = [(shape[axis], max(amount)) for axis, amount in grown.items()]
    if in_plane and all(not isinstance(size, int) or most <= size + reach for size, most in sizes):
        rows = [amount for axis in range(rank) for amount in grown.get(axis, (0, 0))]
        return m.op("pad", x, m.i32(rows), mode="reflect" if mode == "reflect" else "replicate")
    for axis, (before, after) in grown.items():
        size = shape[axis]
        if isinstance(size, int):
            x = m.op("gather", x, m.i32(positions(node, mode, size, before, after).tolist()), axis=axis)
        else:
            x = _computed_axis(node, m, x, axis, m.i32([before]), m.i32([after]), mode)
    return x


def _computed(node: OpNode, m: MIL, x: Value, mode: str) -> Value:
    """Amounts that are computed."""
    rank, pads = node.rank(), m.cast(node.input(1), DataType.INT32)
    axes = node.ints(3) if node.has(3) else list(range(rank))
    if axes is None:  # put the amounts to their axes, then pad all
        pads, axes = _at_axes(m, pads, m.cast(node.input(3), DataType.INT32), rank), list(range(rank))
    for place, axis in enumerate(axes):
        before, after = (
            m.op("slice_by_size", pads, m.i32([place + side * len(axes)]), m.i32([1])) for side in (0, 1)
        )
        x = _computed_axis(node, m, x, axis % rank, before, after, mode)
    return x


def _at_axes(m: MIL, pads: Value, axes: Value, rank: int) -> Value:
    """[2 * rank] amounts from those of some axes."""
    sides = m.op("reshape", pads, m.i32([2, -1]))
    index, nothing = m.op("mod", axes, m.i32(rank)), m.i32([0] * rank)
    rows = [
        m.op("slice_by_index", sides, m.i32([side, 0]), m.i32([0, 0]), end_mask=[0, 1], squeeze_mask=[1, 0])
        for side in (0, 1)
    ]
    return m.op(
        "concat", *(m.op("scatter", nothing, index, row, axis=0, mode="update") for row in rows), axis=0
    )


def _computed_axis(
    node: OpNode, m: MIL, x: Value, axis: int, before: Value, after: Value, mode: str
) -> Value:
    """One axis of a size, or by amounts, known only at run time: an index for each element of the result.

    Negative amounts are cut off first, as ONNX Runtime does. What is filled with a value reads one slice that is added behind.
    """
    shape = dims(x) or ()
    zero, one, size = m.i32([0]), m.i32([1]), m.dim(x, axis)
    cut, cut_behind = (m.op("maximum", m.op("sub", zero, amount), zero) for amount in (before, after))
    inner = m.op("sub", size, m.op("add", cut, cut_behind))
    start = m.op("sub", zero, m.op("maximum", before, zero))
    stop = m.op("add", inner, m.op("maximum", after, zero))
    place = m.op("range_1d", m.reshape(stop, []), m.reshape(start, []), m.i32(1))
    last = m.op("sub", inner, one)
    if mode == "constant":
        value = node.optional(2)
        block = _block(m, x, axis, 1, value, np.zeros(1) if value is None else constant_array(value))
        assert block is not None
        x = m.op("concat", x, block, axis=axis)
        inside = m.op("logical_and", m.op("greater_equal", place, zero), m.op("less", place, inner))
        beyond = m.op("sub", size, cut)
        kept = m.op("mul", m.cast(inside, DataType.INT32), m.op("sub", place, beyond))
        index = m.op("add", beyond, kept)
    elif mode == "edge":
        index = m.op("minimum", m.op("maximum", place, zero), last)
    elif mode == "wrap":
        index = m.op("mod", place, inner)
    elif mode == "reflect":
        period = m.op("maximum", m.op("mul", last, m.i32([2])), one)
        index = m.op("sub", last, m.op("abs", m.op("sub", m.op("mod", place, period), last)))
    else:
        node.refuse(f"ONNX has no padding mode '{mode}'")
    y = m.op("gather", x, m.op("add", index, cut), axis=axis)
    refine(y, None, tuple(None if i == axis else dim for i, dim in enumerate(shape)))
    return y


def mil_pad_constant(m: MIL, x: Value, amounts: dict[int, tuple[int, int]], value: Value | None) -> Value:
    """`x` with `value` (zero where None) around it. Core ML's pad is of floats, with a constant."""
    known = constant_array(value) if value is not None else np.zeros(1)
    dtype = x.dtype or DataType.FLOAT
    if dtype in FLOATS and known is not None:
        return m.pad(x, amounts, float(known.reshape(-1)[0]))
    for axis, (before, after) in amounts.items():
        parts = [_block(m, x, axis, before, value, known), x, _block(m, x, axis, after, value, known)]
        x = m.op("concat", *(part for part in parts if part is not None), axis=axis)
    return x


def _block(m: MIL, x: Value, axis: int, count: int, value: Value | None, known: Array | None) -> Value | None:
    """`count` slices of `x` along `axis`, filled with `value`; None where there are none."""
    if not count:
        return None
    wanted = [count if index == axis else dim for index, dim in enumerate(dims(x) or ())]
    known_sizes = [dim for dim in wanted if isinstance(dim, int)]
    if len(known_sizes) == len(wanted):
        shape = m.i32(known_sizes)
    else:
        sizes = [m.i32([count]) if index == axis else m.dim(x, index) for index in range(len(wanted))]
        shape = m.op("concat", *sizes, axis=0)
    added = value if known is None else None
    content = 0 if known is None else known.reshape(-1)[0]
    block = m.op("fill", shape, m.like(content, x))
    refine(block, None, tuple(wanted))
    if added is None:
        return block
    return m.op("logical_or" if x.dtype == DataType.BOOL else "add", block, m.reshape(added, []))


@lowering("coreml", "CenterCropPad", note="the wanted shape must be a constant")
def mil_center_crop_pad(node: OpNode, m: MIL) -> Value:
    cuts, fills = centred(node)
    return mil_pad_constant(m, m.crop(node.input(0), cuts), fills, None)
