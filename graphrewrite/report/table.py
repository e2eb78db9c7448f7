"""What became of several targets, as one table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from graphrewrite.errors import MissingExtra, NotChecked, NotExpressible, OutputsDiffer
from graphrewrite.report.text import size_text

if TYPE_CHECKING:
    from graphrewrite.api import Outcome, Result

_HEAD = ("target", "result", "file", "size", "operators", "worst SQNR", "seconds")
_RIGHT = frozenset({"size", "operators", "worst SQNR", "seconds"})


def table_lines(outcomes: Sequence[Outcome]) -> list[str]:
    """One line a target under a heading: what came of it, its file, and how near the file is to the original."""
    return aligned(_HEAD, [_row(item) for item in outcomes], _RIGHT)


def aligned(head: Sequence[str], rows: Sequence[Sequence[str]], right: frozenset[str]) -> list[str]:
    """Columns as wide as they need to be; those in `right` are set flush right."""
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    lines = []
    for row in [head, *rows]:
        cells = [
            cell.rjust(width) if name in right else cell.ljust(width)
            for name, cell, width in zip(head, row, widths, strict=True)
        ]
        lines.append("  ".join(cells).rstrip())
    return lines


def _row(outcome: Outcome) -> tuple[str, ...]:
    if outcome.result is None:
        return (outcome.target.spec, failure(outcome.error), "", "", "", "", "")
    report = outcome.result.report
    size = "" if report["size"] is None else size_text(report["size"])
    operators = sum(report["details"].get("operators", {}).values())
    seconds = sum(report["seconds"].values())
    return (
        outcome.target.spec,
        _success(report),
        report["path"] or "",
        size,
        str(operators),
        _worst(outcome.result),
        f"{seconds:.1f}",
    )


def _success(report: dict[str, Any]) -> str:
    if report["path"] is None:
        return "not written"
    return "matches" if report["check"] is not None else "NOT CHECKED"


def failure(error: Exception | None) -> str:
    """What went wrong, in a word or two."""
    if isinstance(error, NotExpressible):
        count = len(error.blockers)
        return f"refused for {count} reason{'s' if count != 1 else ''}"
    if isinstance(error, OutputsDiffer):
        return "DIFFERS, not written"
    if isinstance(error, NotChecked):
        return "could not be checked, not written"
    if isinstance(error, MissingExtra):
        return "not installed"
    return f"failed: {type(error).__name__}"


def _worst(result: Result) -> str:
    """The lowest SQNR of the outputs in dB, `equal` where nothing differs."""
    check = result.report["check"]
    if check is None or not check["outputs"]:
        return ""
    if all(float(item["max_abs"]) == 0 for item in check["outputs"]):
        return "equal"
    finite = [value for item in check["outputs"] if math.isfinite(value := float(item["sqnr"]))]
    return f"{min(finite):.1f} dB" if finite else ""
