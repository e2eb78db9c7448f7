"""Transposes in written files: ours with the reason for each, onnx2tf's by counting."""

from __future__ import annotations

import math
import re
from collections import Counter
from pathlib import Path

import onnx

import graphrewrite
from graphrewrite.targets.base import target

_ITEM_BYTES = 4
_CHANNELS_LAST = frozenset(
    {"Conv", "ConvTranspose", "AveragePool", "MaxPool", "GlobalAveragePool", "Resize", "DepthToSpace"}
)
"""Operators of ONNX whose operators in TFLite want channels last."""
_SOURCE = re.compile(r"(?<= for )'[^']*' ?|(?<=put )'[^']*'|^order \[[^]]*\]: ")
"""Node names and orders in a reason, which would keep equal reasons apart."""


def left_in_ours(model: Path, work: Path) -> tuple[int, int, str]:
    """(transposes, bytes they move, why) in our file with the order of inputs and outputs free, as onnx2tf has it."""
    output = work / "free.tflite"
    result = graphrewrite.run(model, "tflite", "default,assign-layout{io_layout=free}", output, check=False)
    left = target("tflite").transposes_left(result.model)
    reasons = Counter(_SOURCE.sub("", item.reason) for item in left)
    text = "; ".join(f"{times} x {reason}" for reason, times in reasons.most_common(3))
    return len(left), sum(item.bytes for item in left), text


def wrapping_each(model: Path) -> int:
    """Transposes of a converter that puts two around each operator that wants channels last, and keeps the model's own."""
    counts = Counter(node.op_type for node in onnx.load(model, load_external_data=False).graph.node)
    return 2 * sum(counts[name] for name in _CHANNELS_LAST) + counts["Transpose"]


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
