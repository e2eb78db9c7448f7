"""Products of matrices."""

from __future__ import annotations

from collections.abc import Sequence

from graphrewrite.ir import Node
from graphrewrite.targets.coreml.dialect.op import MilBody, define


def _turned(body: MilBody, index: int) -> str:
    rank = body.rank(index)
    order = [*range(rank - 2), rank - 1, rank - 2]
    return body.op("Transpose", body.inputs[index], perm=order)


@define("matmul", operands="x y", data=(0, 1))
def matmul(node: Node, body: MilBody) -> Sequence[str]:
    x = _turned(body, 0) if body.int_("transpose_x", 0) else body.inputs[0]
    y = _turned(body, 1) if body.int_("transpose_y", 0) else body.inputs[1]
    return [body.op("MatMul", x, y)]


@define("linear", operands="x weight bias?", data=(0, 1, 2))
def linear(node: Node, body: MilBody) -> Sequence[str]:
    """x [..., I] times the transpose of weight [O, I], plus bias [O]."""
    y = body.op("MatMul", body.inputs[0], body.op("Transpose", body.inputs[1], perm=[1, 0]))
    return [body.op("Add", y, body.inputs[2]) if body.has(2) else y]
