"""Writing elements by index, combined with what lies there by `mode`."""

from __future__ import annotations

from collections.abc import Sequence

from graphrewrite.errors import InternalError
from graphrewrite.ir import Node
from graphrewrite.targets.coreml.dialect.op import MilBody, define

_REDUCTIONS = {"update": "none", "add": "add", "sub": "add", "mul": "mul", "max": "max", "min": "min"}


def _combined(node: Node, body: MilBody) -> tuple[str, str]:
    """ONNX's name of the mode, and the updates for it."""
    mode = body.text("mode", "add")
    if mode not in _REDUCTIONS:
        raise InternalError(f"{node.op_type} '{node.name}': the mode '{mode}' has no meaning yet")
    updates = body.inputs[2]
    return _REDUCTIONS[mode], body.op("Neg", updates) if mode == "sub" else updates


@define("scatter", operands="data indices updates", data=(0, 2))
def scatter(node: Node, body: MilBody) -> Sequence[str]:
    """Whole slices along `axis`, one for each index."""
    reduction, updates = _combined(node, body)
    axis, rank = body.int_("axis", 0), body.rank()
    shape = [-1 if index == axis % rank else 1 for index in range(rank)]
    column = body.op("Reshape", body.int64(1), body.const(shape))
    index = body.op("Expand", column, body.op("Shape", updates))
    return [body.op("ScatterElements", body.inputs[0], index, updates, axis=axis, reduction=reduction)]


@define("scatter_along_axis", operands="data indices updates", data=(0, 2))
def scatter_along_axis(node: Node, body: MilBody) -> Sequence[str]:
    reduction, updates = _combined(node, body)
    return [
        body.op(
            "ScatterElements",
            body.inputs[0],
            body.int64(1),
            updates,
            axis=body.int_("axis", 0),
            reduction=reduction,
        )
    ]


@define("scatter_nd", operands="data indices updates", data=(0, 2))
def scatter_nd(node: Node, body: MilBody) -> Sequence[str]:
    reduction, updates = _combined(node, body)
    return [body.op("ScatterND", body.inputs[0], body.int64(1), updates, reduction=reduction)]
