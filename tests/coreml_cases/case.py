"""One case of one op, and the two ways to compute it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir

from graphrewrite.ir import DataType, Graph, Model, Node, Shape, Tensor, TensorType, Value, to_runnable_proto
from graphrewrite.numeric.reference import create_session
from graphrewrite.targets.coreml.dialect import DOMAIN, target_op

Array = npt.NDArray[np.generic]
rng = np.random.default_rng(0)


def floats(*shape: int, low: float = -2.0, high: float = 2.0) -> Array:
    """float32, evenly spread."""
    return np.asarray(rng.uniform(low, high, shape), np.float32)


def ints(*shape: int, low: int = -9, high: int = 10) -> Array:
    """int32."""
    return np.asarray(rng.integers(low, high, shape), np.int32)


def bools(*shape: int) -> Array:
    """bool."""
    return np.asarray(rng.integers(0, 2, shape), np.bool_)


@dataclasses.dataclass
class Case:
    """`operands` in the order of the dialect's entry (None = absent); `expected` is the closed form, from the operands.

    `constant` are the operands that only work as constants (shapes); `outputs` counts the results.
    """

    op: str
    operands: Sequence[Array | None]
    parameters: dict[str, Any] = dataclasses.field(default_factory=dict)
    expected: Callable[..., Array | Sequence[Array]] | None = None
    constant: Sequence[int] = ()
    outputs: int = 1
    target: str = "iOS15"
    rtol: float = 2e-5
    atol: float = 1e-6

    def __str__(self) -> str:
        shapes = ",".join(
            "-" if item is None else f"{item.dtype}{list(item.shape)}" for item in self.operands
        )
        return f"{self.op}({shapes}){self.parameters or ''}"


def value_inference(case: Case) -> list[Array] | None:
    """What coremltools computes at conversion time, None where it has no formula for the op."""
    import coremltools
    from coremltools.converters.mil import Builder
    from coremltools.converters.mil.mil import Function, types

    entry = target_op(case.op)
    arguments: dict[str, Any] = dict(case.parameters)
    placeholder = {"unused": Builder.placeholder(shape=(1,), dtype=types.fp32)}
    with Function(placeholder, opset_version=getattr(coremltools.target, case.target)):
        for index, operand in enumerate(case.operands):
            if operand is None:
                continue
            var = Builder.const(val=operand if operand.ndim else operand[()])
            if entry.variadic and index >= len(entry.operands) - 1:
                arguments.setdefault(entry.slot(index), []).append(var)
            else:
                arguments[entry.slot(index)] = var
        result = getattr(Builder, case.op)(**arguments)
        results = result if isinstance(result, list | tuple) else [result]
        values = [item.val for item in results]
    return None if any(item is None for item in values) else [np.asarray(item) for item in values]


def meaning(case: Case) -> list[Array]:
    """What the dialect's entry computes in ONNX Runtime."""
    inputs: list[Value | None] = []
    feeds: dict[str, Array] = {}
    constants: list[Value] = []
    for index, operand in enumerate(case.operands):
        if operand is None:
            inputs.append(None)
            continue
        tensor = Tensor(operand)
        value = Value(
            name=f"x{index}",
            type=TensorType(DataType.from_numpy(operand.dtype)),
            shape=Shape(list(operand.shape)),
            const_value=tensor if index in case.constant else None,
        )
        inputs.append(value)
        if index in case.constant:
            constants.append(value)
        else:
            feeds[f"x{index}"] = operand
    while inputs and inputs[-1] is None:
        inputs.pop()
    attributes = [_attribute(name, item) for name, item in case.parameters.items()]
    outputs = [Value(name=f"y{index}") for index in range(case.outputs)]
    node = Node(DOMAIN, case.op, inputs, attributes, outputs=outputs, name="node")
    given = [value for value in inputs if value is not None and value not in constants]
    graph = Graph(
        given, node.outputs, nodes=[node], initializers=constants, name="case", opset_imports={"": 26}
    )
    session = create_session(to_runnable_proto(Model(graph, ir_version=10)))
    return [np.asarray(item) for item in session.run([f"y{index}" for index in range(case.outputs)], feeds)]


def _attribute(name: str, content: Any) -> onnx_ir.Attr:
    if isinstance(content, str):
        return onnx_ir.AttrString(name, content)
    if isinstance(content, list | tuple):
        return onnx_ir.AttrInt64s(name, [int(item) for item in content])
    if isinstance(content, float | np.floating):
        return onnx_ir.AttrFloat32(name, float(content))
    return onnx_ir.AttrInt64(name, int(content))
