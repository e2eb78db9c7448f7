"""An activation becomes a field of the operator before it."""

from __future__ import annotations

import dataclasses

from graphrewrite.ir import Node, Value, use_count
from graphrewrite.pipeline import RewritePass, Stage
from graphrewrite.rewrite import Match, MatchFailure, Rewriter

ACTIVATIONS = {
    "RELU": "RELU",
    "RELU6": "RELU6",
    "RELU_N1_TO_1": "RELU_N1_TO_1",
}
HOSTS = frozenset(
    {
        "ADD",
        "SUB",
        "MUL",
        "DIV",
        "CONV_2D",
        "DEPTHWISE_CONV_2D",
        "FULLY_CONNECTED",
        "AVERAGE_POOL_2D",
        "MAX_POOL_2D",
        "CONV_3D",
        "TRANSPOSE_CONV",
    }
)
"""Operators whose kernels, XNNPACK's included, apply `fused_activation_function` to float32."""


@dataclasses.dataclass(frozen=True)
class FuseActivations(RewritePass):
    """Fuse RELU, RELU6 and RELU_N1_TO_1 into the operator that feeds them.

        %a = tflite.CONV_2D(%x, %w, %b)
        %y = tflite.RELU6(%a)
        --->
        %y = tflite.CONV_2D(%x, %w, %b) {fused_activation_function=RELU6}

    Only where nothing else reads the value before the activation. Exact.
    """

    stage = Stage.FINISH
    after = (
        "drop-neutral-operators",
        "fold-affine-into-readers",
        "flatten-into-products",
        "merge-affine-chains",
    )
    targets = frozenset({"tflite"})

    @property
    def roots(self) -> tuple[str, ...]:
        """The activations."""
        return tuple(f"tflite.{name}" for name in ACTIVATIONS)

    def match(self, node: Node) -> Match:
        """The host, if it can take the activation."""
        value = node.inputs[0]
        host = value.producer() if value is not None else None
        if value is None or host is None or host.domain != "tflite" or host.op_type not in HOSTS:
            raise MatchFailure("the operator before has no fused activation", value)
        if use_count(value) != 1 or value.is_graph_output():
            raise MatchFailure("something else reads the value before the activation", value)
        if host.attributes.get_string("fused_activation_function", "NONE") != "NONE":
            raise MatchFailure("the operator before has an activation already", host)
        if value.dtype is None or value.dtype.name != "FLOAT":
            raise MatchFailure("only float32 kernels apply it", value)
        return Match(node, {}, {"host": host}, (host, node))

    def rewrite(self, match: Match, rewriter: Rewriter) -> Value:
        """The host again, with the activation as an attribute."""
        host = match.node("host")
        attributes = dict(host.attributes.items())
        attributes.pop("fused_activation_function", None)
        return rewriter.op(
            host.op_type,
            *host.inputs,
            domain="tflite",
            **attributes,
            fused_activation_function=ACTIVATIONS[match.root.op_type],
        )
