"""What a target op means, as a body of ONNX ops, so that every state of the graph runs in ONNX Runtime.

A dialect (`tflite`, `mil`) registers one function that builds the body for a node. Bodies are built per node when
they are needed (to run, to save, to infer shapes), so attributes and padding modes are exact, and nothing has to be
kept in step while passes rewrite the graph. In a saved model each distinct body is one function overload (ONNX IR 10).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper
import onnx_ir

from graphrewrite.errors import InternalError
from graphrewrite.ir.constants import constant_array

OPSET = 26
"""The ai.onnx operator set that every model is normalised to, and that bodies are written in."""


@dataclasses.dataclass
class BodyNode:
    """One ONNX op of a body; a proto of it is made only where one is asked for."""

    op_type: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]

    def proto(self) -> onnx.NodeProto:
        """The node as ONNX writes it."""
        return onnx.helper.make_node(self.op_type, self.inputs, self.outputs, **self.attributes)


@dataclasses.dataclass(frozen=True)
class Body:
    """An ONNX function body: `nodes` compute `outputs` from `inputs` (names; "" for an absent optional input)."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    nodes: tuple[BodyNode, ...]


class BodyBuilder:
    """Collects the ONNX nodes of one target op's meaning. Values are names; inputs are i0, i1, ...; absent ones ""."""

    def __init__(self, node: onnx_ir.Node) -> None:
        self.node = node
        self.inputs = tuple("" if value is None else f"i{index}" for index, value in enumerate(node.inputs))
        self.nodes: list[BodyNode] = []

    def op(self, op_type: str, *inputs: str, **attributes: Any) -> str:
        """Append a node with one output and return the output's name."""
        return self.ops(op_type, *inputs, outputs=1, **attributes)[0]

    def ops(self, op_type: str, *inputs: str, outputs: int, **attributes: Any) -> list[str]:
        """Append a node with several outputs and return their names."""
        names = tuple([f"t{len(self.nodes)}_{index}" for index in range(outputs)])
        present = {key: item for key, item in attributes.items() if item is not None}
        self.nodes.append(BodyNode(op_type, inputs, names, present))
        return list(names)

    def const(self, content: Any, dtype: Any = np.int64) -> str:
        """A constant inside the body."""
        tensor = onnx.numpy_helper.from_array(np.asarray(content, dtype=dtype))
        return self.op("Constant", value=tensor)

    def int64(self, index: int) -> str:
        """Input `index` as int64: a constant where it is one (so that shapes can be inferred), else a Cast."""
        content = constant_array(self.node.inputs[index])
        if content is not None:
            return self.const(content)
        return self.op("Cast", self.inputs[index], to=onnx.TensorProto.INT64)

    def build(self, outputs: Sequence[str]) -> Body:
        """The finished body. A value that is an input itself is passed through an Identity, as functions require."""
        named = [self.op("Identity", name) if name in self.inputs else name for name in outputs]
        return Body(self.inputs, tuple(named), tuple(self.nodes))


Meaning = Callable[[onnx_ir.Node], Body]
_MEANINGS: dict[str, Meaning] = {}

ControlFlow = Callable[[onnx.NodeProto], list[onnx.NodeProto]]
"""ONNX nodes that do what a target's control-flow node does; the graphs in its attributes are runnable already."""
_CONTROL_FLOW: dict[tuple[str, str], ControlFlow] = {}


def register_meaning(domain: str, meaning: Meaning) -> None:
    """Make the ops of `domain` runnable and their shapes inferable."""
    _MEANINGS[domain] = meaning


def register_control_flow(domain: str, op_type: str, meaning: ControlFlow) -> None:
    """Give a meaning to an op that runs graphs: ONNX functions hold no graphs of their caller, so it is written in place."""
    _CONTROL_FLOW[domain, op_type] = meaning


def control_flow_meaning(node: onnx_ir.Node) -> ControlFlow | None:
    """The meaning of a target's control-flow op, None for all others."""
    return _CONTROL_FLOW.get((node.domain, node.op_type))


def has_meaning(domain: str) -> bool:
    """True where `domain` is a registered target dialect."""
    return domain in _MEANINGS


def meaning_of(node: onnx_ir.Node) -> Body:
    """The ONNX body of a target op.

    Raises:
        InternalError: the node's domain has registered no meaning.
    """
    if node.domain not in _MEANINGS:
        raise InternalError(
            f"no dialect '{node.domain}' is registered, so {node.op_type} '{node.name}' has no meaning"
        )
    return _MEANINGS[node.domain](node)
