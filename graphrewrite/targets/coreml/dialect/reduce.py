"""Reductions. Without `axes` all dimensions are reduced."""

from __future__ import annotations

from collections.abc import Sequence

from graphrewrite.ir import Node
from graphrewrite.targets.coreml.dialect.op import MilBody, define

_REDUCTIONS = {
    "reduce_l1_norm": "ReduceL1",
    "reduce_l2_norm": "ReduceL2",
    "reduce_log_sum": "ReduceLogSum",
    "reduce_log_sum_exp": "ReduceLogSumExp",
    "reduce_max": "ReduceMax",
    "reduce_mean": "ReduceMean",
    "reduce_min": "ReduceMin",
    "reduce_prod": "ReduceProd",
    "reduce_sum": "ReduceSum",
    "reduce_sum_square": "ReduceSumSquare",
}


@define(*_REDUCTIONS, operands="x")
def reduction(node: Node, body: MilBody) -> Sequence[str]:
    axes = body.const(body.ints("axes", range(body.rank())))
    return [body.op(_REDUCTIONS[node.op_type], body.inputs[0], axes, keepdims=body.int_("keep_dims", 0))]
