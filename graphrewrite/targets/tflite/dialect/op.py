"""The `tflite` dialect: one entry an operator, with its meaning in ONNX.

A node of the dialect has the builtin operator's name as its op type, the operator's inputs in TFLite order, and the fields of
its options table (snake_case, enums by name) as attributes. What element types and ranks a kernel takes is measured, not
written here: see `kernels.py`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from graphrewrite.errors import InternalError
from graphrewrite.ir import Array, Body, BodyBuilder, DataType, Node, register_meaning

DOMAIN = "tflite"

Meaning = Callable[[Node, BodyBuilder], Sequence[str]]
"""Builds the ONNX nodes of an operator; returns the names of its outputs."""
Cast = Callable[[str], str]
Fold = Callable[[Sequence[Array], Mapping[str, Any]], Array | None]
"""Computes an operator on constants (all inputs known); None where it declines."""


@dataclasses.dataclass(frozen=True)
class TargetOp:
    """One builtin operator.

    `data` are the inputs that share the element type T which the kernel is chosen by (None = all of them); `result` says what
    the outputs are: "T", or a fixed dtype name ("BOOL", "INT32"), or "" where an attribute decides.
    """

    name: str
    meaning: Meaning
    data: tuple[int, ...] | None = None
    result: str = "T"
    fold: Fold | None = None


TO_FIRST = [0, 3, 1, 2]
"""[N, H, W, C] to [N, C, H, W]."""
TO_LAST = [0, 2, 3, 1]
"""And back."""

_OPS: dict[str, TargetOp] = {}


def define(
    *names: str,
    data: tuple[int, ...] | None = None,
    result: str = "T",
    fold: Fold | None = None,
) -> Callable[[Meaning], Meaning]:
    """Register operators whose meaning the decorated function builds (it can tell them apart by `node.op_type`)."""

    def register(meaning: Meaning) -> Meaning:
        for name in names:
            if name in _OPS:
                raise InternalError(f"tflite.{name} is defined twice")
            _OPS[name] = TargetOp(name, meaning, data, result, fold)
        return meaning

    return register


def target_op(name: str) -> TargetOp:
    """The dialect's entry for a builtin operator.

    Raises:
        InternalError: the dialect does not define it.
    """
    if name not in _OPS:
        raise InternalError(f"tflite.{name} is not defined in the dialect")
    return _OPS[name]


def defined() -> dict[str, TargetOp]:
    """Every operator of the dialect by name."""
    return dict(sorted(_OPS.items()))


def in_runnable_type(
    node: Node, body: BodyBuilder, index: int, lacking: frozenset[DataType], compute: Callable[[Cast], str]
) -> str:
    """`compute(cast)` in int32 and back where the type of input `index` is one that ONNX Runtime's kernel lacks.

    `compute` passes the operands of that type through `cast`.
    """
    value = node.inputs[index]
    if value is None or value.dtype not in lacking:
        return compute(lambda name: name)
    result = compute(lambda name: body.op("Cast", name, to=int(DataType.INT32)))
    return body.op("Cast", result, to=int(value.dtype))


def activation(node: Node, body: BodyBuilder, value: str) -> str:
    """Apply `fused_activation_function` to `value`."""
    kind = node.attributes.get_string("fused_activation_function", "NONE")
    dtype = np.float32
    if kind == "RELU":
        return body.op("Relu", value)
    if kind == "RELU6":
        return body.op("Clip", value, body.const(0, dtype), body.const(6, dtype))
    if kind == "RELU_N1_TO_1":
        return body.op("Clip", value, body.const(-1, dtype), body.const(1, dtype))
    if kind == "TANH":
        return body.op("Tanh", value)
    if kind != "NONE":
        raise InternalError(f"fused activation {kind} has no meaning yet")
    return value


def _meaning(node: Node) -> Body:
    body = BodyBuilder(node)
    return body.build(list(target_op(node.op_type).meaning(node, body)))


register_meaning(DOMAIN, _meaning)
