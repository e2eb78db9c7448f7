"""Picking elements by index; negative indices count from the end."""

from __future__ import annotations

from collections.abc import Sequence

from graphrewrite.errors import InternalError
from graphrewrite.ir import Node
from graphrewrite.targets.coreml.dialect.op import MilBody, define


@define("gather", operands="x indices", moves=True)
def gather(node: Node, body: MilBody) -> Sequence[str]:
    if body.int_("batch_dims", 0):
        raise InternalError(f"gather '{node.name}': batch_dims has no meaning yet")
    return [body.op("Gather", body.inputs[0], body.int64(1), axis=body.int_("axis", 0))]
