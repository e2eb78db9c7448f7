"""Resize for a target that reads ONNX: what its own operator lacks is gathered, or multiplied by the matrix of weights."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from graphrewrite.ir import DataType, Value
from graphrewrite.registry import Onnx, OpNode, lowering

from . import interpolation as formula
from .resize import is_identity, keep_inside, resize_taps
from .resize_attributes import ResizeAxis, is_given, static_axes

_FOREIGN = ("tf_crop_and_resize", "half_pixel_symmetric")


@lowering("openvino", "Resize", note="antialias, aspect ratios and regions need static sizes")
def resize(node: OpNode, b: Onnx) -> Value | Sequence[Value]:
    """OpenVINO's Interpolate has neither regions nor symmetric centres, and takes the rest of these for other forms."""
    if not _is_foreign(node):
        return node.outputs
    axes = static_axes(node)
    if axes is None:
        node.not_implemented(
            "antialias, keep_aspect_ratio_policy, exclude_outside, tf_crop_and_resize or half_pixel_symmetric with a size "
            "that is known only at run time",
            "fix it with --shape",
        )
    mode, dtype = node.attr("mode"), node.dtype()
    if mode != "nearest" and dtype.is_integer():
        node.refuse(
            f"interpolating {dtype.name.lower()}: ONNX leaves open how the result is rounded",
            "cast to float32 before and round after the Resize",
        )
    changed = {axis: item for axis, item in axes.items() if not is_identity(node, item)}
    y = node.input(0) if mode == "nearest" else b.cast(node.input(0), DataType.FLOAT)
    for axis, item in changed.items():
        y = _along(node, b, y, axis, item)
    keep = keep_inside(node, changed)
    if not keep.all():
        y = b.op("Where", b.const(keep, DataType.BOOL), y, b.like(node.attr("extrapolation_value"), y))
    return b.op("Identity", b.cast(y, dtype)) if y is node.input(0) else b.cast(y, dtype)


def _is_foreign(node: OpNode) -> bool:
    """True for what the front end or the CPU plugin refuses or gets wrong."""
    by_size = is_given(node, 3) and node.attr("keep_aspect_ratio_policy") != "stretch"
    interpolated = node.attr("mode") != "nearest" and (node.attr("antialias") or node.attr("exclude_outside"))
    return bool(by_size or interpolated or node.attr("coordinate_transformation_mode") in _FOREIGN)


def _along(node: OpNode, b: Onnx, x: Value, axis: int, item: ResizeAxis) -> Value:
    """`x` interpolated along one axis."""
    taps, rank = resize_taps(node, item), node.rank()
    if node.attr("mode") == "nearest":
        return b.op("Gather", x, b.i64(taps[0][0].astype(int).tolist()), axis=axis)
    matrix = formula.matrix(taps, item.size)
    if axis == rank - 2:
        return b.op("MatMul", b.like(matrix, x), x)
    order = [*(other for other in range(rank) if other != axis), axis]
    moved = x if axis == rank - 1 else b.op("Transpose", x, perm=order)
    y = b.op("MatMul", moved, b.like(matrix.T, x))
    return y if axis == rank - 1 else b.op("Transpose", y, perm=np.argsort(order).tolist())
