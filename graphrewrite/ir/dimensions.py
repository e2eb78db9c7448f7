"""The sizes that a dynamic dimension of an input may take."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import onnx_ir

from graphrewrite.errors import UsageError
from graphrewrite.ir.facets import recorded

RANGES = "graphrewrite.ranges"


@dataclasses.dataclass(frozen=True)
class DimensionRange:
    """From `lower` to `upper` (None: without a bound), or, where there are `choices` (ascending), only those."""

    lower: int = 1
    upper: int | None = None
    choices: tuple[int, ...] = ()

    @classmethod
    def among(cls, sizes: set[int]) -> DimensionRange:
        """Only those sizes."""
        return cls(min(sizes), max(sizes), tuple(sorted(sizes)))

    @classmethod
    def parse(cls, text: str) -> DimensionRange | None:
        """`1..8`, `1..` (no upper bound) or `224|256`; None where `text` is written otherwise.

        Raises:
            UsageError: sizes below 1, or a lower bound above the upper one.
        """
        if "|" in text:
            sizes = [part.strip() for part in text.split("|")]
            if not all(size.isdigit() for size in sizes):
                return None
            found = cls.among({int(size) for size in sizes})
        else:
            lower, dots, upper = (part.strip() for part in text.partition(".."))
            if not dots or not lower.isdigit() or not (upper.isdigit() or not upper):
                return None
            found = cls(int(lower), int(upper) if upper else None)
        if found.lower < 1 or (found.upper is not None and found.upper < found.lower):
            raise UsageError(
                f"'{text}' is no range of sizes: they begin at 1, and the lower bound comes first"
            )
        return found

    @property
    def only(self) -> int | None:
        """The size, where there is but one."""
        return self.lower if self.upper == self.lower else None

    def __contains__(self, size: int) -> bool:
        """True where the dimension may have that size."""
        if self.choices:
            return size in self.choices
        return size >= self.lower and (self.upper is None or size <= self.upper)

    def __str__(self) -> str:
        """As `parse` reads it."""
        if self.choices:
            return "|".join(map(str, self.choices))
        return f"{self.lower}..{'' if self.upper is None else self.upper}"


def dimension_ranges(value: onnx_ir.Value) -> Mapping[str, DimensionRange]:
    """What is known of the dynamic dimensions of a graph's input, by the dimension's name.

    Dimensions of the same name, of other inputs too, have the same size at any time.
    """
    found: Mapping[str, DimensionRange] | None = recorded(value, RANGES)
    return found or {}


def set_dimension_ranges(value: onnx_ir.Value, ranges: Mapping[str, DimensionRange]) -> None:
    """Record the sizes that dimensions of a graph's input may take, by name."""
    value.meta[RANGES] = dict(ranges)
