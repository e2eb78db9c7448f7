"""Which nodes OpenVINO's ONNX front end can't read, asked of the front end itself."""

from __future__ import annotations

import io
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from graphrewrite.errors import InternalError
from graphrewrite.ir import Model, Node, all_nodes
from graphrewrite.targets.openvino.emit import all_ops
from graphrewrite.targets.openvino.package import core, openvino
from graphrewrite.targets.openvino.proto import readable

_NO_RULE = "OpenVINO's ONNX front end has no rule for it"
_NO_RANK = "the rank of its result is known only at run time, and OpenVINO's CPU plugin runs no such graph"
_MESSAGE = re.compile(r"^-- (\w+)-\d+ with a message:\n(.*?)(?=^-- |^Summary:)", re.MULTILINE | re.DOTALL)
_NAMED = re.compile(r"<Node\(\w+\): (.+?)>")


def unreadable(model: Model, without: Collection[Node]) -> dict[Node, str]:
    """Every node that the front end refuses, those in `without` aside, with its reason.

    A node that can't be read leaves its readers without types, so that they are refused, too. Therefore what was refused is
    cut off, its outputs are made inputs of the known type, and the rest is asked again until nothing more is refused.
    """
    found: dict[Node, str] = {}
    while True:
        more = _refused(model, frozenset((*without, *found)))
        if not more:
            return found
        found |= more


def _refused(model: Model, cut: frozenset[Node]) -> dict[Node, str]:
    frontend = openvino().frontend.FrontEndManager().load_by_framework("onnx")
    source = readable(model, cut)
    names = {str(node.name): node for node in all_nodes(model.graph)}
    for node in list(names.values()):  # those that make an output are called by its name
        for value in node.outputs:
            names.setdefault(str(value.name), node)
    converted = frontend.convert_partially(frontend.load(io.BytesIO(source.data)))
    found = {
        _node(op, names): _NO_RULE
        for op in all_ops(converted)
        if op.get_type_name() == "NotSupportedONNXNode"
    }
    if not found:
        return {} if cut else _of_unknown_rank(converted, names)
    try:
        frontend.convert(frontend.load(io.BytesIO(source.data)))
    except Exception as error:  # the bindings have a type of their own for each failure; all carry the log
        reasons = dict(_reasons(str(error)))
        return {
            node: reasons.get(str(node.name)) or reasons.get(node.op_type) or why
            for node, why in found.items()
        }
    raise InternalError("OpenVINO's front end refuses nodes one by one, and none of them together")


def _node(op: Any, names: Mapping[str, Node]) -> Node:
    name = op.get_friendly_name()
    node = names.get(name) or names.get(re.sub(r"_\d+$", "", name))
    if node is None:
        raise InternalError(f"OpenVINO's front end refuses '{name}', which the graph does not hold")
    return node


def _of_unknown_rank(converted: Any, names: Mapping[str, Node]) -> dict[Node, str]:
    """Where ranks become unknown, if the plugin can't run that: some are known after it has folded what is constant."""
    first = [
        op
        for op in converted.get_ordered_ops()
        if any(port.get_partial_shape().rank.is_dynamic for port in op.outputs())
        and not any(port.get_partial_shape().rank.is_dynamic for port in op.inputs())
    ]
    if not first:
        return {}
    try:
        core().compile_model(converted, "CPU")
    except RuntimeError:
        return {_node(op, names): _NO_RANK for op in first}
    return {}


def _reasons(log: str) -> Iterator[tuple[str, str]]:
    """(name of the node or its op type, the last line of the message)."""
    for op_type, text in _MESSAGE.findall(log):
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        reason = f"OpenVINO's ONNX front end refuses it: {lines[-1]}"
        named = _NAMED.search(text)
        yield op_type, reason
        if named is not None:
            yield named.group(1), reason
