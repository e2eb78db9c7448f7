"""A TRANSPOSE that moves only dimensions of size 1 leaves memory as it is: it becomes a RESHAPE."""

from __future__ import annotations

import dataclasses

from graphrewrite.ir import Node, Value, constant_ints, dims
from graphrewrite.layout.perms import moves_only_ones, permute
from graphrewrite.pipeline import RewritePass, Stage
from graphrewrite.rewrite import Match, MatchFailure, Rewriter


@dataclasses.dataclass(frozen=True)
class TransposeToReshape(RewritePass):
    """Replace transposes that move nothing.

        %y:float[1,1,1,64] = TRANSPOSE(%x:float[1,64,1,1], [0, 2, 3, 1])
        --->
        %y:float[1,1,1,64] = RESHAPE(%x, [1, 1, 1, 64])

    Exact.
    """

    stage = Stage.LAYOUT
    after = ("assign-layout",)
    targets = frozenset({"tflite"})
    roots = ("tflite.TRANSPOSE",)

    def match(self, node: Node) -> Match:
        """A TRANSPOSE with a constant order that keeps the other dimensions in place."""
        order, known = constant_ints(node.inputs[1]), dims(node.inputs[0])
        if order is None or known is None:
            raise MatchFailure("the order or the rank is known only at run time", node)
        if not moves_only_ones(known, tuple(axis % len(known) for axis in order)):
            raise MatchFailure("it moves dimensions of more than one element", node)
        return Match(node, {"x": node.inputs[0]}, {}, (node,))

    def rewrite(self, match: Match, rewriter: Rewriter) -> Value:
        """Build the RESHAPE; an order that changes nothing goes altogether."""
        from graphrewrite.targets.tflite.layout_dialect import TFLiteLayout

        known = dims(match["x"]) or ()
        order = constant_ints(match.root.inputs[1]) or []
        target = permute(known, tuple(axis % len(known) for axis in order))
        if order == sorted(order):
            return match["x"]
        return TFLiteLayout().reshape(rewriter, match["x"], target)
