"""Uneven splits become slices."""

from __future__ import annotations

import dataclasses

import numpy as np

from graphrewrite.ir import DataType, Node, Value, constant_ints, static_dims
from graphrewrite.pipeline import RewritePass, Stage
from graphrewrite.rewrite import Match, MatchFailure, Rewriter


@dataclasses.dataclass(frozen=True)
class SliceUnevenSplits(RewritePass):
    """Use SLICE, which delegates take, for SPLIT_V, which they do not.

        %a, %b = SPLIT_V(%x, [2, 6], 3)                  --->   %a = SLICE(%x, [0, 0, 0, 0], [1, 8, 8, 2])
                                                                %b = SLICE(%x, [0, 0, 0, 2], [1, 8, 8, 6])

    Of float32, with known shapes and up to `parts` parts that are read; parts that nothing reads are not computed. Exact.
    """

    stage = Stage.FINISH
    targets = frozenset({"tflite"})
    roots = ("tflite.SPLIT_V",)
    parts: int = 8

    def match(self, node: Node) -> Match:
        """The operand, and the axis."""
        x, axes = node.inputs[0], constant_ints(node.inputs[2])
        if x is None or axes is None or x.dtype != DataType.FLOAT or static_dims(x) is None:
            raise MatchFailure("a shape is known only at run time, or the values are not float32", node)
        if any(static_dims(value) is None for value in node.outputs):
            raise MatchFailure("the sizes are known only at run time", node)
        if sum(1 for value in node.outputs if _is_read(value)) > self.parts:
            raise MatchFailure("so many slices cost more than one split", node)
        return Match(node, {"x": x}, {}, (node,))

    def rewrite(self, match: Match, rewriter: Rewriter) -> list[Value | None]:
        """One SLICE a part."""
        x, node = match["x"], match.root
        rank = len(static_dims(x) or ())
        axis = (constant_ints(node.inputs[2]) or [0])[0] % rank
        start, results = 0, list[Value | None]()
        for value in node.outputs:
            sizes = static_dims(value) or ()
            begin = np.zeros(rank, np.int32)
            begin[axis] = start
            start += sizes[axis]
            operands = (rewriter.constant(begin), rewriter.constant(np.array(sizes, np.int32)))
            results.append(rewriter.op("SLICE", x, *operands, domain="tflite") if _is_read(value) else None)
        return results


def _is_read(value: Value) -> bool:
    return bool(value.uses()) or value.is_graph_output()
