"""TFLite operators that return their operand unchanged are removed."""

from __future__ import annotations

import dataclasses

import numpy as np

from graphrewrite.ir import Node, Value, constant_array, constant_ints, static_dims
from graphrewrite.pipeline import RewritePass, Stage
from graphrewrite.rewrite import Match, MatchFailure, Rewriter

_NEUTRAL = {"MUL": 1, "DIV": 1, "ADD": 0, "SUB": 0}
_COMMUTES = frozenset({"MUL", "ADD"})


@dataclasses.dataclass(frozen=True)
class DropNeutralOperators(RewritePass):
    """Remove what lowering and layout left without effect.

        %a = MUL(%x, 1.0)
        %b:float[1,8] = RESHAPE(%a, [1, 8])              --->   %y = RELU(%x)
        %y = RELU(%b)

    MUL and DIV by 1, ADD and SUB of 0, RESHAPE to the same shape, TRANSPOSE in the same order, CAST to the same type,
    SLICE of everything, PAD by nothing, CONCATENATION of one value. Exact (x + 0 is x but for the sign of a zero).
    """

    stage = Stage.FINISH
    targets = frozenset({"tflite"})
    roots = tuple(
        f"tflite.{name}"
        for name in (*_NEUTRAL, "RESHAPE", "TRANSPOSE", "CAST", "SLICE", "PAD", "PADV2", "CONCATENATION")
    )

    def match(self, node: Node) -> Match:
        """The operand that is also the result."""
        if node.attributes.get_string("fused_activation_function", "NONE") != "NONE":
            raise MatchFailure("an activation follows", node)
        x = _unchanged(node)
        if x is None:
            raise MatchFailure(f"this {node.op_type} changes its operand", node)
        known, out = static_dims(x), node.outputs[0]
        if x.dtype is None or x.dtype != out.dtype or known is None or known != static_dims(out):
            raise MatchFailure("operand and result differ in type or shape", x)
        if out.is_graph_output() and (x.is_graph_output() or x.producer() is None):
            raise MatchFailure("an output needs an operator of its own", out)
        return Match(node, {"x": x}, {}, (node,))

    def rewrite(self, match: Match, rewriter: Rewriter) -> Value:
        """The operand."""
        return match["x"]


def _unchanged(node: Node) -> Value | None:
    x = node.inputs[0]
    if node.op_type in _NEUTRAL:
        for index in (1, 0) if node.op_type in _COMMUTES else (1,):
            array = constant_array(node.inputs[index])
            if array is not None and array.size and bool(np.all(array == _NEUTRAL[node.op_type])):
                return node.inputs[1 - index]
        return None
    if node.op_type == "TRANSPOSE":
        order = constant_ints(node.inputs[1])
        return x if order is not None and order == sorted(order) else None
    if node.op_type in ("PAD", "PADV2"):
        pads = constant_ints(node.inputs[1])
        return x if pads is not None and not any(pads) else None
    if node.op_type == "CONCATENATION":
        return x if len(node.inputs) == 1 else None
    return x  # RESHAPE, CAST and SLICE: equal where type and shape are
