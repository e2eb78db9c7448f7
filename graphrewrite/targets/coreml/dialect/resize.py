"""Resizing of the last two axes of x [..., H, W]."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from graphrewrite.errors import InternalError
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


_SAMPLING = {
    "DEFAULT": "asymmetric",
    "STRICT_ALIGN_CORNERS": "align_corners",
    "UNALIGN_CORNERS": "half_pixel",
}
"""Where MIL's sampling modes are ONNX's coordinate transformations."""


def _linear(body: MilBody, scales: str, sizes: str, sampling: str) -> str:
    if sampling not in _SAMPLING:
        raise InternalError(f"{body.node.op_type} '{body.node.name}': ONNX has no equal of {sampling}")
    return body.op(
        "Resize",
        body.inputs[0],
        "",
        scales,
        sizes,
        mode="linear",
        axes=[body.rank() - 2, body.rank() - 1],
        coordinate_transformation_mode=_SAMPLING[sampling],
    )


@define("resize_bilinear", operands="x")
def resize_bilinear(node: Node, body: MilBody) -> Sequence[str]:
    sizes = [body.int_("target_size_height", 1), body.int_("target_size_width", 1)]
    return [_linear(body, "", body.const(sizes), body.text("sampling_mode", "DEFAULT"))]


@define("upsample_bilinear", operands="x")
def upsample_bilinear(node: Node, body: MilBody) -> Sequence[str]:
    """By whole factors: fractional ones are recomputed from the rounded size."""
    factors = [body.float_("scale_factor_height", 1.0), body.float_("scale_factor_width", 1.0)]
    if not all(factor.is_integer() for factor in factors):
        raise InternalError(f"upsample_bilinear '{node.name}': fractional factors have no meaning yet")
    aligned = body.int_("align_corners", 1)
    centred = body.int_("half_pixel_centers", 1 - aligned)
    sampling = "STRICT_ALIGN_CORNERS" if aligned else "UNALIGN_CORNERS" if centred else "DEFAULT"
    return [_linear(body, body.const(factors, np.float32), "", sampling)]


@define("resize", operands="x shape")
def resize(node: Node, body: MilBody) -> Sequence[str]:
    """The last two axes to the last two elements of `shape`, linearly; 0 leaves an axis as it is."""
    if body.text("interpolation_mode", "LINEAR") != "LINEAR" or body.int_("resized_dims") != 2:
        raise InternalError(f"resize '{node.name}': only linear weights of two axes have a meaning yet")
    far = np.iinfo(np.int64).max
    wanted = body.op("Slice", body.int64(1), body.const([-2]), body.const([far]))
    current = body.op("Shape", body.inputs[0], start=-2)
    sizes = body.op("Where", body.op("Equal", wanted, body.const([0])), current, wanted)
    return [_linear(body, "", sizes, body.text("sampling_mode", "DEFAULT"))]
