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


_PADDING = {
    ("constant", 0): "zeros",
    ("constant", 1): "zeros",
    ("border", 0): "border",
    ("border", 1): "border",
    ("symmetric", 0): "reflection",
    ("reflection", 1): "reflection",
}
"""ONNX's padding for MIL's and align_corners."""


@define("resample", operands="x coordinates")
def resample(node: Node, body: MilBody) -> Sequence[str]:
    """Bilinear samples of x [N, C, H, W] at coordinates [N, out..., 2] of columns and rows."""
    aligned, grid = body.int_("align_corners", 0), body.inputs[1]
    padding = _PADDING.get((body.text("padding_mode", "constant"), aligned))
    coordinates = body.text("coordinates_mode", "unnormalized")
    known = (
        padding
        and body.text("sampling_mode", "bilinear") == "bilinear"
        and coordinates.startswith("normalized")
    )
    if not known or (padding == "zeros" and body.float_("padding_value", 0.0)):
        raise InternalError(f"resample '{node.name}': its modes have no meaning yet")
    if coordinates == "normalized_zero_to_one":
        doubled = body.op("Mul", grid, body.like(2.0, 1))
        grid = body.op("Sub", doubled, body.like(1.0, 1))
    return [
        body.op(
            "GridSample", body.inputs[0], grid, mode="linear", padding_mode=padding, align_corners=aligned
        )
    ]
