"""Copies that broadcasting makes anyway, or that only one of is read, are not made."""

from __future__ import annotations

import dataclasses

import numpy as np

from graphrewrite.ir import Dims, Node, Value, constant_array, constant_ints, dims
from graphrewrite.ir.shapes import broadcast
from graphrewrite.pipeline import RewritePass, Stage
from graphrewrite.rewrite import Match, MatchFailure, Rewriter

_ELEMENTWISE = (
    "Add",
    "Sub",
    "Mul",
    "Div",
    "Pow",
    "Mod",
    "Max",
    "Min",
    "Where",
    "Equal",
    "Less",
    "LessOrEqual",
    "Greater",
    "GreaterOrEqual",
    "And",
    "Or",
    "Xor",
)


@dataclasses.dataclass(frozen=True)
class SimplifyBroadcasts(RewritePass):
    """Read the operand of an Expand or Tile where its copies are not needed.

        %t = Tile(%c:float[1,8,4,4], [n, 1, 1, 1])         --->   %y = Mul(%s:float[n,8,1,1], %c)
        %y = Mul(%s:float[n,8,1,1], %t)

        %t = Tile(%w:float[1,1,8], [1, 14, 1])             --->   %y = Gather(%w, 0) {axis=1}
        %y = Gather(%t, 3) {axis=1}

    Before ops that broadcast, where the result keeps its shape; and before a Gather along an axis of equal
    copies. Exact.
    """

    stage = Stage.CANONICALIZE
    after = ("eliminate-no-ops",)

    @property
    def roots(self) -> tuple[str, ...]:
        """The reader of the copies."""
        return (*_ELEMENTWISE, "Gather")

    def match(self, node: Node) -> Match:
        """The operand behind the copies, captured as `x`."""
        if node.op_type == "Gather":
            return self._gather(node)
        for index, value in enumerate(node.inputs):
            x = _copied(value)
            if x is None:
                continue
            others = [dims(item) for position, item in enumerate(node.inputs) if position != index]
            if _broadcast([dims(x), *others]) == dims(node.outputs[0]) is not None:
                return Match(node, {"x": x, "copies": value}, {}, (node,))
        raise MatchFailure("no operand is a copy that broadcasting would make", node)

    def _gather(self, node: Node) -> Match:
        x, known, copies = _copied(node.inputs[0]), dims(node.inputs[0]), node.inputs[0]
        index = constant_array(node.inputs[1])
        before = dims(x)
        if x is None or known is None or before is None or index is None or len(before) != len(known):
            raise MatchFailure("the operand is no copy, or the positions are not known", node)
        axis = node.attributes.get_int("axis", 0) % len(known)
        rest = [(a, b) for position, (a, b) in enumerate(zip(before, known, strict=True)) if position != axis]
        if before[axis] != 1 or any(a != b or a is None for a, b in rest):
            raise MatchFailure("the copies lie along another axis", node)
        return Match(node, {"x": x, "copies": copies}, {}, (node,))

    def rewrite(self, match: Match, rewriter: Rewriter) -> Value | None:
        """Read the one copy there is."""
        node = match.root
        if node.op_type == "Gather":
            index = constant_array(node.inputs[1])
            assert index is not None
            axis = node.attributes.get_int("axis", 0)
            return rewriter.op("Gather", match["x"], rewriter.constant(np.zeros_like(index)), axis=axis)
        for position, value in enumerate(node.inputs):
            if value is match["copies"]:
                rewriter.set_input(node, position, match["x"])
        return None


def _copied(value: Value | None) -> Value | None:
    """The operand of an Expand, or of a Tile that repeats dimensions of size 1 only."""
    node = value.producer() if value is not None else None
    if node is None or node.domain != "" or node.op_type not in ("Expand", "Tile"):
        return None
    x = node.inputs[0]
    before, after, repeats = dims(x), dims(value), constant_ints(node.inputs[1])
    if node.op_type == "Expand":
        return x
    if before is None or after is None:
        return None
    kept = [a == b and a is not None for a, b in zip(before, after, strict=True)]
    if repeats is not None:
        kept = [flag or times == 1 for flag, times in zip(kept, repeats, strict=True)]
    return x if all(flag or size == 1 for flag, size in zip(kept, before, strict=True)) else None


def _broadcast(shapes: list[Dims | None]) -> Dims | None:
    """The shape of the result, None where a dimension can't be told."""
    found: Dims = ()
    for shape in shapes:
        if shape is None or None in shape:
            return None
        found = broadcast(found, shape)
    return None if None in found else found
