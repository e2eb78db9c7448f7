"""A loop that tests its condition first (TFLite's WHILE, MIL's while_loop) as ONNX's Loop, for `register_control_flow`."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import onnx
import onnx.helper


def attribute_graph(node: onnx.NodeProto, name: str) -> onnx.GraphProto:
    """The graph that `node` holds as its attribute `name`."""
    return next(item.g for item in node.attribute if item.name == name)


def identity(source: str, target: str) -> onnx.NodeProto:
    """`target` as a copy of `source`."""
    return onnx.helper.make_node("Identity", [source], [target])


def while_loop(node: onnx.NodeProto) -> list[onnx.NodeProto]:
    """(states...) {cond: states -> bool, body: states -> states}; Loop tests its condition before each round, as it does."""
    condition, body = attribute_graph(node, "cond"), onnx.GraphProto()
    body.CopyFrom(attribute_graph(node, "body"))
    first, go = _inlined(condition, list(node.input), f"{node.name}/first/")
    outputs = [item.name for item in body.output]
    again, go_on = _inlined(condition, outputs, f"{node.name}/again/")
    results = [f"{node.name}/state{index}" for index in range(len(outputs))]
    whole = onnx.GraphProto(node=[*body.node, *again, *map(identity, outputs, results)])
    for item, name in zip(body.output, results, strict=True):
        item.name = name
    boolean = onnx.helper.make_tensor_value_info
    body_inputs = [
        boolean(f"{node.name}/round", onnx.TensorProto.INT64, []),
        boolean(f"{node.name}/go", onnx.TensorProto.BOOL, None),
        *body.input,
    ]
    body_outputs = [boolean(go_on, onnx.TensorProto.BOOL, None), *body.output]
    graph = onnx.helper.make_graph(list(whole.node), body.name or "body", body_inputs, body_outputs)
    loop = onnx.helper.make_node("Loop", ["", go, *node.input], list(node.output), name=node.name, body=graph)
    return [*first, loop]


def _inlined(
    graph: onnx.GraphProto, operands: Sequence[str], prefix: str
) -> tuple[list[onnx.NodeProto], str]:
    """The nodes of `graph` on `operands` with names of their own, and the name of the one output."""
    names = {item.name: operand for item, operand in zip(graph.input, operands, strict=True)}
    copy = onnx.GraphProto(node=graph.node)
    _rename(copy, names, prefix)
    result = graph.output[0].name
    return list(copy.node), names.get(result, result)


def _rename(graph: onnx.GraphProto, names: dict[str, str], prefix: str) -> None:
    for node in graph.node:
        node.name = prefix + node.name
        _replace(node.input, names)
        for output in node.output:
            names[output] = prefix + output
        _replace(node.output, names)
        for attribute in node.attribute:
            for inner in itertools.chain([attribute.g] if attribute.HasField("g") else [], attribute.graphs):
                for item in inner.input:
                    names[item.name] = prefix + item.name
                    item.name = prefix + item.name
                _rename(inner, names, prefix)
                for item in inner.output:
                    item.name = names.get(item.name, item.name)


def _replace(items: list[str], names: Mapping[str, str]) -> None:
    for index, item in enumerate(items):
        items[index] = names.get(item, item)
