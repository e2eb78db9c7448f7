"""Pools: MaxPool, AveragePool, LpPool over windows, and their global forms."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from graphrewrite.ir import DataType, Value, dims, refine
from graphrewrite.registry import Onnx, OpNode, lowering

from .views import crop, dim_value, insert_axis, merge, remove_axis, reshape_to, strided_slice
from .window import UNIT, Axis, frame, lowest, pad_front, resolve, spatial_attributes, window_axes

if TYPE_CHECKING:
    from graphrewrite.targets.tflite.builder import TFLite


# -- maximum ---------------------------------------------------------------------------------------------------------------


@lowering("tflite", "MaxPool", note="Indices need static sizes")
def max_pool(node: OpNode, t: TFLite) -> list[Value | None]:
    """MAX_POOL_2D where it is one; with dilations or Indices a running maximum over shifted slices."""
    dtype, x = _computed(node, t)
    x, axes = _axes(node, t, x)
    fill = lowest((x.dtype or dtype).numpy())
    if node.wants(1):
        value, index = _max_with_indices(node, t, x, axes, fill)
        return [t.to_first(t.cast(value, dtype)), t.cast(t.to_first(index), DataType.INT64)]
    if _has_native(axes):
        y = _native(t, "MAX_POOL_2D", x, axes, fill)
    else:
        y = _over_taps(t, "MAXIMUM", pad_front(t, x, axes, fill), axes)
    return [t.to_first(t.cast(y, dtype)), *[None] * (len(node.outputs) - 1)]


@lowering("openvino", "MaxPool")
def max_pool_of_whole_windows(node: OpNode, b: Onnx) -> Sequence[Value | None]:
    """Sizes rounded up as padding behind: ONNX leaves out a last window that starts there, OpenVINO keeps it."""
    if not node.attr("ceil_mode") or node.attr("auto_pad") != "NOTSET":
        return node.outputs
    kernel = node.attr("kernel_shape")
    count = len(kernel)
    strides, dilations, pads = spatial_attributes(node, count)
    for i in range(count):
        size, extent = node.dims()[i + 2], (kernel[i] - 1) * dilations[i] + 1
        if isinstance(size, int):
            axis = resolve(
                size, kernel[i], strides[i], dilations[i], pads[i], pads[i + count], "NOTSET", True
            )
            assert axis.out is not None
            pads[i + count] = max(pads[i + count], (axis.out - 1) * strides[i] + extent - size - pads[i])
        elif strides[i] + pads[i + count] > extent:
            node.not_implemented(
                "ceil_mode where the last window may start in the padding", "fix the size with --shape"
            )
        else:
            return node.outputs
    attributes = {
        name: item for name, item in node.node.attributes.items() if name not in ("ceil_mode", "pads")
    }
    return b.ops("MaxPool", node.input(0), outputs=len(node.outputs), pads=pads, **attributes)


@lowering("openvino", "AveragePool")
def average_pool_of_counted_padding(node: OpNode, b: Onnx) -> Sequence[Value | None]:
    """Sizes rounded up, with the padding counted, as padded data: OpenVINO also counts what lies behind the padding."""
    kernel = node.attr("kernel_shape")
    count = len(kernel)
    strides, dilations, pads = spatial_attributes(node, count)
    counts_pads = node.attr("ceil_mode") and node.attr("count_include_pad") and any(pads)
    if not counts_pads or node.attr("auto_pad") != "NOTSET":
        return node.outputs
    for i in range(count):
        size, extent, after = node.dims()[i + 2], (kernel[i] - 1) * dilations[i] + 1, pads[i + count]
        if isinstance(size, int):
            axis = resolve(size, kernel[i], strides[i], dilations[i], pads[i], after, "NOTSET", True)
            assert axis.out is not None
            read = (axis.out - 1) * strides[i] + extent
            pads[i + count] = min(after, max(read - size - pads[i], 0))
        elif strides[i] + after > extent:
            node.not_implemented(
                "ceil_mode where the last window may start in the padding", "fix the size with --shape"
            )
    padded = b.op("Pad", node.input(0), b.i64([0, 0, *pads[:count], 0, 0, *pads[count:]]))
    unset = ("pads", "count_include_pad")
    attributes = {name: item for name, item in node.node.attributes.items() if name not in unset}
    return [b.op("AveragePool", padded, **attributes)]


def _computed(node: OpNode, t: TFLite) -> tuple[DataType, Value]:
    """The element type, and the operand channels-last in a type that the pools compute in."""
    dtype = node.dtype()
    if dtype == DataType.DOUBLE:
        node.refuse("TFLite has no pool of float64", "export the model in float32")
    wide = dtype if dtype in (DataType.INT8, DataType.UINT8) else DataType.FLOAT
    return dtype, t.to_last(t.cast(node.input(0), wide))


def _axes(node: OpNode, t: TFLite, x: Value) -> tuple[Value, list[Axis]]:
    check_auto_pad(node)
    return window_axes(node, t, x, node.attr("kernel_shape"), ceil=bool(node.attr("ceil_mode", 0)))


def check_auto_pad(node: OpNode) -> None:
    """Refuse the padding of dilated windows that ONNX and ONNX Runtime read differently.

    Raises:
        Refusal: SAME padding with dilations.
    """
    if str(node.attr("auto_pad", "NOTSET")).startswith("SAME") and max(node.attr("dilations") or [1]) > 1:
        node.refuse(
            "auto_pad with dilations: ONNX pads for the dilated window, ONNX Runtime for the dense one",
            "write the pads out",
        )


def _has_native(axes: Sequence[Axis]) -> bool:
    return len(axes) <= 3 and all(axis.dilation == 1 for axis in axes)


def _over_taps(t: TFLite, name: str, x: Value, axes: Sequence[Axis]) -> Value:
    """A window of padded `x` [N, spatial..., C], one axis after the other, as MAXIMUM or ADD of shifted slices."""
    options = {"fused_activation_function": "NONE"} if name == "ADD" else {}
    for index, axis in enumerate(axes, start=1):
        total = _tap(t, x, index, axis, 0)
        for tap in range(1, axis.taps):
            total = t.op(name, total, _tap(t, x, index, axis, tap), **options)
        x = total
    return x


def _tap(t: TFLite, x: Value, index: int, axis: Axis, tap: int) -> Value:
    """The elements of padded `x` that lie under one tap of every window along one axis."""
    start = tap * axis.dilation
    piece = crop(t, x, {index: (start, axis.extent - 1 - start)})
    if axis.stride > 1:
        piece = strided_slice(t, piece, {index: (0, None, axis.stride)})
    return piece


def _max_with_indices(
    node: OpNode, t: TFLite, x: Value, axes: list[Axis], fill: float | int
) -> tuple[Value, Value]:
    """Values and int32 positions in the whole input, both [N, spatial..., C]; of equal maxima the first counts.

    Positions are counted row by row, or column by column where storage_order is 1.
    """
    shape = node.static(0)
    sizes, count = shape[2:], len(axes)
    if math.prod(shape) >= 1 << 31:
        node.refuse("Indices do not fit int32, which TFLite computes them in")
    order = range(count) if node.attr("storage_order", 0) else range(count - 1, -1, -1)
    steps, step = [0] * count, 1
    for place_of in order:
        steps[place_of] = step
        step *= sizes[place_of]
    if x.dtype != DataType.FLOAT:
        x = t.cast(
            x, DataType.INT32
        )  # the comparisons and selections of 8-bit types would be widened one by one
    padded = pad_front(t, x, axes, fill)
    best: Value | None = None
    where: Value | None = None
    for taps in np.ndindex(*(axis.taps for axis in axes)):
        piece, place = padded, np.zeros([1] * (count + 2), np.int32)
        for index, (axis, tap) in enumerate(zip(axes, taps), start=1):
            piece = _tap(t, piece, index, axis, tap)
            assert axis.out is not None
            at = np.arange(axis.out) * axis.stride - axis.before + tap * axis.dilation
            line = [1] * (count + 2)
            line[index] = axis.out
            place = place + (at * steps[index - 1]).astype(np.int32).reshape(line)
        here = t.rewriter.constant(place)
        if best is None or where is None:
            best, where = piece, here
            continue
        larger = t.op("GREATER", piece, best)
        best = t.op("SELECT_V2", larger, piece, best)
        where = t.op("SELECT_V2", larger, here, where)
    assert best is not None
    assert where is not None
    plane = np.arange(shape[0] * shape[1], dtype=np.int32).reshape(shape[0], *[1] * count, shape[1]) * step
    where = t.op("ADD", where, t.rewriter.constant(plane.astype(np.int32)), fused_activation_function="NONE")
    return best, where


# -- native pools ----------------------------------------------------------------------------------------------------------


def _native(t: TFLite, name: str, x: Value, axes: Sequence[Axis], fill: float | int) -> Value:
    """A separable pool of x [N, spatial..., C] over one, two or three axes through TFLite's two-dimensional ones."""
    if len(axes) == 1:
        return remove_axis(t, _pool_2d(t, name, insert_axis(t, x, 1), [UNIT, *axes], fill), 1)
    if len(axes) == 2:
        return _pool_2d(t, name, x, axes, fill)
    # Depth first, with height and width as one axis; then height and width, with the depth in the batch.
    sizes = [dim_value(t, x, index) for index in range(5)]
    flat = merge(t, x, [[0], [1], [2, 3], [4]])
    area = (dims(flat) or (None,) * 4)[2]
    through = Axis(
        area if isinstance(area, int) else None, 1, 1, 1, 0, 0, area if isinstance(area, int) else None
    )
    flat = _pool_2d(t, name, flat, [axes[0], through], fill)
    deep = dim_value(t, flat, 1)
    planes = reshape_to(t, flat, [sizes[0], deep, *sizes[2:]])
    planes = _pool_2d(t, name, merge(t, planes, [[0, 1], [2], [3], [4]]), axes[1:], fill)
    return reshape_to(t, planes, [sizes[0], deep, *(dim_value(t, planes, index) for index in (1, 2, 3))])


def _pool_2d(t: TFLite, name: str, x: Value, axes: Sequence[Axis], fill: float | int) -> Value:
    x, padding = frame(t, x, axes, fill)
    return t.op(
        name,
        x,
        padding=padding,
        stride_h=axes[0].stride,
        stride_w=axes[1].stride,
        filter_height=axes[0].taps,
        filter_width=axes[1].taps,
        fused_activation_function="NONE",
    )


# -- averages and norms ----------------------------------------------------------------------------------------------------


@lowering("tflite", "AveragePool")
def average_pool(node: OpNode, t: TFLite) -> Value:
    """TFLite's SAME counts what lies in the data, VALID the whole window; any other count is a factor of each window."""
    dtype, x = _computed(node, t)
    x, axes = _axes(node, t, x)
    include_pad = bool(node.attr("count_include_pad", 0))
    same = not include_pad and all(axis.is_same() for axis in axes)
    if _has_native(axes) and (same or all(axis.is_valid() for axis in axes)):
        return t.to_first(t.cast(_native(t, "AVERAGE_POOL_2D", x, axes, 0), dtype))
    y = _window_mean(t, pad_front(t, x, axes), axes)
    counts = [axis.counts(include_pad=include_pad) for axis in axes]
    if all(count is not None for count in counts):
        factor = np.ones([1] * (len(axes) + 2), np.float32)
        for index, (axis, count) in enumerate(zip(axes, counts), start=1):
            line = [1] * (len(axes) + 2)
            line[index] = -1
            factor = factor * (axis.taps / np.maximum(np.asarray(count), 1)).astype(np.float32).reshape(line)
        if not np.all(factor == 1):
            y = t.op("MUL", y, t.rewriter.constant(factor), fused_activation_function="NONE")
    else:
        share = _window_mean(t, _counted(t, x, axes, include_pad=include_pad), axes)
        y = t.op("DIV", y, share, fused_activation_function="NONE")
    return t.to_first(t.cast(y, dtype))


def _window_mean(t: TFLite, padded: Value, axes: Sequence[Axis]) -> Value:
    """Mean over the whole window of `padded` [N, spatial..., C]."""
    if _has_native(axes):
        return _native(t, "AVERAGE_POOL_2D", padded, [_unpadded(axis) for axis in axes], 0)
    total = _over_taps(t, "ADD", padded, axes)
    area = math.prod(axis.taps for axis in axes)
    return t.op("MUL", total, t.like(1 / area, total), fused_activation_function="NONE")


def _unpadded(axis: Axis) -> Axis:
    """The axis after its padding has been written out."""
    if axis.size is None or axis.out is None:
        return Axis(None, axis.taps, axis.stride, axis.dilation, 0, 0, None)
    return Axis(axis.before + axis.size + axis.behind, axis.taps, axis.stride, axis.dilation, 0, 0, axis.out)


def _counted(t: TFLite, x: Value, axes: Sequence[Axis], *, include_pad: bool) -> Value:
    """1 where an average counts, 0 elsewhere, over padded `x`, for sizes that are known only at run time."""
    sizes = [dim_value(t, x, index) for index in range(1, len(axes) + 1)]
    shape = t.op("CONCATENATION", t.i32([1]), *sizes, t.i32([1]), axis=0)
    ones = t.op("FILL", shape, t.like(1, x))
    refine(ones, None, (1, *(axis.size for axis in axes), 1))
    if not include_pad:
        return pad_front(t, ones, axes)
    amount = t.i32([[0, 0], *([axis.before, axis.after] for axis in axes), [0, 0]])
    ones = t.op("PADV2", ones, amount, t.like(1, x))
    rest = t.i32([[0, 0], *([0, axis.behind - axis.after] for axis in axes), [0, 0]])
    return t.op("PAD", ones, rest)


@lowering("tflite", "LpPool")
def lp_pool(node: OpNode, t: TFLite) -> Value:
    """(sum |x|^p)^(1/p), the sum being the window's mean times its area."""
    dtype, x = _computed(node, t)
    x, axes = _axes(node, t, x)
    p = node.attr("p", 2)
    mean = _window_mean(t, pad_front(t, _power(t, x, p), axes), axes)
    area = math.prod(axis.taps for axis in axes)
    total = t.op("MUL", mean, t.like(area, mean), fused_activation_function="NONE")
    return t.to_first(t.cast(_root(t, total, p), dtype))


def _power(t: TFLite, x: Value, p: int) -> Value:
    if p == 2:
        return t.op("MUL", x, x, fused_activation_function="NONE")
    size = t.op("ABS", x)
    return size if p == 1 else t.op("POW", size, t.like(p, x))


def _root(t: TFLite, x: Value, p: int) -> Value:
    if p == 1:
        return x
    return t.op("SQRT", x) if p == 2 else t.op("POW", x, t.like(1 / p, x))


# -- global ----------------------------------------------------------------------------------------------------------------


@lowering("tflite", "GlobalAveragePool", "GlobalMaxPool")
def global_pool(node: OpNode, t: TFLite) -> Value:
    axes = list(range(2, node.rank()))
    name = "MEAN" if node.op_type == "GlobalAveragePool" else "REDUCE_MAX"
    return t.op(name, node.input(0), t.i32(axes), keep_dims=True) if axes else node.input(0)


@lowering("tflite", "GlobalLpPool")
def global_lp_pool(node: OpNode, t: TFLite) -> Value:
    p, dtype = node.attr("p", 2), node.dtype()
    x = t.cast(node.input(0), DataType.FLOAT) if dtype == DataType.FLOAT16 else node.input(0)
    total = t.op("SUM", _power(t, x, p), t.i32(list(range(2, node.rank()))), keep_dims=True)
    return t.cast(_root(t, total, p), dtype)
