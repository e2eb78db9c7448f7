"""The same op on the same operands is computed once."""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable

import numpy as np

from graphrewrite.ir import AttributeType, Graph, Model, Node, all_graphs, is_pure
from graphrewrite.pipeline import Pass, Stage
from graphrewrite.rewrite import Rewriter, RuleStatistics


@dataclasses.dataclass(frozen=True)
class EliminateCommonSubexpressions(Pass):
    """Compute equal things once.

        %a = Sigmoid(%x)                                   --->   %a = Sigmoid(%x)
        %b = Sigmoid(%x)                                          %y = Add(%a, %a)
        %y = Add(%a, %b)

    Nodes are equal where op, attributes and operands are. Random ops and nodes with subgraphs never are.
    Nodes of a subgraph are compared among themselves. One pass over the graph with a hash table. Exact.
    """

    stage = Stage.CANONICALIZE
    after = ("deduplicate-constants", "eliminate-no-ops")

    def run(self, model: Model, rewriter: Rewriter) -> dict[str, RuleStatistics]:
        """Each graph in its own order, so that operands are merged before their users are compared."""
        for graph in all_graphs(model.graph):
            self._graph(graph, rewriter)
        return {}

    def _graph(self, graph: Graph, rewriter: Rewriter) -> None:
        seen: dict[Hashable, Node] = {}
        for node in list(graph):
            if node.graph is None or not is_pure(node):
                continue
            first = seen.setdefault(_key(node), node)
            if first is node or not rewriter.allowed():
                continue
            if any(value.is_graph_output() for value in node.outputs):
                continue  # an output needs a value of its own name
            with rewriter.rewrite(self.name, node):
                rewriter.replace(node, list(first.outputs))


def _key(node: Node) -> Hashable:
    attributes = tuple(
        (name, attribute.type, _content(attribute.type, attribute.value))
        for name, attribute in sorted(node.attributes.data.items())
    )
    return node.domain, node.op_type, tuple(map(id, node.inputs)), len(node.outputs), attributes


def _content(kind: AttributeType, content: object) -> Hashable:
    if kind == AttributeType.TENSOR:
        array = np.asarray(content)
        return str(array.dtype), array.shape, array.tobytes()
    if isinstance(content, list | tuple):
        return tuple(content)
    return content if isinstance(content, Hashable) else id(content)
