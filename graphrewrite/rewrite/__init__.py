"""Rewriting: patterns, rules, the rewriter and the worklist driver."""

from __future__ import annotations

from graphrewrite.ir import all_nodes
from graphrewrite.rewrite.census import Census
from graphrewrite.rewrite.driver import Rule, RuleStatistics, apply_rules, operator
from graphrewrite.rewrite.events import AddedNodes, BaseListener, Listener, RewriteRecord
from graphrewrite.rewrite.pattern import (
    Match,
    MatchFailure,
    OpPattern,
    Pattern,
    constant,
    match,
    op,
    optional,
    scalar,
    value,
)
from graphrewrite.rewrite.rewriter import Rewriter
from graphrewrite.rewrite.scope import LimitReached

__all__ = [
    "AddedNodes",
    "BaseListener",
    "Census",
    "LimitReached",
    "Listener",
    "Match",
    "MatchFailure",
    "OpPattern",
    "Pattern",
    "RewriteRecord",
    "Rewriter",
    "Rule",
    "RuleStatistics",
    "all_nodes",
    "apply_rules",
    "constant",
    "match",
    "op",
    "operator",
    "optional",
    "scalar",
    "value",
]
