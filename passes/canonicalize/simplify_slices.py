"""Slices of slices, and picks from slices, become one."""

from __future__ import annotations

import dataclasses

import numpy as np

from graphrewrite.ir import Array, Dims, Node, Value, constant_array, constant_ints, dims
from graphrewrite.pipeline import RewritePass, Stage
from graphrewrite.rewrite import Match, MatchFailure, Rewriter

_TO_END = (1 << 63) - 1
Window = dict[int, tuple[int, int, int]]
"""(start, end, step) of each axis that is cut; numbers from 0 on, an end of _TO_END is the end of the axis."""


@dataclasses.dataclass(frozen=True)
class SimplifySlices(RewritePass):
    """Merge Slice chains, and Gather of single positions behind a Slice.

        %a = Slice(%x, [2], [5], [1])                      --->   %y = Gather(%x, 3) {axis=1}
        %y = Gather(%a, 1) {axis=1}

    A Gather of the only position of an axis is a Squeeze. Forward steps and bounds that count from the front
    (or an end that counts from the back of an axis that is cut once). Exact.
    """

    stage = Stage.CANONICALIZE
    after = ("eliminate-no-ops",)

    @property
    def roots(self) -> tuple[str, ...]:
        """The second op."""
        return ("Slice", "Gather")

    def match(self, node: Node) -> Match:
        """The value before the first Slice, captured as `x`."""
        if node.op_type == "Gather" and _picks_all(node) and node.inputs[0] is not None:
            return Match(node, {"x": node.inputs[0]}, {}, (node,))
        inner = node.inputs[0].producer() if node.inputs[0] is not None else None
        if inner is None or inner.op_type != "Slice" or inner.domain != "" or inner.inputs[0] is None:
            raise MatchFailure("the operand comes from no Slice", node)
        x = inner.inputs[0]
        first = window(inner)
        if first is None:
            raise MatchFailure("the bounds of the first Slice are not known", inner)
        if node.op_type == "Gather":
            self._check_gather(node, first)
        else:
            second = window(node)
            if second is None or _compose(first, second, dims(x)) is None:
                raise MatchFailure("the bounds of the two can't be combined now", node)
        return Match(node, {"x": x}, {"inner": inner}, (inner, node))

    def _check_gather(self, node: Node, first: Window) -> None:
        index, known = _index(node), dims(node.inputs[0])
        if index is None or index.size != 1 or known is None or index.reshape(-1)[0] < 0:
            raise MatchFailure("the position is not one known number from the front", node)
        axis = node.attributes.get_int("axis", 0) % len(known)
        if set(first) != {axis} or not isinstance(known[axis], int):
            raise MatchFailure("the Slice cuts another axis", node)

    def rewrite(self, match: Match, rewriter: Rewriter) -> Value:
        """One Slice or Gather of the first value."""
        node, x = match.root, match["x"]
        if "inner" not in match.named:
            axis = node.attributes.get_int("axis", 0)
            return rewriter.op("Squeeze", x, rewriter.constant(np.array([axis], np.int64)))
        first = window(match.node("inner"))
        assert first is not None
        if node.op_type == "Gather":
            index, size = _index(node), dims(node.inputs[0])
            assert index is not None
            assert size is not None
            axis = node.attributes.get_int("axis", 0) % len(size)
            start, _, step = first[axis]
            return rewriter.op("Gather", x, rewriter.constant(start + index * step), axis=axis)
        second = window(node)
        assert second is not None
        both = _compose(first, second, dims(x))
        assert both is not None
        axes = sorted(both)
        operands = list(zip(*(both[axis] for axis in axes), strict=True))
        starts, ends, steps = (rewriter.constant(np.array(item, np.int64)) for item in operands)
        return rewriter.op("Slice", x, starts, ends, rewriter.constant(np.array(axes, np.int64)), steps)


def _index(node: Node) -> Array | None:
    return constant_array(node.inputs[1])


def _picks_all(node: Node) -> bool:
    """True where a Gather takes the one position of an axis of size 1, as a scalar: it is a Squeeze."""
    index, known = _index(node), dims(node.inputs[0])
    if index is None or index.shape != () or not known:
        return False
    return known[node.attributes.get_int("axis", 0) % len(known)] == 1


def window(node: Node) -> Window | None:
    """What a Slice cuts, None where it is not known, goes backwards or counts from an unknown end."""
    known = dims(node.inputs[0])
    lists = [constant_ints(value) if value is not None else None for value in node.inputs[1:]]
    given = [value is not None for value in node.inputs[1:]]
    if known is None or any(flag and found is None for flag, found in zip(given, lists, strict=True)):
        return None
    starts, ends = lists[0] or [], lists[1] or []
    axes = lists[2] if len(lists) > 2 and lists[2] is not None else list(range(len(starts)))
    steps = lists[3] if len(lists) > 3 and lists[3] is not None else [1] * len(starts)
    found: Window = {}
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        size = known[axis % len(known)]
        if isinstance(size, int):
            start, end = (min(max(item + size if item < 0 else item, 0), size) for item in (start, end))
        elif end >= 1 << 31:
            end = _TO_END
        elif end < 0:
            return None
        if start < 0 or step < 1:
            return None
        found[axis % len(known)] = start, end, step
    return found


def _compose(first: Window, second: Window, known: Dims | None) -> Window | None:
    out = dict(first)
    for axis, (start, end, step) in second.items():
        if axis not in first:
            out[axis] = start, end, step
            continue
        low, high, stride = first[axis]
        if end != _TO_END:
            high = min(high, low + end * stride) if high != _TO_END else low + end * stride
        out[axis] = low + start * stride, high, stride * step
    return out if known is not None else None
