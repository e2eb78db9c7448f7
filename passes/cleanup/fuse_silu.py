"""A value times its own sigmoid becomes Core ML's silu."""

from __future__ import annotations

import dataclasses

from graphrewrite.ir import Value
from graphrewrite.pipeline import PatternPass, Stage
from graphrewrite.rewrite import Match, Rewriter, op, value

_X = value("x")


@dataclasses.dataclass(frozen=True)
class FuseSilu(PatternPass):
    """Use the one op for x * sigmoid(x).

        %a = mil.sigmoid(%x)
        %y = mil.mul(%x, %a)                                   --->   %y = mil.silu(%x)

    After lowering, because ONNX Runtime does not know ONNX's own Swish. Exact.
    """

    stage = Stage.FINISH
    targets = frozenset({"coreml"})
    patterns = tuple(
        op("mul", *operands, domain="mil")
        for operands in ((_X, op("sigmoid", _X, domain="mil")), (op("sigmoid", _X, domain="mil"), _X))
    )

    def rewrite(self, match: Match, rewriter: Rewriter) -> Value:
        """One op."""
        return rewriter.op("silu", match["x"], domain="mil")
