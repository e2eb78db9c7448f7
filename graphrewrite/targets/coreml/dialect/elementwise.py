"""Elementwise ops: unary, binary, comparison, logic, selection, casts."""

from __future__ import annotations

from collections.abc import Sequence

from graphrewrite.ir import DataType, Node
from graphrewrite.targets.coreml.dialect.op import MilBody, define

_UNARY = {
    "abs": "Abs",
    "acos": "Acos",
    "asin": "Asin",
    "atan": "Atan",
    "atanh": "Atanh",
    "ceil": "Ceil",
    "cos": "Cos",
    "cosh": "Cosh",
    "erf": "Erf",
    "exp": "Exp",
    "floor": "Floor",
    "identity": "Identity",
    "logical_not": "Not",
    "round": "Round",
    "sign": "Sign",
    "sin": "Sin",
    "sinh": "Sinh",
    "sqrt": "Sqrt",
    "tan": "Tan",
}
_BINARY = {"add": "Add", "sub": "Sub", "mul": "Mul", "maximum": "Max", "minimum": "Min", "pow": "Pow"}
_LOGIC = {"logical_and": "And", "logical_or": "Or", "logical_xor": "Xor"}
_COMPARISON = {
    "equal": "Equal",
    "greater": "Greater",
    "greater_equal": "GreaterOrEqual",
    "less": "Less",
    "less_equal": "LessOrEqual",
}
DTYPES = {
    "bool": DataType.BOOL,
    "fp16": DataType.FLOAT16,
    "fp32": DataType.FLOAT,
    "fp64": DataType.DOUBLE,
    "int8": DataType.INT8,
    "uint8": DataType.UINT8,
    "int16": DataType.INT16,
    "uint16": DataType.UINT16,
    "int32": DataType.INT32,
    "uint32": DataType.UINT32,
    "int64": DataType.INT64,
}
"""Element types by MIL's names."""


@define(*_UNARY, operands="x")
def unary(node: Node, body: MilBody) -> Sequence[str]:
    return [body.op(_UNARY[node.op_type], body.inputs[0])]


@define("log", "rsqrt", "inverse", operands="x")
def with_epsilon(node: Node, body: MilBody) -> Sequence[str]:
    """log(x + e), 1 / sqrt(x + e), 1 / (x + e)."""
    default = {"log": 1e-45, "rsqrt": 1e-12, "inverse": 1e-4}[node.op_type]
    shifted = body.op("Add", body.inputs[0], body.like(body.float_("epsilon", default)))
    if node.op_type == "log":
        return [body.op("Log", shifted)]
    return [body.op("Reciprocal", body.op("Sqrt", shifted) if node.op_type == "rsqrt" else shifted)]


@define("square", operands="x")
def square(node: Node, body: MilBody) -> Sequence[str]:
    return [body.op("Mul", body.inputs[0], body.inputs[0])]


@define("exp2", operands="x")
def exp2(node: Node, body: MilBody) -> Sequence[str]:
    return [body.op("Pow", body.like(2), body.inputs[0])]


@define("clip", operands="x")
def clip(node: Node, body: MilBody) -> Sequence[str]:
    """min(max(x, alpha), beta)."""
    raised = body.op("Max", body.inputs[0], body.like(body.float_("alpha")))
    return [body.op("Min", raised, body.like(body.float_("beta")))]


@define("threshold", operands="x")
def threshold(node: Node, body: MilBody) -> Sequence[str]:
    return [body.op("Max", body.inputs[0], body.like(body.float_("alpha")))]


@define(*_BINARY, operands="x y", data=(0, 1))
def binary(node: Node, body: MilBody) -> Sequence[str]:
    return [body.op(_BINARY[node.op_type], *body.inputs)]


@define(*_LOGIC, operands="x y", data=(0, 1))
def logic(node: Node, body: MilBody) -> Sequence[str]:
    return [body.op(_LOGIC[node.op_type], *body.inputs)]


@define("real_div", operands="x y", data=(0, 1))
def real_div(node: Node, body: MilBody) -> Sequence[str]:
    """Of integers, the quotient rounded down."""
    if body.dtype() == DataType.INT32:
        return [_integer_floor_div(body)]
    return [body.op("Div", *body.inputs)]


@define("floor_div", operands="x y", data=(0, 1))
def floor_div(node: Node, body: MilBody) -> Sequence[str]:
    if body.dtype() == DataType.INT32:
        return [_integer_floor_div(body)]
    return [body.op("Floor", body.op("Div", *body.inputs))]


def _integer_floor_div(body: MilBody) -> str:
    remainder = body.op("Mod", *body.inputs)  # ONNX's integer Mod takes the divisor's sign
    return body.op("Div", body.op("Sub", body.inputs[0], remainder), body.inputs[1])


@define("mod", operands="x y", data=(0, 1))
def mod(node: Node, body: MilBody) -> Sequence[str]:
    """The remainder that has the divisor's sign."""
    x, y = body.inputs
    if body.dtype() == DataType.INT32:
        return [body.op("Mod", x, y)]
    remainder, zero = body.op("Mod", x, y, fmod=1), body.like(0)
    signs = body.op("Xor", body.op("Less", remainder, zero), body.op("Less", y, zero))
    moved = body.op("And", signs, body.op("Not", body.op("Equal", remainder, zero)))
    return [body.op("Where", moved, body.op("Add", remainder, y), remainder)]


@define(*_COMPARISON, operands="x y", data=(0, 1), result="BOOL")
def comparison(node: Node, body: MilBody) -> Sequence[str]:
    return [body.op(_COMPARISON[node.op_type], *body.inputs)]


@define("not_equal", operands="x y", data=(0, 1), result="BOOL")
def not_equal(node: Node, body: MilBody) -> Sequence[str]:
    return [body.op("Not", body.op("Equal", *body.inputs))]


@define("select", operands="cond a b", data=(1, 2), moves=True)
def select(node: Node, body: MilBody) -> Sequence[str]:
    condition, a, b = body.inputs
    if body.dtype(1) == DataType.BOOL:  # ONNX Runtime has no Where of bool
        chosen = body.op("Or", body.op("And", condition, a), body.op("And", body.op("Not", condition), b))
        return [chosen]
    return [body.op("Where", condition, a, b)]


@define("cast", operands="x", result="")
def cast(node: Node, body: MilBody) -> Sequence[str]:
    return [body.cast(body.inputs[0], DTYPES[node.attributes["dtype"].as_string()])]
