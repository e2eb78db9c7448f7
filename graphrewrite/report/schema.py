"""The report of a run in its stable JSON schema; `docs/report.md` describes every field."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import onnx

from graphrewrite import __version__
from graphrewrite.ir import Model, Picture, Value, dimension_ranges, dims, picture
from graphrewrite.numeric.check import CheckReport
from graphrewrite.numeric.ranges import HalfReport
from graphrewrite.pipeline import PassRecord, histogram
from graphrewrite.targets.base import Target, Written

SCHEMA = 1


def report(
    target: Target,
    model: Model,
    records: Sequence[PassRecord],
    written: Written | None,
    verdict: CheckReport | None,
    unchecked: str,
    seconds: Mapping[str, float],
    *,
    source: str,
    half: HalfReport | None = None,
) -> dict[str, Any]:
    """Everything that a user or a CI job may want to know of a run, JSON-serialisable."""
    return {
        "schema": SCHEMA,
        "graphrewrite": __version__,
        "onnx": onnx.__version__,
        "source": source,
        "target": target.name,
        "options": target.options,
        "path": None,
        "size": written.size if written is not None else None,
        "details": written.details
        if written is not None
        else {"operators": dict(sorted(histogram(model).items()))},
        "inputs": [_value(value, target) for value in model.graph.inputs],
        "outputs": [_value(value, target) for value in model.graph.outputs],
        "check": verdict.to_json() if verdict is not None else None,
        "unchecked": unchecked,
        "half": half.to_json() if half is not None else None,
        "passes": [_record(item) for item in records],
        "notes": [note for item in records for note in item.notes],
        "seconds": {key: round(value, 4) for key, value in seconds.items()},
    }


def _value(value: Value, target: Target) -> dict[str, Any]:
    known, image = dims(value), picture(value)
    ranges = {name: str(item) for name, item in dimension_ranges(value).items()}
    return {
        "name": value.name,
        "dtype": value.dtype.name.lower() if value.dtype is not None else None,
        "shape": list(known) if known is not None else None,
        **({"ranges": ranges} if ranges else {}),
        **({} if image is None else {"image": _image(image, target)}),
    }


def _image(image: Picture, target: Target) -> dict[str, Any]:
    return {
        "color": image.color,
        "scale": list(image.scale),
        "bias": list(image.bias),
        "feature": target.takes_images,
    }


def _record(item: PassRecord) -> dict[str, Any]:
    return {
        "index": item.index,
        "name": item.name,
        "spec": item.spec,
        "label": item.label,
        "rewrites": item.rewrites,
        "seconds": round(item.seconds, 6),
        "nodes_before": item.nodes_before,
        "nodes_after": item.nodes_after,
        "rolled_back": item.rolled_back,
    }
