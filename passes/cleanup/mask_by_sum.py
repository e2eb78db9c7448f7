"""Masking with minus infinity becomes a sum."""

from __future__ import annotations

import dataclasses

import numpy as np

from graphrewrite.ir import Array, DataType, Node, Value, constant_array, dims
from graphrewrite.pipeline import RewritePass, Stage
from graphrewrite.rewrite import Match, MatchFailure, Rewriter


@dataclasses.dataclass(frozen=True)
class MaskBySum(RewritePass):
    """Use ADD, which delegates take, for SELECT_V2, which they do not.

        %y = SELECT_V2(%mask:bool[12,12], -inf, %x)      --->   %y = ADD(%x, %bias:float[12,12])

    For a constant mask, with a bias of -inf where it is masked and 0 elsewhere: x - inf is -inf for every x that the softmax
    behind can be defined on. Exact.
    """

    stage = Stage.FINISH
    targets = frozenset({"tflite"})
    roots = ("tflite.SELECT_V2",)

    def match(self, node: Node) -> Match:
        """The value that is masked, as `x`."""
        mask = constant_array(node.inputs[0])
        if mask is None or len(node.inputs) != 3 or node.outputs[0].dtype != DataType.FLOAT:
            raise MatchFailure("the mask is known only at run time", node)
        for index in (1, 2):
            x, fill = node.inputs[3 - index], constant_array(node.inputs[index])
            if x is None or fill is None or not _is_minus_infinity(fill):
                continue
            if dims(x) is None or dims(x) != dims(node.outputs[0]) or None in (dims(x) or ()):
                raise MatchFailure("the mask widens the value", x)
            if not _reaches_softmax(node.outputs[0]):
                raise MatchFailure("what reads the result is no softmax", node)
            return Match(node, {"x": x}, {}, (node,))
        raise MatchFailure("neither branch is minus infinity", node)

    def rewrite(self, match: Match, rewriter: Rewriter) -> Value:
        """The sum."""
        node, x = match.root, match["x"]
        mask = constant_array(node.inputs[0])
        assert mask is not None
        masked = mask if node.inputs[2] is x else ~mask
        bias: Array = np.where(masked, np.float32(-np.inf), np.float32(0))
        return rewriter.op(
            "ADD", x, rewriter.constant(bias), domain="tflite", fused_activation_function="NONE"
        )


def _is_minus_infinity(fill: Array) -> bool:
    return bool(fill.size == 1 and np.isneginf(fill).all())


def _reaches_softmax(value: Value) -> bool:
    uses = list(value.uses())
    return bool(uses) and not value.is_graph_output() and all(_softmax(use.node) for use in uses)


def _softmax(node: Node) -> bool:
    return node.domain == "tflite" and node.op_type == "SOFTMAX"
