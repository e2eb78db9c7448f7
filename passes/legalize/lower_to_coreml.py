"""Every ONNX node becomes Core ML ops by its op row."""

from __future__ import annotations

import dataclasses

from graphrewrite.ir import Model
from graphrewrite.pipeline import Pass, Stage
from graphrewrite.registry import lower
from graphrewrite.rewrite import Rewriter, RuleStatistics


@dataclasses.dataclass(frozen=True)
class LowerToCoreml(Pass):
    """Lower ONNX to the `mil` dialect.

        %y = Conv(%x, %w) {pads=[1, 0, 1, 0]}
        --->
        %y = mil.conv(%x, %w) {pad_type=custom, pad=[1, 1, 0, 0]}

    Everything that Core ML can't hold, or can't on the oldest system that the file is to run on, is reported at once. Exact.
    """

    minimum_deployment_target: str = "iOS15"

    stage = Stage.LEGALIZE
    mandatory = True
    targets = frozenset({"coreml"})
    after = ("widen-half", "keep-quantized-weights", "merge-axes", "images-channels-first")

    def run(self, model: Model, rewriter: Rewriter) -> dict[str, RuleStatistics]:
        """Lower the whole model; raises NotExpressible with every blocker."""
        from graphrewrite.targets.coreml.builder import MIL

        lower(model, rewriter, "coreml", lambda made: MIL(made, self.minimum_deployment_target), "mil")
        return {}
