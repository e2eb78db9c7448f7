"""Opset 6: the last one in which binary operators broadcast only where an attribute asked for it."""

from __future__ import annotations

from graphrewrite.ir import Value, dims
from graphrewrite.registry import Onnx, OpNode, upgrade

_BINARY = ("Add", "Sub", "Mul", "Div", "Pow", "And", "Or", "Xor", "Equal", "Greater", "Less")


@upgrade(*_BINARY, before=7)
def binary(node: OpNode, b: Onnx) -> Value | None:
    """`axis` says where the dimensions of the right operand stand; today they stand at the end."""
    if not node.node.attributes.get_int("broadcast", 0):
        b.rewriter.set_attribute(node.node, "broadcast", None)
        b.rewriter.set_attribute(node.node, "axis", None)
        return None
    right, axis = node.input(1), node.node.attributes.get_int("axis", None)
    if axis is not None:
        left_rank, right_dims = node.rank(0), dims(right)
        if right_dims is None:
            node.refuse("the rank of the right operand is unknown, so its axis can't be placed")
        behind = left_rank - axis % left_rank - len(right_dims)
        if behind:
            right = b.op("Unsqueeze", right, b.i64([len(right_dims) + i for i in range(behind)]))
    return b.op(node.op_type, node.input(0), right)


@upgrade("PRelu", before=7)
def prelu(node: OpNode, b: Onnx) -> Value | None:
    """A slope of rank 1 belongs to the channels; today it would broadcast to the last dimension."""
    slope, rank = node.input(1), node.rank(0)
    slope_dims = dims(slope)
    if slope_dims is None or len(slope_dims) != 1 or slope_dims == (1,) or rank < 3:
        return None
    return b.op("PRelu", node.input(0), b.op("Unsqueeze", slope, b.i64(list(range(1, rank - 1)))))


@upgrade("Gemm", before=7)
def gemm(node: OpNode, b: Onnx) -> None:
    """C broadcasts by itself today."""
    b.rewriter.set_attribute(node.node, "broadcast", None)


@upgrade("BatchNormalization", "Dropout", before=7)
def inference_only(node: OpNode, b: Onnx) -> None:
    """`is_test=0` meant training, which a converted model never does."""
    if not node.node.attributes.get_int("is_test", 0):
        node.refuse("it runs in training mode (is_test=0)", "export the model for inference")
    b.rewriter.set_attribute(node.node, "is_test", None)
