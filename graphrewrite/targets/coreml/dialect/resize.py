"""Resizing of x [N, C, H, W]."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from graphrewrite.ir import Node
from graphrewrite.targets.coreml.dialect.op import MilBody, define


@define("upsample_nearest_neighbor", operands="x", moves=True)
def upsample_nearest_neighbor(node: Node, body: MilBody) -> Sequence[str]:
    """Element i of the result is element floor(i / factor) of x."""
    scales = [1.0] * (body.rank() - 2)
    scales += [body.float_("scale_factor_height", 1.0), body.float_("scale_factor_width", 1.0)]
    return [
        body.op(
            "Resize",
            body.inputs[0],
            "",
            body.const(scales, np.float32),
            mode="nearest",
            coordinate_transformation_mode="asymmetric",
            nearest_mode="floor",
        )
    ]
