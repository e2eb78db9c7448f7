"""Core ML's column of Resize.

Repetition is upsample_nearest_neighbor, and linear weights are resize_bilinear where it has the same: that is found by comparing
the weights of every output element, not by the names of the modes. Everything else is separable: strides or gathers for
`nearest`, a product with the constant matrix of weights along each axis otherwise.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from graphrewrite.ir import Array, DataType, Value, dims, refine
from graphrewrite.registry import OpNode, lowering

from . import interpolation as formula
from .interpolation import MilComputed, single
from .pad_coreml import mil_pad_constant
from .precision import FLOATS
from .resize import check_mode, is_identity, resize_taps
from .resize_attributes import ResizeAxis, coordinates, is_given, resized_axes, static_axes
from .resize_computed import AxisOps, resize_computed, stays

if TYPE_CHECKING:
    from graphrewrite.targets.coreml.builder import MIL

_DENSE = 1024
"""Up to this size of an axis few taps are a matrix product, too, which every compute unit does; above it they are gathered."""
_SAMPLING = ("UNALIGN_CORNERS", "STRICT_ALIGN_CORNERS", "DEFAULT")


@lowering("coreml", "Resize", note="linear and cubic modes of integer types are refused")
def mil_resize(node: OpNode, m: MIL) -> Value:
    check_mode(node)
    x, dtype, mode = node.input(0), node.dtype(), node.attr("mode", "nearest")
    axes = static_axes(node)
    changed = {axis: item for axis, item in (axes or {}).items() if not is_identity(node, item)}
    if axes is not None and not changed:
        return x
    if mode != "nearest" and dtype not in FLOATS:
        node.refuse(
            f"interpolating {dtype.name.lower()}: ONNX leaves open how the result is rounded",
            "cast to float32 before and round after the Resize",
        )
    if axes is None:
        return m.cast(_of_run_time_size(node, m), dtype)
    if mode != "nearest":
        x = m.cast(x, DataType.FLOAT)
    outside = _outside(node, changed)
    if any(sum(amount) >= changed[axis].out for axis, amount in outside.items()):
        known = [axes[axis].out if axis in axes else size for axis, size in enumerate(node.dims())]
        whole = [size for size in known if isinstance(size, int)]
        if len(whole) < len(known):
            node.refuse(
                "all of it lies outside of the data, in a size known only at run time", "fix it with --shape"
            )
        return m.op("fill", m.i32(whole), m.like(node.attr("extrapolation_value", 0.0), node.input(0)))
    inside = {axis: _cropped(item, *outside.get(axis, (0, 0))) for axis, item in changed.items()}
    y = _nearest(node, m, x, inside) if mode == "nearest" else _weighted(node, m, x, inside)
    beyond = m.like(node.attr("extrapolation_value", 0.0), y)
    return m.cast(mil_pad_constant(m, y, outside, beyond) if outside else y, dtype)


def _outside(node: OpNode, changed: Mapping[int, ResizeAxis]) -> dict[int, tuple[int, int]]:
    """How many elements of each axis tf_crop_and_resize takes from outside of the data, in front and behind."""
    if node.attr("coordinate_transformation_mode", "half_pixel") != "tf_crop_and_resize":
        return {}
    found = {}
    for axis, item in changed.items():
        places = np.flatnonzero(~item.outside)
        if len(places) < item.out:  # coordinates rise or fall steadily: what lies inside is one run
            found[axis] = (int(places[0]), item.out - 1 - int(places[-1])) if len(places) else (item.out, 0)
    return found


def _cropped(item: ResizeAxis, before: int, after: int) -> ResizeAxis:
    stop = item.out - after
    return dataclasses.replace(item, out=stop - before, place=item.place[before:stop])


# -- nearest ---------------------------------------------------------------------------------------------------------------


def _nearest(node: OpNode, m: MIL, x: Value, changed: Mapping[int, ResizeAxis]) -> Value:
    """Rows and columns repeated; every other axis as a stride or a gather.

    upsample_nearest_neighbor of a fractional factor is left out, because devices round it differently.
    """
    rank = node.rank()
    picked = {axis: resize_taps(node, item)[0][0].astype(int) for axis, item in changed.items()}
    factors = {axis: _repetition(picked[axis], item) for axis, item in changed.items()}
    in_plane = [axis for axis in changed if axis >= rank - 2 and factors[axis] and rank > 2]
    if in_plane and node.dtype() in FLOATS:
        x = m.op(
            "upsample_nearest_neighbor",
            x,
            scale_factor_height=factors[rank - 2] if rank - 2 in in_plane else 1,
            scale_factor_width=factors[rank - 1] if rank - 1 in in_plane else 1,
        )
        picked = {axis: index for axis, index in picked.items() if axis not in in_plane}
    for axis, index in picked.items():
        steps = np.unique(np.diff(index))
        if len(index) == 1 or (len(steps) == 1 and steps[0] > 0):
            x = _strided(m, x, axis, int(index[0]), int(index[-1]) + 1, int(steps[0]) if len(steps) else 1)
        else:
            x = m.op("gather", x, m.i32(index.tolist()), axis=axis)
    return x


def _repetition(index: Array, item: ResizeAxis) -> int:
    """How often each element is repeated, 0 where it is something else."""
    factor = item.out // item.size
    whole = item.out == item.size * factor and np.array_equal(index, np.arange(item.out) // factor)
    return factor if whole else 0


def _strided(m: MIL, x: Value, axis: int, first: int, stop: int, step: int) -> Value:
    rank = m.rank(x)
    others = [int(index != axis) for index in range(rank)]
    return m.op(
        "slice_by_index",
        x,
        m.i32([first if index == axis else 0 for index in range(rank)]),
        m.i32([stop if index == axis else 0 for index in range(rank)]),
        stride=[step if index == axis else 1 for index in range(rank)],
        begin_mask=others,
        end_mask=others,
    )


# -- weights ---------------------------------------------------------------------------------------------------------------


def _weighted(node: OpNode, m: MIL, x: Value, changed: Mapping[int, ResizeAxis]) -> Value:
    rank = node.rank()
    plane = {axis: item for axis, item in changed.items() if axis >= rank - 2}
    shape = node.dims()
    sizes = {axis: changed[axis].out if axis in changed else shape[axis] for axis in (rank - 2, rank - 1)}
    same = next(
        (kind for kind in _SAMPLING if all(_agrees(node, item, kind) for item in plane.values())), None
    )
    if plane and same and rank > 2 and all(isinstance(size, int) for size in sizes.values()):
        x = m.op(
            "resize_bilinear",
            x,
            target_size_height=sizes[rank - 2],
            target_size_width=sizes[rank - 1],
            sampling_mode=same,
        )
        changed = {axis: item for axis, item in changed.items() if axis not in plane}
    for axis, item in changed.items():
        x = _along(node, m, x, axis, item)
    return x


def _agrees(node: OpNode, axis: ResizeAxis, sampling: str) -> bool:
    """True where resize_bilinear takes the same elements with the same weights on this axis."""
    if node.attr("mode", "nearest") != "linear" or (sampling == "STRICT_ALIGN_CORNERS" and axis.out == 1):
        return False
    place, size = np.arange(axis.out, dtype=np.float32), np.float32(axis.size)
    if sampling == "STRICT_ALIGN_CORNERS":
        x = place * ((size - 1) / np.float32(axis.out - 1))
    else:
        step = size / np.float32(axis.out)
        x = (
            (place + np.float32(0.5)) * step - np.float32(0.5)
            if sampling == "UNALIGN_CORNERS"
            else place * step
        )
    theirs = formula.matrix(formula.linear_taps(x, size), axis.size)
    # both compute coordinates in float32: they may differ by its rounding, which linear weights carry on linearly
    tolerance = 4 * float(np.finfo(np.float32).eps) * max(axis.size, axis.out)
    return bool(
        np.abs(theirs - formula.matrix(resize_taps(node, axis), axis.size)).max(initial=0) <= tolerance
    )


def _along(node: OpNode, m: MIL, x: Value, axis: int, item: ResizeAxis) -> Value:
    """`x` interpolated along one axis: a product with the matrix of weights, or a sum of few weighted gathers."""
    taps, rank = resize_taps(node, item), node.rank()
    if item.size <= _DENSE or len(taps) > 4:
        return _product_along(m, x, axis, m.const(formula.matrix(taps, item.size), DataType.FLOAT))
    pairs = [
        (m.i32(index.astype(int).tolist()), m.like(weight.reshape(-1, *[1] * (rank - 1 - axis)), x))
        for index, weight in taps
    ]
    return _weighted_gathers(m, x, axis, pairs)


def _weighted_gathers(m: MIL, x: Value, axis: int, pairs: Sequence[tuple[Value, Value]]) -> Value:
    total: Value | None = None
    for index, weight in pairs:
        part = m.op("mul", m.op("gather", x, index, axis=axis), weight)
        total = part if total is None else m.op("add", total, part)
    assert total is not None
    return total


def _product_along(m: MIL, x: Value, axis: int, weights: Value) -> Value:
    """`x` times the matrix `weights` [out, in] along `axis`. Where that is possible, axes are merged rather than transposed."""
    shape = list(dims(x) or ())
    rank = len(shape)
    if axis == rank - 1 and rank > 1:
        return m.op("matmul", x, weights, transpose_y=True)
    if axis == rank - 2:
        return m.op("matmul", weights, x)
    old, new = ((dims(value) or (None,))[place] for value, place in ((x, axis), (weights, 0)))
    result = [new if index == axis else size for index, size in enumerate(shape)]
    behind = [size for size in shape[axis + 1 :] if isinstance(size, int)]
    unknown = sum(not isinstance(size, int) for size in result)
    if not isinstance(old, int) or len(behind) < rank - 1 - axis or unknown > 1:
        order = [*(index for index in range(rank) if index != axis), axis]
        y = m.op("matmul", m.transpose(x, order), weights, transpose_y=True)
        return m.transpose(y, [order.index(index) for index in range(rank)])
    y = m.op("matmul", weights, m.reshape(x, [-1, old, math.prod(behind)]))
    return m.reshape(y, [size if isinstance(size, int) else -1 for size in result])


# -- sizes that are known only at run time ---------------------------------------------------------------------------------


def _of_run_time_size(node: OpNode, m: MIL) -> Value:
    """Rows and columns by a constant factor, to a constant size, or (from iOS17 on) to a computed one; else by the formulas."""
    rank = node.rank()
    moving = {axis: place for place, axis in enumerate(resized_axes(node)) if not stays(node, place)}
    stretches = node.attr("keep_aspect_ratio_policy", "stretch") == "stretch" and not node.attr(
        "antialias", 0
    )
    in_plane = rank > 2 and all(axis >= rank - 2 for axis in moving) and node.dtype() in FLOATS
    crops = node.attr("coordinate_transformation_mode", "half_pixel") == "tf_crop_and_resize"
    y = None
    if stretches and in_plane and not crops:
        y = _to_size(node, m, moving) if is_given(node, 3) else _by_factors(node, m, moving)
    return resize_computed(node, MilAxisOps(m)) if y is None else y


class MilAxisOps(AxisOps):
    """`AxisOps` of Core ML's ops. Positions stay float32 in half precision."""

    builder: MIL

    def number(self, value: Value) -> MilComputed:
        return MilComputed(self.builder, single(self.builder.cast(value, DataType.FLOAT)))

    def element(self, value: Value, position: int) -> Value:
        m = self.builder
        return m.op("slice_by_size", value, m.i32([position]), m.i32([1]))

    def size(self, x: Value, axis: int) -> Value:
        return self.builder.dim(x, axis)

    def steps(self, first: Value, stop: Value) -> Value:
        start, end = (self.builder.reshape(item, []) for item in (first, stop))
        return self.builder.op("range_1d", end, start, self.builder.i32(1))

    def gather(self, x: Value, index: Value, axis: int) -> Value:
        return self.builder.op("gather", x, index, axis=axis)

    def weighted(self, x: Value, axis: int, pairs: Sequence[tuple[Value, Value]]) -> Value:
        return _weighted_gathers(self.builder, x, axis, pairs)

    def product(self, x: Value, axis: int, weights: Value) -> Value:
        return _product_along(self.builder, x, axis, weights)

    def row_sums(self, weights: Value) -> Value:
        return single(self.builder.op("reduce_sum", weights, axes=[1], keep_dims=True))

    def choose(self, keep: Value, x: Value, other: float) -> Value:
        m = (
            self.builder
        )  # `select` with operands that broadcast is wrong on some devices; this 0 is finite for any x
        zero = m.op("mul", m.cast(m.op("not_equal", x, x), DataType.FLOAT), m.const(0, DataType.FLOAT))
        kept = m.op("greater", m.op("add", keep, zero), m.like(0, keep))
        return m.op(
            "select", kept, x, m.cast(m.op("add", zero, m.like(other, zero)), x.dtype or DataType.FLOAT)
        )


def _by_factors(node: OpNode, m: MIL, moving: Mapping[int, int]) -> Value | None:
    rank, scales, mode = node.rank(), node.const(2), node.attr("mode", "nearest")
    if scales is None:
        return None
    known = [float(scales[moving[axis]]) if axis in moving else 1.0 for axis in (rank - 2, rank - 1)]
    if any(factor < 1 or not factor.is_integer() for factor in known):
        return None
    factors = [int(factor) for factor in known]
    sizes = {"scale_factor_height": factors[0], "scale_factor_width": factors[1]}
    if mode == "nearest" and all(_always(node, factor, "") for factor in factors):
        return m.op("upsample_nearest_neighbor", node.input(0), **sizes)
    for sampling, aligned in (("UNALIGN_CORNERS", False), ("STRICT_ALIGN_CORNERS", True)):
        if mode == "linear" and all(_always(node, factor, sampling) for factor in factors):
            return m.op("upsample_bilinear", node.input(0), **sizes, align_corners=aligned)
    return None


def _to_size(node: OpNode, m: MIL, moving: Mapping[int, int]) -> Value | None:
    same = next((kind for kind in _SAMPLING if _always(node, 0, kind)), None)
    if node.attr("mode", "nearest") != "linear" or same is None:
        return None
    rank, x, wanted, sizes = node.rank(), node.input(0), node.ints(3), node.dims()
    plane = (rank - 2, rank - 1)
    height, width = (wanted[moving[axis]] if wanted and axis in moving else sizes[axis] for axis in plane)
    if wanted and isinstance(height, int) and isinstance(width, int):
        return m.op(
            "resize_bilinear", x, target_size_height=height, target_size_width=width, sampling_mode=same
        )
    if not m.has("resize"):
        return None
    given = m.cast(node.input(3), DataType.INT32)
    parts = [
        m.op("slice_by_size", given, m.i32([moving[axis]]), m.i32([1])) if axis in moving else m.dim(x, axis)
        for axis in plane
    ]
    both = m.op("concat", *parts, axis=0)
    y = m.op("resize", x, both, resized_dims=2, interpolation_mode="LINEAR", sampling_mode=same)
    refine(y, None, (*sizes[: rank - 2], None, None))
    return y


def _always(node: OpNode, factor: int, sampling: str) -> bool:
    """`_agrees` for sizes of every kind: the formulas depend on the size through the scale only. `factor` 0: any scale.

    With no `sampling`: whether each element is repeated `factor` times.
    """
    sizes = [(n, n * factor) for n in (1, 2, 3, 5, 8, 13, 100)]
    if not factor:
        sizes = [(n, k) for n in (1, 2, 3, 5, 8, 13, 100) for k in (2, 3, 5, 8, 13, 100, 300)]
    if not sampling:
        sizes.append((4096, 4096 * factor))
    for size, out in sizes:
        scale = np.float32(out) / np.float32(size)
        place = np.arange(out, dtype=np.float32)
        found = coordinates(node, place, scale, size, out, (np.float32(0), np.float32(1)))
        item = ResizeAxis(size, out, float(scale), np.asarray(found, np.float32))
        if sampling and out > 1 and not _agrees(node, item, sampling):
            return False
        if not sampling and not _repetition(resize_taps(node, item)[0][0].astype(int), item):
            return False
    return True
