"""Core ML's column of GridSample, AffineGrid and DeformConv.

`resample` where it is known to mean the same; elsewhere elements and weights along each axis, gathered from a matrix of one row
for each element of the map. Positions are computed in float32 in every precision.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from graphrewrite.errors import Code
from graphrewrite.ir import DataType, Value
from graphrewrite.registry import OpNode, lowering

from . import interpolation as formula
from .interpolation import MilComputed, single
from .sampling import axis_taps, check_modes
from .window import spatial_attributes

if TYPE_CHECKING:
    from graphrewrite.targets.coreml.builder import MIL


def mil_rows(m: MIL, x: Value, shape: Sequence[int]) -> Value:
    """`x` of `shape` [N, C, spatial...] as one row [C] for each element of each map: [N * product of sizes, C]."""
    area = math.prod(shape[2:])
    flat = m.transpose(m.reshape(x, [shape[0], shape[1], area]), [0, 2, 1])
    return m.reshape(flat, [shape[0] * area, shape[1]])


def mil_sample(
    m: MIL,
    rows: Value,
    first: Value,
    positions: Sequence[MilComputed],
    sizes: Sequence[int],
    *,
    mode: str = "linear",
    padding: str = "zeros",
    align_corners: bool = False,
) -> Value:
    """Values [P, C] of `rows` at `positions` [P], one for each spatial axis; `first` int32 [P]: where each point's map begins."""
    taps: list[list[tuple[Value, formula.Number]]] = []
    step = 1
    for place, size in reversed(list(zip(positions, sizes, strict=True))):
        found = axis_taps(place, np.float32(size), mode, padding, align_corners)
        taps.append(
            [(_times(m, m.cast(element.value, DataType.INT32), step), weight) for element, weight in found]
        )
        step *= size
    total: Value | None = None
    for combination in itertools.product(*taps):
        index, weight = first, None
        for more, share in combination:
            index = m.op("add", index, more)
            weight = share if weight is None else weight if share is None else weight * share
        piece = m.op("gather", rows, index, axis=0)
        if weight is not None:
            piece = m.op("mul", piece, m.reshape(weight.value, [-1, 1]))
        total = piece if total is None else m.op("add", total, piece)
    assert total is not None
    return total


def _times(m: MIL, index: Value, step: int) -> Value:
    return index if step == 1 else m.op("mul", index, m.i32(step))


def _column(m: MIL, points: Value, index: int) -> MilComputed:
    """Element `index` of each row of points [P, k]."""
    part = m.op("slice_by_index", points, m.i32([0, index]), m.i32([0, index + 1]), end_mask=[1, 0])
    return MilComputed(m, m.reshape(part, [-1]))


@lowering("coreml", "GridSample", note="other than bilinear sampling of images of static sizes only")
def mil_grid_sample(node: OpNode, m: MIL) -> Value:
    """Positions -1 to 1 as elements; x [N, C, spatial...], grid [N, out..., number of spatial axes], last axis first.

    MIL does not say how resample's `nearest` rounds, nor how it reflects at the border between elements.
    """
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
    shape, outs = node.static(0), node.static(1)[1:-1]
    points = m.reshape(grid, [-1, count])
    positions = []
    for axis, size in enumerate(shape[2:]):
        place = _column(m, points, count - 1 - axis)
        if align:
            positions.append((place + 1) / np.float32(2) * np.float32(size - 1))
        else:
            positions.append(((place + 1) * np.float32(size) - 1) / np.float32(2))
    first = m.i32(np.repeat(np.arange(shape[0]) * math.prod(shape[2:]), math.prod(outs)).tolist())
    y = mil_sample(
        m, mil_rows(m, x, shape), first, positions, shape[2:], mode=mode, padding=padding, align_corners=align
    )
    y = m.transpose(m.reshape(y, [shape[0], math.prod(outs), shape[1]]), [0, 2, 1])
    return m.cast(m.reshape(y, [shape[0], shape[1], *outs]), node.dtype())


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
    """Every tap of every window is sampled at its own offset; what remains is a 1x1 convolution over channels and taps."""
    if node.rank() != 4:
        node.refuse("ONNX Runtime and this lowering define DeformConv for two spatial dimensions only")
    batch, channels, height, width = node.static(0)
    out, per_group, *kernel = node.static(1)
    _, _, rows, columns = node.static(2)
    strides, dilations, pads = spatial_attributes(node, 2)
    parts, group, taps = node.attr("offset_group"), node.attr("group"), math.prod(kernel)
    if per_group * group != channels:
        node.refuse("the weights' channels times group are not the input's channels", code=Code.INVALID_MODEL)
    places, share, area = rows * columns, channels // parts, height * width
    x = m.cast(node.input(0), DataType.FLOAT)
    offset = m.reshape(m.cast(node.input(2), DataType.FLOAT), [batch * parts, taps, 2, places])
    mask = m.reshape(m.cast(node.input(4), DataType.FLOAT), [-1, 1]) if node.has(4) else None
    cell = np.indices((*kernel, rows, columns)).reshape(4, 1, taps, places)
    positions = []
    for i in range(2):
        moved = m.op(
            "slice_by_index", offset, m.i32([0, 0, i, 0]), m.i32([0, 0, i + 1, 0]), end_mask=[1, 1, 0, 1]
        )
        base = cell[i + 2] * strides[i] - pads[i] + cell[i] * dilations[i]
        place = MilComputed(m, m.reshape(moved, [batch * parts, taps, places])) + base.astype(np.float32)
        positions.append(MilComputed(m, m.reshape(place.value, [-1])))
    first = m.i32(np.repeat(np.arange(batch * parts) * area, taps * places).tolist())
    maps = mil_rows(m, x, [batch * parts, share, height, width])
    values = mil_sample(m, maps, first, positions, [height, width])
    if mask is not None:
        values = m.op("mul", values, mask)
    sampled = m.transpose(m.reshape(values, [batch * parts, taps * places, share]), [0, 2, 1])
    weights = m.reshape(m.cast(node.input(1), DataType.FLOAT), [out, per_group * taps, 1, 1])
    y = m.op(
        "conv",
        m.reshape(sampled, [batch, channels * taps, rows, columns]),
        weights,
        strides=[1, 1],
        pad_type="valid",
        dilations=[1, 1],
        groups=int(group),
    )
    if node.has(3):
        y = m.op("add", y, m.reshape(m.cast(node.input(3), DataType.FLOAT), [1, -1, 1, 1]))
    return m.cast(y, node.dtype())
