"""The nodes of a model by operator: a rule is tried where its roots are, without a walk over the graph for each pass."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from graphrewrite.ir import Graph, Node, all_nodes

Operator = tuple[str, str]
"""Domain and op type."""


def parse_operator(key: str) -> Operator:
    """`Conv`, `tflite.CONV_2D` as a pair."""
    domain, _, op_type = key.rpartition(".")
    return domain, op_type


class Census:
    """Every node of `graph` as it is now, subgraphs included."""

    def __init__(self, graph: Graph) -> None:
        self._found: dict[Operator, list[tuple[int, Node]]] = defaultdict(list)
        self._size = 0
        for node in all_nodes(graph):
            self._found[node.domain, node.op_type].append((self._size, node))
            self._size += 1

    def __len__(self) -> int:
        """Number of nodes."""
        return self._size

    def of(self, operators: Iterable[Operator]) -> list[Node]:
        """The nodes of some operators, those of subgraphs before the node that holds them, else in graph order."""
        found = [entry for key in dict.fromkeys(operators) for entry in self._found.get(key, ())]
        return [node for _, node in sorted(found, key=_position)]


def _position(entry: tuple[int, Node]) -> int:
    return entry[0]
