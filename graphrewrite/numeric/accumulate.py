"""What an operator adds up on its way to a result: an upper estimate of the largest partial sum, whatever the order.

A convolution's partial sums are at most sum |w| |x|, however its kernel walks; a mean's are those of the sum before the division.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import onnx
import onnx.helper

from graphrewrite.numeric.flat import Flat, attributes_of

Estimate = tuple[list[onnx.NodeProto], str, float]
"""Nodes, the value whose largest element is the estimate, and a factor for it."""


def estimate(node: onnx.NodeProto, flat: Flat) -> Estimate | None:
    """Nodes that compute the estimate for `node`; None where it adds nothing up.

    Recurrent layers are left out: their states are between -1 and 1.
    """
    build = _ESTIMATES.get(node.op_type) if node.domain == "" else None
    return None if build is None else build(node, flat)


class _Nodes:
    """Collects nodes with fresh names beside `node`."""

    def __init__(self, node: onnx.NodeProto) -> None:
        self.node = node
        self.made: list[onnx.NodeProto] = []

    def op(self, op_type: str, inputs: Sequence[str], **attributes: object) -> str:
        name = f"{self.node.output[0]}//sum{len(self.made)}"
        self.made.append(onnx.helper.make_node(op_type, list(inputs), [name], **attributes))
        return name

    def absolute(self, name: str) -> str:
        return self.op("Abs", [name]) if name else ""


def _of_absolutes(node: onnx.NodeProto, flat: Flat) -> Estimate:
    """The same linear operator on the absolute values of its operands."""
    nodes = _Nodes(node)
    attributes = {
        name: abs(item) if isinstance(item, float) else item for name, item in attributes_of(node).items()
    }
    operands = [nodes.absolute(name) for name in node.input]
    return nodes.made, nodes.op(node.op_type, operands, **attributes), 1.0


def _running(node: onnx.NodeProto, flat: Flat) -> Estimate:
    nodes = _Nodes(node)
    absolute = nodes.absolute(node.input[0])
    return nodes.made, nodes.op(node.op_type, [absolute, node.input[1]], **attributes_of(node)), 1.0


def _reduced(op_type: str) -> Callable[[onnx.NodeProto, Flat], Estimate]:
    """A reduction by `op_type` of the absolute values over the same axes."""

    def build(node: onnx.NodeProto, flat: Flat) -> Estimate:
        nodes = _Nodes(node)
        operand = node.input[0] if op_type == "ReduceSumSquare" else nodes.absolute(node.input[0])
        return (
            nodes.made,
            nodes.op(op_type, [operand, *node.input[1:]], **attributes_of(node)),
            1.0,
        )

    return build


def _pooled(node: onnx.NodeProto, flat: Flat) -> Estimate | None:
    """An average times the size of its window."""
    window = attributes_of(node).get("kernel_shape")
    if not isinstance(window, list | tuple):
        return None
    nodes = _Nodes(node)
    absolute = nodes.absolute(node.input[0])
    average = nodes.op("AveragePool", [absolute], **attributes_of(node))
    return nodes.made, average, float(math.prod(window))


def _pooled_globally(node: onnx.NodeProto, flat: Flat) -> Estimate | None:
    rank = flat.ranks.get(node.input[0])
    if rank is None:
        return None
    nodes = _Nodes(node)
    absolute = nodes.absolute(node.input[0])
    return nodes.made, nodes.op("ReduceL1", [absolute, _axes(nodes, range(2, rank))]), 1.0


def _normalized(node: onnx.NodeProto, flat: Flat) -> Estimate | None:
    """The sum of squares, which the variance is made of."""
    rank = flat.ranks.get(node.input[0])
    if rank is None:
        return None
    attributes = attributes_of(node)
    axis = attributes.get("axis", -1)
    assert isinstance(axis, int)
    first = axis % rank if node.op_type in ("LayerNormalization", "RMSNormalization") else 2
    nodes = _Nodes(node)
    axes = [axis % rank] if node.op_type == "LpNormalization" else range(first, rank)
    total = nodes.op("ReduceSumSquare", [node.input[0], _axes(nodes, axes)], keepdims=1)
    if node.op_type == "GroupNormalization":  # channels of a group are added up, too: at most all of them
        total = nodes.op("ReduceSum", [total, _axes(nodes, [1])])
    return nodes.made, total, 1.0


def _axes(nodes: _Nodes, axes: Sequence[int]) -> str:
    return nodes.op("Constant", [], value_ints=list(axes))


_ESTIMATES: dict[str, Callable[[onnx.NodeProto, Flat], Estimate | None]] = {
    **dict.fromkeys(("Conv", "ConvTranspose", "MatMul", "Gemm", "Einsum"), _of_absolutes),
    "CumSum": _running,
    **dict.fromkeys(("ReduceSum", "ReduceMean", "ReduceL1"), _reduced("ReduceL1")),
    **dict.fromkeys(("ReduceSumSquare", "ReduceL2"), _reduced("ReduceSumSquare")),
    "AveragePool": _pooled,
    "GlobalAveragePool": _pooled_globally,
    **dict.fromkeys(
        (
            "LayerNormalization",
            "RMSNormalization",
            "InstanceNormalization",
            "GroupNormalization",
            "LpNormalization",
        ),
        _normalized,
    ),
}
