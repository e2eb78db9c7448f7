"""Activations."""

from __future__ import annotations

from graphrewrite.ir import Value
from graphrewrite.registry import OpNode, lowering
from graphrewrite.targets.tflite.builder import TFLite

_UNARY = {"Relu": "RELU", "Sigmoid": "LOGISTIC", "Tanh": "TANH"}


@lowering("tflite", *_UNARY)
def unary(node: OpNode, t: TFLite) -> Value:
    return t.op(_UNARY[node.op_type], node.input(0))
