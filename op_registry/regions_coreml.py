"""Core ML's column of RoiAlign and MaxUnpool."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING

import numpy as np

from graphrewrite.ir import DataType, Value
from graphrewrite.registry import OpNode, lowering, refusal

from .interpolation import MilComputed
from .pad_coreml import mil_pad_constant
from .regions import bins, check_sampling_ratio, unpooled_shape
from .sampling_coreml import MilRows

if TYPE_CHECKING:
    from graphrewrite.targets.coreml.builder import MIL


refusal(
    "coreml",
    "MaxRoiPool",
    "the size of each pooled window depends on the data, and no op of Core ML reduces such windows",
    "export RoiAlign with a fixed sampling_ratio instead",
)


@lowering("coreml", "RoiAlign", note="sampling_ratio must be given")
def mil_roi_align(node: OpNode, m: MIL) -> Value:
    """sampling_ratio^2 bilinear samples a bin, gathered from a row for each element of the batch; their mean or maximum."""
    samples = check_sampling_ratio(node)
    shape = node.static(0)
    _, channels, height, width = shape
    outs = [int(node.attr("output_height")), int(node.attr("output_width"))]
    places = [out * samples for out in outs]
    rois = m.cast(node.input(1), DataType.FLOAT)
    axes = []
    for first, size, out in ((1, height, outs[0]), (0, width, outs[1])):
        start, end = (MilComputed(m, _column(m, rois, first + side)) for side in (0, 2))
        axes.append(bins(node, start, end, size, out, samples))
    batches = m.reshape(m.cast(node.input(2), DataType.INT32), [-1, 1, 1])
    base = m.op("mul", batches, m.i32(height * width))
    rows = MilRows(m).matrix(m.cast(node.input(0), DataType.FLOAT), shape)
    maximum = node.attr("mode") == "max"
    total: Value | None = None
    for (row, row_weight), (column, column_weight) in itertools.product(*axes):
        down = m.reshape(m.cast((row * np.float32(width)).value, DataType.INT32), [-1, places[0], 1])
        across = m.reshape(m.cast(column.value, DataType.INT32), [-1, 1, places[1]])
        piece = m.op("gather", rows, m.op("add", m.op("add", down, across), base), axis=0)
        weight = m.op(
            "mul",
            m.reshape(row_weight.value, [-1, places[0], 1, 1]),
            m.reshape(column_weight.value, [-1, 1, places[1], 1]),
        )
        piece = m.op("mul", piece, weight)
        total = piece if total is None else m.op("maximum" if maximum else "add", total, piece)
    assert total is not None
    kernel = "reduce_max" if maximum else "reduce_mean"
    inner = m.reshape(total, [-1, outs[0], samples, places[1], channels])
    inner = m.op(kernel, inner, axes=[2], keep_dims=False)
    inner = m.reshape(inner, [-1, outs[0], outs[1], samples, channels])
    inner = m.op(kernel, inner, axes=[3], keep_dims=False)
    return m.cast(m.transpose(inner, [0, 3, 1, 2]), node.dtype())


def _column(m: MIL, rois: Value, index: int) -> Value:
    """[R, 1]"""
    return m.op("slice_by_index", rois, m.i32([0, index]), m.i32([0, index + 1]), end_mask=[1, 0])


@lowering("coreml", "MaxUnpool", note="static sizes")
def mil_max_unpool(node: OpNode, m: MIL) -> Value:
    """Values put back to the places that MaxPool's Indices name, zeros elsewhere. Where windows overlap, both write one value."""
    whole, wanted = unpooled_shape(node)
    nothing = m.op("fill", m.i32([math.prod(whole)]), m.like(0, node.input(0)))
    index = m.reshape(m.cast(node.input(1), DataType.INT32), [-1])
    y = m.op("scatter", nothing, index, m.reshape(node.input(0), [-1]), axis=0, mode="update")
    behind = {
        axis: (0, want - has)
        for axis, (want, has) in enumerate(zip(wanted, whole, strict=True))
        if want > has
    }
    return mil_pad_constant(m, m.reshape(y, whole), behind, None)
