"""A division by a square root becomes a product with RSQRT."""

from __future__ import annotations

import dataclasses

from graphrewrite.ir import DataType, Value, rank
from graphrewrite.pipeline import PatternPass, Stage
from graphrewrite.rewrite import Match, Rewriter, op, scalar, value


@dataclasses.dataclass(frozen=True)
class FuseRsqrt(PatternPass):
    """Use the RSQRT kernel.

        %a = SQRT(%v)                                           %a = RSQRT(%v)
        %y = DIV(%x, %a)                                 --->   %y = MUL(%x, %a)

    1 / sqrt(v) is the RSQRT alone. Where something else reads the root, too, only that. Exact.
    """

    stage = Stage.FINISH
    targets = frozenset({"tflite"})
    patterns = (
        op(
            "DIV",
            scalar(1.0),
            op("SQRT", value("v"), domain="tflite", shared=True),
            domain="tflite",
        ),
        op("DIV", value("x"), op("SQRT", value("v"), domain="tflite"), domain="tflite"),
    )

    def check(self, match: Match) -> None:
        """float32; a 1 that gives the root no dimension; no activation on an RSQRT."""
        if match["v"].dtype != DataType.FLOAT:
            match.fail("only float32 has this kernel", match["v"])
        if "x" in match.values:
            return
        if rank(match.root.outputs[0]) is None or rank(match.root.outputs[0]) != rank(match["v"]):
            match.fail("the 1 gives the result a dimension", match.root)
        if match.root.attributes.get_string("fused_activation_function", "NONE") != "NONE":
            match.fail("an activation follows", match.root)

    def rewrite(self, match: Match, rewriter: Rewriter) -> Value:
        """RSQRT, and a MUL where another value than 1 is divided."""
        inverse = rewriter.op("RSQRT", match["v"], domain="tflite")
        if "x" not in match.values:
            return inverse
        activation = match.root.attributes.get_string("fused_activation_function", "NONE")
        return rewriter.op("MUL", match["x"], inverse, domain="tflite", fused_activation_function=activation)
