"""Elementwise operators: unary, binary, comparison, logical, selection, casts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx

from graphrewrite.ir import BodyBuilder, DataType, Node
from graphrewrite.targets.tflite.dialect.op import activation, define, in_runnable_type

_UNARY = {
    "ABS": "Abs",
    "CEIL": "Ceil",
    "COS": "Cos",
    "EXP": "Exp",
    "FLOOR": "Floor",
    "LOG": "Log",
    "LOGISTIC": "Sigmoid",
    "LOGICAL_NOT": "Not",
    "NEG": "Neg",
    "RELU": "Relu",
    "ROUND": "Round",
    "SIGN": "Sign",
    "SIN": "Sin",
    "SQRT": "Sqrt",
    "TANH": "Tanh",
    "HARD_SWISH": "HardSwish",
}
_BINARY = {
    "ADD": "Add",
    "SUB": "Sub",
    "MUL": "Mul",
    "DIV": "Div",
    "MAXIMUM": "Max",
    "MINIMUM": "Min",
    "POW": "Pow",
    "LOGICAL_AND": "And",
    "LOGICAL_OR": "Or",
    "BITWISE_XOR": "BitwiseXor",
    "STABLEHLO_AND": "BitwiseAnd",
    "STABLEHLO_ADD": "Add",
    "STABLEHLO_MULTIPLY": "Mul",
    "STABLEHLO_MAXIMUM": "Max",
    "STABLEHLO_MINIMUM": "Min",
}
_COMPARISON = {
    "EQUAL": "Equal",
    "GREATER": "Greater",
    "GREATER_EQUAL": "GreaterOrEqual",
    "LESS": "Less",
    "LESS_EQUAL": "LessOrEqual",
}
_NO_SELECTION = frozenset({DataType.INT16, DataType.UINT16, DataType.BOOL})
"""ONNX Runtime has no Max, Min and Where for these."""


@define(*_UNARY)
def unary(node: Node, body: BodyBuilder) -> Sequence[str]:
    return [body.op(_UNARY[node.op_type], body.inputs[0])]


@define(*_BINARY)
def binary(node: Node, body: BodyBuilder) -> Sequence[str]:
    op_type = _BINARY[node.op_type]
    if op_type == "BitwiseAnd" and node.inputs[0] is not None and node.inputs[0].dtype == 9:
        op_type = "And"
    lacking = _NO_SELECTION if op_type in ("Max", "Min") else frozenset()
    result = in_runnable_type(
        node, body, 0, lacking, lambda cast: body.op(op_type, *(cast(name) for name in body.inputs))
    )
    return [activation(node, body, result)]


@define(*_COMPARISON, result="BOOL")
def comparison(node: Node, body: BodyBuilder) -> Sequence[str]:
    return [body.op(_COMPARISON[node.op_type], *body.inputs)]


@define("NOT_EQUAL", result="BOOL")
def not_equal(node: Node, body: BodyBuilder) -> Sequence[str]:
    return [body.op("Not", body.op("Equal", *body.inputs))]


@define("RSQRT")
def rsqrt(node: Node, body: BodyBuilder) -> Sequence[str]:
    return [body.op("Reciprocal", body.op("Sqrt", body.inputs[0]))]


@define("SQUARE")
def square(node: Node, body: BodyBuilder) -> Sequence[str]:
    return [body.op("Mul", body.inputs[0], body.inputs[0])]


@define("SQUARED_DIFFERENCE")
def squared_difference(node: Node, body: BodyBuilder) -> Sequence[str]:
    difference = body.op("Sub", *body.inputs)
    return [body.op("Mul", difference, difference)]


@define("RELU6", "RELU_0_TO_1", "RELU_N1_TO_1")
def clipped(node: Node, body: BodyBuilder) -> Sequence[str]:
    low, high = {"RELU6": (0, 6), "RELU_0_TO_1": (0, 1), "RELU_N1_TO_1": (-1, 1)}[node.op_type]
    return [body.op("Clip", body.inputs[0], body.const(low, np.float32), body.const(high, np.float32))]


@define("LEAKY_RELU")
def leaky_relu(node: Node, body: BodyBuilder) -> Sequence[str]:
    return [body.op("LeakyRelu", body.inputs[0], alpha=node.attributes["alpha"].as_float())]


@define("ELU")
def elu(node: Node, body: BodyBuilder) -> Sequence[str]:
    return [body.op("Elu", body.inputs[0], alpha=1.0)]


@define("GELU")
def gelu(node: Node, body: BodyBuilder) -> Sequence[str]:
    approximate = "tanh" if node.attributes.get_int("approximate", 0) else "none"
    return [body.op("Gelu", body.inputs[0], approximate=approximate)]


@define("PRELU")
def prelu(node: Node, body: BodyBuilder) -> Sequence[str]:
    # ONNX broadcasts the slope one way only, TFLite both ways: written out.
    x, slope = body.inputs
    zero = body.const(0, np.float32)
    return [body.op("Add", body.op("Max", x, zero), body.op("Mul", slope, body.op("Min", x, zero)))]


@define("ATAN2")
def atan2(node: Node, body: BodyBuilder) -> Sequence[str]:
    y, x = body.inputs
    zero, pi = body.const(0, np.float32), body.const(np.pi, np.float32)
    base = body.op("Atan", body.op("Div", y, x))
    negative = body.op("Less", x, zero)
    up = body.op("GreaterOrEqual", y, zero)
    shifted = body.op("Where", up, body.op("Add", base, pi), body.op("Sub", base, pi))
    both = body.op("And", body.op("Equal", y, zero), body.op("Equal", x, zero))
    return [body.op("Where", both, zero, body.op("Where", negative, shifted, base))]


@define("FLOOR_DIV")
def floor_div(node: Node, body: BodyBuilder) -> Sequence[str]:
    a, b = body.inputs
    if (
        node.inputs[0] is not None
        and node.inputs[0].dtype is not None
        and node.inputs[0].dtype.is_floating_point()
    ):
        return [body.op("Floor", body.op("Div", a, b))]
    remainder = body.op("Mod", a, b)  # ONNX's integer Mod takes the divisor's sign, as floor division needs
    return [body.op("Div", body.op("Sub", a, remainder), b)]


@define("FLOOR_MOD")
def floor_mod(node: Node, body: BodyBuilder) -> Sequence[str]:
    a, b = body.inputs
    if (
        node.inputs[0] is not None
        and node.inputs[0].dtype is not None
        and node.inputs[0].dtype.is_floating_point()
    ):
        # exact, as the kernel is: the truncated remainder, moved to the divisor's sign
        remainder, zero = body.op("Mod", a, b, fmod=1), body.const(0, np.float32)
        signs = body.op("Xor", body.op("Less", remainder, zero), body.op("Less", b, zero))
        moved = body.op("And", signs, body.op("Not", body.op("Equal", remainder, zero)))
        return [body.op("Where", moved, body.op("Add", remainder, b), remainder)]
    return [body.op("Mod", a, b)]


@define("SELECT_V2", data=(1, 2))
def select(node: Node, body: BodyBuilder) -> Sequence[str]:
    condition, x, y = body.inputs
    return [
        in_runnable_type(
            node, body, 1, _NO_SELECTION, lambda cast: body.op("Where", condition, cast(x), cast(y))
        )
    ]


@define("CAST", result="")
def cast(node: Node, body: BodyBuilder) -> Sequence[str]:
    name = node.attributes["out_data_type"].as_string()
    onnx_name = {"FLOAT32": "FLOAT", "FLOAT64": "DOUBLE"}.get(name, name)
    return [body.op("Cast", body.inputs[0], to=onnx.TensorProto.DataType.Value(onnx_name))]


@define("BITCAST", result="")
def bitcast(node: Node, body: BodyBuilder) -> Sequence[str]:
    dtype = node.outputs[0].dtype
    assert dtype is not None  # the operator has no options: whoever writes it gives its output a type
    return [body.op("BitCast", body.inputs[0], to=int(dtype))]


@define("ZEROS_LIKE")
def zeros_like(node: Node, body: BodyBuilder) -> Sequence[str]:
    return [body.op("Sub", body.inputs[0], body.inputs[0])]


@define("RIGHT_SHIFT")
def right_shift(node: Node, body: BodyBuilder) -> Sequence[str]:
    return [body.op("BitShift", *body.inputs, direction="RIGHT")]


@define("STABLEHLO_SHIFT_LEFT")
def shift_left(node: Node, body: BodyBuilder) -> Sequence[str]:
    """Of int32, which the lowerings widen to: ONNX shifts unsigned integers only, whose bits are the same."""
    x, count = (body.op("Cast", name, to=onnx.TensorProto.UINT32) for name in body.inputs)
    return [body.op("Cast", body.op("BitShift", x, count, direction="LEFT"), to=onnx.TensorProto.INT32)]
