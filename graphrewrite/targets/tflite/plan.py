"""What goes into a .tflite file, before any byte of it: subgraphs, tensors, buffers, operator codes.

The plan is a walk over the graph that numbers everything in the order it is met, so that the same
graph always gives the same file, and that checks on the way what the interpreter would not: it runs
operators in file order and reads garbage if a producer comes later.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import onnx_ir

from graphrewrite.errors import InternalError
from graphrewrite.targets.tflite.op_version import operator_version, schema_dtype
from graphrewrite.targets.tflite.schema_tables import OPERATOR_CODES, TENSOR_TYPES

DOMAIN = "tflite"
VARIABLE = "tflite.variable"
"""`value.meta` key of a state tensor (LSTM): it has no producer, starts at zero and survives calls."""


@dataclass
class OperatorPlan:
    """One operator.

    Attributes:
        node: the node it is written from.
        code: index into `Plan.codes`.
        inputs: tensor indices, -1 for an absent optional operand.
        outputs: tensor indices.
        options: option fields, with subgraph numbers in place of the graphs.
    """

    node: onnx_ir.Node
    code: int
    inputs: Sequence[int]
    outputs: Sequence[int]
    options: Mapping[str, Any]


@dataclass
class SubgraphPlan:
    """One subgraph; tensors are numbered by their position in `tensors`."""

    name: str
    tensors: list[onnx_ir.Value] = field(default_factory=list)
    inputs: list[int] = field(default_factory=list)
    outputs: list[int] = field(default_factory=list)
    output_names: list[str] = field(default_factory=list)
    operators: list[OperatorPlan] = field(default_factory=list)


@dataclass
class Plan:
    """A whole file.

    Attributes:
        subgraphs: the main graph first.
        codes: (operator, version) pairs in the order of first use, numbered by position.
        constants: the constants, each once; the constant at position i is buffer i + 1.
        sizes: their bytes.
        buffers: buffer number by constant.
    """

    subgraphs: list[SubgraphPlan] = field(default_factory=list)
    codes: dict[tuple[str, int], int] = field(default_factory=dict)
    constants: list[onnx_ir.Value] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    buffers: dict[onnx_ir.Value, int] = field(default_factory=dict)


def plan_model(graph: onnx_ir.Graph) -> Plan:
    """Number everything in `graph` and the graphs in its attributes.

    Args:
        graph: topologically sorted, nodes of domain `tflite` only.

    Raises:
        InternalError: the graph breaks one of the dialect's rules.
    """
    plan = Plan()
    _Planner(plan, graph, "main").run()
    return plan


class _Planner:
    def __init__(self, plan: Plan, graph: onnx_ir.Graph, name: str) -> None:
        self.plan = plan
        self.graph = graph
        self.subgraph = SubgraphPlan(name)
        self.index: dict[onnx_ir.Value, int] = {}
        self.number = len(plan.subgraphs)
        plan.subgraphs.append(self.subgraph)

    def run(self) -> int:
        """Plan the graph; returns its subgraph number."""
        for value in self.graph.inputs:
            if value in self.index:
                raise InternalError(f"graph '{self.subgraph.name}' lists the input '{value.name}' twice")
            self.subgraph.inputs.append(self._add(value))
        for node in self.graph:
            self._operator(node)
        for value in self.graph.outputs:
            self.subgraph.outputs.append(self._read(value, f"the outputs of graph '{self.subgraph.name}'"))
            self.subgraph.output_names.append(value.name or "")
        return self.number

    def _add(self, value: onnx_ir.Value) -> int:
        index = self.index[value] = len(self.subgraph.tensors)
        self.subgraph.tensors.append(value)
        return index

    def _read(self, value: onnx_ir.Value, reader: str) -> int:
        index = self.index.get(value)
        if index is not None:
            return index
        if value.producer() is None and (value.const_value is not None or VARIABLE in value.meta):
            if value.const_value is not None and value not in self.plan.buffers:
                self.plan.constants.append(value)
                self.plan.sizes.append(value.const_value.nbytes)
                self.plan.buffers[value] = len(self.plan.constants)
            return self._add(value)
        raise InternalError(
            f"{reader} read '{value.name}', which nothing before it in graph '{self.subgraph.name}' writes: "
            "the graph is not topologically sorted, or a subgraph captures a run-time value"
        )

    def _operator(self, node: onnx_ir.Node) -> None:
        where = f"{node.op_type} '{node.name}'"
        if node.domain == "" and node.op_type == "Identity" and node.inputs[0] is not None:
            # A graph output that is an input, a constant or another output: two names of one tensor.
            self.index[node.outputs[0]] = self._read(node.inputs[0], where)
            return
        if node.domain != DOMAIN or node.op_type not in OPERATOR_CODES:
            raise InternalError(f"{where} of domain '{node.domain}' is not a TFLite operator")
        inputs = [-1 if value is None else self._read(value, where) for value in node.inputs]
        outputs = []
        for value in node.outputs:
            if value in self.index:
                raise InternalError(f"{where} writes '{value.name}', which is written already")
            outputs.append(self._add(value))
        options = dict(self._options(node))
        key = (node.op_type, operator_version(node))
        code = self.plan.codes.setdefault(key, len(self.plan.codes))
        self.subgraph.operators.append(OperatorPlan(node, code, inputs, outputs, options))

    def _options(self, node: onnx_ir.Node) -> Iterator[tuple[str, Any]]:
        attributes = node.attributes
        yield from _derived(node)
        for name, attribute in attributes.data.items():
            if attribute.type == onnx_ir.AttributeType.GRAPH:
                field_name = name.removesuffix("_branch") + "_subgraph_index"
                yield field_name, self._subgraph(node, name, attribute.as_graph())
            elif attribute.type == onnx_ir.AttributeType.GRAPHS:
                numbers = [
                    self._subgraph(node, f"{name}{position}", graph)
                    for position, graph in enumerate(attribute.as_graphs())
                ]
                yield name.removesuffix("es") + "_subgraph_indices", numbers
            else:
                yield name, attribute.value

    def _subgraph(self, node: onnx_ir.Node, role: str, graph: onnx_ir.Graph) -> int:
        return _Planner(self.plan, graph, f"{node.name or node.op_type}/{role}").run()


def _derived(node: onnx_ir.Node) -> Iterator[tuple[str, Any]]:
    """Option fields that repeat what the operands say; attributes of the same name win."""
    match node.op_type:
        case "CAST":
            yield "in_data_type", tensor_type(node.inputs[0])
            yield "out_data_type", tensor_type(node.outputs[0])
        case "SHAPE":
            yield "out_type", tensor_type(node.outputs[0])
        case "ARG_MAX" | "ARG_MIN":
            yield "output_type", tensor_type(node.outputs[0])
        case "UNIQUE":
            yield "idx_out_type", tensor_type(node.outputs[1])
        case "PACK":
            yield "values_count", len(node.inputs)
        case "UNPACK":
            yield "num", len(node.outputs)
        case "SPLIT" | "SPLIT_V":
            yield "num_splits", len(node.outputs)


def tensor_type(value: onnx_ir.Value | None) -> int:
    """The schema's number of a value's dtype.

    Raises:
        InternalError: the value has no dtype, or one that the schema lacks.
    """
    if value is None or value.dtype is None:
        raise InternalError(f"the value '{value and value.name}' has no dtype")
    code = TENSOR_TYPES.get(schema_dtype(value.dtype))
    if code is None:
        raise InternalError(f"the value '{value.name}' has dtype {value.dtype.name}, which TFLite lacks")
    return code
