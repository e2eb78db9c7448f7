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

from graphrewrite.ir import Array, Value, constant_array, dims, static_dims
from graphrewrite.registry import OpNode, lowering

from .conv import conv_2d, kernel_shape, spatial_count, sum_over_depth
from .views import (
    crop,
    dim_value,
    insert_axis,
    known_dim,
    pad_zeros,
    product,
    remove_axis,
    reshape_to,
    zeros_between,
)
from .window import Axis, spatial_attributes

if TYPE_CHECKING:
    from graphrewrite.targets.tflite.builder import TFLite

_SEPARATE_PHASES = 16
"""Up to this many phases one convolution each is as fast as any form (1.1 against 3.1 ms at stride 2, 7.7 against 6.8 at 4);
above it the operators become too many, and the input is repeated for one convolution of all phases."""


@dataclasses.dataclass(frozen=True)
class Spread:
    """One spatial axis: `out` elements from `front` on are kept of the full result."""

    size: int | None
    taps: int
    stride: int
    front: int
    out: int | None
    cut: int
    """Elements of the full result that are dropped behind; negative where zeros are added. Needed for unknown sizes."""


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
        x, w, axes = insert_axis(t, x, 1), insert_axis(t, w, 2), [_UNIT, *axes]
    if count == 3:
        if group > 1:
            return t.to_first(_zeros_inserted(node, t, x, w, bias, group, axes))
        return t.to_first(_keep(t, _full_3d(t, x, w, bias, axes), axes))
    if group > 1:
        y = _phases(node, t, x, w, bias, group, axes)
    elif _phases_pay(x, w, axes):
        y = _dense_phases(node, t, x, w, bias, axes)
    else:
        y = _plain(t, x, w, bias, axes)
    return t.to_first(remove_axis(t, y, 1) if count == 1 else y)


_DENSE_CHANNELS = 64
"""Fewer channels than this leave the matrix products too small to pay for the interleaving."""

_UNIT = Spread(1, 1, 1, 0, 1, 0)


def resolved_axis(node: OpNode, index: int, extent: int, count: int) -> Spread:
    """The axis by ONNX's rules for pads, auto_pad, output_padding and output_shape."""
    strides, _, pads = spatial_attributes(node, count)
    stride = strides[index]
    extra = (node.attr("output_padding") or [0] * count)[index]
    wanted = node.attr("output_shape")
    auto_pad = node.attr("auto_pad", "NOTSET")
    dim = node.dims(0)[index + 2]
    size = dim if isinstance(dim, int) else None
    front, behind, out = pads[index], pads[index + count], None
    if wanted:
        if size is None:
            node.refuse("output_shape asks for pads that follow from an unknown size", "fix it with --shape")
        out = int(wanted[-count:][index])
        total = max((size - 1) * stride + extra + extent - out, 0)
    elif auto_pad in ("SAME_UPPER", "SAME_LOWER"):
        if extra:
            node.refuse(
                f"auto_pad {auto_pad} with output_padding: ONNX's shape rule and ONNX Runtime disagree on the output's size",
                "write the pads out",
            )
        total = max(extra + extent - stride, 0)  # the result is input size * stride
    elif auto_pad == "VALID":
        total = 0
    else:
        total = -1
    if total >= 0:
        front = total // 2 if auto_pad == "SAME_UPPER" else total - total // 2
        behind = total - front
    if size is not None:
        full = (size - 1) * stride + extent
        out = full + extra - front - behind if out is None else out
        return Spread(size, extent, stride, front, out, full - front - out)
    return Spread(size, extent, stride, front, None, behind - extra)


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


def _phases_pay(x: Value, w: Value, axes: list[Spread]) -> bool:
    """True where convolutions by phase beat TRANSPOSE_CONV, which XNNPACK computes at less than half of CONV_2D's rate."""
    known, weights = static_dims(x), static_dims(w)
    if known is None or weights is None or constant_array(w) is None:
        return False
    square = all(axis.stride == 2 and axis.taps > 2 for axis in axes)
    return square and min(weights[:2]) >= _DENSE_CHANNELS


def _dense_phases(node: OpNode, t: TFLite, x: Value, w: Value, bias: Value, axes: list[Spread]) -> Value:
    """x [N, H, W, I], constant w [I, O, kh, kw]; as `_phases`, each phase with its own taps only: no product with a zero."""
    array = constant_array(w)
    assert array is not None
    parts = []
    over: dict[int, tuple[int, int]] = {}
    for row in range(axes[0].stride):
        for column in range(axes[1].stride):
            picks, windows = [], []
            for index, (axis, r) in enumerate(zip(axes, (row, column)), start=1):
                taps, window, surplus = _own_taps(axis, r)
                picks.append(taps)
                windows.append(window)
                over[index] = (0, surplus)
            kernel = _turn(array[:, :, picks[0], :][:, :, :, picks[1]], 1)
            outside = {i: (max(-v.before, 0), max(-v.after, 0)) for i, v in enumerate(windows, start=1)}
            inside = [_inside(window, sum(outside[i])) for i, window in enumerate(windows, start=1)]
            part = crop(t, x, outside)
            parts.append(conv_2d(node, t, part, t.rewriter.constant(kernel), bias, 1, inside))
    y = t.op("CONCATENATION", *parts, axis=3)
    return crop(t, t.op("DEPTH_TO_SPACE", y, block_size=axes[0].stride), over)


def _inside(window: Axis, cut: int) -> Axis:
    """The window over an axis from which `cut` elements, its negative pads, have been cut."""
    size = None if window.size is None else window.size - cut
    return dataclasses.replace(window, size=size, before=max(window.before, 0), after=max(window.after, 0))


def _own_taps(axis: Spread, phase: int) -> tuple[list[int], Axis, int]:
    """Taps of one phase, the window that they make over the input, and the elements too many at the end of the result."""
    assert axis.size is not None
    reach = axis.taps - axis.stride - axis.front - axis.cut  # output size - input size * stride
    surplus = -(-reach // axis.stride)
    first = (phase + axis.front) % axis.stride
    taps = list(range(first, axis.taps, axis.stride))[::-1]
    high = (taps[0] - phase - axis.front) // axis.stride
    low = (taps[-1] - phase - axis.front) // axis.stride
    window = Axis(axis.size, len(taps), 1, 1, high, surplus - low, axis.size + surplus)
    return taps, window, surplus * axis.stride - reach


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


def _phases(
    node: OpNode, t: TFLite, x: Value, w: Value, bias: Value, group: int, axes: list[Spread]
) -> Value:
    """Grouped: x [N, H, W, C], w [C, O/group, kh, kw].

    Output element q * stride + r is the sum over m of x[m] * w[(q - m) * stride + r + front], so phase r is a convolution
    whose taps are every stride-th of the kernel, and the phases are interleaved.
    """
    array = constant_array(w)
    if array is None:
        return _zeros_inserted(node, t, x, w, bias, group, axes)
    lows = [-((axis.stride - 1 + axis.front) // axis.stride) for axis in axes]
    highs = [max((axis.taps - 1 - axis.front) // axis.stride, low) for axis, low in zip(axes, lows)]
    kernels = [
        _phase_kernel(array, group, axes, lows, highs, (row, column))
        for row in range(axes[0].stride)
        for column in range(axes[1].stride)
    ]
    windows = []
    cuts: dict[int, tuple[int, int]] = {}
    over: dict[int, tuple[int, int]] = {}
    for index, (axis, low, high) in enumerate(zip(axes, lows, highs), start=1):
        reach = axis.taps - axis.stride - axis.front - axis.cut  # output size - input size * stride
        surplus = -(-reach // axis.stride)
        before, behind = high, surplus - low
        cuts[index] = (max(-before, 0), max(-behind, 0))
        over[index] = (0, surplus * axis.stride - reach)
        size = None if axis.size is None else axis.size - sum(cuts[index])
        out = None if axis.size is None else axis.size + surplus
        windows.append(Axis(size, high - low + 1, 1, 1, max(before, 0), max(behind, 0), out))
    x = crop(t, x, cuts)
    y = _convolve(node, t, x, kernels, bias, group, windows)
    return crop(t, _interleave(t, y, axes[0].stride, axes[1].stride), over)


def _phase_kernel(
    w: Array, group: int, axes: list[Spread], lows: list[int], highs: list[int], phase: tuple[int, int]
) -> Array:
    """[O, C/group, taps...] of one phase: the tap for x[q - j] is w[j * stride + r + front], the last j first."""
    picks = []
    for axis, low, high, r in zip(axes, lows, highs, phase):
        wanted = [j * axis.stride + r + axis.front for j in range(high, low - 1, -1)]
        picks.append([index if 0 <= index < axis.taps else axis.taps for index in wanted])
    padded = np.pad(w, [(0, 0), (0, 0), (0, 1), (0, 1)])
    taps = padded[:, :, picks[0], :][:, :, :, picks[1]]
    return _turn(taps, group)


def _turn(w: Array, group: int) -> Array:
    """[C, O/group, taps...] of a transposed convolution as [O, C/group, taps...] of a convolution."""
    channels, per_group, *taps = w.shape
    grouped = w.reshape(group, channels // group, per_group, *taps).swapaxes(1, 2)
    return np.ascontiguousarray(grouped.reshape(group * per_group, channels // group, *taps))


def _convolve(
    node: OpNode,
    t: TFLite,
    x: Value,
    kernels: list[Array],
    bias: Value,
    group: int,
    windows: list[Axis],
) -> Value:
    """All phases of x [N, H, W, C] as [N, H, W, phases * O]."""
    if len(kernels) <= _SEPARATE_PHASES:
        parts = [conv_2d(node, t, x, t.rewriter.constant(kernel), bias, group, windows) for kernel in kernels]
        return parts[0] if len(parts) == 1 else t.op("CONCATENATION", *parts, axis=3)
    count = len(kernels)
    x = t.op("CONCATENATION", *[x] * count, axis=3)
    array = constant_array(bias)
    bias = (
        t.rewriter.constant(np.tile(array, count))
        if array is not None
        else t.op("TILE", bias, t.i32([count]))
    )
    return conv_2d(node, t, x, t.rewriter.constant(np.concatenate(kernels)), bias, group * count, windows)


def _interleave(t: TFLite, y: Value, rows: int, columns: int) -> Value:
    """[N, H, W, rows * columns * O] as [N, H * rows, W * columns, O]."""
    if rows == columns:
        return y if rows == 1 else t.op("DEPTH_TO_SPACE", y, block_size=rows)
    batch, height, width, channels = (dim_value(t, y, axis) for axis in range(4))
    deep = known_dim(channels)
    assert isinstance(deep, int)
    out = deep // (rows * columns)
    if rows == 1:
        return reshape_to(t, y, [batch, height, product(t, width, columns), out])
    y = reshape_to(t, y, [product(t, batch, height), width, rows, columns * out])
    y = t.transpose(y, [0, 2, 1, 3])
    return reshape_to(t, y, [batch, product(t, height, rows), product(t, width, columns), out])


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
        turned = t.rewriter.constant(_turn(array[reverse], group))
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
