"""Operators that place or read regions: RoiAlign, MaxRoiPool, MaxUnpool, Col2Im."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING

import numpy as np

from graphrewrite.ir import DataType, Value
from graphrewrite.registry import Onnx, OpNode, expansion, lowering, refusal

from . import interpolation as formula
from .views import dim_value, merge, pad_zeros, reshape_to
from .window import spatial_attributes

if TYPE_CHECKING:
    from graphrewrite.targets.tflite.builder import TFLite

refusal(
    "tflite",
    "MaxRoiPool",
    "the size of each pooled window depends on the data, and no TFLite operator reduces such windows",
    "export RoiAlign with a fixed sampling_ratio instead",
)


def check_sampling_ratio(node: OpNode) -> int:
    """RoiAlign's sampling_ratio.

    Raises:
        Refusal: it is 0.
    """
    samples = node.attr("sampling_ratio")
    if samples <= 0:
        node.refuse(
            "sampling_ratio 0 makes the number of samples depend on each region's size",
            "export with a fixed sampling_ratio",
        )
    return int(samples)


@lowering("tflite", "RoiAlign", note="sampling_ratio must be given")
def roi_align(node: OpNode, t: TFLite) -> Value:
    """sampling_ratio^2 bilinear samples a bin, gathered from the flattened batch, then their mean or maximum."""
    samples = check_sampling_ratio(node)
    dtype, channels = node.dtype(), node.dims()[1]
    x = t.to_last(t.cast(node.input(0), DataType.FLOAT))
    _, _, height, width = (node.dims()[axis] for axis in range(4))
    if not (isinstance(height, int) and isinstance(width, int) and isinstance(channels, int)):
        node.refuse("the feature map's size is known only at run time", "fix it with --shape")
    outs = [node.attr("output_height"), node.attr("output_width")]
    rois = t.cast(node.input(1), DataType.FLOAT)
    axes = []
    for first, size, out in ((1, height, outs[0]), (0, width, outs[1])):
        start, end = (
            formula.Computed(t, t.op("SLICE", rois, t.i32([0, first + side]), t.i32([-1, 1])))
            for side in (0, 2)
        )
        axes.append(bins(node, start, end, size, out, samples))
    batches = t.reshape(t.cast(node.input(2), DataType.INT32), [-1, 1, 1])
    base = t.op("MUL", batches, t.i32([height * width]), fused_activation_function="NONE")
    flat = reshape_to(t, merge(t, x, [[0, 1, 2], [3]]), [_rows(t, x, height * width), channels])
    rows = [
        (
            t.reshape(t.cast((row * np.float32(width)).value, DataType.INT32), [-1, outs[0] * samples, 1]),
            t.reshape(weight.value, [-1, outs[0] * samples, 1, 1]),
        )
        for row, weight in axes[0]
    ]
    columns = [
        (
            t.reshape(t.cast(column.value, DataType.INT32), [-1, 1, outs[1] * samples]),
            t.reshape(weight.value, [-1, 1, outs[1] * samples, 1]),
        )
        for column, weight in axes[1]
    ]
    results: list[Value] = []
    for (row, row_weight), (column, column_weight) in itertools.product(rows, columns):
        at = t.op("ADD", row, column, fused_activation_function="NONE")
        at = t.op("ADD", at, base, fused_activation_function="NONE")
        weight = t.op("MUL", row_weight, column_weight, fused_activation_function="NONE")
        piece = t.op("GATHER", flat, at, axis=0, batch_dims=0)
        results.append(t.op("MUL", piece, weight, fused_activation_function="NONE"))
    maximum = node.attr("mode") == "max"
    total = results[0]
    for piece in results[1:]:
        total = (
            t.op("MAXIMUM", total, piece)
            if maximum
            else t.op("ADD", total, piece, fused_activation_function="NONE")
        )
    inner = t.reshape(total, [-1, outs[0], samples, outs[1] * samples, channels])
    name = "REDUCE_MAX" if maximum else "MEAN"
    inner = t.op(name, inner, t.i32([2]), keep_dims=False)
    inner = t.op(
        name, t.reshape(inner, [-1, outs[0], outs[1], samples, channels]), t.i32([3]), keep_dims=False
    )
    return t.cast(t.to_first(inner), dtype)


def _rows(t: TFLite, x: Value, area: int) -> int | Value:
    batch = dim_value(t, x, 0)
    return t.op("MUL", batch, t.i32([area]), fused_activation_function="NONE")


def bins(
    node: OpNode, start: formula.Computed, end: formula.Computed, size: int, out: int, samples: int
) -> list[tuple[formula.Computed, formula.Computed]]:
    """The two elements and weights of every sample along one axis, [regions, out * samples] each; start and end [regions, 1]."""
    half = node.attr("coordinate_transformation_mode") == "half_pixel"
    scale = np.float32(node.attr("spatial_scale"))
    start, end = start * scale, end * scale
    if half:
        start, end = start - np.float32(0.5), end - np.float32(0.5)
    extent = end - start
    if not half:
        extent = formula.most(extent, np.float32(1))
    place = np.arange(out * samples)
    share = (place // samples + (place % samples + 0.5) / samples).astype(np.float32).reshape(1, -1)
    x = start + extent / np.float32(out) * share
    within = (1 - formula.positive(-1 - x)) * (1 - formula.positive(x - np.float32(size)))
    x = formula.clip(x, np.float32(0), np.float32(size - 1))
    low = formula.floor(x)
    high = formula.least(low + 1, np.float32(size - 1))
    part = x - low
    return [(low, (1 - part) * within), (high, part * within)]


def unpooled_shape(node: OpNode) -> tuple[list[int], list[int]]:
    """The shape that the places of MaxUnpool are counted in, and the one that it is to have.

    Raises:
        Refusal: output_shape is no constant.
    """
    shape = node.static(0)
    count = len(shape) - 2
    kernel = node.attr("kernel_shape")
    strides, _, pads = spatial_attributes(node, count)
    spatial = [(shape[i + 2] - 1) * strides[i] - pads[i] - pads[i + count] + kernel[i] for i in range(count)]
    whole = [*shape[:2], *spatial]
    wanted = node.ints(2) if node.has(2) else whole
    if wanted is None:
        node.refuse("output_shape is computed at run time", "make it a constant")
    return whole, list(wanted)


@lowering("tflite", "MaxUnpool", note="static sizes")
def max_unpool(node: OpNode, t: TFLite) -> Value:
    """Values put back to the places that MaxPool's Indices name, zeros elsewhere.

    SCATTER_ND adds what shares a place. Overlapping windows can name one place twice, with one value: then the sum is
    divided by the count.
    """
    whole, wanted = unpooled_shape(node)
    kernel, strides = node.attr("kernel_shape"), spatial_attributes(node, len(whole) - 2)[0]
    total = math.prod(whole)
    index = t.reshape(t.cast(node.input(1), DataType.INT32), [-1, 1])
    values = t.reshape(node.input(0), [-1])
    y = t.op("SCATTER_ND", index, values, t.i32([total]))
    if any(size > step for size, step in zip(kernel, strides)):
        ones = t.const(np.ones(math.prod(node.static(0))), DataType.FLOAT)
        times = t.op("SCATTER_ND", index, ones, t.i32([total]))
        times = t.op("MAXIMUM", times, t.like(1, times))
        y = t.op("DIV", y, t.cast(times, y.dtype or DataType.FLOAT), fused_activation_function="NONE")
    y = t.reshape(y, whole)
    return pad_zeros(t, y, {axis: (0, want - has) for axis, (want, has) in enumerate(zip(wanted, whole))})


@expansion("MaxUnpool")
def values_put_back(node: OpNode, b: Onnx) -> Value:
    """Values put back to the places that MaxPool's Indices name, zeros elsewhere; what shares a place is equal."""
    whole, wanted = unpooled_shape(node)
    if wanted != whole:
        node.refuse(
            "output_shape: ONNX counts Indices in the shape without it, ONNX Runtime in the shape that it gives",
            "leave it out, and put a Pad behind",
        )
    x, index = b.reshape(node.input(0), [-1]), b.reshape(node.input(1), [-1])
    zeros = b.op("Expand", b.like(0, x), b.i64([math.prod(whole)]))
    return b.reshape(b.op("ScatterElements", zeros, index, x, axis=0), whole)


@expansion("Col2Im")
def col2im(node: OpNode, b: Onnx) -> Value:
    """Adding up blocks is a transposed convolution whose weights put each row of the block to its place."""
    image, block = node.ints(1), node.ints(2)
    if image is None or block is None:
        node.refuse("image_shape or block_shape is computed at run time", "make them constants")
    count, taps = len(image), math.prod(block)
    strides, dilations, pads = spatial_attributes(node, count)
    if count > 3:
        node.refuse(f"TFLite's convolutions have at most three spatial dimensions, this one has {count}")
    _, rows, _ = node.dims()
    if not isinstance(rows, int):
        node.refuse("the number of channels is known only at run time", "fix it with --shape")
    extents = [(size - 1) * step + 1 for size, step in zip(block, dilations)]
    padded = [image[i] + pads[i] + pads[i + count] for i in range(count)]
    places = [(padded[i] - extents[i]) // strides[i] + 1 for i in range(count)]
    rest = [padded[i] - ((places[i] - 1) * strides[i] + extents[i]) for i in range(count)]
    x = b.reshape(node.input(0), [-1, taps, *places])
    weights = b.like(np.eye(taps).reshape(taps, 1, *block), node.input(0))
    y = b.op(
        "ConvTranspose",
        x,
        weights,
        kernel_shape=list(block),
        strides=strides,
        dilations=dilations,
        pads=pads,
        output_padding=rest,
    )
    return b.reshape(y, [-1, rows // taps, *image])
