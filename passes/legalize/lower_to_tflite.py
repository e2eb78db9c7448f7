"""Every ONNX node becomes TFLite operators by its op row."""

from __future__ import annotations

import dataclasses

from graphrewrite.ir import Model
from graphrewrite.pipeline import Pass, Stage
from graphrewrite.registry import lower
from graphrewrite.rewrite import Rewriter, RuleStatistics


@dataclasses.dataclass(frozen=True)
class LowerToTflite(Pass):
    """Lower ONNX to the `tflite` dialect.

        %y = Conv(%x, %w) {pads=[1, 1, 1, 1]}
        --->
        %a = tflite.TRANSPOSE(%x, [0, 2, 3, 1])
        %b = tflite.CONV_2D(%a, %w', %zero) {padding=SAME}
        %y = tflite.TRANSPOSE(%b, [0, 3, 1, 2])

    Operators that want channels last are wrapped in transposes, which `assign-layout` then removes. Everything that TFLite can't
    hold is reported at once. Exact.
    """

    stage = Stage.LEGALIZE
    mandatory = True
    targets = frozenset({"tflite"})
    after = ("widen-half",)

    def run(self, model: Model, rewriter: Rewriter) -> dict[str, RuleStatistics]:
        """Lower the whole model; raises NotExpressible with every blocker."""
        from graphrewrite.targets.tflite.builder import TFLite

        lower(model, rewriter, "tflite", TFLite)
        return {}
