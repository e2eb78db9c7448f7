"""Concatenations that begin alike are made of one another."""

from __future__ import annotations

import dataclasses

from graphrewrite.ir import Graph, Model, Value, all_graphs
from graphrewrite.pipeline import Pass, Stage
from graphrewrite.rewrite import Rewriter, RuleStatistics


@dataclasses.dataclass(frozen=True)
class ShareConcatenatedPrefixes(Pass):
    """Append to a concatenation that is there already.

        %p = Concat(%a, %b, %c)                            --->   %p = Concat(%a, %b, %c)
        %q = Concat(%a, %b, %c, %d)                               %q = Concat(%p, %d)

    A layer of DenseNet reads everything before it; the last of 24 layers then joins two values instead of 25. As much is copied
    as before, but XNNPACK takes concatenations of up to five values only, and what is joined need not be kept. Exact.
    """

    stage = Stage.FUSE
    after = ("tidy",)
    targets = frozenset({"tflite"})

    def run(self, model: Model, rewriter: Rewriter) -> dict[str, RuleStatistics]:
        """Each graph in its own order, so that what is shared comes first."""
        for graph in all_graphs(model.graph):
            self._graph(graph, rewriter)
        return {}

    def _graph(self, graph: Graph, rewriter: Rewriter) -> None:
        made: dict[tuple[int, tuple[Value | None, ...]], Value] = {}
        for node in list(graph):
            if node.op_type != "Concat" or node.domain != "" or len(node.inputs) < 2:
                continue
            axis, operands, out = node.attributes.get_int("axis"), tuple(node.inputs), node.outputs[0]
            for count in range(len(operands) - 1, 1, -1):
                prefix = made.get((axis, operands[:count]))
                if prefix is not None and rewriter.allowed():
                    with rewriter.rewrite(self.name, node):
                        out = rewriter.op("Concat", prefix, *operands[count:], axis=axis)
                        rewriter.replace(node, out)
                    break
            made.setdefault((axis, operands), out)
