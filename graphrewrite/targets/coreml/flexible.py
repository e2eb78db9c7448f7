"""Inputs of several shapes as Core ML describes them: a list of shapes, or a range for each dimension."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from graphrewrite.ir import DimensionRange, Dims, Value, dimension_ranges, dims

MOST_SHAPES = 128
"""Enumerated shapes that Core ML takes for one input."""

_SEVERAL_ENUMERATED = ("iOS18", "iOS26")
"""Deployment targets where more than one input may have enumerated shapes; the k-th ones belong together."""

_ANY = DimensionRange()


@dataclasses.dataclass(frozen=True)
class FlexibleShape:
    """Of one input: `shapes`, the default one first, or else a `range` (lowest, highest or -1) for each dimension."""

    shapes: tuple[tuple[int, ...], ...]
    range: tuple[tuple[int, int], ...]

    @property
    def default(self) -> tuple[int, ...]:
        """The shape to begin with."""
        return self.shapes[0] if self.shapes else tuple(lowest for lowest, _ in self.range)

    def describe(self, array: Any) -> None:
        """Write it into the `ArrayFeatureType` of the input's description."""
        del array.shape[:]
        array.ClearField("ShapeFlexibility")  # coremltools has put sizes without bounds there
        array.shape.extend(self.default)
        if self.shapes:
            for shape in self.shapes:
                array.enumeratedShapes.shapes.add().shape.extend(shape)
            return
        for lowest, highest in self.range:
            entry = array.shapeRange.sizeRanges.add()
            entry.lowerBound, entry.upperBound = lowest, highest

    def to_json(self) -> list[Any]:
        """The shapes, or a pair of bounds for each dimension (-1: none)."""
        return [list(item) for item in self.shapes or self.range]


def flexible_shapes(inputs: Sequence[Value], target: str) -> dict[int, FlexibleShape]:
    """Those of the inputs that have dynamic dimensions, by position.

    Shapes are enumerated where every dynamic dimension is, there are not too many combinations, and the deployment target takes
    it. Otherwise each dimension has its range, which may admit more than was asked for, never less.
    """
    known = {index: dims(value) or () for index, value in enumerate(inputs)}
    dynamic = {
        index: shape for index, shape in known.items() if any(not isinstance(dim, int) for dim in shape)
    }
    ranges = {name: item for value in inputs for name, item in dimension_ranges(value).items()}
    combinations = _combinations(dynamic.values(), ranges)
    if len(dynamic) > 1 and target not in _SEVERAL_ENUMERATED:
        combinations = []
    return {
        index: FlexibleShape(
            tuple(tuple(_size(dim, sizes) for dim in shape) for sizes in combinations),
            tuple(_bounds(dim, ranges) for dim in shape),
        )
        for index, shape in dynamic.items()
    }


def _combinations(shapes: Iterable[Dims], ranges: Mapping[str, DimensionRange]) -> list[dict[str, int]]:
    """Sizes by dimension name, for every combination; none where a dimension is not enumerated, or there are too many."""
    names = list(dict.fromkeys(str(dim) for shape in shapes for dim in shape if not isinstance(dim, int)))
    choices = [ranges[name].choices if name in ranges else () for name in names]
    if not all(choices) or math.prod(map(len, choices)) > MOST_SHAPES:
        return []
    return [dict(zip(names, sizes, strict=True)) for sizes in itertools.product(*choices)]


def _size(dim: int | str | None, sizes: Mapping[str, int]) -> int:
    return dim if isinstance(dim, int) else sizes[str(dim)]


def _bounds(dim: int | str | None, ranges: Mapping[str, DimensionRange]) -> tuple[int, int]:
    if isinstance(dim, int):
        return dim, dim
    found = ranges.get(str(dim), _ANY)
    return found.lower, -1 if found.upper is None else found.upper
