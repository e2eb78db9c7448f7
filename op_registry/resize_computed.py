"""Resize whose sizes are known only at run time: the formulas of `interpolation` as operators of the graph."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from graphrewrite.ir import DataType, Value, dims, refine
from graphrewrite.registry import OpNode

from . import interpolation as formula
from .resize_attributes import check_region, coordinates, is_given, nearest_index, resized_axes
from .views import dim_value, weighted_gathers

if TYPE_CHECKING:
    from graphrewrite.targets.tflite.builder import TFLite


def resize_computed(node: OpNode, t: TFLite) -> Value:
    """The same formulas as operators: coordinates, indices and weights are computed, then gathered along each axis."""
    mode, rank, x = node.attr("mode", "nearest"), node.rank(), node.input(0)
    if mode != "nearest":
        x = t.cast(x, DataType.FLOAT)
    crops = node.attr("coordinate_transformation_mode", "half_pixel") == "tf_crop_and_resize"
    keep: Value | None = None
    for position, axis in enumerate(resized_axes(node)):
        if stays(node, position):
            continue
        size, out, scale = _run_time_axis(node, t, axis, position)
        steps = t.op("RANGE", t.i32(0), t.reshape(out, []), t.i32(1))
        place = coordinates(
            node,
            _number(t, steps),
            scale,
            _number(t, size),
            _number(t, out),
            _region(node, t, position) if crops else (np.float32(0), np.float32(1)),
        )
        if crops:
            check_region(node, position)
            within = formula.inside(place, _number(t, size)).value
            mask = t.reshape(within, [*[1] * axis, -1, *[1] * (rank - 1 - axis)])
            keep = mask if keep is None else t.op("MUL", keep, mask, fused_activation_function="NONE")
        x = _along_computed(node, t, x, axis, place, _number(t, size), scale)
    if keep is not None:
        chosen = t.op("GREATER", keep, t.like(0, keep))
        x = t.op("SELECT_V2", chosen, x, t.like(node.attr("extrapolation_value", 0.0), x))
    return x


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


def _number(t: TFLite, value: Value) -> formula.Computed:
    return formula.Computed(t, t.cast(value, DataType.FLOAT))


def _element(t: TFLite, node: OpNode, operand: int, position: int) -> Value:
    return t.op("SLICE", node.input(operand), t.i32([position]), t.i32([1]))


def _region(node: OpNode, t: TFLite, position: int) -> tuple[formula.Computed, formula.Computed]:
    count = len(resized_axes(node))
    start, end = (_element(t, node, 1, position + side * count) for side in (0, 1))
    return _number(t, start), _number(t, end)


def _run_time_axis(
    node: OpNode, t: TFLite, axis: int, position: int
) -> tuple[Value, Value, formula.Computed]:
    """Input size, output size (one-element int32 vectors) and scale."""
    size = dim_value(t, node.input(0), axis)
    if not is_given(node, 3):
        scale = _number(t, _element(t, node, 2, position))
        out = formula.floor(_number(t, size) * scale)
        return size, t.cast(out.value, DataType.INT32), scale
    wanted = _element(t, node, 3, position)
    policy = node.attr("keep_aspect_ratio_policy", "stretch")
    if policy == "stretch":
        return size, t.cast(wanted, DataType.INT32), _number(t, wanted) / _number(t, size)
    common: formula.Number = None
    for index, other in enumerate(resized_axes(node)):
        ratio = _number(t, _element(t, node, 3, index)) / _number(t, dim_value(t, node.input(0), other))
        if common is None:
            common = ratio
        else:
            common = formula.least(common, ratio) if policy == "not_larger" else formula.most(common, ratio)
    out = formula.floor(_number(t, size) * common + 0.5)
    return size, t.cast(out.value, DataType.INT32), common


def _along_computed(
    node: OpNode,
    t: TFLite,
    x: Value,
    axis: int,
    place: formula.Computed,
    size: formula.Computed,
    scale: formula.Computed,
) -> Value:
    """`x` interpolated along one axis at the coordinates `place`."""
    mode, rank = node.attr("mode", "nearest"), node.rank()
    exclude, a = bool(node.attr("exclude_outside", 0)), float(node.attr("cubic_coeff_a", -0.75))
    if mode == "nearest":
        index = nearest_index(node, place, size)
        found = t.op("GATHER", x, _index(t, index), axis=axis, batch_dims=0)
    elif node.attr("antialias", 0):
        found = _antialiased(t, x, axis, place, size, scale, mode, a, exclude_outside=exclude)
    else:
        linear = mode == "linear"
        taps = (
            formula.linear_taps(place, size)
            if linear
            else formula.cubic_taps(place, size, a, exclude_outside=exclude)
        )
        pairs = [
            (_index(t, index), t.reshape(weight.value, [-1, *[1] * (rank - 1 - axis)]))
            for index, weight in taps
        ]
        found = weighted_gathers(t, x, axis, pairs)
    before = dims(x) or (None,) * rank
    refine(found, None, tuple(None if index == axis else dim for index, dim in enumerate(before)))
    return found


def _index(t: TFLite, number: formula.Computed) -> Value:
    return t.cast(number.value, DataType.INT32)


def _antialiased(
    t: TFLite,
    x: Value,
    axis: int,
    place: formula.Computed,
    size: formula.Computed,
    scale: formula.Computed,
    mode: str,
    a: float,
    *,
    exclude_outside: bool,
) -> Value:
    """The matrix of all weights, over the axis with its border repeated as far as a kernel can reach."""
    shrink = formula.least(scale, np.float32(1))
    reach = formula.ceil(np.float32(1 if mode == "linear" else 2) / shrink)
    ends = [_index(t, number) for number in (0 - reach, size + reach)]
    steps = t.op("RANGE", *(t.reshape(end, []) for end in ends), t.i32(1))
    element = _number(t, steps)
    rows = formula.Computed(t, t.reshape(place.value, [-1, 1]))
    distance = formula.absolute((element - rows) * shrink)
    weights = formula.linear_kernel(distance) if mode == "linear" else formula.cubic_kernel(distance, a)
    if exclude_outside:
        weights = weights * formula.inside(element, size)
    total = t.op("SUM", weights.value, t.i32([1]), keep_dims=True)
    shares = weights / formula.Computed(t, total)
    bordered = formula.clip(element, np.float32(0), size - 1)
    return product_along(
        t, t.op("GATHER", x, _index(t, bordered), axis=axis, batch_dims=0), axis, shares.value
    )


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
