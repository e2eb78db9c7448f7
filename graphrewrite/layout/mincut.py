"""The cheapest labelling, exactly: a minimum s-t cut (Dinic's algorithm, iterative).

The source side is label 0, the sink side label 1. Of all minimum cuts the one with the smallest sink side is taken: it is
unique, so the labels depend neither on the order of variables nor on the flow that was found, and ties stay plain.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from graphrewrite.layout.problem import PERMUTED, PLAIN, Problem, Table

_SOURCE, _SINK = 0, 1
_INFINITE = 1 << 62


def solve(problem: Problem) -> list[int]:
    """Labels of least cost for the variables of `problem`."""
    network = _Network(problem.variables + 2)
    for variable, plain, permuted in problem.unary:
        network.prefer(variable + 2, permuted - plain)
    for first, second, table in problem.pairs:
        _add_pair(network, first + 2, second + 2, table)
    for producer, consumers, cost in problem.fans:
        _add_fan(network, _node(producer), [_node(item) for item in consumers], cost)
    network.saturate()
    sink_side = network.reaching_sink()
    return [int(sink_side[variable + 2]) for variable in range(problem.variables)]


def _node(variable: int) -> int:
    return {PLAIN: _SOURCE, PERMUTED: _SINK}.get(variable, variable + 2)


def _add_pair(network: _Network, first: int, second: int, table: Table) -> None:
    """cost(i, j) = c00 + a*i + b*j + up*(1-i)*j + down*i*(1-j) with a as near to 0 as up, down >= 0 allow."""
    c00, c01, c10, c11 = table
    a = min(max(c11 - c01, 0), c10 - c00)
    b = c11 - c00 - a
    network.prefer(first, a)
    network.prefer(second, b)
    network.arc(first, second, c01 - c00 - b, c10 - c00 - a)


def _add_fan(network: _Network, producer: int, consumers: Sequence[int], cost: int) -> None:
    if len(consumers) == 1:
        network.arc(producer, consumers[0], cost, cost)
        return
    some_permuted, some_plain = network.node(), network.node()
    network.arc(producer, some_permuted, cost)
    network.arc(some_plain, producer, cost)
    for item in consumers:
        network.arc(some_permuted, item, _INFINITE)
        network.arc(item, some_plain, _INFINITE)


class _Network:
    """Arcs lie in pairs: arc e and its reverse e ^ 1."""

    def __init__(self, nodes: int) -> None:
        self.heads: list[int] = []
        self.left: list[int] = []
        self.arcs: list[list[int]] = [[] for _ in range(nodes)]
        self.costs = [0] * nodes

    def node(self) -> int:
        self.arcs.append([])
        self.costs.append(0)
        return len(self.arcs) - 1

    def prefer(self, node: int, cost: int) -> None:
        """`cost` is paid on the sink side (or its opposite on the source side, where it is negative)."""
        self.costs[node] += cost

    def arc(self, tail: int, head: int, capacity: int, back: int = 0) -> None:
        if capacity == 0 and back == 0:
            return
        self.arcs[tail].append(len(self.heads))
        self.heads.append(head)
        self.left.append(capacity)
        self.arcs[head].append(len(self.heads))
        self.heads.append(tail)
        self.left.append(back)

    def saturate(self) -> None:
        """Push a maximum flow from the source to the sink."""
        for node, cost in enumerate(self.costs):
            if cost > 0:
                self.arc(_SOURCE, node, cost)
            elif cost < 0:
                self.arc(node, _SINK, -cost)
        while (levels := self._levels()) is not None:
            self._block(levels)

    def _levels(self) -> list[int] | None:
        """Distance of every node to the sink along arcs with room, None where the source can't reach it."""
        heads, left, arcs = self.heads, self.left, self.arcs
        levels = [-1] * len(arcs)
        levels[_SINK] = 0
        queue = deque([_SINK])
        while queue:
            node = queue.popleft()
            level = levels[node] + 1
            for arc in arcs[node]:
                tail = heads[arc]
                if levels[tail] < 0 and left[arc ^ 1]:
                    levels[tail] = level
                    if tail == _SOURCE:
                        return levels
                    queue.append(tail)
        return None

    def _block(self, levels: list[int]) -> None:
        """Push flow along shortest paths until every one of them is blocked."""
        heads, left, arcs = self.heads, self.left, self.arcs
        current = [0] * len(arcs)
        path: list[int] = []
        node = _SOURCE
        while True:
            if node == _SINK:
                amount = min(left[arc] for arc in path)
                cut = len(path)
                for position, arc in enumerate(path):
                    left[arc] -= amount
                    left[arc ^ 1] += amount
                    if not left[arc] and position < cut:
                        cut = position
                node = heads[path[cut] ^ 1]
                del path[cut:]
                continue
            out, wanted = arcs[node], levels[node] - 1
            index = current[node]
            while index < len(out) and not (left[out[index]] and levels[heads[out[index]]] == wanted):
                index += 1
            current[node] = index
            if index < len(out):
                path.append(out[index])
                node = heads[out[index]]
            elif path:
                node = heads[path.pop() ^ 1]
                current[node] += 1
            else:
                return

    def reaching_sink(self) -> list[bool]:
        """The nodes that can still reach the sink: the smallest sink side of all minimum cuts."""
        heads, left, arcs = self.heads, self.left, self.arcs
        seen = [False] * len(arcs)
        seen[_SINK] = True
        stack = [_SINK]
        while stack:
            for arc in arcs[stack.pop()]:
                if left[arc ^ 1] and not seen[heads[arc]]:
                    seen[heads[arc]] = True
                    stack.append(heads[arc])
        return seen
