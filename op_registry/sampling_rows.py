"""GridSample and DeformConv where operators gather along one axis: elements and weights along each axis of the map, gathered from
a matrix of one row for each element. ONNX and Core ML spell it alike; what differs is in the subclasses.
"""

from __future__ import annotations

import abc
import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from graphrewrite.ir import Array, DataType, Value
from graphrewrite.registry import OpNode

from . import interpolation as formula
from .deformation import Deformation
from .sampling import axis_taps, check_modes


class Rows(abc.ABC):
    """The spelling of one dialect. `builder` is `Onnx`, or one whose `cast` and `reshape` are alike."""

    index: DataType
    """The type of places in the matrix."""

    def __init__(self, builder: Any) -> None:
        self.builder = builder

    @abc.abstractmethod
    def op(self, name: str, *operands: Value, **attributes: Any) -> Value:
        """ONNX's operator `name`: Add, Mul or Gather."""

    @abc.abstractmethod
    def transpose(self, x: Value, perm: Sequence[int]) -> Value:
        """`x` with its dimensions in the order `perm`."""

    @abc.abstractmethod
    def places(self, content: Array | Sequence[int]) -> Value:
        """A constant of the type `index`."""

    @abc.abstractmethod
    def element(self, x: Value, axis: int, position: int) -> formula.Computed:
        """Element `position` along `axis` of the float32 `x`, which has one dimension less then."""

    @abc.abstractmethod
    def pointwise(self, x: Value, weights: Value, bias: Value | None, group: int) -> Value:
        """A convolution with a 1x1 kernel."""

    def grid_sample(self, node: OpNode, x: Value, grid: Value) -> Value:
        """Positions -1 to 1 as elements; x [N, C, spatial...], grid [N, out..., number of spatial axes], last axis first."""
        count = node.rank() - 2
        mode, padding, align = check_modes(node)
        shape, outs = node.static(0), node.static(1)[1:-1]
        points = self.builder.reshape(grid, [-1, count])
        positions = []
        for axis, size in enumerate(shape[2:]):
            place = self.element(points, 1, count - 1 - axis)
            if align:
                positions.append((place + 1) / np.float32(2) * np.float32(size - 1))
            else:
                positions.append(((place + 1) * np.float32(size) - 1) / np.float32(2))
        area, wanted = math.prod(shape[2:]), math.prod(outs)
        first = self.places(np.repeat(np.arange(shape[0]) * area, wanted))
        y = self._sample(
            self.matrix(x, shape),
            first,
            positions,
            shape[2:],
            mode=mode,
            padding=padding,
            align_corners=align,
        )
        y = self.transpose(self.builder.reshape(y, [shape[0], wanted, shape[1]]), [0, 2, 1])
        found: Value = self.builder.reshape(y, [shape[0], shape[1], *outs])
        return found

    def deform_conv(self, node: OpNode) -> Value:
        """Every tap of every window is sampled at its own offset; what remains is a 1x1 convolution over channels and taps."""
        b, sizes = self.builder, Deformation.of(node)
        places, maps = math.prod(sizes.places), sizes.batch * sizes.parts
        x, weights, offset = (b.cast(node.input(index), DataType.FLOAT) for index in range(3))
        bias, mask = (
            b.cast(node.input(index), DataType.FLOAT) if node.has(index) else None for index in (3, 4)
        )
        offset = b.reshape(offset, [maps, sizes.taps, 2, places])
        cell = np.indices((*sizes.kernel, *sizes.places)).reshape(4, sizes.taps, places)
        positions = [
            (self.element(offset, 2, axis) + sizes.unmoved(axis, cell[axis], cell[axis + 2])).shaped([-1])
            for axis in range(2)
        ]
        first = self.places(np.repeat(np.arange(maps) * math.prod(sizes.size), sizes.taps * places))
        rows = self.matrix(x, [maps, sizes.share, *sizes.size])
        values = self._sample(rows, first, positions, sizes.size)
        if mask is not None:
            values = self.op("Mul", values, b.reshape(mask, [-1, 1]))
        sampled = self.transpose(b.reshape(values, [maps, sizes.taps * places, sizes.share]), [0, 2, 1])
        sampled = b.reshape(sampled, [sizes.batch, sizes.channels * sizes.taps, *sizes.places])
        weights = b.reshape(weights, [sizes.out, sizes.per_group * sizes.taps, 1, 1])
        return self.pointwise(sampled, weights, bias, sizes.group)

    def matrix(self, x: Value, shape: Sequence[int]) -> Value:
        """`x` of `shape` [N, C, spatial...] as one row [C] for each element of each map: [N * product of sizes, C]."""
        area = math.prod(shape[2:])
        flat = self.transpose(self.builder.reshape(x, [shape[0], shape[1], area]), [0, 2, 1])
        rows: Value = self.builder.reshape(flat, [shape[0] * area, shape[1]])
        return rows

    def _sample(
        self,
        rows: Value,
        first: Value,
        positions: Sequence[formula.Computed],
        sizes: Sequence[int],
        *,
        mode: str = "linear",
        padding: str = "zeros",
        align_corners: bool = False,
    ) -> Value:
        """Values [P, C] of `rows` at `positions` [P], one for each spatial axis; `first` [P]: where each point's map begins."""
        taps: list[list[tuple[Value, formula.Number]]] = []
        step = 1
        for place, size in reversed(list(zip(positions, sizes, strict=True))):
            found = axis_taps(place, np.float32(size), mode, padding, align_corners)
            taps.append([(self._steps(element, step), weight) for element, weight in found])
            step *= size
        total: Value | None = None
        for combination in itertools.product(*taps):
            index, weight = first, None
            for more, share in combination:
                index = self.op("Add", index, more)
                weight = share if weight is None else weight if share is None else weight * share
            piece = self.op("Gather", rows, index, axis=0)
            if weight is not None:
                piece = self.op("Mul", piece, weight.shaped([-1, 1]).value)
            total = piece if total is None else self.op("Add", total, piece)
        assert total is not None
        return total

    def _steps(self, element: formula.Computed, step: int) -> Value:
        """How many rows lie before `element` of an axis that goes on every `step` rows."""
        index: Value = self.builder.cast(element.value, self.index)
        return index if step == 1 else self.op("Mul", index, self.places([step]))
