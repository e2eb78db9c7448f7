"""Picking elements by index; negative indices count from the end."""

from __future__ import annotations

from collections.abc import Sequence

from graphrewrite.errors import InternalError
from graphrewrite.ir import DataType, Node
from graphrewrite.targets.coreml.dialect.op import MilBody, define


@define("gather", operands="x indices", moves=True)
def gather(node: Node, body: MilBody) -> Sequence[str]:
    if body.int_("batch_dims", 0):
        raise InternalError(f"gather '{node.name}': batch_dims has no meaning yet")
    return [body.op("Gather", body.inputs[0], body.int64(1), axis=body.int_("axis", 0))]


@define("gather_along_axis", operands="x indices", moves=True)
def gather_along_axis(node: Node, body: MilBody) -> Sequence[str]:
    return [body.op("GatherElements", body.inputs[0], body.int64(1), axis=body.int_("axis", 0))]


@define("gather_nd", operands="x indices", moves=True)
def gather_nd(node: Node, body: MilBody) -> Sequence[str]:
    return [body.op("GatherND", body.inputs[0], body.int64(1), batch_dims=body.int_("batch_dims", 0))]


@define("non_zero", operands="x", result="INT32")
def non_zero(node: Node, body: MilBody) -> Sequence[str]:
    """[count, rank]: where the elements lie that are not 0."""
    places = body.op("NonZero", body.inputs[0])
    return [body.cast(body.op("Transpose", places, perm=[1, 0]), DataType.INT32)]
