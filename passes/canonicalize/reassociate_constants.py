"""Constants of nested sums and products are combined."""

from __future__ import annotations

import dataclasses

import numpy as np

from graphrewrite.ir import Array, Value, constant_array, rank
from graphrewrite.pipeline import PatternPass, Stage
from graphrewrite.rewrite import Match, Rewriter, constant, op, value


@dataclasses.dataclass(frozen=True)
class ReassociateConstants(PatternPass):
    """Combine the constants of nested products, and of nested sums.

        %a = Mul(%x, 0.5)                                  --->   %y = Mul(%x, 0.4)
        %y = Mul(%a, 0.8)

    Only where the combined constant is no larger than the larger of the two: [1, 1, H, W] + [C, 1, 1] stays
    two sums. Floating point only. Exact.
    """

    stage = Stage.CANONICALIZE
    after = ("eliminate-no-ops", "fuse-gelu", "fuse-hard-swish", "fuse-layer-normalization")
    patterns = tuple(
        op(outer, op(inner, value("x"), constant("a"), name="inner"), constant("b"))
        for pair in (("Mul", "Div"), ("Add", "Sub"))
        for outer in pair
        for inner in pair
    )

    def check(self, match: Match) -> None:
        """The combined constant must be finite, nonzero where it multiplies, and no larger."""
        a, b = match.array("a"), match.array("b")
        if a.dtype.kind != "f" or a.dtype != b.dtype:
            match.fail("integers may overflow", match["a"])
        x, out = match["x"], match.root.outputs[0]
        if rank(x) is None or rank(x) != rank(out):
            match.fail("the rank of the result is not the operand's", x)
        if np.broadcast(a, b).size > max(a.size, b.size):
            match.fail("the combined constant would be larger", match["a"])
        combined = _combine(match)
        if not np.isfinite(combined).all() or (match.root.op_type in ("Mul", "Div") and not combined.all()):
            match.fail("the combined constant is not finite or vanishes", match["a"])

    def rewrite(self, match: Match, rewriter: Rewriter) -> Value:
        """One op with the combined constant."""
        kind = "Mul" if match.root.op_type in ("Mul", "Div") else "Add"
        return rewriter.op(kind, match["x"], rewriter.constant(_combine(match)))


def _combine(match: Match) -> Array:
    sides = []
    with np.errstate(all="ignore"):
        for name, node in (("a", match.node("inner")), ("b", match.root)):
            array = constant_array(match[name])
            assert array is not None
            wide = array.astype(np.float64)
            sides.append({"Div": np.reciprocal, "Sub": np.negative}.get(node.op_type, np.positive)(wide))
        combined = sides[0] * sides[1] if match.root.op_type in ("Mul", "Div") else sides[0] + sides[1]
        return combined.astype(match.array("a").dtype)
