"""The layout stage of a whole model: views composed, orders chosen, the graph rewritten, and all of it again while it pays."""

from __future__ import annotations

from collections.abc import Callable

from graphrewrite.ir import Graph, Model
from graphrewrite.layout.assign import Boundary, assign
from graphrewrite.layout.materialise import RULE, materialise
from graphrewrite.layout.rules import Dialect
from graphrewrite.layout.sinks import pull_forms, push_forms
from graphrewrite.layout.tags import Forms, channels_last_forms
from graphrewrite.layout.verify import verify_layout
from graphrewrite.layout.views import ComposeViewsRule, share_views
from graphrewrite.rewrite import Rewriter, RuleStatistics, apply_rules

_ROUNDS = 6
"""Rounds of pushing and pulling; each must save something, so this is a bound for odd graphs only."""

Propose = Callable[[Graph, Dialect], Forms]


def assign_layout(
    model: Model, dialect: Dialect, compose: ComposeViewsRule, rewriter: Rewriter, boundary: Boundary
) -> dict[str, RuleStatistics]:
    """Choose and carry out the cheapest order of every value of `model`.

    Graphs in attributes (branches, loop bodies) are done each on its own, their boundaries plain.
    """
    statistics = {RULE: RuleStatistics()}
    _compose(model, dialect, compose, rewriter, statistics)
    _round(model, dialect, channels_last_forms, rewriter, boundary, statistics)
    _compose(model, dialect, compose, rewriter, statistics)
    for _ in range(_ROUNDS):
        saved = False
        for propose in (push_forms, pull_forms):
            if _round(model, dialect, propose, rewriter, Boundary.KEEP, statistics):
                saved = True
                _compose(model, dialect, compose, rewriter, statistics)
        if not saved:
            break
    return statistics


def _compose(
    model: Model,
    dialect: Dialect,
    rule: ComposeViewsRule,
    rewriter: Rewriter,
    statistics: dict[str, RuleStatistics],
) -> None:
    share_views(model, dialect, rewriter, rule.name)
    for name, found in apply_rules(model, [rule], rewriter).items():
        total = statistics.setdefault(name, RuleStatistics())
        total.tried += found.tried
        total.applied += found.applied
        total.seconds += found.seconds


def _round(
    model: Model,
    dialect: Dialect,
    propose: Propose,
    rewriter: Rewriter,
    boundary: Boundary,
    statistics: dict[str, RuleStatistics],
) -> bool:
    """One choice between the orders there are and those proposed; True where it saved anything."""
    saved = False
    for graph in (model.graph, *model.graph.subgraphs()):
        if not rewriter.allowed():
            break
        edge = boundary if graph is model.graph else Boundary.KEEP
        plan = assign(graph, dialect, propose(graph, dialect), edge)
        if plan is None or (plan.saving() <= 0 and edge is Boundary.KEEP):
            continue
        materialise(graph, plan, dialect, rewriter)
        verify_layout(graph, plan, dialect)
        statistics[RULE].applied += 1
        saved = saved or plan.saving() > 0
    return saved
