"""Transposed convolutions as ordinary ones, one for each phase of the stride.

Output element q * stride + r is the sum over m of x[m] * w[(q - m) * stride + r + front], so phase r is a convolution whose taps
are every stride-th of the kernel, and the phases are interleaved.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from graphrewrite.ir import Array, Value, constant_array, static_dims
from graphrewrite.registry import OpNode

from .conv import conv_2d
from .spread import Spread
from .views import crop, dim_value, known_dim, product, reshape_to
from .window import Axis

if TYPE_CHECKING:
    from graphrewrite.targets.tflite.builder import TFLite

_SEPARATE_PHASES = 16
"""Up to this many phases one convolution each is as fast as any form (1.1 against 3.1 ms at stride 2, 7.7 against 6.8 at 4);
above it the operators become too many, and the input is repeated for one convolution of all phases."""
_DENSE_CHANNELS = 64
"""Fewer channels than this leave the matrix products too small to pay for the interleaving."""


def phases_pay(x: Value, w: Value, axes: list[Spread]) -> bool:
    """True where convolutions by phase beat TRANSPOSE_CONV, which XNNPACK computes at less than half of CONV_2D's rate."""
    known, weights = static_dims(x), static_dims(w)
    if known is None or weights is None or constant_array(w) is None:
        return False
    square = all(axis.stride == 2 and axis.taps > 2 for axis in axes)
    return square and min(weights[:2]) >= _DENSE_CHANNELS


def dense_phases(node: OpNode, t: TFLite, x: Value, w: Value, bias: Value, axes: list[Spread]) -> Value:
    """x [N, H, W, I], constant w [I, O, kh, kw]; as `phases`, each phase with its own taps only: no product with a zero."""
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
            kernel = turn(array[:, :, picks[0], :][:, :, :, picks[1]], 1)
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


def phases(node: OpNode, t: TFLite, x: Value, w: Value, bias: Value, group: int, axes: list[Spread]) -> Value:
    """Grouped: x [N, H, W, C], constant w [C, O/group, kh, kw]."""
    array = constant_array(w)
    assert array is not None
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
    return turn(taps, group)


def turn(w: Array, group: int) -> Array:
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
