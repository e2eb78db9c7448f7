"""The layout stage of a whole model: views composed, orders chosen, the graph rewritten, and all of it again while it pays."""

from __future__ import annotations

from collections.abc import Callable

from graphrewrite.ir import Graph, Model
from graphrewrite.layout.assign import Boundary, assign
from graphrewrite.layout.materialise import RULE, materialise
from graphrewrite.layout.rules import Dialect
from graphrewrite.layout.sinks import pull_forms, push_forms
from graphrewrite.layout.tags import Forms, channels_last_forms
from graphrewrite.layout.verify import expectations, verify_layout
from graphrewrite.layout.views import ComposeViewsRule, share_views
from graphrewrite.rewrite import Rewriter, RuleStatistics, apply_rules

_ROUNDS = 6
"""Rounds of pushing and pulling; each must save something, so this is a bound for odd graphs only."""

_SMALL = 5000
"""Above this many nodes, transposes right at an input or output are not moved any more: each round is a cut over the whole
graph (seconds at 20,000 nodes), for at most one transpose an input or output."""

Propose = Callable[[Graph, Dialect], Forms]


def assign_layout(
    model: Model, dialect: Dialect, compose: ComposeViewsRule, rewriter: Rewriter, boundary: Boundary
) -> dict[str, RuleStatistics]:
    """Choose and carry out the cheapest order of every value of `model`.

    Graphs in attributes (branches, loop bodies) are done each on its own, their boundaries plain.
    """
    statistics = {RULE: RuleStatistics()}
    graphs = [model.graph, *model.graph.subgraphs()]

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
        for graph in graphs:
            edge_here = edge if graph is model.graph else Boundary.KEEP
            if rewriter.allowed() and _improve(graph, dialect, propose, edge_here, rewriter):
                statistics[RULE].applied += 1
                saved = True
        return saved

    shorten()
    if improve(channels_last_forms, boundary):
        shorten()
    for _ in range(_ROUNDS):
        if not any(len(graph) <= _SMALL or _inner_transposes(graph, dialect) for graph in graphs):
            break
        saved = False
        for propose in (push_forms, pull_forms):
            if improve(propose):
                saved = True
                shorten()
        if not saved:
            break
    return statistics


def _inner_transposes(graph: Graph, dialect: Dialect) -> bool:
    """True where a transpose neither reads an input of the graph nor writes an output of it."""
    for node in graph:
        if node.domain == dialect.domain and dialect.transpose_perm(node) is not None:
            source = node.inputs[0]
            at_input = source is not None and source.is_graph_input()
            if not at_input and not node.outputs[0].is_graph_output():
                return True
    return False


def _improve(
    graph: Graph, dialect: Dialect, propose: Propose, boundary: Boundary, rewriter: Rewriter
) -> bool:
    """One choice between the orders there are and those proposed; True where the graph was changed."""
    plan = assign(graph, dialect, propose(graph, dialect), boundary)
    if plan is None or (plan.saving() <= 0 and boundary is Boundary.KEEP):
        return False
    asked = expectations(graph, plan)
    materialise(graph, plan, dialect, rewriter)
    verify_layout(asked, plan)
    return True
