"""float16 becomes a storage type: everything between inputs and outputs is computed in float32."""

from __future__ import annotations

import dataclasses
from typing import Any

from graphrewrite.ir import DataType, Model, Node, Value, constant_array, is_constant
from graphrewrite.pipeline import Pass, Stage
from graphrewrite.rewrite import Rewriter, RuleStatistics, all_nodes

_KEPT = frozenset({"Cast", "CastLike", "If", "Loop", "Scan", "QuantizeLinear", "DequantizeLinear", "BitCast"})
"""Ops that are about the type itself, or whose bodies fix it."""


@dataclasses.dataclass(frozen=True)
class WidenHalf(Pass):
    """Compute float16 nodes in float32.

        %y:f16 = Relu(%x:f16)    %z:f16 = Exp(%y)
        --->
        %a:f32 = Cast(%x)    %b:f32 = Relu(%a)    %c:f32 = Exp(%b)    %z:f16 = Cast(%c)

    XNNPACK takes float32, most of LiteRT's own kernels refuse float16, and the round trip after each node would cost
    precision and time; Core ML computes in one precision throughout, which is chosen when the file is written. Explicit casts
    of the source stay. Exact up to the roundings that no longer happen.
    """

    stage = Stage.LEGALIZE
    mandatory = True
    targets = frozenset({"tflite", "coreml"})

    def run(self, model: Model, rewriter: Rewriter) -> dict[str, RuleStatistics]:
        """One walk in topological order."""
        wide: dict[Value, Value] = {}
        for node in list(all_nodes(model.graph)):
            if node.domain == "" and node.op_type not in _KEPT and _is_half(node) and node.graph is not None:
                with rewriter.rewrite("widen-half", node):
                    rewriter.replace(node, self._widened(node, rewriter, wide))
        rewriter.collect_garbage()
        return {}

    def _widened(self, node: Node, rewriter: Rewriter, wide: dict[Value, Value]) -> list[Value | None]:
        operands = [
            _widen(value, node, rewriter, wide)
            if value is not None and value.dtype == DataType.FLOAT16
            else value
            for value in node.inputs
        ]
        attributes: dict[str, Any] = dict(node.attributes.items())
        results = rewriter.ops(node.op_type, *operands, outputs=len(node.outputs), **attributes)
        narrow: list[Value | None] = []
        for old, new in zip(node.outputs, results, strict=True):
            if old.dtype == DataType.FLOAT16:
                half = rewriter.op("Cast", new, to=int(DataType.FLOAT16))
                wide[half] = new
                narrow.append(half)
            else:
                narrow.append(new)
        return narrow


def _is_half(node: Node) -> bool:
    return any(value is not None and value.dtype == DataType.FLOAT16 for value in node.inputs)


def _widen(value: Value, node: Node, rewriter: Rewriter, wide: dict[Value, Value]) -> Value:
    if value in wide:
        return wide[value]
    array = constant_array(value) if is_constant(value) else None
    if array is not None:
        wide[value] = rewriter.constant(array.astype("float32"), f"{value.name}/wide")
        return wide[value]
    result = rewriter.op("Cast", value, to=int(DataType.FLOAT))
    if node.graph is value.graph:  # a cast made inside a subgraph is not visible outside of it
        wide[value] = result
    return result
