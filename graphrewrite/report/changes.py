"""What the passes changed, as text for a terminal and in the stable JSON schema that `docs/diff.md` describes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from graphrewrite.layout import TransposeLeft
from graphrewrite.numeric.metrics import Comparison
from graphrewrite.numeric.trace import NumericTrace, StageError
from graphrewrite.pipeline import PassRecord
from graphrewrite.pipeline.diff import GraphDiff
from graphrewrite.pipeline.instruments import headline

SCHEMA = 1
_OUTPUTS = 4
"""Outputs whose errors are listed after a pass, the worst first."""

RED, GREEN, YELLOW, BOLD, DIM = "31", "32", "33", "1", "2"


def change_json(record: PassRecord, found: GraphDiff, trace: NumericTrace | None) -> dict[str, Any]:
    """One pass."""
    shown: dict[str, Any] = {
        "index": record.index,
        "pass": record.spec,
        "name": record.name,
        "label": record.label,
        "rewrites": record.rewrites,
        "seconds": round(record.seconds, 6),
        "nodes": [record.nodes_before, record.nodes_after],
        "rolled_back": record.rolled_back,
        "notes": record.notes,
        **found.to_json(),
    }
    if trace is not None:
        shown["numeric"] = [item.to_json() for item in trace.stages.get(record.index, [])]
        shown["not_run"] = trace.problems.get(record.index, "")
    return shown


def transpose_json(item: TransposeLeft) -> dict[str, Any]:
    """One transpose that is left in the end."""
    return {"node": item.name, "from": item.source, "bytes": item.bytes, "reason": item.reason}


class Painter:
    """Text for a terminal; without colour where `colour` is False."""

    def __init__(self, colour: bool) -> None:
        self._colour = colour

    def __call__(self, text: str, *codes: str) -> str:
        """`text` in these colours."""
        return f"\033[{';'.join(codes)}m{text}\033[0m" if self._colour else text

    def pass_lines(
        self, record: PassRecord, found: GraphDiff, trace: NumericTrace | None, *, nodes: bool
    ) -> Iterator[str]:
        """One pass: what it gained and lost, its errors, and each node."""
        yield self(headline(record), BOLD)
        if trace is not None:
            yield from (f"  {line}" for line in self._numeric_lines(record, trace))
        yield from self.change_lines(found, nodes=nodes)

    def change_lines(self, found: GraphDiff, *, nodes: bool) -> Iterator[str]:
        """Operators and parameters, and with `nodes` each node."""
        for line in found.summary():
            yield f"  {line}"
        if nodes:
            yield from self.node_lines(found)

    def node_lines(self, found: GraphDiff) -> Iterator[str]:
        """`-`, `+` and `~` lines."""
        colours = {"-": RED, "+": GREEN, "~": RED, " ": GREEN}
        for line in found.nodes():
            text, separator, source = line.partition("    # ")
            yield f"  {self(text, colours[line[0]])}{self(separator + source, DIM) if separator else ''}"

    def _numeric_lines(self, record: PassRecord, trace: NumericTrace) -> Iterator[str]:
        if record.index in trace.problems:
            yield self(f"error: not known, {trace.problems[record.index]}", YELLOW)
        stages = sorted(trace.stages.get(record.index, []), key=_badness)
        for item in stages[:_OUTPUTS]:
            added = "not known" if item.added is None else error_text(item.added)
            line = f"error of '{item.output}': added {added}; in all {error_text(item.total)}"
            yield line if item.total.passed else self(f"{line}: {item.total.problem}", RED)
        if len(stages) > _OUTPUTS:
            yield f"and {len(stages) - _OUTPUTS} outputs with less"

    def transpose_lines(self, left: Sequence[TransposeLeft]) -> Iterator[str]:
        """The transposes that are left, and why."""
        if left:
            plural = "" if len(left) == 1 else "s"
            yield self(f"{len(left)} transpose{plural} left", BOLD)
        for item in left:
            yield f"  {item.bytes:,} bytes a run at '{item.source}': {item.reason}"


def error_text(item: Comparison) -> str:
    """`max abs 1.2e-05 (SQNR 122.4 dB)`."""
    if item.max_abs == 0:
        return "nothing"
    if not math.isfinite(item.max_abs):
        return item.problem
    return f"max abs {item.max_abs:.2g}" + (f" (SQNR {item.sqnr:.1f} dB)" if math.isfinite(item.sqnr) else "")


def _badness(item: StageError) -> tuple[bool, float]:
    return item.total.passed, -item.total.required


def changes_json(
    changes: Sequence[tuple[PassRecord, GraphDiff]],
    trace: NumericTrace | None,
    transposes: Sequence[TransposeLeft],
) -> dict[str, Any]:
    """The whole document."""
    return {
        "schema": SCHEMA,
        "passes": [change_json(record, found, trace) for record, found in changes],
        "transposes": [transpose_json(item) for item in transposes],
    }
