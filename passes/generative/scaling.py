"""Multiplying a value by a positive number for nothing, by scaling the constants that it is made from."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from graphrewrite.ir import Array, Node, Value, constant_array, is_constant, use_count
from graphrewrite.rewrite import MatchFailure, Rewriter

Action = Callable[[Rewriter], None]
_HOMOGENEOUS = frozenset({
    "LeakyRelu", "Relu", "Abs", "Neg", "Identity", "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten", "Slice",
    "AveragePool", "GlobalAveragePool", "DepthToSpace", "SpaceToDepth",
})  # fmt: skip
_EVERY_OPERAND = frozenset({"Add", "Sub", "Concat", "Sum", "Max", "Min"})
_WEIGHTED = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
_DEPTH = 24
"""Nodes between a gain and the weights that can take it."""
_SHARED_LIMIT = 4096
"""Elements of a constant that may be stored twice."""


def plan(value: Value | None, factor: float, reader: Node, depth: int = 0) -> list[Action]:
    """What must change so that `value`, read by `reader` only, arrives multiplied by `factor` (positive).

    Raises:
        MatchFailure: something on the way is used elsewhere, is an input, or is not linear.
    """
    if value is None or depth > _DEPTH:
        raise MatchFailure("the chain is too long", reader)
    if is_constant(value):
        return [_constant(value, factor, reader)]
    if len({use.node for use in value.uses()}) != 1 or value.is_graph_output():
        raise MatchFailure(f"'{value.name}' is also used elsewhere", value)
    return [lambda rewriter: rewriter.altered(value), *_made(value, factor, depth)]


def _made(value: Value, factor: float, depth: int) -> list[Action]:
    node = value.producer()
    if node is None or node.domain != "":
        raise MatchFailure(f"'{value.name}' is an input", value)
    kind = node.op_type
    if kind in _HOMOGENEOUS:
        return plan(node.inputs[0], factor, node, depth + 1)
    if kind in _EVERY_OPERAND:
        return [action for item in node.inputs for action in plan(item, factor, node, depth + 1)]
    if kind in _WEIGHTED:
        return _weighted(node, factor)
    if kind in ("Mul", "Div"):
        return _product(node, factor, depth)
    raise MatchFailure(f"{kind} is not linear", node)


def _product(node: Node, factor: float, depth: int) -> list[Action]:
    """One operand of a product, the numerator of a quotient."""
    failure = MatchFailure("no operand can be scaled", node)
    if node.inputs[0] is node.inputs[1]:
        raise MatchFailure("a square", node)
    for index in (0, 1) if node.op_type == "Mul" else (0,):
        try:
            return plan(node.inputs[index], factor, node, depth + 1)
        except MatchFailure as error:
            failure = error.untraced()
    raise failure.untraced()


def _scaled(array: Array | None, factor: float, culprit: Value | Node) -> Array:
    if array is None or array.dtype.kind != "f":
        raise MatchFailure("a constant is not floating-point", culprit)
    scaled = (array.astype(np.float64) * factor).astype(array.dtype)
    if not np.isfinite(scaled).all():
        raise MatchFailure("a constant would overflow", culprit)
    return scaled


def _constant(value: Value, factor: float, reader: Node) -> Action:
    array = constant_array(value)
    # A large constant that others read too would be stored twice.
    if array is not None and array.size > _SHARED_LIMIT and len({use.node for use in value.uses()}) > 1:
        raise MatchFailure(f"'{value.name}' is shared", value)
    scaled = _scaled(array, factor, value)

    def act(rewriter: Rewriter) -> None:
        replacement = rewriter.constant(scaled, value.name)
        for index, item in enumerate(reader.inputs):
            if item is value:
                rewriter.set_input(reader, index, replacement)

    return act


def _weighted(node: Node, factor: float) -> list[Action]:
    weight = node.inputs[1]
    if not is_constant(weight) or weight is None or use_count(weight) != 1:
        raise MatchFailure("the weight is shared, or computed at run time", node)
    actions = [_constant(weight, factor, node)]
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    if bias is None:
        return actions
    if not is_constant(bias):
        raise MatchFailure("the bias is computed at run time", bias)
    return [*actions, _constant(bias, factor, node)]
