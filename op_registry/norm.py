"""Normalisations: batch, instance, layer, group, root mean square, local response."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from graphrewrite.ir import Array, DataType, Value, dims
from graphrewrite.registry import OpNode, lowering

from .views import dim_value, merge, reshape_to

if TYPE_CHECKING:
    from graphrewrite.targets.tflite.builder import TFLite


def _mul(t: TFLite, a: Value, b: Value) -> Value:
    return t.op("MUL", a, b, fused_activation_function="NONE")


def _add(t: TFLite, a: Value, b: Value) -> Value:
    return t.op("ADD", a, b, fused_activation_function="NONE")


def _sub(t: TFLite, a: Value, b: Value) -> Value:
    return t.op("SUB", a, b, fused_activation_function="NONE")


def _single(t: TFLite, value: Value) -> Value:
    """float16 as float32, so that a normalisation is rounded once, at its end."""
    return t.cast(value, DataType.FLOAT) if value.dtype in (DataType.FLOAT16, DataType.BFLOAT16) else value


def _mean(t: TFLite, x: Value, axes: Sequence[int]) -> Value:
    return t.op("MEAN", x, t.i32(list(axes)), keep_dims=True)


def _inverse_deviation(t: TFLite, variance: Value, epsilon: float) -> Value:
    return t.op("RSQRT", _add(t, variance, t.like(epsilon, variance)))


def _centred(t: TFLite, x: Value, axes: Sequence[int], epsilon: float) -> tuple[Value, Value, Value]:
    """(x - mean) / sqrt(variance + epsilon), the mean, and 1 / sqrt(variance + epsilon), over `axes`."""
    mean = _mean(t, x, axes)
    difference = _sub(t, x, mean)
    inverse = _inverse_deviation(t, _mean(t, _mul(t, difference, difference), axes), epsilon)
    return _mul(t, difference, inverse), mean, inverse


def _along_channels(t: TFLite, value: Value, rank: int) -> Value:
    """[C] as [1, C, 1, ...]."""
    return t.reshape(value, [1, -1, *[1] * (rank - 2)] if rank > 1 else [-1])


@lowering("tflite", "BatchNormalization")
def batch_normalization(node: OpNode, t: TFLite) -> list[Value | None]:
    """One factor and one term a channel; from the batch itself where training_mode is 1."""
    rank, epsilon, dtype = node.rank(), node.attr("epsilon"), node.dtype()
    x = _single(t, node.input(0))
    if node.attr("training_mode", 0):
        return _batch_training(node, t, x, rank, epsilon)
    known = [node.const(index) for index in range(1, 5)]
    scale, bias, mean, variance = (_single(t, node.input(index)) for index in range(1, 5))
    if all(array is not None for array in known):
        s, b, m, v = (array.astype(np.float64) for array in known if array is not None)
        folded: Array = s / np.sqrt(v + epsilon)
        factor, term = t.like(folded, x), t.like(b - m * folded, x)
    else:
        factor = _mul(t, scale, _inverse_deviation(t, variance, epsilon))
        term = _sub(t, bias, _mul(t, mean, factor))
    y = _add(t, _mul(t, x, _along_channels(t, factor, rank)), _along_channels(t, term, rank))
    return [t.cast(y, dtype), *[None] * (len(node.outputs) - 1)]


def _batch_training(node: OpNode, t: TFLite, x: Value, rank: int, epsilon: float) -> list[Value | None]:
    axes = [axis for axis in range(rank) if axis != 1]
    normal, mean, _ = _centred(t, x, axes, epsilon)
    scale, bias = (_along_channels(t, _single(t, node.input(index)), rank) for index in (1, 2))
    y = _add(t, _mul(t, normal, scale), bias)
    results: list[Value | None] = [t.cast(y, node.dtype())]
    momentum = node.attr("momentum")
    difference = _sub(t, x, mean)
    for index, current in ((1, mean), (2, _mean(t, _mul(t, difference, difference), axes))):
        if index >= len(node.outputs):
            break
        if not node.wants(index):
            results.append(None)
            continue
        running = _single(t, node.input(index + 2))
        fresh = t.reshape(current, [-1])
        kept = _mul(t, running, t.like(momentum, running))
        results.append(
            t.cast(_add(t, kept, _mul(t, fresh, t.like(1 - momentum, fresh))), node.dtype(index + 2))
        )
    return results


@lowering("tflite", "InstanceNormalization")
def instance_normalization(node: OpNode, t: TFLite) -> Value:
    rank = node.rank()
    difference, inverse = _deviation(t, _single(t, node.input(0)), range(2, rank), node.attr("epsilon"))
    scale, bias = (_single(t, node.input(index)) for index in (1, 2))
    return t.cast(_by_channel(t, difference, inverse, scale, bias, rank), node.dtype())


@lowering("tflite", "LayerNormalization")
def layer_normalization(node: OpNode, t: TFLite) -> list[Value | None]:
    rank, dtype = node.rank(), node.dtype()
    axes = range(node.axis(default=-1), rank)
    normal, mean, inverse = _centred(t, _single(t, node.input(0)), axes, node.attr("epsilon"))
    y = _mul(t, normal, _single(t, node.input(1)))
    if node.has(2):
        y = _add(t, y, _single(t, node.input(2)))
    stash = DataType(node.attr("stash_type", 1))
    results: list[Value | None] = [t.cast(y, dtype)]
    for index, value in ((1, mean), (2, inverse)):
        if index < len(node.outputs):
            results.append(t.cast(value, stash) if node.wants(index) else None)
    return results


@lowering("tflite", "RMSNormalization")
def rms_normalization(node: OpNode, t: TFLite) -> Value:
    rank, x = node.rank(), _single(t, node.input(0))
    square = _mean(t, _mul(t, x, x), range(node.axis(default=-1), rank))
    normal = _mul(t, x, _inverse_deviation(t, square, node.attr("epsilon")))
    return t.cast(_mul(t, normal, _single(t, node.input(1))), node.dtype())


@lowering("tflite", "GroupNormalization")
def group_normalization(node: OpNode, t: TFLite) -> Value:
    """Statistics of the channels are averaged in groups, so that no channel leaves its place."""
    rank, groups = node.rank(), node.attr("num_groups")
    x, channels = _single(t, node.input(0)), node.dims(0)[1]
    scale, bias = (_single(t, node.input(index)) for index in (1, 2))
    if rank < 3 or not isinstance(channels, int):
        return _grouped_rows(node, t, x, scale, bias)
    if groups in (1, channels):
        difference, inverse = _deviation(t, x, range(1 if groups == 1 else 2, rank), node.attr("epsilon"))
    else:
        difference, inverse = _deviation_in_groups(t, x, channels, groups, node.attr("epsilon"))
    return t.cast(_by_channel(t, difference, inverse, scale, bias, rank), node.dtype())


def _deviation(t: TFLite, x: Value, axes: Sequence[int], epsilon: float) -> tuple[Value, Value]:
    """x - mean and 1 / sqrt(variance + epsilon), over `axes`."""
    difference = _sub(t, x, _mean(t, x, axes))
    return difference, _inverse_deviation(t, _mean(t, _mul(t, difference, difference), axes), epsilon)


def _by_channel(t: TFLite, difference: Value, inverse: Value, scale: Value, bias: Value, rank: int) -> Value:
    """difference * inverse * scale + bias, where `inverse` is no more than one number a channel: scale meets that."""
    factor = _mul(t, inverse, _along_channels(t, scale, rank))
    return _add(t, _mul(t, difference, factor), _along_channels(t, bias, rank))


_DIRECT_CHANNELS = 128
"""Up to this many channels the mean of each one's group is one product with a [C, C] matrix, of 64 KB at most."""


def _deviation_in_groups(
    t: TFLite, x: Value, channels: int, groups: int, epsilon: float
) -> tuple[Value, Value]:
    """x - mean and 1 / sqrt(variance + epsilon), over groups of channels."""
    axes = range(2, len(dims(x) or ()))
    share = groups / channels
    member = np.repeat(np.eye(groups), channels // groups, axis=1)
    average, spread = t.like(member * share, x), t.like(member.T, x)

    def of_channels(value: Value) -> Value:
        return t.to_last(_mean(t, value, axes))

    mean = of_channels(x)
    if channels <= _DIRECT_CHANNELS:
        mean = t.op("FULLY_CONNECTED", mean, t.like(member.T @ member * share, x), None, keep_num_dims=True)
    else:
        mean = t.op("FULLY_CONNECTED", mean, average, None, keep_num_dims=True)
        mean = t.op("FULLY_CONNECTED", mean, spread, None, keep_num_dims=True)
    difference = _sub(t, x, t.to_first(mean))
    variance = of_channels(_mul(t, difference, difference))
    shifted = t.op(
        "FULLY_CONNECTED", variance, average, t.like(np.full(groups, epsilon), x), keep_num_dims=True
    )
    inverse = t.op("FULLY_CONNECTED", t.op("RSQRT", shifted), spread, None, keep_num_dims=True)
    return difference, t.to_first(inverse)


def _grouped_rows(node: OpNode, t: TFLite, x: Value, scale: Value, bias: Value) -> Value:
    """Each group of channels as one row, then scale and bias by channel."""
    rank, groups = node.rank(), node.attr("num_groups")
    sizes = [dim_value(t, x, axis) for axis in range(rank)]
    flat = merge(t, x, [[0], list(range(1, rank))])
    rows = reshape_to(t, flat, [sizes[0], groups, _share(node, t, flat, groups)])
    normal, _, _ = _centred(t, rows, [2], node.attr("epsilon"))
    y = _mul(t, reshape_to(t, normal, list(sizes)), _along_channels(t, scale, rank))
    return t.cast(_add(t, y, _along_channels(t, bias, rank)), node.dtype())


def _share(node: OpNode, t: TFLite, flat: Value, groups: int) -> int | Value:
    size = (dims(flat) or (None, None))[1]
    if isinstance(size, int):
        return size // groups
    return t.op("FLOOR_DIV", dim_value(t, flat, 1), t.i32([groups]))


@lowering("tflite", "LRN")
def lrn(node: OpNode, t: TFLite) -> Value:
    """x / (bias + alpha / size * sum of squares over neighbouring channels)^beta.

    The mean over a window of channels, zeros included, is alpha's sum divided by size: an average pool along the channels.
    """
    x, size, rank = node.input(0), node.attr("size"), node.rank()
    squares = _mul(t, x, x)
    sizes = [dim_value(t, x, axis) for axis in range(rank)]
    if rank == 2:
        rows = reshape_to(t, squares, [*sizes, 1, 1])
    else:
        merged = merge(t, squares, [[0], [1], list(range(2, rank))])
        rows = reshape_to(t, merged, [sizes[0], sizes[1], dim_value(t, merged, 2), 1])
    before = (size - 1) // 2
    rows = t.op("PAD", rows, t.i32([[0, 0], [before, size - 1 - before], [0, 0], [0, 0]]))
    mean = t.op(
        "AVERAGE_POOL_2D",
        rows,
        padding="VALID",
        stride_h=1,
        stride_w=1,
        filter_height=size,
        filter_width=1,
        fused_activation_function="NONE",
    )
    scaled = _mul(t, reshape_to(t, mean, list(sizes)), t.like(node.attr("alpha"), x))
    base = _add(t, scaled, t.like(node.attr("bias"), x))
    power = t.op("POW", base, t.like(node.attr("beta"), x))
    return t.op("DIV", x, power, fused_activation_function="NONE")
