"""A model's own functions, before their calls are replaced by their bodies."""

from __future__ import annotations

import onnx.defs
import onnx_ir

from graphrewrite.errors import InvalidModel
from graphrewrite.ir import Graph, Model, all_nodes


def align_functions(model: Model) -> None:
    """Let every function that is called use the operator sets that `model` imports, where that changes no operator in it.

    ONNX asks that both be compatible: that each operator is of the same version in either set. See
    https://github.com/onnx/onnx/blob/main/docs/IR.md#functions.

    Raises:
        InvalidModel: an operator of a function is another one in the model's set.
    """
    for function in _called(model):
        for domain, version in list(function.opset_imports.items()):
            wanted = model.opset_imports.setdefault(domain, version)
            if wanted == version:
                continue
            for node in all_nodes(function.graph):
                if node.domain == domain and _since(node, version) != _since(node, wanted):
                    raise InvalidModel(
                        f"the function '{function.domain}::{function.name}' is written in opset {version} of "
                        f"'{domain or 'ai.onnx'}', in which {node.op_type} is another operator than in the model's opset "
                        f"{wanted}: export both in the same opset, or inline the function with onnx.inliner and convert it"
                    )
            function.opset_imports[domain] = wanted


def _called(model: Model) -> list[onnx_ir.Function]:
    """The functions that the graph calls, and those that they call."""
    found: dict[onnx_ir.OperatorIdentifier, onnx_ir.Function] = {}
    graphs: list[Graph] = [model.graph]
    while graphs:
        for node in all_nodes(graphs.pop()):
            function = model.functions.get(node.op_identifier())
            if function is not None and node.op_identifier() not in found:
                found[node.op_identifier()] = function
                graphs.append(function.graph)
    return list(found.values())


def _since(node: onnx_ir.Node, version: int) -> int:
    """The version of the operator of `node` that is in the set `version`; 0 where the set has none."""
    try:
        return int(onnx.defs.get_schema(node.op_type, version, node.domain).since_version)
    except onnx.defs.SchemaError:
        return 0
