"""Core ML's column of the normalisations. MIL has an op for most; what it wants as constants and is computed goes around it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from graphrewrite.ir import DataType, Value, constant_array, is_constant, static_dims
from graphrewrite.registry import OpNode, lowering

if TYPE_CHECKING:
    from graphrewrite.targets.coreml.builder import MIL


def _single(m: MIL, value: Value) -> Value:
    """float16 as float32, so that a normalisation is rounded once, at its end."""
    return m.cast(value, DataType.FLOAT)


def _mean(m: MIL, x: Value, axes: Sequence[int]) -> Value:
    return m.op("reduce_mean", x, axes=list(axes), keep_dims=True)


def _centred(m: MIL, x: Value, axes: Sequence[int]) -> tuple[Value, Value, Value]:
    """x - mean, the mean and the variance over `axes`."""
    mean = _mean(m, x, axes)
    difference = m.op("sub", x, mean)
    return difference, mean, _mean(m, m.op("mul", difference, difference), axes)


def _inverse_deviation(m: MIL, variance: Value, epsilon: float) -> Value:
    return m.op("rsqrt", variance, epsilon=float(epsilon))


def _along_channels(m: MIL, value: Value, rank: int) -> Value:
    """[C] as [1, C, 1, ...]."""
    return m.reshape(value, [1, -1, *[1] * (rank - 2)] if rank > 1 else [-1])


def _affine(m: MIL, x: Value, factor: Value, term: Value) -> Value:
    """x * factor + term, both a number a channel. Core ML's compilers know batch_norm as that."""
    rank = m.rank(x)
    channels = static_dims(factor)
    if 3 <= rank <= 5 and is_constant(factor) and is_constant(term) and channels is not None:
        nothing, one = m.const(np.zeros(channels), DataType.FLOAT), m.const(np.ones(channels), DataType.FLOAT)
        return m.op("batch_norm", x, nothing, one, factor, term, epsilon=0.0)
    scaled = m.op("mul", x, _along_channels(m, factor, rank))
    return m.op("add", scaled, _along_channels(m, term, rank))


@lowering("coreml", "BatchNormalization")
def mil_batch_normalization(node: OpNode, m: MIL) -> list[Value | None]:
    """One factor and one term a channel; from the batch itself where training_mode is 1."""
    epsilon, dtype = float(node.attr("epsilon")), node.dtype()
    x = _single(m, node.input(0))
    if node.attr("training_mode", 0):
        return _batch_training(node, m, x, epsilon)
    known = [node.const(index) for index in range(1, 5)]
    if all(array is not None for array in known):
        s, b, mu, v = (array.astype(np.float64) for array in known if array is not None)
        folded = s / np.sqrt(v + epsilon)
        factor, term = m.const(folded, DataType.FLOAT), m.const(b - mu * folded, DataType.FLOAT)
    else:
        scale, bias, mean, variance = (_single(m, node.input(index)) for index in range(1, 5))
        factor = m.op("mul", _inverse_deviation(m, variance, epsilon), scale)
        term = m.op("sub", bias, m.op("mul", mean, factor))
    return [m.cast(_affine(m, x, factor, term), dtype), *[None] * (len(node.outputs) - 1)]


def _batch_training(node: OpNode, m: MIL, x: Value, epsilon: float) -> list[Value | None]:
    rank, momentum = node.rank(), float(node.attr("momentum"))
    difference, mean, variance = _centred(m, x, [axis for axis in range(rank) if axis != 1])
    scale, bias = (_single(m, node.input(index)) for index in (1, 2))
    normal = m.op("mul", difference, _inverse_deviation(m, variance, epsilon))
    results: list[Value | None] = [m.cast(_affine(m, normal, scale, bias), node.dtype())]
    for index, current in ((1, mean), (2, variance)):
        if index >= len(node.outputs):
            break
        if not node.wants(index):
            results.append(None)
            continue
        running = _single(m, node.input(index + 2))
        kept = m.op("mul", running, m.like(momentum, running))
        fresh = m.op("mul", m.reshape(current, [-1]), m.like(1 - momentum, running))
        results.append(m.cast(m.op("add", kept, fresh), node.dtype(index + 2)))
    return results


@lowering("coreml", "InstanceNormalization")
def mil_instance_normalization(node: OpNode, m: MIL) -> Value:
    """instance_norm takes one or two spatial axes; more are merged."""
    x, rank = _single(m, node.input(0)), node.rank()
    scale, bias = (_single(m, node.input(index)) for index in (1, 2))
    if rank > 4:
        y = _instance_norm(node, m, m.op("reshape", x, _four_axes(m, x)), scale, bias)
        y = m.op("reshape", y, m.shape_of(x))
    else:
        y = _instance_norm(node, m, x, scale, bias)
    return m.cast(y, node.dtype())


def _four_axes(m: MIL, x: Value) -> Value:
    """The shape of `x` with missing axes added behind, and surplus ones merged with the last."""
    rank = m.rank(x)
    known = static_dims(x)
    if known is not None:
        return m.i32([*known[:3], *[1] * (3 - rank), int(np.prod(known[3:]))])
    sizes = [m.dim(x, axis) for axis in range(min(rank, 3))]
    return m.op("concat", *sizes, m.i32([1] * (3 - rank) + [-1]), axis=0)


def _instance_norm(node: OpNode, m: MIL, x: Value, scale: Value, bias: Value) -> Value:
    """With factors that are computed at run time after it."""
    if m.rank(x) < 3:
        node.refuse("it has no spatial dimension to normalise over")
    epsilon = float(node.attr("epsilon"))
    if is_constant(scale) and is_constant(bias):
        return m.op("instance_norm", x, scale, bias, epsilon=epsilon)
    return _affine(m, m.op("instance_norm", x, epsilon=epsilon), scale, bias)


@lowering("coreml", "LayerNormalization")
def mil_layer_normalization(node: OpNode, m: MIL) -> list[Value | None]:
    """layer_norm, or its formula where the mean or the deviation is asked for."""
    rank, epsilon, dtype = node.rank(), float(node.attr("epsilon")), node.dtype()
    x, scale = _single(m, node.input(0)), _single(m, node.input(1))
    bias = _single(m, node.input(2)) if node.has(2) else None
    axes = list(range(node.axis(default=-1), rank))
    if any(node.wants(index) for index in (1, 2)):
        difference, mean, variance = _centred(m, x, axes)
        inverse = _inverse_deviation(m, variance, epsilon)
        y = m.op("mul", m.op("mul", difference, inverse), scale)
        y = y if bias is None else m.op("add", y, bias)
        stash = DataType(node.attr("stash_type", 1))
        extra = [m.cast(value, stash) if node.wants(i) else None for i, value in ((1, mean), (2, inverse))]
        return [m.cast(y, dtype), *extra[: len(node.outputs) - 1]]
    sizes = node.dims()[axes[0] :]
    gamma, beta = _spread(m, scale, sizes), _spread(m, bias, sizes)
    if gamma is not None and (bias is None or beta is not None):
        y = m.op("layer_norm", x, gamma, beta, axes=axes, epsilon=epsilon)
    else:
        y = m.op("mul", m.op("layer_norm", x, axes=axes, epsilon=epsilon), scale)
        y = y if bias is None else m.op("add", y, bias)
    return [m.cast(y, dtype), *[None] * (len(node.outputs) - 1)]


def _spread(m: MIL, value: Value | None, sizes: Sequence[object]) -> Value | None:
    """A constant in the shape of the normalised axes; None where it is no constant, or has axes before these."""
    array = constant_array(value) if value is not None else None
    whole = [size for size in sizes if isinstance(size, int)]
    if array is None or len(whole) < len(sizes) or any(size != 1 for size in array.shape[: -len(whole)]):
        return None
    if array.shape == tuple(whole):
        return value
    return m.const(np.broadcast_to(array.reshape(array.shape[-len(whole) :]), whole), DataType.FLOAT)


@lowering("coreml", "RMSNormalization")
def mil_rms_normalization(node: OpNode, m: MIL) -> Value:
    x = _single(m, node.input(0))
    square = _mean(m, m.op("mul", x, x), range(node.axis(default=-1), node.rank()))
    normal = m.op("mul", x, _inverse_deviation(m, square, node.attr("epsilon")))
    return m.cast(m.op("mul", normal, _single(m, node.input(1))), node.dtype())


@lowering("coreml", "GroupNormalization")
def mil_group_normalization(node: OpNode, m: MIL) -> Value:
    """Each group as one channel of an instance_norm, then factor and term by channel.

    The channels of a group join the first spatial axis rather than all in one: the Neural Engine's axes end at 16384 elements.
    """
    batch, channels, *sizes = node.dims()
    groups = int(node.attr("num_groups"))
    known = [size for size in (channels, *sizes) if isinstance(size, int)]
    if len(known) <= len(sizes) or channels is None:
        node.refuse("its sizes are known only at run time", "fix them with --shape")
    share, rest = known[0] // groups, known[1:]
    planes = (
        [share]
        if not rest
        else [share, rest[0]]
        if len(rest) == 1
        else [share * rest[0], int(np.prod(rest[1:]))]
    )
    x = _single(m, node.input(0))
    first = batch if isinstance(batch, int) else -1
    y = m.reshape(x, [first, groups, *planes])
    y = m.op("instance_norm", y, epsilon=float(node.attr("epsilon")))
    y = m.reshape(y, [first, *known])
    y = _affine(m, y, _single(m, node.input(1)), _single(m, node.input(2)))
    return m.cast(y, node.dtype())


@lowering("coreml", "LRN", note="odd sizes")
def mil_lrn(node: OpNode, m: MIL) -> Value:
    """local_response_norm of [N, C, H, W]; other shapes are made that."""
    x, size, rank = _single(m, node.input(0)), int(node.attr("size")), node.rank()
    if size % 2 == 0:
        node.refuse(f"Core ML does not say which neighbours a size of {size} has", "use an odd size")
    y = x if rank == 4 else m.op("reshape", x, _four_axes(m, x))
    alpha, beta, bias = (float(node.attr(name)) for name in ("alpha", "beta", "bias"))
    y = m.op("local_response_norm", y, size=size, alpha=alpha, beta=beta, k=bias)
    return m.cast(y if rank == 4 else m.op("reshape", y, m.shape_of(x)), node.dtype())
