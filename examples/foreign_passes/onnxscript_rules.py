"""A rule set of onnxscript's rewriter: adding a negated value is a subtraction."""

from __future__ import annotations

from typing import Any

from onnxscript.rewriter import RewriteRule, RewriteRuleSet


def _added_negation(op: Any, x: Any, y: Any) -> Any:
    return op.Add(x, op.Neg(y))


def _subtraction(op: Any, x: Any, y: Any) -> Any:
    return op.Sub(x, y)


use_subtraction_rules = RewriteRuleSet([RewriteRule(_added_negation, _subtraction)], commute=True)
