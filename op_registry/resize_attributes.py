"""What the attributes and operands of Resize mean: axes, scales, sizes and coordinates."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from graphrewrite.errors import Code
from graphrewrite.ir import Array
from graphrewrite.registry import OpNode

from . import interpolation as formula


@dataclasses.dataclass(frozen=True)
class ResizeAxis:
    """One axis whose sizes are known: `place` the input coordinate of every output element."""

    size: int
    out: int
    scale: float
    place: Array

    @property
    def outside(self) -> Array:
        """True where the coordinate lies outside of the data."""
        found: Array = (self.place < 0) | (self.place > self.size - 1)
        return found


def resized_axes(node: OpNode) -> list[int]:
    """The axes that roi, scales and sizes speak of, in their order."""
    rank = node.rank()
    return [axis % rank for axis in node.attr("axes") or range(rank)]


def is_given(node: OpNode, index: int) -> bool:
    """True where roi, scales or sizes is there; exporters write an empty tensor for an absent one."""
    if not node.has(index):
        return False
    return node.input(index).shape is None or node.dims(index) != (0,)


def static_axes(node: OpNode) -> dict[int, ResizeAxis] | None:
    """The axes that scales or sizes speak of, None where something is known only at run time."""
    axes = resized_axes(node)
    known = [node.dims()[axis] for axis in axes]
    by_size = is_given(node, 3)
    wanted = node.const(3 if by_size else 2)
    roi = (
        node.const(1)
        if node.attr("coordinate_transformation_mode", "half_pixel") == "tf_crop_and_resize"
        else None
    )
    if wanted is None or (
        roi is None and node.attr("coordinate_transformation_mode") == "tf_crop_and_resize"
    ):
        return None
    sizes: list[int] = []
    for dim, want in zip(known, wanted):
        if not isinstance(dim, int) and not by_size and want == 1:
            continue  # an axis that stays as it is may have any size
        if not isinstance(dim, int):
            return None
        sizes.append(dim)
    kept = [(axis, i) for i, (axis, dim) in enumerate(zip(axes, known)) if isinstance(dim, int)]
    scales, outs = _scales(node, sizes, [wanted[i] for _, i in kept], by_size=by_size)
    found = {}
    for (axis, i), size, scale, out in zip(kept, sizes, scales, outs):
        region = (np.float32(0), np.float32(1))
        if roi is not None:
            region = (np.float32(roi[i]), np.float32(roi[i + len(axes)]))
        if roi is not None:
            check_region(node, i)
        place = coordinates(node, np.arange(out, dtype=np.float32), np.float32(scale), size, out, region)
        found[axis] = ResizeAxis(size, out, float(scale), np.asarray(place, np.float32))
    return found


def check_region(node: OpNode, position: int) -> None:
    """Refuse the one form of tf_crop_and_resize that ONNX and ONNX Runtime read differently, where it is known.

    Raises:
        Refusal: the scale is 1 and the region is not the whole axis.
    """
    scales, sizes, roi = node.const(2), node.const(3), node.const(1)
    axis, count = resized_axes(node)[position], len(resized_axes(node))
    one = (
        sizes is not None and int(sizes[position]) == node.dims()[axis]
        if is_given(node, 3)
        else scales is not None and float(scales[position]) == 1.0
    )
    if one and roi is not None and (roi[position] != 0 or roi[position + count] != 1):
        node.refuse(
            "tf_crop_and_resize with a scale of exactly 1: ONNX crops the axis, ONNX Runtime leaves it as it is",
            "crop with a Slice before the Resize",
        )


def _scales(
    node: OpNode, sizes: Sequence[int], wanted: Sequence[float], *, by_size: bool
) -> tuple[list[np.float32], list[int]]:
    """Scale and output size for each axis."""
    if not by_size:
        scales = [np.float32(item) for item in wanted]
        return scales, [int(np.floor(np.float32(size) * scale)) for size, scale in zip(sizes, scales)]
    ratios = [np.float32(want) / np.float32(size) for want, size in zip(wanted, sizes)]
    policy = node.attr("keep_aspect_ratio_policy", "stretch")
    if policy == "stretch":
        return ratios, [int(want) for want in wanted]
    ratio = min(ratios) if policy == "not_larger" else max(ratios)
    return [ratio] * len(sizes), [int(np.floor(ratio * np.float32(size) + np.float32(0.5))) for size in sizes]


def coordinates(
    node: OpNode,
    place: formula.Number,
    scale: formula.Number,
    size: formula.Number,
    out: formula.Number,
    roi: tuple[formula.Number, formula.Number],
) -> formula.Number:
    mode = node.attr("coordinate_transformation_mode", "half_pixel")
    one = np.float32
    numbers = [one(item) if isinstance(item, int) else item for item in (size, out)]
    try:
        return formula.coordinates(mode, place, scale, numbers[0], numbers[1], roi)
    except KeyError:
        node.refuse(f"ONNX has no coordinate transformation '{mode}'", code=Code.INVALID_MODEL)


def nearest_index(node: OpNode, place: formula.Number, size: formula.Number) -> formula.Number:
    rounding = node.attr("nearest_mode", "round_prefer_floor")
    try:
        return formula.nearest(rounding, place, size)
    except KeyError:
        node.refuse(f"ONNX has no nearest_mode '{rounding}'", code=Code.INVALID_MODEL)
