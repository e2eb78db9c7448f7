"""Bringing a graph in line that foreign code has changed without the rewriter."""

from __future__ import annotations

import dataclasses
import hashlib
from typing import Any

import onnx
import onnx_ir
import onnx_ir.serde

from graphrewrite.errors import InternalError, InvalidModel, UsageError
from graphrewrite.ir import (
    OPSET,
    Graph,
    Model,
    Node,
    Value,
    all_graphs,
    all_nodes,
    load,
    origin,
    set_origin,
    verify,
)
from graphrewrite.ir.facets import ORIGIN
from graphrewrite.registry.importing import import_model
from graphrewrite.rewrite import Rewriter

_PROTO_LIMIT = 1_900_000_000
"""Below protobuf's 2 GiB, with room for what foreign code adds."""


@dataclasses.dataclass(frozen=True)
class Snapshot:
    """What must outlive a foreign change: the contract with the outside, and where values came from."""

    inputs: tuple[tuple[str | None, object], ...]
    outputs: tuple[tuple[str | None, object], ...]
    origins: dict[str, tuple[str, ...]]

    @classmethod
    def of(cls, model: Model) -> Snapshot:
        """Taken before the foreign code runs."""
        origins = {
            value.name: origin(node)
            for node in all_nodes(model.graph)
            for value in node.outputs
            if value.name
        }
        graph = model.graph
        return cls(_contract(graph.inputs), _contract(graph.outputs), origins)


def _contract(values: Any) -> tuple[tuple[str | None, object], ...]:
    return tuple((value.name, value.dtype) for value in values)


def structure(model: Model) -> str:
    """A digest of operators, attributes, names and the content of constants, equal where nothing changed."""
    digest = hashlib.blake2b(digest_size=16)
    for graph in all_graphs(model.graph):
        for value in graph.initializers.values():
            digest.update(f"{value.name}{value.dtype}{value.shape}".encode())
            if value.const_value is not None:
                digest.update(value.const_value.tobytes())
        for node in graph:
            attributes = sorted(
                (item.name, str(item.value)[:200])
                for item in node.attributes.values()
                if item.type != onnx_ir.AttributeType.GRAPH
            )
            inputs = [None if value is None else value.name for value in node.inputs]
            outputs = [value.name for value in node.outputs]
            digest.update(f"{node.domain}.{node.op_type}{inputs}{outputs}{attributes}".encode())
        digest.update(str([value.name for value in graph.outputs]).encode())
    return digest.hexdigest()


def adopt(name: str, model: Model, rewriter: Rewriter, before: Snapshot, *, rewrites: int = 1) -> None:
    """Make what pass `name` left of `model` a graph that every other pass can take; counts as `rewrites` rewrites.

    Raises:
        UsageError: the graph is not valid any more, or its inputs or outputs are not what they were.
    """
    if model.opset_imports.get("", OPSET) != OPSET:
        raise UsageError(
            f"pass '{name}' changed the opset to {model.opset_imports['']}: it must stay {OPSET}"
        )
    for kind, old, values in (
        ("inputs", before.inputs, model.graph.inputs),
        ("outputs", before.outputs, model.graph.outputs),
    ):
        found = [value.name for value in values]
        if found != [item for item, _ in old]:
            raise UsageError(
                f"pass '{name}' changed the model's {kind} from {[item for item, _ in old]} to {found}: they must stay"
            )
    _restore_origins(model.graph, before.origins)
    _unique_names(model.graph)
    try:
        model.graph.sort()
        import_model(model, rewriter)
        verify(model, name)
    except ValueError as error:
        raise UsageError(f"pass '{name}' left a graph with a cycle: {error}") from error
    except (InvalidModel, InternalError) as error:
        raise UsageError(f"pass '{name}' left a graph that is not valid: {error}") from error
    if _contract(model.graph.outputs) != before.outputs:
        raise UsageError(f"pass '{name}' changed the type of an output: {_contract(model.graph.outputs)}")
    rewriter.started(name, name, rewrites)


def _restore_origins(graph: Graph, known: dict[str, tuple[str, ...]]) -> None:
    """New nodes come from what wrote their outputs before, else from what their readers come from."""
    for inner in all_graphs(graph):
        for node in reversed(inner):
            if node.meta.get(ORIGIN) is not None:
                continue
            names = [entry for value in node.outputs for entry in known.get(value.name or "", ())]
            if not names:
                names = [entry for reader in _readers(node) for entry in reader.meta.get(ORIGIN) or ()]
            set_origin(node, names or [node.name or node.op_type])


def _readers(node: Node) -> list[Node]:
    return list(dict.fromkeys(use.node for value in node.outputs for use in value.uses()))


def _unique_names(graph: Graph) -> None:
    """Name what has no name or another's; the names of inputs, outputs and constants stay."""
    taken: set[str] = set()
    graphs = list(all_graphs(graph))
    kept: list[Value] = [*graph.inputs, *graph.outputs, *(v for g in graphs for v in g.initializers.values())]
    fixed = {id(value) for value in kept}
    taken.update(value.name or "" for value in kept)

    def unique(hint: str) -> str:
        name, number = hint, 0
        while not name or name in taken:
            number += 1
            name = f"{hint or 'value'}_{number}"
        taken.add(name)
        return name

    for inner in graphs:
        for value in inner.inputs:
            if id(value) not in fixed:
                value.name = unique(value.name or "")
        for node in inner:
            for value in node.outputs:
                if id(value) not in fixed:
                    value.name = unique(value.name or "")
    names: set[str] = set()
    for inner in graphs:
        for node in inner:
            hint = node.name or (node.outputs[0].name if node.outputs else None) or node.op_type
            name, number = hint, 0
            while name in names:
                number += 1
                name = f"{hint}_{number}"
            names.add(name)
            node.name = name


def to_graphsurgeon(name: str, model: Model) -> Any:
    """`model` as an `onnx_graphsurgeon.Graph`, weights in memory.

    Raises:
        UsageError: the weights do not fit into a protobuf.
    """
    import onnx_graphsurgeon

    proto = onnx_ir.serde.serialize_model(model)
    for tensor in proto.graph.initializer:
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            content = model.graph.initializers[tensor.name].const_value
            assert content is not None
            del tensor.external_data[:]
            tensor.data_location = onnx.TensorProto.DEFAULT
            tensor.raw_data = content.tobytes()
        if proto.ByteSize() > _PROTO_LIMIT:
            raise UsageError(
                f"pass '{name}' is a GraphSurgeon function, which takes models below 2 GB: write it over (model, rewriter)"
            )
    return onnx_graphsurgeon.import_onnx(proto)


def from_graphsurgeon(name: str, graph: Any) -> Model:
    """The model that a GraphSurgeon graph means.

    Raises:
        UsageError: it can't be written as ONNX, or not read again.
    """
    import onnx_graphsurgeon

    try:
        proto = onnx_graphsurgeon.export_onnx(graph, do_type_check=False)
        model = load(proto)
    except InvalidModel as error:
        raise UsageError(f"pass '{name}' left a graph that is not valid: {error}") from error
    except Exception as error:  # GraphSurgeon raises many types on what it can't write
        raise UsageError(f"pass '{name}' left a graph that GraphSurgeon can't write: {error}") from error
    for node in all_nodes(model.graph):
        node.meta.pop(ORIGIN, None)  # loading takes each node for a source node
    return model
