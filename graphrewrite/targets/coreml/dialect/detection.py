"""Suppression of overlapping boxes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from graphrewrite.errors import InternalError
from graphrewrite.ir import DataType, Node, static_dims
from graphrewrite.targets.coreml.dialect.op import MilBody, define


@define("non_maximum_suppression", operands="boxes scores", data=(0, 1), result="T T INT32 INT32")
def non_maximum_suppression(node: Node, body: MilBody) -> Sequence[str]:
    """Boxes [1, count, 4] as (x, y, width, height) around the centre, scores [1, count, 1]; best first, padded to `max_boxes`.

    Results: coordinates, scores, numbers (-1 where padded), and how many there are. From iOS17 on, without `score_threshold`,
    the number of boxes is the last dimension of everything, and the last result is not given.
    """
    last = "score_threshold" not in node.attributes
    known = static_dims(node.inputs[1])
    if known is None or known[0] != 1 or known[1 if last else 2] != 1:
        raise InternalError(
            f"{node.op_type} '{node.name}' of several classes or batch entries has no meaning yet"
        )
    order, most = {"perm": [0, 2, 1]}, body.int_("max_boxes")
    boxes = body.op("Transpose", body.inputs[0], **order) if last else body.inputs[0]
    scores = body.inputs[1] if last else body.op("Transpose", body.inputs[1], **order)
    # ONNX keeps what is above its threshold, MIL what is not below
    threshold = (
        -np.inf if last else np.nextafter(np.float32(body.float_("score_threshold")), np.float32(-np.inf))
    )
    found = body.op(
        "NonMaxSuppression",
        boxes,
        scores,
        body.const([most]),
        body.const([body.float_("iou_threshold")], np.float32),
        body.const([threshold], np.float32),
        center_point_box=1,
    )
    places = body.op("Gather", found, body.const(2), axis=1)
    number = body.op("Shape", places)
    missing = body.op("Sub", body.const([most]), number)
    behind = body.op("Concat", body.const([0]), missing, axis=0)
    padded = body.op("Pad", places, behind, body.const(-1))
    results = [
        body.op("Pad", body.op("Gather", value, places, axis=axis), behind, body.like(0), body.const([axis]))
        for value, axis in ((boxes, 1), (scores, 2))
    ]
    if not last:
        results[1] = body.op("Transpose", results[1], **order)
    else:
        results[0] = body.op("Transpose", results[0], **order)
    numbers = [body.op("Unsqueeze", padded, body.const([0])), *([] if last else [number])]
    return [*results, *(body.cast(name, DataType.INT32) for name in numbers)]
