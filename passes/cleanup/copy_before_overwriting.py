"""What LiteRT's own kernels would overwrite too early is copied."""

from __future__ import annotations

import dataclasses

import numpy as np

from graphrewrite.ir import Model, all_graphs, rank
from graphrewrite.pipeline import Pass, Stage
from graphrewrite.rewrite import Rewriter, RuleStatistics

_MOST_DIMENSIONS = 5
"""Of LiteRT's SLICE."""


@dataclasses.dataclass(frozen=True)
class CopyBeforeOverwriting(Pass):
    """Copy an operand whose memory the runtime would give away although another view of it is still to be read.

        %a = tflite.ADD(%x, %y)                                %a = tflite.ADD(%x, %y)
        %b = tflite.RESHAPE(%a)                                %b = tflite.RESHAPE(%a)
        %c = tflite.MUL(%b, 2.0)                      --->     %d = tflite.SLICE(%b)
        %z = tflite.RESHAPE(%a)                                %c = tflite.MUL(%d, 2.0)
                                                               %z = tflite.RESHAPE(%a)

    A defect of LiteRT's memory planner, without XNNPACK: ADD computes in place of `%x`, MUL in place of `%a`, and `%z` reads
    what MUL left. See `graphrewrite.targets.tflite.memory`. Last of all passes, since the order of the nodes decides. Exact.
    """

    stage = Stage.STORE
    mandatory = True
    after = ("store-weights-in-half",)
    targets = frozenset({"tflite"})

    def run(self, model: Model, rewriter: Rewriter) -> dict[str, RuleStatistics]:
        """One walk over each graph."""
        from graphrewrite.targets.tflite.memory import overwriting

        for graph in all_graphs(model.graph):
            for node, place in overwriting(graph):
                operand = node.inputs[place]
                size = rank(operand)
                if operand is None or size is None or size > _MOST_DIMENSIONS:
                    continue
                with rewriter.rewrite(self.name, node):
                    whole = (rewriter.constant(np.full(size, fill, np.int32)) for fill in (0, -1))
                    copy = rewriter.op("SLICE", operand, *whole, domain="tflite")
                    rewriter.set_input(node, place, copy)
        return {}
