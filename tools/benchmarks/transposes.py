"""Transposes in written files: ours with the reason for each, onnx2tf's by counting."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

import graphrewrite
from graphrewrite.layout import transposes_left
from tools.benchmarks import models
from tools.benchmarks.conversion import convert_with_onnx2tf

_ITEM_BYTES = 4


def count(name: str, work: Path) -> list[str] | None:
    """One table row; None where the model can't be exported."""
    path = models.full_size(name)
    if path is None:
        return None
    result = graphrewrite.run(path, "tflite", output=work / f"{name}.tflite", check=False)
    left = transposes_left(result.model)
    reasons = Counter(item.reason for item in left)
    peer = convert_with_onnx2tf(path, work / name)
    theirs = in_file(peer.file) if peer.file is not None else None
    return [
        name,
        str(len(left)),
        str(sum(item.bytes for item in left)),
        str(theirs[0]) if theirs is not None else f"fails: {peer.error[:40]}",
        str(theirs[1]) if theirs is not None else "-",
        "; ".join(f"{times} x {reason}" for reason, times in reasons.most_common()),
    ]


def in_file(path: Path) -> tuple[int, int]:
    """(number of TRANSPOSE operators, bytes they move) of a .tflite file."""
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(path.read_bytes(), 0)
    found = [0, 0]
    for graph in model.subgraphs:
        for operator in graph.operators:
            if model.operatorCodes[operator.opcodeIndex].builtinCode == schema.BuiltinOperator.TRANSPOSE:
                found[0] += 1
                found[1] += (
                    math.prod(int(dim) for dim in graph.tensors[operator.inputs[0]].shape) * _ITEM_BYTES
                )
    return found[0], found[1]
