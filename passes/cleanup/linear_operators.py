"""TFLite's convolutions and products with constant weights: scaling and shifting their channels in place.

Their channels lie on the last axis of operand and result. New weights are computed in float64 and rounded once, when the
file is written.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt

from graphrewrite.ir import (
    Array,
    DataType,
    LazyTensor,
    Node,
    Shape,
    Tensor,
    Value,
    constant_array,
    dims,
    is_constant,
    static_dims,
    use_count,
)
from graphrewrite.rewrite import MatchFailure, Rewriter

Vector = npt.NDArray[np.float64]

_LAZY_BYTES = 1 << 20
"""Weights above this size are scaled when the file is written, so that no second copy of them is kept."""
_BLOCK_BYTES = 1 << 18
"""Bytes of weights that are widened to float64 at a time: they stay in a core's cache."""
_LIMIT = float(np.finfo(np.float32).max)


@dataclasses.dataclass(frozen=True)
class _Form:
    """Where an operator keeps what: operand numbers, and the axis of its weights that is the output channel."""

    data: int
    bias: int
    axis: int


_FORMS = {
    "CONV_2D": _Form(0, 2, 0),
    "DEPTHWISE_CONV_2D": _Form(0, 2, 3),
    "FULLY_CONNECTED": _Form(0, 2, 0),
    "TRANSPOSE_CONV": _Form(2, 3, 0),
}


@dataclasses.dataclass(frozen=True)
class LinearOperator:
    """A CONV_2D, DEPTHWISE_CONV_2D, FULLY_CONNECTED or TRANSPOSE_CONV whose float32 weights are constants."""

    node: Node
    form: _Form
    shape: tuple[int, ...]
    """Of the weights."""

    @staticmethod
    def of(node: Node | None) -> LinearOperator:
        """`node` as a linear operator.

        Raises:
            MatchFailure: it is none, or its weights or bias are not known now.
        """
        form = _FORMS.get(node.op_type) if node is not None and node.domain == "tflite" else None
        if node is None or form is None:
            raise MatchFailure("the operand comes from no convolution or matrix product", node)
        weights = node.inputs[1]
        shape = static_dims(weights)
        if weights is None or shape is None or not is_constant(weights) or weights.dtype != DataType.FLOAT:
            raise MatchFailure("the weights are not constants of float32", weights)
        found = LinearOperator(node, form, shape)
        if found.bias is not None and not is_constant(found.bias):
            raise MatchFailure("the bias is computed at run time", found.bias)
        return found

    @property
    def weights(self) -> Value:
        """The weights."""
        value = self.node.inputs[1]
        assert value is not None
        return value

    @property
    def bias(self) -> Value | None:
        """The bias, None where there is none."""
        return self.node.inputs[self.form.bias] if len(self.node.inputs) > self.form.bias else None

    @property
    def channels(self) -> int:
        """Output channels."""
        return self.shape[self.form.axis]

    @property
    def inputs(self) -> int:
        """Input channels."""
        known = static_dims(self.node.inputs[self.form.data])
        if self.node.op_type == "FULLY_CONNECTED" or known is None:
            return self.shape[-1]
        return known[-1]

    def require_plain_result(self) -> None:
        """Fail where an activation stands between the weights and the result."""
        if self.node.attributes.get_string("fused_activation_function", "NONE") != "NONE":
            raise MatchFailure("an activation comes first", self.node)

    def require_scalable(self, scale: Vector) -> None:
        """Fail where the weights are shared (they would be stored twice) or would overflow."""
        if use_count(self.weights) > 1:
            raise MatchFailure("the weights are shared; scaling them would store them twice", self.weights)
        array = constant_array(self.weights)
        if array is None or array.size == 0:
            raise MatchFailure("the weights are empty", self.weights)
        largest = max(abs(float(array.max())), abs(float(array.min())))
        if not largest * float(np.abs(scale).max()) < _LIMIT:
            raise MatchFailure("the scaled weights would overflow", self.weights)

    def bias_vector(self) -> Vector:
        """The bias, zeros where there is none."""
        array = constant_array(self.bias)
        return np.zeros(self.channels) if array is None else array.astype(np.float64).reshape(-1)

    def response(self, offset: Vector) -> Vector:
        """What a constant `offset` on every input channel adds to each output channel.

        Raises:
            MatchFailure: it is not the same at every position, because of padding.
        """
        op_type = self.node.op_type
        if op_type == "TRANSPOSE_CONV":
            raise MatchFailure("an offset before a TRANSPOSE_CONV is not constant behind it", self.node)
        padded = op_type != "FULLY_CONNECTED" and self.node.attributes.get_string("padding", "") != "VALID"
        if padded and any(dim != 1 for dim in self.shape[1:3]):
            raise MatchFailure("an offset before a padded convolution is not constant behind it", self.node)
        weights = constant_array(self.weights)
        assert weights is not None
        if op_type == "FULLY_CONNECTED":
            return _product(weights, offset)
        wide = weights.astype(np.float64)
        if op_type == "DEPTHWISE_CONV_2D":
            repeated = np.repeat(offset, self.channels // self.inputs)
            response: Vector = wide.sum(axis=(0, 1, 2)) * repeated
            return response
        grouped = wide.sum(axis=(1, 2)).reshape(self._groups, -1, self.shape[3])
        summed: Vector = np.einsum("goi,gi->go", grouped, offset.reshape(self._groups, -1)).reshape(-1)
        return summed

    @property
    def _groups(self) -> int:
        return self.inputs // self.shape[3] if self.node.op_type == "CONV_2D" else 1

    def scale_outputs(self, rewriter: Rewriter, scale: Vector) -> Value:
        """The weights with output channel i multiplied by `scale[i]`."""
        tail = len(self.shape) - 1
        factor = scale.reshape(-1, *[1] * tail) if self.form.axis == 0 else scale
        return self._times(rewriter, factor)

    def scale_inputs(self, rewriter: Rewriter, scale: Vector) -> Value:
        """The weights with input channel i multiplied by `scale[i]`."""
        if self.node.op_type == "DEPTHWISE_CONV_2D":
            return self._times(rewriter, np.repeat(scale, self.channels // self.inputs))
        groups = self._groups
        if groups == 1:
            return self._times(rewriter, scale)
        factor = np.repeat(scale.reshape(groups, -1), self.channels // groups, axis=0)
        return self._times(rewriter, factor.reshape(self.channels, 1, 1, -1))

    def _times(self, rewriter: Rewriter, factor: Vector) -> Value:
        weights = constant_array(self.weights)
        source = self.weights.const_value
        assert weights is not None
        assert source is not None

        def product(array: Array) -> Array:
            scaled: Array = np.empty(array.shape, np.float32)
            np.multiply(array, factor, out=scaled, casting="same_kind", dtype=np.float64)
            return scaled

        if weights.nbytes < _LAZY_BYTES:
            return rewriter.constant(product(weights), self.weights.name)
        lazy = LazyTensor(
            lambda: Tensor(product(source.numpy())), dtype=DataType.FLOAT, shape=Shape(list(self.shape))
        )
        return rewriter.constant(lazy, self.weights.name)

    def change(self, rewriter: Rewriter, weights: Value | None, bias: Vector | None) -> None:
        """Give the operator other weights, another bias, or both."""
        inputs: dict[int, Value | None] = {}
        if weights is not None:
            inputs[1] = weights
        if bias is not None:
            name = self.bias.name if self.bias is not None else None
            inputs[self.form.bias] = rewriter.constant(bias.astype(np.float32), name)
        rewriter.update(self.node, inputs, {})


def _product(weights: Array, vector: Vector) -> Vector:
    """`weights @ vector` in float64, a block of rows at a time, so that no wide copy of the weights is made."""
    rows = max(_BLOCK_BYTES // (8 * weights.shape[1]), 1)
    blocks = [weights[at : at + rows].astype(np.float64) @ vector for at in range(0, len(weights), rows)]
    return np.concatenate(blocks)


def scale_and_offset(node: Node, constant: Any) -> tuple[Vector | None, Vector | None]:
    """What the MUL, DIV, ADD or SUB `node` multiplies by and what it adds, in float64.

    Raises:
        MatchFailure: a division by zero, or a number that is not finite.
    """
    wide = np.asarray(constant, np.float64)
    if not np.isfinite(wide).all() or (node.op_type == "DIV" and not wide.all()):
        raise MatchFailure("the constant is not finite, or divides by zero", node)
    if node.op_type in ("MUL", "DIV"):
        return (wide if node.op_type == "MUL" else 1 / wide), None
    return None, (wide if node.op_type == "ADD" else -wide)


def affine(node: Node) -> tuple[Value, Vector | None, Vector | None]:
    """The run-time operand of a MUL, DIV, ADD or SUB, and what it is multiplied by or what is added.

    Raises:
        MatchFailure: see `operands` and `scale_and_offset`.
    """
    x, constant = operands(node)
    return (x, *scale_and_offset(node, constant_array(constant)))


def operands(node: Node) -> tuple[Value, Value]:
    """The run-time operand and the constant of a MUL, ADD, or (constant on the right) DIV or SUB of float32.

    Raises:
        MatchFailure: there is no such constant, or it widens the operand, or an activation follows.
    """
    if node.attributes.get_string("fused_activation_function", "NONE") != "NONE":
        raise MatchFailure("an activation follows", node)
    a, b = node.inputs
    if b is not None and is_constant(b):
        x, constant = a, b
    elif a is not None and is_constant(a) and node.op_type in ("MUL", "ADD"):
        x, constant = b, a
    else:
        raise MatchFailure("no operand is a constant (on the right, for SUB and DIV)", node)
    if x is None or is_constant(x) or constant.dtype != DataType.FLOAT:
        raise MatchFailure("the operands are no float32 value and constant", node)
    if not _keeps_shape(constant, x, node.outputs[0]):
        raise MatchFailure("the constant widens the operand", constant)
    return x, constant


def _keeps_shape(constant: Value, x: Value, out: Value) -> bool:
    """True where broadcasting `constant` against `x` leaves the shape of `x`; also where dimensions are symbols."""
    known, result, shape = dims(x), dims(out), static_dims(constant)
    if (
        known is None
        or result is None
        or shape is None
        or len(known) != len(result)
        or len(shape) > len(known)
    ):
        return False
    tail = known[len(known) - len(shape) :]
    return all(size in (1, dim) for size, dim in zip(shape, tail, strict=True))


def channel_vector(constant: Array, size: int) -> Vector | None:
    """A constant that differs along the last axis only, as `[size]`; None where it does not."""
    if constant.size == 1:
        return np.full(size, float(constant.reshape(-1)[0]))
    if constant.shape[-1] != size or constant.size != size:
        return None
    return constant.reshape(-1).astype(np.float64)
