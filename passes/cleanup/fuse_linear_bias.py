"""Core ML's linear adds a bias itself."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from graphrewrite.ir import Node, Value, constant_array, dims, static_dims, use_count
from graphrewrite.pipeline import RewritePass, Stage
from graphrewrite.rewrite import Match, MatchFailure, Rewriter


@dataclasses.dataclass(frozen=True)
class FuseLinearBias(RewritePass):
    """Take a constant that is added to every row into the product before it.

        %a:float[2,12,96] = mil.linear(%x, %w)
        %y = mil.add(%a, %b:float[96])             --->   %y = mil.linear(%x, %w, %b)

    MatMul and Add are two nodes in ONNX. Exact.
    """

    stage = Stage.FINISH
    targets = frozenset({"coreml"})
    roots = ("mil.add",)

    def match(self, node: Node) -> Match:
        """The product and the constant, in either order."""
        for index in (0, 1):
            value, other = node.inputs[index], node.inputs[1 - index]
            product = value.producer() if value is not None else None
            if value is None or product is None or (product.domain, product.op_type) != ("mil", "linear"):
                continue
            if len(product.inputs) > 2 or use_count(value) > 1 or value.is_graph_output():
                raise MatchFailure("the product has a bias already, or is read elsewhere too", value)
            known, bias = dims(value), static_dims(other)
            if constant_array(other) is None or known is None or bias is None:
                raise MatchFailure("what is added is no constant", other)
            if len(bias) > len(known) or math.prod(bias) != known[-1] or bias[-1:] != known[-1:]:
                raise MatchFailure("what is added differs from row to row", other)
            return Match(node, {"bias": other}, {"product": product}, (product, node))
        raise MatchFailure("neither operand is a product")

    def rewrite(self, match: Match, rewriter: Rewriter) -> Value:
        """The product with its bias."""
        x, weight = match.node("product").inputs
        array = constant_array(match["bias"])
        assert array is not None
        bias = match["bias"] if array.ndim == 1 else rewriter.constant(np.ravel(array))
        return rewriter.op("linear", x, weight, bias, domain="mil")
