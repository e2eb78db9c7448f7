"""Convolutions and matrix products with constant weights: scaling and shifting their channels in place.

Conv and ConvTranspose have their channels on axis 1, Gemm and MatMul on the last. All arithmetic is done in float64 and rounded
once.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import numpy.typing as npt

from graphrewrite.ir import (
    Array,
    Node,
    Value,
    constant_array,
    is_constant,
    rank,
    static_dims,
    use_count,
)
from graphrewrite.rewrite import MatchFailure, Rewriter

LINEAR = ("Conv", "ConvTranspose", "Gemm", "MatMul")
Vector = npt.NDArray[np.float64]


def channel_vector(value: Value | None, size: int, rank_: int, axis: int) -> Vector | None:
    """A constant that broadcasts along one axis of a tensor of rank `rank_` only, as `[size]`; None otherwise."""
    shape = static_dims(value)
    if shape is None or not is_constant(value) or len(shape) > rank_:
        return None
    padded = (1,) * (rank_ - len(shape)) + shape
    if any(dim != 1 for index, dim in enumerate(padded) if index != axis) or padded[axis] not in (1, size):
        return None
    array = constant_array(value)
    if array is None or array.dtype.kind != "f":
        return None
    return np.broadcast_to(array.reshape(-1).astype(np.float64), (size,))


@dataclasses.dataclass(frozen=True)
class Linear:
    """A Conv, ConvTranspose, Gemm or MatMul whose weight is a constant of floats."""

    node: Node

    @staticmethod
    def of(node: Node | None) -> Linear:
        """`node` as a linear op.

        Raises:
            MatchFailure: it is none, or its weight is not known now.
        """
        if node is None or node.domain != "" or node.op_type not in LINEAR:
            raise MatchFailure("the operand comes from no convolution or matrix product", node)
        found = Linear(node)
        shape = static_dims(node.inputs[1])
        if not is_constant(node.inputs[1]) or shape is None:
            raise MatchFailure("the weight is computed at run time", node.inputs[1])
        if node.op_type == "MatMul" and len(shape) != 2:
            raise MatchFailure("the weight of the MatMul is not a matrix", node.inputs[1])
        if node.op_type == "Gemm" and node.attributes.get_int("transA", 0) != 0:
            raise MatchFailure("the Gemm transposes its operand", node)
        if found.weight.dtype.kind != "f":
            raise MatchFailure("the weight holds no floating-point numbers", node.inputs[1])
        return found

    @property
    def weight(self) -> Array:
        """The weight as stored."""
        array = constant_array(self.node.inputs[1])
        assert array is not None
        return array

    @property
    def group(self) -> int:
        """Groups of a convolution, 1 for a product."""
        return self.node.attributes.get_int("group", 1)

    @property
    def _transposed(self) -> bool:
        return bool(self.node.attributes.get_int("transB", 0))

    @property
    def channels(self) -> int:
        """Output channels."""
        shape: tuple[int, ...] = self.weight.shape
        if self.node.op_type == "Conv":
            return shape[0]
        if self.node.op_type == "ConvTranspose":
            return shape[1] * self.group
        return shape[0] if self._transposed else shape[1]

    @property
    def inputs(self) -> int:
        """Input channels."""
        shape: tuple[int, ...] = self.weight.shape
        if self.node.op_type == "Conv":
            return shape[1] * self.group
        if self.node.op_type == "ConvTranspose":
            return shape[0]
        return shape[1] if self._transposed else shape[0]

    def axis(self, size: int) -> int:
        """Axis of the channels in operand and result of rank `size`."""
        return 1 if self.node.op_type in ("Conv", "ConvTranspose") else size - 1

    @property
    def bias(self) -> Value | None:
        """The bias operand."""
        return self.node.inputs[2] if self.node.op_type != "MatMul" and len(self.node.inputs) > 2 else None

    def bias_vector(self) -> Vector:
        """The bias as `[channels]` of what is added, zeros where there is none.

        Raises:
            MatchFailure: it is computed at run time, or differs from row to row.
        """
        if self.bias is None:
            return np.zeros(self.channels)
        size = 1 if self.node.op_type in ("Conv", "ConvTranspose") else 2
        found = channel_vector(self.bias, self.channels, size, size - 1)
        if found is None:
            raise MatchFailure("the bias is no constant vector of channels", self.bias)
        return found * self.node.attributes.get_float("beta", 1.0)

    def require_own_weight(self) -> None:
        """Fail where the weight is shared: scaling it would store it twice."""
        weight = self.node.inputs[1]
        if weight is not None and use_count(weight) > 1:
            raise MatchFailure("the weight is shared; scaling it would store it twice", weight)

    def require_bias(self) -> None:
        """Fail where no bias vector can be given to this op."""
        if self.node.op_type == "MatMul" and rank(self.node.inputs[0]) != 2:
            raise MatchFailure("a MatMul of rank above 2 holds no bias", self.node)
        self.bias_vector()

    def scaled_outputs(self, scale: Vector) -> Array:
        """The weight with output channel i multiplied by `scale[i]`."""
        weight = self.weight
        tail = (1,) * (weight.ndim - 2)
        if self.node.op_type == "Conv":
            return _round(weight * scale.reshape(-1, 1, *tail), weight)
        if self.node.op_type == "ConvTranspose":
            grouped = weight.reshape(self.group, -1, *weight.shape[1:])
            return _round(grouped * scale.reshape(self.group, 1, -1, *tail), weight).reshape(weight.shape)
        return _round(weight * (scale[:, None] if self._transposed else scale[None, :]), weight)

    def scaled_inputs(self, scale: Vector) -> Array:
        """The weight with input channel i multiplied by `scale[i]`."""
        weight = self.weight
        tail = (1,) * (weight.ndim - 2)
        if self.node.op_type == "Conv":
            grouped = weight.reshape(self.group, -1, *weight.shape[1:])
            return _round(grouped * scale.reshape(self.group, 1, -1, *tail), weight).reshape(weight.shape)
        if self.node.op_type == "ConvTranspose":
            return _round(weight * scale.reshape(-1, 1, *tail), weight)
        return _round(weight * (scale[None, :] if self._transposed else scale[:, None]), weight)

    def response(self, offset: Vector) -> Vector:
        """What a constant `offset` on every input channel adds to each output channel, where nothing is padded."""
        weight = self.weight.astype(np.float64)
        if self.node.op_type == "Conv":
            sums = weight.reshape(self.group, -1, weight.shape[1], math.prod(weight.shape[2:])).sum(axis=-1)
            response: Vector = np.einsum("goi,gi->go", sums, offset.reshape(self.group, -1)).reshape(-1)
            return response
        product: Vector = weight @ offset if self._transposed else offset @ weight
        return product * self.node.attributes.get_float("alpha", 1.0)

    def set_weight(self, rewriter: Rewriter, weight: Array) -> None:
        """Give the node a new weight."""
        old = self.node.inputs[1]
        rewriter.set_input(self.node, 1, rewriter.constant(weight, old.name if old is not None else None))

    def set_bias(self, rewriter: Rewriter, bias: Vector) -> Value:
        """Give the node a bias; the result, which is a new Gemm's where the node is a MatMul."""
        content = bias.astype(self.weight.dtype)
        if self.node.op_type == "MatMul":
            return rewriter.op("Gemm", self.node.inputs[0], self.node.inputs[1], rewriter.constant(content))
        beta = self.node.attributes.get_float("beta", 1.0)
        if beta != 1.0:
            rewriter.set_attribute(self.node, "beta", 1.0)
        old = self.bias
        rewriter.set_input(self.node, 2, rewriter.constant(content, old.name if old is not None else None))
        return self.node.outputs[0]


def _round(content: Array, like: Array) -> Array:
    rounded = content.astype(like.dtype)
    if not np.isfinite(rounded).all() and np.isfinite(like).all():
        raise MatchFailure("the scaled weight would overflow")
    return rounded
