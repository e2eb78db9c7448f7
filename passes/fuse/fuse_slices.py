"""Slices and picks that share out a whole axis become one Split."""

from __future__ import annotations

import dataclasses
from collections import defaultdict

import numpy as np

from graphrewrite.ir import Model, Node, Value, all_graphs, constant_array, constant_ints, dims
from graphrewrite.pipeline import Pass, Stage
from graphrewrite.rewrite import Rewriter, RuleStatistics

PARTS = 4
"""Delegates split into up to this many equal parts; more stay as they are."""


@dataclasses.dataclass(frozen=True)
class _Part:
    node: Node
    start: int
    size: int
    squeezed: bool
    """A Gather of one position, which drops the axis."""


@dataclasses.dataclass(frozen=True)
class FuseSlices(Pass):
    """Make one Split of the Slices, or Gathers of single positions, that take an axis apart.

        %q = Slice(%x:float[3,1,4,8], [0], [1], [0])
        %k = Gather(%x, 1) {axis=0}                      --->   %q, %a, %v = Split(%x) {axis=0, num_outputs=3}
        %v = Slice(%x, [2], [3], [0])                           %k = Squeeze(%a, [0])

    Two to four equal parts, all of them there. Exact.
    """

    stage = Stage.FUSE
    after = ("tidy",)

    def run(self, model: Model, rewriter: Rewriter) -> dict[str, RuleStatistics]:
        """Each graph in its own order, so that a Split stands before the first of its parts."""
        for graph in all_graphs(model.graph):
            cuts: dict[tuple[Value, int], list[_Part]] = defaultdict(list)
            for node in graph:
                x = node.inputs[0] if node.domain == "" and node.inputs else None
                if x is None:
                    continue
                found = {"Slice": _slice, "Gather": _pick}.get(node.op_type, _nothing)(node)
                if found is not None:
                    cuts[x, found[0]].append(found[1])
            for (x, axis), parts in cuts.items():
                first = parts[0].node
                if first.graph is graph and _shares_out(x, axis, parts) and rewriter.allowed():
                    with rewriter.rewrite(self.name, first, [part.node for part in parts[1:]]):
                        _split(x, axis, parts, rewriter)
        return {}


def _nothing(node: Node) -> None:
    return None


def _slice(node: Node) -> tuple[int, _Part] | None:
    """Axis and part of a Slice that cuts one axis without steps."""
    known, out = dims(node.inputs[0]), dims(node.outputs[0])
    lists = [constant_ints(item) for item in node.inputs[1:] if item is not None]
    if known is None or out is None or len(node.inputs) < 4 or any(item is None for item in lists):
        return None
    if len(lists) == 4 and lists[3] != [1]:
        return None
    starts, axes = lists[0], lists[2]
    if starts is None or axes is None or len(axes) != 1:
        return None
    axis = axes[0] % len(known)
    whole, size = known[axis], out[axis]
    if not isinstance(whole, int) or not isinstance(size, int):
        return None
    start = starts[0] + whole if starts[0] < 0 else starts[0]
    return axis, _Part(node, start, size, False)


def _pick(node: Node) -> tuple[int, _Part] | None:
    """Axis and part of a Gather of one position."""
    known, index = dims(node.inputs[0]), constant_array(node.inputs[1])
    if known is None or index is None or index.shape != ():
        return None
    axis = node.attributes.get_int("axis", 0) % len(known)
    whole, start = known[axis], int(index)
    if not isinstance(whole, int):
        return None
    return axis, _Part(node, start + whole if start < 0 else start, 1, True)


def _shares_out(x: Value, axis: int, parts: list[_Part]) -> bool:
    """True where the parts are equal, cover the axis and are few enough."""
    whole = (dims(x) or ())[axis]
    starts = sorted({part.start for part in parts})
    size = parts[0].size
    return (
        isinstance(whole, int)
        and 2 <= len(starts) <= PARTS
        and all(part.size == size for part in parts)
        and starts == list(range(0, whole, size))
        and size * len(starts) == whole
    )


def _split(x: Value, axis: int, parts: list[_Part], rewriter: Rewriter) -> None:
    size = parts[0].size
    count = max(part.start for part in parts) // size + 1
    outputs = rewriter.ops("Split", x, outputs=count, axis=axis, num_outputs=count)
    values = [outputs[part.start // size] for part in parts]
    for index, part in enumerate(parts):
        if part.squeezed:
            values[index] = rewriter.op(
                "Squeeze", values[index], rewriter.constant(np.array([axis], np.int64))
            )
    for part, value in zip(parts, values, strict=True):
        rewriter.replace(part.node, value)
