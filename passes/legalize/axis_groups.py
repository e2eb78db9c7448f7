"""Neighbouring axes of a node's operands and results that can be merged without the node noticing."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from graphrewrite.ir import Dim, Dims
from graphrewrite.rewrite import MatchFailure

Settings = tuple[dict[str, Any], dict[int, list[int] | int | None]]
"""Attributes and small operands that name axes, anew: attributes by name, operands by index (None: absent)."""


@dataclasses.dataclass(frozen=True)
class Frame:
    """The axes of one value: which axis of the node each is, and its size.

    A size of 1 where other values of the node have more is broadcast. Axes of size 1 that a value of lower rank lacks in front
    are written down all the same.
    """

    labels: tuple[int, ...]
    sizes: Dims

    @property
    def axes(self) -> dict[int, Dim]:
        """Size by label."""
        return dict(zip(self.labels, self.sizes, strict=True))


@dataclasses.dataclass(frozen=True)
class Axes:
    """What a node does with axes.

    Between frames an axis that is not `pinned` has one size, but for 1 where it is broadcast. `settle` says what the node's
    attributes and small operands become when axes have been merged. With `aligns`, operands may do without 1s in front.
    """

    operands: Mapping[int, Frame]
    results: Sequence[Frame]
    pinned: frozenset[int] = frozenset()
    """Axes that the node names: they stay alone, even of size 1."""
    settle: Callable[[Grouping], Settings] = lambda grouping: ({}, {})
    aligns: bool = False

    def frames(self) -> Iterator[Frame]:
        """Of all operands, then of all results."""
        yield from self.operands.values()
        yield from self.results


class Grouping:
    """The fewest groups of neighbouring axes that keep the meaning of a node; axes of 1 are dropped.

    `cuts` are pairs of neighbouring axes to keep apart all the same.
    """

    def __init__(self, axes: Axes, cuts: Iterable[tuple[int, int]] = ()) -> None:
        self._pinned = axes.pinned
        known = [frame.axes for frame in axes.frames()]
        self._kept = {label for sizes in known for label, size in sizes.items() if size != 1} | axes.pinned
        self._rows = [[label for label in sizes if label in self._kept] for sizes in known]
        self._sizes = known
        self._cuts = frozenset(cuts)
        self._groups = {frame: self._grouped(frame) for frame in axes.frames()}

    def rank(self) -> int:
        """The most dimensions that a value has."""
        return max((len(groups) for groups in self._groups.values()), default=0)

    def groups(self, frame: Frame) -> list[list[int]]:
        """The axes of `frame`, group by group."""
        return self._groups[frame]

    def neighbours(self, frame: Frame) -> list[tuple[int, int]]:
        """Pairs of axes of `frame` with nothing but 1s between them."""
        row = [label for label in frame.labels if label in self._kept]
        return list(itertools.pairwise(row))

    def place(self, frame: Frame, label: int) -> int:
        """Dimension of the merged `frame` that holds axis `label`."""
        return next(at for at, group in enumerate(self._groups[frame]) if label in group)

    def places(self, frame: Frame, labels: Iterable[int]) -> list[int]:
        """Dimensions of the merged `frame` that hold `labels`; dropped ones have none."""
        return sorted({self.place(frame, label) for label in labels if label in self._kept})

    def shape(self, frame: Frame) -> list[int]:
        """Sizes of the merged `frame`, -1 for one that is known only at run time.

        Raises:
            MatchFailure: several are, or the value is empty.
        """
        sizes = frame.axes
        return shape_target([merged(sizes, group) for group in self._groups[frame]])

    def _grouped(self, frame: Frame) -> list[list[int]]:
        groups: list[list[int]] = []
        for label in frame.labels:
            if label not in self._kept:
                continue
            if groups and self._together(groups[-1][-1], label):
                groups[-1].append(label)
            else:
                groups.append([label])
        return groups

    def _together(self, a: int, b: int) -> bool:
        if a in self._pinned or b in self._pinned or (a, b) in self._cuts:
            return False
        for row, sizes in zip(self._rows, self._sizes, strict=True):
            if (a in sizes) != (b in sizes):
                return False
            if a in sizes and (row.index(b) != row.index(a) + 1 or (sizes[a] == 1) != (sizes[b] == 1)):
                return False
        return True


def merged(sizes: Mapping[int, Dim], group: Iterable[int]) -> Dim:
    """The size of a group of axes; None where one is known only at run time."""
    found = [sizes[label] for label in group]
    numbers = [size for size in found if isinstance(size, int)]
    if len(numbers) == len(found):
        return math.prod(numbers)
    return None


def shape_target(sizes: Sequence[Dim]) -> list[int]:
    """`sizes` as the target of a Reshape.

    Raises:
        MatchFailure: more than one size is known only at run time, or the value is empty.
    """
    target = [size if isinstance(size, int) else -1 for size in sizes]
    if target.count(-1) > 1:
        raise MatchFailure("more than one dimension is known only at run time")
    if 0 in target:
        raise MatchFailure("the value is empty")
    return target


def boundaries(sizes: Dims) -> list[tuple[str, int] | None]:
    """What stands in front of each axis: the number of elements before it, or behind where the former is not known.

    Equal entries of two shapes with equal elements are the same place; None where neither number is known.
    """
    found: list[tuple[str, int] | None] = []
    for at in range(len(sizes)):
        front, back = _elements(sizes[:at]), _elements(sizes[at:])
        found.append(("front", front) if front is not None else ("back", back) if back is not None else None)
    return found


def _elements(sizes: Sequence[Dim]) -> int | None:
    numbers = [size for size in sizes if isinstance(size, int)]
    return math.prod(numbers) if len(numbers) == len(sizes) else None
