"""Reading a feature map at computed, fractional positions: GridSample, AffineGrid, DeformConv.

A position becomes elements and weights along each axis; the elements of all axes' combinations are gathered from the flattened
map and summed with the product of their weights.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from graphrewrite.errors import Code
from graphrewrite.ir import DataType, Value, refine
from graphrewrite.registry import OpNode, lowering

from . import interpolation as formula
from .deformation import Deformation
from .views import dim_value, known_dim, merge, remove_axis, reshape_to

if TYPE_CHECKING:
    from graphrewrite.targets.tflite.builder import TFLite

_CUBIC = -0.75
"""The coefficient that ONNX's GridSample has."""


def sample(
    t: TFLite,
    flat: Value,
    positions: Sequence[formula.Computed],
    sizes: Sequence[formula.Number],
    *,
    mode: str = "linear",
    padding: str = "zeros",
    align_corners: bool = False,
) -> Value:
    """Values [N, P, C] of `flat` [N, product of sizes, C] at `positions` [N, P, 1], one for each spatial axis."""
    taps = []
    step: formula.Number = np.float32(1)
    for place, size in reversed(list(zip(positions, sizes))):
        found = axis_taps(place, size, mode, padding, align_corners)
        taps.append([(_whole(t, element, step), weight) for element, weight in found])
        step = step * size
    total: Value | None = None
    for combination in itertools.product(*taps):
        index, weight = combination[0]
        for more, share in combination[1:]:
            index = t.op("ADD", index, more, fused_activation_function="NONE")
            weight = share if weight is None else weight * share
        piece = t.op("GATHER", flat, remove_axis(t, index, 2), axis=1, batch_dims=1)
        if weight is not None:
            piece = t.op("MUL", piece, weight.value, fused_activation_function="NONE")
        total = piece if total is None else t.op("ADD", total, piece, fused_activation_function="NONE")
    assert total is not None
    return total


def _whole(t: TFLite, element: formula.Computed, step: formula.Number) -> Value:
    """`element` * `step` as int32: how far it lies from the start of the flattened map."""
    index = t.cast(element.value, DataType.INT32)
    if isinstance(step, formula.Computed):
        count = t.reshape(t.cast(step.value, DataType.INT32), [1])
    elif step == 1:
        return index
    else:
        count = t.i32([int(step)])
    return t.op("MUL", index, count, fused_activation_function="NONE")


def axis_taps(
    x: formula.Computed, size: formula.Number, mode: str, padding: str, align_corners: bool
) -> list[tuple[formula.Computed, formula.Number]]:
    """(element inside the data, weight or None for 1) along one axis."""
    low = np.float32(0 if align_corners else -0.5)
    high = size - 1 if align_corners else size - np.float32(0.5)
    if mode == "nearest":
        x = x.made("ROUND", x)
    if (
        padding == "border" and mode != "cubic"
    ):  # cubic weights follow the point, only the elements are moved inside
        x = formula.clip(x, np.float32(0), size - 1)
    elif padding == "reflection":
        x = _reflect(x, low, high)
    raw: list[tuple[formula.Computed, formula.Number]]
    base = formula.floor(x)
    share = x - base
    if mode == "nearest":
        raw = [(x, None)]
    elif mode == "linear":
        raw = [(base, 1 - share), (base + 1, share)]
    else:
        weights = formula.cubic_weights(share, _CUBIC)
        raw = [(base + offset, weight) for offset, weight in zip((-1, 0, 1, 2), weights)]
    taps = []
    for element, weight in raw:
        if padding == "zeros":
            within = formula.inside(element, size)
            weight = within if weight is None else weight * within
        elif padding == "reflection":
            element = _reflect(element, low, high)
        taps.append((formula.clip(element, np.float32(0), size - 1), weight))
    return taps


def _reflect(x: formula.Computed, low: formula.Number, high: formula.Number) -> formula.Computed:
    """x mirrored at both ends until it lies between them."""
    span = formula.most(
        high - low, np.float32(1e-30)
    )  # a single element, corners aligned: everything is element 0
    mirrored: formula.Computed = low + span - formula.absolute(x.made("FLOOR_MOD", x - low, 2 * span) - span)
    return mirrored


def _size(t: TFLite, x: Value, axis: int) -> formula.Number:
    size = dim_value(t, x, axis)
    known = known_dim(size)
    return np.float32(known) if known is not None else formula.Computed(t, t.cast(size, DataType.FLOAT))


def check_modes(node: OpNode) -> tuple[str, str, bool]:
    """GridSample's mode (linear, nearest or cubic), padding and align_corners.

    Raises:
        Refusal: ONNX does not define them.
    """
    count = node.rank() - 2
    mode = {"bilinear": "linear", "bicubic": "cubic"}.get(node.attr("mode"), node.attr("mode"))
    padding, align = node.attr("padding_mode"), bool(node.attr("align_corners"))
    if mode not in ("linear", "nearest", "cubic") or padding not in ("zeros", "border", "reflection"):
        node.refuse(f"ONNX has no GridSample mode '{mode}' with '{padding}'", code=Code.INVALID_MODEL)
    if mode == "cubic" and count != 2:
        node.refuse("ONNX defines the cubic mode for two spatial dimensions only", code=Code.INVALID_MODEL)
    return mode, padding, align


@lowering("tflite", "GridSample", note="mode cubic for images only")
def grid_sample(node: OpNode, t: TFLite) -> Value:
    """Positions -1 to 1 as elements; x [N, C, spatial...], grid [N, out..., number of spatial axes], last axis first."""
    count = node.rank() - 2
    mode, padding, align = check_modes(node)
    dtype = node.dtype()
    x = t.to_last(t.cast(node.input(0), DataType.FLOAT))
    grid = t.cast(node.input(1), DataType.FLOAT)
    sizes = [_size(t, x, axis) for axis in range(1, count + 1)]
    outs = [dim_value(t, grid, axis) for axis in range(count + 1)]
    flat = merge(t, x, [[0], list(range(1, count + 1)), [count + 1]])
    points = merge(t, grid, [[0], list(range(1, count + 1)), [count + 1]])
    positions = []
    for axis, size in enumerate(sizes):
        part = t.op("SLICE", points, t.i32([0, 0, count - 1 - axis]), t.i32([-1, -1, 1]))
        place = formula.Computed(t, part)
        if align:
            positions.append((place + 1) / np.float32(2) * (size - 1))
        else:
            positions.append(((place + 1) * size - 1) / np.float32(2))
    y = sample(t, flat, positions, sizes, mode=mode, padding=padding, align_corners=align)
    shaped = reshape_to(t, y, [*outs, dim_value(t, x, count + 1)])
    return t.cast(t.to_first(shaped), dtype)


@lowering("tflite", "AffineGrid")
def affine_grid(node: OpNode, t: TFLite) -> Value:
    """theta [N, k, k + 1] applied to the centres of the elements (or, corners aligned, from end to end) of size [N, C, ...]."""
    count = node.static(0)[1] if node.rank() == 3 else 0
    if count not in (2, 3):
        node.refuse("theta must be [N, 2, 3] or [N, 3, 4]", code=Code.INVALID_MODEL)
    align, known = bool(node.attr("align_corners")), node.ints(1)
    theta, dtype = t.cast(node.input(0), DataType.FLOAT), node.dtype()
    lines = []
    for axis in range(count):
        if known is not None:
            size = known[axis + 2]
            place: formula.Number = np.arange(size, dtype=np.float32)
            number: formula.Number = np.float32(size)
        else:
            element = t.cast(t.op("SLICE", node.input(1), t.i32([axis + 2]), t.i32([1])), DataType.INT32)
            steps = t.op("RANGE", t.i32(0), t.reshape(element, []), t.i32(1))
            place = formula.Computed(t, t.cast(steps, DataType.FLOAT))
            number = formula.Computed(t, t.cast(element, DataType.FLOAT))
        centred = (
            place * 2 / formula.most(number - 1, np.float32(1)) - 1 if align else (place * 2 + 1) / number - 1
        )
        value = centred.value if isinstance(centred, formula.Computed) else t.const(centred, DataType.FLOAT)
        lines.append(t.reshape(value, [1, *(-1 if index == axis else 1 for index in range(count))]))
    coordinates = []
    for row in range(count):
        cells = [
            t.reshape(t.op("SLICE", theta, t.i32([0, row, column]), t.i32([-1, 1, 1])), [-1, *[1] * count])
            for column in range(count + 1)
        ]
        total = cells[count]
        for axis, line in enumerate(reversed(lines)):  # x runs along the last axis
            part = t.op("MUL", line, cells[axis], fused_activation_function="NONE")
            total = t.op("ADD", total, part, fused_activation_function="NONE")
        refine(total, None, (None,) * (count + 1))
        coordinates.append(t.op("EXPAND_DIMS", total, t.i32(count + 1)))
    return t.cast(t.op("CONCATENATION", *coordinates, axis=count + 1), dtype)


@lowering("tflite", "DeformConv", note="two spatial dimensions of static size")
def deform_conv(node: OpNode, t: TFLite) -> Value:
    """Every tap of every window is sampled at its own offset; what remains is a 1x1 convolution over channels and taps."""
    sizes = Deformation.of(node)
    batch, parts, taps, share = sizes.batch, sizes.parts, sizes.taps, sizes.share
    (rows, columns), area = sizes.places, math.prod(sizes.size)
    points = rows * columns * taps
    dtype, ends = node.dtype(), [np.float32(size) for size in sizes.size]
    x = t.reshape(t.to_last(t.cast(node.input(0), DataType.FLOAT)), [batch, area, sizes.channels])
    offset = t.reshape(t.cast(node.input(2), DataType.FLOAT), [batch, parts, taps, 2, rows * columns])
    offset = t.transpose(offset, [1, 3, 0, 4, 2])  # [parts, y/x, batch, rows * columns, taps]
    mask = None
    if node.has(4):
        mask = t.reshape(t.cast(node.input(4), DataType.FLOAT), [batch, parts, taps, rows * columns])
        mask = t.transpose(mask, [1, 0, 3, 2])
    cell = np.indices((rows, columns, *sizes.kernel)).reshape(4, 1, points, 1)
    grid = [sizes.unmoved(axis, cell[axis + 2], cell[axis]) for axis in range(2)]
    sampled = []
    for part in range(parts):
        flat = t.op("SLICE", x, t.i32([0, 0, part * share]), t.i32([batch, area, share]))
        positions = []
        for i in range(2):
            moved = t.op("SLICE", offset, t.i32([part, i, 0, 0, 0]), t.i32([1, 1, -1, -1, -1]))
            positions.append(formula.Computed(t, t.reshape(moved, [batch, points, 1])) + grid[i])
        values = sample(t, flat, positions, ends)
        if mask is not None:
            factor = t.op("SLICE", mask, t.i32([part, 0, 0, 0]), t.i32([1, -1, -1, -1]))
            values = t.op(
                "MUL", values, t.reshape(factor, [batch, points, 1]), fused_activation_function="NONE"
            )
        tapped = t.reshape(values, [batch, rows * columns, taps, share])
        sampled.append(t.transpose(tapped, [0, 1, 3, 2]))
    columns_of = sampled[0] if parts == 1 else t.op("CONCATENATION", *sampled, axis=2)
    weights = t.reshape(t.cast(node.input(1), DataType.FLOAT), [sizes.out, 1, 1, sizes.per_group * taps])
    bias = t.cast(node.input(3), DataType.FLOAT) if node.has(3) else t.const([0] * sizes.out, DataType.FLOAT)
    y = t.op(
        "CONV_2D",
        t.reshape(columns_of, [batch, rows, columns, sizes.channels * taps]),
        weights,
        bias,
        padding="VALID",
        stride_h=1,
        stride_w=1,
        dilation_h_factor=1,
        dilation_w_factor=1,
        fused_activation_function="NONE",
    )
    return t.cast(t.to_first(y), dtype)
