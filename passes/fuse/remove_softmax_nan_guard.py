"""The guard against rows without any unmasked score goes where no such row can be, and costs one product where one can."""

from __future__ import annotations

import dataclasses

import numpy as np

from graphrewrite.ir import DataType, Model, Value
from graphrewrite.pipeline import PatternPass, Stage
from graphrewrite.rewrite import Match, Rewriter, RuleStatistics, constant, op, value

from ..canonicalize.eliminate_common_subexpressions import EliminateCommonSubexpressions
from .masked_scores import Mask, masks_of


@dataclasses.dataclass(frozen=True)
class RemoveSoftmaxNanGuard(PatternPass):
    """Drop `Where(IsNaN(p), 0, p)` behind a Softmax, or compute it once for all that have the same mask.

        %p = Softmax(%scores)
        %n = IsNaN(%p)                                     --->   %y = Softmax(%scores)
        %y = Where(%n, 0.0, %p)

        %m = Where(%c, 0.0, -inf)                                 %any = ReduceMax(%c, -1)
        %s = Add(%scores, %m)                                     %m = Where(Or(%c, Not(%any)), 0.0, -inf)
        %p = Softmax(%s)                                   --->   %s = Add(%scores, %m)
        %n = IsNaN(%p)                                            %p = Softmax(%s)
        %y = Where(%n, 0.0, %p)                                   %y = Mul(%p, %any)

    A row of the Softmax is NaN where all its scores are minus infinity. The guard goes where the scores are products
    and sums of finite values and of at most one mask that leaves a finite score in every row: a constant one such as a
    causal mask, or one that is chosen at run time but masks with a finite number. Where the mask is minus infinity,
    rows that it covers as a whole are unmasked and multiplied by 0 afterwards: the choice of rows is as large as the
    mask, and computed once for all layers. Exact for finite inputs.
    """

    stage = Stage.FUSE
    after = ("tidy",)
    patterns = (
        op(
            "Where",
            op("IsNaN", op("Softmax", value("scores"), name="softmax", output="p", shared=True)),
            constant("zero"),
            value("q"),
        ),
    )

    def run(self, model: Model, rewriter: Rewriter) -> dict[str, RuleStatistics]:
        """Apply the rule; what layers that share a mask compute of it is computed once."""
        statistics = super().run(model, rewriter)
        if any(item.applied for item in statistics.values()):
            EliminateCommonSubexpressions().run(model, rewriter)
        return statistics

    def check(self, match: Match) -> None:
        """The guarded value must be the Softmax itself, with a finite score in every row but those of one mask."""
        if match["q"] is not match["p"] or match.array("zero").any():
            match.fail("this is no guard of the Softmax", match["q"])
        if match.root.outputs[0].shape != match["p"].shape:
            match.fail("the shapes differ", match["p"])
        scores = match["scores"]
        size = len(scores.shape) if scores.shape is not None else 0
        axis = match.node("softmax").attributes.get_int("axis", -1)
        if size == 0 or axis not in (-1, size - 1):
            match.fail("the rows do not lie on the last axis", scores)
        masks_of(scores)

    def rewrite(self, match: Match, rewriter: Rewriter) -> Value:
        """The Softmax, times 0 in the rows that the mask covers."""
        covering = [mask for mask in masks_of(match["scores"]) if mask.covers]
        if not covering:
            return match["p"]
        (mask,) = covering
        kept, any_kept, some = _rows(mask, match["p"].dtype or DataType.FLOAT, rewriter)
        scores = rewriter.op("Where", rewriter.op("Or", kept, rewriter.op("Not", any_kept)), *mask.branches)
        for node, index in reversed(mask.path):
            operands = list(node.inputs)
            operands[index] = scores
            scores = rewriter.op(node.op_type, *operands)
        return rewriter.op("Mul", rewriter.op("Softmax", scores, axis=-1), some)


def _rows(mask: Mask, dtype: DataType, rewriter: Rewriter) -> tuple[Value, Value, Value]:
    """The condition that keeps a score, and whether its row keeps any: as a boolean, and as 1 or 0 of type `dtype`."""
    assert mask.condition is not None
    kept = mask.condition if mask.keeps else rewriter.op("Not", mask.condition)
    last = rewriter.shared_constant(np.array([-1], np.int64))
    some = rewriter.op("ReduceMax", rewriter.op("Cast", kept, to=dtype), last, keepdims=1)
    return kept, rewriter.op("Cast", some, to=DataType.BOOL), some
