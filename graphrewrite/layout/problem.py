"""The layout problem in the abstract: variables with two labels, and what a labelling costs."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

PLAIN = -1
"""Stands for a variable whose label is always 0."""
PERMUTED = -2
"""Stands for a variable whose label is always 1."""
FORBIDDEN = 1 << 50
"""A cost that no labelling worth having pays."""

Table = tuple[int, int, int, int]
"""Costs of a pair of labels: 00, 01, 10, 11."""


@dataclasses.dataclass
class Problem:
    """Costs by label. `fans` are (producer, consumers, cost): paid once where any consumer differs from the producer."""

    variables: int = 0
    constant: int = 0
    unary: list[tuple[int, int, int]] = dataclasses.field(default_factory=list)
    pairs: list[tuple[int, int, Table]] = dataclasses.field(default_factory=list)
    fans: list[tuple[int, tuple[int, ...], int]] = dataclasses.field(default_factory=list)

    def copy(self) -> Problem:
        """One that grows on its own."""
        return Problem(self.variables, self.constant, list(self.unary), list(self.pairs), list(self.fans))

    def variable(self) -> int:
        """A new variable."""
        self.variables += 1
        return self.variables - 1

    def add_unary(self, variable: int, plain: int, permuted: int) -> None:
        """`plain` is paid where the label is 0, `permuted` where it is 1."""
        if variable < 0:
            self.constant += plain if variable == PLAIN else permuted
        elif plain or permuted:
            self.unary.append((variable, plain, permuted))

    def add_pair(self, first: int, second: int, table: Table) -> None:
        """Costs of two labels together; must be submodular (00 + 11 <= 01 + 10) unless one of the two is fixed."""
        if first < 0:
            row = table[:2] if first == PLAIN else table[2:]
            self.add_unary(second, *row)
        elif second < 0:
            column = table[0::2] if second == PLAIN else table[1::2]
            self.add_unary(first, *column)
        elif any(table):
            self.pairs.append((first, second, table))

    def add_fan(self, producer: int, consumers: Sequence[int], cost: int) -> None:
        """`cost` is paid once if any of `consumers` has another label than `producer`."""
        others = tuple(item for item in dict.fromkeys(consumers) if item != producer)
        if others and cost:
            self.fans.append((producer, others, cost))

    def cost(self, labels: Sequence[int]) -> int:
        """What a labelling costs."""

        def label(variable: int) -> int:
            return labels[variable] if variable >= 0 else -1 - variable

        total = self.constant
        for variable, plain, permuted in self.unary:
            total += permuted if labels[variable] else plain
        for first, second, table in self.pairs:
            total += table[2 * labels[first] + labels[second]]
        for producer, consumers, cost in self.fans:
            if any(label(item) != label(producer) for item in consumers):
                total += cost
        return total


def submodular(table: Table) -> bool:
    """True where a cut can hold the table."""
    return table[0] + table[3] <= table[1] + table[2]
