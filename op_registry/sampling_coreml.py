"""Core ML's column of GridSample, AffineGrid and DeformConv.

`resample` where it is known to mean the same, elsewhere gathered rows. Positions are computed in float32 in every precision.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from graphrewrite.errors import Code
from graphrewrite.ir import Array, DataType, Value, rank
from graphrewrite.registry import OpNode, lowering

from . import interpolation as formula
from .interpolation import MilComputed, single
from .sampling import check_modes
from .sampling_rows import Rows

if TYPE_CHECKING:
    from graphrewrite.targets.coreml.builder import MIL


class MilRows(Rows):
    """In Core ML's ops."""

    index = DataType.INT32

    def op(self, name: str, *operands: Value, **attributes: Any) -> Value:
        made: Value = self.builder.op(name.lower(), *operands, **attributes)
        return made

    def transpose(self, x: Value, perm: Sequence[int]) -> Value:
        made: Value = self.builder.transpose(x, perm)
        return made

    def places(self, content: Array | Sequence[int]) -> Value:
        made: Value = self.builder.i32(content)
        return made

    def element(self, x: Value, axis: int, position: int) -> MilComputed:
        begin, end = np.zeros((2, rank(x) or 0), np.int32)
        begin[axis], end[axis] = position, position + 1
        kept = [int(index != axis) for index in range(len(begin))]
        part = self.builder.op("slice_by_index", x, self.places(begin), self.places(end), end_mask=kept)
        return MilComputed(self.builder, self.builder.op("squeeze", part, axes=[axis]))

    def pointwise(self, x: Value, weights: Value, bias: Value | None, group: int) -> Value:
        m = self.builder
        y: Value = m.op(
            "conv",
            x,
            weights,
            strides=[1, 1],
            pad_type="valid",
            dilations=[1, 1],
            groups=group,
        )
        return y if bias is None else m.op("add", y, m.reshape(bias, [1, -1, 1, 1]))


@lowering("coreml", "GridSample", note="other than bilinear sampling of images of static sizes only")
def mil_grid_sample(node: OpNode, m: MIL) -> Value:
    """MIL does not say how resample's `nearest` rounds, nor how it reflects at the border between elements."""
    count = node.rank() - 2
    mode, padding, align = check_modes(node)
    x, grid = m.cast(node.input(0), DataType.FLOAT), m.cast(node.input(1), DataType.FLOAT)
    if count == 2 and mode == "linear" and (padding != "reflection" or align):
        y = m.op(
            "resample",
            x,
            grid,
            sampling_mode="bilinear",
            padding_mode="constant" if padding == "zeros" else padding,
            padding_value=0.0,
            coordinates_mode="normalized_minus_one_to_one",
            align_corners=align,
        )
        return m.cast(y, node.dtype())
    return m.cast(MilRows(m).grid_sample(node, x, grid), node.dtype())


@lowering("coreml", "AffineGrid")
def mil_affine_grid(node: OpNode, m: MIL) -> Value:
    """theta [N, k, k + 1] applied to the centres of the elements (or, corners aligned, from end to end) of size [N, C, ...]."""
    count, sizes = node.static(0)[1] if node.rank() == 3 else 0, node.ints(1)
    if count not in (2, 3):
        node.refuse("theta must be [N, 2, 3] or [N, 3, 4]", code=Code.INVALID_MODEL)
    theta, lines = m.cast(node.input(0), DataType.FLOAT), []
    for axis in range(count):
        size = None if sizes is None else sizes[axis + 2]
        centred = _centres(node, m, axis + 2, size, align=bool(node.attr("align_corners")))
        shape = [1, *(-1 if index == axis else 1 for index in range(count))]
        known = isinstance(centred, np.ndarray)
        lines.append(centred.reshape(shape) if known else MilComputed(m, m.reshape(centred.value, shape)))
    coordinates = []
    for row in range(count):
        cells = [MilComputed(m, _cell(m, theta, row, column, count)) for column in range(count + 1)]
        total: formula.Number = cells[count]
        for axis, line in enumerate(reversed(lines)):  # x runs along the last axis
            total = total + cells[axis] * line
        coordinates.append(total.value)
    return m.cast(m.op("stack", *coordinates, axis=count + 1), node.dtype())


def _centres(node: OpNode, m: MIL, position: int, size: int | None, *, align: bool) -> formula.Number:
    """Where the elements of an axis lie between -1 and 1; its size is element `position` of the second operand."""
    place: formula.Number
    number: formula.Number
    if size is None:
        given = m.op("slice_by_size", m.cast(node.input(1), DataType.INT32), m.i32([position]), m.i32([1]))
        steps = m.op("range_1d", m.reshape(given, []), m.i32(0), m.i32(1))
        place, number = (MilComputed(m, single(m.cast(value, DataType.FLOAT))) for value in (steps, given))
    else:
        place, number = np.arange(size, dtype=np.float32), np.float32(size)
    if align:
        return place * 2 / formula.most(number - 1, np.float32(1)) - 1
    return (place * 2 + 1) / number - 1


def _cell(m: MIL, theta: Value, row: int, column: int, count: int) -> Value:
    """theta[:, row, column] as [N, 1, ...]."""
    begin, end = m.i32([0, row, column]), m.i32([0, row + 1, column + 1])
    return m.reshape(m.op("slice_by_index", theta, begin, end, end_mask=[1, 0, 0]), [-1, *[1] * count])


@lowering("coreml", "DeformConv", note="two spatial dimensions of static size")
def mil_deform_conv(node: OpNode, m: MIL) -> Value:
    return m.cast(MilRows(m).deform_conv(node), node.dtype())
