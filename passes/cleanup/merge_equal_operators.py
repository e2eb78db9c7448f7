"""The same TFLite operator on the same operands is computed once."""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable

from graphrewrite.ir import AttributeType, Model, Node, Value, all_graphs, constant_array
from graphrewrite.pipeline import Pass, Stage
from graphrewrite.rewrite import Rewriter, RuleStatistics

_RANDOM = frozenset({"RANDOM_STANDARD_NORMAL", "RANDOM_UNIFORM", "MULTINOMIAL"})
_STATEFUL = frozenset({"ASSIGN_VARIABLE", "READ_VARIABLE", "VAR_HANDLE", "CALL_ONCE"})
_SMALL = 4096
"""Constants up to this many bytes are compared by content: lowering writes shape vectors and axes once a node."""


@dataclasses.dataclass(frozen=True)
class MergeEqualOperators(Pass):
    """Compute equal things once.

        %a = TRANSPOSE(%x, [0, 2, 3, 1])                        %a = TRANSPOSE(%x, [0, 2, 3, 1])
        %b = TRANSPOSE(%x, [0, 2, 3, 1])                 --->   %y = ADD(%a, %a)
        %y = ADD(%a, %b)

    Operators are equal where name, options and operands are. Random and stateful ones and those with subgraphs never are.
    Exact.
    """

    stage = Stage.FINISH
    targets = frozenset({"tflite"})

    def run(self, model: Model, rewriter: Rewriter) -> dict[str, RuleStatistics]:
        """Each graph in its own order, so that operands are merged before their users are compared."""
        for graph in all_graphs(model.graph):
            seen: dict[Hashable, Node] = {}
            for node in list(graph):
                if node.graph is None or not _comparable(node):
                    continue
                first = seen.setdefault(_key(node), node)
                if first is node or any(value.is_graph_output() for value in node.outputs):
                    continue  # an output needs a value of its own name
                if rewriter.allowed():
                    with rewriter.rewrite(self.name, node):
                        rewriter.replace(node, list(first.outputs))
        return {}


def _comparable(node: Node) -> bool:
    return (
        node.domain == "tflite"
        and node.op_type not in _RANDOM | _STATEFUL
        and not any(
            item.type in (AttributeType.GRAPH, AttributeType.GRAPHS) for item in node.attributes.data.values()
        )
    )


def _key(node: Node) -> Hashable:
    attributes = tuple((name, str(item.value)) for name, item in sorted(node.attributes.data.items()))
    return node.op_type, tuple(map(_operand, node.inputs)), len(node.outputs), attributes


def _operand(value: Value | None) -> Hashable:
    array = None
    if value is not None and value.const_value is not None and value.const_value.nbytes <= _SMALL:
        array = constant_array(value)
    return id(value) if array is None else (str(array.dtype), array.shape, array.tobytes())
