"""Transposes around channels-last operators go: each value is stored in the order that costs least overall."""

from __future__ import annotations

import dataclasses

from graphrewrite.errors import UsageError
from graphrewrite.ir import Model
from graphrewrite.layout.assign import Boundary
from graphrewrite.layout.stage import assign_layout
from graphrewrite.layout.views import ComposeViewsRule
from graphrewrite.pipeline import Pass, Stage
from graphrewrite.rewrite import Rewriter, RuleStatistics


@dataclasses.dataclass(frozen=True)
class AssignLayout(Pass):
    """Choose the order of dimensions of every value by a minimum cut.

        %a = CONV_2D(%x)                       %a = CONV_2D(%x)
        %b = TRANSPOSE(%a, [0, 3, 1, 2])       %c = MEAN(%a, [1, 2])
        %c = MEAN(%b, [2, 3])            --->  %d = RELU(%a)
        %d = RELU(%b)                          %f = CONV_2D(%d)
        %e = TRANSPOSE(%d, [0, 2, 3, 1])
        %f = CONV_2D(%e)

    Each value is stored either as it is or channels last; operators follow by their layout rules; what is left of transposes
    costs least in bytes and kernel calls. Exact.

    Attributes:
        io_layout: order of the model's inputs and outputs: `keep` (the source's), `last` (channels last where that means
            something), `free` (whatever is cheapest inside).
    """

    io_layout: str = "keep"

    stage = Stage.LAYOUT
    targets = frozenset({"tflite"})

    def __post_init__(self) -> None:
        if self.io_layout not in {item.value for item in Boundary}:
            raise UsageError(f"io_layout is keep, last or free, not '{self.io_layout}'")

    def run(self, model: Model, rewriter: Rewriter) -> dict[str, RuleStatistics]:
        """Assign and carry out."""
        from graphrewrite.targets.tflite.layout_dialect import TFLiteLayout

        dialect = TFLiteLayout()
        compose = ComposeViewsRule(
            "compose-views", dialect, ("TRANSPOSE", "RESHAPE", "EXPAND_DIMS", "SQUEEZE")
        )
        return assign_layout(model, dialect, compose, rewriter, Boundary(self.io_layout))
