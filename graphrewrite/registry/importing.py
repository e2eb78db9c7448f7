"""Making any ONNX model the graph that every pass expects: today's ops, constants as initializers, inferred shapes."""

from __future__ import annotations

import numpy as np
import onnx_ir
import onnx_ir.passes.common

from graphrewrite.errors import InvalidModel
from graphrewrite.ir import (
    OPSET,
    AttributeType,
    Graph,
    Model,
    Node,
    Shape,
    ShapeConflict,
    Value,
    dims,
    infer_node,
    node_line,
    schema,
    source_name,
)
from graphrewrite.ir.infer_subgraphs import bind_subgraph_inputs
from graphrewrite.registry.builder import Onnx
from graphrewrite.registry.calls import align_functions
from graphrewrite.registry.opnode import OpNode, Refusal
from graphrewrite.registry.rows import Rewrite, rows
from graphrewrite.rewrite import AddedNodes, Rewriter

OLDEST = 6


def import_model(model: Model, rewriter: Rewriter) -> None:
    """Normalise `model` in place.

    Raises:
        InvalidModel: the opset is older than 6, a node can't be spelled in the current opset, or shapes contradict each other.
    """
    align_functions(model)
    version = model.opset_imports.get("", model.opset_imports.get("ai.onnx", OPSET))
    if version < OLDEST:
        raise InvalidModel(
            f"the model uses opset {version}; graphrewrite reads {OLDEST} and newer: convert it with onnx.version_converter"
        )
    with rewriter.together():  # nodes of two opsets side by side mean nothing
        _import(model, rewriter, version)


def _import(model: Model, rewriter: Rewriter, version: int) -> None:
    if model.functions:
        rewriter.started("inline-functions", next(iter(model.functions.values())).name)
        onnx_ir.passes.common.InlinePass()(model)
    _drop_default_inputs(model, rewriter)
    _name_dimensions(model.graph)
    walk = _Walk(model, rewriter, version)
    rewriter.listeners.append(walk.added)
    rewriter.propagates = False
    try:
        walk.graph(model.graph)
    finally:
        rewriter.propagates = True
        rewriter.listeners.remove(walk.added)
    model.graph.opset_imports[""] = OPSET
    model.graph.opset_imports.pop("ai.onnx", None)
    rewriter.collect_garbage()


def _drop_default_inputs(model: Model, rewriter: Rewriter) -> None:
    graph = model.graph
    defaults = [value for value in graph.inputs if value.name in graph.initializers]
    for value in defaults:
        graph.inputs.remove(value)
    if defaults and model.ir_version >= 4:
        names = ", ".join(f"'{value.name}'" for value in defaults[:5]) + (
            ", ..." if len(defaults) > 5 else ""
        )
        rewriter.note(f"inputs with a default value were made constants: {names}")


def _name_dimensions(graph: Graph) -> None:
    """Give every unknown input dimension a symbol, so that equal dimensions can be told to be equal."""
    for value in graph.inputs:
        if value.shape is None:
            continue
        named = [
            dim
            if isinstance(dim, int) and dim >= 0
            else (getattr(dim, "value", None) or f"{value.name}_dim{index}")
            for index, dim in enumerate(value.shape.dims)
        ]
        value.shape = Shape(named)


class _Walk:
    """One topological walk: constants lifted, nodes upgraded, outputs inferred."""

    def __init__(self, model: Model, rewriter: Rewriter, version: int) -> None:
        self.model = model
        self.rewriter = rewriter
        self.version = version
        self.added = AddedNodes([])

    def graph(self, graph: Graph) -> None:
        self._hoist_initializers(graph)
        for node in list(graph):
            for attribute in node.attributes.data.values():
                if attribute.type == AttributeType.GRAPH:
                    if node.op_type == "Loop" and node.domain in ("", "ai.onnx"):
                        self._scalar_control(node, attribute.as_graph())
                    if node.op_type != "Scan" or self.version >= 9:  # opset 8's operands are other ones
                        bind_subgraph_inputs(node)
                    self.graph(attribute.as_graph())
            self.node(node, self.version)

    def _scalar_control(self, loop: Node, body: Graph) -> None:
        """A Loop's body may take the number of the round and the condition as [1], as tf2onnx's do: scalars from here on."""
        for index, old in enumerate(body.inputs[:2]):
            if dims(old) != (1,):
                continue
            with (
                self.rewriter.rewrite("scalar-loop-control", loop),
                self.rewriter.inside(body, next(iter(body), None)),
            ):
                name = self.rewriter.unique_name(f"{old.name}/scalar")
                body.inputs[index] = Value(name=name, type=old.type, shape=Shape([]))
                wide = self.rewriter.op("Reshape", body.inputs[index], self.rewriter.constant(np.array([1])))
                old.replace_all_uses_with(wide, replace_graph_outputs=True)

    def node(self, node: Node, version: int) -> None:
        if node.domain == "ai.onnx":
            node.domain = ""
        if node.domain == "" and node.op_type == "Constant":
            self._lift(node)
            return
        if node.domain == "" and schema(node.op_type) is not None:
            for value in node.outputs:
                value.shape = None  # exporters write placeholders and stale shapes; inference decides
        row = rows().get(node.op_type) if node.domain == "" else None
        for before, rewrite in row.upgrades if row is not None else ():
            if version >= before:
                continue
            if self._upgrade(node, rewrite, before):
                return
            version = before
        self._infer(node)

    def _upgrade(self, node: Node, rewrite: Rewrite, before: int) -> bool:
        """Apply one upgrade; True where `node` was replaced by new nodes (which then are upgraded further)."""
        self.added.nodes = []
        try:
            with self.rewriter.rewrite(f"upgrade-{node.op_type}-{before}", node):
                values = rewrite(OpNode(node), Onnx(self.rewriter))
                if values is None:
                    return False
                made = list(self.added.nodes)
                self.rewriter.replace(node, values)
        except Refusal as refusal:
            raise InvalidModel(
                f"{node.op_type} '{source_name(node)}' of opset {self.version} can't be read: {refusal.reason}"
            ) from None
        for item in made:
            if item.graph is not None and item.op_type == node.op_type:
                self.node(item, before)
        return True

    def _infer(self, node: Node) -> None:
        try:
            infer_node(node)
        except ShapeConflict as error:
            raise InvalidModel(
                f"the model contradicts itself at {node.op_type} '{source_name(node)}': {error}\n    {node_line(node)}"
            ) from None

    def _lift(self, node: Node) -> None:
        tensor = _constant_tensor(node)
        if tensor is None:
            raise InvalidModel(
                f"Constant '{source_name(node)}' holds no dense numeric tensor, which no target can hold"
            )
        with self.rewriter.rewrite("lift-constants", node):
            self.rewriter.replace(node, self.rewriter.constant(tensor, node.outputs[0].name))

    def _hoist_initializers(self, graph: Graph) -> None:
        if graph is self.model.graph:
            return
        for value in list(graph.initializers.values()):
            if value.const_value is None:
                continue
            moved = self.rewriter.constant(value.const_value, value.name)
            value.replace_all_uses_with(moved, replace_graph_outputs=True)
            del graph.initializers[value.name or ""]
            if value in graph.inputs:
                graph.inputs.remove(value)


def _constant_tensor(node: Node) -> onnx_ir.TensorProtocol | None:
    for name, attribute in node.attributes.data.items():
        if name == "value":
            tensor: onnx_ir.TensorProtocol = attribute.value  # as_tensor() checks the whole protocol
            return tensor
        if name in ("value_int", "value_ints"):
            return onnx_ir.tensor(attribute.value, dtype=onnx_ir.DataType.INT64)
        if name in ("value_float", "value_floats"):
            return onnx_ir.tensor(attribute.value, dtype=onnx_ir.DataType.FLOAT)
        if name in ("value_string", "value_strings"):
            items = [attribute.value] if name == "value_string" else list(attribute.value)
            texts = [item if isinstance(item, bytes) else item.encode() for item in items]
            return onnx_ir.StringTensor(texts, shape=Shape([] if name == "value_string" else [len(texts)]))
    return None
