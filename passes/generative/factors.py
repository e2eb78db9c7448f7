"""A value as a product of leaves, each with the map that says which of its elements is where."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

import numpy as np

from graphrewrite.ir import Array, Node, Value, constant_array, is_constant

from .movement import Indices, Sizes, broadcast_pull, concrete, is_move, pull

_LIMIT = 64
"""Views between a factor and its leaf."""


@dataclasses.dataclass(frozen=True)
class Step:
    """One node passed on the way from the product down to a leaf."""

    node: Node
    output: int
    before: Sizes
    after: Sizes

    def pull(self, flat: Indices) -> Indices:
        """Indices into the operand for indices into the result."""
        if self.node.op_type in ("Mul", "Div"):
            return broadcast_pull(self.before, self.after, flat)
        return pull(self.node, self.output, self.before, self.after, flat)


@dataclasses.dataclass(frozen=True)
class Factor:
    """A leaf of a product; `inverse` where it divides."""

    leaf: Value
    inverse: bool
    steps: tuple[Step, ...]

    @property
    def constant(self) -> bool:
        """True where the leaf is known now."""
        return is_constant(self.leaf)

    def source(self, flat: Indices) -> Indices:
        """Elements of the leaf behind elements `flat` of the product."""
        for step in self.steps:
            flat = step.pull(flat)
        return flat

    def content(self, flat: Indices) -> Array:
        """What a constant leaf contributes to elements `flat` of the product, in float64."""
        array = constant_array(self.leaf)
        assert array is not None
        picked = array.reshape(-1)[self.source(flat)].astype(np.float64)
        return 1 / picked if self.inverse else picked


def factors(value: Value, symbols: Mapping[str, int] | None = None) -> list[Factor] | None:
    """The leaves of the product that `value` is; None where it holds padding, an unknown shape or too many leaves.

    A quotient of a constant (1 / sqrt(...)) is a leaf, and so is a product of run-time values that is no
    larger than they are.
    """
    try:
        return _factors(value, False, (), symbols)
    except _Unknown:
        return None


class _Unknown(Exception):
    """A shape is unknown, or the value is no product."""


def _factors(
    value: Value, inverse: bool, steps: tuple[Step, ...], symbols: Mapping[str, int] | None
) -> list[Factor]:
    after = concrete(value, symbols)
    if after is None or len(steps) > _LIMIT:
        raise _Unknown
    node = value.producer()
    operands = _operands(node, inverse)
    if not operands or node is None:
        return [Factor(value, inverse, steps)]
    found: list[Factor] = []
    largest = 0
    for operand, side in operands:
        before = concrete(operand, symbols)
        if operand is None or before is None:
            raise _Unknown
        largest = max(largest, math.prod(before))
        step = Step(node, list(node.outputs).index(value), before, after)
        found += _factors(operand, side, (*steps, step), symbols)
    if len(operands) > 1 and largest == math.prod(after) and not any(factor.constant for factor in found):
        return [Factor(value, inverse, steps)]  # a product that is no larger than its operands is best kept
    return found


def _operands(node: Node | None, inverse: bool) -> list[tuple[Value | None, bool]]:
    """What to follow, and on which side of the fraction it is; nothing for a leaf."""
    if node is None or node.domain != "":
        return []
    if is_move(node):
        if node.op_type == "Pad":
            raise _Unknown
        return [(node.inputs[0], inverse)]
    if node.op_type == "Mul":
        return [(node.inputs[0], inverse), (node.inputs[1], inverse)]
    if node.op_type == "Div" and not is_constant(node.inputs[0]):
        return [(node.inputs[0], inverse), (node.inputs[1], not inverse)]
    return []
