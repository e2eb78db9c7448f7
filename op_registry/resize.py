"""Resize.

RESIZE_NEAREST_NEIGHBOR and RESIZE_BILINEAR are used where they compute what ONNX means: that is found by comparing the index or
weight of every output element, not by the names of the modes. Everything else is separable: along each axis elements are
gathered and weighted, or multiplied by the matrix of weights.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from graphrewrite.errors import Code
from graphrewrite.ir import Array, DataType, Value
from graphrewrite.registry import OpNode, lowering

from . import interpolation as formula
from .resize_attributes import ResizeAxis, coordinates, is_given, nearest_index, resized_axes, static_axes
from .resize_computed import TFLiteAxisOps, product_along, resize_computed, stays
from .views import dim_value, insert_axis, merge, remove_axis, reshape_to, weighted_gathers

if TYPE_CHECKING:
    from graphrewrite.targets.tflite.builder import TFLite

_DENSE = 96
"""Up to this size of an axis more than two taps are a matrix product; above it they are gathered one by one."""


@lowering("tflite", "Resize", note="linear and cubic modes of integer types are refused")
def resize(node: OpNode, t: TFLite) -> Value:
    check_mode(node)
    axes = static_axes(node)
    if axes is None:
        y = _native_of_run_time_size(node, t)
        return _round_back(node, t, resize_computed(node, TFLiteAxisOps(t)) if y is None else y, node.dtype())
    x, dtype = node.input(0), node.dtype()
    mode = node.attr("mode", "nearest")
    changed = {axis: item for axis, item in axes.items() if not is_identity(node, item)}
    if not changed:
        return t.reshape(x, [(dim if isinstance(dim, int) else -1) for dim in node.dims()])
    if mode != "nearest":
        x = t.cast(x, DataType.FLOAT) if dtype != DataType.DOUBLE else x
    y = _native(node, t, x, axes, changed)
    if y is None:
        y = x
        for axis, item in changed.items():
            y = _along(node, t, y, axis, item)
    return _round_back(node, t, _extrapolate(node, t, y, changed), dtype)


def check_mode(node: OpNode) -> None:
    """Refuse what is no interpolation mode of ONNX.

    Raises:
        Refusal: the mode is unknown.
    """
    mode = node.attr("mode", "nearest")
    if mode not in ("nearest", "linear", "cubic"):
        node.refuse(f"ONNX has no interpolation mode '{mode}'", code=Code.INVALID_MODEL)


def _round_back(node: OpNode, t: TFLite, y: Value, dtype: DataType) -> Value:
    if y.dtype != dtype and dtype.is_integer():
        node.refuse(
            f"interpolating {dtype.name.lower()}: ONNX leaves open how the result is rounded",
            "cast to float32 before and round after the Resize",
        )
    return t.cast(y, dtype)


# -- weights ---------------------------------------------------------------------------------------------------------------


def resize_taps(node: OpNode, axis: ResizeAxis) -> list[tuple[Array, Array]]:
    """(index, weight) pairs of the axis: each an array over the output elements."""
    mode, size = node.attr("mode", "nearest"), np.float32(axis.size)
    exclude, a = bool(node.attr("exclude_outside", 0)), float(node.attr("cubic_coeff_a", -0.75))
    if mode == "nearest":
        return [(nearest_index(node, axis.place, size), np.ones(axis.out, np.float32))]
    if node.attr("antialias", 0) and axis.scale < 1:
        return formula.antialias_taps(mode, axis.place, axis.scale, axis.size, a, exclude_outside=exclude)
    if mode == "linear":
        return formula.linear_taps(axis.place, size)
    return formula.cubic_taps(axis.place, size, a, exclude_outside=exclude)


def is_identity(node: OpNode, axis: ResizeAxis) -> bool:
    """True where every element of the axis stays as it is."""
    if axis.size != axis.out or axis.outside.any():
        return False
    matrix = formula.matrix(resize_taps(node, axis), axis.size)
    return bool(np.array_equal(matrix, np.eye(axis.size)))


# -- TFLite's own operators ------------------------------------------------------------------------------------------------


def _native(
    node: OpNode, t: TFLite, x: Value, axes: dict[int, ResizeAxis], changed: dict[int, ResizeAxis]
) -> Value | None:
    """RESIZE_* where it computes exactly this, else None."""
    name = {"nearest": "RESIZE_NEAREST_NEIGHBOR", "linear": "RESIZE_BILINEAR"}.get(
        node.attr("mode", "nearest")
    )
    flags = next(
        (pair for pair in _FLAGS if all(_agrees(node, item, *pair) for item in changed.values())), None
    )
    rank = node.rank()
    if name is None or flags is None:
        return None
    outs = [axes[axis].out if axis in axes else None for axis in range(rank)]

    def run(value: Value, *sizes: int) -> Value:
        return t.op(name, value, t.i32(list(sizes)), align_corners=flags[0], half_pixel_centers=flags[1])

    def size(axis: int) -> int | None:
        found = outs[axis] if outs[axis] is not None else node.dims()[axis]
        return found if isinstance(found, int) else None

    return _in_plane(t, x, rank, set(changed), size, run)


def _native_of_run_time_size(node: OpNode, t: TFLite) -> Value | None:
    """RESIZE_* of [N, C, H, W] with a computed size, where it computes the same for every size; else None.

    Whole scales do. Of given sizes only linear weights do: which element `nearest` takes depends on how a quotient is rounded.
    """
    mode, wanted = node.attr("mode", "nearest"), resized_axes(node)
    moving = {axis: position for position, axis in enumerate(wanted) if not stays(node, position)}
    if node.rank() != 4 or not set(moving) <= {2, 3} or mode == "cubic":
        return None
    x = t.to_last(node.input(0))
    sizes: dict[int, Value] = {}
    flags = list(_FLAGS)
    for axis in (2, 3):
        size = dim_value(t, x, axis - 1)
        if axis not in moving:
            factor = 1
        elif is_given(node, 3):
            policy = node.attr("keep_aspect_ratio_policy", "stretch")
            if mode != "linear" or node.attr("antialias", 0) or policy != "stretch":
                return None
            element = t.op("SLICE", node.input(3), t.i32([moving[axis]]), t.i32([1]))
            sizes[axis] = t.cast(element, DataType.INT32)
            factor = 0
        else:
            scales = node.const(2)
            scale = 0.0 if scales is None else float(scales[moving[axis]])
            if scale != int(scale) or scale < 1:
                return None
            factor = int(scale)
        if factor:
            sizes[axis] = t.op("MUL", size, t.i32([factor])) if factor > 1 else size
        flags = [pair for pair in flags if _always_agrees(node, factor, *pair)]
    if not flags:
        return None
    name = "RESIZE_NEAREST_NEIGHBOR" if mode == "nearest" else "RESIZE_BILINEAR"
    if mode == "linear":
        x = t.cast(x, DataType.FLOAT)
    both = t.op("CONCATENATION", sizes[2], sizes[3], axis=0)
    y = t.op(name, x, both, align_corners=flags[0][0], half_pixel_centers=flags[0][1])
    return t.to_first(y)


def _always_agrees(node: OpNode, factor: int, align: bool, half: bool) -> bool:
    """`_agrees` for sizes of every kind: the formulas depend on the size through the scale only. `factor` 0: any scale."""
    sizes = [(n, n * factor) for n in (1, 2, 3, 5, 8, 13, 100, 4096)]
    if not factor:
        sizes = [(n, m) for n in (1, 2, 3, 5, 8, 13, 100) for m in (1, 2, 3, 5, 8, 13, 100, 300)]
    for size, out in sizes:
        scale = np.float32(out) / np.float32(size)
        place = np.arange(out, dtype=np.float32)
        found = coordinates(node, place, scale, size, out, (np.float32(0), np.float32(1)))
        if node.attr("mode", "nearest") == "linear" and size > 1000:
            continue  # linear weights have no rounding to get wrong, and their matrix would be large
        if not _agrees(node, ResizeAxis(size, out, float(scale), np.asarray(found, np.float32)), align, half):
            return False
    return True


def _in_plane(
    t: TFLite,
    x: Value,
    rank: int,
    changed: set[int],
    size: Callable[[int], int | None],
    run: Callable[..., Value],
) -> Value | None:
    """Bring the changed axes where the two-dimensional operator wants them; None where they do not fit."""
    spatial = {axis: size(axis) for axis in range(1, rank)}
    if rank == 4 and changed <= {2, 3} and spatial[2] is not None and spatial[3] is not None:
        return t.to_first(run(t.to_last(x), spatial[2], spatial[3]))
    if rank == 4 and changed <= {1, 2} and spatial[1] is not None and spatial[2] is not None:
        return run(x, spatial[1], spatial[2])
    if rank == 3 and changed <= {2} and spatial[2] is not None:
        return t.to_first(remove_axis(t, run(insert_axis(t, t.to_last(x), 1), 1, spatial[2]), 1))
    if rank == 5 and changed <= {2, 3, 4} and all(spatial[axis] is not None for axis in (2, 3, 4)):
        x = t.to_last(x)
        sizes = [dim_value(t, x, axis) for axis in range(5)]
        planes = merge(t, x, [[0, 1], [2], [3], [4]])
        if changed & {3, 4}:
            planes = run(planes, spatial[3], spatial[4])
        area = (spatial[3] or 0) * (spatial[4] or 0)
        y = reshape_to(t, planes, [sizes[0], sizes[1], area, sizes[4]])
        if 2 in changed:
            y = run(y, spatial[2], area)
        deep = spatial[2] or 0
        return t.to_first(reshape_to(t, y, [sizes[0], deep, spatial[3] or 0, spatial[4] or 0, sizes[4]]))
    return None


_FLAGS = ((False, False), (False, True), (True, False))
"""(align_corners, half_pixel_centers) that TFLite allows."""


def _agrees(node: OpNode, axis: ResizeAxis, align: bool, half: bool) -> bool:
    """True where TFLite's operator takes the same elements with the same weights on this axis."""
    place = np.arange(axis.out, dtype=np.float32)
    size = np.float32(axis.size)
    step = size / np.float32(axis.out)
    if align and axis.out > 1:
        step = (size - 1) / np.float32(axis.out - 1)
    ours = resize_taps(node, axis)
    if node.attr("mode", "nearest") == "nearest":
        x = (place + np.float32(0.5 if half else 0)) * step
        index = np.floor(x + np.float32(0.5)) if align else np.floor(x)
        return bool(np.array_equal(np.clip(index, 0, size - 1), ours[0][0]))
    x = (place + np.float32(0.5)) * step - np.float32(0.5) if half else place * step
    theirs = formula.matrix(formula.linear_taps(x, size), axis.size)
    # both compute coordinates in float32: they may differ by its rounding, which linear weights carry on linearly
    tolerance = 4 * float(np.finfo(np.float32).eps) * max(axis.size, axis.out)
    return bool(np.abs(theirs - formula.matrix(ours, axis.size)).max(initial=0) <= tolerance)


# -- separable forms -------------------------------------------------------------------------------------------------------


def _along(node: OpNode, t: TFLite, x: Value, axis: int, item: ResizeAxis) -> Value:
    """`x` interpolated along one axis."""
    taps = resize_taps(node, item)
    if node.attr("mode", "nearest") == "nearest":
        return t.op("GATHER", x, t.i32(taps[0][0].astype(int).tolist()), axis=axis, batch_dims=0)
    if len(taps) > 2 and (item.size <= _DENSE or len(taps) > 4):
        return product_along(t, x, axis, t.const(formula.matrix(taps, item.size), DataType.FLOAT))
    rank = node.rank()
    pairs = [
        (
            t.i32(index.astype(int).tolist()),
            t.const(weight.reshape([-1] + [1] * (rank - 1 - axis)), DataType.FLOAT),
        )
        for index, weight in taps
    ]
    return weighted_gathers(t, x, axis, pairs)


def keep_inside(node: OpNode, changed: Mapping[int, ResizeAxis]) -> Array:
    """False at the elements of the result whose coordinate lies outside; it broadcasts to the result.

    Only tf_crop_and_resize has a value of its own for them.
    """
    keep: Array = np.ones([1] * node.rank(), bool)
    if node.attr("coordinate_transformation_mode", "half_pixel") == "tf_crop_and_resize":
        for axis, item in changed.items():
            line = [1] * node.rank()
            line[axis] = -1
            keep = keep & ~item.outside.reshape(line)
    return keep


def _extrapolate(node: OpNode, t: TFLite, y: Value, changed: dict[int, ResizeAxis]) -> Value:
    """tf_crop_and_resize: elements whose coordinate lies outside get extrapolation_value."""
    keep = keep_inside(node, changed)
    if keep.all():
        return y
    value = t.like(node.attr("extrapolation_value", 0.0), y)
    return t.op("SELECT_V2", t.const(keep, DataType.BOOL), y, value)
