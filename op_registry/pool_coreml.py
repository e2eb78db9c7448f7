"""Core ML's column of the pools: max_pool and avg_pool where they compute what ONNX means, windows built from slices and sums
where they do not."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from graphrewrite.ir import DataType, Value
from graphrewrite.registry import OpNode, lowering

from .pool import check_auto_pad
from .window import Axis, first_window_axes, mil_padding

if TYPE_CHECKING:
    from graphrewrite.targets.coreml.builder import MIL

_PADDED_TAPS = 3
"""avg_pool with padding of its own is known to be right up to this size; of 7 x 7 windows devices get it wrong."""


def _operands(node: OpNode, m: MIL) -> tuple[Value, list[Axis]]:
    """The data in float32 [N, C, spatial...] and its windows."""
    check_auto_pad(node)
    count = node.rank() - 2
    if count > 3:
        node.refuse(f"Core ML's pools have at most three spatial dimensions, this one has {count}")
    x = m.cast(node.input(0), DataType.FLOAT)
    return first_window_axes(node, m, x, node.attr("kernel_shape"), ceil=bool(node.attr("ceil_mode", 0)))


def _is_dense(axes: Sequence[Axis]) -> bool:
    return all(axis.dilation == 1 for axis in axes)


def _pad(node: OpNode, m: MIL, x: Value, axes: Sequence[Axis], fill: float = 0.0) -> Value:
    """`x` with all padding written out."""
    if any(axis.same for axis in axes):
        node.refuse(
            "auto_pad of sizes that are known only at run time: Core ML has it for plain windows only",
            "fix the size with --shape",
        )
    return m.pad(x, {index: (axis.before, axis.behind) for index, axis in enumerate(axes, start=2)}, fill)


# -- maximum ---------------------------------------------------------------------------------------------------------------


@lowering("coreml", "MaxPool", note="Indices need static sizes")
def mil_max_pool(node: OpNode, m: MIL) -> list[Value | None]:
    """max_pool leaves its padding out of account; with dilations or Indices a running maximum over shifted slices."""
    x, axes = _operands(node, m)
    if node.wants(1):
        y, index = _max_with_indices(node, m, x, axes)
        return [m.cast(y, node.dtype()), m.cast(index, DataType.INT64)]
    if _is_dense(axes):
        kind, pad = mil_padding(node, m, axes)
        y = m.op(
            "max_pool",
            x,
            kernel_sizes=[axis.taps for axis in axes],
            strides=[axis.stride for axis in axes],
            pad_type=kind,
            pad=pad,
        )
    else:
        y = _pad(node, m, x, axes, -math.inf)
        for place, axis in enumerate(axes, start=2):
            pieces = [_tap(m, y, place, axis, tap) for tap in range(axis.taps)]
            y = pieces[0]
            for piece in pieces[1:]:
                y = m.op("maximum", y, piece)
    return [m.cast(y, node.dtype()), *[None] * (len(node.outputs) - 1)]


def _tap(m: MIL, x: Value, index: int, axis: Axis, tap: int) -> Value:
    """The elements of padded `x` that lie under one tap of every window along one axis."""
    rank = m.rank(x)
    first, last = tap * axis.dilation, (axis.taps - 1 - tap) * axis.dilation
    begin, end, stride = [0] * rank, [0] * rank, [1] * rank
    begin[index], end[index], stride[index] = first, -last, axis.stride
    return m.op(
        "slice_by_index",
        x,
        m.i32(begin),
        m.i32(end),
        stride=stride,
        begin_mask=[int(item == 0) for item in begin],
        end_mask=[int(item == 0) for item in end],
    )


def _max_with_indices(node: OpNode, m: MIL, x: Value, axes: Sequence[Axis]) -> tuple[Value, Value]:
    """Values and int32 positions in the whole input, both [N, C, spatial...]; of equal maxima the first counts.

    Positions are counted row by row, or column by column where storage_order is 1.
    """
    shape, count = node.static(0), len(axes)
    sizes = shape[2:]
    if math.prod(shape) >= 1 << 31:
        node.refuse("Indices do not fit int32, which Core ML computes them in")
    order = range(count) if node.attr("storage_order", 0) else range(count - 1, -1, -1)
    steps, area = [0] * count, 1
    for place_of in order:
        steps[place_of] = area
        area *= sizes[place_of]
    padded = _pad(node, m, x, axes, -math.inf)
    best: Value | None = None
    where: Value | None = None
    for taps in np.ndindex(*(axis.taps for axis in axes)):
        piece, place = padded, np.zeros([1] * (count + 2), np.int64)
        for index, (axis, tap) in enumerate(zip(axes, taps, strict=True)):
            piece = _tap(m, piece, index + 2, axis, tap)
            at = np.arange(axis.out or 0) * axis.stride - axis.before + tap * axis.dilation
            line = [1] * (count + 2)
            line[index + 2] = -1
            place = place + (at * steps[index]).reshape(line)
        here = m.const(place, DataType.INT32)
        if best is None or where is None:
            best, where = piece, here
            continue
        # a product with 0 or 1 chooses: `select` with operands that broadcast is wrong on some devices
        larger = m.cast(m.op("greater", piece, best), DataType.INT32)
        where = m.op("add", where, m.op("mul", larger, m.op("sub", here, where)))
        best = m.op("maximum", best, piece)
    assert best is not None
    assert where is not None
    plane = (np.arange(shape[0] * shape[1]) * area).reshape(*shape[:2], *[1] * count)
    return best, m.op("add", where, m.const(plane, DataType.INT32))


# -- averages and norms ----------------------------------------------------------------------------------------------------


@lowering("coreml", "AveragePool")
def mil_average_pool(node: OpNode, m: MIL) -> Value:
    """avg_pool counts what lies in the data, or the whole window; any other count is a factor of each window."""
    x, axes = _operands(node, m)
    include_pad = bool(node.attr("count_include_pad", 0))
    counts = [axis.counts(include_pad=include_pad) for axis in axes]
    whole = all(count is not None and set(count) == {axis.taps} for axis, count in zip(axes, counts))
    small = all(axis.taps <= _PADDED_TAPS or not (axis.before or axis.behind) for axis in axes)
    if _is_dense(axes) and (small or any(axis.same for axis in axes)) and (whole or not include_pad):
        kind, pad = mil_padding(node, m, axes)
        y = _avg_pool(m, x, axes, kind, pad, exclude=not whole)
        return m.cast(y, node.dtype())
    y = _window_mean(node, m, _pad(node, m, x, axes), axes)
    if whole:
        return m.cast(y, node.dtype())
    known = [np.maximum(np.asarray(count), 1) for count in counts if count is not None]
    if len(known) == len(counts):
        factor = np.ones([1] * node.rank())
        for index, (axis, count) in enumerate(zip(axes, known), start=2):
            line = [1] * node.rank()
            line[index] = -1
            factor = factor * (axis.taps / count).reshape(line)
        y = m.op("mul", y, m.like(factor, y))
    elif include_pad:
        node.refuse(
            "how much padding the last windows count depends on a size that is known only at run time",
            "fix the size with --shape",
        )
    else:
        ones = m.op("fill", m.shape_of(x), m.like(1, x))
        y = m.op("real_div", y, _window_mean(node, m, _pad(node, m, ones, axes), axes))
    return m.cast(y, node.dtype())


def _avg_pool(
    m: MIL, x: Value, axes: Sequence[Axis], kind: str, pad: Sequence[int], *, exclude: bool
) -> Value:
    return m.op(
        "avg_pool",
        x,
        kernel_sizes=[axis.taps for axis in axes],
        strides=[axis.stride for axis in axes],
        pad_type=kind,
        pad=list(pad),
        exclude_padding_from_average=exclude,
    )


def _window_mean(node: OpNode, m: MIL, padded: Value, axes: Sequence[Axis]) -> Value:
    """Mean over the whole window of `padded`; dilated windows are a convolution of each channel by itself."""
    if _is_dense(axes):
        return _avg_pool(m, padded, axes, "valid", [0] * (2 * len(axes)), exclude=False)
    channels = node.dims()[1]
    if not isinstance(channels, int):
        node.refuse(
            "dilations over a number of channels that is known only at run time", "fix it with --shape"
        )
    taps = [axis.taps for axis in axes]
    return m.op(
        "conv",
        padded,
        m.like(np.full([channels, 1, *taps], 1 / math.prod(taps)), padded),
        strides=[axis.stride for axis in axes],
        pad_type="valid",
        dilations=[axis.dilation for axis in axes],
        groups=channels,
    )


@lowering("coreml", "LpPool")
def mil_lp_pool(node: OpNode, m: MIL) -> Value:
    """(sum |x|^p)^(1/p), the sum being the window's mean times its area."""
    x, axes = _operands(node, m)
    p = int(node.attr("p", 2))
    mean = _window_mean(node, m, _pad(node, m, _power(m, x, p), axes), axes)
    total = m.op("mul", mean, m.like(math.prod(axis.taps for axis in axes), mean))
    return m.cast(_root(m, total, p), node.dtype())


def _power(m: MIL, x: Value, p: int) -> Value:
    """|x|^p."""
    if p == 2:
        return m.op("mul", x, x)
    size = m.op("abs", x)
    return size if p == 1 else m.op("pow", size, m.like(p, x))


def _root(m: MIL, x: Value, p: int) -> Value:
    if p == 1:
        return x
    return m.op("sqrt", x) if p == 2 else m.op("pow", x, m.like(1 / p, x))


# -- global ----------------------------------------------------------------------------------------------------------------


@lowering("coreml", "GlobalAveragePool", "GlobalMaxPool")
def mil_global_pool(node: OpNode, m: MIL) -> Value:
    axes, x = list(range(2, node.rank())), node.input(0)
    name = "reduce_mean" if node.op_type == "GlobalAveragePool" else "reduce_max"
    return m.op(name, x, axes=axes, keep_dims=True) if axes else x


@lowering("coreml", "GlobalLpPool")
def mil_global_lp_pool(node: OpNode, m: MIL) -> Value:
    p, x = int(node.attr("p", 2)), node.input(0)
    if node.rank() <= 2:
        return _root(m, _power(m, x, p), p)
    total = m.op("reduce_sum", _power(m, x, p), axes=list(range(2, node.rank())), keep_dims=True)
    return _root(m, total, p)
