"""The worklist driver: rules indexed by root op, tried only where the graph changed."""

from __future__ import annotations

import dataclasses
import time
from collections import defaultdict
from collections.abc import Sequence
from typing import Protocol

from graphrewrite.errors import InternalError
from graphrewrite.ir import Model, Node, Value
from graphrewrite.rewrite.census import Operator, parse_operator
from graphrewrite.rewrite.events import BaseListener
from graphrewrite.rewrite.pattern import Match, MatchFailure
from graphrewrite.rewrite.rewriter import Rewriter

REWRITES_PER_NODE = 50
"""More rewrites than this many times the nodes means that rules undo each other."""


class Rule(Protocol):
    """One rewrite rule, as the driver sees it."""

    @property
    def name(self) -> str:
        """Name for records, statistics and errors."""

    @property
    def roots(self) -> tuple[str, ...]:
        """Op types (with `domain.` in front for dialects) at whose nodes the rule is tried."""

    def match(self, node: Node) -> Match:
        """What the rule needs to rewrite here; raises MatchFailure where it does not apply."""

    def rewrite(self, match: Match, rewriter: Rewriter) -> Value | Sequence[Value | None] | None:
        """New values for the root's outputs, or None where the rule changed the graph in place."""


@dataclasses.dataclass
class RuleStatistics:
    """How a rule fared in one run."""

    tried: int = 0
    applied: int = 0
    seconds: float = 0.0


def operator(node: Node) -> str:
    """Key of a node in the rule index: `Conv`, `tflite.CONV_2D`."""
    return f"{node.domain}.{node.op_type}" if node.domain else node.op_type


class _Worklist(BaseListener):
    """Nodes to visit, in graph order first, then whatever a rewrite touches."""

    def __init__(self, nodes: list[Node], index: dict[Operator, list[_Tried]]) -> None:
        self._index = index
        self._stack = nodes[::-1]
        self._waiting = set(nodes)

    def push(self, node: Node | None) -> None:
        if node is not None and node not in self._waiting and (node.domain, node.op_type) in self._index:
            self._waiting.add(node)
            self._stack.append(node)

    def pop(self) -> Node | None:
        while self._stack:
            node = self._stack.pop()
            self._waiting.discard(node)
            if node.graph is not None:
                return node
        return None

    def node_added(self, node: Node) -> None:
        self.push(node)

    def node_changed(self, node: Node) -> None:
        self.push(node)
        self._push_users(node)

    def node_removed(self, node: Node) -> None:
        for item in node.inputs:
            if item is not None:
                self.push(item.producer())

    def value_replaced(self, old: Value, new: Value, users: Sequence[Node]) -> None:
        self.push(new.producer())
        for node in users:
            self.push(node)

    def _push_users(self, node: Node) -> None:
        for value in node.outputs:
            for use in value.uses():
                self.push(use.node)


def apply_rules(model: Model, rules: Sequence[Rule], rewriter: Rewriter) -> dict[str, RuleStatistics]:
    """Apply `rules` until none applies any more; statistics by rule.

    Raises:
        InternalError: the rewrites exceed their budget; names the rule that was applied most.
    """
    index: dict[Operator, list[_Tried]] = defaultdict(list)
    statistics: dict[str, RuleStatistics] = {}
    for rule in rules:
        tried = _Tried(rule, rule.name, statistics.setdefault(rule.name, RuleStatistics()))
        for root in rule.roots:
            index[parse_operator(root)].append(tried)
    census = rewriter.census()
    worklist = _Worklist(census.of(index), dict(index))
    budget = REWRITES_PER_NODE * (len(census) + 100)
    rewriter.listeners.append(worklist)
    try:
        while (node := worklist.pop()) is not None and rewriter.allowed():
            for tried in index[node.domain, node.op_type]:
                if _apply(tried, node, rewriter):
                    budget -= 1
                    break
            if budget < 0:
                worst = max(statistics, key=lambda name: statistics[name].applied)
                raise InternalError(
                    f"rule '{worst}' was applied {statistics[worst].applied} times on {len(census)} nodes without an end: "
                    "it undoes its own or another rule's work"
                )
    finally:
        rewriter.listeners.remove(worklist)
    return statistics


@dataclasses.dataclass
class _Tried:
    """A rule with its name, which may be computed, and its statistics."""

    rule: Rule
    name: str
    statistics: RuleStatistics


def _apply(tried: _Tried, node: Node, rewriter: Rewriter) -> bool:
    rule, statistics = tried.rule, tried.statistics
    started = time.perf_counter()
    statistics.tried += 1
    try:
        match = rule.match(node)
    except MatchFailure:
        statistics.seconds += time.perf_counter() - started
        return False
    with rewriter.rewrite(tried.name, node, match.nodes):
        values = rule.rewrite(match, rewriter)
        if values is not None:
            rewriter.replace(node, values)
    statistics.applied += 1
    statistics.seconds += time.perf_counter() - started
    return True
