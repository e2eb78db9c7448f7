"""Copies that broadcasting makes anyway, or that only one of is read, are not made."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from graphrewrite.ir import Dims, Node, Value, constant_array, constant_ints, dims, static_dims, use_count
from graphrewrite.ir.shapes import broadcast
from graphrewrite.pipeline import RewritePass, Stage
from graphrewrite.rewrite import Match, MatchFailure, Rewriter

from .simplify_slices import window

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
_NEUTRAL = {"And": True, "Or": False, "Xor": False}
"""The operand that leaves the other one as it is."""


@dataclasses.dataclass(frozen=True)
class SimplifyBroadcasts(RewritePass):
    """Read the operand of an Expand or Tile where its copies are not needed.

        %t = Tile(%c:float[1,8,4,4], [n, 1, 1, 1])         --->   %y = Mul(%s:float[n,8,1,1], %c)
        %y = Mul(%s:float[n,8,1,1], %t)

        %t = Tile(%w:float[1,1,8], [1, 14, 1])             --->   %y = Gather(%w, 0) {axis=1}
        %y = Gather(%t, 3) {axis=1}

        %y = And(%m:bool[1,1,8], %true:bool[1,8,1])        --->   %y = Expand(%m, [1, 8, 8])

    Before ops that broadcast, where the result keeps its shape; and before a Gather, Slice or Split that
    takes one copy each. Copies of which every one is computed with alike are made afterwards: Sub(Tile(x), c)
    becomes Tile(Sub(x, c)). A neutral operand of a boolean op that only widens the other is the Expand that it amounts to,
    so that it can go the same way. Exact.
    """

    stage = Stage.CANONICALIZE
    after = ("eliminate-no-ops",)

    @property
    def roots(self) -> tuple[str, ...]:
        """The reader of the copies."""
        return (*_ELEMENTWISE, "Gather", "Slice", "Split")

    def match(self, node: Node) -> Match:
        """The operand behind the copies, captured as `x`."""
        if node.op_type == "Gather":
            return self._gather(node)
        if node.op_type in ("Slice", "Split"):
            return self._parts(node)
        if node.op_type in _NEUTRAL:
            widened = _widened(node)
            if widened is not None:
                return Match(node, {"x": widened}, {"widening": node}, (node,))
        for index, value in enumerate(node.inputs):
            x = _copied(value)
            if x is None:
                continue
            others = [dims(item) for position, item in enumerate(node.inputs) if position != index]
            if _broadcast([dims(x), *others]) == dims(node.outputs[0]) is not None:
                return Match(node, {"x": x, "copies": value}, {}, (node,))
            if _alike(x, value, others, dims(node.outputs[0])):
                producer = value.producer() if value is not None else None
                assert producer is not None
                return Match(node, {"x": x, "copies": value}, {"copier": producer}, (producer, node))
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

    def _parts(self, node: Node) -> Match:
        """Parts of one copy each."""
        x = _copied(node.inputs[0])
        cut = node.op_type == "Slice" and window(node) is None
        if (
            x is None
            or cut
            or any(dims(out) != dims(x) or None in (dims(out) or (None,)) for out in node.outputs)
        ):
            raise MatchFailure("the parts are not one copy each", node)
        if any(a != b and b != 1 for a, b in zip(dims(node.inputs[0]) or (), dims(x) or (), strict=True)):
            raise MatchFailure("another axis is cut too", node)
        return Match(node, {"x": x}, {}, (node,))

    def rewrite(self, match: Match, rewriter: Rewriter) -> Value | list[Value] | None:
        """Read the one copy there is."""
        node = match.root
        if node.op_type in ("Slice", "Split"):
            return [match["x"]] * len(node.outputs)
        if "widening" in match.named:
            shape = np.array(static_dims(node.outputs[0]), np.int64)
            return rewriter.op("Expand", match["x"], rewriter.constant(shape))
        if "copier" in match.named:
            copier = match.node("copier")
            operands = [match["x"] if item is match["copies"] else item for item in node.inputs]
            attributes: dict[str, Any] = dict(node.attributes.items())
            return rewriter.op(
                copier.op_type, rewriter.op(node.op_type, *operands, **attributes), copier.inputs[1]
            )
        if node.op_type == "Gather":
            index = constant_array(node.inputs[1])
            assert index is not None
            axis = node.attributes.get_int("axis", 0)
            return rewriter.op("Gather", match["x"], rewriter.constant(np.zeros_like(index)), axis=axis)
        # The first one only: another operand that is the same value gives the result its shape.
        rewriter.set_input(node, node.inputs.index(match["copies"]), match["x"])
        return None


def _widened(node: Node) -> Value | None:
    """The operand of a boolean op that a neutral constant gives the shape of the result, and does nothing else to."""
    if static_dims(node.outputs[0]) is None:
        return None
    for x, constant in (node.inputs, node.inputs[::-1]):
        content = constant_array(constant)
        if content is not None and content.size and bool(np.all(content == _NEUTRAL[node.op_type])):
            return x
    return None


def _copied(value: Value | None) -> Value | None:
    """The operand of an Expand, or of a Tile that repeats dimensions of size 1 only; some of the copies count as well."""
    node = value.producer() if value is not None else None
    if node is not None and node.op_type == "Slice" and node.domain == "":
        return _some_copies(node)
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


def _some_copies(node: Node) -> Value | None:
    """What a Slice takes copies of."""
    inner = node.inputs[0].producer() if node.inputs[0] is not None else None
    x = _copied(node.inputs[0]) if inner is not None and inner.op_type != "Slice" else None
    before, after = dims(x), dims(node.outputs[0])
    if before is None or after is None or len(before) != len(after) or window(node) is None:
        return None
    return (
        x if all(a == 1 or (a == b and a is not None) for a, b in zip(before, after, strict=True)) else None
    )


def _alike(x: Value, copies: Value | None, others: list[Dims | None], out: Dims | None) -> bool:
    """True where every copy is computed with the same: the other operands do not vary along the axes of the copies."""
    before, after = dims(x), dims(copies)
    node = copies.producer() if copies is not None else None
    if before is None or after is None or out != after or len(before) != len(after) or node is None:
        return False
    if node.op_type not in ("Expand", "Tile") or copies is None:
        return False
    if use_count(copies) != 1 or copies.is_graph_output():
        return False
    copied = [axis for axis, (a, b) in enumerate(zip(before, after, strict=True)) if a != b]
    for other in others:
        if other is None or len(other) > len(after):
            return False
        padded = (1,) * (len(after) - len(other)) + other
        if any(padded[axis] != 1 for axis in copied):
            return False
    rest = _broadcast([before, *others])
    # What is computed on one copy must be one copy of the result.
    return rest is not None and all(
        a == b for axis, (a, b) in enumerate(zip(rest, after, strict=True)) if axis not in copied
    )


def _broadcast(shapes: list[Dims | None]) -> Dims | None:
    """The shape of the result, None where a dimension can't be told."""
    found: Dims = ()
    for shape in shapes:
        if shape is None or None in shape:
            return None
        found = broadcast(found, shape)
    return None if None in found else found
