"""ONNX Runtime's operators on 8-bit values: dequantised, computed, and quantised again, or computed in integers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphrewrite.ir import DataType, Node, Value, rank
from graphrewrite.rewrite import MatchFailure, Rewriter

Outputs = Sequence["Value | None"]
Build = Callable[[Rewriter], Outputs]

_POOL = ("auto_pad", "ceil_mode", "count_include_pad", "kernel_shape", "pads", "strides", "dilations")
_CONV = ("auto_pad", "dilations", "group", "kernel_shape", "pads", "strides")


def _operand(node: Node, index: int) -> Value | None:
    return node.inputs[index] if index < len(node.inputs) else None


def _attributes(node: Node, *names: str) -> dict[str, Any]:
    return {name: node.attributes[name] for name in names if name in node.attributes}


def _real(b: Rewriter, node: Node, at: int) -> Value:
    """The operand at `at` dequantised by the scale and zero point behind it."""
    return b.op("DequantizeLinear", *node.inputs[at : at + 2], _operand(node, at + 2))


def _stored(b: Rewriter, node: Node, value: Value, at: int) -> Outputs:
    """`value` quantised by the scale at `at` and the zero point behind it."""
    return [b.op("QuantizeLinear", value, node.inputs[at], _operand(node, at + 1))]


def _stored_shifted(b: Rewriter, node: Node, value: Value, at: int) -> Outputs:
    """As `_stored`, but rounded with the zero point added: halves fall the other way where it is odd.

    So ONNX Runtime's sums, products and average pools do.
    """
    zero = _operand(node, at + 1)
    if zero is None or zero.dtype is None:
        return _stored(b, node, value, at)
    shifted = b.op("Add", b.op("Div", value, node.inputs[at]), b.op("Cast", zero, to=int(DataType.FLOAT)))
    none = b.constant(np.zeros((), zero.dtype.numpy()))
    return [b.op("QuantizeLinear", shifted, b.constant(np.float32(1)), none)]


def _of_two(op_type: str) -> Callable[[Node], Build]:
    def expand(node: Node) -> Build:
        return lambda b: _stored_shifted(b, node, b.op(op_type, _real(b, node, 0), _real(b, node, 3)), 6)

    return expand


def _of_one(op_type: str, *names: str) -> Callable[[Node], Build]:
    def expand(node: Node) -> Build:
        if node.attributes.get_int("channels_last", 0):
            raise MatchFailure("its channels are last", node)
        attributes = _attributes(node, *names)
        stored = _stored_shifted if op_type == "AveragePool" else _stored
        return lambda b: stored(b, node, b.op(op_type, _real(b, node, 0), **attributes), 3)

    return expand


def _softmax(node: Node) -> Build:
    """ONNX Runtime multiplies with the whole part of the scale's reciprocal (254 of 1 / 255) and rounds halves up."""
    zero = _operand(node, 4)
    dtype = zero.dtype if zero is not None else None
    if zero is None or dtype is None:
        raise MatchFailure("the type of its zero point is not known", node)

    def build(b: Rewriter) -> Outputs:
        shares = b.op("Softmax", _real(b, node, 0), **_attributes(node, "axis"))
        steps = b.op("Mul", shares, b.op("Floor", b.op("Reciprocal", node.inputs[3])))
        whole = b.op("Floor", b.op("Add", steps, b.constant(np.float32(0.5))))
        shifted = b.op("Add", whole, b.op("Cast", zero, to=int(DataType.FLOAT)))
        none = b.constant(np.zeros((), dtype.numpy()))
        return [b.op("QuantizeLinear", shifted, b.constant(np.float32(1)), none)]

    return build


def _concat(node: Node) -> Build:
    axis = node.attributes.get_int("axis", 0)

    def build(b: Rewriter) -> Outputs:
        parts = [_real(b, node, at) for at in range(2, len(node.inputs), 3)]
        return _stored(b, node, b.op("Concat", *parts, axis=axis), 0)

    return build


def _where(node: Node) -> Build:
    return lambda b: _stored(b, node, b.op("Where", node.inputs[0], _real(b, node, 1), _real(b, node, 4)), 7)


def _channels(node: Node, *, last: bool) -> list[int]:
    count = rank(node.inputs[0])
    if count is None:
        raise MatchFailure("the rank of the operand is not known", node)
    return [0, *range(2, count), 1] if last else [0, count - 1, *range(1, count - 1)]


def _q_linear_conv(node: Node) -> Build:
    """ONNX's own, but for channels that may be last."""
    attributes = _attributes(node, *_CONV)
    if not node.attributes.get_int("channels_last", 0):
        return lambda b: [b.op("QLinearConv", *node.inputs, **attributes)]
    first, last = _channels(node, last=False), _channels(node, last=True)

    def build(b: Rewriter) -> Outputs:
        x = b.op("Transpose", node.inputs[0], perm=first)
        return [b.op("Transpose", b.op("QLinearConv", x, *node.inputs[1:], **attributes), perm=last)]

    return build


def _nhwc_max_pool(node: Node) -> Build:
    first, last = _channels(node, last=False), _channels(node, last=True)

    def build(b: Rewriter) -> Outputs:
        x = b.op("Transpose", node.inputs[0], perm=first)
        y = b.op("MaxPool", x, **_attributes(node, *(name for name in _POOL if name != "count_include_pad")))
        return [b.op("Transpose", y, perm=last)]

    return build


def _real_product(b: Rewriter, sums: Value, scales: Sequence[Value | None]) -> Value:
    """Integer sums times both scales, which are multiplied first, as ONNX Runtime does."""
    return b.op("Mul", b.op("Cast", sums, to=int(DataType.FLOAT)), b.op("Mul", *scales))


def _q_gemm(node: Node) -> Build:
    """alpha A B + C, where C is stored in int32 by the product of all scales."""
    alpha = node.attributes.get_float("alpha", 1.0)
    turned = [node.attributes.get_int(name, 0) for name in ("transA", "transB")]

    def build(b: Rewriter) -> Outputs:
        a, c = (
            b.op("Transpose", node.inputs[at], perm=[1, 0]) if turn else node.inputs[at]
            for at, turn in zip((0, 3), turned, strict=True)
        )
        sums = b.op("MatMulInteger", a, c, node.inputs[2], node.inputs[5])
        added = _operand(node, 6)
        if added is not None:
            sums = b.op("Add", sums, added)
        y = _real_product(b, sums, (node.inputs[1], node.inputs[4]))
        if alpha != 1:
            y = b.op("Mul", y, b.constant(np.float32(alpha)))
        return [y] if _operand(node, 7) is None else _stored(b, node, y, 7)

    return build


def _mat_mul_integer_to_float(node: Node) -> Build:
    def build(b: Rewriter) -> Outputs:
        sums = b.op("MatMulInteger", *node.inputs[:2], _operand(node, 4), _operand(node, 5))
        y, bias = _real_product(b, sums, node.inputs[2:4]), _operand(node, 6)
        return [y if bias is None else b.op("Add", y, bias)]

    return build


def _dynamic_quantize_mat_mul(node: Node) -> Build:
    def build(b: Rewriter) -> Outputs:
        x, scale, zero = b.ops("DynamicQuantizeLinear", node.inputs[0], outputs=3)
        sums = b.op("MatMulInteger", x, node.inputs[1], zero, _operand(node, 3))
        y, bias = _real_product(b, sums, (scale, node.inputs[2])), _operand(node, 4)
        return [y if bias is None else b.op("Add", y, bias)]

    return build


QUANTIZED: dict[str, Callable[[Node], Build]] = {
    "QLinearAdd": _of_two("Add"),
    "QLinearMul": _of_two("Mul"),
    "QLinearSigmoid": _of_one("Sigmoid"),
    "QLinearLeakyRelu": _of_one("LeakyRelu", "alpha"),
    "QLinearSoftmax": _softmax,
    "QLinearGlobalAveragePool": _of_one("GlobalAveragePool"),
    "QLinearAveragePool": _of_one("AveragePool", *_POOL),
    "QLinearConcat": _concat,
    "QLinearWhere": _where,
    "QLinearConv": _q_linear_conv,
    "NhwcMaxPool": _nhwc_max_pool,
    "QGemm": _q_gemm,
    "MatMulIntegerToFloat": _mat_mul_integer_to_float,
    "DynamicQuantizeMatMul": _dynamic_quantize_mat_mul,
}
"""By op. Operands are quantised by tensor, but for the weights of products."""
