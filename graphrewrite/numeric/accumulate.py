"""What an operator adds up on its way to a result: an upper estimate of the largest partial sum, whatever the order.

A convolution's partial sums are at most sum |w| |x|, however its kernel walks; a mean's are those of the sum before the division.
Computing that is as much work as the operator itself, so `suspects` first leaves out those where the sum of |w|, or the number of
terms, times the largest |x| is small enough.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper

from graphrewrite.ir import Array
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
    rank = flat.rank(node.input[0])
    if rank is None:
        return None
    nodes = _Nodes(node)
    absolute = nodes.absolute(node.input[0])
    return nodes.made, nodes.op("ReduceL1", [absolute, _axes(nodes, range(2, rank))]), 1.0


def _normalized(node: onnx.NodeProto, flat: Flat) -> Estimate | None:
    """The sum of squares, which the variance is made of."""
    rank = flat.rank(node.input[0])
    if rank is None:
        return None
    attributes = attributes_of(node)
    axis = attributes.get("axis", -1)
    first = axis % rank if node.op_type in ("LayerNormalization", "RMSNormalization") else 2
    nodes = _Nodes(node)
    axes = [axis % rank] if node.op_type == "LpNormalization" else range(first, rank)
    total = nodes.op("ReduceSumSquare", [node.input[0], _axes(nodes, axes)], keepdims=1)
    if node.op_type == "GroupNormalization":  # channels of a group are added up, too: at most all of them
        total = nodes.op("ReduceSum", [total, _axes(nodes, [1])])
    return nodes.made, total, 1.0


def _axes(nodes: _Nodes, axes: Sequence[int]) -> str:
    return nodes.op("Constant", [], value_ints=list(axes))


def suspects(flat: Flat, largest: Mapping[str, float], limit: float) -> set[str]:
    """First outputs of the nodes whose partial sums may exceed `limit`, given the largest absolute value of every value."""
    weights = _Weights(flat)
    nodes = [
        node
        for node in flat.proto.graph.node
        if node.domain == ""
        and node.op_type in _ESTIMATES
        and flat.types.get(node.output[0]) == onnx.TensorProto.FLOAT
    ]
    return {node.output[0] for node in nodes if _ceiling(node, flat, weights, largest) > limit}


class _Weights:
    """Constant operands, also those that a meaning transposes first."""

    def __init__(self, flat: Flat) -> None:
        self._constants = {item.name: item for item in flat.proto.graph.initializer}
        self._views = {
            node.output[0]: node
            for node in flat.proto.graph.node
            if node.op_type == "Transpose" and node.domain == ""
        }

    def absolute(self, name: str) -> Array | None:
        """The absolute values of a constant; None where it is none."""
        if name in self._constants:
            array: Array = np.abs(onnx.numpy_helper.to_array(self._constants[name]))
            return array
        node = self._views.get(name)
        inner = None if node is None else self.absolute(node.input[0])
        if node is None or inner is None:
            return None
        turned: Array = inner.transpose(attributes_of(node).get("perm"))
        return turned


def _ceiling(node: onnx.NodeProto, flat: Flat, weights: _Weights, largest: Mapping[str, float]) -> float:
    """A bound of the estimate that costs nothing; infinite where there is none."""
    size = largest.get(node.input[0], math.inf)
    if node.op_type in _LINEAR:
        return _linear_ceiling(node, weights, largest)
    count = math.inf if node.op_type == "Einsum" else _terms(node, flat.shapes.get(node.input[0]))
    squared = node.op_type in ("ReduceSumSquare", "ReduceL2") or node.op_type.endswith("Normalization")
    return count * (size * size if squared else size)


_LINEAR = ("Conv", "ConvTranspose", "MatMul", "Gemm")


def _linear_ceiling(node: onnx.NodeProto, weights: _Weights, largest: Mapping[str, float]) -> float:
    """The largest sum of |w| over the terms of a result, times the largest |x|; biases add their own."""
    first, second = (weights.absolute(name) for name in node.input[:2])
    attributes = attributes_of(node)
    if second is not None:
        axes: tuple[int, ...]
        if node.op_type == "Conv":
            axes = tuple(range(1, second.ndim))
        elif node.op_type == "ConvTranspose":
            axes = (0, *range(2, second.ndim))
        else:
            axes = (-1 if attributes.get("transB") or second.ndim == 1 else -2,)
        total = float(second.sum(axes, dtype=np.float64).max(initial=0.0)) * largest.get(
            node.input[0], math.inf
        )
    elif first is not None and node.op_type in ("MatMul", "Gemm"):
        axes = (-2 if attributes.get("transA") else -1,)
        total = float(first.sum(axes, dtype=np.float64).max(initial=0.0)) * largest.get(
            node.input[1], math.inf
        )
    else:
        return math.inf
    bias = node.input[2] if len(node.input) > 2 else ""
    if bias:
        known = weights.absolute(bias)
        total += float(known.max(initial=0.0)) if known is not None else largest.get(bias, math.inf)
    scale = max(abs(float(item)) for item in (1.0, attributes.get("alpha", 1.0), attributes.get("beta", 1.0)))
    return total * scale


def _terms(node: onnx.NodeProto, shape: tuple[int | None, ...] | None) -> float:
    """How many elements one result is the sum of, at most."""
    attributes = attributes_of(node)
    if node.op_type == "AveragePool":
        window = attributes.get("kernel_shape")
        return float(math.prod(window)) if isinstance(window, list | tuple) else math.inf
    if shape is None:
        return math.inf
    axis = attributes.get("axis", -1)
    match node.op_type:
        case "LayerNormalization" | "RMSNormalization":
            counted = shape[axis % len(shape) :]
        case "InstanceNormalization" | "GlobalAveragePool":
            counted = shape[2:]
        case "GroupNormalization":
            counted = shape[1:]
        case "LpNormalization":
            counted = shape[axis % len(shape) :][:1]
        case _:
            counted = shape
    sizes = [dim for dim in counted if dim is not None]
    return float(math.prod(sizes)) if len(sizes) == len(counted) else math.inf


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
