"""Reading and writing models. Weights in external files are mapped, never copied."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias

import google.protobuf.message
import onnx
import onnx_ir
import onnx_ir.serde

from graphrewrite.errors import InvalidModel
from graphrewrite.ir import facets, malformed
from graphrewrite.ir.constants import held
from graphrewrite.ir.meaning import OPSET, Body, control_flow_meaning, has_meaning, meaning_of
from graphrewrite.ir.unread import readable
from graphrewrite.ir.walk import all_graphs, bodies
from graphrewrite.ir.wire import Weights, split_weights

Source: TypeAlias = "str | os.PathLike[str] | bytes | onnx.ModelProto"

_INLINE_LIMIT = 1 << 30
"""Weights beyond this many bytes are saved beside the .onnx: protobuf ends at 2 GiB."""


def load(source: Source, *, base_dir: str | os.PathLike[str] | None = None) -> onnx_ir.Model:
    """Read a model from a path, from bytes or from a ModelProto.

    Every node gets a name and remembers it as its origin. External data must lie inside the model's folder
    (`base_dir` for bytes and protos).

    Raises:
        InvalidModel: not a readable ONNX model; the message names the file, node or tensor, and the cure.
    """
    proto, weights, folder = _parse(source, base_dir)
    _check_proto(proto)
    proto = readable(proto)
    for problem in malformed.problems(proto.graph, weights):
        raise InvalidModel(problem)
    try:
        model = onnx_ir.serde.deserialize_model(proto)
    except Exception as error:  # onnx_ir raises many types on malformed protos; each means the same here
        found = next(malformed.redefinitions(proto.graph), f"the model is malformed: {_innermost(error)}")
        raise InvalidModel(found) from error
    for graph in all_graphs(model.graph):
        for name, tensor in _tensors(graph):
            if isinstance(tensor, onnx_ir.ExternalTensor):
                tensor.base_dir = folder or ""
                _check_external_tensor(name, tensor, folder)
        _hold_constants(graph, weights if graph is model.graph else {})
    _check_names(model.graph, set())
    if not _in_order(model.graph, set()):
        _sort(model.graph)
    _name_nodes(model)
    return model


def _parse(
    source: Source, base_dir: str | os.PathLike[str] | None
) -> tuple[onnx.ModelProto, Weights, str | None]:
    """The proto, the bytes of big initializers (which the proto then lacks), and the folder of external data."""
    if isinstance(source, onnx.ModelProto):
        return source, {}, None if base_dir is None else os.fspath(base_dir)
    if isinstance(source, bytes):
        label, data, folder = "the given bytes", memoryview(source), base_dir
    else:
        path = Path(source)
        label, folder = f"'{path}'", path.resolve().parent
        try:
            data = _contents(path)
        except OSError as error:
            raise InvalidModel(f"{label} can't be read: {error.strerror or error}") from None
    if not data:
        raise InvalidModel(f"{label} is empty: export the model again")
    lean, weights = split_weights(data)
    try:
        proto = onnx.ModelProto.FromString(lean)
        names = [tensor.name for tensor in proto.graph.initializer] if weights else []
        if len(set(names)) < len(names):  # which of them holds is for protobuf to tell
            proto, weights = onnx.ModelProto.FromString(bytes(data)), {}
    except google.protobuf.message.DecodeError:
        raise InvalidModel(
            f"{label} is not an ONNX model: it can't be parsed as a protobuf. It may be another format, or cut off while "
            "it was copied; compare its size with the original's, or export it again"
        ) from None
    return proto, weights, None if folder is None else os.fspath(folder)


def _contents(path: Path) -> memoryview:
    """The bytes of a file: mapped where that can be, so that nothing is read before it is looked at."""
    with open(path, "rb") as file:
        try:
            return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        except (OSError, ValueError):  # empty, or not a plain file
            return memoryview(file.read())


def _hold_constants(graph: onnx_ir.Graph, weights: Weights) -> None:
    """Let the initializers of `graph` be arrays: protobuf's own tensors copy their content at every look."""
    for name, value in graph.initializers.items():
        tensor = value.const_value
        if tensor is not None:
            value.const_value = held(tensor, weights.get(name))


def _check_proto(proto: onnx.ModelProto) -> None:
    if not proto.HasField("graph") or (not proto.graph.node and not proto.graph.output):
        raise InvalidModel(
            "the file holds no graph: it is not an ONNX model, or it was cut off; export it again"
        )
    if not proto.graph.output:
        raise InvalidModel("the graph has no outputs: name the outputs when exporting")
    if not proto.opset_import:
        raise InvalidModel("the model names no operator set (opset_import is empty): export it again")


def _innermost(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line for line in str(error).strip().splitlines() if line.strip()]
    return lines[-1].strip() if lines else type(error).__name__


def _tensors(graph: onnx_ir.Graph) -> Iterator[tuple[str, object]]:
    """The tensors in the initializers and the attributes of `graph` itself, by the name of what they are or what they make."""
    for name, value in graph.initializers.items():
        yield name, value.const_value
    for node in graph:
        for attribute in node.attributes.data.values():
            if attribute.type is onnx_ir.AttributeType.TENSOR:
                yield _name(node), attribute.value
            elif attribute.type is onnx_ir.AttributeType.TENSORS and attribute.value is not None:
                yield from ((_name(node), tensor) for tensor in attribute.value)


def _check_external_tensor(name: str, tensor: onnx_ir.ExternalTensor, folder: str | None) -> None:
    where = os.fspath(tensor.location)
    if folder is None:
        raise InvalidModel(
            f"tensor '{name}' lies in the external file '{where}', but the model was given as bytes: give its path, "
            "or base_dir"
        )
    root = os.path.realpath(folder)
    path = os.path.realpath(os.path.join(root, where))
    if os.path.isabs(where) or os.path.commonpath([root, path]) != root:
        raise InvalidModel(
            f"tensor '{name}' points to external data outside the model's folder ('{where}'), which is never read: "
            "move the data beside the model and save it again with relative paths"
        )
    if not os.path.isfile(path):
        raise InvalidModel(
            f"tensor '{name}' needs the external data file '{where}', which is missing: copy it beside the model"
        )
    end = (tensor.offset or 0) + (tensor.length if tensor.length is not None else tensor.nbytes)
    if (tensor.offset or 0) < 0 or end > os.path.getsize(path):
        raise InvalidModel(
            f"tensor '{name}' needs bytes up to {end} of '{where}', which has {os.path.getsize(path)}: the file is cut "
            "off; copy or export it again"
        )
    if tensor.length is not None and tensor.length < tensor.nbytes:
        raise InvalidModel(
            f"tensor '{name}' needs {tensor.nbytes} bytes and its external data has {tensor.length}: export it again"
        )


def _check_names(graph: onnx_ir.Graph, outer: set[str]) -> None:
    """Refuse values defined twice, and values used that nothing defines."""
    defined: dict[str, str] = dict.fromkeys(graph.initializers, "an initializer")
    for value in graph.inputs:
        if value.name in defined and value.name not in graph.initializers:
            raise InvalidModel(f"the name '{value.name}' is given to two inputs: rename one")
        defined[value.name or ""] = "an input"
    for node in graph:
        for value in node.outputs:
            if value.name and value.name in defined:
                raise InvalidModel(
                    f"{_label(node)} writes '{value.name}', which {defined[value.name]} defines already: "
                    "names must be unique; rename one of them"
                )
            if value.name:
                defined[value.name] = _label(node)
    visible = outer | defined.keys()
    for node in graph:
        for item in node.inputs:
            if item is not None and item.name and item.name not in visible:
                raise InvalidModel(
                    f"{_label(node)} reads '{item.name}', which nothing defines: export the model again"
                )
        for body in bodies(node):
            _check_names(body, visible)
    for value in graph.outputs:
        if value.name in outer and value.name not in defined:
            raise InvalidModel(
                f"a body gives '{value.name}' out, which lies outside of it: put an Identity in between"
            )
        if value.name not in visible:
            raise InvalidModel(f"the output '{value.name}' is written by no node: export the model again")


def _label(node: onnx_ir.Node) -> str:
    """`Conv 'conv1'`; nodes without a name go by their first output."""
    return f"{node.op_type} '{_name(node)}'"


def _name(node: onnx_ir.Node) -> str:
    return node.name or next((value.name for value in node.outputs if value.name), "")


def _graphs(attribute: onnx_ir.Attr) -> Iterator[onnx_ir.Graph]:
    if attribute.type == onnx_ir.AttributeType.GRAPH and not attribute.is_ref():
        yield attribute.as_graph()
    elif attribute.type == onnx_ir.AttributeType.GRAPHS and not attribute.is_ref():
        yield from attribute.as_graphs()


def _in_order(graph: onnx_ir.Graph, seen: set[onnx_ir.Node]) -> bool:
    """True where every node of `graph` stands behind those that it, or a graph in it, reads from. `seen` is outside."""
    for node in graph:
        for value in node.inputs:
            producer = None if value is None else value.producer()
            if producer is not None and producer not in seen:
                return False
        if not all(_in_order(body, seen) for body in bodies(node)):
            return False
        seen.add(node)
    return True


def _sort(graph: onnx_ir.Graph) -> None:
    try:
        graph.sort()
    except ValueError:
        names = ", ".join(f"'{node.name or node.op_type}'" for node in _cycle(graph)[:6])
        raise InvalidModel(
            f"the graph has a cycle through {names}: a node can't need its own output"
        ) from None


def _cycle(graph: onnx_ir.Graph) -> list[onnx_ir.Node]:
    """The nodes that no topological order can reach from both ends: the cycle and what lies between cycles."""
    left = dict.fromkeys(graph)
    for step in ("predecessors", "successors"):
        shrinking = True
        while shrinking:
            ready = [node for node in left if not any(other in left for other in getattr(node, step)())]
            for node in ready:
                del left[node]
            shrinking = bool(ready)
    return list(left)


def _outer_first(graph: onnx_ir.Graph) -> Iterator[onnx_ir.Node]:
    for node in graph:
        yield node
        for body in bodies(node):
            yield from _outer_first(body)


def _name_nodes(model: onnx_ir.Model) -> None:
    taken: set[str] = set()
    counts: dict[str, int] = {}
    for node in _outer_first(model.graph):
        name = node.name or (node.outputs[0].name if node.outputs else None) or node.op_type
        while name in taken:
            counts[name] = counts.get(name, 0) + 1
            name = f"{name}_{counts[name]}"
        taken.add(name)
        node.name = name
        facets.set_origin(node, [name])


def save(model: onnx_ir.Model, path: str | os.PathLike[str]) -> None:
    """Write `model` as .onnx; target ops become functions with their meaning, so the file runs in ONNX Runtime."""
    path = Path(path)
    weights = sum(
        value.const_value.nbytes
        for value in model.graph.initializers.values()
        if value.const_value is not None
    )
    proto = to_runnable_proto(model)
    if weights > _INLINE_LIMIT:
        onnx.save(proto, path, save_as_external_data=True, location=path.name + ".data")
    else:
        path.write_bytes(proto.SerializeToString(deterministic=True))


def to_runnable_proto(model: onnx_ir.Model) -> onnx.ModelProto:
    """`model` as a ModelProto that ONNX Runtime runs: each target op's meaning is a function overload of it."""
    proto = onnx_ir.serde.serialize_model(model)
    proto.ir_version = max(proto.ir_version, 10)
    overloads: dict[bytes, onnx.FunctionProto] = {}
    domains: set[str] = set()
    _attach_meanings(model.graph, proto.graph, overloads, domains)
    proto.functions.extend(overloads.values())
    known = {entry.domain for entry in proto.opset_import}
    proto.opset_import.extend(onnx.helper.make_opsetid(domain, 1) for domain in sorted(domains - known))
    return proto


def _attach_meanings(
    graph: onnx_ir.Graph,
    proto: onnx.GraphProto,
    overloads: dict[bytes, onnx.FunctionProto],
    domains: set[str],
) -> None:
    in_place: dict[int, list[onnx.NodeProto]] = {}
    for index, (node, node_proto) in enumerate(zip(graph, proto.node, strict=True)):
        entry = node_proto.metadata_props.add()
        entry.key, entry.value = facets.ORIGIN, "\n".join(facets.origin(node))
        for attribute in node_proto.attribute:
            for body, body_proto in zip(
                _graphs(node.attributes[attribute.name]), _graph_protos(attribute), strict=True
            ):
                _attach_meanings(body, body_proto, overloads, domains)
        control_flow = control_flow_meaning(node)
        if control_flow is not None:
            in_place[index] = control_flow(node_proto)
        if control_flow is not None or not has_meaning(node.domain):
            continue
        domains.add(node.domain)
        function = _function(node, meaning_of(node))
        key = function.SerializeToString(deterministic=True)
        if key not in overloads:
            function.overload = f"v{len(overloads)}"
            overloads[key] = function
        node_proto.overload = overloads[key].overload
        del node_proto.attribute[:]  # the body has them baked in; they stay readable as metadata
        for attribute_ir in node.attributes.values():
            if not list(_graphs(attribute_ir)):
                entry = node_proto.metadata_props.add()
                entry.key, entry.value = attribute_ir.name, str(attribute_ir.value)
    if in_place:
        nodes = [item for i, old in enumerate(proto.node) for item in in_place.get(i, [old])]
        rewritten = onnx.GraphProto(node=nodes)
        del proto.node[:]
        proto.node.extend(rewritten.node)


def _graph_protos(attribute: onnx.AttributeProto) -> list[onnx.GraphProto]:
    if attribute.type == onnx.AttributeProto.GRAPH:
        return [attribute.g]
    return list(attribute.graphs) if attribute.type == onnx.AttributeProto.GRAPHS else []


def _function(node: onnx_ir.Node, body: Body) -> onnx.FunctionProto:
    parameters = [name or f"absent{index}" for index, name in enumerate(body.inputs)]
    return onnx.helper.make_function(
        node.domain,
        node.op_type,
        parameters,
        list(body.outputs),
        [inner.proto() for inner in body.nodes],
        [onnx.helper.make_opsetid("", OPSET)],
    )
