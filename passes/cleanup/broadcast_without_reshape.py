"""A reshape that only adds leading ones is what broadcasting does by itself."""

from __future__ import annotations

import dataclasses

from graphrewrite.ir import Node, static_dims
from graphrewrite.pipeline import RewritePass, Stage
from graphrewrite.rewrite import Match, MatchFailure, Rewriter

BINARY = ("ADD", "SUB", "MUL", "DIV", "MAXIMUM", "MINIMUM", "SQUARED_DIFFERENCE")


@dataclasses.dataclass(frozen=True)
class BroadcastWithoutReshape(RewritePass):
    """Read a broadcast operand as it was before a RESHAPE that changed only its leading ones.

        %s4:[1, 1, 1, 512] = tflite.RESHAPE(%s:[1, 512])    %y = tflite.MUL(%x:[1, 8, 8, 512], %s4)
        --->
        %y = tflite.MUL(%x:[1, 8, 8, 512], %s)

    Style scales of modulated convolutions end so: dimensions are aligned at the end, and those missing in
    front are ones. Only where the other operand has the result's rank. Exact.
    """

    stage = Stage.FINISH
    targets = frozenset({"tflite"})

    @property
    def roots(self) -> tuple[str, ...]:
        """Binary operators that broadcast."""
        return tuple(f"tflite.{name}" for name in BINARY)

    def match(self, node: Node) -> Match:
        """The operand to read from before its RESHAPE."""
        for index in (0, 1):
            value, other = node.inputs[index], node.inputs[1 - index]
            producer = value.producer() if value is not None else None
            if (
                value is None
                or value is other  # a square: both would lose the dimension
                or producer is None
                or producer.domain != "tflite"
                or producer.op_type != "RESHAPE"
            ):
                continue
            before, after, partner = static_dims(producer.inputs[0]), static_dims(value), static_dims(other)
            if before is None or after is None or partner is None:
                continue
            if len(partner) >= len(after) and len(partner) >= len(before) and _core(before) == _core(after):
                return Match(node, {"source": producer.inputs[0]}, {"reshape": producer}, (node,))
        raise MatchFailure("no operand comes from a RESHAPE that only changes leading ones")

    def rewrite(self, match: Match, rewriter: Rewriter) -> None:
        """Read the source instead; the RESHAPE goes when nothing else reads it."""
        reshaped = match.node("reshape").outputs[0]
        for index, value in enumerate(match.root.inputs):
            if value is reshaped:
                rewriter.set_input(match.root, index, match["source"])


def _core(dims: tuple[int, ...]) -> tuple[int, ...]:
    """Dimensions without the leading ones."""
    first = next((index for index, dim in enumerate(dims) if dim != 1), len(dims))
    return dims[first:]
