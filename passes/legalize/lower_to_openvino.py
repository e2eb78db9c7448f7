"""Every ONNX node becomes one that OpenVINO's front end reads right."""

from __future__ import annotations

import dataclasses

from graphrewrite.ir import Model
from graphrewrite.pipeline import Pass, Stage
from graphrewrite.registry import legalize
from graphrewrite.rewrite import Rewriter, RuleStatistics


@dataclasses.dataclass(frozen=True)
class LowerToOpenvino(Pass):
    """Rewrite in other ONNX ops what OpenVINO's front end lacks or gets wrong.

        %y = Pad(%x, [0, 2, 0, 1]) {mode=wrap}
        --->
        %y = Gather(%x, [2, 3, 0, 1, 2, 3, 0]) {axis=1}

    All other nodes stay as they are. What can't be written otherwise is reported at once. Exact.
    """

    stage = Stage.LEGALIZE
    mandatory = True
    targets = frozenset({"openvino"})

    def run(self, model: Model, rewriter: Rewriter) -> dict[str, RuleStatistics]:
        """Legalise the whole model; raises NotExpressible with every blocker."""
        from graphrewrite.targets.openvino.support import unreadable

        legalize(model, rewriter, "openvino", unreadable)
        return {}
