"""What the earlier passes left lying about is put in the canonical spelling again."""

from __future__ import annotations

import dataclasses

from graphrewrite.ir import Model
from graphrewrite.pipeline import Pass, Stage
from graphrewrite.rewrite import Rewriter, RuleStatistics, apply_rules

from ..canonicalize.eliminate_common_subexpressions import EliminateCommonSubexpressions
from ..canonicalize.eliminate_no_ops import EliminateNoOps
from ..canonicalize.fold_affine_into_conv import FoldAffineIntoConv
from ..canonicalize.fuse_pad_into_conv import FusePadIntoConv
from ..canonicalize.reassociate_constants import ReassociateConstants
from ..canonicalize.simplify_broadcasts import SimplifyBroadcasts
from ..canonicalize.simplify_casts import SimplifyCasts
from ..canonicalize.simplify_reshapes import SimplifyReshapes
from ..canonicalize.simplify_slices import SimplifySlices
from ..canonicalize.simplify_transposes import SimplifyTransposes


@dataclasses.dataclass(frozen=True)
class Tidy(Pass):
    """Apply the canonical rules once more, all together, between the generative passes and the fusions.

        %a = Reshape(%x:float[2,8,4,4], [1, 16, 4, 4])     --->   %y = Relu(%x)
        %b = Reshape(%a, [2, 8, 4, 4])
        %y = Relu(%b)

    The rules of `eliminate-no-ops`, `simplify-reshapes`, `simplify-transposes`, `simplify-slices`,
    `simplify-broadcasts`, `simplify-casts`, `reassociate-constants`, `fuse-pad-into-conv` and
    `fold-affine-into-conv`, until none applies, then common subexpressions. Exact.
    """

    stage = Stage.FUSE

    def run(self, model: Model, rewriter: Rewriter) -> dict[str, RuleStatistics]:
        """One worklist for all rules."""
        rules = [
            EliminateNoOps(),
            SimplifyReshapes(),
            SimplifyTransposes(),
            SimplifySlices(),
            SimplifyBroadcasts(),
            SimplifyCasts(),
            ReassociateConstants(),
            FusePadIntoConv(),
            FoldAffineIntoConv(),
        ]
        statistics = apply_rules(model, rules, rewriter)
        EliminateCommonSubexpressions().run(model, rewriter)
        return statistics
