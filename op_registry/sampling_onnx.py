"""GridSample and DeformConv in simpler ONNX ops: elements and weights along each axis, gathered from a matrix of one row for
each element of the map."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from graphrewrite.errors import Code
from graphrewrite.ir import DataType, Value
from graphrewrite.registry import Onnx, OpNode, expansion

from . import interpolation as formula
from .sampling import axis_taps, check_modes
from .window import spatial_attributes

_OPS = {
    "ADD": "Add",
    "SUB": "Sub",
    "MUL": "Mul",
    "DIV": "Div",
    "MINIMUM": "Min",
    "MAXIMUM": "Max",
    "FLOOR": "Floor",
    "CEIL": "Ceil",
    "ABS": "Abs",
    "ROUND": "Round",
}


class OnnxComputed(formula.Computed):
    """A `Computed` of ONNX ops."""

    def made(self, name: str, *operands: Any) -> OnnxComputed:
        if name == "FLOOR_MOD":  # ONNX's Mod of floats has the sign of the dividend
            x, divisor = (item if isinstance(item, OnnxComputed) else np.float32(item) for item in operands)
            found: OnnxComputed = x - formula.floor(x / divisor) * divisor
            return found
        values = [
            item.value if isinstance(item, formula.Computed) else self.t.const(item, DataType.FLOAT)
            for item in operands
        ]
        return OnnxComputed(self.t, self.t.op(_OPS[name], *values))

    def is_positive(self) -> OnnxComputed:
        above = self.t.op("Greater", self.value, self.t.const(0, DataType.FLOAT))
        return OnnxComputed(self.t, self.t.cast(above, DataType.FLOAT))


def _rows(b: Onnx, x: Value, shape: Sequence[int]) -> Value:
    """`x` of `shape` [N, C, spatial...] as one row [C] for each element of each map: [N * product of sizes, C]."""
    area = math.prod(shape[2:])
    flat = b.op("Transpose", b.reshape(x, [shape[0], shape[1], area]), perm=[0, 2, 1])
    return b.reshape(flat, [shape[0] * area, shape[1]])


def _sample(
    b: Onnx,
    rows: Value,
    first: Value,
    positions: Sequence[OnnxComputed],
    sizes: Sequence[int],
    *,
    mode: str = "linear",
    padding: str = "zeros",
    align_corners: bool = False,
) -> Value:
    """Values [P, C] of `rows` at `positions` [P], one for each spatial axis; `first` int64 [P]: where each point's map begins."""
    taps: list[list[tuple[Value, formula.Number]]] = []
    step = 1
    for place, size in reversed(list(zip(positions, sizes, strict=True))):
        found = axis_taps(place, np.float32(size), mode, padding, align_corners)
        taps.append(
            [
                (b.op("Mul", b.cast(element.value, DataType.INT64), b.i64(step)), weight)
                for element, weight in found
            ]
        )
        step *= size
    total: Value | None = None
    for combination in itertools.product(*taps):
        index, weight = first, None
        for more, share in combination:
            index = b.op("Add", index, more)
            weight = share if weight is None else weight if share is None else weight * share
        piece = b.op("Gather", rows, index, axis=0)
        if weight is not None:
            piece = b.op("Mul", piece, b.reshape(weight.value, [-1, 1]))
        total = piece if total is None else b.op("Add", total, piece)
    assert total is not None
    return total


@expansion("GridSample")
def grid_sample(node: OpNode, b: Onnx) -> Value:
    """Positions -1 to 1 as elements; x [N, C, spatial...], grid [N, out..., number of spatial axes], last axis first."""
    count = node.rank() - 2
    mode, padding, align = check_modes(node)
    x, grid = b.cast(node.input(0), DataType.FLOAT), b.cast(node.input(1), DataType.FLOAT)
    shape, outs = node.static(0), node.static(1)[1:-1]
    points = b.reshape(grid, [-1, count])
    positions = []
    for axis, size in enumerate(shape[2:]):
        place = OnnxComputed(b, b.op("Gather", points, b.i64(count - 1 - axis), axis=1))
        if align:
            positions.append((place + 1) / np.float32(2) * np.float32(size - 1))
        else:
            positions.append(((place + 1) * np.float32(size) - 1) / np.float32(2))
    area, wanted = math.prod(shape[2:]), math.prod(outs)
    first = b.i64(np.repeat(np.arange(shape[0]) * area, wanted).tolist())
    y = _sample(
        b, _rows(b, x, shape), first, positions, shape[2:], mode=mode, padding=padding, align_corners=align
    )
    y = b.op("Transpose", b.reshape(y, [shape[0], wanted, shape[1]]), perm=[0, 2, 1])
    return b.cast(b.reshape(y, [shape[0], shape[1], *outs]), node.dtype())


@expansion("DeformConv")
def deform_conv(node: OpNode, b: Onnx) -> Value:
    """Every tap of every window is sampled at its own offset; what remains is a 1x1 convolution over channels and taps."""
    if node.rank() != 4:
        node.refuse("ONNX Runtime and this expansion define DeformConv for two spatial dimensions only")
    batch, channels, height, width = node.static(0)
    out, per_group, *kernel = node.static(1)
    _, _, rows, columns = node.static(2)
    strides, dilations, pads = spatial_attributes(node, 2)
    parts, group, taps = node.attr("offset_group"), node.attr("group"), math.prod(kernel)
    if per_group * group != channels:
        node.refuse("the weights' channels times group are not the input's channels", code=Code.INVALID_MODEL)
    places, share = rows * columns, channels // parts
    offset = b.reshape(b.cast(node.input(2), DataType.FLOAT), [batch * parts, taps, 2, places])
    cell = np.indices((*kernel, rows, columns)).reshape(4, 1, taps, places)
    positions = []
    for i in range(2):
        base = cell[i + 2] * strides[i] - pads[i] + cell[i] * dilations[i]
        place = OnnxComputed(b, b.op("Gather", offset, b.i64(i), axis=2)) + base.astype(np.float32)
        positions.append(OnnxComputed(b, b.reshape(place.value, [-1])))
    first = b.i64(np.repeat(np.arange(batch * parts) * height * width, taps * places).tolist())
    x = b.cast(node.input(0), DataType.FLOAT)
    maps = _rows(b, x, [batch * parts, share, height, width])
    values = _sample(b, maps, first, positions, [height, width])
    if node.has(4):
        values = b.op("Mul", values, b.reshape(b.cast(node.input(4), DataType.FLOAT), [-1, 1]))
    sampled = b.op("Transpose", b.reshape(values, [batch * parts, taps * places, share]), perm=[0, 2, 1])
    weights = b.reshape(b.cast(node.input(1), DataType.FLOAT), [out, per_group * taps, 1, 1])
    bias = b.cast(node.input(3), DataType.FLOAT) if node.has(3) else None
    y = b.op("Conv", b.reshape(sampled, [batch, channels * taps, rows, columns]), weights, bias, group=group)
    return b.cast(y, node.dtype())
