"""Adding a negated value is a subtraction."""

from __future__ import annotations

import dataclasses

from graphrewrite.ir import Value
from graphrewrite.pipeline import PatternPass, Stage
from graphrewrite.rewrite import Match, Rewriter, op, value


@dataclasses.dataclass(frozen=True)
class UseSubtraction(PatternPass):
    """Subtract where a negated value was added.

        %a = Neg(%y)
        %z = Add(%x, %a)   --->   %z = Sub(%x, %y)

    Exact to the bit: IEEE 754 defines x - y as x + (-y). With `floats_only`, integer sums are left alone.
    """

    floats_only: bool = False

    stage = Stage.CANONICALIZE
    patterns = (op("Add", value("x"), op("Neg", value("y"))),)

    def check(self, match: Match) -> None:
        """The type is one that the option allows."""
        dtype = match["x"].dtype
        if self.floats_only and (dtype is None or not dtype.is_floating_point()):
            match.fail("the sum is not one of floats, and floats_only is set", match["x"])

    def rewrite(self, match: Match, rewriter: Rewriter) -> Value:
        """The difference."""
        return rewriter.op("Sub", match["x"], match["y"])
