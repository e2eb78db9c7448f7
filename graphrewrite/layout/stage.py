"""The layout stage of a whole model: views composed, orders chosen, the graph rewritten, and all of it again while it pays."""

from __future__ import annotations

from collections.abc import Callable

from graphrewrite.ir import Graph, Model, all_graphs
from graphrewrite.layout.assign import Boundary, assign
from graphrewrite.layout.materialise import RULE, materialise
from graphrewrite.layout.rules import Dialect, Signatures
from graphrewrite.layout.sinks import pull_forms, push_forms
from graphrewrite.layout.tags import Forms, channels_last_forms
from graphrewrite.layout.verify import expectations, verify_layout
from graphrewrite.layout.views import ComposeViewsRule, share_views
from graphrewrite.rewrite import Rewriter, RuleStatistics, apply_rules

_ROUNDS = 6
"""Rounds of pushing and pulling; each must save something, so this is a bound for odd graphs only."""

Propose = Callable[[Graph, Signatures], Forms]


def assign_layout(
    model: Model, dialect: Dialect, compose: ComposeViewsRule, rewriter: Rewriter, boundary: Boundary
) -> dict[str, RuleStatistics]:
    """Choose and carry out the cheapest order of every value of `model`.

    Graphs in attributes (branches, loop bodies) are done each on its own, their boundaries plain.
    """
    statistics = {RULE: RuleStatistics()}
    graphs = {graph: Signatures(dialect) for graph in all_graphs(model.graph)}

    def shorten() -> None:
        for graph in graphs:
            share_views(graph, dialect, rewriter, compose.name)
        for name, found in apply_rules(model, [compose], rewriter).items():
            total = statistics.setdefault(name, RuleStatistics())
            total.tried += found.tried
            total.applied += found.applied
            total.seconds += found.seconds

    def improve(propose: Propose, edge: Boundary = Boundary.KEEP) -> bool:
        saved = False
        for graph, signatures in graphs.items():
            edge_here = edge if graph is model.graph else Boundary.KEEP
            if rewriter.allowed() and _improve(graph, signatures, propose, edge_here, rewriter):
                statistics[RULE].applied += 1
                saved = True
        if saved:
            graphs.update((graph, Signatures(dialect)) for graph in graphs)
        return saved

    shorten()
    if improve(channels_last_forms, boundary):
        shorten()
    for _ in range(_ROUNDS):
        saved = False
        for propose in (push_forms, pull_forms):
            if improve(propose):
                saved = True
                shorten()
        if not saved:
            break
    return statistics


def _improve(
    graph: Graph, signatures: Signatures, propose: Propose, boundary: Boundary, rewriter: Rewriter
) -> bool:
    """One choice between the orders there are and those proposed; True where the graph was changed."""
    plan = assign(graph, signatures, propose(graph, signatures), boundary)
    if plan is None or (plan.saving() <= 0 and boundary is Boundary.KEEP):
        return False
    asked = expectations(graph, plan)
    materialise(graph, plan, signatures.dialect, rewriter)
    verify_layout(asked, plan)
    return True
