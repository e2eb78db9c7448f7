"""ConvTranspose.

TRANSPOSE_CONV computes the full result or, as SAME, one that is cut evenly; any other pads are a SLICE of the full result.
It has no groups: a grouped transposed convolution is the sum of what each input element spreads, which seen from the
output is an ordinary grouped convolution for every phase of the stride. So one (depthwise) convolution a phase and one
interleaving of the phases do it, whatever the number of channels.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from graphrewrite.ir import Value, constant_array, dims, static_dims
from graphrewrite.registry import OpNode, lowering

from .conv import conv_2d, kernel_shape, spatial_count, sum_over_depth
from .conv_transpose_phases import dense_phases, phases, phases_pay, turn
from .spread import UNIT, Spread, resolved_axis
from .views import (
    crop,
    dim_value,
    insert_axis,
    known_dim,
    pad_zeros,
    remove_axis,
    zeros_between,
)
from .window import Axis, spatial_attributes

if TYPE_CHECKING:
    from graphrewrite.targets.tflite.builder import TFLite


@lowering("tflite", "ConvTranspose", note="at most three spatial dimensions")
def conv_transpose(node: OpNode, t: TFLite) -> Value:
    """Dilations become zeros between the weights; output padding beyond the full result becomes zeros behind them."""
    count = spatial_count(node, "TFLite")
    x, w = node.input(0), node.input(1)
    group = node.attr("group", 1)
    kernel = kernel_shape(node, count)
    _, dilations, _ = spatial_attributes(node, count)
    w = _dilate(t, w, kernel, dilations)
    axes = [resolved_axis(node, i, (kernel[i] - 1) * dilations[i] + 1, count) for i in range(count)]
    longer = [max(-axis.cut, 0) for axis in axes]
    w = _grow(t, w, [(0, amount) for amount in longer])
    axes = [
        dataclasses.replace(axis, taps=axis.taps + more, cut=axis.cut + more)
        for axis, more in zip(axes, longer)
    ]
    per_group = node.dims(1)[1]
    if not isinstance(per_group, int):
        node.refuse("the number of output channels is known only at run time", "fix it with --shape")
    bias = node.input(2) if node.has(2) else t.like([0] * (per_group * group), x)
    x = t.to_last(x)
    if count == 1:
        x, w, axes = insert_axis(t, x, 1), insert_axis(t, w, 2), [UNIT, *axes]
    if count == 3:
        if group > 1:
            return t.to_first(_zeros_inserted(node, t, x, w, bias, group, axes))
        return t.to_first(_keep(t, _full_3d(t, x, w, bias, axes), axes))
    if group > 1 and constant_array(w) is None:
        y = _zeros_inserted(node, t, x, w, bias, group, axes)
    elif group > 1:
        y = phases(node, t, x, w, bias, group, axes)
    elif phases_pay(x, w, axes):
        y = dense_phases(node, t, x, w, bias, axes)
    else:
        y = _plain(t, x, w, bias, axes)
    return t.to_first(remove_axis(t, y, 1) if count == 1 else y)


def _dilate(t: TFLite, w: Value, kernel: list[int], dilations: list[int]) -> Value:
    """w [I, O, k...] with zeros between its taps; constants are spread now."""
    if all(dilation == 1 or taps == 1 for taps, dilation in zip(kernel, dilations)):
        return w
    array = constant_array(w)
    if array is not None:
        extents = [(taps - 1) * dilation + 1 for taps, dilation in zip(kernel, dilations)]
        spread = np.zeros([*array.shape[:2], *extents], array.dtype)
        spread[tuple([slice(None)] * 2 + [slice(None, None, step) for step in dilations])] = array
        return t.rewriter.constant(spread)
    for axis, (taps, dilation) in enumerate(zip(kernel, dilations), start=2):
        if taps > 1 and dilation > 1:
            w = zeros_between(t, w, axis, dilation)
    return w


def _grow(t: TFLite, w: Value, amounts: list[tuple[int, int]]) -> Value:
    """w [I, O, k...] with zeros around its taps; constants are padded now."""
    if not any(any(amount) for amount in amounts):
        return w
    array = constant_array(w)
    if array is not None:
        return t.rewriter.constant(np.pad(array, [(0, 0), (0, 0), *amounts]))
    return pad_zeros(t, w, dict(enumerate(amounts, start=2)))


def _keep(t: TFLite, full: Value, axes: list[Spread]) -> Value:
    return crop(t, full, {index: (axis.front, axis.cut) for index, axis in enumerate(axes, start=1)})


def _plain(t: TFLite, x: Value, w: Value, bias: Value, axes: list[Spread]) -> Value:
    """x [N, H, W, I], w [I, O, kh, kw]; no groups."""
    known = static_dims(x) is not None
    same = known and all(_is_same(axis) for axis in axes) and any(axis.front or axis.cut for axis in axes)
    out = (dims(bias) or (None,))[0]
    assert isinstance(out, int)
    sizes = [
        _wanted(t, x, index, axis, axis.out if same else None) for index, axis in enumerate(axes, start=1)
    ]
    y = t.op(
        "TRANSPOSE_CONV",
        _shape(t, [dim_value(t, x, 0), *sizes, out]),
        t.transpose(w, [1, 2, 3, 0]),
        x,
        bias,
        padding="SAME" if same else "VALID",
        stride_h=axes[0].stride,
        stride_w=axes[1].stride,
        fused_activation_function="NONE",
    )
    return y if same else _keep(t, y, axes)


def _is_same(axis: Spread) -> bool:
    """True where TFLite's SAME cuts the full result as ONNX wants."""
    if axis.size is None or axis.out is None or axis.cut < 0 or -(-axis.out // axis.stride) != axis.size:
        return False
    return axis.front == max((axis.size - 1) * axis.stride + axis.taps - axis.out, 0) // 2


def _wanted(t: TFLite, x: Value, index: int, axis: Spread, out: int | None) -> int | Value:
    """`out`, or the size of the full result."""
    if out is not None:
        return out
    if axis.size is not None:
        return (axis.size - 1) * axis.stride + axis.taps
    size = dim_value(t, x, index)
    return t.op("ADD", t.op("MUL", size, t.i32([axis.stride])), t.i32([axis.taps - axis.stride]))


def _shape(t: TFLite, sizes: list[int | Value]) -> Value:
    numbers = [known_dim(size) if isinstance(size, Value) else size for size in sizes]
    if all(isinstance(number, int) for number in numbers):
        return t.i32([number for number in numbers if isinstance(number, int)])
    parts = [t.i32([size]) if isinstance(size, int) else size for size in sizes]
    return t.op("CONCATENATION", *parts, axis=0)


def _zeros_inserted(
    node: OpNode, t: TFLite, x: Value, w: Value, bias: Value, group: int, axes: list[Spread]
) -> Value:
    """The full definition: zeros between the elements of x [N, spatial..., C], then a convolution with the kernel reversed."""
    windows = []
    for index, axis in enumerate(axes, start=1):
        x = zeros_between(t, x, index, axis.stride) if axis.stride > 1 else x
        before, behind = axis.taps - 1 - axis.front, axis.taps - 1 - axis.cut
        x = crop(t, x, {index: (max(-before, 0), max(-behind, 0))})
        size = None
        if axis.size is not None:
            size = (axis.size - 1) * axis.stride + 1 - max(-before, 0) - max(-behind, 0)
        windows.append(Axis(size, axis.taps, 1, 1, max(before, 0), max(behind, 0), axis.out))
    array = constant_array(w)
    if array is not None:
        reverse = (slice(None), slice(None), *[slice(None, None, -1)] * len(axes))
        turned = t.rewriter.constant(turn(array[reverse], group))
    else:
        turned = _turn_run_time(node, t, w, group, len(axes))
    if len(axes) == 2:
        return conv_2d(node, t, x, turned, bias, group, windows)
    return sum_over_depth(node, t, x, turned, bias, group, windows)


def _turn_run_time(node: OpNode, t: TFLite, w: Value, group: int, count: int) -> Value:
    known = static_dims(w)
    if known is None:
        node.refuse("the weights' shape is known only at run time", "fix it with --shape")
    channels, per_group, *taps = known
    for axis in range(
        2, 2 + count
    ):  # one by one: REVERSE_V2 takes neighbouring axes only, and a layout may part them
        w = t.op("REVERSE_V2", w, t.i32([axis]))
    w = t.reshape(w, [group, channels // group, per_group, *taps])
    w = t.transpose(w, [0, 2, 1, *range(3, 3 + count)])
    return t.reshape(w, [group * per_group, channels // group, *taps])


def _full_3d(t: TFLite, x: Value, w: Value, bias: Value, axes: list[Spread]) -> Value:
    """x [N, D, H, W, I], w [I, O, kd, kh, kw]; no groups."""
    out = (dims(bias) or (None,))[0]
    assert isinstance(out, int)
    sizes = [_wanted(t, x, index, axis, None) for index, axis in enumerate(axes, start=1)]
    return t.op(
        "CONV_3D_TRANSPOSE",
        _shape(t, [dim_value(t, x, 0), *sizes, out]),
        t.transpose(w, [2, 3, 4, 1, 0]),
        x,
        bias,
        padding="VALID",
        stride_d=axes[0].stride,
        stride_h=axes[1].stride,
        stride_w=axes[2].stride,
        dilation_d_factor=1,
        dilation_h_factor=1,
        dilation_w_factor=1,
        fused_activation_function="NONE",
    )
