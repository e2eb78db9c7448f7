"""What stands between a model and several targets: one table of targets, one of blocked nodes, and the reasons."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from graphrewrite.errors import Blocker, NotExpressible
from graphrewrite.report.table import aligned, failure

if TYPE_CHECKING:
    from graphrewrite.api import Outcome

_FITS = "ok"


def blocked_lines(outcomes: Sequence[Outcome]) -> list[str]:
    """The whole answer of a pre-flight check."""
    lines = aligned(
        ("target", "verdict", "operators"), [_row(item) for item in outcomes], frozenset({"operators"})
    )
    blockers = {item.target.spec: _blockers(item) for item in outcomes}
    if any(blockers.values()):
        lines += ["", *_nodes(outcomes, blockers), "", *_reasons(blockers)]
    for item in outcomes:
        if item.error is not None and not isinstance(item.error, NotExpressible):
            lines += ["", f"{item.target.spec}: {item.error}"]
    return lines


def _row(outcome: Outcome) -> tuple[str, str, str]:
    if outcome.result is None:
        return outcome.target.spec, failure(outcome.error), ""
    count = sum(outcome.result.report["details"]["operators"].values())
    return outcome.target.spec, "can be converted", str(count)


def _blockers(outcome: Outcome) -> tuple[Blocker, ...]:
    return outcome.error.blockers if isinstance(outcome.error, NotExpressible) else ()


def _nodes(outcomes: Sequence[Outcome], blockers: dict[str, tuple[Blocker, ...]]) -> list[str]:
    """A line for each node that any target refuses, and each target's word on it; targets that failed otherwise say nothing."""
    names = dict.fromkeys((item.node, item.op) for found in blockers.values() for item in found)
    rows = []
    for node, op in names:
        cells = []
        for outcome in outcomes:
            known = [
                item.code.value
                for item in blockers[outcome.target.spec]
                if (item.node, item.op) == (node, op)
            ]
            judged = outcome.result is not None or isinstance(outcome.error, NotExpressible)
            cells.append(known[0] if known else _FITS if judged else "?")
        rows.append((node, op, *cells))
    return aligned(("node", "operator", *blockers), rows, frozenset())


def _reasons(blockers: dict[str, tuple[Blocker, ...]]) -> list[str]:
    """Each reason once, behind the targets that give it; the nodes stand in the table."""
    targets: dict[tuple[str, str, str, str], dict[str, None]] = {}
    for name, found in blockers.items():
        for item in found:
            targets.setdefault((item.code.value, item.op, item.reason, item.hint), {})[name] = None
    lines = []
    for (code, op, reason, hint), names in targets.items():
        lines.append(f"{', '.join(names)}: {code}: {op}: {reason}")
        lines += [f"    try: {hint}"] if hint else []
    return lines
