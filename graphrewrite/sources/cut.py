"""Part of a model: from the values that are to be its inputs to those that are to be its outputs."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Sequence

import onnx

from graphrewrite.errors import UsageError
from graphrewrite.ir.protos import inferred_types


def cut(proto: onnx.ModelProto, inputs: Sequence[str], outputs: Sequence[str]) -> onnx.ModelProto:
    """The part of `proto` that computes `outputs` from `inputs`, both by value name and in that order.

    Without `outputs` the model's own ones are kept; without `inputs` those of its inputs that the outputs need.

    Raises:
        UsageError: there is no such value, an output needs an input that is not among `inputs`, none needs one that is, or the
            type of a new input is not known.
    """
    graph = proto.graph
    producers = {name: node for node in graph.node for name in node.output if name}
    constants = {tensor.name for tensor in graph.initializer}
    given = [item.name for item in graph.input if item.name not in constants]
    known = dict.fromkeys([*given, *producers, *constants])
    for flag, names in (("--inputs", inputs), ("--outputs", outputs)):
        for name in names:
            if name not in known or names.count(name) > 1:
                raise _wrong(flag, name, names, known, graph)
    ends = list(outputs) or [item.name for item in graph.output]
    needed, reached = _needed(ends, set(inputs), producers)
    missing = [name for name in given if name in reached and inputs and name not in inputs]
    if missing:
        raise UsageError(
            f"--inputs leaves out what the outputs need: {', '.join(map(repr, missing))}; name that as well, or cut behind"
        )
    idle = [name for name in inputs if name not in reached]
    if idle:
        raise UsageError(f"no output depends on the input {', '.join(map(repr, idle))}")
    types = inferred_types(proto)
    begins = list(inputs) or [name for name in given if name in reached]
    made = onnx.ModelProto()
    made.CopyFrom(_without_graph(proto))
    made.graph.name = graph.name
    made.graph.node.extend(node for node in graph.node if id(node) in needed)
    made.graph.input.extend(_info(name, types) for name in begins)
    made.graph.output.extend(_info(name, types) for name in ends)
    made.graph.initializer.extend(
        tensor for tensor in graph.initializer if tensor.name in reached and tensor.name not in begins
    )
    made.graph.sparse_initializer.extend(graph.sparse_initializer)
    inner = {name for node in made.graph.node for name in node.output}
    made.graph.value_info.extend(item for item in graph.value_info if item.name in inner)
    return made


def read_proto(source: str | os.PathLike[str] | bytes | onnx.ModelProto) -> onnx.ModelProto:
    """The model as a proto; external data stays where it is."""
    if isinstance(source, onnx.ModelProto):
        return source
    if isinstance(source, bytes):
        return onnx.ModelProto.FromString(source)
    return onnx.load(os.fspath(source), load_external_data=False)


def _without_graph(proto: onnx.ModelProto) -> onnx.ModelProto:
    made = onnx.ModelProto(ir_version=proto.ir_version, functions=proto.functions)
    made.opset_import.extend(proto.opset_import)
    made.metadata_props.extend(proto.metadata_props)
    made.producer_name, made.producer_version = proto.producer_name, proto.producer_version
    return made


def _needed(
    ends: Iterable[str], begins: set[str], producers: dict[str, onnx.NodeProto]
) -> tuple[set[int], set[str]]:
    """Identities of the nodes, and names of the values, that `ends` need, going no further back than `begins`."""
    nodes: set[int] = set()
    reached: set[str] = set()
    stack = list(ends)
    while stack:
        name = stack.pop()
        if name in reached:
            continue
        reached.add(name)
        node = producers.get(name)
        if name in begins or node is None or id(node) in nodes:
            continue
        nodes.add(id(node))
        stack += [item for item in _reads(node) if item]
    return nodes, reached


def _reads(node: onnx.NodeProto) -> list[str]:
    """Names that a node reads, those read inside its graphs included."""
    names = list(node.input)
    for attribute in node.attribute:
        graphs = [attribute.g] if attribute.type == onnx.AttributeProto.GRAPH else attribute.graphs
        for graph in graphs:
            names += [name for inner in graph.node for name in _reads(inner)]
            names += [item.name for item in graph.output]
    return names


def _info(name: str, types: dict[str, onnx.TypeProto]) -> onnx.ValueInfoProto:
    if name not in types:
        raise UsageError(
            f"the type of '{name}' can't be told, so the model can't be cut there: choose a value next to it"
        )
    return onnx.ValueInfoProto(name=name, type=types[name])


def _wrong(
    flag: str, name: str, names: Sequence[str], known: dict[str, None], graph: onnx.GraphProto
) -> UsageError:
    if name in known:
        return UsageError(f"{flag} names '{name}' twice")
    node = next((item for item in graph.node if item.name == name), None)
    if node is not None:
        made = ", ".join(f"'{item}'" for item in node.output if item)
        return UsageError(f"{flag}: '{name}' is a {node.op_type} node; the value that it computes is {made}")
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    hint = f"; the nearest are {', '.join(map(repr, close))}" if close else ""
    return UsageError(f"{flag}: the main graph has no value '{name}'{hint}")
