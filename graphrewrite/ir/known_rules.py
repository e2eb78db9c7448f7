"""Result types of ONNX ops whose rule is one line, for the bodies of target ops.

ONNX's own rules are called through protos and cost twenty times as much; they are for everything else: other ops, element
types, or anything not known. Each rule here says what ONNX's says (`tests/unit/test_known_rules.py`), or nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import onnx
import onnx.numpy_helper
import onnx_ir

from graphrewrite.ir.shapes import Dims, dims

Tensor: TypeAlias = "tuple[int, Dims | None]"
"""Element type and dimensions."""
Known: TypeAlias = "tuple[int, tuple[int, ...]]"
Rule = Callable[[Sequence[Known], Mapping[str, Any], Sequence[onnx.TensorProto | None]], "Tensor | None"]
"""(operands, attributes, contents of constant operands) -> result."""

_UNARY = (
    *("Relu", "LeakyRelu", "Elu", "HardSwish", "Sigmoid", "Tanh", "Erf"),
    *("Exp", "Log", "Sqrt", "Neg", "Abs", "Reciprocal", "Sin", "Cos"),
)
_BINARY = ("Add", "Sub", "Mul", "Div")
_PLAIN_ARITY = {**dict.fromkeys(_UNARY, 1), **dict.fromkeys(_BINARY, 2), "Transpose": 1, "Identity": 1}
_FLOAT, _INT32, _INT64 = onnx.TensorProto.FLOAT, onnx.TensorProto.INT32, onnx.TensorProto.INT64


def result_type(
    op_type: str,
    operands: Sequence[Tensor],
    attributes: Mapping[str, Any],
    contents: Sequence[onnx.TensorProto | None],
) -> Tensor | None:
    """Type of the one result; None where no rule here can tell."""
    rule = _RULES.get(op_type)
    if rule is None:
        return None
    known: list[Known] = []
    for dtype, shape in operands:
        if shape is None or not all(dim.__class__ is int for dim in shape):
            return None
        known.append((dtype, shape))  # type: ignore[arg-type]  # numbers only, as `all` has found
    return rule(known, attributes, contents)


def plain_type(node: onnx_ir.Node) -> Tensor | None:
    """`result_type` for a node of a source model, which may break any rule: only where nothing else is to be checked."""
    if len(node.inputs) != _PLAIN_ARITY.get(node.op_type) or len(node.outputs) != 1:
        return None
    operands: list[Tensor] = []
    for value in node.inputs:
        if value is None or not isinstance(value.type, onnx_ir.TensorType):
            return None
        operands.append((int(value.type.dtype), dims(value)))
    attributes = {name: item.value for name, item in node.attributes.data.items()}
    return result_type(node.op_type, operands, attributes, (None,) * len(operands))


def _like_first(operands: Sequence[Known], attributes: Mapping[str, Any], _: object) -> Tensor | None:
    return operands[0] if operands[0][0] == _FLOAT else None


def _identity(operands: Sequence[Known], attributes: Mapping[str, Any], _: object) -> Tensor:
    return operands[0]


def _cast(operands: Sequence[Known], attributes: Mapping[str, Any], _: object) -> Tensor:
    return int(attributes["to"]), operands[0][1]


def _transpose(operands: Sequence[Known], attributes: Mapping[str, Any], _: object) -> Tensor | None:
    (dtype, shape), perm = operands[0], attributes.get("perm")
    if perm is None or {*map(type, perm)} - {int} or sorted(perm) != list(range(len(shape))):
        return None
    return dtype, tuple([shape[axis] for axis in perm])


def _arithmetic(operands: Sequence[Known], attributes: Mapping[str, Any], _: object) -> Tensor | None:
    if (
        len(operands) != 2
        or operands[0][0] != operands[1][0]
        or operands[0][0] not in (_FLOAT, _INT32, _INT64)
    ):
        return None
    (dtype, left), (_dtype, right) = operands
    if left == right:
        return dtype, left
    size = max(len(left), len(right))
    padded = zip((1,) * (size - len(left)) + left, (1,) * (size - len(right)) + right, strict=True)
    out = []
    for a, b in padded:
        if a != b and 1 not in (a, b):
            return None
        out.append(b if a == 1 else a)
    return dtype, tuple(out)


def _constant(operands: Sequence[Known], attributes: Mapping[str, Any], _: object) -> Tensor | None:
    tensor = attributes.get("value")
    return None if tensor is None else (tensor.data_type, tuple(tensor.dims))


def _reshape(
    operands: Sequence[Known], attributes: Mapping[str, Any], contents: Sequence[onnx.TensorProto | None]
) -> Tensor | None:
    target = contents[1]
    if target is None or target.data_type != _INT64 or attributes.get("allowzero"):
        return None
    (dtype, shape), out = operands[0], [int(dim) for dim in onnx.numpy_helper.to_array(target).reshape(-1)]
    if 0 in out or 0 in shape or out.count(-1) > 1 or min(out, default=1) < -1:
        return None
    count = math.prod(shape)
    if -1 in out:
        rest = -math.prod(out)
        if count % rest:
            return None
        out[out.index(-1)] = count // rest
    return (dtype, tuple(out)) if math.prod(out) == count else None


_RULES: dict[str, Rule] = {
    **dict.fromkeys(_UNARY, _like_first),
    **dict.fromkeys(("Clip", "Softmax", "Gelu"), _like_first),
    **dict.fromkeys(_BINARY, _arithmetic),
    "Identity": _identity,
    "Cast": _cast,
    "Transpose": _transpose,
    "Constant": _constant,
    "Reshape": _reshape,
}
