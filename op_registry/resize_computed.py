"""Resize whose sizes are known only at run time: the formulas of `interpolation` as operators of the graph."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from graphrewrite.ir import DataType, Value, dims, refine
from graphrewrite.registry import OpNode

from . import interpolation as formula
from .interpolation import Computed
from .resize_attributes import check_region, coordinates, is_given, nearest_index, resized_axes
from .views import dim_value, weighted_gathers

if TYPE_CHECKING:
    from graphrewrite.targets.tflite.builder import TFLite


class AxisOps(abc.ABC):
    """What a computed Resize builds with on one target. Sizes and elements are vectors of one element."""

    def __init__(self, builder: Any) -> None:
        self.builder = builder

    @abc.abstractmethod
    def number(self, value: Value) -> Computed:
        """An integer or float value as a number to compute with."""

    @abc.abstractmethod
    def element(self, value: Value, position: int) -> Value:
        """Element `position` of a vector."""

    @abc.abstractmethod
    def size(self, x: Value, axis: int) -> Value:
        """Size of an axis, int32."""

    @abc.abstractmethod
    def steps(self, first: Value, stop: Value) -> Value:
        """The int32 vector first, first + 1, ..., stop - 1."""

    @abc.abstractmethod
    def gather(self, x: Value, index: Value, axis: int) -> Value:
        """The elements of `x` that `index` picks along `axis`."""

    @abc.abstractmethod
    def weighted(self, x: Value, axis: int, pairs: Sequence[tuple[Value, Value]]) -> Value:
        """Sum over (index, weight) of the elements that `index` picks along `axis`, times `weight`."""

    @abc.abstractmethod
    def product(self, x: Value, axis: int, weights: Value) -> Value:
        """`x` times the matrix `weights` [out, in] along `axis`."""

    @abc.abstractmethod
    def row_sums(self, weights: Value) -> Value:
        """[out, in] -> [out, 1]"""

    @abc.abstractmethod
    def choose(self, keep: Value, x: Value, other: float) -> Value:
        """`x` where `keep`, which broadcasts to it, is 1, and `other` where that is 0."""

    def integer(self, number: Computed) -> Value:
        """A whole number as int32."""
        found: Value = self.builder.cast(number.value, DataType.INT32)
        return found

    def shaped(self, number: Computed, shape: Sequence[int]) -> Value:
        """A number's value reshaped."""
        found: Value = self.builder.reshape(number.value, list(shape))
        return found


class TFLiteAxisOps(AxisOps):
    """`AxisOps` of TFLite's operators."""

    builder: TFLite

    def number(self, value: Value) -> Computed:
        return Computed(self.builder, self.builder.cast(value, DataType.FLOAT))

    def element(self, value: Value, position: int) -> Value:
        return self.builder.op("SLICE", value, self.builder.i32([position]), self.builder.i32([1]))

    def size(self, x: Value, axis: int) -> Value:
        return dim_value(self.builder, x, axis)

    def steps(self, first: Value, stop: Value) -> Value:
        ends = (self.builder.reshape(end, []) for end in (first, stop))
        return self.builder.op("RANGE", *ends, self.builder.i32(1))

    def gather(self, x: Value, index: Value, axis: int) -> Value:
        return self.builder.op("GATHER", x, index, axis=axis, batch_dims=0)

    def weighted(self, x: Value, axis: int, pairs: Sequence[tuple[Value, Value]]) -> Value:
        return weighted_gathers(self.builder, x, axis, pairs)

    def product(self, x: Value, axis: int, weights: Value) -> Value:
        return product_along(self.builder, x, axis, weights)

    def row_sums(self, weights: Value) -> Value:
        return self.builder.op("SUM", weights, self.builder.i32([1]), keep_dims=True)

    def choose(self, keep: Value, x: Value, other: float) -> Value:
        t = self.builder
        return t.op("SELECT_V2", t.op("GREATER", keep, t.like(0, keep)), x, t.like(other, x))


def resize_computed(node: OpNode, ops: AxisOps) -> Value:
    """The same formulas as operators: coordinates, indices and weights are computed, then gathered along each axis."""
    mode, rank, x = node.attr("mode", "nearest"), node.rank(), node.input(0)
    if mode != "nearest":
        x = ops.builder.cast(x, DataType.FLOAT)
    crops = node.attr("coordinate_transformation_mode", "half_pixel") == "tf_crop_and_resize"
    keep: Computed | None = None
    for position, axis in enumerate(resized_axes(node)):
        if stays(node, position):
            continue
        size, out, scale = _run_time_axis(node, ops, axis, position)
        place = coordinates(
            node,
            ops.number(ops.steps(ops.builder.i32([0]), out)),
            scale,
            ops.number(size),
            ops.number(out),
            _region(node, ops, position) if crops else (np.float32(0), np.float32(1)),
        )
        if crops:
            check_region(node, position)
            within = formula.inside(place, ops.number(size))
            mask = type(within)(within.t, ops.shaped(within, [*[1] * axis, -1, *[1] * (rank - 1 - axis)]))
            keep = mask if keep is None else keep * mask
        x = _along_computed(node, ops, x, axis, place, ops.number(size), scale)
    return x if keep is None else ops.choose(keep.value, x, float(node.attr("extrapolation_value", 0.0)))


def stays(node: OpNode, position: int) -> bool:
    """True where the axis at `position` of scales or sizes is known to keep its elements as they are."""
    if node.attr("coordinate_transformation_mode", "half_pixel") == "tf_crop_and_resize":
        return False
    if not is_given(node, 3):
        scales = node.const(2)
        return scales is not None and float(scales[position]) == 1.0
    axis = resized_axes(node)[position]
    size, out = node.dims()[axis], (node.output_dims() or node.dims())[axis]
    exact = node.attr("keep_aspect_ratio_policy", "stretch") == "stretch"
    return exact and node.output_dims() is not None and size is not None and size == out


def _region(node: OpNode, ops: AxisOps, position: int) -> tuple[Computed, Computed]:
    count = len(resized_axes(node))
    start, end = (ops.number(ops.element(node.input(1), position + side * count)) for side in (0, 1))
    return start, end


def _run_time_axis(node: OpNode, ops: AxisOps, axis: int, position: int) -> tuple[Value, Value, Computed]:
    """Input size, output size (one-element int32 vectors) and scale."""
    size = ops.size(node.input(0), axis)
    if not is_given(node, 3):
        scale = ops.number(ops.element(node.input(2), position))
        return size, ops.integer(formula.floor(ops.number(size) * scale)), scale
    wanted = ops.element(node.input(3), position)
    policy = node.attr("keep_aspect_ratio_policy", "stretch")
    if policy == "stretch":
        return size, ops.builder.cast(wanted, DataType.INT32), ops.number(wanted) / ops.number(size)
    common: formula.Number = None
    for index, other in enumerate(resized_axes(node)):
        ratio = ops.number(ops.element(node.input(3), index)) / ops.number(ops.size(node.input(0), other))
        if common is None:
            common = ratio
        else:
            common = formula.least(common, ratio) if policy == "not_larger" else formula.most(common, ratio)
    return size, ops.integer(formula.floor(ops.number(size) * common + 0.5)), common


def _along_computed(
    node: OpNode, ops: AxisOps, x: Value, axis: int, place: Computed, size: Computed, scale: Computed
) -> Value:
    """`x` interpolated along one axis at the coordinates `place`."""
    mode, rank = node.attr("mode", "nearest"), node.rank()
    exclude, a = bool(node.attr("exclude_outside", 0)), float(node.attr("cubic_coeff_a", -0.75))
    if mode == "nearest":
        found = ops.gather(x, ops.integer(nearest_index(node, place, size)), axis)
    elif node.attr("antialias", 0):
        found = _antialiased(ops, x, axis, place, size, scale, mode, a, exclude_outside=exclude)
    else:
        linear = mode == "linear"
        taps = (
            formula.linear_taps(place, size)
            if linear
            else formula.cubic_taps(place, size, a, exclude_outside=exclude)
        )
        line = [-1, *[1] * (rank - 1 - axis)]
        found = ops.weighted(
            x, axis, [(ops.integer(index), ops.shaped(weight, line)) for index, weight in taps]
        )
    before = dims(x) or (None,) * rank
    refine(found, None, tuple(None if index == axis else dim for index, dim in enumerate(before)))
    return found


def _antialiased(
    ops: AxisOps,
    x: Value,
    axis: int,
    place: Computed,
    size: Computed,
    scale: Computed,
    mode: str,
    a: float,
    *,
    exclude_outside: bool,
) -> Value:
    """The matrix of all weights, over the axis with its border repeated as far as a kernel can reach."""
    shrink = formula.least(scale, np.float32(1))
    reach = formula.ceil(np.float32(1 if mode == "linear" else 2) / shrink)
    element = ops.number(ops.steps(ops.integer(0 - reach), ops.integer(size + reach)))
    rows = type(place)(place.t, ops.shaped(place, [-1, 1]))
    distance = formula.absolute((element - rows) * shrink)
    weights = formula.linear_kernel(distance) if mode == "linear" else formula.cubic_kernel(distance, a)
    if exclude_outside:
        weights = weights * formula.inside(element, size)
    total = type(place)(place.t, ops.row_sums(weights.value))
    bordered = formula.clip(element, np.float32(0), size - 1)
    return ops.product(ops.gather(x, ops.integer(bordered), axis), axis, (weights / total).value)


def product_along(t: TFLite, x: Value, axis: int, weights: Value) -> Value:
    """`x` times the matrix `weights` [out, in] along `axis`."""
    rank = len(dims(x) or ())
    order = [*(index for index in range(rank) if index != axis), axis]
    y = t.op(
        "FULLY_CONNECTED",
        t.transpose(x, order),
        weights,
        None,
        keep_num_dims=True,
        fused_activation_function="NONE",
        weights_format="DEFAULT",
        asymmetric_quantize_inputs=False,
    )
    return t.transpose(y, [order.index(index) for index in range(rank)])
