"""Graph pairs and overlays for Model Explorer (https://github.com/google-ai-edge/model-explorer), in its JSON formats.

For each pass that changed something, `007_fuse-leaky-relu.json` holds two graphs, `before` and `after`, whose nodes have the
same id where they have the same value name, so that its split view walks both sides together. Beside it, to be loaded as node
data, `.changes.json` colours what changed, and `.error.json` gives the error of each output. Field names are those of
`model_explorer.graph_builder` and `model_explorer.node_data_builder` (ai-edge-model-explorer 0.1).
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from graphrewrite.ir import (
    Literal,
    Model,
    NodeRecord,
    OperandRecord,
    ValueRecord,
    Weight,
    attribute_text,
    operand_text,
    type_text,
)
from graphrewrite.numeric.trace import NumericTrace
from graphrewrite.pipeline import PassRecord
from graphrewrite.pipeline.diff import Entry, GraphDiff, Snapshot

_GONE, _NEW, _CHANGED = ("gone", "#f4b9b4"), ("new", "#b5e2c7"), ("changed", "#f5dfa8")
"""Value and colour of a node in the overlay of changes."""


class GraphPairs:
    """Writes the files of each pass into a folder; `changed` is a watcher of `CollectDiffs`."""

    def __init__(self, folder: Path, trace: NumericTrace | None = None) -> None:
        self._folder = folder
        self._trace = trace

    def changed(self, found: GraphDiff, model: Model, record: PassRecord) -> None:
        """The pass of `record` made the changes `found`."""
        self._folder.mkdir(parents=True, exist_ok=True)
        stem = f"{record.index:03}_{Path(record.name).stem}"
        graphs = [graph("before", found.before), graph("after", found.after)]
        collection = {"label": stem, "graphs": graphs, "graphSorting": "name_desc"}
        self._write(f"{stem}.json", collection)
        changed = {new.key: _CHANGED for _, new in found.changed}
        self._write(
            f"{stem}.changes.json",
            {
                "before": _overlay("by this pass", changed | {entry.key: _GONE for entry in found.removed}),
                "after": _overlay("by this pass", changed | {entry.key: _NEW for entry in found.added}),
            },
        )
        if self._trace is not None and record.index in self._trace.stages:
            errors = {
                f"output {item.output}": {"value": item.total.max_abs}
                for item in self._trace.stages[record.index]
                if math.isfinite(item.total.max_abs)
            }
            gradient = [{"stop": 0, "bgColor": "#e3f4ea"}, {"stop": 1, "bgColor": "#f4b9b4"}]
            name = "max abs error against the source"
            self._write(
                f"{stem}.error.json", {"after": {"results": errors, "name": name, "gradient": gradient}}
            )

    def _write(self, name: str, content: Any) -> None:
        (self._folder / name).write_text(json.dumps(content), encoding="utf-8")


def graph(name: str, state: Snapshot) -> dict[str, Any]:
    """A `Graph`; the source's names, split at slashes, are its layers."""
    makers = {
        result.name: (entry.key, str(index))
        for entry in state.entries.values()
        for index, result in enumerate(_results(entry))
    }
    return {"id": name, "nodes": [_node(entry, makers) for entry in state.entries.values()]}


def _results(entry: Entry) -> Iterable[ValueRecord]:
    if isinstance(entry.record, NodeRecord):
        return entry.record.results
    return [entry.record] if entry.key.startswith("input ") else []


def _node(entry: Entry, makers: Mapping[str, tuple[str, str]]) -> dict[str, Any]:
    record = entry.record
    operands: tuple[OperandRecord, ...] = ()
    attributes = []
    if isinstance(record, NodeRecord):
        operands = record.operands
        attributes = [_pair(item.name, attribute_text(item)) for item in record.attributes]
        attributes += [
            _pair(f"operand {index}", operand_text(item))
            for index, item in enumerate(operands)
            if isinstance(item, Literal | Weight)
        ]
        attributes.append(_pair("from", ", ".join(entry.origin)))
    elif entry.key.startswith("output "):
        operands = (record.name,)
    return {
        "id": entry.key,
        "label": entry.operator or entry.key,
        "namespace": _namespace(entry),
        "attrs": attributes,
        "incomingEdges": [
            {
                "sourceNodeId": makers[item][0],
                "sourceNodeOutputId": makers[item][1],
                "targetNodeInputId": str(index),
            }
            for index, item in enumerate(operands)
            if isinstance(item, str) and item in makers
        ],
        "outputsMetadata": [
            {"id": str(index), "attrs": _value(result)} for index, result in enumerate(_results(entry))
        ],
    }


def _namespace(entry: Entry) -> str:
    """`synthesis/b4` of `/synthesis/b4/Conv_output_0`: exporters name values by module."""
    source = entry.origin[-1] if entry.origin else ""
    return "/".join(part for part in source.split("/")[:-1] if part)


def _value(record: ValueRecord) -> list[dict[str, str]]:
    shown = [_pair("tensor_name", record.name), _pair("shape", type_text(record.dtype, record.dims))]
    if record.layout is not None:
        shown.append(_pair("dimensions in the order", str(list(record.layout.perm))))
    return shown


def _pair(key: str, value: str) -> dict[str, str]:
    return {"key": key, "value": value}


def _overlay(name: str, marks: Mapping[str, tuple[str, str]]) -> dict[str, Any]:
    results = {key: {"value": value, "bgColor": colour} for key, (value, colour) in marks.items()}
    return {"results": results, "name": name}
