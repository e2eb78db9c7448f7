"""The record of a pipeline as one self-contained HTML page: no server, no network, and no weights in it.

The page holds the first state of the graph and, for each pass, the nodes that it made, changed and removed; it puts the states
together itself. The data is compressed JSON; `docs/diff.md` says what the page shows.
"""

from __future__ import annotations

import base64
import gzip
import inspect
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from graphrewrite import __version__
from graphrewrite.errors import Blocker
from graphrewrite.ir import (
    Literal,
    Model,
    OperandRecord,
    ValueRecord,
    Weight,
    attribute_text,
    type_text,
)
from graphrewrite.layout import TransposeLeft
from graphrewrite.numeric.metrics import Comparison
from graphrewrite.numeric.trace import NumericTrace
from graphrewrite.pipeline import Pass, PassRecord
from graphrewrite.pipeline.diff import Entry, GraphDiff, Snapshot
from graphrewrite.report.weights import WeightTable

_SCRIPTS = ("dagre.min.js", "graph.js", "parts.js", "overview.js", "node.js", "page.js")
_LONG = 400
"""Characters of an attribute, list of origins or literal; the rest is cut."""


class PageRecorder:
    """Collects what the page shows while a pipeline runs; `changed` is a watcher of `CollectDiffs`."""

    def __init__(self, trace: NumericTrace | None = None) -> None:
        self.values: Mapping[str, Comparison] = {}
        """Errors of intermediate values at the end, by name."""
        self._trace = trace
        self._weights = WeightTable()
        self._first: list[dict[str, Any]] = []
        self._totals: dict[str, Any] = {}
        self._changes: dict[int, dict[str, Any]] = {}

    def changed(self, found: GraphDiff, model: Model, record: PassRecord) -> None:
        """The pass of `record` made the changes `found`."""
        self._start(found.before)
        self._changes[record.index] = {
            "set": [self._node(entry) for entry in (*found.added, *(new for _, new in found.changed))],
            "gone": [entry.key for entry in found.removed],
            "totals": _totals(found.after),
        }

    def _start(self, state: Snapshot) -> None:
        if not self._totals:
            self._first = [self._node(entry) for entry in state.entries.values()]
            self._totals = _totals(state)

    def write(
        self,
        path: Path,
        *,
        model: str,
        target: str,
        state: Snapshot,
        records: Sequence[PassRecord],
        passes: Sequence[Pass] = (),
        transposes: Iterable[TransposeLeft] = (),
        findings: Iterable[Blocker] = (),
    ) -> None:
        """Write the page; `state` is the last one, which is the only one where no pass changed anything."""
        self._start(state)
        pictures = {item.name: inspect.cleandoc(type(item).__doc__ or "") for item in passes}
        data = {
            "schema": 1,
            "graphrewrite": __version__,
            "model": model,
            "target": target,
            "first": self._first,
            "totals": self._totals,
            "passes": [self._pass(record, pictures) for record in records],
            "weights": self._weights.rows,
            "values": {name: _error(item) for name, item in self.values.items()},
            "transposes": [[item.source, item.bytes, item.reason] for item in transposes],
            "findings": [[item.code.value, item.op, item.node, item.reason, item.hint] for item in findings],
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(page(data), encoding="utf-8")

    def _pass(self, record: PassRecord, pictures: Mapping[str, str]) -> dict[str, Any]:
        shown: dict[str, Any] = {
            "index": record.index,
            "name": record.name,
            "spec": record.spec,
            "label": record.label,
            "rewrites": record.rewrites,
            "seconds": round(record.seconds, 4),
            "nodes": [record.nodes_before, record.nodes_after],
            "undone": record.rolled_back,
            "notes": record.notes,
            "doc": pictures.get(record.name, ""),
            **self._changes.get(record.index, {}),
        }
        if self._trace is not None and record.index in self._changes:
            shown["errors"] = [
                [item.output, None if item.added is None else _error(item.added), _error(item.total)]
                for item in self._trace.stages.get(record.index, [])
            ]
            shown["problem"] = self._trace.problems.get(record.index, "")
        return shown

    def _node(self, entry: Entry) -> dict[str, Any]:
        record = entry.record
        if isinstance(record, ValueRecord):
            if entry.key.startswith("input "):
                return {"k": entry.key, "o": "input", "r": [_result(record)]}
            return {
                "k": entry.key,
                "o": "output",
                "i": [record.name],
                "t": type_text(record.dtype, record.dims),
            }
        shown: dict[str, Any] = {"k": entry.key, "o": record.operator}
        if entry.origin and entry.origin != (entry.key,):
            shown["f"] = list(entry.origin[-8:])
        if record.operands:
            shown["i"] = [self._operand(item) for item in record.operands]
        shown["r"] = [_result(item) for item in record.results]
        if record.attributes:
            shown["a"] = sorted([item.name, _cut(attribute_text(item))] for item in record.attributes)
        return shown

    def _operand(self, operand: OperandRecord) -> Any:
        if isinstance(operand, Weight):
            number = self._weights.number(operand.tensor())
            return {"w": number, "n": operand.name, "t": type_text(operand.dtype, operand.dims)}
        if isinstance(operand, Literal):
            return {"c": _cut(operand.text)}
        return operand


def page(data: Mapping[str, Any]) -> str:
    """The page that shows `data`."""
    folder = files("graphrewrite.report") / "assets"
    packed = gzip.compress(json.dumps(data, separators=(",", ":")).encode(), mtime=0)
    found = (folder / "page.html").read_text(encoding="utf-8")
    found = found.replace("/*{css}*/", (folder / "page.css").read_text(encoding="utf-8"))
    for name in _SCRIPTS:
        found = found.replace(f"/*{{{name}}}*/", (folder / name).read_text(encoding="utf-8"))
    return found.replace("{data}", base64.b64encode(packed).decode())


def _result(record: ValueRecord) -> list[Any]:
    shown: list[Any] = [record.name, type_text(record.dtype, record.dims)]
    return shown if record.layout is None else [*shown, list(record.layout.perm)]


def _totals(state: Snapshot) -> dict[str, Any]:
    return {
        "operators": dict(sorted(state.operators.items())),
        "parameters": state.parameters,
        "bytes": state.weight_bytes,
    }


def _error(item: Comparison) -> list[Any]:
    """Passed, problem, max abs, largest of the reference, SQNR, share that differs, cosine; None for what is no number."""
    numbers = (item.max_abs, item.ref_max, item.sqnr, item.mismatch, item.cosine)
    return [
        item.passed,
        item.problem,
        *(float(f"{number:.5g}") if math.isfinite(number) else None for number in numbers),
    ]


def _cut(text: str) -> str:
    return text if len(text) <= _LONG else f"{text[:_LONG]}... ({len(text)} characters)"
