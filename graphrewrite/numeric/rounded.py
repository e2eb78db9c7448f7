"""Which outputs of a source carry the roundings of float16: no runtime computes those again to float32's precision."""

from __future__ import annotations

from graphrewrite.ir import DataType, Graph, Model, Node, Value, bodies, is_constant

_EXACT = frozenset(
    {
        *(
            "Cast",
            "CastLike",
            "Identity",
            "Reshape",
            "Flatten",
            "Squeeze",
            "Unsqueeze",
            "Transpose",
            "Expand",
        ),
        *("Concat", "Split", "Slice", "Gather", "GatherElements", "GatherND", "Tile", "Pad", "Where"),
        *(
            "Relu",
            "Clip",
            "Max",
            "Min",
            "Neg",
            "Abs",
            "MaxPool",
            "ReduceMax",
            "ReduceMin",
            "DequantizeLinear",
        ),
    }
)
"""Ops that give elements of their operands, or others that float16 holds exactly or rounds alike everywhere."""


def rounded_outputs(model: Model) -> frozenset[str]:
    """Names of the outputs of `model`, the imported source, that depend on a sum or product computed in float16.

    A model whose weights alone are float16 and that computes in float32 has none.
    """
    carried: set[Value] = set()
    _walk(model.graph, carried)
    return frozenset(value.name for value in model.graph.outputs if value.name and value in carried)


def _walk(graph: Graph, carried: set[Value]) -> bool:
    """Add what carries roundings to `carried`; True where anything in `graph` does."""
    found = False
    for node in graph:
        inner = [_walk(body, carried) for body in bodies(node)]
        if any(inner) or _computes(node) or any(value in carried for value in node.inputs):
            carried.update(node.outputs)
            found = True
    return found


def _computes(node: Node) -> bool:
    return (
        node.op_type not in _EXACT
        and any(value.dtype == DataType.FLOAT16 for value in node.outputs)
        and not all(value is None or is_constant(value) for value in node.inputs)
    )
