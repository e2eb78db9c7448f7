"""Transposes on both sides of operators that compute each row by itself become one."""

from __future__ import annotations

import dataclasses

from graphrewrite.ir import Model
from graphrewrite.layout.rows import MergeAcrossRowsRule
from graphrewrite.pipeline import Pass, Stage
from graphrewrite.rewrite import Rewriter, RuleStatistics, apply_rules


@dataclasses.dataclass(frozen=True)
class MergeTransposesAcrossRows(Pass):
    """Move views that only arrange rows to before the operators that compute the rows.

        %a = TRANSPOSE(%x:float[64,3,49,32], [0, 2, 1, 3])
        %b = RESHAPE(%a, [64, 49, 96])                           %a = RESHAPE(%x, [8, 8, 3, 7, 7, 32])
        %c = FULLY_CONNECTED(%b, ...)                     --->   %b = TRANSPOSE(%a, [0, 3, 1, 4, 2, 5])
        %d = RESHAPE(%c, [1, 8, 8, 7, 7, 96])                    %c = RESHAPE(%b, [1, 8, 7, 8, 7, 96])
        %e = TRANSPOSE(%d, [0, 1, 3, 2, 4, 5])                   %e = FULLY_CONNECTED(%c, ...)

    Only up to rank 6, which XNNPACK transposes: beyond that two transposes are faster than one (measured). Exact.
    """

    stage = Stage.LAYOUT
    after = ("assign-layout",)
    targets = frozenset({"tflite"})

    def run(self, model: Model, rewriter: Rewriter) -> dict[str, RuleStatistics]:
        """Apply the rule everywhere."""
        from graphrewrite.targets.tflite.layout_dialect import TFLiteLayout

        rule = MergeAcrossRowsRule(self.name, TFLiteLayout(), ("TRANSPOSE", "RESHAPE"))
        return apply_rules(model, [rule], rewriter)
